"""Three brokers of which one is gone: the group's coordinator and the partitions' leaders move, and a
leader that lacks the newest records is noticed."""

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


if __name__ == "__main__":
    unittest.main()
