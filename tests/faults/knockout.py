#!/usr/bin/env python3
"""Takes the handlers of faults out, one by one, and expects a test to fail: else it proves nothing.

    knockout.py [--list] [--commit REV] [--report FILE] [NAME]...

tests/faults/knockouts/AREA.yaml lists them; only those with a NAME in their area, test, file or
reason run, where names are given:

    - test: a_redis_master_that_was_flushed     # a test whose name holds this must fail, when in
      file: consumers/redis_apply.c             # this file
      find: "if (unexpected)"                   # this text, which is there exactly once,
      replace: "if (false)"                     # is replaced by this
      why: a mark is never written over one that is not the last seen
      servers: [kafka, redis-a]                 # optional: all that the test needs; else the nine
      also: {file: …, find: …, replace: …}      # optional: where a second handler would do as well

The tree is copied once, next to the downloads, and built there, so that a knockout compiles one
file and links; the checkout itself is never touched. Each knockout gets a fresh stack
(LOCKSTEP_STACK, default "knockout"). A test that does not pass with nothing taken out is an error
too: before anything is taken out, those of an area run together, and one that fails there once more
alone with more patience, which it has without its handler, too.

FILE gets a line of JSON for each entry as soon as it is judged: the outcome, and in "said" the
words the test failed with, which tell whether it saw the handler missing or just something else.
What FILE has as caught is passed over, so that the same command goes on after an interruption.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "stack"))

from instance import cache_root, locked  # noqa: E402

ENTRIES = ROOT / "tests" / "faults" / "knockouts"
EDIT = {"file", "find", "replace"}
KEYS = EDIT | {"test", "why"}
TARGETS = ("cli/lockstep", "cli/lockstep-link", "tests/gen/gen-members")
HASTY, PATIENT = "0.5", "1"  # a test that fails mostly waits in vain
TEST_TIMEOUT_S = 900
PASSED = "\nall of them passed"  # the last words of a run that did
SAID_SIZE = 300
# how the last line of a traceback begins
FAILURE = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Expired|Trouble)\b.*", re.MULTILINE)


class Trouble(Exception):
    """Why an entry could not be judged."""


@dataclass
class Entry:
    area: str
    test: str
    file: str
    find: str
    replace: str
    why: str
    servers: tuple = ()
    also: dict = None

    @property
    def edits(self):
        """(file, find, replace) of all that is taken out."""
        second = [(self.also["file"], self.also["find"], self.also["replace"])] if self.also else []
        return [(self.file, self.find, self.replace), *second]

    @property
    def title(self):
        return f"{self.area}: {self.file}: {self.why}"

    @property
    def identity(self):
        """What a report knows it by: an entry that was changed is another."""
        known = {key: getattr(self, key) for key in ("area", *sorted(KEYS))}
        return {**known, "also": self.also} if self.also else known

    def matches(self, names):
        text = f"{self.title} {self.test}"
        return not names or any(name in text for name in names)


def read_entries():
    found = []
    for path in sorted(ENTRIES.glob("*.yaml")):
        for number, item in enumerate(yaml.safe_load(path.read_text(encoding="utf-8")) or [], 1):
            where = f"{path.name}, entry {number}"
            if not isinstance(item, dict) or not KEYS <= set(item) <= KEYS | {"servers", "also"}:
                raise Trouble(f"{where}: expected {', '.join(sorted(KEYS))}; servers and also")
            servers, also = tuple(item.pop("servers", ())), item.pop("also", None)
            if also is not None and set(also) != EDIT:
                raise Trouble(f"{where}: also: expected exactly {', '.join(sorted(EDIT))}")
            words = {k: str(v) for k, v in item.items()}
            found.append(Entry(path.stem, **words, servers=servers, also=also))
    return found


class Copy:
    """The copied tree and its build directory; kept between runs, so that builds stay short."""

    def __init__(self, folder, commit):
        self.tree, self.build = folder / "tree", folder / "build"
        self.tree.mkdir(parents=True, exist_ok=True)
        self._take_files(commit)
        if not (self.build / "build.ninja").exists():
            shutil.rmtree(self.build, ignore_errors=True)
            # without -Werror: what is taken out leaves things unused
            self._run(["meson", "setup", "-Dwerror=false", str(self.build), str(self.tree)])
        self.compile()

    def _take_files(self, commit):
        """Only what differs is written, so that only that is compiled again."""
        wanted = {}
        if commit:
            names = self._git("ls-tree", "-r", "-z", "--name-only", commit)
            for name in filter(None, names.decode().split("\0")):
                wanted[name] = self._git("show", f"{commit}:{name}")
        else:
            listed = self._git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
            for name in filter(None, listed.decode().split("\0")):
                path = ROOT / name
                if path.is_file():
                    wanted[name] = path.read_bytes()
        for path in self.tree.rglob("*"):
            name = str(path.relative_to(self.tree))
            if path.is_file() and name not in wanted and "__pycache__" not in name:
                path.unlink()
        for name, content in wanted.items():
            path = self.tree / name
            if not path.is_file() or path.read_bytes() != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            if (ROOT / name).exists():
                path.chmod((ROOT / name).stat().st_mode & 0o777)

    def _git(self, *words):
        command = ["git", "-C", str(ROOT), *words]
        return subprocess.run(command, check=True, capture_output=True).stdout

    def _run(self, command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Trouble(f"{command[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}")

    def compile(self):
        self._run(["ninja", "--quiet", "-j2", "-C", str(self.build), *TARGETS])

    def without(self, entry):
        """A context manager: the tree, built with the entry's handler taken out."""
        return Without(self, entry)


class Without:
    def __init__(self, copy, entry):
        self.copy, self.entry = copy, entry
        self.before = {}  # by path: what stood there

    def __enter__(self):
        try:
            for edit in self.entry.edits:
                self._take_out(*edit)
        except Trouble:
            self.__exit__()
            raise
        try:
            self.copy.compile()
        except Trouble as trouble:
            self.__exit__()
            raise Trouble(f"does not build without it: {trouble}") from None

    def _take_out(self, file, find, replace):
        path = self.copy.tree / file
        if not path.is_file():
            raise Trouble(f"there is no {file}")
        text = path.read_text(encoding="utf-8")
        times = text.count(find)
        if times != 1:
            raise Trouble(f"its text is there {times} times in {file}, not once")
        self.before.setdefault(path, text)
        path.write_text(text.replace(find, replace), encoding="utf-8")

    def __exit__(self, *exc):
        for path, text in self.before.items():
            path.write_text(text, encoding="utf-8")


class Runner:
    """Runs tests of the copy, each time on a fresh stack; `said` is how the last one failed."""

    def __init__(self, copy, log, stack):
        self.copy, self.log, self.said = copy, log, ""
        self.environment = {
            **os.environ,
            "LOCKSTEP_STACK": stack,
            "LOCKSTEP_BIN": str(copy.build / "lockstep"),
        }
        self.environment.pop("LOCKSTEP_CONFIG", None)

    def passes(self, entry, patience, *options):
        """Whether the entry's tests pass. Raises Trouble if there are none."""
        self.environment["LOCKSTEP_TEST_PATIENCE"] = patience
        text = self.run(entry.servers, [entry.test], options)
        self.said = failure_of(text)
        return text.endswith(PASSED)

    def passing(self, servers, tests):
        """Those of the tests that pass, run together on one stack with nothing taken out."""
        self.copy.compile()
        self.environment["LOCKSTEP_TEST_PATIENCE"] = HASTY
        lines = self.run(servers, tests).splitlines()
        good = [line for line in lines if line.startswith("pass ")]
        bad = [line for line in lines if line.startswith(("FAIL ", "ERROR "))]
        return {
            test
            for test in tests
            if any(test in line for line in good) and not any(test in line for line in bad)
        }

    def run(self, servers, tests, options=()):
        """What the tests print, on a fresh stack; ends with PASSED if all of them do."""
        run_py = str(self.copy.tree / "tests" / "live" / "run.py")
        self.stack("wipe")
        try:
            self.stack("up", *servers)
            listed = self.output([sys.executable, run_py, "--list", *tests])
            for test in tests:
                if test not in listed:
                    raise Trouble(f"no test has '{test}' in its name")
            begin = self.log.seek(0, os.SEEK_END)
            passed = self.ends_well([sys.executable, run_py, *options, *tests], len(tests))
            text = Path(self.log.name).read_bytes()[begin:].decode("utf-8", "replace")
            return text + PASSED if passed else text
        finally:
            self.stack("wipe")

    def stack(self, *words):
        code = subprocess.run(
            [sys.executable, str(self.copy.tree / "tests" / "stack" / "stack.py"), *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            check=False,
        ).returncode
        if code != 0:
            raise Trouble(f"stack {' '.join(words)}: exit code {code}; see {self.log.name}")

    def output(self, command):
        return subprocess.run(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            check=False,
        ).stdout

    def ends_well(self, command, n_tests):
        """Exit code 0 within the time; what it leaves running is ended with it."""
        child = subprocess.Popen(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,  # a group of its own: servers are in others
        )
        try:
            code = child.wait(TEST_TIMEOUT_S * n_tests)
        except subprocess.TimeoutExpired:
            return False
        finally:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()
        if code not in (0, 1):
            raise Trouble(f"the tests did not run: exit code {code}; see {self.log.name}")
        return code == 0


def failure_of(text):
    """The first failure in what tests have printed."""
    if text.endswith(PASSED):
        return ""
    found = FAILURE.search(text)
    return found.group()[:SAID_SIZE] if found else "no answer in time"


class Report:
    """What became of each entry: a line on standard output and, if asked for, one in a file."""

    def __init__(self, path):
        self.path, self.counts, self.open = path, {"caught": 0, "MISSED": 0, "ERROR": 0}, []
        lines = path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []
        self.before = [json.loads(line) for line in lines]

    def has(self, entry):
        """Whether it was caught in a run before this one."""
        return any(
            line["outcome"] == "caught" and entry.identity.items() <= line.items()
            for line in self.before
        )

    def add(self, entry, outcome, begin, said):
        seconds = round(time.monotonic() - begin, 1)
        line = f"{outcome:8} {seconds:6.1f} s  {entry.title} ({entry.test})"
        told = f"{line}: {said}" if outcome == "ERROR" else line
        print(told, flush=True)
        self.counts[outcome] += 1
        if outcome != "caught":
            self.open.append(told)
        if self.path:
            row = {"outcome": outcome, "seconds": seconds, **entry.identity, "said": said}
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def failed(self):
        return self.counts["MISSED"] + self.counts["ERROR"]

    def summary(self, n_before):
        earlier = f" ({n_before} more were caught in an earlier run)" if n_before else ""
        again = ["", "not caught:", *self.open] if self.open else []
        total = f"{self.counts['caught']} passed, {self.failed()} failed{earlier}"
        return "\n".join([*again, total])


def find_healthy(entries, runner):
    """{test: the patience with which it passes with nothing taken out}"""
    healthy = {}
    # a test that needs all of a plain stack says so by naming no server
    for area, named in sorted({(entry.area, bool(entry.servers)) for entry in entries}):
        group = [entry for entry in entries if (entry.area, bool(entry.servers)) == (area, named)]
        tests = {entry.test for entry in group}
        servers = {server for entry in group for server in entry.servers}
        begin = time.monotonic()
        try:
            healthy |= dict.fromkeys(runner.passing(sorted(servers), sorted(tests)), HASTY)
        except Trouble as trouble:
            print(f"{area}: {trouble}", flush=True)
        told = f"{area}: {len(tests & healthy.keys())} of {len(tests)} tests pass as they are"
        print(f"ready    {time.monotonic() - begin:6.1f} s  {told}", flush=True)
    return healthy


def judge(entry, runner, healthy):
    """(outcome, what was said); `healthy` is what find_healthy() said, and grows."""
    try:
        if entry.test not in healthy:
            runner.copy.compile()  # what the entry before had taken out is back
            if not runner.passes(entry, PATIENT):
                raise Trouble(f"the test fails with nothing taken out: {runner.said}")
            healthy[entry.test] = PATIENT
        with runner.copy.without(entry):
            passed = runner.passes(entry, healthy[entry.test], "--failfast")
    except Trouble as trouble:
        return "ERROR", str(trouble)
    return ("MISSED", "") if passed else ("caught", runner.said)


def judge_all(entries, runner, report):
    healthy = find_healthy(entries, runner)
    for entry in entries:
        begin = time.monotonic()
        outcome, said = judge(entry, runner, healthy)
        report.add(entry, outcome, begin, said)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="only print the entries")
    parser.add_argument("--commit", help="of this commit instead of the work tree")
    parser.add_argument("--report", type=Path, metavar="FILE", help="go on with what FILE says")
    parser.add_argument("names", nargs="*", help="only entries with one of these in them")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the stack is wiped even then
    try:
        entries = [entry for entry in read_entries() if entry.matches(options.names)]
        if options.list:
            for entry in entries:
                print(f"{entry.title} ({entry.test})")
            return 0
        if not entries:
            raise Trouble("no entry matches; see --list")
        stack = os.environ.get("LOCKSTEP_STACK") or "knockout"
        if stack == "local":
            raise Trouble("LOCKSTEP_STACK=local: the stack is wiped for every entry, so not 'local'")
        report = Report(options.report)
        left = [entry for entry in entries if not report.has(entry)]
        folder = cache_root() / f"knockout-{stack}"
        with locked(folder / "lock", "waiting for another run of the knockouts"):
            copy = Copy(folder, options.commit)
            with open(folder / "log", "w", encoding="utf-8") as log:
                judge_all(left, Runner(copy, log, stack), report)
            print(f"what the tests said: {folder / 'log'}")
    except Trouble as trouble:
        print(f"knockout: {trouble}", file=sys.stderr)
        return 1
    print(report.summary(len(entries) - len(left)))
    return 1 if report.failed() else 0


if __name__ == "__main__":
    sys.exit(main())
