"""What an Elasticsearch node does to its sink when it fails, refuses, or loses what it had. The node is
real (es-spare, or es-small with a write queue of one); where an answer has to be spoilt on its way, a
proxy does that (injector.py).
"""

import contextlib
import json
import os
import re
import signal
import unittest

import injector
import requests
import servers
import stores
from elastic import DISK, SINK, ElasticStory, Node
from harness import wait_until
from injector import Injector
from support import quick

QUICK = {"request_timeout_ms": 2000}
AGAIN = "reads again from the store's marks"

spare = None


def setUpModule():
    global spare
    spare = Node("es-spare")
    servers.stop("es-spare")
    spare.throw_data_away()  # whatever an earlier run left behind
    unittest.enterModuleContext(servers.running("es-spare"))


@contextlib.contextmanager
def caught_up(name, node=None, port=None, run=(), **options):
    """(story, worker), with some hundred members in the index."""
    with ElasticStory(name, node or spare, port, **options) as story:
        story.more()
        with story.worker("--all", *run) as worker:
            story.wait_caught_up()
            yield story, worker


@contextlib.contextmanager
def spoilable(name, **options):
    """(story, injector): caught up over a proxy that does nothing yet."""
    with Injector(spare.port) as proxy:
        with caught_up(name, port=proxy.port, **options) as (story, _):
            yield story, proxy


class SpoiltAnswers(unittest.TestCase):
    """Whatever comes back, a record is done only when the node has said so of that record."""

    def retried(self, name, fault, which=injector.bulks, text="", at_least=3, **options):
        with spoilable(name, **options) as (story, proxy):
            with proxy.spoil(fault, which):
                story.more()
                story.wait_state("RETRYING", text)
                wait_until(lambda: proxy.injected >= at_least, "the fault was met again and again")
            now = story.settled()
            self.assertGreater(now["retried"], 0, now)
            return story, now

    @quick
    def test_an_answer_that_is_cut_in_the_middle_is_not_believed(self):
        _, now = self.retried("escut", injector.cut)
        self.assertGreater(now["stale"], 0, "the node had done it all the same")

    def test_an_answer_that_lacks_an_item_is_not_believed(self):
        _, now = self.retried("esshort", injector.short, text="items where")
        self.assertGreater(now["stale"], 0, now)

    def test_garbage_instead_of_an_answer_is_not_believed(self):
        self.retried("esgarb", injector.garbage)

    def test_a_web_page_instead_of_an_answer_is_not_believed(self):
        self.retried("espage", injector.web_page, text="is not JSON")

    def test_a_request_that_hangs_is_given_up_after_its_timeout(self):
        self.retried("eshang", injector.hang, text="timed out", at_least=1, **QUICK)

    def test_an_answer_that_never_comes_is_found_stale_when_it_is_sent_again(self):
        _, now = self.retried("esmute", injector.mute, text="timed out", at_least=1, **QUICK)
        self.assertGreater(now["stale"], 0, now)

    def test_a_gateway_without_a_node_behind_it_is_waited_for(self):
        self.retried("es503", injector.answer(503), text="HTTP 503")

    def test_a_429_of_the_whole_request_is_waited_for(self):
        kind = "circuit_breaking_exception"
        self.retried("es429", injector.answer(429, kind), text="HTTP 429")

    def test_marks_wait_while_nobody_can_say_which_data_the_index_holds(self):
        """After an answer that was lost; records go on meanwhile."""
        with spoilable("eslook") as (story, proxy):
            fault = CutOnceThenNoLooks()
            before = spare.marks(story.index)
            with proxy.spoil(fault):
                consumed = story.now()["consumed"] + story.more()
                story.wait("all records done", lambda now: now["consumed"] == consumed)
                wait_until(lambda: fault.looks >= 3, "the sink asks again and again")
                self.assertEqual(spare.marks(story.index), before)
            self.assertTrue(fault.cut)
            story.settled()
            self.assertNotEqual(spare.marks(story.index), before)


class CutOnceThenNoLooks:
    """A fault: one bulk's answer is cut, and what asks for the index's identity fails."""

    cut, looks = False, 0

    def __call__(self, request):
        if injector.bulks(request.path) and not self.cut:
            self.cut = True
            injector.cut(request)
        elif injector.looks(request.path):
            self.looks += 1
            injector.answer(503)(request)
        else:
            request.pass_on()


class RefusedAtTheDoor(unittest.TestCase):
    """401 and 403 by a proxy: nothing that a retry mends, and no fault of any record."""

    def halted(self, name, status, kind):
        with spoilable(name) as (story, proxy):
            with proxy.spoil(injector.answer(status, kind)):
                story.more()
                now = story.wait_state("HALTED", "check user, password or api key")
                self.assertGreater(proxy.injected, 0)
                self.assertIn(f"HTTP {status}", now["reason"], now)
                self.assertEqual(now["poison"], 0, now)
            story.wait("goes on by itself", lambda now: now["state"] == "RUNNING")
            story.settled()

    def test_wrong_credentials_halt_the_sink_until_they_are_right(self):
        self.halted("es401", 401, "security_exception")

    def test_a_missing_privilege_halts_the_sink_until_it_is_there(self):
        self.halted("es403", 403, "security_exception")

    def test_a_forbidding_proxy_that_says_no_reason_halts_the_sink(self):
        self.halted("es403b", 403, "")


class TooLarge(unittest.TestCase):
    LIMIT = 30_000

    def test_a_bulk_that_is_too_large_for_a_proxy_is_sent_in_parts(self):
        with Injector(spare.port) as proxy, proxy.spoil(injector.too_large(self.LIMIT)):
            with ElasticStory("es413", spare, proxy.port) as story:
                story.more(members=1500, events=2000)
                with story.worker():
                    now = story.settled()
            self.assertGreater(proxy.answered[413], 0, "some requests were larger than the limit")
            self.assertEqual(now["retried"], 0, "none of its records was refused")

    def test_a_document_that_no_request_can_hold_is_quarantined_alone(self):
        with Injector(spare.port) as proxy, proxy.spoil(injector.too_large(4000)):
            with ElasticStory("es413b", spare, proxy.port) as story:
                words = {"tags": (64, 40), "external_ids": (16, 128)}
                fat = {name: [f"{i:x>{length}}" for i in range(n)] for name, (n, length) in words.items()}
                members = [{"id": "fat", **fat}, *({"id": f"thin-{i}"} for i in range(50))]
                story.publish_lines("".join(json.dumps(member) + "\n" for member in members))
                with story.worker():
                    now = story.wait("all done", lambda now: now["consumed"] == 51)
                    story.wait_caught_up()
                    self.assertEqual((now["poison"], now["applied"]), (1, 50), now)
                    story.assert_equal(but={"fat"})
                    report = story.verify(expect=1)
                    self.assertEqual(report["sinks"][0]["counts"]["quarantined"], 1, report)

    def test_marks_that_no_request_can_hold_halt_the_sink_and_name_the_limits(self):
        with spoilable("es413c") as (story, proxy):
            with proxy.spoil(injector.answer(413), injector.marks):
                story.more()
                now = story.wait_state("HALTED", "raise http.max_content_length")
                self.assertEqual(now["poison"], 0, now)
            self.assertGreater(proxy.answered[413], 0)
            story.wait("goes on by itself", lambda now: now["state"] == "RUNNING")
            story.settled()


class FullQueue(unittest.TestCase):
    def test_items_that_a_full_write_queue_refuses_go_again_and_the_others_do_not(self):
        """HTTP 200 with 201, 409 and 429 side by side: an index of four shards makes four tasks of a
        bulk, of which the queue holds one and one runs."""
        with servers.running("es-small"):
            small = Node("es-small")
            with Injector(small.port) as proxy:
                with ElasticStory(
                    "esqueue", small, proxy.port, data_nodes=4, requests_in_flight=4
                ) as story:
                    story.more(members=2000, events=6000)
                    with story.worker():
                        now = story.settled()
            self.assertGreater(small.rejected(), 0, "the node counts what it refused")
            self.assertGreater(now["retried"], 0, now)
            self.assertGreater(proxy.mixed, 0, "one answer held items of several fates")
            self.assertEqual(now["applied"] + now["superseded"] + now["stale"], 6000, now)


class BusyAtFirst(unittest.TestCase):
    def test_schema_apply_writes_the_first_marks_though_the_node_refuses_load_for_a_moment(self):
        refused = injector.answer(429, "es_rejected_execution_exception")
        with Injector(spare.port) as proxy:
            with ElasticStory("esbusy", spare, proxy.port, apply=False) as story:
                with proxy.spoil(refused, injector.bulks, times=3):
                    story.make()
                self.assertEqual(proxy.answered[429], 3)
                story.more()
                with story.worker():
                    story.settled()


class RefusedDocuments(unittest.TestCase):
    """A mapping that somebody has added to: `points` is copied to a field that is too narrow for some."""

    FIELD = "points"

    def publish(self, story, **numbers):
        story.publish_lines(
            "".join(f'{{"id": "{key}", "{self.FIELD}": {n}}}\n' for key, n in numbers.items())
        )

    @quick
    def test_documents_that_the_mapping_refuses_are_quarantined_and_their_neighbours_applied(self):
        with caught_up("esmap") as (story, _):
            properties = {"narrow": {"type": "byte"}, self.FIELD: self.narrowed(story)}
            spare.call("PUT", f"/{story.index}/_mapping", {"properties": properties})
            before = story.now()
            good = {f"good-{i}": i for i in range(40)}
            bad = {f"bad-{i}": 4711 + i for i in range(3)}
            self.publish(story, **good, **bad)
            now = story.wait("three poisoned", lambda now: now["poison"] == 3)
            now = story.wait("all done", lambda now: now["lag"] == 0)
            self.assertEqual(now["applied"] - before["applied"], len(good), now)
            self.assertEqual(now["quarantined"], 3, now)
            story.assert_equal(but=bad)
            counts = story.verify(expect=1)["sinks"][0]["counts"]
            self.assertEqual(counts["quarantined"], 3, counts)
            self.assertEqual(counts["missing"] + counts["diverged"] + counts["lagging"], 0, counts)
            for entry in stores.quarantined(SINK, story.entity).values():
                self.assertEqual(entry["class"], b"store")
                self.assertIn(b"narrow", entry["text"])
                self.assertNotIn(b"4711", entry["text"], "no value of a field")

    def narrowed(self, story):
        mapping = spare.call("GET", f"/{story.index}/_mapping")[story.index]["mappings"]
        return {**mapping["properties"][self.FIELD], "copy_to": "narrow"}

    def test_the_image_that_a_refused_one_displaced_is_applied(self):
        with ElasticStory("esdisp", spare) as story:
            properties = {"narrow": {"type": "byte"}, self.FIELD: self.narrowed(story)}
            spare.call("PUT", f"/{story.index}/_mapping", {"properties": properties})
            self.publish(story, twice=5)
            self.publish(story, twice=4711)  # they meet in one batch
            with story.worker():
                story.wait("one poisoned", lambda now: now["poison"] == 1 and now["lag"] == 0)
                _, _, fields = spare.held(story.index)["twice"]
                self.assertEqual(fields, {self.FIELD: 5})


class ReadOnly(unittest.TestCase):
    def retries_until(self, story, block, unblock):
        block()
        try:
            story.more()
            now = story.wait_state("RETRYING", "cluster_block_exception")
            self.assertEqual(now["poison"], 0, now)
        finally:
            unblock()
        story.settled()

    def test_an_index_that_is_read_only_is_waited_for(self):
        with caught_up("esro") as (story, _):
            self.retries_until(
                story,
                lambda: spare.settings(story.index, **{"blocks.read_only_allow_delete": True}),
                lambda: spare.settings(story.index, **{"blocks.read_only_allow_delete": None}),
            )

    def test_an_index_whose_writes_somebody_blocked_is_waited_for(self):
        """403, as when a privilege is missing, and yet another thing."""
        with caught_up("esblock") as (story, _):
            self.retries_until(
                story,
                lambda: spare.settings(story.index, **{"blocks.write": True}),
                lambda: spare.settings(story.index, **{"blocks.write": None}),
            )

    def test_a_disk_at_the_flood_stage_is_waited_for(self):
        """Elasticsearch's own block: the disk is called full, and Elasticsearch lifts it again."""
        names = ["low", "high", "flood_stage"]
        full = {f"{DISK}watermark.{name}": f"{1002 - i}tb" for i, name in enumerate(names)}
        wide = {name: "0b" for name in full}
        every = {f"{DISK}threshold_enabled": True, "cluster.info.update.interval": "10s"}

        def blocked(story):
            settings = spare.call("GET", f"/{story.index}/_settings")
            index = settings[story.index]["settings"]["index"]
            return index.get("blocks", {}).get("read_only_allow_delete") == "true"

        def block(story):
            spare.cluster_settings({**every, **full})
            wait_until(lambda: blocked(story), "Elasticsearch blocks the index", 90)

        def unblock(story):
            spare.cluster_settings(wide)
            wait_until(lambda: not blocked(story), "Elasticsearch lifts its block", 90)

        with caught_up("esflood") as (story, _):
            try:
                self.retries_until(story, lambda: block(story), lambda: unblock(story))
            finally:
                spare.cluster_settings({name: None for name in {**every, **full}})


class Readers(unittest.TestCase):
    """The alias is not the workers' way to the index, so only a look can tell what readers see."""

    def told(self, name, says, *actions):
        """(story, the worker's page) once these actions on aliases were noticed."""
        story, worker = self.enterContext(caught_up(name, run=("--listen", "127.0.0.1:0")))
        self.assertEqual(story.now()["reason"], "")
        spare.call("POST", "/_aliases", {"actions": list(actions)})
        now = story.wait_state("RUNNING", says)
        self.assertIn(says, now["reason"], "a state that is fine, and something to know")
        worker.wait_for_log(says)
        story.more()
        story.settled()
        url = re.search(r"listen=([0-9.:]+)", worker.log()).group(1)
        return story, requests.get(f"http://{url}/metrics", timeout=10).text

    def warned(self, story, value):
        return f'lockstep_store_warning{{entity="{story.entity}",sink="{SINK}"}} {value}\n'

    def test_an_alias_that_was_removed_is_told_until_it_is_put_back(self):
        remove = {"remove": {"index": "esalias-000001", "alias": "esalias"}}
        story, page = self.told("esalias", "no index has the alias esalias", remove)
        self.assertIn(self.warned(story, 1), page)
        story.lockstep("schema", "apply")
        story.wait("nothing is left to tell", lambda now: now["reason"] == "")

    def test_an_alias_that_is_on_another_index_is_told_and_no_alarm(self):
        spare.call("PUT", "/esmoved-000002")
        self.addCleanup(spare.call, "DELETE", "/esmoved-000002")
        story, page = self.told(
            "esmoved",
            "the alias esmoved is on index esmoved-000002",
            {"remove": {"index": "esmoved-000001", "alias": "esmoved"}},
            {"add": {"index": "esmoved-000002", "alias": "esmoved"}},
        )
        self.assertIn(self.warned(story, 0), page)


class KilledNode(unittest.TestCase):
    def test_a_node_that_is_killed_under_load_loses_nothing_that_was_acknowledged(self):
        with caught_up("eskill") as (story, worker):
            terms, before = spare.primary_terms(story.index), story.now()["applied"]
            story.more(members=3000, events=6000)
            story.wait("in the middle of it", lambda now: now["applied"] > before + 200)
            with servers.killed("es-spare"):
                story.more()
                story.wait_state("RETRYING")
            now = story.settled()
            self.assertGreater(now["retried"], 0, now)
            self.assertNotEqual(spare.primary_terms(story.index), terms, "it is another process")
            worker.wait_for_log(AGAIN)

    def test_a_node_that_starts_again_while_nothing_is_published_is_noticed(self):
        with caught_up("esidle") as (story, worker):
            with servers.killed("es-spare"):
                pass
            worker.wait_for_log(AGAIN)
            story.settled()


class LostData(unittest.TestCase):
    """The index goes, comes back empty, or loses a shard; the sink fills it again by itself."""

    def refilled(self, story, before=None):
        """All of the log is in an index that has none of what it had."""
        now = story.settled()
        if before is not None:
            again = now["applied"] - before
            self.assertGreaterEqual(again, len(story.expected()), "filled from the start")

    def apply_schema(self, story, expect=0):
        made = story.lockstep("schema", "apply", expect=expect).stdout
        self.assertIn(f"index {story.index} created", made)

    def test_an_index_that_was_deleted_halts_the_sink_and_is_refilled_once_it_is_made(self):
        with caught_up("esgone") as (story, _):
            before = story.now()["applied"]
            spare.call("DELETE", f"/{story.index}")
            now = story.wait_state("HALTED", "`lockstep schema apply`")
            self.assertEqual(now["poison"], 0, now)
            story.more()
            self.apply_schema(story)
            self.refilled(story, before)

    def test_an_index_that_is_deleted_and_made_again_at_rest_is_noticed_and_refilled(self):
        with caught_up("esanew") as (story, worker):
            before, uuid = story.now()["applied"], spare.uuid(story.index)
            spare.call("DELETE", f"/{story.index}")
            self.apply_schema(story)
            self.assertNotEqual(spare.uuid(story.index), uuid)
            story.wait("filled again", lambda now: now["applied"] > before)
            self.refilled(story, before)

    def test_an_index_that_is_made_again_under_load_gets_no_mark_over_what_is_lost(self):
        """What is published meanwhile is in the empty index before the sink knows that it is another;
        and that is no stranger's data."""
        with spoilable("esload") as (story, proxy):
            before = story.now()["applied"]
            with proxy.spoil(injector.answer(503), injector.looks):
                spare.call("DELETE", f"/{story.index}")
                self.apply_schema(story, expect=2)  # made, but without marks
                story.more()
                wait_until(lambda: len(spare.held(story.index)) > 100, "some arrive in the empty one")
                self.assertEqual(spare.marks(story.index), {})
            story.wait("filled again", lambda now: now["applied"] > before)
            self.refilled(story)

    def data_folder_gone(self, story):
        with servers.stopped("es-spare"):
            spare.throw_data_away()

    def test_a_node_that_comes_back_without_its_data_halts_the_sink_until_the_index_is_made(self):
        with caught_up("esdata") as (story, _):
            before = story.now()["applied"]
            self.data_folder_gone(story)
            story.wait_state("HALTED", "`lockstep schema apply`")
            self.apply_schema(story)
            self.refilled(story, before)

    def test_a_data_folder_that_goes_while_no_worker_runs_is_refilled_by_the_next(self):
        with ElasticStory("esdown", spare) as story:
            story.more()
            with story.worker():
                story.settled()
            self.data_folder_gone(story)
            self.apply_schema(story)
            story.more()
            with story.worker():
                self.refilled(story, before=0)

    def test_an_empty_index_that_comes_back_while_the_worker_stands_still_is_refilled(self):
        with caught_up("esempty") as (story, worker):
            before = story.now()["applied"]
            os.kill(worker.process.pid, signal.SIGSTOP)
            try:
                self.data_folder_gone(story)
                self.apply_schema(story)
            finally:
                os.kill(worker.process.pid, signal.SIGCONT)
            story.wait("filled again", lambda now: now["applied"] > before)
            self.refilled(story, before)

    def test_a_data_folder_from_an_older_backup_is_filled_up_while_the_worker_runs(self):
        with caught_up("esback") as (story, worker):
            with servers.stopped("es-spare"):
                spare.back_up()
            story.more()
            story.settled()
            before, newest = story.now(), spare.marks(story.index)
            with servers.stopped("es-spare"):
                spare.restore()
            story.wait("filled up", lambda now: now["applied"] > before["applied"])
            worker.wait_for_log(AGAIN)
            story.settled()
            self.assertEqual(spare.marks(story.index), newest)

    def lose_one_shard(self, story):
        """What an operator is left with when the only copy of a shard is gone."""
        spare.remember(story.index)
        servers.stop("es-spare")
        try:
            spare.lose_shard(story.index, 1)
        finally:
            servers.start("es-spare", ready=False)  # it will be red
        spare.wait_health(story.index, "red")
        spare.take_empty_shard(story.index, 1)
        spare.wait_health(story.index, "yellow", "green")

    def assert_lost(self, story):
        held, expected = spare.held(story.index), story.expected()
        self.assertGreater(len(expected) - len(held), 50, "a shard's documents are gone")
        self.assertGreater(len(held), 50, "and the others are there")

    def test_a_shard_that_came_back_empty_is_refilled_though_other_shards_hold_the_marks(self):
        with ElasticStory("esshard", spare, data_nodes=2) as story:
            story.more()
            with story.worker():
                story.settled()
            self.lose_one_shard(story)
            self.assert_lost(story)
            with story.worker():
                self.refilled(story)

    def test_a_shard_that_comes_back_empty_while_the_worker_runs_is_refilled(self):
        with caught_up("eshard2", data_nodes=2) as (story, worker):
            before = story.now()["applied"]
            self.lose_one_shard(story)
            worker.wait_for_log("another history")
            story.wait("filled again", lambda now: now["applied"] > before)
            self.refilled(story)
