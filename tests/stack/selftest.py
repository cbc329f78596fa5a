#!/usr/bin/env python3
"""Tests of the stack and of the test runner: what may never happen to a developer's machine.

    selftest.py --json-summary FILE [NAME]...
"""

import argparse
import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "live")]

import c_tests  # pylint: disable=wrong-import-position
import config
import outcome
import stack
from instance import MARKER, Instance, StackError
from process import Proc, port_is_free, port_owner, start_time

LEAKY = """
#include <criterion/criterion.h>
#include <stdlib.h>
static void *volatile kept;
Test(planted, passes) { cr_assert(1); }
Test(planted, leaks) { kept = malloc(77); kept = NULL; }
"""
MESON = """
project('planted', 'c', default_options: ['b_sanitize=address,undefined', 'b_lundef=false'])
test('planted', executable('planted', 'planted.c', dependencies: dependency('criterion')))
"""


class StackCase(unittest.TestCase):
    """Each test gets a state directory of its own; no server is started."""

    def setUp(self):
        self.enterContext(contextlib.redirect_stdout(sys.stderr))
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="lockstep-selftest.")))
        changed = {"LOCKSTEP_STATE": str(self.root)}
        before = {name: os.environ.get(name) for name in (*changed, "LOCKSTEP_PORT_OFFSET")}
        os.environ.update(changed)
        os.environ.pop("LOCKSTEP_PORT_OFFSET", None)
        self.addCleanup(self._restore, before)

    @staticmethod
    def _restore(before: dict):
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value

    def made(self, name: str) -> Instance:
        instance = Instance(name)
        instance.create()
        return instance


class Processes(StackCase):
    def bystander(self) -> subprocess.Popen:
        process = subprocess.Popen(["tail", "-f", "/dev/null"])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def proc(self) -> Proc:
        instance = self.made("one")
        return Proc("kafka", instance, {"broker": 1}, instance.sub("data"))

    def test_a_pid_that_was_given_to_another_process_is_never_signalled(self):
        proc, bystander = self.proc(), self.bystander()
        known = {"pid": bystander.pid, "start_time": start_time(bystander.pid) - 1, "ready": True}
        proc.pid_file.write_text(json.dumps(known), encoding="utf-8")
        self.assertIsNone(proc.pid())
        self.assertEqual(proc.stop(), "was not running")
        self.assertIsNone(bystander.poll())

    def test_a_process_that_never_lived_counts_as_stopped(self):
        proc = self.proc()
        known = {"pid": 2**22 + 1, "start_time": None, "ready": False}
        proc.pid_file.write_text(json.dumps(known), encoding="utf-8")
        self.assertIsNone(proc.pid())

    def test_a_pid_file_that_is_not_understood_signals_nothing(self):
        proc, bystander = self.proc(), self.bystander()
        started = start_time(bystander.pid)
        for text in ("", "[]", "17", '{"pid": "x", "start_time": 1}', f'{{"pid": {bystander.pid}}}'):
            proc.pid_file.write_text(text, encoding="utf-8")
            self.assertIsNone(proc.pid(), text)
            proc.mark_ready()
            self.assertEqual(proc.stop(), "was not running", text)
        self.assertIsNone(bystander.poll())
        # of an older version, which wrote less: still recognised, and stopped
        proc.pid_file.write_text(
            json.dumps({"pid": bystander.pid, "start_time": started}), encoding="utf-8"
        )
        self.assertEqual(proc.stop(), "stopped")

    def test_what_was_started_is_stopped_and_then_forgotten(self):
        proc = self.proc()
        proc.argv = ["tail", "-f", "/dev/null"]
        proc.start()
        self.assertIsNotNone(proc.pid())
        self.assertEqual(proc.stop(), "stopped")
        self.assertIsNone(proc.pid())
        self.assertFalse(proc.pid_file.exists())

    def test_a_taken_port_is_reported_with_its_process(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen(1)
            port = taken.getsockname()[1]
            self.assertFalse(port_is_free(port))
            self.assertIn(f"pid {os.getpid()}: ", port_owner(port))
        self.assertTrue(port_is_free(port))


class Instances(StackCase):
    def test_no_two_ports_are_equal_modulo_1000_so_stacks_never_meet(self):
        servers = stack.make_all(self.made("local"))
        ports = [port for s in servers for proc in s.procs for port in proc.ports.values()]
        self.assertEqual(len(ports), len({port % 1000 for port in ports}))
        self.assertLess(max(ports) + 13000, 32768, "reaches the ephemeral ports")

    def test_every_new_stack_gets_ports_of_its_own_and_keeps_them(self):
        names = ["local", "test", *(f"mine-{i}" for i in range(8))]
        offsets = {name: self.made(name).offset for name in names}
        self.assertEqual(len(set(offsets.values())), len(names))
        self.assertEqual(offsets["local"], 0)
        self.assertEqual(offsets, {name: self.made(name).offset for name in names})

    def test_a_foreign_directory_is_neither_used_nor_wiped(self):
        (self.root / "foreign").mkdir()
        (self.root / "foreign" / "thesis.txt").touch()
        instance = Instance("foreign")
        self.assertRaises(StackError, instance.create)
        self.assertRaises(StackError, instance.remove)
        self.assertTrue((self.root / "foreign" / "thesis.txt").exists())

    def test_a_name_can_not_leave_the_state_directory(self):
        for name in ("../other", "/etc", "", "a b", "."):
            self.assertRaises(StackError, Instance, name)

    def test_secrets_are_for_their_owner_only_and_survive(self):
        instance = self.made("one")
        secret = instance.secret("mysql")
        self.assertEqual(instance.secret_file("mysql").stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.made("one").secret("mysql"), secret)
        self.assertNotEqual(secret, instance.secret("redis"))

    def test_wipe_leaves_nothing_behind(self):
        instance = self.made("one")
        self.assertTrue((instance.dir / MARKER).exists())
        instance.remove()
        self.assertFalse(instance.dir.exists())

    def test_an_empty_directory_that_an_interrupted_wipe_left_is_no_hindrance(self):
        instance = Instance("one")
        instance.dir.mkdir()
        instance.remove()
        self.assertFalse(instance.dir.exists())

    def test_the_configuration_is_yaml_and_names_every_port(self):
        import yaml  # of the virtual environment: everything else here does without

        instance = self.made("test")
        config.write(instance)
        written = yaml.safe_load(instance.config_file.read_text(encoding="utf-8"))
        self.assertEqual(written["kafka"]["brokers"], "127.0.0.1:20092")
        self.assertEqual(len(written["sinks"]), 7)
        servers = written["sinks"]["mysql"]["servers"]
        self.assertEqual([s["partitions"] for s in servers], ["0-3", "4-7"])
        self.assertEqual(written["sinks"]["redis-a"]["nodes"][0], "127.0.0.1:17379")
        self.assertTrue(Path(servers[0]["password_file"]).exists())


class Runner(unittest.TestCase):
    def test_a_planted_leak_makes_the_run_fail(self):
        with tempfile.TemporaryDirectory(prefix="lockstep-selftest.") as work:
            Path(work, "meson.build").write_text(MESON, encoding="utf-8")
            Path(work, "planted.c").write_text(LEAKY, encoding="utf-8")
            build, summary = Path(work, "build"), Path(work, "summary.json")
            for command in (["meson", "setup", build, work], ["ninja", "-C", build]):
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            runner = [sys.executable, HERE / "c_tests.py", build, "--json-summary", summary]
            for names, passed, failed in (
                (["passes"], 1, 0),
                (["leaks", "passes"], 1, 1),  # all names count, not only the last
                (["passes", "leaks"], 1, 1),
                ([], 1, 1),
            ):
                filters = [word for name in names for word in ("--filter", name)]
                run = subprocess.run([*runner, *filters], check=False, stdout=subprocess.DEVNULL)
                self.assertEqual(run.returncode, 1 if failed else 0)
                told = json.loads(summary.read_text(encoding="utf-8"))
                self.assertEqual((told["passed"], told["failed"]), (passed, failed))


    def test_a_leak_is_ours_if_any_code_but_the_frameworks_is_named(self):
        theirs = (
            "    #0 0x7f2f678b83b7 in __interceptor_calloc asan_malloc_linux.cpp:77\n"
            "    #1 0x7f2f67faf332  (/lib/x86_64-linux-gnu/libcriterion.so.3+0x1a332)\n"
        )
        self.assertFalse(c_tests.is_ours(theirs))
        self.assertTrue(c_tests.is_ours(theirs + "    #2 0x55fc55f7a0e0 in ls_buf_append buf.c:9\n"))
        self.assertTrue(c_tests.is_ours("a report of another form"))


class Outcomes(unittest.TestCase):
    """What tests/live/run.py says of a run."""

    def ran(self, planted):
        tests = outcome.InOrder().loadTestsFromTestCase(planted)
        said = io.StringIO()
        runner = unittest.TextTestRunner(resultclass=outcome.Lines, verbosity=0, stream=said)
        return runner.run(tests), said.getvalue()

    def counts(self, planted, left=0):
        told = self.ran(planted)[0].summary(left)
        return told["passed"], told["failed"], told["skipped"]

    def test_each_test_counts_by_what_came_of_it(self):
        class Planted(unittest.TestCase):
            def test_b_passes(self):
                pass

            def test_a_fails(self):
                self.fail("planted")

            def test_is_skipped(self):
                self.skipTest("planted")

        self.assertEqual(self.counts(Planted), (1, 1, 1))
        self.assertEqual(self.counts(Planted, left=2), (1, 2, 1))
        names = [name.rsplit(".", 1)[1] for name, _, _ in self.ran(Planted)[0].summary()["tests"]]
        self.assertEqual(names, ["test_b_passes", "test_a_fails", "test_is_skipped"])

    def test_a_class_that_is_skipped_takes_nothing_from_those_that_passed(self):
        class Skipped(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                raise unittest.SkipTest("planted")

            def test_one(self):
                pass

            def test_two(self):
                pass

        self.assertEqual(self.counts(Skipped), (0, 0, 1))

    def test_a_class_that_can_not_be_set_up_is_one_failure(self):
        class Broken(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                raise OSError("planted")

            def test_one(self):
                pass

        self.assertEqual(self.counts(Broken), (0, 1, 0))

    def test_each_subtest_that_fails_is_told_and_the_test_has_not_passed(self):
        class Planted(unittest.TestCase):
            def test_some(self):
                for number in range(3):
                    with self.subTest(number=number):
                        self.assertEqual(number, 0)

            def test_all(self):
                for number in range(3):
                    with self.subTest(number=number):
                        pass

        result, said = self.ran(Planted)
        told = result.summary()
        self.assertEqual((told["passed"], told["failed"]), (1, 2))
        self.assertEqual([out for _, out, _ in told["tests"]], ["FAIL", "FAIL", "pass"])
        self.assertIn("test_some (number=2)\n", said)


class Knockouts(unittest.TestCase):
    def test_what_each_takes_out_is_there_once(self):
        sys.path.append(str(HERE.parent / "faults"))
        self.addCleanup(sys.path.pop)
        import knockout  # needs yaml, which is of the virtual environment

        entries = knockout.read_entries()
        self.assertGreater(len(entries), 100)
        times = {
            f"{entry.title} ({entry.test}): {file}": (knockout.ROOT / file)
            .read_text(encoding="utf-8")
            .count(find)
            for entry in entries
            for file, find, _ in entry.edits
        }
        self.assertEqual({title: n for title, n in times.items() if n != 1}, {})


class Totals(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="lockstep-selftest.")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def part(self, name, told):
        (self.folder / f"{name}.began").touch()
        (self.folder / f"{name}.json").write_text(told, encoding="utf-8")

    def total(self, *options):
        words = [sys.executable, HERE / "totals.py", self.folder, *options]
        run = subprocess.run(words, check=False, capture_output=True, text=True)
        return run.returncode, run.stdout.splitlines()[-1]

    def test_parts_are_added_up(self):
        self.part("00-one", '{"passed": 3, "failed": 0}')
        self.part("01-two", '{"passed": 4, "failed": 0, "tests": [["t", "pass", 0.25]]}')
        self.assertEqual(self.total(), (0, "7 passed, 0 failed"))

    def test_a_part_that_ended_without_a_word_has_failed(self):
        self.part("00-one", '{"passed": 3, "failed": 0}')
        self.part("01-two", "")
        self.assertEqual(self.total(), (1, "3 passed, 1 failed"))

    def test_the_report_names_parts_and_tests(self):
        self.part("00-one", '{"passed": 1, "failed": 1, "tests": [["a", "pass", 0.5], ["b", "FAIL", 2]]}')
        report = self.folder / "report.md"
        self.assertEqual(self.total("--report", report), (1, "1 passed, 1 failed"))
        text = report.read_text(encoding="utf-8")
        self.assertIn("**1 passed, 1 failed**", text)
        self.assertIn("| one | 1 | 1 | 0 |", text)
        self.assertIn("| b | FAIL | 2.0 |", text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json-summary", type=Path, required=True)
    parser.add_argument("name", nargs="*", help="only tests with this in their name")
    options = parser.parse_args()
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{name}*" for name in options.name] or None
    tests = loader.loadTestsFromModule(sys.modules[__name__])
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=0).run(tests)
    failed = len(result.failures) + len(result.errors)
    told = {"passed": result.testsRun - failed, "failed": failed}
    options.json_summary.write_text(json.dumps(told) + "\n", encoding="utf-8")
    print(f"selftest: {told['passed']} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
