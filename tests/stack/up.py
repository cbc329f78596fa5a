"""`up`: start what is missing, all at once, and wait until every server really answers."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import config
import jvm
from instance import Instance, StackError
from process import port_is_free, port_owner, stop_all, wait_for

READY_TIMEOUT_S = 120.0
READY_INTERVAL_S = 0.2
LOG_TAIL_LINES = 20


class Up:
    """One `up`: what it starts, and what has become of it."""

    def __init__(self, instance: Instance, chosen: list):
        self.instance = instance
        self.chosen = chosen
        self.started = []
        self.failed = []
        self.begin = time.monotonic()
        self.give_up = threading.Event()
        self.output = threading.Lock()

    def run(self) -> int:
        missing = [(s, [p for p in procs if p.pid() is None]) for s, procs in self.chosen]
        self._check_ports([p for _, procs in missing for p in procs])
        config.write(self.instance)
        jvm.prepare(self.instance)
        with ThreadPoolExecutor(max_workers=len(missing)) as pool:
            futures = [pool.submit(self._bring_up, s, procs) for s, procs in missing]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                self.give_up.set()
                raise
        if not self.failed:
            print(f"stack '{self.instance.name}': ready in {self._seconds()} s")
            print(f"configuration: {self.instance.config_file}")
        return self._report_failures()

    def _check_ports(self, procs: list) -> None:
        taken = [
            f"port {port} ({purpose}), which {proc.name} needs, is taken by {port_owner(port)}"
            for proc in procs
            for purpose, port in proc.ports.items()
            if not port_is_free(port)
        ]
        if taken:
            raise StackError(
                "\n".join(taken) + "\nnothing was started; free the port, or use another stack "
                "(LOCKSTEP_STACK=name) or LOCKSTEP_PORT_OFFSET"
            )

    def _bring_up(self, server, procs: list) -> None:
        try:
            if procs:
                server.prepare()
            for proc in procs:
                proc.start()
                self.started.append(proc)
            reason = self._wait(server)
        except (StackError, OSError, subprocess.SubprocessError) as error:
            reason = str(error)
        if not reason:
            for proc in server.procs:
                proc.mark_ready()
            how = "ready" if procs else "already running"
            self._say(f"  {server.name:<13} {how:<16} {self._seconds():>5} s   {server.where}")
        elif not self.give_up.is_set():
            self._say(f"  {server.name:<13} {'FAILED':<16} {self._seconds():>5} s   {reason}")
            self.failed.append((server, procs))

    def _wait(self, server) -> str:
        last = ["not asked yet"]

        def settled() -> bool:
            dead = [proc.name for proc in server.procs if proc.pid() is None]
            last[0] = f"not running: {', '.join(dead)}" if dead else server.ready()
            return bool(dead) or not last[0] or self.give_up.is_set()

        if wait_for(settled, READY_TIMEOUT_S, READY_INTERVAL_S):
            return last[0]
        return f"not ready after {READY_TIMEOUT_S:.0f} s: {last[0]}"

    def _report_failures(self) -> int:
        for server, procs in self.failed:
            for proc in procs:
                alive = proc.pid() is not None
                print(f"\n{proc.name}: last lines of {proc.log_file}", file=sys.stderr)
                for line in proc.log_tail(LOG_TAIL_LINES):
                    print(f"    {line}", file=sys.stderr)
                if alive:
                    print(f"{proc.name}: {proc.stop()}", file=sys.stderr)
        if self.failed:
            names = ", ".join(server.name for server, _ in self.failed)
            print(
                f"\nnot running: {names}. The others stay up: './dev stack up' again starts only "
                "what is missing, './dev stack down' stops all.",
                file=sys.stderr,
            )
        return 1 if self.failed else 0

    def stop_started(self) -> None:
        stop_all(self.started)
        print("interrupted: what this call had started is stopped again", file=sys.stderr)

    def _say(self, line: str) -> None:
        with self.output:
            print(line, flush=True)

    def _seconds(self) -> str:
        return f"{time.monotonic() - self.begin:.1f}"
