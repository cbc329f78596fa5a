#!/usr/bin/env python3
"""A long outage of es-backup under load, on a fresh local stack, with figures.

    ./dev bench outage [--minutes N] [--rate N] [--members N] [--json FILE]

All seven sinks run in one worker under a steady load. es-backup is killed, stays away for --minutes
(60), and is started again. Told at the end: what each of the other six applied a second before,
during and after; the worker's anonymous memory before, during (least and most) and after; whether
any member of any group changed, which is what a rebalance or an eviction would do; how often the
breaker opened; and how long es-backup took to catch up. Then every store is compared in full. Exit
code 1 where one of these is not as it should be. The stack is one of its own, wiped at the end.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STACK = os.environ.get("LOCKSTEP_STACK") or "outage"
STATE = Path(
    os.environ.get("LOCKSTEP_STATE")
    or Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "lockstep"
)
os.environ["LOCKSTEP_STACK"] = STACK
os.environ["LOCKSTEP_CONFIG"] = str(STATE / STACK / "lockstep.yaml")
sys.path[:0] = [str(ROOT / "tests" / folder) for folder in ("stack", "live", "faults")]

AWAY = "es-backup"
SAMPLE_S = 5.0
SETTLE_S = 60.0  # of steady load before
ROOM_MIB = 32
UNHARMED = 0.9  # of the rate before: the load itself is what limits it


def stack(*words):
    subprocess.run([ROOT / "dev", "stack", *words], stdout=sys.stderr, check=True)


class Load:
    """A publisher at a steady rate: a generator whose lines are let through one second at a time."""

    def __init__(self, harness, rate, members, seconds):
        self.rate = rate
        events = str(int(rate * seconds))
        words = [str(harness.GENERATOR), "--members", str(members), "--events", events, "--seed", "1"]
        self.source = subprocess.Popen(words, stdout=subprocess.PIPE)
        self.sink = subprocess.Popen(
            [str(harness.BIN), "publish", "--entity", "member", "-"],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.next_s = time.monotonic()

    def pump(self, until_s):
        """Lets through what is due until then."""
        while time.monotonic() < until_s:
            for _ in range(max(1, self.rate // 10)):
                self.sink.stdin.write(self.source.stdout.readline())
            self.sink.stdin.flush()
            self.next_s += 0.1
            time.sleep(max(0.0, self.next_s - time.monotonic()))

    def end(self):
        self.source.kill()
        self.source.wait()
        self.sink.stdin.close()
        if self.sink.wait() != 0:
            raise SystemExit("outage: the publisher failed")


class Watch:
    """Samples of the worker: verdicts of each sink, and memory."""

    def __init__(self, harness, worker, load):
        self.harness, self.worker, self.load = harness, worker, load
        self.phases = {}

    def sample(self):
        from test_outage import anonymous_mib

        now = self.harness.status()
        done = {name: now[name]["consumed"] for name in self.harness.SINKS}
        return time.monotonic(), done, anonymous_mib(self.worker.process), now

    def phase(self, name, seconds, until=None):
        """Load for that long, or until until(status) holds."""
        print(f"{name}: from {time.strftime('%H:%M:%S')}", file=sys.stderr, flush=True)
        samples = [self.sample()]
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s and not (until and until(samples[-1][3])):
            self.load.pump(time.monotonic() + SAMPLE_S)
            samples.append(self.sample())
        self.phases[name] = samples
        return samples[-1][0] - samples[0][0]

    def rate(self, phase, sink):
        first, last = self.phases[phase][0], self.phases[phase][-1]
        return (last[1][sink] - first[1][sink]) / (last[0] - first[0])

    def memory(self, phase):
        return [sample[2] for sample in self.phases[phase]]


def run(options):
    import harness
    import kafkas
    import servers
    import test_outage

    class Member:  # what kafkas.Log asks of a story
        entity = "member"

    groups = kafkas.Log(Member())
    harness.lockstep("topics", "create")
    harness.lockstep("schema", "apply")
    away_s = options.minutes * 60
    before_s = min(SETTLE_S, away_s)
    seconds = away_s + before_s + 600
    with harness.Worker("--all") as worker:
        harness.wait_caught_up()
        load = Load(harness, options.rate, options.members, seconds)
        watch = Watch(harness, worker, load)
        watch.phase("before", before_s)
        members = {sink: groups.members(sink) for sink in harness.SINKS}
        servers.kill(AWAY)
        watch.phase("during", away_s)
        servers.start(AWAY)
        lag = harness.status()[AWAY]["lag"]
        catch_up_s = watch.phase("after", 600, lambda now: now[AWAY]["lag"] <= options.rate)
        load.end()
        harness.wait_caught_up(timeout_s=600)
        members_after = {sink: groups.members(sink) for sink in harness.SINKS}
        openings = test_outage.said(worker, "breaker opens", AWAY)
        others_open = [s for s in harness.SINKS if test_outage.said(worker, "breaker opens", s)]
        equal = harness.lockstep("verify", expect=None).returncode == 0
    report = {
        "minutes": options.minutes,
        "published_per_s": options.rate,
        "rates": {
            sink: {phase: round(watch.rate(phase, sink)) for phase in watch.phases}
            for sink in harness.SINKS
        },
        "memory_mib": {
            phase: {
                "least": round(min(watch.memory(phase))),
                "median": round(statistics.median(watch.memory(phase))),
                "most": round(max(watch.memory(phase))),
            }
            for phase in watch.phases
        },
        "groups_unchanged": members == members_after,
        "breaker_openings": openings,
        "breakers_that_opened": others_open,
        "lag_at_return": lag,
        "catch_up_s": round(catch_up_s),
        "verify_equal": equal,
    }
    return report


def judge(report):
    """What is not as it should be."""
    wrong = []
    for sink, rates in report["rates"].items():
        if sink != AWAY and rates["during"] < UNHARMED * rates["before"]:
            wrong.append(f"{sink} was slower during the outage: {rates}")
    memory = report["memory_mib"]
    if memory["during"]["most"] > memory["before"]["most"] + ROOM_MIB:
        wrong.append(f"memory grew: {memory}")
    if not report["groups_unchanged"]:
        wrong.append("a group was rebalanced")
    if report["breakers_that_opened"] != [AWAY]:
        wrong.append(f"breakers opened: {report['breakers_that_opened']}")
    if not report["verify_equal"]:
        wrong.append("the stores are not equal to the log")
    return wrong


def show(report):
    print(f"{AWAY} away for {report['minutes']:g} minutes, {report['published_per_s']} records/s")
    print(f"{'SINK':13} {'BEFORE/S':>9} {'DURING/S':>9} {'AFTER/S':>9}")
    for sink, rates in report["rates"].items():
        print(f"{sink:13} {rates['before']:9} {rates['during']:9} {rates['after']:9}")
    for phase, memory in report["memory_mib"].items():
        print(f"memory {phase:7} {memory['least']}-{memory['most']} MiB, median {memory['median']}")
    print(f"groups unchanged: {report['groups_unchanged']}; breaker opened {report['breaker_openings']}x")
    print(f"caught up with {report['lag_at_return']} records in {report['catch_up_s']} s under load")
    print(f"verify equal: {report['verify_equal']}")


def main():
    parser = argparse.ArgumentParser(
        prog="./dev bench outage",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=int, default=500, help="records published a second")
    parser.add_argument("--members", type=int, default=20_000)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    stack("wipe")
    try:
        stack("up")
        report = run(options)
    finally:
        stack("wipe")
    show(report)
    wrong = judge(report)
    for line in wrong:
        print(f"WRONG: {line}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
