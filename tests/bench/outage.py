#!/usr/bin/env python3
"""A long outage of es-backup under load, on a fresh local stack, with figures.

    ./dev bench outage [--minutes N] [--rate N] [--members N] [--burst N] [--json FILE] [--report FILE]

All seven sinks run in one worker under a steady load. es-backup is killed, stays away for --minutes
(60), and is started again. Three times before and three times during the outage a burst is published
as fast as it goes. Told at the end: what each of the other six applied a second before, during and
after, and how long each took for a burst; the worker's anonymous memory before, during (least and
most) and after; whether any member of any group changed, which is what a rebalance or an eviction
would do; how often the breaker opened; and how long es-backup took to catch up. Then every store is
compared in full. Exit code 1 where one of these is not as it should be. The stack is one of its own,
wiped at the end.
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
BURSTS = 3
BURST_WORSE = 1.25  # times as long as before, and a second: heartbeats tell of progress once a second


def stack(*words):
    subprocess.run([ROOT / "dev", "stack", *words], stdout=sys.stderr, check=True)


class Load:
    """A publisher at a steady rate: a generator whose lines are let through one second at a time."""

    def __init__(self, harness, rate, members, seconds):
        self.harness, self.rate, self.members = harness, rate, members
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

    def burst(self, records, seed):
        """As fast as the publisher goes, while the steady load pauses."""
        members = min(self.members, records)  # the generator writes of each at least once
        words = [str(self.harness.GENERATOR), "--members", str(members)]
        words += ["--events", str(records), "--seed", str(seed)]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as source:
            publish = [str(self.harness.BIN), "publish", "--entity", "member", "-"]
            subprocess.run(publish, stdin=source.stdout, stderr=subprocess.DEVNULL, check=True)
        if source.returncode != 0:
            raise SystemExit("outage: the generator failed")

    def go_on(self):
        """What was due meanwhile is left out."""
        self.next_s = time.monotonic()

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
        self.bursts = {}
        self.n_bursts = 0

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

    def burst(self, name, records, sinks):
        """How long each of these sinks takes until it has read and applied a burst."""
        self.harness.wait_caught_up(sinks=sinks)
        before = self.sample()[1]
        begin_s = time.monotonic()
        self.n_bursts += 1
        self.load.burst(records, 1000 + self.n_bursts)
        took = {}
        while len(took) < len(sinks):
            if time.monotonic() - begin_s > 300:
                raise SystemExit(f"outage: a burst was not applied by all of {sinks} in 300 s: {took}")
            now_s, done, _, _ = self.sample()
            for sink in sinks:
                if sink not in took and done[sink] - before[sink] >= records:
                    took[sink] = now_s - begin_s
        for sink, seconds in took.items():
            self.bursts.setdefault(sink, {}).setdefault(name, []).append(round(seconds, 1))
        self.load.go_on()

    def rate(self, phase, sink):
        """Median of what was applied a second between two samples: bursts stand out of it."""
        pairs = zip(self.phases[phase], self.phases[phase][1:])
        rates = [(b[1][sink] - a[1][sink]) / (b[0] - a[0]) for a, b in pairs]
        return statistics.median(rates)

    def memory(self, phase):
        return [sample[2] for sample in self.phases[phase]]


def away(watch, away_s, burst, others):
    """The outage: a steady load, with bursts in it."""
    end_s = time.monotonic() + away_s
    samples = []
    for left in range(BURSTS, -1, -1):
        watch.phase("during", (end_s - time.monotonic()) / (left + 1))
        samples += watch.phases["during"]
        if left:
            watch.burst("during", burst, others)
    watch.phases["during"] = samples


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
    seconds = away_s + before_s + 900
    with harness.Worker("--all") as worker:
        harness.wait_caught_up()
        load = Load(harness, options.rate, options.members, seconds)
        watch = Watch(harness, worker, load)
        for _ in range(BURSTS):
            watch.burst("before", options.burst, harness.SINKS)
        watch.phase("before", before_s)
        members = {sink: groups.members(sink) for sink in harness.SINKS}
        servers.kill(AWAY)
        others = [sink for sink in harness.SINKS if sink != AWAY]
        away(watch, away_s, options.burst, others)
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
        "burst_records": options.burst,
        "burst_s": watch.bursts,
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
    for sink, bursts in report["burst_s"].items():
        before, during = (statistics.median(bursts.get(when, [0])) for when in ("before", "during"))
        if sink != AWAY and during > BURST_WORSE * before + 1:
            wrong.append(f"{sink} took longer for a burst during the outage: {bursts}")
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


def write(report, wrong):
    """For people, as Markdown."""
    lines = [
        f"# {AWAY} away for {report['minutes']:g} minutes",
        "",
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, `./dev bench outage --minutes "
        f"{report['minutes']:g} --rate {report['published_per_s']} --burst {report['burst_records']}`",
        "",
        "**As it should be.**" if not wrong else "**Not as it should be:**",
        *(f"- {line}" for line in wrong),
        "",
        f"{report['published_per_s']} records a second were published all the time, and bursts of "
        f"{report['burst_records']:,}; one worker ran all seven sinks.",
        "",
        "| sink | records/s before | during | after | seconds for a burst before | during |",
        "|---|---:|---:|---:|---|---|",
    ]
    for sink, rates in report["rates"].items():
        bursts = report["burst_s"].get(sink, {})
        lines.append(
            f"| {sink} | {rates['before']} | {rates['during']} | {rates['after']} "
            f"| {', '.join(map(str, bursts.get('before', [])))} "
            f"| {', '.join(map(str, bursts.get('during', [])))} |"
        )
    lines += ["", "| anonymous memory of the worker | least | median | most |", "|---|---:|---:|---:|"]
    for phase, memory in report["memory_mib"].items():
        lines.append(f"| {phase} | {memory['least']} MiB | {memory['median']} | {memory['most']} |")
    groups = "no member of any group" if report["groups_unchanged"] else "**members of groups**"
    equal = "equal" if report["verify_equal"] else "**not equal**"
    lines += [
        "",
        f"- {groups} changed: no rebalance, no eviction" if report["groups_unchanged"] else groups,
        f"- the breaker of {AWAY} opened {report['breaker_openings']} times; breakers that opened: "
        f"{', '.join(report['breakers_that_opened'])}",
        f"- {AWAY} came back {report['lag_at_return']:,} records behind, and caught up in "
        f"{report['catch_up_s']} s under the same load",
        f"- all seven stores after that, read in full and compared with the log: {equal}",
    ]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(
        prog="./dev bench outage",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=int, default=500, help="records published a second")
    parser.add_argument("--members", type=int, default=20_000)
    parser.add_argument("--burst", type=int, default=50_000, help="records published at once")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--report", type=Path, metavar="FILE", help="as Markdown")
    options = parser.parse_args()
    stack("wipe")
    try:
        stack("up")
        report = run(options)
    finally:
        stack("wipe")
    wrong = judge(report)
    text = write(report, wrong)
    print(text)
    if options.report:
        options.report.write_text(text, encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
