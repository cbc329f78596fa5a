"""What the live tests share: the program as a process, configurations derived from the stack's, and
waiting for conditions. Nothing here sleeps for a time; everything that waits names its condition."""

import contextlib
import copy
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("LOCKSTEP_BIN", ROOT / "build" / "lockstep"))
GENERATOR = BIN.parent / "tests" / "gen" / "gen-members"
CONFIG_PATH = Path(os.environ["LOCKSTEP_CONFIG"])
CONFIG = yaml.safe_load(CONFIG_PATH.read_text(encoding="utf-8"))
SINKS = list(CONFIG["sinks"])
POLL_S = 0.05
# below 1 where tests are expected to fail, which they mostly do by waiting in vain
PATIENCE = float(os.environ.get("LOCKSTEP_TEST_PATIENCE", "1"))

_started = []


def wait_until(condition, what, timeout_s=60):
    """Polls until condition() is truthy and returns it; fails with `what` and the last value."""
    timeout_s *= PATIENCE
    deadline = time.monotonic() + timeout_s
    waiter = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        waiter.wait(POLL_S)


def lockstep(*args, config=None, stdin=None, expect=0, timeout_s=180):
    """Runs the program to its end. Asserts the exit code unless expect is None."""
    environment = {**os.environ, "LOCKSTEP_CONFIG": str(config or CONFIG_PATH)}
    done = subprocess.run(
        [str(BIN), *map(str, args)],
        input=stdin,
        capture_output=True,
        text=not isinstance(stdin, bytes),
        env=environment,
        timeout=timeout_s,
        check=False,
    )
    if expect is not None and done.returncode != expect:
        raise AssertionError(
            f"lockstep {' '.join(map(str, args))}: exit code {done.returncode}, expected {expect}\n"
            f"stdout: {done.stdout[-3000:]}\nstderr: {done.stderr[-3000:]}"
        )
    return done


def lockstep_json(*args, **options):
    return json.loads(lockstep(*args, "--json", **options).stdout)


class Worker:
    """`lockstep run` in the background; its log is kept in memory. `within` is a command that becomes
    the program it is given, e.g. in another network."""

    def __init__(self, *args, config=None, within=()):
        environment = {**os.environ, "LOCKSTEP_CONFIG": str(config or CONFIG_PATH)}
        self.log_file = tempfile.NamedTemporaryFile(prefix="lockstep-worker.", suffix=".log")
        self.process = subprocess.Popen(
            [*within, str(BIN), "run", *args],
            stdin=subprocess.DEVNULL,
            stdout=self.log_file,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        _started.append(self.process)

    def log(self):
        return Path(self.log_file.name).read_text(encoding="utf-8", errors="replace")

    def wait_for_log(self, text, timeout_s=60):
        def there():
            if self.process.poll() is not None and text not in self.log():
                raise AssertionError(f"the worker ended without '{text}':\n{self.log()[-3000:]}")
            return text in self.log()

        wait_until(there, f"'{text}' in the worker's log:\n{self.log()[-2000:]}", timeout_s)

    def kill(self):
        """As a crash: no chance to finish anything."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout_s=60):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if exc[0] not in (None, unittest.SkipTest):
            print(f"the worker said last:\n{self.log()[-6000:]}", flush=True)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()


def stop_leftovers():
    left = [process for process in _started if process.poll() is None]
    for process in left:
        process.kill()
        process.wait()
    return [" ".join(process.args) for process in left]


@contextlib.contextmanager
def configuration(change):
    """A copy of the stack's configuration, changed by change(config), as a file."""
    folder = Path(tempfile.mkdtemp(prefix="lockstep-test."))
    try:
        config = copy.deepcopy(CONFIG)
        config["state_dir"] = str(folder / "state")
        change(config, folder)
        path = folder / "lockstep.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        yield path
    finally:
        shutil.rmtree(folder)


def own_entity(name, prefix, sinks):
    """A change for configuration(): an entity of the test's own, with these sinks only."""

    def change(config, folder):
        schema = yaml.safe_load((ROOT / "schema" / "member.yaml").read_text(encoding="utf-8"))
        schema["entity"], schema["redis_prefix"] = name, prefix
        (folder / "entity.yaml").write_text(yaml.safe_dump(schema, allow_unicode=True))
        config["schemas"] = ["entity.yaml"]
        config["entities"] = {name: {"generation": 1, "partitions": 8, "replication": 1}}
        config["sinks"] = {sink: config["sinks"][sink] for sink in sinks}
        for sink in config["sinks"].values():
            if sink["kind"] == "elasticsearch":
                sink["index"], sink["alias"] = f"{name}-000001", name

    return change


def status(config=None):
    """`lockstep status --json`, by sink."""
    report = json.loads(lockstep("status", "--json", config=config, expect=None).stdout)
    return {sink["sink"]: sink for sink in report["sinks"]}


def wait_caught_up(sinks=SINKS, config=None, timeout_s=120):
    """All of them RUNNING, with nothing left to do."""
    named = [word for name in sinks for word in ("--sink", name)]
    # one look a second, which leaves the processor to those who work; it takes STOPPED, too
    limit = f"--until-caught-up={max(1, round(timeout_s * PATIENCE))}"
    lockstep("status", *named, limit, config=config, timeout_s=timeout_s + 60)

    def caught_up():
        now = status(config)
        return all(now[name]["state"] == "RUNNING" and now[name]["lag"] == 0 for name in sinks)

    wait_until(caught_up, f"{', '.join(sinks)} caught up", timeout_s)


def generate(members, events, seed):
    return subprocess.run(
        [str(GENERATOR), "--members", str(members), "--events", str(events), "--seed", str(seed)],
        capture_output=True,
        check=True,
    ).stdout
