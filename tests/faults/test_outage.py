"""A store that is away for long, under load: its partitions stay with their worker, which is polled
as ever, holds no more than before, asks with one small probe now and then, and catches up. And
stores that refuse for their load: the sink sends less at once until it is taken.

The hour of it is tests/bench/outage.py.
"""

import os
import re
import threading
import unittest

import elastic
import kafkas
import servers
import stores
from harness import wait_until
from proxy import Proxy

AWAY_S = float(os.environ.get("LOCKSTEP_OUTAGE_S", "25"))
POLL_MS = 10000  # shorter than the outage: a worker that is not polled would lose its partitions
ROOM_MIB = 24  # what memory may move by itself
PROBES_PER_S = 2.0  # more than that is no back-off
SAFETY_S = 120


def anonymous_mib(process):
    with open(f"/proc/{process.pid}/status", encoding="utf-8") as status:
        return int(re.search(r"RssAnon:\s+(\d+) kB", status.read())[1]) / 1024


def said(worker, text, sink):
    """How often the worker's log has it of a sink."""
    return sum(text in line and f"sink={sink} " in line for line in worker.log().splitlines())


class Clock(threading.Thread):
    """The length of an outage; what happens meanwhile is the test's."""

    def __init__(self, seconds):
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.seconds = seconds
        self.start()

    def run(self):
        self.ended.wait(self.seconds)
        self.ended.set()


class LongOutage(unittest.TestCase):
    """One sink's store is away, another one's is not."""

    def change(self, config):
        limits = {"max.poll.interval.ms": POLL_MS, "session.timeout.ms": POLL_MS}
        config["kafka"]["properties"] = limits
        sink = config["sinks"]["es-backup"]
        sink["urls"] = [f"http://127.0.0.1:{self.link.port}"]
        sink["request_timeout_ms"] = 2000

    def setUp(self):
        self.link = self.enterContext(Proxy(servers.port("es-backup")))
        sinks = ["es-backup", "redis-a"]
        self.story = self.enterContext(kafkas.story("outage", sinks, change=self.change))
        self.log = kafkas.Log(self.story)

    def outage(self, worker):
        """Load for as long as it takes; returns the worker's memory at its beginning and most."""
        clock = Clock(AWAY_S)
        seed, first, most = 100, None, 0
        while not clock.ended.is_set():
            self.story.publish(members=400, events=400, seed=seed)
            self.story.wait_caught_up("redis-a", timeout_s=SAFETY_S)
            seed += 1
            memory = anonymous_mib(worker.process)
            first = first or memory
            most = max(most, memory)
        return first, most

    def suffer(self, begin, end):
        with self.story.worker() as worker:
            self.story.publish(members=400, events=800, seed=1)
            self.story.wait_caught_up()
            before = {sink: self.log.members(sink) for sink in self.story.sinks}
            begin()
            first, most = self.outage(worker)
            away = self.story.wait_status(
                "es-backup", "shown as retried", lambda now: now["state"] == "RETRYING"
            )
            self.assertGreater(away["lag"], 0)
            self.assertLess(most, first + ROOM_MIB, "memory stays flat")
            self.assertEqual(said(worker, "breaker opens", "es-backup"), 1, worker.log()[-3000:])
            self.probes_are_few(away)
            end()
            now = self.story.settle(timeout_s=SAFETY_S)
            after = {sink: self.log.members(sink) for sink in self.story.sinks}
            self.assertEqual(after, before, "nobody lost a partition, nobody joined again")
            self.assertGreaterEqual(said(worker, "breaker closes", "es-backup"), 1)
            self.assertEqual(said(worker, "breaker opens", "redis-a"), 0)
            self.assertEqual(now["es-backup"]["poison"], 0)
            self.assertEqual(worker.stop(), 0)

    def probes_are_few(self, away):
        """Each brings at most 16 records; what was in hand when it began is all of it once."""
        in_hand = 5 * 4 * 4096
        self.assertLess(away["retried"], in_hand + 16 * PROBES_PER_S * (AWAY_S + SAFETY_S))
        self.assertGreater(away["retried"], 0)

    def test_a_store_that_refuses_connections_keeps_its_partitions_and_catches_up(self):
        """Cut at the proxy, which counts who comes: as refused as by a server that was killed."""

        self.suffer(self.link.cut, self.link.enable)

    def test_a_store_that_swallows_everything_keeps_its_partitions_and_catches_up(self):
        holes = []
        self.suffer(lambda: holes.append(self.link.timeout()), lambda: holes[0].end())
        wait_until(lambda: self.link.swallowed() > 0, "bytes that the proxy swallowed", 30)

    def test_a_worker_that_is_told_to_stop_does_not_wait_for_the_store(self):
        with self.story.worker("--sink", "es-backup") as worker:
            self.story.publish(members=100, events=100, seed=1)
            self.story.wait_caught_up("es-backup")
            self.link.cut()
            self.story.publish(members=100, events=100, seed=2)
            wait_until(lambda: said(worker, "breaker opens", "es-backup"), "an open breaker")
            self.assertEqual(worker.stop(timeout_s=15), 0)
        self.link.enable()
        with self.story.worker():
            self.story.settle()


class SmallBreaker(unittest.TestCase):
    """Elasticsearch takes no request above its own breaker's limit, however often it is sent."""

    LIMIT = "network.breaker.inflight_requests.limit"

    def tripped(self):
        nodes = self.node.call("GET", "/_nodes/stats/breaker")["nodes"]
        return sum(node["breakers"]["inflight_requests"]["tripped"] for node in nodes.values())

    def test_requests_become_as_small_as_the_store_takes_them(self):
        self.node = elastic.Node("es-backup")
        story = self.enterContext(kafkas.story("narrow", ["es-backup"]))
        with story.worker() as worker:
            story.publish(members=50, events=50, seed=1)
            story.wait_caught_up()
            before = self.tripped()
            self.addCleanup(self.node.cluster_settings, {self.LIMIT: None})
            self.node.cluster_settings({self.LIMIT: "48kb"})
            story.publish(members=1500, events=3000, seed=2)
            now = story.settle(timeout_s=SAFETY_S)
            self.assertGreater(now["es-backup"]["retried"], 0)
            self.assertEqual(now["es-backup"]["poison"], 0)
            refused = self.tripped() - before
            self.assertGreater(refused, 0, "the store's own count")
            self.assertLess(refused, 60, "the limit adapts: it is not the same size again and again")
            self.assertNotIn("state=HALTED", worker.log())


class FullMemory(unittest.TestCase):
    def test_a_cluster_at_its_memory_limit_is_probed_and_filled_when_there_is_room(self):
        story = self.enterContext(kafkas.story("full", ["redis-a"]))
        sink = stores.harness.CONFIG["sinks"]["redis-a"]
        client = stores.redis_client(sink)
        self.addCleanup(client.close)
        every = {"target_nodes": client.PRIMARIES}

        def limit(size):
            client.config_set("maxmemory", size, **every)

        def refused():
            stats = client.info("errorstats", **every)
            return sum(node.get("errorstat_OOM", {}).get("count", 0) for node in stats.values())

        self.addCleanup(limit, 0)
        with story.worker() as worker:
            story.publish(members=100, events=100, seed=1)
            story.wait_caught_up()
            before = refused()
            limit(1)
            story.publish(members=500, events=1000, seed=2)
            wait_until(lambda: said(worker, "breaker opens", "redis-a"), "an open breaker")
            story.wait_status("redis-a", "RETRYING", lambda now: now["state"] == "RETRYING")
            limit(0)
            now = story.settle()
            self.assertEqual(said(worker, "breaker closes", "redis-a"), 1)
            self.assertEqual(now["redis-a"]["poison"], 0)
        self.assertGreater(refused() - before, 0, "the store's own count")


if __name__ == "__main__":
    unittest.main()
