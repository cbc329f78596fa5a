"""Packets that are lost on the way to a store: some of them, all of one direction, all. Nobody
tells the program; what it sent waits in its kernel, or was taken without an answer. The kernel's own
counter of dropped packets shows that the fault was there."""

import unittest

import kafkas
import servers
from namespace import Namespace, why_not

SINK, STORE = "mysql", "mysql-1"
PORTS = ("kafka", "mysql-1", "mysql-2")


def short(config):
    sink = config["sinks"][SINK]
    sink["connect_timeout_ms"], sink["request_timeout_ms"] = 1000, 2000


class Packets(unittest.TestCase):
    """One worker in a network of its own lives through all of them."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.why_not = why_not()
        if cls.why_not:
            return
        cls.net = cls.enterClassContext(Namespace(*map(servers.port, PORTS)))
        cls.story = cls.enterClassContext(kafkas.story("packets", [SINK], change=short))
        cls.enterClassContext(cls.net.worker(cls.story.config))
        cls.story.publish(members=300, events=600, seed=1)

    def setUp(self):
        if self.why_not:
            self.skipTest(self.why_not)
        self.story.wait_caught_up()
        self.before = self.story.status(SINK)

    def settled(self):
        now = self.story.settle()[SINK]
        self.assertEqual((now["poison"], now["quarantined"]), (0, 0), now)
        return now

    def goes_dark(self, *hooks):
        """All packets of these directions are lost, until the sink says that it retries."""

        def retries(now):
            return now["retried"] > self.before["retried"] and now["state"] == "RETRYING"

        with self.net.dropping(servers.port(STORE), hooks=hooks) as rule:
            self.story.publish(members=300, events=600, seed=2)
            self.story.wait_status(SINK, "retries", retries)
        self.assertGreater(rule.dropped, 0)
        self.settled()

    def test_a_third_of_all_packets_lost_both_ways_makes_it_only_slower(self):
        with self.net.dropping(servers.port(STORE), percent=30) as rule:
            self.story.publish(members=300, events=600, seed=3)
            now = self.settled()
        self.assertGreater(rule.dropped, 0)
        self.assertGreater(now["consumed"], self.before["consumed"])

    def test_a_connection_whose_answers_are_lost_is_given_up_and_made_again(self):
        self.goes_dark("input")

    def test_a_connection_whose_requests_are_lost_is_given_up_and_made_again(self):
        self.goes_dark("output")

    def test_a_network_that_is_dark_both_ways_is_waited_for(self):
        self.goes_dark("input", "output")


if __name__ == "__main__":
    unittest.main()
