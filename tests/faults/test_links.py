"""Bad links between the worker and each kind of store, and Kafka: slow ones, trickles, resets, cut
answers, black holes, answers that vanish, and peers that stand still with their sockets open.

Every test breaks a link that works: the worker is caught up first, then more is published while the
link is bad, and the sink must say that it retries. After the link is mended all is in the store,
nothing is in the quarantine, and the verdicts add up to what was published. The proxy's own counters
show that the fault was there.
"""

import contextlib
import itertools
import socket
import time
import unittest

from confluent_kafka.admin import AdminClient

import certificates
import harness
import proxy
import relay
import servers
from harness import wait_until
from support import Story

REQUEST_TIMEOUT_MS = 2000
APPLY_TIMEOUT_MS = 60000
EVENTS, MEMBERS = 600, 300
COUNTED = ("consumed", "applied", "stale", "superseded", "retried", "poison", "quarantined")
_seed = itertools.count(1)


class Links:
    """What is the same for every kind of store; a subclass says which, and how it is proxied.

    One worker lives through all tests of a class, as it would through all bad days of a link.
    """

    sink = None
    standing = None  # the server or node that is stopped where it stands
    cut_after = None  # bytes of an answer

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.links, change = cls.enterClassContext(cls.proxied())

        def short(config):
            change(config)
            for sink in config["sinks"].values():
                sink["connect_timeout_ms"] = 1000
                sink["request_timeout_ms"] = REQUEST_TIMEOUT_MS

        def longer(config):
            for sink in config["sinks"].values():
                sink["request_timeout_ms"] = APPLY_TIMEOUT_MS

        entity = f"links{cls.sink.replace('-', '')}"
        cls.story = cls.enterClassContext(Story(entity, entity, [cls.sink], short, apply=False))
        # the timeouts are the worker's: to make tables or an index may well take longer
        usual = cls.story.variant("usual", longer)
        harness.lockstep("topics", "create", config=usual)
        harness.lockstep("schema", "apply", config=usual)
        cls.worker = cls.enterClassContext(cls.story.worker())
        cls.story.publish(MEMBERS, EVENTS, seed=next(_seed))

    def setUp(self):
        """Caught up, over a link that works."""
        self.links.heal()
        self.story.wait_caught_up()
        self.before = self.story.status(self.sink)
        self.connections = self.count("connections")
        self.swallowed = self.count("swallowed")

    def count(self, what):
        return sum(getattr(node, what)() for node in self.links.nodes)

    def publish(self):
        self.story.publish(MEMBERS, EVENTS, seed=next(_seed))

    def wait_retried(self):
        def retried(now):
            return now["retried"] > self.before["retried"] and now["last_error"]

        self.story.wait_status(self.sink, "retries", retried)

    def settled(self):
        """All is in the store, once, nothing in the quarantine, and the sink never halted; the
        counters since the start of the test."""
        now = self.story.settle()[self.sink]
        added = {name: now[name] - self.before[name] for name in COUNTED}
        self.assertEqual((added["poison"], added["quarantined"]), (0, 0), now)
        self.assertEqual(added["consumed"], EVENTS, now)
        self.assertNotIn("state=HALTED", self.worker.log(), "a bad link heals, and needs nobody")
        return added

    def test_a_link_with_200_ms_of_latency_is_only_slower(self):
        with self.links.each("latency", 200):
            begin = time.monotonic()
            self.publish()
            self.story.wait_caught_up()
            self.assertGreater(time.monotonic() - begin, 0.2)
        self.assertEqual(self.settled()["retried"], 0)

    def test_a_link_that_only_trickles_is_only_slower(self):
        with self.links.each("slicer", 300, 1000) as trickle:
            self.publish()
            self.story.wait_caught_up()
            self.assertTrue(all(node.toxics() for node in self.links.nodes), trickle)
        self.assertEqual(self.settled()["retried"], 0)

    def test_an_answer_that_comes_byte_by_byte_is_given_up(self):
        """No byte is ever late, and together they would take minutes."""
        with self.links.each("slicer", 1, 300_000, streams=(proxy.DOWN,)):
            self.publish()
            self.wait_retried()
        self.settled()
        self.assertGreater(self.count("connections"), self.connections)

    def test_connections_that_are_reset_are_made_again_and_nothing_is_lost(self):
        with self.links.each("reset_peer"):
            self.publish()
            self.wait_retried()
        self.assertGreater(self.settled()["retried"], 0)
        self.assertGreater(self.count("connections"), self.connections)

    def test_a_link_that_swallows_all_without_a_word_is_given_up_after_the_timeout(self):
        with self.links.each("timeout"):
            self.publish()
            self.wait_retried()
            self.story.wait_status(self.sink, "says so", lambda now: now["state"] == "RETRYING")
        self.settled()
        self.assertGreater(self.count("swallowed"), self.swallowed + 1000)

    def test_what_was_applied_without_an_answer_is_found_stale_when_it_is_sent_again(self):
        with self.links.each("timeout", streams=(proxy.DOWN,)):
            self.publish()
            self.wait_retried()
        self.assertGreater(self.settled()["stale"], 0)
        self.assertGreater(self.count("swallowed"), self.swallowed)

    def test_answers_that_are_cut_in_the_middle_are_never_taken_for_whole_ones(self):
        with self.links.each("limit_data", self.cut_after):
            self.links.cut()  # connections that are open are older than the fault
            self.links.enable()
            self.publish()
            self.wait_retried()
        self.settled()
        self.assertGreater(self.count("connections"), self.connections + 1)

    def test_a_refused_connection_is_tried_again_until_it_is_taken(self):
        self.links.cut()
        self.publish()
        self.wait_retried()
        self.links.heal()
        self.settled()
        self.assertGreater(self.count("connections"), self.connections)

    def test_a_server_that_stands_still_with_its_sockets_open_is_given_up_after_the_timeout(self):
        with servers.paused(self.standing):
            self.publish()
            self.wait_retried()
        self.settled()


class MysqlLinks(Links, unittest.TestCase):
    sink, standing = "mysql", "mysql-1"
    cut_after = 600  # in the middle of what the server says of its variables

    @classmethod
    @contextlib.contextmanager
    def proxied(cls):
        with contextlib.ExitStack() as stack:
            configured = harness.CONFIG["sinks"]["mysql"]["servers"]
            nodes = [stack.enter_context(proxy.Proxy(server["port"])) for server in configured]

            def change(config):
                for server, node in zip(config["sinks"]["mysql"]["servers"], nodes):
                    server["port"] = node.port

            yield proxy.Group(nodes), change


class MysqlLook(unittest.TestCase):
    """Of a store that is set up: into every table, many in a packet."""

    LATENCY_MS = 500  # 16 packets take longer than one answer may

    def test_a_look_into_all_tables_may_take_longer_than_one_answer(self):
        with proxy.Proxy(servers.port("mysql-1")) as link:

            def slow(config):
                sink = config["sinks"]["mysql"]
                [first, *_] = sink["servers"]
                sink["servers"] = [{**first, "port": link.port, "partitions": "0-7"}]

            def short(config):
                config["sinks"]["mysql"]["request_timeout_ms"] = REQUEST_TIMEOUT_MS

            entity = f"look{time.time_ns()}"  # whose tables are empty on any stack
            with Story(entity, "looklong", ["mysql"], slow) as story:
                story.publish(MEMBERS, EVENTS, seed=next(_seed))
                hurried = story.variant("hurried", short)
                late = link.latency(self.LATENCY_MS)
                with story.worker(config=hurried) as worker:
                    story.wait_status("mysql", "applies", lambda now: now.get("applied"))
                    self.assertNotIn("Lost connection", worker.log())
                    late.end()
                    story.settle()


class MysqlTlsLinks(Links, unittest.TestCase):
    """Over TLS the client library waits in another way."""

    sink, standing = "mysql", "mysql-tls"
    cut_after = 4000  # behind the handshake, in the middle of what the server says of its variables

    @classmethod
    @contextlib.contextmanager
    def proxied(cls):
        certificates.prepare(servers.INSTANCE)
        certificates.install(servers.INSTANCE, "mysql-tls", "good")
        with servers.running("mysql-tls"), proxy.Proxy(servers.port("mysql-tls")) as node:
            yield proxy.Group([node]), lambda config: cls.lead(config, node.port)

    @staticmethod
    def lead(config, port):
        sink = config["sinks"]["mysql"]
        [first, *_] = sink["servers"]
        sink["servers"] = [{**first, "port": port, "partitions": "0-7"}]
        sink["tls"] = {"ca": str(certificates.authority(servers.INSTANCE))}

    def test_an_answer_that_comes_byte_by_byte_is_given_up(self):
        told = len(self.worker.log())
        super().test_an_answer_that_comes_byte_by_byte_is_given_up()
        self.assertNotIn("ca, cert and key", self.worker.log()[told:], "no certificate is wrong")

    def test_a_statement_that_fills_the_socket_goes_on_when_there_is_room(self):
        """The library says that it waits to read, and waits to write."""
        with relay.Narrow(self.links.nodes[0].port) as narrow, self.worker_stopped():
            through = self.story.variant("narrow", lambda config: self.lead(config, narrow.port))
            self.publish()
            with self.story.worker(config=through):
                self.story.wait_caught_up()
                self.assertEqual(self.story.status(self.sink)["retried"], 0)
            self.assertGreater(narrow.largest, 64 * 1024)

    @contextlib.contextmanager
    def worker_stopped(self):
        self.worker.stop()
        try:
            yield
        finally:
            type(self).worker = self.enterClassContext(self.story.worker())


class RedisLinks(Links, unittest.TestCase):
    sink, standing = "redis-b", "redis-b-2"
    cut_after = 300

    @classmethod
    @contextlib.contextmanager
    def proxied(cls):
        with proxy.redis_cluster("redis-b") as links:

            def change(config):
                config["sinks"]["redis-b"]["nodes"] = links.addresses

            yield links, change


class ElasticsearchLinks(Links, unittest.TestCase):
    sink, standing = "es-backup", "es-backup"
    cut_after = 2000  # in the middle of a bulk's answer

    @classmethod
    @contextlib.contextmanager
    def proxied(cls):
        with proxy.Proxy(servers.port("es-backup")) as node:

            def change(config):
                config["sinks"]["es-backup"]["urls"] = [f"http://{node.address}"]

            yield proxy.Group([node]), change


class KafkaLinks(unittest.TestCase):
    """The worker's link to the broker; the publisher's and the test's own stay good."""

    sink = "redis-b"
    SESSION_MS = 6000  # the least that the broker allows

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.admin = AdminClient({"bootstrap.servers": harness.CONFIG["kafka"]["brokers"]})

    @contextlib.contextmanager
    def caught_up(self, name):
        with proxy.kafka() as link, Story(f"lk{name}", f"lk{name}", [self.sink]) as story:
            self.story = story
            story.publish(MEMBERS, EVENTS, seed=next(_seed))

            def through(config):
                config["kafka"]["brokers"] = link.address
                config["kafka"]["properties"] = {
                    "session.timeout.ms": self.SESSION_MS,
                    "socket.timeout.ms": 2000,
                }

            with story.worker(config=story.variant("proxied", through)) as worker:
                story.wait_caught_up()
                yield story, worker, link

    def publish(self, story):
        story.publish(MEMBERS, EVENTS, seed=next(_seed))

    def settled(self, story):
        now = story.settle()[self.sink]
        self.assertEqual((now["poison"], now["quarantined"]), (0, 0), now)
        self.assertEqual(now["state"], "RUNNING", now)

    def members(self):
        """Of the sink's group, as the broker has them."""
        group = f"lockstep.{self.story.entity}.1.{self.sink}"
        described = self.admin.describe_consumer_groups([group])[group].result()
        return len(described.members)

    def test_a_slow_link_to_kafka_is_only_slower(self):
        with self.caught_up("slow") as (story, _, link):
            with link.latency(200):
                self.publish(story)
                self.settled(story)

    def test_a_trickle_from_kafka_is_only_slower(self):
        with self.caught_up("trickle") as (story, worker, link):
            with link.slicer(500, 1000, streams=(proxy.DOWN,)):
                self.publish(story)
                self.settled(story)
            worker.stop()
            wait_until(lambda: link.sent(proxy.DOWN) > 50_000, "the proxy counts what it sent")

    def test_resets_from_kafka_lose_nothing_and_stop_nothing(self):
        with self.caught_up("reset") as (story, _, link):
            before = link.connections()
            with link.reset_peer():
                self.publish(story)
                wait_until(lambda: link.connections() > before + 3, "some connections to be reset")
            self.settled(story)

    def test_answers_of_kafka_that_are_cut_in_the_middle_are_read_again(self):
        with self.caught_up("half") as (story, _, link):
            before = link.connections()
            with link.limit_data(5000):
                link.cut()
                link.enable()
                self.publish(story)
                wait_until(lambda: link.connections() > before + 3, "some answers to be cut")
            self.settled(story)

    def test_a_worker_that_kafka_has_given_up_joins_again_when_the_link_is_back(self):
        with self.caught_up("hole") as (story, worker, link):
            self.assertEqual(self.members(), 1)
            with link.timeout():
                wait_until(lambda: self.members() == 0, "the broker gives the member up", 30)
                self.publish(story)
                self.assertIsNone(worker.process.poll())
            wait_until(lambda: self.members() == 1, "the worker is a member again", 60)
            self.settled(story)
            self.assertGreater(link.swallowed(), 0)


if __name__ == "__main__":
    unittest.main()
