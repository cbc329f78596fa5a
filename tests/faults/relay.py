"""Two connections of ours as one: what comes in by either goes out by the other."""

import contextlib
import socket
import threading
import time


def _pass_on(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    _end(source, target)


def _end(*links):
    for link in links:
        with contextlib.suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)


def join(client, server):
    """Both ways, in threads of their own, until one of the two ends."""
    for a, b in ((client, server), (server, client)):
        threading.Thread(target=_pass_on, args=(a, b), daemon=True).start()


def clients(listener):
    """Those who connect, until the listener is shut down."""
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        yield client


class Narrow:
    """A port before one of loopback that takes little at a time, and slowly: a sender's socket fills
    up in the middle of what it has to say. A context manager."""

    ROOM = 4096  # bytes that our socket holds
    SEGMENT = 536
    PAUSE_S = 0.01

    def __init__(self, port):
        self.target = port
        self.largest = 0  # bytes that were taken for one answer
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.ROOM)
        self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, self.SEGMENT)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.port = self.listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        for client in clients(self.listener):
            server = socket.create_connection(("127.0.0.1", self.target))
            asked = [0]  # bytes since the last answer
            for pass_on in (self._take, self._answer):
                threading.Thread(target=pass_on, args=(client, server, asked), daemon=True).start()

    def _take(self, client, server, asked):
        with contextlib.suppress(OSError):
            while data := client.recv(self.ROOM):
                asked[0] += len(data)
                self.largest = max(self.largest, asked[0])
                server.sendall(data)
                time.sleep(self.PAUSE_S)
        _end(client, server)

    @staticmethod
    def _answer(client, server, asked):
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                asked[0] = 0
                client.sendall(data)
        _end(client, server)
