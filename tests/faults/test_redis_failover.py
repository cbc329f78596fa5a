"""Redis Clusters with replicas: masters that are replaced. A cluster replicates asynchronously, so a
failover may lose writes that were acknowledged; the worker notices and fills them in again."""

import contextlib
import signal
import unittest

import redis
from harness import wait_until
from redis_nodes import Cluster, Door, rewinds
from support import quick

ATTEMPTS = 12


class Failover(unittest.TestCase):
    """Each test has a cluster of its own, since it does not come back as it was."""

    def setUp(self):
        # a replica that lags may be promoted, too: that is how writes get lost
        options = {"cluster-replica-validity-factor": 0}
        self.cluster = self.enterContext(Cluster(3, 1, **options))
        self.story = self.enterContext(self.cluster.story("failover"))
        self.master, self.replica = self.cluster.masters[1], self.cluster.replicas[1]

    def cut_replication(self):
        """The replica can't follow its master any more, while both live and see each other."""
        self.master.do("ACL", "SETUSER", "default", "-psync", "-sync", "-replconf")
        self.master.do("CLIENT", "KILL", "TYPE", "replica")
        self.wait_link("down")

    def restore_replication(self):
        self.master.do("ACL", "SETUSER", "default", "+@all")
        self.wait_link("up")

    def wait_link(self, state):
        wait_until(
            lambda: self.replica.info("replication")["master_link_status"] == state,
            f"the replica's link is {state}",
        )

    def wait_promoted(self):
        wait_until(lambda: self.replica.role() == "master", "the replica is promoted")
        self.cluster.wait_ok()

    def wait_demoted(self):
        wait_until(lambda: self.master.role() == "slave", "the old master is demoted")

    def lose_acknowledged(self, worker):
        """Publishes what only the master gets, acknowledged and marked; returns the keys."""
        self.story.publish(members=300, events=600, seed=7)
        self.story.wait_caught_up()
        self.cut_replication()
        keys = self.cluster.keys_of(self.master, 40, "lost")
        self.story.publish_keys(keys, locale="en")
        self.story.wait_caught_up()
        self.assertEqual(self.story.lost(), set(), "all was acknowledged")
        self.assert_replica_lacks()
        self.assertEqual(rewinds(worker), [])
        return keys

    def assert_replica_lacks(self):
        """That what is lost with the master really is."""
        self.assertEqual(self.replica.keys(f"{self.story.prefix}:{{lost*}}"), set())

    def fall_asleep(self, worker):
        """Stops the worker when the master alone has records, whose mark is due and not written."""
        self.story.publish(members=300, events=600, seed=7)
        for attempt in range(ATTEMPTS):
            self.story.wait_caught_up()
            marks = self.story.marks_on(self.master)
            wait_until(lambda: self.story.marks_on(self.replica) == marks, "the replica has all marks")
            self.cut_replication()
            keys = self.cluster.keys_of(self.master, 20, f"lost{attempt}")
            if self.story.asleep_before_mark(worker, self.master, keys, marks):
                self.assertEqual(self.replica.keys(f"{self.story.prefix}:{{lost{attempt}-*}}"), set())
                self.assertEqual(self.story.marks_on(self.replica), marks)
                return
            self.restore_replication()
        self.fail(f"the mark was faster {ATTEMPTS} times")

    def finish(self, worker):
        self.story.publish(members=50, events=50, seed=3)
        self.story.finish(self)
        self.assertTrue(rewinds(worker))


class Replaced(Failover):
    def test_a_killed_master_is_replaced_and_nothing_is_lost(self):
        with self.story.worker() as worker:
            self.story.publish(members=300, events=600, seed=1)
            self.story.wait_caught_up()
            self.master.kill()
            self.story.publish(members=300, events=600, seed=2)
            self.wait_promoted()
            now = self.story.finish(self)
            self.assertGreater(now["retried"], 0, "the outage was met")
            self.assertTrue(rewinds(worker), "another master is a doubt")
        self.assertEqual(self.master.process.returncode, -9)
        epoch = int(self.cluster.state_of(self.replica)["cluster_current_epoch"])
        self.assertGreater(epoch, len(self.cluster.nodes), "there was an election")

    def test_a_planned_failover_loses_nothing_and_halts_nothing(self):
        with self.story.worker() as worker:
            self.story.publish(members=300, events=600, seed=1)
            self.replica.do("CLUSTER", "FAILOVER")
            self.story.publish(members=300, events=600, seed=2)
            self.wait_promoted()
            self.story.finish(self)
            self.assertNotIn("state=HALTED", worker.log())
        self.assertEqual(self.master.role(), "slave")


class Lossy(Failover):
    @quick
    def test_what_a_failover_lost_is_written_again_though_it_was_acknowledged_and_marked(self):
        with self.story.worker() as worker:
            self.lose_acknowledged(worker)
            self.master.kill()
            self.wait_promoted()
            self.finish(worker)

    def test_a_worker_that_starts_after_the_failover_finds_what_was_lost(self):
        with self.story.worker() as worker:
            keys = self.lose_acknowledged(worker)
        self.master.kill()
        self.wait_promoted()
        self.assertEqual(self.story.lost(), set(keys))
        with self.story.worker():
            self.story.finish(self)

    def test_a_master_that_is_demoted_while_it_lives_loses_nothing_of_the_log(self):
        """As after it was cut off from the others: the slots go elsewhere, its writes are dropped."""
        with self.story.worker() as worker:
            self.lose_acknowledged(worker)
            self.replica.do("CLUSTER", "FAILOVER", "TAKEOVER")
            self.wait_promoted()
            self.wait_demoted()
            self.finish(worker)

    def test_a_master_that_stood_still_while_it_was_replaced_gives_no_false_acknowledgement(self):
        with self.story.worker() as worker:
            self.story.publish(members=300, events=600, seed=7)
            self.story.wait_caught_up()
            self.cut_replication()
            self.master.pause()
            self.story.publish_keys(self.cluster.keys_of(self.master, 40, "late"), locale="en")
            wait_until(lambda: self.replica.role() == "master", "the replica is promoted")
            self.master.resume()
            self.wait_promoted()
            self.wait_demoted()
            self.finish(worker)


class Asleep(Failover):
    """The worker stands still between the answer to its records and their mark. When it goes on, the
    mark would be taken by a store that does not have the records, and cover them for ever."""

    def test_a_mark_does_not_go_to_the_replica_that_took_over(self):
        with self.story.worker() as worker:
            self.fall_asleep(worker)
            self.master.kill()
            self.wait_promoted()
            worker.process.send_signal(signal.SIGCONT)
            self.finish(worker)

    def test_a_mark_does_not_go_to_a_master_that_was_demoted_and_came_back(self):
        """Same address, same connection, same slots: only its replication id tells."""
        with self.story.worker() as worker:
            self.fall_asleep(worker)
            self.replica.do("CLUSTER", "FAILOVER", "TAKEOVER")
            self.wait_promoted()
            self.wait_demoted()
            self.master.do("ACL", "SETUSER", "default", "+@all")
            wait_until(
                lambda: self.master.info("replication")["master_link_status"] == "up",
                "the old master follows the new one",
            )
            wait_until(self.fail_back, "the old master is the master again")
            self.cluster.wait_ok()
            worker.process.send_signal(signal.SIGCONT)
            self.finish(worker)

    def fail_back(self):
        if self.master.role() == "master":
            return True
        with contextlib.suppress(redis.exceptions.ResponseError):  # it is the master by now
            self.master.do("CLUSTER", "FAILOVER")
        return False


class TakenOver(unittest.TestCase):
    """The address of a master, of which the cluster knows nothing else, leads elsewhere for a while."""

    def setUp(self):
        self.door = Door()
        self.addCleanup(self.door.close)
        behind_door = {"cluster-announce-port": self.door.port}
        self.cluster = Cluster(3, 1, node_options=lambda n: behind_door if n == 1 else {})
        self.master, self.replica = self.cluster.masters[1], self.cluster.replicas[1]
        self.door.open_to(self.master.port)
        self.enterContext(self.cluster)

    def test_an_address_that_leads_to_a_replica_for_a_while_is_retried(self):
        with self.cluster.story("door") as story, story.worker() as worker:
            story.publish(members=300, events=600, seed=1)
            story.wait_caught_up()
            self.door.open_to(self.replica.port, read_only=True)
            story.publish(members=300, events=600, seed=2)
            wait_until(lambda: self.replica.errors("READONLY"), "the replica refuses to write")
            self.door.open_to(self.master.port)
            story.finish(self)
            self.assertNotIn("state=HALTED", worker.log())

    def test_a_worker_that_starts_where_an_address_leads_to_a_replica_waits_and_says_so(self):
        with self.cluster.story("doorstart") as story:
            story.publish(members=300, events=600, seed=1)
            self.door.open_to(self.replica.port, read_only=True)
            with story.worker() as worker:
                worker.wait_for_log("is a replica now")
                self.door.open_to(self.master.port)
                story.finish(self)
                self.assertNotIn("state=HALTED", worker.log())


if __name__ == "__main__":
    unittest.main()
