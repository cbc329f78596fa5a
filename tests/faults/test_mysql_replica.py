"""A MariaDB replica that is promoted without the last writes: the sink is led to it by the address
that it knows, finds another server there, and writes again what that one lacks."""

import contextlib
import unittest

import mariadb
from proxy import Proxy
from support import Story

ENTITY = "faultrep"


class Replicated(contextlib.ExitStack):
    """A primary, a replica of it, and one address that leads to either. A context manager."""

    def __init__(self, name):
        super().__init__()
        self.entity = mariadb.of_this_run(ENTITY + name)
        self.primary = mariadb.Server(log_bin="binlog", server_id=1, binlog_format="ROW")
        self.replica = mariadb.Server(log_bin="binlog", server_id=2, binlog_format="ROW",
                                      log_slave_updates=1, read_only=1)

    def __enter__(self):
        super().__enter__()
        for server in (self.primary, self.replica):
            self.callback(server.close)
            server.start()
        self.follow(self.replica, self.primary)
        self.proxy = self.enter_context(Proxy(self.primary.port))
        self.story = self.enter_context(Story(self.entity, "frep", ["mysql"], self.change))
        return self

    def change(self, config):
        config["sinks"]["mysql"] = {
            "kind": "mysql",
            "servers": [self.primary.entry("0-7", self.proxy.port)],
            "connect_timeout_ms": 1000,
            "request_timeout_ms": 2000,
        }

    @staticmethod
    def follow(replica, primary):
        replica.sql(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', "
            f"MASTER_PORT = {primary.admin_port}, MASTER_USER = '{mariadb.ADMIN}', "
            f"MASTER_PASSWORD = '{mariadb.PASSWORD}', MASTER_USE_GTID = slave_pos",
            "START SLAVE",
        )

    def cut_off(self):
        """The replica has all that there is now, and gets nothing more."""
        position = self.primary.sql("SELECT @@gtid_binlog_pos")[0][0]
        reached = self.replica.sql(f"SELECT MASTER_GTID_WAIT('{position}', 60)")[0][0]
        assert reached == 0, "the replica does not follow"
        self.replica.sql("STOP SLAVE")

    def promote(self):
        self.replica.sql("STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = 0")
        self.proxy.lead_to(self.replica.port)

    def publish(self, prefix, n=40):
        keys = [f"{prefix}-{number}" for number in range(n)]
        self.story.publish_lines(mariadb.lines(keys, name=prefix))
        return keys

    def wait_for(self, server, keys):
        mariadb.wait_for(self.entity, server, keys)

    def settle_on(self, server):
        """Equal to the log by the program's verify, and by our own reading of this server."""
        now = self.story.settle()["mysql"]
        held, expected = mariadb.held_by(self.entity, [server]), mariadb.expected_of(self.entity)
        assert held == expected, mariadb.differences(held, expected)
        return now


class Promoted(unittest.TestCase):
    def test_a_replica_with_the_very_mark_that_is_known_gets_what_it_lacks(self):
        with Replicated("a") as pair, pair.story.worker() as worker:
            pair.publish("early")
            pair.settle_on(pair.primary)
            pair.cut_off()
            with mariadb.marks_held(pair.entity, pair.primary):
                lost = pair.publish("lost")
                pair.wait_for(pair.primary, lost)
                pair.primary.kill()
            self.assertEqual(mariadb.count_of(pair.entity, pair.replica, lost), 0)
            pair.promote()
            pair.wait_for(pair.replica, lost)
            pair.publish("late")
            pair.settle_on(pair.replica)
            self.assertIn("another server answers", worker.log())

    def test_a_replica_with_older_marks_is_read_for_from_those(self):
        with Replicated("b") as pair, pair.story.worker() as worker:
            pair.publish("early")
            pair.settle_on(pair.primary)
            pair.cut_off()
            lost = pair.publish("lost")
            pair.settle_on(pair.primary)
            marks = mariadb.marks_of(pair.entity, pair.primary)
            self.assertNotEqual(mariadb.marks_of(pair.entity, pair.replica), marks)
            pair.publish("lost")  # newer images of the same, in the middle of the switch
            pair.primary.kill()
            pair.promote()
            pair.wait_for(pair.replica, lost)
            pair.settle_on(pair.replica)
            self.assertIn("reads again from the store's marks", worker.log())

    def test_the_old_primary_that_takes_its_place_back_gets_what_it_missed(self):
        with Replicated("c") as pair, pair.story.worker():
            pair.publish("early")
            pair.settle_on(pair.primary)
            pair.cut_off()
            pair.primary.kill()
            pair.promote()
            missed = pair.publish("missed")
            pair.settle_on(pair.replica)
            pair.primary.start()
            self.assertEqual(mariadb.count_of(pair.entity, pair.primary, missed), 0)
            pair.proxy.lead_to(pair.primary.port)
            pair.wait_for(pair.primary, missed)
            pair.settle_on(pair.primary)

    def test_a_replica_that_is_not_promoted_yet_is_waited_for(self):
        with Replicated("d") as pair, pair.story.worker():
            pair.publish("early")
            pair.settle_on(pair.primary)
            pair.cut_off()
            pair.primary.kill()
            pair.proxy.lead_to(pair.replica.port)
            waiting = pair.publish("waiting")
            now = pair.story.wait_status(
                "mysql", "read-only", lambda now: "(1290)" in now["last_error"]
            )
            self.assertEqual(now["quarantined"], 0, now)
            pair.promote()
            pair.wait_for(pair.replica, waiting)
            pair.settle_on(pair.replica)
