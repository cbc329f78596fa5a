#!/usr/bin/env python3
"""Runs the live tests: the program against the real servers of the stack that $LOCKSTEP_STACK names.

    run.py [--json-summary FILE] [--full] [--failfast] [NAME]...

They are those of tests/live and, after them, those of tests/faults: there only what is marked
@quick, unless --full says all. Where names are given, every test with one of them in its name runs,
quick or not. Tests run in the order in which they are written; a file of tests/live is one story, so
a later test of it may use what an earlier one left.
"""

import argparse
import json
import os
import sys
import unittest
from pathlib import Path

LIVE = Path(__file__).resolve().parent
FAULTS = LIVE.parent / "faults"
STACK = LIVE.parent / "stack"
sys.path[:0] = [str(LIVE), str(FAULTS), str(STACK)]

from instance import Instance  # noqa: E402

INSTANCE = Instance(os.environ.get("LOCKSTEP_STACK") or "local")
os.environ.setdefault("LOCKSTEP_CONFIG", str(INSTANCE.config_file))

import harness  # noqa: E402
import support  # noqa: E402
from outcome import InOrder, Lines  # noqa: E402


def flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def tests_of(folder):
    # a loader of its own: it remembers its first folder as the top of all others
    found = InOrder().discover(str(folder), pattern="test_*.py", top_level_dir=str(folder))
    return list(flatten(found))


def choose(names, full):
    every = [(test, True) for test in tests_of(LIVE)]
    every += [(test, full or support.is_quick(test)) for test in tests_of(FAULTS)]
    if names:
        return [test for test, _ in every if any(name in test.id() for name in names)]
    return [test for test, usual in every if usual]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json-summary", type=Path)
    parser.add_argument("--full", action="store_true", help="the long fault tests, too")
    parser.add_argument("--failfast", action="store_true", help="stop at the first failure")
    parser.add_argument("--list", action="store_true", help="only print the names of the tests")
    parser.add_argument("names", nargs="*", help="only tests with one of these in their name")
    options = parser.parse_args()

    tests = choose(options.names, options.full)
    if options.list:
        print(*(test.id() for test in tests), sep="\n")
        return 0
    chosen = unittest.TestSuite(tests)
    runner = unittest.TextTestRunner(
        resultclass=Lines, verbosity=0, stream=sys.stdout, failfast=options.failfast
    )
    result = runner.run(chosen)
    left = harness.stop_leftovers()
    summary = result.summary(len(left))
    for line in left:
        print(f"a test left this running: {line}")
    if options.json_summary:
        options.json_summary.write_text(json.dumps(summary) + "\n", encoding="utf-8")
    return 1 if summary["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
