#!/usr/bin/env python3
"""Adds up what the parts of a run of the tests told; the last line is `N passed, N failed`.

    totals.py FOLDER [--report FILE --command TEXT]

Each part has left a file FOLDER/NUMBER-NAME.json: {"passed": N, "failed": N}, and where it counts
them one by one also "tests": [[name, outcome, seconds], ...]. The file stands there empty from the
moment the part begins, so one that says nothing is a failure, and FOLDER/NUMBER-NAME.began has the
time. The report is Markdown for people: parts, then every test with its seconds.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Part:
    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    tests: list = field(default_factory=list)


def read_part(path):
    part = Part(path.stem.partition("-")[2])
    began = path.with_suffix(".began")
    if began.exists():
        part.seconds = max(0.0, path.stat().st_mtime - began.stat().st_mtime)
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        part.passed, part.failed = told["passed"], told["failed"]
        part.skipped, part.tests = told.get("skipped", 0), told.get("tests", [])
    except (OSError, ValueError, KeyError):
        part.failed = 1
        part.tests = [["(it ended without a word)", "FAIL", part.seconds]]
    return part


def clock(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def machine():
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} processors, {memory:.0f} GiB, {platform.system()}"


def commit():
    def git(*words):
        done = subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    name = git("rev-parse", "--short=10", "HEAD") or "not known"
    return name + (", with changes" if changed else "")


def write_report(parts, total, command):
    lines = [
        f"# What `{command}` said",
        "",
        f"**{total}**, in {clock(sum(part.seconds for part in parts))}.",
        "",
        f"- commit {commit()}",
        f"- {time.strftime('%Y-%m-%d', time.gmtime())}, {machine()}",
        "",
        "| part | passed | failed | skipped | time |",
        "|---|---:|---:|---:|---:|",
    ]
    for part in parts:
        counts = f"{part.passed} | {part.failed} | {part.skipped}"
        lines.append(f"| {part.name} | {counts} | {clock(part.seconds)} |")
    for part in parts:
        if not part.tests:
            continue
        lines += ["", f"## {part.name}", "", "| test | outcome | seconds |", "|---|---|---:|"]
        lines += [f"| {name} | {outcome} | {seconds:.1f} |" for name, outcome, seconds in part.tests]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--command", default="./dev test")
    options = parser.parse_args()
    parts = [read_part(path) for path in sorted(options.folder.glob("*.json"))]
    failed = sum(part.failed for part in parts)
    total = f"{sum(part.passed for part in parts)} passed, {failed} failed"
    if options.report:
        text = write_report(parts, total, options.command)
        options.report.write_text(text, encoding="utf-8")
    print(total)
    return 1 if failed or not parts else 0


if __name__ == "__main__":
    sys.exit(main())
