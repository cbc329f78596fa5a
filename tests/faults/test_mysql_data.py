"""MariaDB servers that refuse some records, are not set up as they should be, have no room left, or
hold less than they held before: each record ends where it belongs, and what was lost comes back."""

import contextlib
import unittest

import mariadb
import stores
from support import quick

pair = first = second = story = None
NARROW, WIDE = "locale varchar(8)", "locale varchar(35)"
TOO_LONG = "x" * 20


def setUpModule():
    global pair, first, second, story
    pair = unittest.enterModuleContext(mariadb.Pair("faultdata", "fda"))
    first, second, story = pair.first, pair.second, pair.story


def table_of(key):
    return mariadb.table_of(pair.entity, key)


@contextlib.contextmanager
def narrow(table):
    """A column that is narrower than the schema allows, as somebody's hand may have made it."""
    column = first.sql(f"SHOW CREATE TABLE {table}")[0][1]
    assert WIDE.split()[1] in column, column
    collation = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL"
    first.sql(f"ALTER TABLE {table} MODIFY {NARROW} {collation}")
    try:
        yield
    finally:
        first.sql(f"ALTER TABLE {table} MODIFY {WIDE} {collation}")


class Refused(unittest.TestCase):
    """Store-borne poison. All is published while no worker runs, so that it meets in one batch."""

    def entries_of(self, key):
        found = stores.quarantined("mysql", pair.entity).values()
        return [entry for entry in found if entry.get("key") == key.encode()]

    def held(self, key):
        return mariadb.held_by(pair.entity, [first]).get(key)

    def assert_only_quarantined(self, n):
        """All is equal to the log but n members, which are told to be in the quarantine."""
        [sink] = story.verify(expect=1)["sinks"]
        counts = {kind: count for kind, count in sink["counts"].items() if count}
        self.assertEqual(set(counts), {"equal", "quarantined"}, sink)
        self.assertEqual(counts["quarantined"], n, sink)

    def heal(self, key):
        """The next good image of the key makes all equal."""
        pair.publish([key], locale="fr")
        with story.worker():
            pair.settle()

    @quick
    def test_one_bad_row_in_a_statement_of_500_is_found_and_the_others_are_written(self):
        rows = mariadb.keys_of_shard(16, 500, "five-hundred")
        bad = sorted(rows)[313]
        good = [key for key in rows if key != bad]
        with narrow(table_of(bad)):
            pair.publish(good, locale="en")
            pair.publish([bad], locale=TOO_LONG)
            statements = first.counter("Com_insert")
            with story.worker():
                story.wait_caught_up()
                now = story.verdicts_add_up()["mysql"]
            self.assertEqual(now["poison"], 1, now)
            self.assertEqual(mariadb.count_of(pair.entity, first, rows), 499)
            self.assertLess(first.counter("Com_insert") - statements, 20)
            [entry] = self.entries_of(bad)
            self.assertEqual(entry["class"], b"store")
            self.assertIn(b"locale", entry["text"])
            self.assert_only_quarantined(1)
        self.heal(bad)

    def test_of_several_images_of_a_key_the_newest_that_the_server_takes_is_kept(self):
        [key] = mariadb.keys_of_shard(24, 1, "displaced")
        with narrow(table_of(key)):
            for locale in ("en", "pt", TOO_LONG, TOO_LONG + "y"):
                pair.publish([key], locale=locale)
            with story.worker():
                story.wait_caught_up()
                now = story.verdicts_add_up()["mysql"]
            self.assertEqual(now["poison"], 2, now)
            self.assertEqual(now["superseded"], 1, now)
            self.assertEqual(self.held(key)[2], {"locale": "pt"})
            images = [stores.SCHEMA.decode(entry["value"])[1] for entry in self.entries_of(key)]
            locales = {fields["locale"] for fields in images}
            self.assertEqual(locales, {TOO_LONG, TOO_LONG + "y"})
            self.assert_only_quarantined(1)
        self.heal(key)


class SetUp(unittest.TestCase):
    """What a person has to mend halts the sink, which goes on by itself afterwards."""

    def halts_until_mended(self, spoil, mend, key, advice):
        with story.worker():
            story.wait_caught_up()
            first.sql(spoil)
            try:
                pair.publish([key])
                now = story.wait_status("mysql", "HALTED", lambda now: now["state"] == "HALTED")
                self.assertIn(advice, now["reason"])
                self.assertIn("lockstep schema apply", now["reason"])
                self.assertEqual(now["quarantined"], 0, now)
            finally:
                first.sql(mend)
            now = pair.settle()
        self.assertEqual(now["poison"], 0, now)

    def test_a_shard_table_that_is_missing_halts_until_it_is_there(self):
        [key] = mariadb.keys_of_shard(32, 1, "table")
        table = table_of(key)
        self.halts_until_mended(
            f"RENAME TABLE {table} TO away", f"RENAME TABLE away TO {table}", key, table
        )

    def test_a_column_that_is_missing_halts_until_it_is_there(self):
        [key] = mariadb.keys_of_shard(40, 1, "column")
        rename = f"ALTER TABLE {table_of(key)} RENAME COLUMN "
        self.halts_until_mended(
            rename + "city TO away", rename + "away TO city", key, "city"
        )

    def test_a_table_that_was_dropped_and_made_again_is_filled_while_the_worker_runs(self):
        keys = mariadb.keys_of_shard(48, 20, "dropped")
        with story.worker():
            pair.publish(keys)
            pair.wait_for(first, keys)
            story.wait_caught_up()
            first.sql(f"DROP TABLE {table_of(keys[0])}")
            told = story.lockstep("schema", "apply").stdout
            pair.wait_for(first, keys)
            self.assertIn("set the marks of 1 partitions back to the start", told)
            pair.settle()


class WentBack(unittest.TestCase):
    """Writes that the server had acknowledged are gone."""

    def backup(self):
        with story.worker():
            pair.publish_to_both()
            pair.settle()
        first.stop()
        first.back_up()
        first.start()

    def test_restored_from_a_backup_with_the_very_mark_that_is_known_it_is_filled_again(self):
        self.backup()
        with story.worker() as worker:
            story.wait_caught_up()
            with mariadb.marks_held(pair.entity, first):
                lost, _ = pair.publish_to_both()
                pair.wait_for(first, lost)
                first.kill()
            first.restore()
            with mariadb.frozen(worker.process):
                first.start()
                self.assertEqual(mariadb.count_of(pair.entity, first, lost), 0)
            pair.wait_for(first, lost)
            pair.settle()
            self.assertIn("reads again from the store's marks", worker.log())

    def test_restored_from_a_backup_with_older_marks_it_is_filled_again(self):
        self.backup()
        with story.worker() as worker:
            lost, _ = pair.publish_to_both()
            pair.wait_for(first, lost)
            pair.settle()
            marks = mariadb.marks_of(pair.entity, first)
            first.stop()
            pair.publish_to_both()  # the next mark would cover these, and what was lost
            first.restore()
            with mariadb.frozen(worker.process):
                first.start()
                self.assertEqual(mariadb.count_of(pair.entity, first, lost), 0)
                self.assertNotEqual(mariadb.marks_of(pair.entity, first), marks)
            pair.wait_for(first, lost)
            pair.settle()

    def lose(self, *keys):
        """Rows and mark as an older dump has them, without a restart: nothing breaks."""
        marks = mariadb.marks_of(pair.entity, first)
        pair.publish(keys)
        pair.wait_for(first, keys)
        pair.settle()
        self.assertNotEqual(mariadb.marks_of(pair.entity, first), marks)
        rows = [f"DELETE FROM {table_of(key)} WHERE id = '{key}'" for key in keys]
        version = marks[pair.ON_FIRST][0]
        mark = f"UPDATE {pair.entity}_mark SET _v = {version} WHERE _partition = {pair.ON_FIRST}"
        return ["BEGIN", *rows, mark, "COMMIT"]

    def test_a_dump_that_is_loaded_into_the_running_server_is_noticed_by_a_look(self):
        with story.worker() as worker:
            story.wait_caught_up()
            lost = pair.new_keys(pair.ON_FIRST)
            first.sql(*self.lose(*lost))
            pair.wait_for(first, lost)
            pair.settle()
            self.assertIn("the store went back", worker.log())

    def test_a_dump_that_is_loaded_into_the_running_server_is_not_covered_by_the_next_mark(self):
        with story.worker() as worker:
            story.wait_caught_up()
            lost = pair.new_keys(pair.ON_FIRST)
            statements = self.lose(*lost)
            mariadb.wait_for_looks(first, 2)  # of both lanes: so a mark comes before the next look
            first.sql(*statements)
            pair.publish_to_both()
            pair.wait_for(first, lost)
            pair.settle()
            self.assertIn("the store went back", worker.log())


class DiskFull(unittest.TestCase):
    def test_without_room_it_waits_for_somebody_to_make_some(self):
        with mariadb.Pair("faultfull", "ffu", on_tmpfs_mb=400) as full:
            with full.story.worker():
                full.story.wait_caught_up()
                full.first.fill_disk()
                large = mariadb.keys_of_shard(56, 400, "large")  # one table, that has to grow
                full.publish(large, note="x" * 2000)
                with full.second_goes_on():
                    now = full.wait_for_error("(1114)")
                self.assertIn("free disk space", now["last_error"])
                self.assertLess(mariadb.count_of(full.entity, full.first, large), len(large))
                full.first.free_disk()
                now = full.settle()
            self.assertGreater(now["retried"], 0, now)
            self.assertEqual(now["quarantined"], 0, now)
            self.assertIn("full", full.first.log())
