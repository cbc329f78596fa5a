"""Stores that lost something while nobody looked, and one that refuses a record: the next run mends
what is missing from the log, without anyone asking, and says what it cannot store."""

import re
import unittest

import redis
import requests

import harness
import stores
import wire
from harness import SINKS, Worker, lockstep, wait_caught_up

MEMBERS, EVENTS = 2000, 4000


def setUpModule():
    lockstep("topics", "create")
    lockstep("schema", "apply")
    events = harness.generate(MEMBERS, EVENTS, seed=30)
    lockstep("publish", "--entity", "member", "-", stdin=events)
    with Worker("--all"):
        wait_caught_up()
    lockstep("verify")


def run_until_caught_up(*sinks):
    """One run of these sinks; their lines of status at its end."""
    arguments = [word for name in sinks for word in ("--sink", name)]
    with Worker(*arguments):
        wait_caught_up(sinks)
        return {name: line for name, line in harness.status().items() if name in sinks}


class EmptiedStores(unittest.TestCase):
    def assert_lost(self, sink):
        """That the test took something away: else its end would prove nothing."""
        report = harness.lockstep_json("verify", "--sink", sink, "--wait", "0", expect=None)
        counts = report["sinks"][0]["counts"]
        self.assertGreater(counts["lagging"] + counts["missing"], 100, report)

    def assert_refilled(self, sink):
        line = run_until_caught_up(sink)[sink]
        self.assertGreater(line["applied"], 0, line)
        lockstep("verify", "--sink", sink)

    def test_a_redis_master_that_was_flushed_is_filled_again_by_the_next_run(self):
        sink = harness.CONFIG["sinks"]["redis-a"]
        host, port = sink["nodes"][1].split(":")
        login = {"username": sink["user"], "password": stores.secret(sink)}
        with redis.Redis(host, int(port), **login) as node:
            self.assertGreater(node.dbsize(), 100)
            node.flushall()
        self.assert_lost("redis-a")
        self.assert_refilled("redis-a")

    def test_a_mysql_server_that_lost_tables_and_its_marks_is_filled_again_by_the_next_run(self):
        server = harness.CONFIG["sinks"]["mysql"]["servers"][1]
        first = int(str(server["partitions"]).split("-")[0])
        shards = range(first, wire.SHARDS, stores.PARTITIONS)
        with stores.mysql_connection(server) as connection, connection.cursor() as cursor:
            names = ", ".join(f"member_{shard:04d}" for shard in shards)
            cursor.execute(f"DROP TABLE member_mark, {names}")
        made = lockstep("schema", "apply", "--sink", "mysql").stdout
        self.assertIn(f"made {len(shards)} tables", made)
        self.assert_lost("mysql")
        self.assert_refilled("mysql")

    def test_an_elasticsearch_index_that_was_deleted_is_filled_again_by_the_next_run(self):
        sink = harness.CONFIG["sinks"]["es-backup"]
        url = f"{sink['urls'][0]}/{sink['index']}"
        requests.delete(url, timeout=stores.TIMEOUT_S).raise_for_status()
        made = lockstep("schema", "apply", "--sink", "es-backup").stdout
        self.assertIn(f"index {sink['index']} created", made)
        self.assert_lost("es-backup")
        self.assert_refilled("es-backup")


class NarrowColumn:
    """The shard table of a key, with one column too narrow for what the schema allows."""

    def __init__(self, key, column):
        shard = wire.shard_of(key)
        servers = harness.CONFIG["sinks"]["mysql"]["servers"]
        self.server = next(
            server for server in servers if self.has_partition(server, shard % stores.PARTITIONS)
        )
        self.table, self.column = f"member_{shard:04d}", column

    @staticmethod
    def has_partition(server, partition):
        first, last = map(int, str(server["partitions"]).split("-"))
        return first <= partition <= last

    def __enter__(self):
        with stores.mysql_connection(self.server) as connection, connection.cursor() as cursor:
            cursor.execute(f"SHOW CREATE TABLE {self.table}")
            made = cursor.fetchone()[1]
            self.wide = re.search(rf"`{self.column}` (varchar\(\d+\).*?),?\n", made).group(1)
            cursor.execute(f"SELECT MAX(CHAR_LENGTH({self.column})) FROM {self.table}")
            self.length = max(cursor.fetchone()[0] or 0, 5)  # what is there must fit
            narrow = re.sub(r"varchar\(\d+\)", f"varchar({self.length})", self.wide)
            cursor.execute(f"ALTER TABLE {self.table} MODIFY {self.column} {narrow}")
        return self

    def __exit__(self, *exc):
        with stores.mysql_connection(self.server) as connection, connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {self.table} MODIFY {self.column} {self.wide}")


class RefusedByOneStore(unittest.TestCase):
    KEY = "refused-by-mysql"

    def publish(self, *locales):
        lines = "".join(f'{{"id": "{self.KEY}", "locale": "{text}"}}\n' for text in locales)
        lockstep("publish", "--entity", "member", "-", stdin=lines)

    def locale_in(self, sink):
        return stores.from_store(sink, [self.KEY])[self.KEY][2]["locale"]

    def entries(self, sink):
        found = stores.quarantined(sink).values()
        return [entry for entry in found if entry.get("key") == self.KEY.encode()]

    def test_what_one_store_refuses_is_quarantined_there_and_its_older_image_is_kept(self):
        with NarrowColumn(self.KEY, "locale") as narrow:
            before = {entry["offset"] for entry in self.entries("mysql")}
            older, newer = "en", "x" * (narrow.length + 1)
            self.publish(older, newer)  # while no worker runs: so they meet in one batch
            lines = run_until_caught_up(*SINKS)
            self.assertEqual(lines["mysql"]["poison"], 1, lines["mysql"])
            [entry] = [e for e in self.entries("mysql") if e["offset"] not in before]
            self.assertEqual(entry["class"], b"store")
            self.assertEqual(stores.SCHEMA.decode(entry["value"]), (False, {"locale": newer}))
            self.assertIn(b"locale", entry["text"])
            self.assertEqual(self.locale_in("mysql"), older)
            for sink in SINKS:
                if sink != "mysql":
                    self.assertEqual(self.locale_in(sink), newer, sink)
                    self.assertEqual(self.entries(sink), [], sink)

            report = harness.lockstep_json("verify", expect=1)
            for sink in report["sinks"]:
                found = {kind for kind, n in sink["counts"].items() if n}
                expected = {"equal", "quarantined"} if sink["sink"] == "mysql" else {"equal"}
                self.assertEqual(found, expected, sink)

    def test_once_the_store_takes_it_the_next_publish_makes_all_equal(self):
        lockstep("schema", "diff", "--sink", "mysql")
        self.publish("pt-BR")
        run_until_caught_up(*SINKS)
        self.assertEqual({self.locale_in(sink) for sink in SINKS}, {"pt-BR"})
        lockstep("verify")


if __name__ == "__main__":
    unittest.main()
