#!/usr/bin/env python3
"""Runs the live tests: the program against the real servers of the stack that $LOCKSTEP_CONFIG names.

    run.py [--json-summary FILE] [NAME]...

Only tests with a NAME in them run, where names are given. Tests run in the order in which they are
written; a file is one story, so a later test of a file may use what an earlier one left.
"""

import argparse
import json
import sys
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import harness  # noqa: E402


class InOrder(unittest.TestLoader):
    def getTestCaseNames(self, testCaseClass):  # noqa: N802, N803 (unittest's names)
        written = list(testCaseClass.__dict__)
        return sorted(super().getTestCaseNames(testCaseClass), key=written.index)


class Lines(unittest.TextTestResult):
    """One line a test, with its seconds; a failure is told at once."""

    def startTest(self, test):  # noqa: N802
        super().startTest(test)
        self.started = time.monotonic()

    def tell(self, test, outcome):
        seconds = time.monotonic() - self.started
        self.stream.write(f"{outcome:6} {seconds:6.1f} s  {test.id()}\n")
        self.stream.flush()

    def addSuccess(self, test):  # noqa: N802
        self.tell(test, "pass")

    def addFailure(self, test, err):  # noqa: N802
        super().addFailure(test, err)
        self.tell(test, "FAIL")
        self.stream.write(self.failures[-1][1] + "\n")

    def addError(self, test, err):  # noqa: N802
        super().addError(test, err)
        name = test.id() if hasattr(test, "started") or hasattr(self, "started") else str(test)
        self.stream.write(f"ERROR           {name}\n{self.errors[-1][1]}\n")


def flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json-summary", type=Path)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()

    found = InOrder().discover(str(HERE), pattern="test_*.py", top_level_dir=str(HERE))
    chosen = unittest.TestSuite(
        test
        for test in flatten(found)
        if not options.names or any(name in test.id() for name in options.names)
    )
    runner = unittest.TextTestRunner(resultclass=Lines, verbosity=0, stream=sys.stdout)
    result = runner.run(chosen)
    left = harness.stop_leftovers()
    failed = len(result.failures) + len(result.errors) + (1 if left else 0)
    for line in left:
        print(f"a test left this running: {line}")
    if options.json_summary:
        summary = {"passed": result.testsRun - len(result.failures) - len(result.errors)}
        summary["failed"] = failed
        options.json_summary.write_text(json.dumps(summary) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
