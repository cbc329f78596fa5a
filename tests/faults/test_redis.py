"""A Redis Cluster that refuses, forgets, moves or restarts: what is meant for it waits or is written
again, nothing of it ends in the quarantine, and no member is lost or comes back older."""

import contextlib
import shutil
import signal
import unittest
import uuid

import redis
import stores
import yaml
from harness import wait_until
from redis_nodes import Cluster, lines, rewinds
from support import quick

ATTEMPTS = 12
LOOK_S = 10  # a worker looks this often

cluster = None


def setUpModule():
    global cluster
    cluster = unittest.enterModuleContext(Cluster(3))


class OnCluster(unittest.TestCase):
    """A log of the test's own; the three masters without replicas are shared and made well again."""

    def setUp(self):
        self.story = self.enterContext(cluster.story("redis"))
        self.addCleanup(self.empty)
        self.node = cluster.masters[1]

    def empty(self):
        for node in cluster.nodes:
            node.do("FLUSHALL")

    def fill(self, seed=7):
        self.story.publish(members=300, events=600, seed=seed)
        self.story.wait_caught_up()

    def fresh(self, prefix, n=40):
        """Publishes n new members of the node; returns their keys."""
        keys = cluster.keys_of(self.node, n, prefix)
        self.story.publish_keys(keys, locale="en")
        return keys

    def wait_state(self, state, text, timeout_s=60):
        """Until the sink is in this state, and says this."""
        return self.story.wait_status(
            "redis-a",
            f"{state} because of '{text}'",
            lambda now: now["state"] == state and text in now["reason"] + now["last_error"],
            timeout_s,
        )

    def wait_log(self, worker, text):
        wait_until(lambda: text in worker.log(), f"'{text}' in the worker's log")


class Down(OnCluster):
    def test_a_killed_master_without_a_replica_is_waited_for(self):
        with self.story.worker() as worker:
            self.fill()
            before = self.node.info("server")["run_id"]
            self.node.kill()
            self.story.publish(members=300, events=600, seed=8)
            self.wait_state("RETRYING", self.node.address)
            self.node.start()
            now = self.story.finish(self)
            self.assertGreater(now["retried"], 0)
            self.assertNotIn("state=HALTED", worker.log())
        self.assertNotEqual(self.node.info("server")["run_id"], before)

    def test_a_whole_cluster_that_goes_down_and_comes_up_is_filled_on(self):
        with self.story.worker() as worker:
            self.fill()
            for node in cluster.nodes:
                node.kill()
            self.story.publish(members=300, events=600, seed=8)
            for node in cluster.nodes:
                node.start()
            self.story.finish(self)
            self.assertTrue(rewinds(worker), "each node was started again")

    def test_a_node_that_loads_its_data_is_waited_for(self):
        with self.story.worker() as worker:
            self.fill()
            self.node.do("BGREWRITEAOF")  # a dump is what it answers beside, while it loads it
            wait_until(
                lambda: self.node.info("persistence")["aof_base_size"] > 1000,
                "the file is rewritten",
            )
            self.node.kill()
            self.story.publish(members=300, events=600, seed=8)
            # microseconds for each key
            self.node.start(key_load_delay=20000, loading_process_events_interval_bytes=1024)
            self.wait_log(worker, "is still loading its data")
            self.assertIn(" class=retry code=LOADING ", worker.log())
            with contextlib.suppress(redis.exceptions.RedisError):
                self.node.client.get("x")
            self.story.finish(self)
            self.assertNotIn("state=HALTED", worker.log())
        self.assertGreater(self.node.errors("LOADING"), 0)


class Refusing(OnCluster):
    def test_a_full_master_is_retried_and_nothing_is_quarantined(self):
        with self.story.worker() as worker:
            self.fill()
            self.node.do("CONFIG", "SET", "maxmemory", 1)
            self.addCleanup(self.node.do, "CONFIG", "SET", "maxmemory", 0)
            self.story.publish(members=300, events=600, seed=8)
            self.wait_state("RETRYING", "OOM")
            worker.wait_for_log("sink=redis-a class=retry code=OOM ")
            self.node.do("CONFIG", "SET", "maxmemory", 0)
            now = self.story.finish(self)
            self.assertGreater(now["retried"], 0)
            self.assertNotIn("state=HALTED", worker.log())
        self.assertGreater(self.node.errors("OOM"), 0)

    def test_an_eviction_policy_that_is_set_at_runtime_halts_the_sink_until_it_is_gone(self):
        with self.story.worker():
            self.fill()
            self.node.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
            self.addCleanup(self.node.do, "CONFIG", "SET", "maxmemory-policy", "noeviction")
            self.wait_state("HALTED", "noeviction")
            self.story.publish(members=50, events=50, seed=8)
            self.node.do("CONFIG", "SET", "maxmemory-policy", "noeviction")
            self.story.finish(self)

    def test_an_eviction_policy_at_the_start_halts_the_sink_before_it_writes(self):
        self.node.do("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
        self.addCleanup(self.node.do, "CONFIG", "SET", "maxmemory-policy", "noeviction")
        self.story.publish(members=50, events=50, seed=8)
        with self.story.worker():
            self.wait_state("HALTED", "noeviction")
            self.assertEqual(cluster.held(self.story.prefix), {})
            self.node.do("CONFIG", "SET", "maxmemory-policy", "noeviction")
            self.story.finish(self)

    @quick
    def test_flushed_scripts_are_loaded_again_without_a_retry(self):
        with self.story.worker():
            self.fill()
            before = cluster.errors("NOSCRIPT")
            for node in cluster.nodes:
                node.do("SCRIPT", "FLUSH")
            self.story.publish(members=300, events=600, seed=8)
            now = self.story.finish(self)
            self.assertEqual(now["retried"], 0)
        self.assertGreater(cluster.errors("NOSCRIPT"), before)


class Forgetting(OnCluster):
    @quick
    def test_a_master_that_is_flushed_while_nothing_happens_is_filled_again(self):
        with self.story.worker() as worker:
            self.fill()
            self.node.do("FLUSHALL")
            self.assertGreater(len(self.story.lost()), 20)
            self.assert_filled(worker)
        self.assertGreater(self.node.calls("flushall"), 0)

    def test_a_cluster_that_is_flushed_altogether_is_filled_again(self):
        with self.story.worker() as worker:
            self.fill()
            self.empty()
            self.fresh("after")  # before anybody notices: data, and no mark
            self.assert_filled(worker)

    def test_a_master_that_is_flushed_under_load_is_filled_again(self):
        with self.story.worker() as worker:
            self.fill()
            for seed in range(8, 12):
                self.story.publish(members=300, events=300, seed=seed)
                self.node.do("FLUSHALL")
            self.assert_filled(worker)

    def assert_filled(self, worker):
        wait_until(lambda: rewinds(worker), "the worker reads again", LOOK_S * 3)
        wait_until(lambda: not self.story.lost(), "all is there again")
        self.story.finish(self)

    def test_a_master_that_is_flushed_before_its_first_mark_is_filled_again(self):
        """Its marks stood at zero, and a flushed one reads as zero, too: only the tag itself tells."""
        self.refilled_from_zero("first", lambda story: None, marked=True, rewinds_at_least=1)

    def test_a_master_that_is_flushed_again_before_its_marks_are_back_is_filled_again(self):
        """The others have marks, it has none at first: the tags that are gone are no news then."""

        def flush(story):
            story.wait_caught_up()
            wait_until(lambda: not self.are_at_zero(story), "the marks moved")
            self.node.do("FLUSHALL")

        self.refilled_from_zero("again", flush, marked=False, rewinds_at_least=2)

    def refilled_from_zero(self, name, before, marked, rewinds_at_least):
        """Flushes the node while its marks stand at zero, in as many attempts as that takes."""
        for _ in range(ATTEMPTS):
            with cluster.story(name) as story:
                keys = cluster.keys_of(self.node, 20, "lost")
                story.publish_keys(keys, locale="en")
                with story.worker() as worker:
                    before(story)
                    if self.flushed_at_zero(story, worker, keys, marked):
                        story.finish(self)
                        self.assertGreaterEqual(len(rewinds(worker)), rewinds_at_least)
                        return
            self.empty()
        self.fail(f"the mark was faster {ATTEMPTS} times")

    def are_at_zero(self, story):
        """Whether no mark of the node stands anywhere, be it that there is none."""
        return {mark[:8] for mark in story.marks_on(self.node).values()} <= {bytes(8)}

    def flushed_at_zero(self, story, worker, keys, marked):
        def unmarked():
            return self.are_at_zero(story) and (story.marks_on(self.node) or not marked)

        if not story.sleeps_before_mark(worker, self.node, keys, unmarked):
            return False
        self.node.do("FLUSHALL")
        worker.process.send_signal(signal.SIGCONT)
        return True

    def test_a_node_that_starts_from_an_older_file_is_filled_again(self):
        with self.story.worker() as worker:
            self.fill()
            older = self.copy_of_file()
            keys = self.fresh("lost")
            self.story.wait_caught_up()
            self.start_from(older)
            self.assertEqual(self.story.lost(), set(keys))
            self.story.finish(self)
            self.assertTrue(rewinds(worker))

    def test_a_mark_does_not_go_to_a_node_that_started_from_an_older_file(self):
        """The worker stands still between the answer to its records and their mark."""
        with self.story.worker() as worker:
            self.fill()
            for attempt in range(ATTEMPTS):
                self.story.wait_caught_up()
                marks, older = self.story.marks_on(self.node), self.copy_of_file()
                keys = cluster.keys_of(self.node, 20, f"lost{attempt}")
                if self.story.asleep_before_mark(worker, self.node, keys, marks):
                    break
            else:
                self.fail(f"the mark was faster {ATTEMPTS} times")
            self.start_from(older)
            self.assertEqual(self.story.lost(), set(keys))
            self.assertEqual(self.story.marks_on(self.node), marks)
            worker.process.send_signal(signal.SIGCONT)
            self.story.publish(members=50, events=50, seed=8)
            self.story.finish(self)
            self.assertTrue(rewinds(worker))

    def copy_of_file(self):
        """Of the node's append-only file, as a backup would have it."""
        copy = self.node.folder / "older"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.node.folder / "appendonlydir", copy)
        return copy

    def start_from(self, copy):
        self.node.kill()
        shutil.rmtree(self.node.folder / "appendonlydir")
        shutil.copytree(copy, self.node.folder / "appendonlydir")
        self.node.start()
        cluster.wait_ok()


class Marks(OnCluster):
    def test_marks_that_name_two_logs_halt_the_sink_until_a_resync(self):
        with self.story.worker():
            self.fill()
        name, mark = next(iter(self.story.marks_on(self.node).items()))
        stranger = mark[:16] + str(uuid.uuid4()).encode()
        self.node.client.set(name, stranger)
        with self.story.worker():
            self.wait_state("HALTED", "lockstep resync --sink redis-a")
        self.story.lockstep("resync", "--sink", "redis-a")
        self.assertNotIn(stranger, self.story.marks_on(self.node).values())
        with self.story.worker():
            self.fill(seed=8)
            self.story.finish(self)

    def test_a_master_that_is_emptied_before_the_next_generation_halts_nothing(self):
        """Its marks are missing, the others' are of the log before: no reason to take it for another."""
        with self.story.worker():
            self.fill()
        self.node.do("FLUSHALL")
        config = yaml.safe_load(self.story.config.read_text(encoding="utf-8"))
        config["entities"][self.story.entity]["generation"] = 2
        self.story.config.write_text(yaml.safe_dump(config), encoding="utf-8")
        self.story.lockstep("topics", "create")
        with self.story.worker() as worker:
            self.fill()
            self.story.settle()
            self.assertNotIn("state=HALTED", worker.log())
        topic = f"{self.story.entity}.state.2"
        expected = stores.newest_of_log(topic=topic, generation=2)
        self.assertEqual(cluster.held(self.story.prefix), expected)


class Moving(OnCluster):
    """Slots that a person moves, by real SETSLOT and MIGRATE, while records come."""

    def setUp(self):
        super().setUp()
        self.source, self.target = cluster.masters[1], cluster.masters[2]
        self.key = cluster.keys_of(self.source, 1, "moved")[0]
        self.slot = self.source.do("CLUSTER", "KEYSLOT", self.key)

    def put(self, **fields):
        self.story.publish_lines(lines([self.key], **fields))

    def test_a_slot_that_moves_is_followed_without_a_retry_or_a_doubt(self):
        asked, moved = self.source.errors("ASK"), self.source.errors("MOVED")
        with self.story.worker() as worker:
            self.fill()
            self.put(locale="en")
            self.story.wait_caught_up()
            self.addCleanup(cluster.migrate, self.target, self.source, self.slot)
            cluster.start_move(self.source, self.target, self.slot)
            cluster.move_keys(self.source, self.target, self.slot)
            self.put(locale="de")
            self.story.wait_caught_up()
            self.assertGreater(self.source.errors("ASK"), asked)
            cluster.end_move(self.source, self.target, self.slot)
            self.put(locale="fr")
            now = self.story.finish(self)
            self.assertEqual(now["retried"], 0)
            self.assertEqual(rewinds(worker), [])
        self.assertGreater(self.source.errors("MOVED"), moved)

    def test_many_slots_that_move_under_load_with_marks_among_them_lose_nothing(self):
        with self.story.worker() as worker:
            self.fill()
            marks = self.story.marks_on(self.source)
            slots = {self.source.do("CLUSTER", "KEYSLOT", name) for name in marks}
            slots = sorted(slots)[:10] + list(range(self.slot, self.slot + 40))
            for seed in range(4):
                self.story.publish(members=300, events=300, seed=10 + seed)
                for slot in slots[seed::4]:
                    cluster.migrate(self.source, self.target, slot)
            self.assertLess(len(self.story.marks_on(self.source)), len(marks))
            self.story.finish(self)
            self.assertEqual(rewinds(worker), [])
            self.story.publish(members=300, events=300, seed=20)
            for slot in slots:
                cluster.migrate(self.target, self.source, slot)
            self.story.finish(self)

    def test_a_move_that_stops_halfway_holds_up_neither_records_nor_marks(self):
        """Of the marks under one tag some are here and some there: TRYAGAIN for all at once."""
        with self.story.worker() as worker:
            self.fill()
            name = sorted(self.story.marks_on(self.source))[0]
            slot = self.source.do("CLUSTER", "KEYSLOT", name)
            cluster.start_move(self.source, self.target, slot)
            self.addCleanup(cluster.migrate, self.target, self.source, slot)
            self.addCleanup(cluster.end_move, self.source, self.target, slot)
            self.addCleanup(cluster.move_keys, self.source, self.target, slot)
            here = self.source.do("CLUSTER", "GETKEYSINSLOT", slot, 100)
            gone = [name for name in here if b":mark:" in name][:3]
            self.source.do("MIGRATE", "127.0.0.1", self.target.port, "", 0, 5000, "KEYS", *gone)
            again, before = cluster.errors("TRYAGAIN"), self.imported(gone)
            self.fill(seed=9)
            self.assertGreater(cluster.errors("TRYAGAIN"), again)
            wait_until(
                lambda: all(before[name] != now for name, now in self.imported(gone).items()),
                "the marks that are gone ahead are written, too",
            )
            cluster.move_keys(self.source, self.target, slot)  # verify waits for the end of a move
            cluster.end_move(self.source, self.target, slot)
            self.story.finish(self)
            self.assertEqual(rewinds(worker), [])

    def imported(self, names):
        """What the target of a move has for these already."""
        found = {}
        with self.target.client.client() as connection:
            for name in names:
                connection.execute_command("ASKING")
                found[name] = connection.get(name)
        return found


if __name__ == "__main__":
    unittest.main()
