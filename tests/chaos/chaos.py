#!/usr/bin/env python3
"""Breaks the whole stack at random under a steady load, and proves that nothing was lost.

    ./dev chaos [--minutes N] [--seed S] [--rate N/s] [--members N] [--report FILE]
                [--sanitize address|thread]
                [--keep FOLDER] [--list]

Minutes of breaking (5), what follows from the seed (1), changes published a second (500), members
(20000), where the report goes (as Markdown), where logs and the model go after a failure; --list
only shows what would be broken.

What is broken, and when, follows from the seed. At the end every store is read in full and held to
the load's own record of what was acknowledged: nothing lost, nothing resurrected, nothing older.
Exit codes: 0 proven, 1 not, 64 wrong arguments.
"""

import argparse
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent
sys.path[:0] = [str(HERE), *(str(TESTS / folder) for folder in ("live", "faults", "stack"))]

from instance import Instance  # noqa: E402

INSTANCE = Instance(os.environ.get("LOCKSTEP_STACK") or "local")
os.environ.setdefault("LOCKSTEP_CONFIG", str(INSTANCE.config_file))
# What follows reads the stack's configuration.
if {"-h", "--help"} & set(sys.argv[1:]):
    sys.exit(print(__doc__.strip()))
if not Path(os.environ["LOCKSTEP_CONFIG"]).exists():
    name = INSTANCE.name
    sys.exit(f"chaos: there is no stack '{name}': LOCKSTEP_STACK={name} ./dev stack up makes one")

import faults  # noqa: E402
import harness  # noqa: E402
import model  # noqa: E402
import readers  # noqa: E402
import report  # noqa: E402
import servers  # noqa: E402
import stores  # noqa: E402
import world as worlds  # noqa: E402

CATCH_UP_S = 240
FELT_S = 60  # a fault goes on until somebody has met it, that much longer at most
TICK_S = 0.05


class Broken(threading.Thread):
    """One planned fault, from its beginning to its trace."""

    def __init__(self, world, number, planned):
        super().__init__(name=f"fault-{number}", daemon=True)
        self.world, self.number = world, number
        self.at, kind, self.target, self.lasts, own = planned
        self.fault = kind(world, self.target, random.Random(own))
        self.began = self.ended = None  # seconds since the start
        self.trace, self.trouble = "", ""

    @property
    def what(self):
        return self.fault.name

    def run(self):
        try:
            self.began = self.world.seconds()
            say(self.world, f"{self.target}: {self.what}, for {self.lasts:.0f} s")
            try:
                self.fault.begin()
                while self.world.seconds() < self.began + self.lasts:
                    time.sleep(TICK_S)
                harness.wait_until(self.fault.felt, f"{self.target} to feel: {self.what}", FELT_S)
            finally:
                self.fault.end()
                self.ended = self.world.seconds()
            self.trace = self.fault.trace()
        except Exception as error:  # any of them makes the run fail, with its reason in the report
            self.trouble = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            traceback.print_exc()
        say(self.world, f"{self.target}: over; {self.trace or self.trouble or 'NO TRACE'}")


def say(world, text):
    print(f"{world.seconds():7.1f} s  {text}", flush=True)


def break_things(world, plan):
    """Runs the plan; returns what was broken, in order."""
    broken = []
    for number, planned in enumerate(plan, start=1):
        while world.seconds() < planned[0]:
            time.sleep(TICK_S)
        one = Broken(world, number, planned)
        broken.append(one)
        one.start()
    for one in broken:
        one.join(300)
        if one.is_alive():
            one.trouble = "did not end"
    return broken


def wait_caught_up(world):
    """Seconds until every sink had nothing left to do."""
    start = world.seconds()
    harness.wait_caught_up(world.sinks(), config=world.config, timeout_s=CATCH_UP_S)
    return world.seconds() - start


def read_store(sink):
    config = harness.CONFIG["sinks"][sink]
    if config["kind"] == "mysql":
        return readers.from_mysql("member", stores.SCHEMA, config["servers"])
    if config["kind"] == "redis":
        ports = [proc.ports["redis"] for proc in servers.procs(sink)]
        return readers.from_redis(stores.SCHEMA, ports, config["user"], stores.secret(config))
    return readers.from_elasticsearch(stores.SCHEMA, config["urls"][0], config["index"])


def prove(world, outcome):
    """Every store against the model, and the program's own verify against the log."""
    members = model.read(world.load.model)
    outcome.judged = {sink: model.judge(members, read_store(sink)) for sink in world.sinks()}
    done = harness.lockstep("verify", "--json", config=world.config, expect=None, timeout_s=600)
    outcome.verify_code = done.returncode
    outcome.verify = json.loads(done.stdout) if done.stdout else {}
    outcome.verify_error = done.stderr[-500:]
    outcome.quarantined = {sink: len(stores.quarantined(sink)) for sink in world.sinks()}
    outcome.garbage = faults.Garbage.written
    outcome.status = harness.status(world.config)


def run(options):
    outcome = report.Outcome(options)
    outcome.started = time.time()
    plan = faults.plan(options.seed, options.minutes * 60)
    with worlds.World(options.members, options.rate, options.seed) as world:
        harness.wait_until(lambda: world.load.told().get("published", 0) > 0, "the load runs")
        outcome.broken = break_things(world, plan)
        while world.seconds() < options.minutes * 60:
            time.sleep(TICK_S)
        say(world, "all is mended; the load ends")
        outcome.load = world.load.finish()
        try:
            outcome.catch_up_s = wait_caught_up(world)
            say(world, f"caught up after {outcome.catch_up_s:.0f} s; every store is read")
        except AssertionError as error:
            outcome.trouble = str(error)[:2000]
        prove(world, outcome)
        world.watch.close()
        outcome.looks = world.watch.looks
        outcome.seconds = world.seconds()
        outcome.logs = {worker.name: worker.log_path.read_text() for worker in world.workers}
        outcome.worker_starts = {worker.name: worker.starts for worker in world.workers}
        if outcome.failures() and options.keep:
            keep = Path(options.keep)
            keep.mkdir(parents=True, exist_ok=True)
            for path in world.folder.iterdir():
                (keep / path.name).write_bytes(path.read_bytes())
            (keep / "lockstep.yaml").write_bytes(Path(world.config).read_bytes())
    return outcome


def show_plan(options):
    for at, kind, target, lasts, _ in faults.plan(options.seed, options.minutes * 60):
        print(f"{at:7.1f} s  {target}: {kind.name}, for {lasts:.0f} s")


def parse():
    parser = argparse.ArgumentParser(prog="./dev chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5, help="how long things break (5)")
    parser.add_argument("--seed", type=int, default=1, help="what is broken follows from it (1)")
    parser.add_argument("--rate", type=float, default=500, help="changes published a second (500)")
    parser.add_argument("--members", type=int, default=20000, help="how many there are (20000)")
    parser.add_argument("--report", type=Path, help="write the report to this file, as Markdown")
    parser.add_argument(
        "--sanitize",
        choices=["address", "thread"],
        help="the program is one built for this sanitizer, which must have nothing to say",
    )
    parser.add_argument("--keep", help="after a failure, keep logs and the model in this folder")
    parser.add_argument("--list", action="store_true", help="only show what would be broken")
    parser.add_argument("--json-summary", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.minutes <= 0 or options.rate <= 0 or options.members <= 0:
        parser.error("--minutes, --rate and --members are positive numbers")
    return options


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if options.list:
        show_plan(options)
        return 0
    outcome = run(options)
    text = report.write(outcome)
    if options.report:
        options.report.write_text(text, encoding="utf-8")
    print(text)
    failures = outcome.failures()
    if options.json_summary:
        summary = {"passed": 0 if failures else 1, "failed": len(failures)}
        options.json_summary.write_text(json.dumps(summary) + "\n", encoding="utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
