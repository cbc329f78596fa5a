"""Bad records in the log, from clients that do not know the rules: each ends in the quarantine of
every sink with its reason, none stops a sink, and no store changes."""

import unittest

import msgpack
import yaml
from confluent_kafka import Producer

import harness
import stores
import wire
from harness import SINKS, Worker, lockstep, lockstep_json, wait_caught_up, wait_until

SCHEMA = stores.SCHEMA
KEY = "bad-input"
HOME = wire.partition_of(KEY, stores.PARTITIONS)


def good(**changes):
    return SCHEMA.encode({"name": "Ana", "points": 7}, **changes)


def field(name, value):
    """A put of one field, whatever its value."""
    return msgpack.packb([1, SCHEMA.version, 0, 1, "test", "", {SCHEMA.numbers[name]: value}])


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


# what is wrong: key, partition (None: the key's own), value, class
CASES = {
    "truncated": (KEY, None, good()[:-3], "undecodable"),
    "garbage": (KEY, None, b"\xc1\xff\x00garbage", "undecodable"),
    "an empty value": (KEY, None, b"", "undecodable"),
    "a list that promises 2^32-1 items": (KEY, None, b"\xdd\xff\xff\xff\xff", "undecodable"),
    "1000 lists in one another": (KEY, None, field("tags", nested(1000)), "schema"),
    "1000 lists for a record": (KEY, None, msgpack.packb(nested(1000)), "undecodable"),
    "more after the end": (KEY, None, good() + b"\x01", "undecodable"),
    "a null value": (KEY, None, None, "null-value"),
    "on the wrong partition": (KEY, (HOME + 1) % stores.PARTITIONS, good(), "misrouted"),
    "a newer format": (KEY, None, good(format_=2), "newer-format"),
    "an unreleased schema version": (KEY, None, good(version=99), "newer-schema"),
    "an unknown field": (KEY, None, msgpack.packb([1, 1, 0, 1, "", "", {999: 1}]), "schema"),
    "a string for a number": (KEY, None, field("points", "many"), "schema"),
    "a number out of range": (KEY, None, field("points", 2**63), "schema"),
    "a string too long": (KEY, None, field("name", "x" * 101), "schema"),
    "invalid UTF-8": (KEY, None, field("name", b"\xc3\x28").replace(b"\xc4\x02", b"\xa2"), None),
    "not a number": (KEY, None, field("balance", float("nan")), "schema"),
    "braces in the key": ("a{b}", "own", good(), "bad-key"),
    "a control character in the key": ("a\nb", "own", good(), "bad-key"),
    "an empty key": ("", 0, good(), "bad-key"),
    "a key of 256 bytes": ("k" * 256, "own", good(), "bad-key"),
}


class BadInput(unittest.TestCase):
    def test_every_kind_of_poison_ends_in_every_quarantine_with_its_reason(self):
        producer = Producer({"bootstrap.servers": stores.BROKERS})
        places = {}

        def delivered(name):
            def note(error, message):
                assert error is None, error
                places[name] = f"member.state.1/{message.partition()}/{message.offset()}"

            return note

        for name, (key, partition, value, _) in CASES.items():
            if partition is None:
                partition = HOME
            elif partition == "own":
                partition = wire.partition_of(key, stores.PARTITIONS)
            producer.produce(
                "member.state.1", value, key, partition, on_delivery=delivered(name)
            )
        self.assertEqual(producer.flush(30), 0)
        with Worker("--all"):
            wait_caught_up()
        for sink in SINKS:
            entries = stores.quarantined(sink)
            for name, (key, _, value, reason) in CASES.items():
                entry = entries.get(places[name])
                self.assertIsNotNone(entry, f"{sink}: {name} is not in the quarantine")
                self.assertEqual(entry["value"], value or b"", f"{sink}: {name}")
                self.assertTrue(entry["text"], f"{sink}: {name}")
                if reason is not None:
                    self.assertEqual(entry["class"].decode(), reason, f"{sink}: {name}")
        report = lockstep_json("verify")
        for sink in report["sinks"]:
            self.assertEqual(sink["result"], "equal", sink)
        self.assertEqual(stores.from_store("mysql", [KEY]), {})

    def test_a_librdkafka_client_with_its_default_partitioner_is_quarantined_not_applied(self):
        producer = Producer({"bootstrap.servers": stores.BROKERS})  # partitioner: consistent_random
        placed = []
        for number in range(64):
            key = f"default-partitioner-{number}"
            producer.produce(
                "member.state.1",
                good(),
                key,
                on_delivery=lambda error, message: placed.append((message.key(), message.partition())),
            )
        self.assertEqual(producer.flush(30), 0)
        keys = {key.decode(): partition for key, partition in placed}
        right = {k for k, p in keys.items() if p == wire.partition_of(k, stores.PARTITIONS)}
        self.assertLess(len(right), 64)
        with Worker("--sink", "redis-a"):
            wait_caught_up(["redis-a"])
        self.assertEqual(set(stores.from_store("redis-a", list(keys))), right)

    def test_keys_that_look_alike_stay_apart(self):
        keys = ["A", "a", "a ", " a", "á", "a\u0301", "ａ"]
        lines = "".join(
            '{"id": "%s", "name": "name of %d"}\n' % (key, number) for number, key in enumerate(keys)
        )
        lockstep("publish", "--entity", "member", "-", stdin=lines)
        with Worker("--all"):
            wait_caught_up()
        for sink in SINKS:
            held = stores.from_store(sink, keys)
            self.assertEqual(
                {key: held[key][2]["name"] for key in keys},
                {key: f"name of {number}" for number, key in enumerate(keys)},
                sink,
            )

    def test_bad_lines_are_rejected_by_number_and_the_rest_goes_on(self):
        lines = [
            b'{"id": "line-1", "name": "good"}',
            b'{"id": "line-2", "name": ',
            b'{"id": "line-3", "nmae": "typo"}',
            b'{"id": "line-4", "points": "seven"}',
            b'{"id": "line-5", "note": "' + b"x" * (10 << 20) + b'"}',
            b'{"id": "line-6", "name": "\xff\xfe"}',
            b'{"name": "no key"}',
            b'{"id": "li{ne}-8"}',
            b'{"id": "line-9", "name": "good too"}',
        ]
        with harness.configuration(lambda config, folder: None) as config:
            rejects = config.parent / "rejects.ndjson"
            done = lockstep(
                "publish", "--entity", "member", "--rejects", rejects, "-",
                stdin=b"\n".join(lines) + b"\n", expect=1,
            )
            self.assertIn(b"2 published, 7 rejected", done.stderr)
            told = rejects.read_text(encoding="utf-8", errors="replace").splitlines()
            numbers = [int(line.split('"line":')[1].split(",")[0]) for line in told]
            self.assertEqual(numbers, [2, 3, 4, 5, 6, 7, 8])
            self.assertLess(rejects.stat().st_size, 1 << 20)
            strict = lockstep(
                "publish", "--entity", "member", "--strict", "--rejects", rejects, "-",
                stdin=b"\n".join(lines) + b"\n", expect=None,
            )
            self.assertNotEqual(strict.returncode, 0)
            self.assertIn(b"line 2", strict.stderr)

    def test_what_cannot_be_begun_says_so_and_publishes_nothing(self):
        cases = [
            (("--entity", "membr", "-"), 64, b"no entity 'membr'; there are: member"),
            (("-e", "member", "--from-line", "3", "-"), 2, b"the input ends with line 1"),
            (("-e", "member", "--format", "csv", "-"), 2, b"header, column 1"),
            (("-e", "member", "/"), 2, b"/: Is a directory"),
        ]
        for arguments, code, text in cases:
            with self.subTest(arguments):
                done = lockstep("publish", *arguments, stdin=b'{"id": "nowhere"}\n', expect=code)
                self.assertIn(text, done.stderr)
                self.assertNotIn(b"go on with", done.stderr)
        # all of it was published before: nothing is left, and that is no mistake
        lockstep("publish", "-e", "member", "--from-line", "2", "-", stdin=b'{"id": "n"}\n')


class BadDays(unittest.TestCase):
    def test_a_store_that_is_down_is_waited_for_and_named(self):
        def dead(config, folder):
            change(config, folder)
            config["sinks"]["redis-a"]["nodes"] = ["127.0.0.1:1"]

        change = harness.own_entity("dead_store", "dead", ["redis-a"])
        with harness.configuration(dead) as config:
            lockstep("topics", "create", config=config)
            with Worker("--all", config=config) as worker:
                worker.wait_for_log("state=WAITING")
                wait_until(lambda: "127.0.0.1:1" in worker.log(), "the log names the dead node")
                self.assertEqual(worker.stop(), 0)

    def test_a_store_without_its_tables_names_the_command_that_makes_them(self):
        for sink in ("mysql", "es-backup"):
            with harness.configuration(harness.own_entity("bare", "bare", [sink])) as config:
                lockstep("topics", "create", config=config)
                with Worker("--all", config=config) as worker:
                    worker.wait_for_log("state=HALTED")
                    self.assertIn("lockstep schema apply", worker.log())

    def test_a_missing_topic_names_the_command_that_makes_it(self):
        with harness.configuration(harness.own_entity("no_topic", "nt", ["redis-a"])) as config:
            with Worker("--all", config=config) as worker:
                worker.wait_for_log("lockstep topics create")

    def test_a_store_with_data_and_no_mark_halts_and_resync_mends_it(self):
        change = harness.own_entity("unmarked", "um", ["redis-b"])
        with harness.configuration(change) as config:
            lockstep("topics", "create", config=config)
            lockstep("schema", "apply", config=config)
            client = stores.redis_client(harness.CONFIG["sinks"]["redis-b"])
            client.set("um:{stranger}", b"somebody else's")
            with Worker("--all", config=config) as worker:
                worker.wait_for_log("lockstep resync --sink redis-b")
            lockstep("publish", "--entity", "unmarked", "-", config=config,
                     stdin='{"id": "one", "name": "One"}\n')
            lockstep("resync", "--sink", "redis-b", config=config)
            with Worker("--all", config=config):
                wait_caught_up(["redis-b"], config)
            found = lockstep("verify", "--json", config=config, expect=1).stdout
            self.assertIn('"extra"', found)
            client.delete("um:{stranger}")
            client.close()
            lockstep("verify", config=config)

    def test_a_record_of_a_released_newer_schema_halts_the_sink_until_it_is_upgraded(self):
        change = harness.own_entity("upgraded", "up", ["redis-a"])

        def change_and_upgrade(config, folder):
            change(config, folder)
            schema = yaml.safe_load((folder / "entity.yaml").read_text())
            schema["version"] = 2
            schema["fields"].append({"number": 90, "name": "nick", "type": "string", "length": 9})
            (folder / "entity.yaml").write_text(yaml.safe_dump(schema))

        with harness.configuration(change) as old, harness.configuration(change_and_upgrade) as new:
            lockstep("topics", "create", config=old)
            lockstep("schema", "apply", config=old)
            lockstep("schema", "apply", config=new)
            lockstep("publish", "--entity", "upgraded", "-", config=new,
                     stdin='{"id": "one", "nick": "Uno"}\n')
            with Worker("--all", config=old) as worker:
                worker.wait_for_log("state=HALTED")
                self.assertIn("version 2 is released", worker.log())
            self.assertEqual(stores.quarantined("redis-a", "upgraded"), {})
            with Worker("--all", config=new):
                wait_caught_up(["redis-a"], new)
            lockstep("verify", config=new)
            back = lockstep("schema", "apply", config=old, expect=None)
            self.assertNotEqual(back.returncode, 0)
            self.assertRegex(back.stderr, r"entity\.yaml:\d+: ")

    def test_a_typo_in_the_configuration_is_named_with_its_line(self):
        def typo(config, folder):
            config["sinks"]["mysql"]["batch_recrods"] = 5

        with harness.configuration(typo) as config:
            done = lockstep("status", config=config, expect=78)
            self.assertRegex(done.stderr, r"lockstep\.yaml:\d+: .*batch_recrods")
            self.assertIn("batch_records", done.stderr)

    def test_secrets_are_never_printed(self):
        secrets = {
            stores.secret(harness.CONFIG["sinks"]["redis-a"]),
            stores.secret(None, harness.CONFIG["sinks"]["mysql"]["servers"][0]),
        }
        printed = lockstep("config", "check").stdout + lockstep("schema", "diff").stdout
        with Worker("--all", "--verbose") as worker:
            wait_caught_up()
            worker.stop()
            printed += worker.log()
        for value in secrets:
            self.assertGreater(len(value), 8)
            self.assertNotIn(value, printed)


if __name__ == "__main__":
    unittest.main()
