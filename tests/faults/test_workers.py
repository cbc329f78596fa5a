"""Workers that are killed, frozen, outlived, told to stop and joined by others: what they had in
hand is applied by whoever comes next, nothing older is put over anything newer, and no mark moves
back."""

import contextlib
import json
import re
import secrets
import signal
import socket
import threading
import unittest

import redis

import harness
import kafkas
import servers
import stores
import wire
from harness import wait_until
from kafkas import Beats, Log, mysql_marks, mysql_root, offsets_of, redis_marks
from server_redis import Connection
from support import quick

MYSQL = ("mysql-1", "mysql-2")
SESSION_S = 10  # after which the group gives a member's partitions away


def images(keys, name):
    return "".join(json.dumps({"id": key, "name": name}) + "\n" for key in keys)


def names_in_mysql(story, keys):
    """What a store holds for these keys: {key: (version, name)}; read by its own client."""
    found = {}
    for number, server in enumerate(MYSQL):
        with mysql_root(server) as connection, connection.cursor() as cursor:
            for key in keys:
                shard = wire.shard_of(key)
                if shard % stores.PARTITIONS // 4 != number:
                    continue
                table = f"{story.entity}_{shard:04d}"
                cursor.execute(f"SELECT _v, name FROM {table} WHERE id = %s", (key.encode(),))
                for row in cursor.fetchall():
                    found[key] = row
    return found


def names_in_redis(story, keys):
    client = stores.redis_client(harness.CONFIG["sinks"]["redis-a"])
    found = {}
    for key in keys:
        entry = client.get(f"{story.prefix}:{{{key}}}")
        if entry is not None:
            fields = stores.SCHEMA.decode(entry[8:])[1]
            found[key] = (int.from_bytes(entry[:8], "big"), fields.get("name"))
    client.close()
    return found


class RowLocks:
    """A foreign transaction on each MySQL server that locks the shard tables of some keys, or all
    marks, so that a worker that writes there waits until it ends."""

    def __init__(self, story, keys=(), marks=False):
        self.stack = contextlib.ExitStack()
        tables = {name: set() for name in MYSQL}
        for key in keys:
            shard = wire.shard_of(key)
            server = MYSQL[shard % stores.PARTITIONS // 4]
            tables[server].add(f"{story.entity}_{shard:04d}")
        self.links = {}
        for server in MYSQL:
            if marks:
                tables[server] = {f"{story.entity}_mark"}
            link = self.stack.enter_context(mysql_root(server))
            link.begin()
            with link.cursor() as cursor:
                for table in sorted(tables[server]):
                    cursor.execute(f"SELECT * FROM {table} FOR UPDATE")
            self.links[server] = link

    def waiting(self, server):
        """Rows that each transaction has changed which now waits for these locks.

        innodb_trx is not made anew for who asks again within 100 ms, so it is asked only where the
        counter says that somebody waits.
        """
        with mysql_root(server) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")
            if int(cursor.fetchone()[1]) == 0:
                return []
            cursor.execute(
                "SELECT trx_rows_modified FROM information_schema.innodb_trx"
                " WHERE trx_state = 'LOCK WAIT'"
            )
            return [row[0] for row in cursor.fetchall()]

    def wait_for_waiter(self):
        """Until a worker waits on every server."""
        for server in MYSQL:
            wait_until(
                lambda server=server: self.waiting(server), f"a transaction waits on {server}"
            )

    def end_waiters(self):
        """Ends the connections that wait: of a client that is gone, which the server would notice
        only after the lock, and then do what it had been sent."""
        for server in MYSQL:
            with mysql_root(server) as connection, connection.cursor() as cursor:
                cursor.execute(
                    "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx"
                    " WHERE trx_state = 'LOCK WAIT'"
                )
                for (thread,) in cursor.fetchall():
                    cursor.execute(f"KILL {thread}")
            wait_until(lambda server=server: not self.waiting(server), f"nobody waits on {server}")

    def release(self):
        for link in self.links.values():
            with contextlib.suppress(Exception):
                link.rollback()
        self.stack.close()
        self.links = {}

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.release()


class RedisWrites:
    """All that is written into a Redis Cluster while the `with` lasts, in the nodes' own words and
    order; `versions` has it by key after the `with`, which fails if anything was put over newer."""

    SET = re.compile(rb'^\+\S+ \[\d+ lua\] "SET" "([^"]*)" "(.*)"$')

    def __init__(self, server, prefix):
        self.prefix, self.versions = prefix, {}
        self.ports = [proc.ports["redis"] for proc in servers.procs(server)]
        self.end = f"end-{secrets.token_hex(8)}".encode()

    def __enter__(self):
        self.links = [self.watch(port) for port in self.ports]
        self.threads = [
            threading.Thread(target=self.read, args=(link,), daemon=True) for link in self.links
        ]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        for port in self.ports:
            node = Connection(port, servers.INSTANCE.secret("redis"))
            node.call("ECHO", self.end.decode())  # after all that was written before
            node.close()
        for thread, link in zip(self.threads, self.links):
            thread.join()
            link.close()
        for key, versions in self.versions.items():
            if versions != sorted(set(versions)):  # it explains whatever else went wrong
                raise AssertionError(f"{key}: older over newer: {versions}") from None

    @staticmethod
    def watch(port):
        link = socket.create_connection(("127.0.0.1", port)).makefile("rwb")
        for words in (f"AUTH lockstep {servers.INSTANCE.secret('redis')}", "MONITOR"):
            link.write(f"{words}\r\n".encode())
            link.flush()
            answer = link.readline()
            if answer != b"+OK\r\n":
                raise AssertionError(f"redis on port {port}: {answer}")
        return link

    def read(self, link):
        for line in link:
            if self.end in line:
                return
            written = self.SET.match(line.rstrip())
            if written and written[1].startswith(f"{self.prefix}:{{".encode()):
                value = written[2].decode("unicode_escape").encode("latin-1")
                version = int.from_bytes(value[:8], "big")
                self.versions.setdefault(written[1].decode(), []).append(version)


class KilledWithABatchInHand(unittest.TestCase):
    """SIGKILL, with the store's own account of how far the batch had come."""

    @classmethod
    def setUpClass(cls):
        cls.story = cls.enterClassContext(kafkas.story("killed", ["mysql"]))
        cls.log = Log(cls.story)
        cls.story.publish(members=200, events=300, seed=1)
        with cls.story.worker():
            cls.story.settle()

    def kill_while_waiting(self, name, keys, locks):
        """Publishes, and kills a worker that waits for the locks. Returns what stood then, and the
        rows that the waiting transactions had changed."""
        self.story.publish_lines(images(keys, name))
        with locks, self.story.worker() as worker:
            locks.wait_for_waiter()
            changed = [max(locks.waiting(server)) for server in MYSQL]
            worker.kill()
            locks.end_waiters()
            held = names_in_mysql(self.story, keys)
            marks = offsets_of(mysql_marks(self.story))
        newest = stores.newest_of_log(topic=self.log.topic)
        for key in set(keys) - set(held):
            offset = (newest[key][0] & (1 << 48) - 1) - 1
            mark = marks[wire.partition_of(key, stores.PARTITIONS)]
            self.assertGreaterEqual(offset, mark, f"{key} is covered by a mark")
        return held, marks, changed

    def go_on(self, keys, name, marks):
        """The next worker, which begins at these marks; its own account of what it did."""
        beats = Beats(self.story, "mysql")
        ends = self.log.ends()
        with self.story.worker() as worker:
            wait_until(
                lambda: offsets_of(mysql_marks(self.story)) == ends, "the marks are at the end"
            )
            left = sum(ends[p] - marks[p] for p in ends)
            line = beats.wait(worker, f"{left} records", lambda beat: beat["consumed"] >= left)
            self.story.verify()
        self.assertEqual({name for _, name in names_in_mysql(self.story, keys).values()}, {name})
        self.assertEqual(line["consumed"], left, line)
        return line

    def test_a_worker_killed_before_it_applies_leaves_nothing_and_the_next_one_applies_all(self):
        keys = [f"before-{number}" for number in range(64)]
        locks = RowLocks(self.story, keys)
        held, marks, _ = self.kill_while_waiting("one", keys, locks)
        self.assertEqual(held, {}, "the locks were there before the first row")
        self.go_on(keys, "one", marks)

    def test_a_worker_killed_in_the_middle_of_a_bulk_leaves_nothing_of_its_transaction(self):
        keys = [f"middle-{number}" for number in range(200)]
        # the last table in the order in which a transaction goes through them
        last = [max(self.of_server(keys, number), key=wire.shard_of) for number in (0, 1)]
        locks = RowLocks(self.story, last)
        held, marks, changed = self.kill_while_waiting("one", keys, locks)
        for key in last:
            partition = wire.partition_of(key, stores.PARTITIONS)
            seen = [k for k in held if wire.partition_of(k, stores.PARTITIONS) == partition]
            self.assertEqual(seen, [], "rows of a transaction that is not committed")
        self.assertGreaterEqual(min(changed), 5, "it was in the middle")
        self.go_on(keys, "one", marks)

    @staticmethod
    def of_server(keys, number):
        return [k for k in keys if wire.shard_of(k) % stores.PARTITIONS // 4 == number]

    def test_a_worker_killed_after_it_applied_and_before_its_mark_is_read_again_as_stale(self):
        keys = [f"after-{number}" for number in range(64)]
        locks = RowLocks(self.story, marks=True)
        held, marks, _ = self.kill_while_waiting("one", keys, locks)
        self.assertEqual(set(held), set(keys), "all was applied")
        now = self.go_on(keys, "one", marks)
        self.assertEqual((now["stale"], now["applied"]), (len(keys), 0))

    def test_a_worker_killed_while_one_of_three_redis_nodes_stands_still_loses_nothing(self):
        keys = [f"redis-{number}" for number in range(600)]
        with kafkas.story("pipeline", ["redis-a"]) as story:
            with story.worker():
                story.wait_caught_up()
            with story.worker() as worker:
                story.wait_caught_up()
                with servers.paused("redis-a-2"):
                    story.publish_lines(images(keys, "one"))
                    wait_until(lambda: self.entries(story, "redis-a-1") > 50, "a part is applied")
                    worker.kill()
                    ends = Log(story).ends()
                    # what it was sent waits in its sockets: going on, it would still take that
                    with servers.killed("redis-a-2"):
                        pass
            servers.wait_ready("redis-a")
            self.assertLess(len(names_in_redis(story, keys)), len(keys), "a part is lost")
            self.assertTrue(
                any(offsets_of(redis_marks(story))[p] < ends[p] for p in ends),
                "no mark covers what the node that stood still had not taken",
            )
            with story.worker():
                story.settle()
            self.assertEqual({name for _, name in names_in_redis(story, keys).values()}, {"one"})

    @staticmethod
    def entries(story, node):
        """Entries that one node of a Redis Cluster holds for the story."""
        login = {"username": "lockstep", "password": servers.INSTANCE.secret("redis")}
        with redis.Redis("127.0.0.1", servers.port(node), **login) as client:
            return sum(1 for _ in client.scan_iter(match=f"{story.prefix}:{{*", count=1000))


class Zombies(unittest.TestCase):
    def assert_no_mark_moved_back(self, before, after):
        for partition, (version, genesis) in before.items():
            self.assertEqual(after[partition][1], genesis)
            self.assertGreaterEqual(after[partition][0], version, f"partition {partition}")

    @quick
    def test_a_frozen_worker_that_writes_after_its_partitions_went_to_another_changes_nothing(self):
        """Batches of a few records, so that most are still in the worker's hands when it freezes."""
        small = {"batch_records": 10, "batches_in_flight": 64}
        keys = [f"zombie-{number}" for number in range(400)]
        with kafkas.story(
            "zombie", ["mysql"], change=lambda config: config["sinks"]["mysql"].update(small)
        ) as story:
            log = Log(story)
            story.publish_lines(images(keys, "zero"))
            beats = Beats(story, "mysql")
            with story.worker() as zombie:
                story.wait_caught_up()
                locks = RowLocks(story, keys)
                with locks:
                    story.publish_lines(images(keys, "one"))
                    locks.wait_for_waiter()
                    zombie.process.send_signal(signal.SIGSTOP)
                    self.addCleanup(self.let_go, zombie)
                story.publish_lines(images(keys, "two"))
                with story.worker() as heir:
                    log.wait_members("mysql", 1, timeout_s=4 * SESSION_S)
                    wait_until(
                        lambda: offsets_of(mysql_marks(story)) == log.ends(),
                        "the heir's marks reach the end of the log",
                    )
                    marks = mysql_marks(story)
                    held = names_in_mysql(story, keys)
                    self.assertEqual({name for _, name in held.values()}, {"two"})
                    zombie.process.send_signal(signal.SIGCONT)
                    # it is back in the group, so it has heard that its partitions went
                    log.wait_members("mysql", 2)
                    beats.wait(
                        zombie, "what the zombie held came too late", lambda beat: beat["stale"] > 0
                    )
                    self.assertEqual(names_in_mysql(story, keys), held)
                    self.assert_no_mark_moved_back(marks, mysql_marks(story))
                    story.settle()
                    self.assertEqual(names_in_mysql(story, keys), held)
                    self.assert_no_mark_moved_back(marks, mysql_marks(story))
                    self.assertEqual(heir.stop(), 0)

    @staticmethod
    def let_go(worker):
        if worker.process.poll() is None:
            worker.process.send_signal(signal.SIGCONT)

    def test_two_owners_of_all_partitions_end_with_equal_stores_and_marks_at_the_end(self):
        """Two sinks of one store, each with a group of its own: nobody keeps them apart."""
        with kafkas.story("owners", ["redis-a"]) as story:

            def twin(config):
                config["sinks"]["redis-twin"] = config["sinks"].pop("redis-a")

            other = story.variant("twin", twin)
            harness.lockstep("topics", "create", config=other)
            log = Log(story)
            writes = RedisWrites("redis-a", story.prefix)
            with writes, story.worker() as first, story.worker(config=other) as second:
                for round_ in range(4):
                    story.publish(members=300, events=900, seed=round_)
                log.wait_members("redis-a", 1)
                log.wait_members("redis-twin", 1)
                harness.wait_caught_up(["redis-twin"], config=other)
                story.settle()
                both = story.status("redis-a"), harness.status(other)["redis-twin"]
                self.assertEqual(offsets_of(redis_marks(story)), log.ends())
                self.assertEqual((first.stop(), second.stop()), (0, 0))
            for one in both:
                self.assertGreaterEqual(one["consumed"], 3600, one)
            # each record was applied by one of them, and came too late from the other
            self.assertGreater(sum(one["stale"] for one in both), 0, both)
            self.assertEqual(len(writes.versions), len(stores.newest_of_log(topic=log.topic)))


class Rebalances(unittest.TestCase):
    def test_workers_that_join_and_leave_in_a_row_lose_and_repeat_nothing_that_shows(self):
        with kafkas.story("joins", ["redis-a"]) as story, contextlib.ExitStack() as stack:
            log = Log(story)
            with Load(story) as load:
                first = stack.enter_context(story.worker())
                log.wait_members("redis-a", 1)
                second = stack.enter_context(story.worker())
                log.wait_members("redis-a", 2)
                third = stack.enter_context(story.worker())
                log.wait_members("redis-a", 3)
                self.assertEqual(first.stop(), 0)
                log.wait_members("redis-a", 2)
                second.kill()
                fourth = stack.enter_context(story.worker())
                log.wait_members("redis-a", 2, timeout_s=6 * SESSION_S)
                self.assertEqual(third.stop(), 0)
                log.wait_members("redis-a", 1)
                load.wait_published(10)
            story.settle()
            self.assertEqual(offsets_of(redis_marks(story)), log.ends())
            self.assertEqual(fourth.stop(), 0)


class ToldToStop(unittest.TestCase):
    @quick
    def test_sigterm_under_load_ends_well_and_the_next_start_reads_nothing_twice(self):
        with kafkas.story("stops", ["mysql"]) as story:
            log = Log(story)
            consumed = stale = 0
            with Load(story) as load:
                for round_ in range(3):
                    load.wait_published(load.rounds + 2)
                    with story.worker() as worker:
                        log.wait_members("mysql", 1)
                        load.wait_published(load.rounds + 2)
                        self.assertEqual(worker.stop(), 0, worker.log()[-2000:])
                    # its last word, and what the store and the group say of its position
                    line = story.status("mysql")
                    self.assertEqual(line["state"], "STOPPED", line)
                    consumed += line["consumed"]
                    stale += line["stale"]
                    marks = offsets_of(mysql_marks(story))
                    committed = log.committed("mysql")
                    self.assertEqual({p: marks[p] for p in committed}, committed, round_)
            with story.worker():
                line = story.settle()["mysql"]
            consumed += line["consumed"]
            stale += line["stale"]
            self.assertEqual(stale, 0)
            self.assertEqual(consumed, load.published, "every record was read once")


class Load:
    """Publishes, round after round, until the `with` ends."""

    MEMBERS, EVENTS, PAUSE_S = 500, 500, 0.2

    def __init__(self, story):
        self.story, self.rounds, self.error = story, 0, None
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.run)

    @property
    def published(self):
        return self.rounds * self.EVENTS

    def run(self):
        try:
            while not self.ending.is_set():
                self.story.publish(self.MEMBERS, self.EVENTS, seed=self.rounds)
                self.rounds += 1
                self.ending.wait(self.PAUSE_S)
        except Exception as error:  # told by whoever waits
            self.error = error

    def wait_published(self, rounds):
        def there():
            if self.error:
                raise self.error
            return self.rounds >= rounds

        wait_until(there, f"{rounds} rounds of {self.EVENTS} are published")

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.ending.set()
        self.thread.join()
        if self.error and exc == (None, None, None):
            raise self.error


if __name__ == "__main__":
    unittest.main()
