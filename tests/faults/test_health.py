"""What a worker says of itself while things are wrong: RUNNING only while something moves, a reason
where nothing does, and never what a member's record holds."""

import json
import os
import re
import unittest

import requests

import harness
import servers
import stores
import wire
from harness import wait_until
from support import Story, quick

PID = os.getpid()  # entities are new, however often the tests run on a stack
SECRET = "ann.secret@example.org"
LONG_MS = 600 * 1000  # no request is given up in the time of these tests


def patient(config):
    for sink in config["sinks"].values():
        sink["request_timeout_ms"] = LONG_MS


def url_of(worker):
    worker.wait_for_log("serves metrics and health")
    return "http://" + re.search(r"listen=([0-9.:]+)", worker.log()).group(1)


def in_state(url, sink, state):
    line = f'lockstep_sink_state{{entity="[a-z_0-9]+",sink="{sink}",state="{state}"}} 1\n'
    return re.search(line, requests.get(f"{url}/metrics", timeout=10).text) is not None


def codes(url):
    return tuple(requests.get(f"{url}/{page}", timeout=10).status_code for page in ("healthz", "readyz"))


def reasons(url):
    return requests.get(f"{url}/readyz", timeout=10).text


class NothingMoves(unittest.TestCase):
    def test_a_store_that_neither_answers_nor_fails_makes_the_sink_stuck_until_it_does(self):
        sink = "redis-a"
        with (
            Story(f"health_stuck_{PID}", "hs", [sink], patient) as story,
            story.worker("--all", "--listen", "127.0.0.1:0") as worker,
        ):
            url = url_of(worker)
            story.publish(members=100, events=300, seed=1)
            story.wait_caught_up()
            self.assertEqual(codes(url), (200, 200))
            with servers.paused(sink):
                story.publish(members=100, events=300, seed=2)
                stuck = story.wait_status(
                    sink, "STUCK", lambda now: now["state"] == "STUCK", timeout_s=240
                )
                self.assertRegex(stuck["reason"], "^waits for the store at [^ ]+ to answer [0-9]+ request")
                self.assertGreater(stuck["lag"], 0)
                self.assertGreater(stuck["behind_s"], 50)
                self.assertTrue(in_state(url, sink, "stuck"))
                self.assertEqual(codes(url), (200, 503))
                story.lockstep("status", expect=1)
            story.wait_caught_up()
            self.assertEqual(codes(url), (200, 200))
            story.verdicts_add_up()
            story.verify()

    def test_a_broker_that_stands_still_is_waited_for_and_said_so(self):
        sink = "redis-a"
        with (
            Story(f"health_broker_{PID}", "hb", [sink]) as story,
            story.worker("--all", "--listen", "127.0.0.1:0") as worker,
        ):
            url = url_of(worker)
            story.publish(members=100, events=300, seed=3)
            story.wait_caught_up()
            with servers.paused("kafka"):
                why = f"{sink}: WAITING: Kafka does not answer"
                wait_until(lambda: reasons(url).startswith(why), "the sink WAITs for Kafka", 60)
                self.assertTrue(in_state(url, sink, "waiting"))
                self.assertEqual(codes(url), (200, 503))
            story.wait_caught_up()
            wait_until(lambda: codes(url) == (200, 200), "ready again")
            story.verdicts_add_up()
            story.verify()


class Personal(unittest.TestCase):
    @quick
    def test_a_refusal_that_quotes_a_member_shows_it_in_the_quarantine_alone(self):
        key = "refused"
        with (
            Story(f"health_pii_{PID}", "hp", ["mysql"]) as story,
            story.worker("--all", "--listen", "127.0.0.1:0") as worker,
        ):
            url = url_of(worker)
            story.publish_lines('{"id": "fine", "email": "fine@example.org"}\n')
            story.wait_caught_up()
            self.make_email_a_number(story, key)
            story.publish_lines(json.dumps({"id": key, "email": SECRET}) + "\n")
            seen = story.wait_status(
                "mysql", "refused", lambda now: now["poison"] == 1 and now["last_error"]
            )
            worker.wait_for_log("class=poison")
            (entry,) = stores.quarantined("mysql", story.entity).values()
            self.assertIn(SECRET, entry["text"].decode(), "so that a person can look into it")
            told = (
                worker.log()
                + json.dumps(seen)
                + story.lockstep("status", expect=None).stdout
                + requests.get(f"{url}/metrics", timeout=10).text
                + self.heartbeats(story.entity)
            )
            self.assertNotIn("secret", told)
            self.assertRegex(seen["last_error"], r"offset [0-9]+: .*'\*\*\*'.*`email`")
            self.assertRegex(
                worker.log(),
                rf"class=poison code=[0-9]+ reject=store topic={story.entity}.state.1 "
                rf"partition={wire.partition_of(key, stores.PARTITIONS)} offset=[0-9]+ key={key} ",
            )
            story.verdicts_add_up()

    def make_email_a_number(self, story, key):
        shard = wire.shard_of(key)
        for server in harness.CONFIG["sinks"]["mysql"]["servers"]:
            first, last = map(int, str(server["partitions"]).split("-"))
            if first <= shard % stores.PARTITIONS <= last:
                table = f"{story.entity}_{shard:04d}"
                with stores.mysql_connection(server) as connection, connection.cursor() as cursor:
                    cursor.execute(f"ALTER TABLE {table} MODIFY email INT")

    def heartbeats(self, entity):
        beats = [
            message.value().decode()
            for message in stores.read_topic("lockstep.control", 1)
            if message.key().startswith(f"heartbeat/{entity}/".encode()) and message.value()
        ]
        self.assertTrue(beats)
        return "".join(beats)


if __name__ == "__main__":
    unittest.main()
