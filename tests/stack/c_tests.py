#!/usr/bin/env python3
"""Runs the test programs that meson knows of in one build directory, and counts what they tell.

    c_tests.py BUILD_DIR --json-summary FILE [--live] [--sanitized] [--filter NAME]...

Tests of meson's suite "live" need the local stack: they run with --live, and no others do then.
With --sanitized only what is built in BUILD_DIR runs: a script would show nothing new there.

Why not `meson test`: it counts programs, not tests; and Criterion runs every test in a child, so
that a leak which the sanitizer finds there leaves the test passed and the exit code 0. Here the
sanitizers write their reports into a directory, and a test that left one has failed.

Most tests wait for a server or a timeout and hardly compute, so many more of them run at once than
there are processors; of live tests, which share one stack, a few more.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM_TIMEOUT_S = 900
SYNTHESIS = re.compile(r"Synthesis: Tested: (\d+) \| Passing: (\d+) \| Failing: (\d+)")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
UNDEFINED = "runtime error: "  # as UBSan says it, sometimes past its log_path
LEAK = "LeakSanitizer"
FRAME = re.compile(r"^ +#\d+ .*", re.MULTILINE)
FRAMEWORK = ("libcriterion", "__interceptor_")
REPORT_LINES = 40
JOBS = 8 * (os.cpu_count() or 1)
LIVE_JOBS = min(8, 3 * (os.cpu_count() or 1))


def is_live(test: dict) -> bool:
    return any(suite.rpartition(":")[2] == "live" for suite in test["suite"])


def registered(build: Path, live: bool, sanitized: bool) -> list:
    text = subprocess.run(
        ["meson", "introspect", "--tests", str(build)], stdout=subprocess.PIPE, check=True
    ).stdout
    return [
        test
        for test in json.loads(text)
        if is_live(test) == live
        and (not sanitized or Path(test["cmd"][0]).is_relative_to(build.resolve()))
    ]


def is_criterion(test: dict) -> bool:
    return b"libcriterion" in Path(test["cmd"][0]).read_bytes()


def criterion_filter(names: list) -> list:
    """One pattern for all names: of several --filter, Criterion obeys the last only."""
    if not names:
        return []
    return ["--filter", "@(" + "|".join(f"*{name}*" for name in names) + ")"]


def run(build: Path, test: dict, reports: Path, filters: list) -> tuple:
    """(passed, failed) of one program; each of its tests is counted once."""
    arguments = []
    if is_criterion(test):
        jobs = LIVE_JOBS if is_live(test) else JOBS
        arguments = [f"-j{jobs}", *criterion_filter(filters)]
    elif filters and not any(name in test["name"] for name in filters):
        return 0, 0
    begin, known = time.monotonic(), set(reports.iterdir())
    output, code = execute(test["cmd"] + arguments, test.get("workdir") or build, reports)
    found = SYNTHESIS.search(COLOURS.sub("", output))
    if found:
        tested, passed = int(found[1]), int(found[2])
        failed = tested - passed
    else:
        tested, failed = 1, int(code != 0)
    told = [path for path in sorted(reports.iterdir()) if path not in known and path.stat().st_size]
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in told}
    for path in [path for path, text in texts.items() if not is_ours(text)]:
        del texts[path]
        code = 0 if found else code  # which is what the report has made of it
    # one that leaked was counted as passed; one that the sanitizer stopped has failed already
    failed = min(tested, failed + sum(LEAK in text for text in texts.values()))
    if failed == 0 and (code != 0 or texts or UNDEFINED in output):
        failed = 1
    passed = max(0, tested - failed)
    seconds = time.monotonic() - begin
    print(f"{test['name']}: {passed} passed, {failed} failed in {seconds:.1f} s", flush=True)
    if failed:
        print(output.rstrip() + f"\n{test['name']}: exit code {code}", flush=True)
        show_reports(texts)
    return passed, failed


def is_ours(report: str) -> bool:
    """Whether it names any code but the test framework's, which leaks at its end now and then."""
    frames = FRAME.findall(report)
    return not frames or any(not any(name in frame for name in FRAMEWORK) for frame in frames)


def execute(command: list, directory, reports: Path) -> tuple:
    """(output, exit code); -1 if it did not end."""
    environment = {
        **os.environ,
        "CRITERION_USE_COLORS": "never",
        "ASAN_OPTIONS": f"log_path={reports}/asan:detect_leaks=1:strict_string_checks=1",
        "UBSAN_OPTIONS": f"log_path={reports}/ubsan:print_stacktrace=1:halt_on_error=1",
    }
    try:
        done = subprocess.run(
            command,
            env=environment,
            cwd=directory,  # as meson test has it
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PROGRAM_TIMEOUT_S,
            check=False,
        )
        return done.stdout.decode(errors="replace"), done.returncode
    except subprocess.TimeoutExpired as late:
        output = (late.stdout or b"").decode(errors="replace")
        return output + f"\nstopped: it did not end within {PROGRAM_TIMEOUT_S} s", -1


def show_reports(texts: dict) -> None:
    for report, text in texts.items():
        lines = text.splitlines()
        print(f"sanitizer report {report.name}:")
        print("\n".join(f"    {line}" for line in lines[:REPORT_LINES]))
        if len(lines) > REPORT_LINES:
            print(f"    ... {len(lines) - REPORT_LINES} more lines")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path)
    parser.add_argument("--json-summary", type=Path, required=True)
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--sanitized", action="store_true")
    parser.add_argument("--filter", action="append", default=[])
    options = parser.parse_args()

    tests = registered(options.build, options.live, options.sanitized)
    passed, failed, told = 0, 0, []
    with tempfile.TemporaryDirectory(prefix="lockstep-tests.") as work:
        for test in tests:
            begin = time.monotonic()
            good, bad = run(options.build, test, Path(work), options.filter)
            passed, failed = passed + good, failed + bad
            outcome = f"{good} passed, {bad} failed" if bad else f"{good} passed"
            told.append([test["name"], outcome, time.monotonic() - begin])
    if not tests and not options.live:
        print(f"no test is registered in {options.build}")
        failed += 1
    summary = {"passed": passed, "failed": failed, "tests": told}
    options.json_summary.write_text(json.dumps(summary) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
