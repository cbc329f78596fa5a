"""What a fault test does to the servers of its stack: stop, kill, pause, resume, start, restart.

A name is a server of the stack ("mysql-1", "redis-a") or one node of it ("redis-a-2"), as
`./dev stack status` shows it. Everything returns when it is true: stopped is gone from the process
table, started answers. Where a node is down on purpose, its cluster can't be whole: start(name,
ready=False) waits only for the process, and the test waits for what it needs.

Only processes that the stack started are ever signalled (process.py), by pidfd. The context
managers undo what they did whatever happens inside them.
"""

import contextlib
import os
import signal
from pathlib import Path

import jvm
import stack
from instance import Instance
from process import wait_for

READY_TIMEOUT_S = 120.0
END_TIMEOUT_S = 20.0

INSTANCE = Instance(os.environ.get("LOCKSTEP_STACK") or "local")

# By node: what a test wants it to be started with, beside the settings that the stack gives it.
EXTRA_ARGS = {}


def chosen(name):
    """(server, procs) of a name."""
    return stack.choose(INSTANCE, [name], [])[0]


def procs(name):
    return chosen(name)[1]


def pids(name):
    """Of what runs now."""
    return [pid for pid in (proc.pid() for proc in procs(name)) if pid is not None]


def port(name):
    """The first port of a node: the one that clients use."""
    return next(iter(procs(name)[0].ports.values()))


def log(name):
    """All that a node has written since it was started last."""
    return procs(name)[0].log_file.read_text(encoding="utf-8", errors="replace")


def stop(name):
    """In order: SIGTERM. What was paused goes on first, else it would not notice."""
    with INSTANCE.locked():
        for proc in procs(name):
            _signal(proc, signal.SIGCONT)
        stack.stop_all(procs(name))


def kill(name):
    """SIGKILL to all of its processes: no chance to write anything."""
    with INSTANCE.locked():
        ended = [proc for proc in procs(name) if _signal(proc, signal.SIGKILL)]
        for proc in ended:
            _wait(lambda proc=proc: proc.pid() is None, f"{proc.name} to be gone", END_TIMEOUT_S)
            proc.pid_file.unlink(missing_ok=True)
    if not ended:
        raise AssertionError(f"{name} was not running, so it could not be killed")


def pause(name):
    """SIGSTOP: its sockets stay open, its kernel goes on acknowledging, nobody answers."""
    for proc in procs(name):
        if not _signal(proc, signal.SIGSTOP):
            raise AssertionError(f"{proc.name} was not running, so it could not be paused")
        _wait(lambda proc=proc: _state(proc) == "T", f"{proc.name} to stand still", END_TIMEOUT_S)


def resume(name, ready=True):
    for proc in procs(name):
        _signal(proc, signal.SIGCONT)
    if ready:
        wait_ready(name)


def start(name, ready=True):
    """What is not running of it; with the data and the settings it had."""
    stack.raise_open_files()
    with INSTANCE.locked():
        server, wanted = chosen(name)
        jvm.prepare(INSTANCE)
        server.prepare()
        for proc in wanted:
            if proc.pid() is None:
                proc.argv = [*proc.argv, *EXTRA_ARGS.get(proc.name, ())]
                proc.start()
    if ready:
        wait_ready(name)


def restart(name, ready=True):
    stop(name)
    start(name, ready)


def wait_ready(name):
    """Until it answers; a node only when it sees its cluster whole."""
    server, wanted = chosen(name)
    whole = len(wanted) == len(server.procs)
    why = ["not asked yet"]

    def ready():
        dead = [proc.name for proc in wanted if proc.pid() is None]
        if dead:
            raise AssertionError(f"{', '.join(dead)} ended: {_tail(wanted)}")
        why[0] = server.ready() if whole else next(filter(None, map(server.probe, wanted)), "")
        return not why[0]

    if not wait_for(ready, READY_TIMEOUT_S, 0.1):
        raise AssertionError(f"{name} not ready within {READY_TIMEOUT_S:.0f} s: {why[0]}")
    for proc in wanted:
        proc.mark_ready()


@contextlib.contextmanager
def stopped(name):
    """Stopped inside the `with`, running and answering after it."""
    stop(name)
    try:
        yield
    finally:
        start(name)


@contextlib.contextmanager
def killed(name):
    """Killed before the `with`, running and answering after it."""
    kill(name)
    try:
        yield
    finally:
        start(name)


@contextlib.contextmanager
def paused(name):
    pause(name)
    try:
        yield
    finally:
        resume(name)


@contextlib.contextmanager
def running(*names):
    """Servers that a plain `up` does not start: up inside the `with`, stopped after it if they were
    not running before."""
    before = {name: bool(pids(name)) for name in names}
    try:
        for name in names:
            start(name)
        yield
    finally:
        for name in names:
            if not before[name]:
                stop(name)


def _signal(proc, number):
    """Whether there was a process to signal."""
    pid = proc.pid()
    if pid is None:
        return False
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if proc.pid() != pid:  # asked again: from here on the handle can't mean another process
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def _state(proc):
    pid = proc.pid()
    if pid is None:
        return "X"
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return text[text.rindex(")") + 2]


def _wait(condition, what, timeout_s):
    if not wait_for(condition, timeout_s):
        raise AssertionError(f"not within {timeout_s:.0f} s: {what}")


def _tail(wanted):
    return " | ".join(line for proc in wanted for line in proc.log_tail(3))
