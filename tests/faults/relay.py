"""Two connections of ours as one: what comes in by either goes out by the other."""

import contextlib
import socket
import threading


def _pass_on(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for link in (source, target):
        with contextlib.suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)


def join(client, server):
    """Both ways, in threads of their own, until one of the two ends."""
    for a, b in ((client, server), (server, client)):
        threading.Thread(target=_pass_on, args=(a, b), daemon=True).start()
