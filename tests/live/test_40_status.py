"""`lockstep status`: what it says of a sink before, while and after a worker runs, and how a script
waits for it."""

import os
import re
import unittest

import harness
import stores
from harness import Worker, lockstep, status


class Status(unittest.TestCase):
    SINK = "redis-a"
    ENTITY = f"status_{os.getpid()}"  # new, however often the tests run on a stack

    def test_from_a_new_log_to_a_sink_that_has_caught_up(self):
        change = harness.own_entity(self.ENTITY, "so", [self.SINK])
        with harness.configuration(change) as config:
            self.addCleanup(self.remove_entries)
            lockstep("topics", "create", config=config)
            lockstep("schema", "apply", config=config)
            new = status(config)[self.SINK]
            self.assertEqual((new["state"], new["lag"], new["eta_s"]), ("NEVER RUN", 0, 0))
            never = self.wait(config, 0, expect=2)
            self.assertIn(f"not caught up after 0 s: {self.SINK} (NEVER RUN, lag 0)", never.stderr)

            lines = "".join(f'{{"id": "member-{n}"}}\n' for n in range(100))
            lockstep("publish", "--entity", self.ENTITY, "-", config=config, stdin=lines)
            waiting = status(config)[self.SINK]
            self.assertGreaterEqual(waiting["lag"], 100)
            self.assertIsNone(waiting["eta_s"], "one look tells no rate")

            with Worker("--all", config=config):
                self.wait(config, 60)
                self.assertEqual(status(config)[self.SINK]["applied"], 100)
            self.assertEqual(status(config)[self.SINK]["state"], "STOPPED")
            self.wait(config, 0)

    def test_a_watch_into_a_pipe_is_plain_tables(self):
        change = harness.own_entity(f"{self.ENTITY}_watched", "sw", [self.SINK])
        with harness.configuration(change) as config:
            lockstep("topics", "create", config=config)
            done = lockstep("status", "--watch", "--until-caught-up=3", config=config, expect=2)
            self.assertNotIn("\x1b", done.stdout + done.stderr)
            tables = re.findall(r"^SINK .*\n.* NEVER RUN .*\n", done.stdout, re.MULTILINE)
            self.assertIn(len(tables), (2, 3))  # one every 2 s, and the last

    def wait(self, config, seconds, expect=0):
        return lockstep("status", f"--until-caught-up={seconds}", config=config, expect=expect)

    def remove_entries(self):
        client = stores.redis_client(harness.CONFIG["sinks"][self.SINK])
        for key in client.scan_iter("so:*"):
            client.delete(key)
        client.close()


if __name__ == "__main__":
    unittest.main()
