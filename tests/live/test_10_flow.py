"""The whole flow: publish once, seven real stores follow, through crashes, rebalances and a second
reading of everything."""

import json
import random
import unittest

import harness
import stores
from harness import SINKS, Worker, lockstep, lockstep_json, status, wait_caught_up, wait_until

MEMBERS, EVENTS = 100_000, 200_000
COMPARED = 1000


class Flow(unittest.TestCase):
    def assert_equal_to_the_log(self, *args):
        report = lockstep_json("verify", *args)
        for sink in report["sinks"]:
            self.assertEqual(sink["result"], "equal", sink)
        return report

    def test_topics_and_stores_are_made_once_and_left_alone_after(self):
        lockstep("topics", "create")
        lockstep("topics", "check")
        lockstep("schema", "apply")
        again = lockstep("topics", "create").stdout
        self.assertNotIn(": created", again)
        self.assertNotIn("written", again)
        again = lockstep("schema", "apply").stdout
        self.assertNotIn("made", again)
        self.assertNotIn("created", again)
        lockstep("schema", "diff")

    def test_an_empty_log_is_equal_everywhere(self):
        with Worker("--all"):
            wait_caught_up()
        report = self.assert_equal_to_the_log()
        self.assertEqual({sink["members"] for sink in report["sinks"]}, {0})

    def test_a_worker_killed_in_the_middle_of_200000_events_loses_nothing(self):
        events = harness.generate(MEMBERS, EVENTS, seed=7)
        summary = lockstep("publish", "--entity", "member", "-", stdin=events)
        self.assertIn(b"200000 published, 0 rejected", summary.stderr)
        with Worker("--all") as worker:

            def in_the_middle():
                return 0 < status()["mysql"]["lag"] < EVENTS

            wait_until(in_the_middle, "mysql has applied some of it")
            worker.kill()
        before = lockstep("verify", "--sink", "mysql", "--wait", "0", "--json", expect=2)
        self.assertGreater(json.loads(before.stdout)["sinks"][0]["counts"]["lagging"], 0)
        with Worker("--all"):
            wait_caught_up(timeout_s=240)
        self.assert_equal_to_the_log()

    def test_1000_members_are_the_same_in_the_log_and_all_stores_field_by_field(self):
        newest = stores.newest_of_log()
        deleted = sorted(key for key, image in newest.items() if image[1])
        live = sorted(key for key, image in newest.items() if not image[1])
        self.assertGreater(len(deleted), 200)
        chosen = random.Random(1)
        keys = chosen.sample(deleted, 200) + chosen.sample(live, COMPARED - 200)
        for name in SINKS:
            held = stores.from_store(name, keys)
            for key in keys:
                self.assertEqual(held.get(key), newest[key], f"{name}: {key}")

    def test_reading_all_of_the_log_again_changes_no_store(self):
        report = lockstep_json("replay", "--all")
        self.assertEqual(len(report["sinks"]), len(SINKS))
        for sink in report["sinks"]:
            self.assertEqual(sink["applied"], 0, sink)
            self.assertEqual(sink["records"], EVENTS, sink)
            self.assertEqual(sink["stale"] + sink["superseded"], EVENTS, sink)
        self.assert_equal_to_the_log()

    def test_two_processes_share_a_sink_and_killing_one_moves_its_partitions(self):
        def owners():
            found = {}
            for instance in status()["redis-a"]["instances"]:
                if instance["state"] in ("RUNNING", "RETRYING"):
                    found[instance["instance"]] = sorted(instance["partitions"])
            return found

        everything = list(range(stores.PARTITIONS))

        def shared():
            now = owners()
            parts = sorted(sum(now.values(), []))
            return len(now) == 2 and all(now.values()) and parts == everything

        with Worker("--sink", "redis-a") as first, Worker("--sink", "redis-a"):
            wait_until(shared, "both own some partitions, together all, none twice")
            first.kill()
            more = harness.generate(1000, 3000, seed=8)
            lockstep("publish", "--entity", "member", "-", stdin=more)

            def moved():
                return sorted(sum(owners().values(), [])) == everything and len(owners()) == 1

            wait_until(moved, "the survivor owns all partitions", timeout_s=60)
            wait_caught_up(["redis-a"])
        self.assert_equal_to_the_log("--sink", "redis-a")

    def test_verdicts_add_up_to_the_records_consumed(self):
        lockstep("publish", "--entity", "member", "-", stdin=harness.generate(500, 5000, seed=9))
        with Worker("--all") as worker:
            wait_caught_up()
            for name, sink in status().items():
                counted = sum(sink[v] for v in ("applied", "stale", "superseded", "quarantined"))
                self.assertEqual(counted, sink["consumed"], name)
                self.assertGreaterEqual(sink["consumed"], 5000, name)
            self.assertEqual(worker.stop(), 0)
        self.assert_equal_to_the_log()

    def test_a_clean_stop_leaves_marks_at_the_end_so_the_next_start_reads_nothing_again(self):
        with Worker("--all") as worker:
            wait_caught_up()
            self.assertEqual(worker.stop(), 0)
        with Worker("--all"):
            wait_caught_up()
            for name, sink in status().items():
                self.assertEqual(sink["consumed"], 0, name)


if __name__ == "__main__":
    unittest.main()
