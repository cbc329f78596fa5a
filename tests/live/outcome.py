"""What came of each live test: a line as it ends, and the counts of the whole run.

Knows nothing of the stack, so tests/stack/selftest.py tests it on planted tests.
"""

import time
import unittest


class InOrder(unittest.TestLoader):
    """Tests as they are written, not by name."""

    def getTestCaseNames(self, testCaseClass):  # noqa: N802, N803 (unittest's names)
        written = [name for kind in reversed(testCaseClass.__mro__) for name in kind.__dict__]
        return sorted(super().getTestCaseNames(testCaseClass), key=written.index)


class Lines(unittest.TextTestResult):
    """One line a test, with its seconds; a failure is told at once.

    What is told need not be a test: a class whose setUpClass fails or skips is one entry, whatever
    it holds, and a test that fails in several subtests is one for each of them."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.told = []
        self.started = None

    def startTest(self, test):  # noqa: N802
        super().startTest(test)
        self.started = time.monotonic()

    def stopTest(self, test):  # noqa: N802
        super().stopTest(test)
        self.started = None

    def tell(self, test, outcome, details=""):
        seconds = time.monotonic() - self.started if self.started else 0.0
        self.told.append([test.id(), outcome, seconds])
        self.stream.write(f"{outcome:6} {seconds:6.1f} s  {test.id()}\n")
        if details:
            self.stream.write(f"{details}\n")
        self.stream.flush()

    def addSuccess(self, test):  # noqa: N802
        super().addSuccess(test)
        self.tell(test, "pass")

    def addFailure(self, test, err):  # noqa: N802
        super().addFailure(test, err)
        self.tell(test, "FAIL", self.failures[-1][1])

    def addError(self, test, err):  # noqa: N802
        super().addError(test, err)
        self.tell(test, "ERROR", self.errors[-1][1])

    def addSubTest(self, test, subtest, err):  # noqa: N802
        super().addSubTest(test, subtest, err)
        if err is None:
            return  # the test tells once that all of it passed
        if issubclass(err[0], test.failureException):
            self.tell(subtest, "FAIL", self.failures[-1][1])
        else:
            self.tell(subtest, "ERROR", self.errors[-1][1])

    def addSkip(self, test, reason):  # noqa: N802
        super().addSkip(test, reason)
        self.told.append([test.id(), f"skipped: {reason}", 0.0])
        self.stream.write(f"skip            {test.id()}: {reason}\n")

    def summary(self, left=0):
        """The counts, for totals.py; left: what the tests left running, which is a failure."""
        return {
            "passed": sum(outcome == "pass" for _, outcome, _ in self.told),
            "failed": len(self.failures) + len(self.errors) + (1 if left else 0),
            "skipped": len(self.skipped),
            "tests": self.told,
        }
