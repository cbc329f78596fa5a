"""`lockstep quarantine`: what it shows of records that a sink could not apply, and how an entry ends:
requeued, discarded with a reason, or closed by a later record of its key."""

import itertools
import json
import os
import re
import unittest
import warnings

import harness
import stores
import wire
import yaml
from confluent_kafka import Producer
from support import Story, quick

warnings.filterwarnings("ignore", category=ResourceWarning)

PARTITIONS = 8


class Quarantine(Story):
    """A story with a producer that knows no rules, and `lockstep quarantine`."""

    def __init__(self, name, prefix, sinks, **options):
        new = os.getpid()  # so that nothing of an earlier run is there
        super().__init__(f"{name}_{new}", f"{prefix}{new}", sinks, **options)
        self.schema = stores.SCHEMA
        self.places = {}

    def produce(self, name, key, value, partition=None):
        if partition is None:
            partition = wire.partition_of(key, PARTITIONS)

        def delivered(error, message):
            assert error is None, error
            self.places[name] = (message.partition(), message.offset())

        producer = Producer({"bootstrap.servers": stores.BROKERS})
        producer.produce(f"{self.entity}.state.1", value, key, partition, on_delivery=delivered)
        assert producer.flush(30) == 0

    def flood(self, n, value, key="flood-%d", partition=None):
        """n records, as fast as they go."""
        producer = Producer(
            {"bootstrap.servers": stores.BROKERS, "queue.buffering.max.messages": 2 * n}
        )
        for number in range(n):
            name = key % number
            home = wire.partition_of(name, PARTITIONS) if partition is None else partition
            producer.produce(f"{self.entity}.state.1", value, name, home)
        assert producer.flush(60) == 0

    def quarantine(self, verb, *args, **options):
        return self.lockstep("quarantine", verb, *args, **options)

    def open_entries(self, sink, *args):
        lines = self.quarantine("list", "--json", "--sink", sink, *args).stdout.splitlines()
        return {(entry["partition"], entry["offset"]): entry for entry in map(json.loads, lines)}

    def run_until_caught_up(self):
        with self.worker():
            self.wait_caught_up()
            return self.verdicts_add_up()

    def wait_open(self, sink, n):
        return harness.wait_until(
            lambda: len(self.open_entries(sink)) == n, f"{n} open entries of {sink}"
        )


class Narrow:
    """A key's table of an entity, with `locale` too narrow for what the schema allows."""

    def __init__(self, story, *keys):
        shards = {wire.shard_of(key) for key in keys}
        servers = harness.CONFIG["sinks"]["mysql"]["servers"]
        self.tables = []
        for shard in sorted(shards):
            for server in servers:
                first, last = map(int, str(server["partitions"]).split("-"))
                if first <= shard % PARTITIONS <= last:
                    self.tables.append((server, f"{story.entity}_{shard:04d}"))

    def alter(self, length):
        for server, table in self.tables:
            with stores.mysql_connection(server) as connection, connection.cursor() as cursor:
                cursor.execute(f"SHOW CREATE TABLE {table}")
                column = re.search(r"`locale` (varchar\(\d+\).*?),?\n", cursor.fetchone()[1]).group(1)
                changed = re.sub(r"varchar\(\d+\)", f"varchar({length})", column)
                cursor.execute(f"ALTER TABLE {table} MODIFY locale {changed}")

    def __enter__(self):
        self.alter(5)
        return self

    def __exit__(self, *exc):
        self.alter(35)


class LogBorne(unittest.TestCase):
    """Poison by itself: listed with its reason, masked, and discarded with one."""

    SINK = "redis-a"
    CLASSES = {
        "garbage": "undecodable",
        "misrouted": "misrouted",
        "null": "null-value",
        "too long": "schema",
        "no key": "bad-key",
    }

    def publish_poison(self, story):
        good = story.schema.encode({"name": "Ana Secret", "points": 7})
        elsewhere = (wire.partition_of("two", PARTITIONS) + 1) % PARTITIONS
        story.produce("garbage", "one", b"\xc1 Ana Secret")
        story.produce("misrouted", "two", good, elsewhere)
        story.produce("null", "three", None)
        story.produce("too long", "one", story.schema.encode({"name": "Z" * 101}))
        story.produce("no key", "", good, 0)

    @quick
    def test_entries_are_listed_filtered_and_shown_with_personal_fields_masked(self):
        with Quarantine("quarantine_list", "ql", [self.SINK]) as story:
            self.assertIn("No open entries", story.quarantine("list").stdout)
            self.publish_poison(story)
            self.assertEqual(story.run_until_caught_up()[self.SINK]["poison"], 5)
            entries = story.open_entries(self.SINK)
            classes = {name: entries[place]["class"] for name, place in story.places.items()}
            self.assertEqual(classes, self.CLASSES)
            self.assertEqual(story.status(self.SINK)["quarantined"], 5)

            def filtered(*args):
                found = story.open_entries(self.SINK, *args)
                return {name for name, place in story.places.items() if place in found}

            self.assertEqual(filtered("--class", "misrouted"), {"misrouted"})
            self.assertEqual(filtered("--key", "one"), {"garbage", "too long"})
            self.assertEqual(filtered("--since", "1h"), set(self.CLASSES))
            self.assertEqual(filtered("--until", "1h"), set())
            partition, offset = story.places["null"]
            self.assertEqual(filtered("--partition", partition, "--offset", offset), {"null"})
            self.assertEqual(filtered(f"{partition}/{offset}"), {"null"})
            table = story.quarantine("list").stdout
            self.assertIn("5 open entries: misrouted 1, bad-key 1, null-value 1, schema 1", table)

            told = story.quarantine("show", "--sink", self.SINK, "--key", "two").stdout
            self.assertIn("class: misrouted", told)
            self.assertRegex(told, r"name +\*\*\* \(10 characters\)\n")
            self.assertRegex(told, r"points +7\n")
            garbage = story.quarantine("show", "--sink", self.SINK, "--class", "undecodable").stdout
            self.assertNotIn("Secret", told + garbage + table)
            show = ["show", "--sink", self.SINK, "--show-pii", "--class"]
            self.assertIn('"Ana Secret"', story.quarantine(*show, "misrouted").stdout)
            self.assertIn("Ana Secret", story.quarantine(*show, "undecodable").stdout)
            story.quarantine("show", "--sink", self.SINK, "7/99999", expect=1)

    def test_discarding_needs_a_reason_and_is_written_down_before_the_entry_is_closed(self):
        with Quarantine("quarantine_discard", "qd", [self.SINK]) as story:
            self.publish_poison(story)
            story.run_until_caught_up()
            discard = ["discard", "--sink", self.SINK]
            story.quarantine(*discard, expect=64)
            asked = story.quarantine(*discard, "--reason", "made anew", stdin="", expect=64)
            self.assertIn("5 entries", asked.stderr)
            story.quarantine(*discard, "--reason", "made anew", "--dry-run")
            self.assertEqual(len(story.open_entries(self.SINK)), 5)

            story.quarantine(*discard, "--reason", "made anew", "--class", "misrouted")
            self.assertEqual(len(story.open_entries(self.SINK)), 4)
            story.quarantine(*discard, "--reason", "made anew", "--yes")
            self.assertEqual(story.open_entries(self.SINK), {})
            self.assertEqual(stores.quarantined(self.SINK, story.entity), {})
            self.assertEqual(story.status(self.SINK)["quarantined"], 0)

            written = {}
            for message in stores.read_topic("lockstep.control", 1):
                key = message.key().decode()
                if key.startswith(f"discard/{self.SINK}/{story.entity}.state.1/"):
                    written[tuple(map(int, key.split("/")[3:]))] = json.loads(message.value())
            self.assertEqual(set(written), set(story.places.values()))
            record = written[story.places["garbage"]]
            self.assertEqual(record["discard_reason"], "made anew")
            self.assertEqual(record["class"], "undecodable")
            self.assertRegex(record["who"], r".+@.+")
            self.assertGreater(record["time_ms"], record["since_ms"])

    def test_what_no_store_can_take_is_not_requeued(self):
        with Quarantine("quarantine_unfit", "qu", [self.SINK]) as story:
            self.publish_poison(story)
            story.run_until_caught_up()
            done = story.quarantine("requeue", "--json", "--sink", self.SINK, expect=1)
            counts = json.loads(done.stdout)
            self.assertEqual((counts["unfit"], counts["refused"], counts["applied"]), (3, 2, 0))
            entries = story.open_entries(self.SINK)
            self.assertEqual(len(entries), 5)
            self.assertEqual(entries[story.places["garbage"]]["attempts"], 2)
            self.assertEqual(entries[story.places["misrouted"]]["attempts"], 1)

    def test_a_record_of_a_newer_schema_is_requeued_once_that_schema_is_there(self):
        with Quarantine("quarantine_schema", "qs", [self.SINK]) as story:
            story.produce("newer", "k", story.schema.encode({"points": 7}, version=2))
            story.run_until_caught_up()
            story.quarantine("requeue", "--sink", self.SINK, expect=1)
            schema = story.config.parent / "entity.yaml"
            declared = yaml.safe_load(schema.read_text(encoding="utf-8"))
            declared["version"] = 2
            declared["fields"].append({"number": 90, "name": "pets", "type": "int"})
            schema.write_text(yaml.safe_dump(declared, allow_unicode=True), encoding="utf-8")
            story.lockstep("schema", "apply")
            story.quarantine("requeue", "--sink", self.SINK)
            self.assertEqual(story.open_entries(self.SINK), {})
            story.verify()


class StoreBorne(unittest.TestCase):
    """What one store refuses: its entry stays until that store takes it."""

    @quick
    def test_requeue_keeps_what_is_still_refused_and_closes_what_the_store_took(self):
        with Quarantine("quarantine_store", "qm", ["mysql"]) as story:
            key = "refused"
            with Narrow(story, key):
                story.publish_lines(f'{{"id": "{key}", "locale": "{"x" * 6}"}}\n')
                story.publish_lines(f'{{"id": "{key}", "locale": "{"y" * 7}"}}\n')
                self.assertEqual(story.run_until_caught_up()["mysql"]["poison"], 2)
                entries = story.open_entries("mysql")
                self.assertEqual({entry["class"] for entry in entries.values()}, {"store"})
                self.assertEqual({entry["key"] for entry in entries.values()}, {key})
                done = story.quarantine("requeue", "--sink", "mysql", expect=1)
                self.assertIn("2 refused", done.stdout)
                self.assertIn("'locale'", done.stdout)  # a field's name is not masked
                after = story.open_entries("mysql")
                self.assertEqual({entry["attempts"] for entry in after.values()}, {2})
                self.assertEqual(
                    {place: entry["since_ms"] for place, entry in after.items()},
                    {place: entry["since_ms"] for place, entry in entries.items()},
                )
            tried = story.quarantine("requeue", "--sink", "mysql", "--dry-run")
            self.assertIn("2 would be tried", tried.stdout)
            self.assertEqual(len(story.open_entries("mysql")), 2)
            counts = json.loads(story.quarantine("requeue", "--json", "--sink", "mysql").stdout)
            self.assertEqual((counts["applied"], counts["stale"]), (1, 1), "the newer one wins")
            self.assertEqual(story.open_entries("mysql"), {})
            self.assertEqual(story.status("mysql")["quarantined"], 0)
            story.verify()

    def test_a_server_that_is_away_keeps_only_its_own_entries(self):
        with Quarantine("quarantine_away", "qa", ["mysql"]) as story:
            by_server = {wire.partition_of(key, PARTITIONS) < 4: key for key in map(str, range(64))}
            keys = list(by_server.values())
            self.assertEqual(len(keys), 2)
            with Narrow(story, *keys):
                for key in keys:
                    story.publish_lines(f'{{"id": "{key}", "locale": "too-long"}}\n')
                story.run_until_caught_up()
            self.assertEqual(len(story.open_entries("mysql")), 2)
            away = story.variant("away", lambda c: c["sinks"]["mysql"]["servers"][1].update(port=1))
            requeue = ["quarantine", "requeue", "--sink", "mysql"]
            done = harness.lockstep(*requeue, config=away, expect=2)
            self.assertIn("1 applied, 1 not done", done.stdout)
            self.assertEqual(len(story.open_entries("mysql")), 1)
            story.lockstep(*requeue)
            story.verify()

    def test_requeue_never_puts_an_older_image_over_a_newer_one(self):
        with Quarantine("quarantine_older", "qo", ["mysql"]) as story:
            key = "older"
            with Narrow(story, key):
                story.publish_lines(f'{{"id": "{key}", "locale": "{"x" * 6}"}}\n')
                story.run_until_caught_up()
            [entry] = stores.quarantined("mysql", story.entity).items()
            story.publish_lines(f'{{"id": "{key}", "locale": "pt-BR"}}\n')
            story.run_until_caught_up()
            # as if nobody had closed it
            producer = Producer({"bootstrap.servers": stores.BROKERS})
            place, headers = entry
            value = headers.pop("value")
            producer.produce(
                f"{story.entity}.quarantine.mysql", value, place, headers=list(headers.items())
            )
            self.assertEqual(producer.flush(30), 0)
            tried = story.quarantine("requeue", "--sink", "mysql", "--dry-run", "--json").stdout
            self.assertEqual(json.loads(tried)["stale"], 1)
            done = story.quarantine("requeue", "--sink", "mysql", "--json").stdout
            self.assertEqual(json.loads(done)["stale"], 1)
            self.assertEqual(story.open_entries("mysql"), {})
            story.verify()


class ClosedByLaterSuccess(unittest.TestCase):
    """A worker closes what a later record of the key outdates, whoever quarantined it."""

    @quick
    def test_a_later_record_of_the_key_closes_its_entries(self):
        with Quarantine("quarantine_later", "qc", ["mysql"]) as story:
            key, other = "closed", "open"
            with Narrow(story, key, other), story.worker():
                for name in (key, other):
                    story.publish_lines(f'{{"id": "{name}", "locale": "{"x" * 6}"}}\n')
                story.wait_open("mysql", 2)
                story.publish_lines(f'{{"id": "{key}", "locale": "pt-BR"}}\n')
                story.wait_open("mysql", 1)
            # and what a worker before had put there
            story.publish_lines(f'{{"id": "{other}", "locale": "de"}}\n')
            with story.worker():
                story.wait_open("mysql", 0)
            self.assertEqual(story.status("mysql")["quarantined"], 0)
            self.assertEqual(stores.quarantined("mysql", story.entity), {})
            story.verify()


class Floods(unittest.TestCase):
    """Tens of thousands of bad records."""

    @quick
    def test_what_the_log_got_wrong_never_halts_a_sink(self):
        n = 20000
        with Quarantine("quarantine_flood", "qf", ["redis-a"]) as story:
            story.flood(n, b"\xc1 not a record " + 300 * b"x", key="flood-%d")
            story.publish(members=100, events=200)
            with story.worker() as worker:
                now = story.settle()["redis-a"]
                self.assertNotIn("HALTED", worker.log())
            self.assertEqual(now["poison"], n)
            self.assertEqual(story.status("redis-a")["quarantined"], n)
            listed = story.quarantine("list", "--sink", "redis-a").stdout
            self.assertIn(f"\n{n:,} open entries: undecodable {n:,}\n", listed)
            discard = ["discard", "--sink", "redis-a", "--yes", "--reason", "a foreign publisher"]
            self.assertIn(f"{n:,} discarded", story.quarantine(*discard).stdout)
            self.assertEqual(story.status("redis-a")["quarantined"], 0)

    def test_a_store_that_refuses_too_many_halts_the_sink_until_it_is_mended(self):
        limit, n = 100, 1000

        def change(config):
            config["sinks"]["mysql"]["quarantine_max_per_minute"] = limit

        with Quarantine("quarantine_rate", "qr", ["mysql"], change=change) as story:
            keys = (f"wrong-{number}" for number in itertools.count())
            keys = (key for key in keys if wire.shard_of(key) % 128 == 7)  # eight tables
            keys = list(itertools.islice(keys, n))
            lines = "".join(f'{{"id": "{key}", "locale": "too-long"}}\n' for key in keys)
            with Narrow(story, *keys) as narrow, story.worker() as worker:
                story.publish_lines('{"id": "before", "locale": "pt-BR"}\n')
                story.settle()
                story.publish_lines(lines)
                halted = story.wait_status("mysql", "halted", lambda now: now["state"] == "HALTED")
                self.assertIn("refused by the store", halted["reason"])
                self.assertIn("wrong set-up", worker.log())
                quarantined = len(stores.quarantined("mysql", story.entity))
                self.assertLessEqual(quarantined, limit)
                narrow.alter(35)
                now = story.wait_status(
                    "mysql",
                    "running again",
                    lambda now: now["state"] == "RUNNING" and now["lag"] == 0,
                )
                self.assertGreaterEqual(now["applied"] + now["stale"], len(keys))
                story.quarantine("requeue", "--sink", "mysql")
                self.assertEqual(story.open_entries("mysql"), {})
                story.verify()


if __name__ == "__main__":
    unittest.main()
