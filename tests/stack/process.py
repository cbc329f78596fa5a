"""Processes of the stack: start them so that they outlive us, recognise them, stop only them.

A process is known by its pid and its start time (field 22 of /proc/PID/stat), written to a file
when it starts. A pid that was given to another process since then has another start time, and is
never signalled: the signal goes through a pidfd that was opened before the comparison.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from instance import Instance, StackError, write_atomically

STOP_TIMEOUT_S = 20.0
POLL_INTERVAL_S = 0.05


def wait_for(condition, timeout_s: float, interval_s: float = POLL_INTERVAL_S) -> bool:
    """Ask `condition` until it says yes or the time is over."""
    pause = threading.Event()
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        pause.wait(interval_s)
    return True


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
    if not found:
        raise StackError(f"{name} is not installed: run ./dev deps")
    return found


@dataclass
class Proc:
    """One server process: how to start it, and where its traces are."""

    name: str
    instance: Instance
    ports: dict  # purpose -> port
    data_dir: Path
    on_stopped: object = None  # called once the process, having been ready, has ended by SIGTERM
    stop_timeout_s: float = STOP_TIMEOUT_S
    argv: list = None  # set by its server's prepare()

    @property
    def pid_file(self) -> Path:
        return self.instance.sub("run", f"{self.name}.pid")

    @property
    def log_file(self) -> Path:
        return self.instance.sub("log", f"{self.name}.log")

    def pid(self):
        """The pid while our process runs, else None."""
        known = self._known()
        if not known or known["start_time"] is None:
            return None
        if start_time(known["pid"]) != known["start_time"]:
            return None
        return known["pid"]

    def _known(self):
        """What start() wrote; None for anything else. An older version wrote no "ready"."""
        try:
            known = json.loads(self.pid_file.read_text(encoding="utf-8"))
            return {
                "pid": int(known["pid"]),
                "start_time": known["start_time"],
                "ready": known.get("ready", False),
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def mark_ready(self) -> None:
        known = self._known()
        if known and not known["ready"]:
            write_atomically(self.pid_file, json.dumps({**known, "ready": True}) + "\n")

    def start(self) -> None:
        if self.log_file.exists():
            os.replace(self.log_file, self.log_file.with_suffix(".log.1"))
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(Path.home()),
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.instance.sub("tmp")),
        }
        with open(self.log_file, "ab") as log:
            child = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data_dir,
                env=environment,
                start_new_session=True,
            )
        known = {"pid": child.pid, "start_time": start_time(child.pid), "ready": False}
        write_atomically(self.pid_file, json.dumps(known) + "\n")

    def stop(self, timeout_s: float = None) -> str:
        """SIGTERM, then SIGKILL once the time is over. Says what happened."""
        pid, known = self.pid(), self._known()
        if pid is None:
            self.pid_file.unlink(missing_ok=True)
            return "was not running"
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            self.pid_file.unlink(missing_ok=True)
            return "was not running"
        try:
            if self.pid() != pid:  # asked again: from here on the handle can't mean another process
                return "was not running"
            outcome = self._end(handle, timeout_s or self.stop_timeout_s)
        finally:
            os.close(handle)
        if self.pid() is None:
            self.pid_file.unlink(missing_ok=True)
        if outcome == "stopped" and known["ready"] and self.on_stopped:
            self.on_stopped()
        return outcome

    def _end(self, handle: int, timeout_s: float) -> str:
        for number, wait_s, outcome in (
            (signal.SIGTERM, timeout_s, "stopped"),
            (signal.SIGKILL, 10.0, f"killed: it did not stop within {timeout_s:.0f} s"),
        ):
            try:
                signal.pidfd_send_signal(handle, number)
            except ProcessLookupError:
                return outcome
            if select.select([handle], [], [], wait_s)[0]:
                return outcome
        return "does not end, even after SIGKILL"

    def rss_bytes(self) -> int:
        pid = self.pid()
        if pid is None:
            return 0
        try:
            for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        except OSError:
            pass
        return 0

    def log_tail(self, lines: int) -> list:
        try:
            text = self.log_file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        return text.splitlines()[-lines:]


def stop_all(procs: list, timeout_s: float = None) -> list:
    """Stop them all at once; what became of each, in their order."""
    with ThreadPoolExecutor(max_workers=max(1, len(procs))) as pool:
        return list(pool.map(lambda proc: proc.stop(timeout_s), procs))


def start_time(pid: int):
    """Clock ticks since boot at which a live process started; None for a dead one or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name before may hold spaces and brackets
    return None if fields[0] in "ZX" else int(fields[19])


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT does not count
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def port_owner(port: int) -> str:
    """Who listens on a port, as well as this user may know it."""
    inodes, uids = set(), set()
    for table in ("tcp", "tcp6"):
        try:
            rows = Path(f"/proc/net/{table}").read_text(encoding="utf-8").splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            columns = row.split()
            if int(columns[1].rpartition(":")[2], 16) == port and columns[3] == "0A":
                inodes.add(f"socket:[{columns[9]}]")
                uids.add(columns[7])
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _has_open(process, inodes):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            return f"pid {process.name}: {' '.join(command.split())[:80]}"
    return f"a process of user id {'/'.join(sorted(uids))}" if uids else "an unknown process"


def _has_open(process: Path, names: set) -> bool:
    with contextlib.suppress(OSError):  # ended, or another user's
        for link in (process / "fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                if os.readlink(link) in names:
                    return True
    return False
