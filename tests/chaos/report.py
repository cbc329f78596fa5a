"""The report of a chaos run: for a person, as Markdown."""

import collections
import re
import time

FINAL = ("applied", "stale", "superseded", "quarantined")


class Outcome:
    """What a run has found out; filled in as it goes."""

    def __init__(self, options):
        self.options = options
        self.broken, self.looks, self.judged = [], [], {}
        self.load, self.status, self.verify, self.quarantined = {}, {}, {}, {}
        self.logs, self.worker_starts = {}, {}
        self.catch_up_s = self.seconds = None
        self.started = self.garbage = self.verify_code = 0
        self.trouble = self.verify_error = ""

    def failures(self):
        """Why the run proves nothing, or the contrary; empty when all is well."""
        found = []
        if self.trouble:
            found.append(f"not caught up: {self.trouble.splitlines()[0]}")
        for one in self.broken:
            if one.trouble:
                found.append(f"fault {one.number} ({one.target}: {one.what}): {one.trouble}")
            elif not one.trace:
                found.append(f"fault {one.number} ({one.target}: {one.what}) left no trace")
        if not self.broken:
            found.append("nothing was broken")
        for sink, judgement in self.judged.items():
            if not judgement.proven:
                found.append(f"{sink}: {judgement.bad} of {judgement.compared} members are wrong")
        for sink, n in self.quarantined.items():
            if n != self.garbage:
                found.append(f"{sink}: {n} in the quarantine, {self.garbage} belong there")
        if self.verify_code != 0:
            found.append(f"lockstep verify ended with {self.verify_code}: {self.verify_error}")
        for sink, now in self.status.items():
            counted = sum(now[verdict] for verdict in FINAL if verdict != "quarantined")
            if counted + now["poison"] != now["consumed"]:
                found.append(f"{sink}: verdicts do not add up to what was consumed")
        return found


def write(outcome):
    failures = outcome.failures()
    lines = ["# Chaos report", ""]
    lines += _summary(outcome, failures)
    lines += _proof(outcome)
    lines += _faults(outcome)
    lines += _sinks(outcome)
    lines += _log_lines(outcome)
    return "\n".join(lines) + "\n"


def _table(head, rows):
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows),
        "",
    ]


def _summary(outcome, failures):
    options, load = outcome.options, outcome.load
    date = time.strftime("%Y-%m-%d", time.gmtime(outcome.started))
    lines = [
        f"{date}, `./dev chaos --minutes {options.minutes:g} --seed {options.seed} "
        f"--rate {options.rate:g} --members {options.members}"
        f"{' --sanitize ' + options.sanitize if options.sanitize else ''}`",
        "",
        f"**{'Not proven' if failures else 'Proven'}**: {len(outcome.broken)} faults in "
        f"{options.minutes:g} minutes; {load.get('published', 0):,} changes acknowledged, "
        f"{load.get('not_published', 0):,} refused, {load.get('unknown', 0):,} whose answer was lost; "
        + (
            f"all seven sinks had caught up {outcome.catch_up_s:.0f} s after the end."
            if outcome.catch_up_s is not None
            else "not all sinks caught up."
        ),
        "",
    ]
    for failure in failures:
        lines.append(f"- {failure}")
    if failures:
        lines.append("")
    return lines


def _proof(outcome):
    rows = []
    for sink, one in outcome.judged.items():
        rows.append(
            (sink, f"{one.compared:,}", f"{one.right:,}", f"{one.newer_unknown:,}", one.lost)
            + (one.older, one.resurrected, one.wrong, one.invented)
            + (f"{outcome.quarantined.get(sink, 0):,} of {outcome.garbage:,}",)
        )
    head = ("sink", "members", "right", "of these by a lost answer", "lost", "older", "resurrected")
    head += ("wrong content", "invented", "quarantined, of garbage written")
    lines = [
        "## Proof",
        "",
        "Every store read in full, and compared with the publisher's own record of what was "
        "acknowledged. `lockstep verify` compared the same stores with the log: "
        + ("all equal." if outcome.verify_code == 0 else f"exit code {outcome.verify_code}."),
        "",
        *_table(head, rows),
    ]
    for sink, one in outcome.judged.items():
        lines += [f"- {sink}: {example}" for example in one.examples]
    return lines


def _faults(outcome):
    rows = [
        (
            one.number,
            f"{one.began:.0f} s" if one.began is not None else "",
            f"{one.ended - one.began:.0f} s" if one.ended is not None else "did not end",
            one.target,
            one.what,
            (one.trace or one.trouble or "**none**").replace("|", "/"),
        )
        for one in outcome.broken
    ]
    return [
        "## What was broken",
        "",
        *_table(("", "at", "for", "what", "how", "trace that it left"), rows),
    ]


def _sinks(outcome):
    rows = []
    for sink, now in outcome.status.items():
        seen = [look[sink] for _, look in outcome.looks if sink in look]
        states = collections.Counter(one["state"] for one in seen)
        running = states.pop("RUNNING", 0)
        share = f"{100 * running / len(seen):.0f} %" if seen else ""
        others = ", ".join(f"{state} {n}" for state, n in states.most_common())
        lag = max((one["lag"] for one in seen), default=0)
        rewinds = sum(_count(log, sink) for log in outcome.logs.values())
        rows.append((sink, share, others, f"{lag:,}", rewinds, now["state"], f"{now['lag']:,}"))
    head = ("sink", "RUNNING", "looks in another state", "highest lag", "read again from the marks")
    head += ("at the end", "lag")
    return [
        "## How the sinks behaved",
        "",
        f"One look about every three seconds, {len(outcome.looks)} in all.",
        "",
        *_table(head, rows),
    ]


def _count(log, sink):
    return sum(
        "reads again from the store's marks" in line and f"sink={sink} " in f"{line} "
        for line in log.splitlines()
    )


def _log_lines(outcome):
    rows = []
    for name, log in outcome.logs.items():
        levels = collections.Counter(
            match.group(1) for match in re.finditer(r"^\S+ (debug|info|warn|error) ", log, re.M)
        )
        rows.append((name, outcome.worker_starts[name], sum(levels.values())))
        rows[-1] += (levels["warn"], levels["error"])
    return [
        "## Workers",
        "",
        *_table(("worker", "starts", "log lines", "warnings", "errors"), rows),
    ]
