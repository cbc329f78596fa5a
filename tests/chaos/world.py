"""Everything that a chaos run rests on: the stack, a link that can be broken in front of every
server, workers, the load, and somebody who looks at the sinks every few seconds."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import harness
import proxy
import servers

LOAD = harness.BIN.parent / "tests" / "chaos" / "chaos-load"
LOOK_S = 3
MYSQL = ("mysql-1", "mysql-2")
REDIS = ("redis-a", "redis-b")
ELASTIC = ("es-primary", "es-backup", "es-marketing", "es-fallback")


class Worker:
    """One `lockstep run --all`, which faults kill, pause and stop; it is started again by them."""

    def __init__(self, name, config, folder):
        self.name, self.config = name, config
        self.log_path = folder / f"{name}.log"
        self.lock = threading.Lock()
        self.process = None
        self.starts = 0

    def start(self):
        environment = {**os.environ, "LOCKSTEP_CONFIG": str(self.config)}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [str(harness.BIN), "run", "--all"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )
        self.starts += 1

    def signal(self, number):
        self.process.send_signal(number)

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(90)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Load:
    """The service that publishes, in a process of its own."""

    def __init__(self, config, folder, members, rate, seed):
        self.model = folder / "model.ndjson"
        self.told_path = folder / "load.ndjson"
        command = [str(LOAD), "--config", str(config), "--entity", "member"]
        command += ["--model", str(self.model), "--members", str(members)]
        command += ["--rate", str(rate), "--seed", str(seed)]
        with open(self.told_path, "wb") as told, open(folder / "load.log", "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=told, stderr=log
            )

    def told(self):
        """Its newest line: counts since the start."""
        lines = self.told_path.read_text(encoding="utf-8").splitlines()
        return json.loads(lines[-1]) if lines else {}

    def finish(self):
        """No more is published; what is on its way is waited for. Returns the last counts."""
        if self.process.poll() is not None:
            raise AssertionError(f"chaos-load ended by itself: exit code {self.process.returncode}")
        self.process.terminate()
        if self.process.wait(200) != 0:
            raise AssertionError(f"chaos-load: exit code {self.process.returncode}")
        return self.told()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Watch(threading.Thread):
    """Looks at all sinks every few seconds; `looks` is what it saw."""

    def __init__(self, config, start):
        super().__init__(name="watch", daemon=True)
        self.config, self.start_time = config, start
        self.looks = []  # (seconds, {sink: status})
        self.done = threading.Event()

    def run(self):
        while not self.done.wait(LOOK_S):
            with contextlib.suppress(AssertionError, ValueError, subprocess.TimeoutExpired):
                seen = harness.status(self.config)
                self.looks.append((time.monotonic() - self.start_time, seen))

    def close(self):
        self.done.set()
        self.join(60)


class World(contextlib.ExitStack):
    """A context manager: up inside the `with`; workers, load and proxies are gone after it."""

    def __init__(self, members, rate, seed, n_workers=2):
        super().__init__()
        self.members, self.rate, self.seed, self.n_workers = members, rate, seed, n_workers

    def __enter__(self):
        super().__enter__()
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def _open(self):
        self.folder = Path(tempfile.mkdtemp(prefix="lockstep-chaos."))
        self.callback(shutil.rmtree, self.folder, ignore_errors=True)
        proxy.ensure()
        self.links = {}  # of a target: the proxies in front of it
        self._open_links()
        self.config = self.enter_context(harness.configuration(self._change))
        harness.lockstep("topics", "create", config=self.config)
        harness.lockstep("schema", "apply", config=self.config)
        self.start_time = time.monotonic()
        self.workers = [
            Worker(f"worker-{i + 1}", self.config, self.folder) for i in range(self.n_workers)
        ]
        for worker in self.workers:
            self.callback(worker.close)
            worker.start()
        self.load = Load(self.config, self.folder, self.members, self.rate, self.seed)
        self.callback(self.load.close)
        self.watch = Watch(self.config, self.start_time)
        self.callback(self.watch.close)
        self.watch.start()

    def seconds(self):
        return time.monotonic() - self.start_time

    def sinks(self):
        return list(harness.CONFIG["sinks"])

    def _open_links(self):
        self.links["kafka"] = [self.enter_context(proxy.kafka())]
        for name in (*MYSQL, *ELASTIC):
            self.links[name] = [self.enter_context(proxy.Proxy(servers.port(name)))]
        for name in REDIS:
            self.links[name] = self.enter_context(proxy.redis_cluster(name)).nodes

    def _change(self, config, folder):
        del folder
        config["kafka"]["brokers"] = self.links["kafka"][0].address
        for name, server in zip(MYSQL, config["sinks"]["mysql"]["servers"]):
            server["port"] = self.links[name][0].port
        for name in REDIS:
            config["sinks"][name]["nodes"] = [link.address for link in self.links[name]]
        for name in ELASTIC:
            config["sinks"][name]["urls"] = [f"http://{self.links[name][0].address}"]
        for sink in config["sinks"].values():
            sink["request_timeout_ms"] = 10000  # a black hole lasts only seconds here
