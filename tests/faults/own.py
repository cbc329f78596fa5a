"""A server of a test's own: a real one in a folder of its own, which the test may kill, freeze and
start again without harm to anybody else. It dies with the test that started it.

Here is what holds for a process of any program; how it is started and asked is in mariadb.py and
redis_nodes.py. Servers of the stack, which outlive a test, are servers.py's.
"""

import ctypes
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import harness
import process

PR_SET_PDEATHSIG = 1
START_S = 60
STOP_S = 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """One process of `program` on `port`, with a folder of its own. A subclass says by command()
    how it is started, and by ask() what is true as soon as it serves."""

    program = None

    def __init__(self, prefix, parent=None):
        self.folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        self.port = free_port()
        self.process = None

    def command(self):
        raise NotImplementedError

    def ask(self):
        raise NotImplementedError

    def launch(self, command):
        """Starts it and waits until it serves."""
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )
        harness.wait_until(self.answers, f"{self.program} on port {self.port} answers", START_S)
        return self

    def start(self):
        return self.launch(self.command())

    def answers(self):
        """Whether it serves; one that has ended never will."""
        if not self.running():
            raise AssertionError(f"{self.program} ended:\n{self.log()[-3000:]}")
        return self.ask()

    def log(self):
        """All that it has written since the first start."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """As a crash: no chance to finish anything."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """In order."""
        self.process.terminate()
        self.process.wait(STOP_S)

    def pause(self):
        """Frozen: the kernel still takes connections and data for it, nobody answers."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        """Ends it, with all that it has."""
        if self.running():
            self.kill()
        shutil.rmtree(self.folder)

    @classmethod
    def executable(cls):
        return process.program(cls.program)
