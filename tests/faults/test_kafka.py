"""Kafka that is killed, out of reach, forgets the group's offsets, loses the log or is given
another one, and a log full of what does not belong there: nothing is applied that is not of the log
which the store follows, nothing is lost, and a person is told what to do."""

import signal
import time
import unittest

import harness
import kafkas
import msgpack
import proxy
import servers
import stores
import wire
from harness import wait_until
from kafkas import Beats, Log, cut_log, keys_of, offsets_of, redis_marks
from support import quick

SINK = "redis-a"
CUT_S = 15  # longer than the session timeout and a request's patience


def line(key, name):
    return f'{{"id": "{key}", "name": "{name}"}}\n'


def entries(story):
    """How many entries the store holds for the story."""
    client = stores.redis_client(harness.CONFIG["sinks"][SINK])
    count = sum(1 for _ in client.scan_iter(match=f"{story.prefix}:{{*", count=1000))
    client.close()
    return count


def image(name):
    return stores.SCHEMA.encode({"name": name})


def wait_marks(story, log):
    """Until the store's marks stand at the end of the log; returns them."""
    ends = log.ends()
    wait_until(lambda: offsets_of(redis_marks(story)) == ends, "the marks are at the log's end")
    return redis_marks(story)


def through(link, story):
    """The story's configuration for a worker whose way to Kafka is this link."""

    def change(config):
        config["kafka"]["brokers"] = link.address

    return story.variant("proxied", change)


class Filled:
    """A story whose log and store are equal, with its worker stopped."""

    def __init__(self, test, name, members=200):
        self.story = test.enterContext(kafkas.story(name, [SINK]))
        self.log = Log(self.story)
        for seed in range(3):  # several batches a partition
            self.story.publish(members=members, events=members, seed=seed)
        with self.story.worker():
            self.story.settle()
            self.marks = wait_marks(self.story, self.log)
        self.entries = entries(self.story)
        self.beats = Beats(self.story, SINK)

    def wait_begun(self, worker):
        """Until the worker has begun all partitions: what is found then is found while it runs."""
        self.beats.wait(
            worker,
            "all partitions are begun",
            lambda beat: beat["state"] == "RUNNING"
            and len(beat["partitions"]) == self.log.partitions,
        )


class Halts(unittest.TestCase):
    """What all tests of a log that is not the one do in the end."""

    def assert_halted(self, worker, *words, timeout_s=60):
        worker.wait_for_log("state=HALTED", timeout_s)
        for word in words:  # at first it may be told only that the topic is missing
            worker.wait_for_log(word, timeout_s)

    def assert_untouched(self, filled):
        self.assertEqual(entries(filled.story), filled.entries, "nothing was applied")
        self.assertEqual(redis_marks(filled.story), filled.marks, "no mark moved")

    def go_on_in_the_next_generation(self, filled):
        """What the message says, done."""

        def change(config):
            config["entities"][filled.story.entity]["generation"] = 2

        config = filled.story.variant("next", change)
        harness.lockstep("topics", "create", config=config)
        lines = "".join(line(f"next-{number}", "next") for number in range(50))
        entity = filled.story.entity
        harness.lockstep("publish", "--entity", entity, "-", config=config, stdin=lines)
        with filled.story.worker(config=config):
            harness.wait_caught_up([SINK], config=config)
            log = Log(filled.story, generation=2)
            ends = log.ends()
            wait_until(
                lambda: {p: mark[0] for p, mark in redis_marks(filled.story).items()}
                == {p: 2 << 48 | end for p, end in ends.items()},
                "the marks follow the next generation",
            )
        self.assertEqual(entries(filled.story), filled.entries + 50)


class BrokerAway(unittest.TestCase):
    def test_a_broker_killed_under_load_is_waited_for_and_nothing_is_lost(self):
        with kafkas.story("broker", [SINK]) as story:
            log = Log(story)
            story.publish(members=300, events=600, seed=1)
            beats = Beats(story, SINK)
            with story.worker() as worker:
                story.wait_caught_up()
                before = servers.pids("kafka")
                with servers.killed("kafka"):
                    worker.wait_for_log("kafka client")
                self.assertNotEqual(servers.pids("kafka"), before)
                story.publish(members=300, events=600, seed=2)
                beats.wait(worker, "all is consumed", lambda beat: beat["consumed"] >= 1200)
                story.settle()
                wait_marks(story, log)
                self.assertEqual(worker.stop(), 0)
            self.assertNotIn("state=HALTED", worker.log())

    def test_a_worker_out_of_reach_for_longer_than_its_session_comes_back_by_itself(self):
        self.out_of_reach(CUT_S, lambda link: link.being_cut())

    def test_a_minute_without_kafka_is_made_good(self):
        self.out_of_reach(60, lambda link: link.being_cut())

    def test_a_minute_in_which_kafka_answers_nothing_is_made_good(self):
        self.out_of_reach(60, lambda link: link.timeout())

    def out_of_reach(self, seconds, fault):
        with proxy.kafka() as link, kafkas.story("reach", [SINK]) as story:
            config = through(link, story)
            log = Log(story)
            story.publish(members=200, events=400, seed=1)
            beats = Beats(story, SINK)
            with story.worker(config=config) as worker:
                story.wait_caught_up()
                log.wait_members(SINK, 1)
                wait_marks(story, log)
                with fault(link):
                    story.publish(members=200, events=400, seed=2)
                    # the broker's own account: it took the partitions away
                    log.wait_members(SINK, 0, timeout_s=seconds + 30)
                    gone = time.monotonic()
                    wait_until(
                        lambda: time.monotonic() - gone > seconds - 10,
                        f"Kafka was out of reach for {seconds} s",
                        seconds,
                    )
                    self.assertIsNone(worker.process.poll())
                beats.wait(worker, "all is consumed", lambda b: b["consumed"] >= 800, 90)
                story.settle()
                wait_marks(story, log)
                line = beats.of(worker)
                self.assertEqual(line["consumed"], 800, "it went on at its marks")
                self.assertEqual(worker.stop(), 0)
            self.assertNotIn("state=HALTED", worker.log())


class GroupOffsets(unittest.TestCase):
    """The store's marks are the position; the group's offsets only show lag."""

    def start_and_read(self, filled, expected):
        beats = Beats(filled.story, SINK)
        filled.story.publish_lines("".join(line(f"new-{n}", "new") for n in range(20)))
        with filled.story.worker() as worker:
            wait_marks(filled.story, filled.log)
            beat = beats.wait(worker, "the new ones", lambda beat: beat["consumed"] >= expected)
            filled.story.settle()
        self.assertEqual((beat["consumed"], beat["stale"]), (expected, 0), beat)

    def test_a_sink_whose_group_was_deleted_starts_at_its_marks(self):
        filled = Filled(self, "expired")
        self.assertNotEqual(filled.log.committed(SINK), {})
        filled.log.delete_group(SINK)
        self.assertEqual(filled.log.committed(SINK), {})
        self.start_and_read(filled, 20)

    def test_offsets_that_somebody_moved_ahead_or_back_change_nothing(self):
        filled = Filled(self, "moved")
        ends = filled.log.ends()
        filled.log.commit(SINK, {p: end + 1000 if p % 2 else 0 for p, end in ends.items()})
        self.start_and_read(filled, 20)


class AnotherLog(Halts):
    def test_a_topic_made_again_while_no_worker_runs_halts_before_anything_is_applied(self):
        filled = Filled(self, "again")
        filled.log.make_again()
        # longer than the old one, so that its end tells nothing
        filled.story.publish(members=400, events=1600, seed=9)
        with filled.story.worker() as worker:
            self.assert_halted(worker, "it was made again", "generation 2")
        self.assert_untouched(filled)
        self.go_on_in_the_next_generation(filled)

    @quick
    def test_a_topic_made_again_under_a_worker_halts_it_before_anything_is_applied(self):
        """Filled beyond where the worker stands, and at once: no rebalance tells of it."""
        filled = Filled(self, "under")
        with filled.story.worker() as worker:
            filled.wait_begun(worker)
            filled.log.make_again()
            filled.log.put(
                (p, key, image("another log"))
                for p in range(stores.PARTITIONS)
                for key in keys_of(p, 200, "other")
            )
            self.assertGreater(min(filled.log.ends().values()), 200)
            self.assert_halted(worker, "was made again", "generation 2")
        self.assert_untouched(filled)

    def test_a_frozen_worker_finds_the_topic_made_again_when_it_wakes(self):
        filled = Filled(self, "woken")
        with filled.story.worker() as worker:
            filled.wait_begun(worker)
            worker.process.send_signal(signal.SIGSTOP)
            try:
                filled.log.make_again()
                filled.log.put(
                    (p, key, image("another log"))
                    for p in range(stores.PARTITIONS)
                    for key in keys_of(p, 200, "other")
                )
            finally:
                worker.process.send_signal(signal.SIGCONT)
            self.assert_halted(worker, "was made again")
        self.assert_untouched(filled)


class ShorterLog(Halts):
    """A log that lost its tail, as after an election of a replica that did not have it."""

    def cut(self, filled, partition=3):
        """What is left: the genesis, the end of its transaction, and the first batch."""
        with servers.killed("kafka"):
            cut_at = cut_log(filled.log.topic, partition, keep=3)
        wait_until(
            lambda: filled.log.ends()[partition] == cut_at, "the broker has the shorter log"
        )
        self.assertLess(cut_at, offsets_of(filled.marks)[partition])
        return cut_at

    def fill(self, filled, partition=3):
        """Other records at the offsets that were lost, and beyond."""
        keys = keys_of(partition, offsets_of(filled.marks)[partition] + 100, "other")
        filled.log.put((partition, key, image("used again")) for key in keys)

    def test_a_log_that_ends_before_the_mark_halts_at_the_start(self):
        filled = Filled(self, "shorter")
        self.cut(filled)
        with filled.story.worker() as worker:
            self.assert_halted(worker, "the log went back", "generation 2")
        self.assert_untouched(filled)
        self.go_on_in_the_next_generation(filled)

    def test_a_log_that_was_cut_and_grew_beyond_the_mark_halts_at_the_start(self):
        filled = Filled(self, "regrown")
        self.cut(filled)
        self.fill(filled)
        with filled.story.worker() as worker:
            self.assert_halted(worker, "the log went back", "used again", "generation 2")
        self.assert_untouched(filled)

    def test_a_log_that_was_cut_under_a_worker_halts_it(self):
        filled = Filled(self, "cut")
        with filled.story.worker() as worker:
            filled.wait_begun(worker)
            self.cut(filled)
            self.assert_halted(worker, "the log went back")
        self.assert_untouched(filled)

    def test_a_log_that_was_cut_under_a_worker_and_grew_beyond_it_halts_it(self):
        filled = Filled(self, "refilled")

        def patient(config):  # it stays a member: no rebalance has it look at its marks again
            config["kafka"]["properties"] = {"session.timeout.ms": 300_000}

        with filled.story.worker(config=filled.story.variant("patient", patient)) as worker:
            filled.wait_begun(worker)
            worker.process.send_signal(signal.SIGSTOP)
            try:
                self.cut(filled)
                self.fill(filled)
            finally:
                worker.process.send_signal(signal.SIGCONT)
            self.assert_halted(worker, "the log went back", "used again")
        self.assert_untouched(filled)


class LogBehindTheMark(Halts):
    """Records that were deleted before a sink had them."""

    PARTITION = 5

    def unread(self, filled):
        """Publishes what no worker has read, and deletes all but the last of it on one partition."""
        keys = keys_of(self.PARTITION, 60, "unread")
        filled.story.publish_lines("".join(line(key, "unread") for key in keys))
        end = filled.log.ends()[self.PARTITION]
        filled.log.delete_records({self.PARTITION: end - 5})
        self.assertEqual(filled.log.firsts()[self.PARTITION], end - 5)
        # the identity went with them; it is the same log, as the other partitions say
        filled.story.lockstep("topics", "create")
        return keys[-5:]

    def mend(self, filled, left):
        """What the message says, done: the store has what the log still has, and goes on."""
        filled.story.lockstep("resync", "--sink", SINK)
        with filled.story.worker():
            filled.story.wait_caught_up()
            filled.story.verdicts_add_up()
            wait_marks(filled.story, filled.log)
            [sink] = filled.story.verify(expect=1)["sinks"]
        # the store keeps what the log has lost; in all else they are equal
        found = {kind for kind, n in sink["counts"].items() if n}
        self.assertEqual(found, {"equal", "extra"}, sink["counts"])
        client = stores.redis_client(harness.CONFIG["sinks"][SINK])
        held = [key for key in left if client.exists(f"{filled.story.prefix}:{{{key}}}")]
        client.close()
        self.assertEqual(held, left)

    def test_a_log_that_starts_behind_the_mark_halts_at_the_start_and_resync_mends_it(self):
        filled = Filled(self, "deleted")
        left = self.unread(filled)
        with filled.story.worker() as worker:
            self.assert_halted(worker, "behind the store's mark", f"lockstep resync --sink {SINK}")
        self.assert_untouched(filled)
        self.mend(filled, left)

    def test_records_deleted_under_a_worker_that_is_cut_off_halt_it(self):
        """Cut off and not frozen: a frozen one may find the records in its sockets."""
        filled = Filled(self, "lagging")
        with proxy.kafka() as link:
            with filled.story.worker(config=through(link, filled.story)) as worker:
                filled.wait_begun(worker)
                with link.being_cut():
                    self.unread(filled)
                self.assert_halted(worker, "behind the store's mark", timeout_s=90)


class Flood(unittest.TestCase):
    GOOD, BAD = 400, 20000

    def poison(self):
        """One of each kind in turn, as a publisher that knows no rules would write them."""
        n = stores.PARTITIONS
        for number in range(self.BAD):
            key, home = f"flood-{number}", wire.partition_of(f"flood-{number}", n)
            yield (
                ((home + 1) % n, key, image("misrouted")),
                (home, key, b"\xc1 garbage"),
                (home, key, None),
                (number % n, "k" * (256 + number % 700), image("its key is too long")),
                (home, key, msgpack.packb([1, 99, 0, 1, "", "", {1: "of the future"}])),
            )[number % 5]

    @quick
    def test_a_foreign_publisher_that_floods_the_log_never_halts_a_sink(self):
        with kafkas.story("flood", [SINK]) as story:
            log = Log(story)
            beats = Beats(story, SINK)
            with story.worker() as worker:
                story.wait_caught_up()
                good = [f"good-{number}" for number in range(self.GOOD)]
                story.publish_lines("".join(line(key, "before") for key in good[: self.GOOD // 2]))
                places = log.put(self.poison())
                story.publish_lines("".join(line(key, "after") for key in good[self.GOOD // 2 :]))
                all_of_it = self.GOOD + self.BAD
                beat = beats.wait(
                    worker, "all is settled", lambda beat: beat["consumed"] >= all_of_it, 180
                )
                self.assertEqual((beat["poison"], beat["applied"]), (self.BAD, self.GOOD), beat)
                story.settle()
                wait_marks(story, log)
                self.assertEqual(worker.stop(), 0)
            self.assertNotIn("state=HALTED", worker.log())
            self.assertEqual(entries(story), self.GOOD)
            held = set(stores.quarantined(SINK, story.entity))
            self.assertEqual(held, {f"{log.topic}/{p}/{offset}" for p, offset in places})


if __name__ == "__main__":
    unittest.main()
