"""Three brokers of which one is gone: the group's coordinator and the partitions' leaders move, a
leader that lacks the newest records is noticed, and partitions that no other broker holds wait."""

import unittest

import kafkas
import servers
from harness import wait_until
from kafkas import Beats, Log, keys_of, offsets_of, redis_marks

SINK = "redis-a"


def broker(number):
    """A broker by its number, as servers.py calls it."""
    return f"kafka-b{number}"


class ThreeBrokers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.enterClassContext(servers.running("brokers"))
        ports = [proc.ports["broker"] for proc in servers.procs("brokers")]
        cls.brokers = ",".join(f"127.0.0.1:{port}" for port in ports)

    def begin(self, name, replication):
        def on_three(config):
            config["kafka"]["brokers"] = self.brokers
            for entity in config["entities"].values():
                entity["replication"] = replication

        story = self.enterContext(kafkas.story(name, [SINK], change=on_three))
        return story, Log(story, brokers=self.brokers)

    def wait_whole(self, log):
        def whole():
            return all(isr == held for _, held, isr in log.replicas().values())

        wait_until(whole, "every broker holds all that it should", 120)

    def wait_marks(self, story, log):
        ends = log.ends()
        wait_until(
            lambda: offsets_of(redis_marks(story)) == ends, "the marks are at the end of the log", 90
        )

    def test_a_group_whose_coordinator_dies_goes_on_with_another(self):
        story, log = self.begin("coordinator", replication=3)
        story.publish(members=200, events=400, seed=1)
        beats = Beats(story, SINK, self.brokers)
        with story.worker() as worker:
            story.wait_caught_up()
            log.wait_members(SINK, 1)
            consumed, seen = 400, []
            for seed in range(2, 4):
                old = log.coordinator(SINK)
                with servers.killed(broker(old)):
                    story.publish(members=200, events=400, seed=seed)
                    consumed += 400
                    wait_until(lambda old=old: self.moved(log, old), "another broker keeps the group")
                    beats.wait(
                        worker,
                        f"{consumed} records",
                        lambda beat, n=consumed: beat["consumed"] >= n,
                        90,
                    )
                    # the group's new keeper knows the worker
                    log.wait_members(SINK, 1)
                    self.wait_marks(story, log)
                seen.append(old)
                self.wait_whole(log)
            story.settle()
            self.assertEqual(len(set(seen)), 2, "the coordinator moved both times")
            self.assertEqual(worker.stop(), 0)
        self.assertNotIn("state=HALTED", worker.log())

    @staticmethod
    def moved(log, old):
        try:
            return log.coordinator(SINK) not in (old, -1)
        except kafkas.KafkaException:
            return False

    def test_a_leader_without_the_newest_records_halts_the_sinks_that_have_them(self):
        """An unclean election, which `topics check` warns of: somebody allowed it."""
        story, log = self.begin("unclean", replication=2)
        log.configure("unclean.leader.election.enable", "true")
        log.configure("min.insync.replicas", "1")
        story.publish(members=200, events=400, seed=1)
        partition, (leader, held, _) = next(iter(log.replicas().items()))
        [follower] = held - {leader}
        with story.worker() as worker:
            story.wait_caught_up()
            with servers.killed(broker(follower)):
                wait_until(
                    lambda: log.replicas()[partition][2] == {leader}, "the follower is given up"
                )
                keys = keys_of(partition, 50, "lost")
                lines = "".join(f'{{"id": "{key}", "name": "lost"}}\n' for key in keys)
                story.publish_lines(lines)
                ends = log.ends()
                wait_until(
                    lambda: offsets_of(redis_marks(story))[partition] == ends[partition],
                    "the mark covers the newest records",
                )
                servers.kill(broker(leader))
                try:
                    servers.start(broker(follower))
                    wait_until(
                        lambda: log.replicas()[partition][0] == follower,
                        "the follower leads, without the newest records",
                        120,
                    )
                    marks = redis_marks(story)
                    worker.wait_for_log("state=HALTED", 120)
                    worker.wait_for_log("the log went back", 60)
                    self.assertIn("generation 2", worker.log())
                finally:
                    servers.start(broker(leader))
            self.wait_whole(log)
            self.assertLess(log.ends()[partition], ends[partition], "the records are lost for good")
            self.assertEqual(redis_marks(story), marks, "no mark moved")

    def wait_leaderless(self, log, away):
        def known():
            return {p for p, (leader, _, _) in log.replicas().items() if leader < 0} == away

        wait_until(known, f"partitions {sorted(away)} have no leader", 120)

    def expect_named(self, story, away):
        now = story.wait_status(
            SINK,
            f"partitions {sorted(away)} are named",
            lambda status: status["partitions_without_leader"] == sorted(away),
            90,
        )
        self.assertFalse(now["fine"])
        self.assertIn("no leader", story.lockstep("status", expect=None).stdout)

    def test_partitions_whose_only_broker_is_away_wait_and_the_others_go_on(self):
        self.begin("spread", replication=3)  # lockstep.control is on every broker from here on
        story, log = self.begin("unled", replication=1)
        story.publish(members=200, events=400, seed=1)
        ends = log.ends()
        leaders = {p: leader for p, (leader, _, _) in log.replicas().items()}
        victim = leaders[0]
        away = {p for p, leader in leaders.items() if leader == victim}
        others = {p: end for p, end in ends.items() if p not in away}
        self.assertTrue(others, "every partition is on one broker")

        def at_ends(wanted):
            marks = offsets_of(redis_marks(story))
            return all(marks.get(p) == end for p, end in wanted.items())

        servers.kill(broker(victim))
        try:
            self.wait_leaderless(log, away)
            worker = self.enterContext(story.worker())
            wait_until(lambda: at_ends(others), "the others are applied and marked", 120)
            worker.wait_for_log("has no leader")
            self.expect_named(story, away)
            marks = offsets_of(redis_marks(story))
            self.assertFalse([p for p in away if marks.get(p) == ends[p]])
        finally:
            servers.start(broker(victim))
        wait_until(lambda: at_ends(ends), "what waited is applied and marked", 120)
        story.settle()

        # and once more, under a worker that has begun them; the publisher asks partition 0 who the
        # log is, so another broker than that one's
        victim = next(leader for leader in leaders.values() if leader != victim)
        away = {p for p, leader in leaders.items() if leader == victim}
        led = sorted(set(leaders) - away)
        servers.kill(broker(victim))
        try:
            self.wait_leaderless(log, away)
            lines = "".join(
                f'{{"id": "{key}", "name": "meanwhile"}}\n'
                for p in led
                for key in keys_of(p, 20, "meanwhile")
            )
            story.publish_lines(lines)
            moved = {p: ends[p] + 20 for p in led}
            wait_until(lambda: at_ends(moved), "what was published meanwhile is marked", 120)
            self.expect_named(story, away)
        finally:
            servers.start(broker(victim))
        self.assertEqual(log.ends(), {**ends, **moved})
        story.publish(members=200, events=400, seed=2)
        story.settle()  # finds in the store what was published meanwhile, too
        self.assertEqual(worker.stop(), 0)
        self.assertNotIn("state=HALTED", worker.log())


if __name__ == "__main__":
    unittest.main()
