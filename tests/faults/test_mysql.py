"""A MariaDB server that is away, hangs, is locked or full: what is meant for it waits and comes
when it is well again, nothing of it ends in the quarantine, and the sink's other server goes on."""

import contextlib
import unittest

import mariadb
import pymysql
from harness import wait_until
from proxy import Proxy
from support import Story, quick

pair = first = second = story = None


def setUpModule():
    global pair, first, second, story
    pair = unittest.enterModuleContext(mariadb.Pair("faultmy", "fmy"))
    first, second, story = pair.first, pair.second, pair.story


def table_of(key):
    return mariadb.table_of(pair.entity, key)


def lock_waits():
    """Transactions that wait for a lock, now; INNODB_TRX would be as old as its last pause."""
    return int(first.sql("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")[0][1])


def touch(cursor, key):
    """Locks a row, for as long as the cursor's transaction lasts."""
    cursor.execute(f"UPDATE {table_of(key)} SET _at = _at + 1 WHERE id = %s", (key.encode(),))


def insert(cursor, key):
    """Takes the place of a row that is not there yet, for as long as the transaction lasts."""
    columns = "(id, _v, _h, _deleted, _at) VALUES (%s, 1, 1, 0, 1)"
    cursor.execute(f"INSERT INTO {table_of(key)} {columns}", (key.encode(),))


@contextlib.contextmanager
def somebody_locks(*keys):
    """A foreign transaction holds these rows; yields its cursor. It ends with the block."""
    connection = first.connection()
    try:
        cursor = connection.cursor()
        cursor.execute("SET innodb_lock_wait_timeout = 15")
        cursor.execute("BEGIN")
        for key in keys:
            touch(cursor, key)
        yield cursor
    finally:
        with contextlib.suppress(pymysql.Error):  # its server may be dead by now
            connection.rollback()
            connection.close()


class Away(unittest.TestCase):
    def test_killed_inside_a_transaction_it_gets_all_of_it_again(self):
        with story.worker():
            rows = pair.new_keys(pair.ON_FIRST, 50)
            pair.publish(rows)
            pair.wait_for(first, rows)
            with somebody_locks(sorted(rows)[-1]):
                pair.publish(rows, name="Ben")
                wait_until(lock_waits, "the sink's transaction to wait for the last of its rows")
                first.kill()
            self.assertEqual(first.process.returncode, -9)
            with pair.second_goes_on():
                pair.wait_for_error("(2002)")
            first.start()
            self.assertIn("Starting crash recovery", first.log())
            now = pair.settle()
        self.assertGreaterEqual(now["retried"], 1, now)

    def test_stopped_and_started_under_load_it_gets_what_it_missed(self):
        with story.worker() as worker:
            story.publish(members=200, events=400, seed=20)
            story.wait_caught_up()  # it knows the servers: who meets one first can't tell
            for seed in range(3):
                story.publish(members=200, events=400, seed=seed)
                first.stop()
                story.publish(members=200, events=400, seed=seed + 10)
                first.start()
            pair.settle()
            self.assertIn("the server has started again", worker.log())
        self.assertGreaterEqual(first.log().count("Shutdown complete"), 3)

    def test_started_twice_within_seconds_it_is_another_one_each_time(self):
        first.stop()
        first.start()
        with story.worker() as worker:
            story.publish(members=20, events=20, seed=21)
            story.wait_caught_up()
            known = first.sql("SELECT MAX(id) FROM information_schema.processlist")[0][0]
            with mariadb.frozen(worker.process):
                first.kill()
                first.start()
                while first.sql("SELECT CONNECTION_ID()")[0][0] <= known:
                    pass  # so the number of the worker's next connection tells nothing
            pair.publish_to_both()
            worker.wait_for_log("the server has started again")
            pair.settle()

    def test_down_at_the_start_it_keeps_only_its_own_partitions_waiting(self):
        first.kill()
        with story.worker():
            with pair.second_goes_on():
                pair.wait_for_error("(2002)")
                now = story.status("mysql")
                self.assertFalse(now["fine"], now)
            first.start()
            pair.settle()

    def test_frozen_it_keeps_only_its_own_partitions_waiting(self):
        with story.worker():
            story.wait_caught_up()
            before = first.counter("Aborted_clients")
            first.pause()
            try:
                with pair.second_goes_on():
                    pair.wait_for_error(f":{first.port}")
            finally:
                first.resume()
            now = pair.settle()
            wait_until(
                lambda: first.counter("Aborted_clients") > before,
                "the server to count the connections that were given up",
            )
        self.assertGreater(now["retried"], 0, now)

    def test_frozen_at_the_start_it_keeps_only_its_own_partitions_waiting(self):
        first.pause()
        try:
            with story.worker():
                with pair.second_goes_on():
                    pair.wait_for_error(f":{first.port}")
                first.resume()
                pair.settle()
        finally:
            first.resume()

    def test_behind_a_black_hole_it_is_connected_to_again_and_not_waited_for_for_ever(self):
        with Proxy(first.port) as proxy:
            through = Story(pair.entity, "fmy", ["mysql"], pair.writes_to(proxy.port), apply=False)
            with through as link, link.worker():
                link.wait_caught_up()
                with proxy.timeout():
                    with pair.second_goes_on():
                        pair.wait_for_error(f":{proxy.port}")
                pair.settle()
            self.assertGreater(proxy.swallowed(), 0)


class Locks(unittest.TestCase):
    def test_the_victim_of_a_deadlock_with_somebody_else_writes_again(self):
        """The sink writes the lower key, then the higher, in one transaction; somebody else has
        written the higher, and writes the lower as soon as the sink waits for him."""
        low, high = sorted(mariadb.keys_of_shard(8, 2, pair.new_keys(0, 1)[0]))
        pair.publish([low, high])  # while no worker runs: they come in one transaction
        deadlocks = first.counter("Innodb_deadlocks")
        # waits for a lock for 10 s and not for one: the circle is closed long before
        config = story.variant(
            "patient", lambda config: config["sinks"]["mysql"].update(request_timeout_ms=20000)
        )
        with somebody_locks() as cursor:
            # with more rows than the sink's transaction, so that InnoDB undoes that one
            for key in [high, *pair.new_keys(1, 200)]:
                insert(cursor, key)
            with story.worker(config=config) as worker:
                wait_until(lock_waits, "the sink to hold the lower row and to wait for the higher")
                insert(cursor, low)

                def seen():
                    return first.counter("Innodb_deadlocks") > deadlocks

                wait_until(seen, "the server to see the circle")
                cursor.execute("ROLLBACK")
                now = pair.settle()
                self.assertIn("(1213)", worker.log())
        self.assertEqual(first.counter("Innodb_deadlocks"), deadlocks + 1)
        self.assertGreaterEqual(now["retried"], 2, now)

    def test_a_row_that_somebody_holds_for_long_is_tried_until_it_is_free(self):
        with story.worker():
            rows = pair.new_keys(pair.ON_FIRST)
            pair.publish(rows)
            pair.wait_for(first, rows)
            waits = first.counter("Innodb_row_lock_waits")
            with somebody_locks(rows[0]):
                pair.publish(rows, name="Ben")
                with pair.second_goes_on():
                    pair.wait_for_error("(1205)")
            now = pair.settle()
        self.assertGreater(first.counter("Innodb_row_lock_waits"), waits)
        self.assertGreater(now["retried"], 0, now)


class Full(unittest.TestCase):
    """A server that is there, and takes nothing."""

    @quick
    def test_read_only_is_an_outage_and_no_poison(self):
        with story.worker():
            ours, _ = pair.publish_to_both()
            pair.wait_for(first, ours)  # so that it has its marks, and records meet the refusal
            first.sql("SET GLOBAL read_only = 1")
            try:
                with pair.second_goes_on():
                    pair.wait_for_error("(1290)")
                self.assertEqual(first.sql("SELECT @@read_only"), ((1,),))
            finally:
                first.sql("SET GLOBAL read_only = 0")
            now = pair.settle()
        self.assertGreater(now["retried"], 0, now)

    def test_without_a_free_connection_it_is_asked_again(self):
        with story.worker(), contextlib.ExitStack() as stack:
            story.wait_caught_up()
            first.sql("SET GLOBAL max_connections = 10")
            stack.callback(first.sql, "SET GLOBAL max_connections = 151")
            self.take_all_connections(stack)
            refused = first.counter("Aborted_connects")
            with pair.second_goes_on():
                pair.wait_for_error("(1040)")
            self.assertGreater(first.counter("Aborted_connects"), refused)
            stack.close()
            pair.settle()

    def take_all_connections(self, stack):
        """The sink's own too: they are killed, and it finds no other."""

        def take():
            try:
                while True:
                    taken = pymysql.connect(host="127.0.0.1", port=first.port,
                                            user=mariadb.USER, password=mariadb.PASSWORD)
                    stack.callback(taken.close)
            except pymysql.Error as error:
                self.assertEqual(error.args[0], 1040)

        take()
        for number, database in first.sql("SELECT id, db FROM information_schema.PROCESSLIST "
                                          f"WHERE user = '{mariadb.USER}'"):
            if database is not None:  # ours have none
                first.sql(f"KILL {number}")
        take()

    def test_a_packet_limit_below_what_is_needed_halts_and_says_so(self):
        with story.worker() as worker:
            story.wait_caught_up()
            first.sql("SET GLOBAL max_allowed_packet = 1048576")
            for (number,) in first.sql("SELECT id FROM information_schema.PROCESSLIST "
                                       f"WHERE user = '{mariadb.USER}'"):
                first.sql(f"KILL {number}")
            pair.publish_to_both()
            halted = story.wait_status("mysql", "HALTED", lambda now: now["state"] == "HALTED")
            self.assertIn("max_allowed_packet is 1048576: raise it", halted["reason"])
            first.sql("SET GLOBAL max_allowed_packet = 4194304")
            story.publish(members=300, events=300, seed=77)
            pair.settle()
            self.assertEqual(story.status("mysql")["quarantined"], 0)
            self.assertIn("HALTED", worker.log())
