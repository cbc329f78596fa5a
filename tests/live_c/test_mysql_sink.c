/* The MySQL sink against real servers: guards, counts, bad rows, locks, lost connections. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mysql_fixture.h"

#define ENTITY "livesink"

static struct mysql_fixture f;

static void setup(void)
{
    mysql_fixture_init(&f, ENTITY);
}

static void teardown(void)
{
    mysql_fixture_free(&f);
}

MYSQL_DROPS_AFTER(mysql_sink, ENTITY)

TestSuite(mysql_sink, .init = setup, .fini = teardown, .timeout = 120);

/* n records of one shard with keys of their own. */
static struct ls_record **some(const char *prefix, uint16_t shard, uint32_t n, uint64_t version)
{
    struct ls_record **records = ls_arena_alloc(&f.arena, n * sizeof(struct ls_record *));
    uint32_t found = 0;
    for (unsigned salt = 0; found < n; salt++) {
        char *key = ls_arena_alloc(&f.arena, 48);
        int len = snprintf(key, 48, "%s-%u", prefix, salt);
        if (ls_shard_of(key, (size_t)len) == shard)
            records[found++] = mysql_put(&f, key, (size_t)len, version, "some");
    }
    return records;
}

/* The sender's own process in each key: tests of an earlier run may have left theirs. */
static const char *own(const char *name)
{
    char *prefix = ls_arena_alloc(&f.arena, 48);
    snprintf(prefix, 48, "%s%d", name, (int)getpid());
    return prefix;
}

Test(mysql_sink, inserts_updates_and_stale_rows_are_counted_apart)
{
    const char *prefix = own("count");
    struct ls_record **first = some(prefix, 1, 10, 100);
    mysql_apply(&f, first, 10, false);
    cr_assert_eq(f.unit.err.class, LS_ERR_NONE, "%s", f.unit.err.text);
    cr_expect_eq(mysql_count(first, 10, LS_APPLIED), 10);
    struct ls_record **second = some(prefix, 1, 13, 100);
    for (int i = 0; i < 4; i++)
        second[i] = mysql_put(&f, second[i]->key, second[i]->key_len, 200, "newer");
    for (int i = 4; i < 7; i++)
        second[i] = mysql_put(&f, second[i]->key, second[i]->key_len, 50, "older");
    mysql_apply(&f, second, 13, false); /* 4 newer, 3 older, 3 equal, 3 new */
    cr_expect_eq(mysql_count(second, 13, LS_APPLIED), 7);
    cr_expect_eq(mysql_count(second, 13, LS_STALE), 6);
    cr_expect_eq(mysql_fetch_one(&f, second[0]->key).version, 200);
    cr_expect_eq(mysql_fetch_one(&f, second[4]->key).version, 100);
    cr_expect_eq(mysql_fetch_one(&f, second[4]->key).hash, first[4]->hash);
}

Test(mysql_sink, a_single_row_tells_new_changed_and_stale_too)
{
    const char *key = mysql_key(&f, own("single"), 1, 0);
    static const struct {
        uint64_t version;
        enum ls_verdict verdict;
    } steps[] = {{5, LS_APPLIED}, {5, LS_STALE}, {9, LS_APPLIED}, {7, LS_STALE}};
    for (size_t i = 0; i < LS_COUNT(steps); i++) {
        struct ls_record *record = mysql_put(&f, key, strlen(key), steps[i].version, "x");
        mysql_apply(&f, &record, 1, false);
        cr_expect_eq(record->verdict, steps[i].verdict, "step %zu", i);
    }
}

Test(mysql_sink, a_repair_mends_an_equal_version_and_no_newer_one)
{
    const char *key = mysql_key(&f, own("repair"), 1, 0);
    struct ls_record *good = mysql_put(&f, key, strlen(key), 7, "good");
    struct ls_mysql mysql;
    mysql_apply(&f, &good, 1, false);
    mysql_connect_to(&f, 1, &mysql);
    mysql_must(&mysql, "UPDATE " ENTITY "_0001 SET name = 'spoilt' WHERE id = '%s'", key);
    ls_mysql_close(&mysql);
    good->verdict = LS_PENDING;
    mysql_apply(&f, &good, 1, false);
    cr_expect_eq(good->verdict, LS_STALE);
    cr_expect_neq(mysql_fetch_one(&f, key).hash, good->hash);
    good->verdict = LS_PENDING;
    mysql_apply(&f, &good, 1, true);
    cr_expect_eq(good->verdict, LS_APPLIED);
    cr_expect_eq(mysql_fetch_one(&f, key).hash, good->hash);
    struct ls_record *older = mysql_put(&f, key, strlen(key), 6, "older");
    mysql_apply(&f, &older, 1, true);
    cr_expect_eq(older->verdict, LS_STALE);
}

Test(mysql_sink, a_deleted_record_stays_deleted_when_an_older_put_comes)
{
    const char *key = mysql_key(&f, own("delete"), 1, 0);
    struct ls_record *put = mysql_put(&f, key, strlen(key), 5, "alive");
    struct ls_record *gone = mysql_delete(&f, key, 8);
    mysql_apply(&f, &put, 1, false);
    mysql_apply(&f, &gone, 1, false);
    cr_expect_eq(gone->verdict, LS_APPLIED);
    put->verdict = LS_PENDING;
    mysql_apply(&f, &put, 1, false);
    cr_expect_eq(put->verdict, LS_STALE);
    struct ls_image image = mysql_fetch_one(&f, key);
    cr_expect(image.found && image.deleted && !image.undecodable);
    cr_expect_eq(image.hash, gone->hash);
    struct ls_record *back = mysql_put(&f, key, strlen(key), 9, "back");
    mysql_apply(&f, &back, 1, false);
    cr_expect_not(mysql_fetch_one(&f, key).deleted);
}

/* Makes shard's table refuse some rows, applies 500 of which two are bad, and mends the table. */
static void two_bad_of_500(uint16_t shard, const char *spoil, const char *mend, int code)
{
    struct ls_mysql mysql;
    struct ls_record **records = some(own("bad"), shard, 500, 10);
    struct ls_record **others = some(own("bad"), (uint16_t)(shard + 8), 20, 10);
    struct ls_record *all[520];
    memcpy(all, records, 500 * sizeof(*all));
    memcpy(all + 500, others, 20 * sizeof(*all));
    for (int i = 0; i < 2; i++)
        all[137 + 200 * i] = mysql_put(&f, all[137 + 200 * i]->key, all[137 + 200 * i]->key_len, 10,
                                       "much too long");
    mysql_connect_to(&f, shard, &mysql);
    mysql_must(&mysql, "%s", spoil);
    free(f.unit.refusals);
    f.unit = (struct ls_unit){.records = all, .n_records = 520};
    ls_mysql_lane_work(mysql_lane_of(&f, all[0]), &f.unit);
    mysql_must(&mysql, "%s", mend);
    ls_mysql_close(&mysql);
    cr_expect_eq(mysql_count(all, 520, LS_APPLIED), 518, "%s", f.unit.err.text);
    cr_expect_eq(all[137]->verdict, LS_POISON);
    cr_expect_eq(all[337]->verdict, LS_POISON);
    cr_expect_eq(all[137]->reject, LS_REJECT_STORE);
    cr_assert_eq(f.unit.n_refusals, 2);
    cr_expect_eq(f.unit.refusals[0].code, code, "%s", f.unit.refusals[0].text);
    cr_expect_eq(f.unit.err.class, LS_ERR_POISON);
    cr_expect(mysql_fetch_one(&f, all[136]->key).found);
    cr_expect(mysql_fetch_one(&f, all[519]->key).found);
    cr_expect_not(mysql_fetch_one(&f, all[137]->key).found);
}

Test(mysql_sink, bad_rows_that_the_server_names_are_found_and_all_others_applied)
{
    two_bad_of_500(11, "ALTER TABLE " ENTITY "_0011 MODIFY name VARCHAR(8)",
                   "ALTER TABLE " ENTITY
                   "_0011 MODIFY name VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL",
                   1406);
}

Test(mysql_sink, bad_rows_that_the_server_does_not_name_are_found_by_halves)
{
    two_bad_of_500(12, "ALTER TABLE " ENTITY "_0012 ADD CONSTRAINT short CHECK (LENGTH(name) < 9)",
                   "ALTER TABLE " ENTITY "_0012 DROP CONSTRAINT short", 4025);
}

Test(mysql_sink, the_record_that_a_poisonous_one_displaced_is_applied_after_it)
{
    struct ls_mysql mysql;
    const char *key = mysql_key(&f, own("displaced"), 13, 0);
    struct ls_record *newest = mysql_put(&f, key, strlen(key), 30, "much too long");
    struct ls_record *older = mysql_put(&f, key, strlen(key), 20, "fits");
    struct ls_record *oldest = mysql_put(&f, key, strlen(key), 10, "old");
    mysql_connect_to(&f, 13, &mysql);
    mysql_must(&mysql, "ALTER TABLE " ENTITY "_0013 MODIFY name VARCHAR(8)");
    mysql_apply(&f, &newest, 1, false);
    cr_expect_eq(newest->verdict, LS_POISON);
    mysql_apply(&f, &older, 1, false);
    cr_expect_eq(older->verdict, LS_APPLIED);
    mysql_apply(&f, &oldest, 1, false);
    cr_expect_eq(oldest->verdict, LS_STALE);
    cr_expect_eq(mysql_fetch_one(&f, key).version, 20);
    mysql_must(&mysql, "ALTER TABLE " ENTITY "_0013 MODIFY name VARCHAR(200) CHARACTER SET utf8mb4 "
                       "COLLATE utf8mb4_bin NULL");
    ls_mysql_close(&mysql);
}

Test(mysql_sink, a_row_larger_than_any_packet_is_poison_and_the_rest_is_split)
{
    struct ls_record **records = some(own("large"), 1, 40, 10);
    char *note = ls_arena_alloc(&f.arena, 60 << 10);
    memset(note, 'x', 60 << 10);
    for (int i = 0; i < 40; i++) { /* 40 rows of 60 KB: several packets */
        mysql_values(records[i])[COL_NOTE] =
            (struct ls_value){.present = true, .text = {note, 60 << 10}};
        mysql_seal(&f, records[i]);
    }
    size_t huge = 17 << 20;
    char *text = ls_calloc(1, huge);
    memset(text, 'y', huge);
    mysql_values(records[3])[COL_NOTE] =
        (struct ls_value){.present = true, .text = {text, 17 << 20}};
    mysql_apply(&f, records, 40, false);
    cr_expect_eq(mysql_count(records, 40, LS_APPLIED), 39, "%s", f.unit.err.text);
    cr_expect_eq(records[3]->verdict, LS_POISON);
    cr_expect_eq(mysql_fetch_one(&f, records[39]->key).hash, records[39]->hash);
    free(text);
}

static void *apply_thread(void *opaque)
{
    struct ls_unit *unit = opaque;
    ls_mysql_lane_work(mysql_lane_of(&f, unit->records[0]), unit);
    return NULL;
}

/* Waits until somebody holds the row's lock. */
static void wait_for_lock(struct ls_mysql *mysql, uint16_t shard, const char *key)
{
    char sql[200];
    struct ls_err err = {0};
    MYSQL_RES *rows;
    int len =
        snprintf(sql, sizeof(sql),
                 "SELECT 1 FROM " ENTITY "_%04u WHERE id = '%s' FOR UPDATE NOWAIT", shard, key);
    while (ls_mysql_rows(mysql, sql, (size_t)len, &rows, &err) == 0)
        mysql_free_result(rows);
    cr_assert_eq(err.code, 1205, "%s", err.text);
}

Test(mysql_sink, a_deadlock_with_somebody_else_is_retried_and_then_succeeds)
{
    struct ls_record **first = some(own("dead"), 17, 1, 10), **last = some(own("dead"), 25, 1, 10);
    struct ls_record *both[] = {first[0], last[0]};
    struct ls_mysql foreign, watcher;
    mysql_apply(&f, both, 2, false);
    cr_assert_eq(mysql_count(both, 2, LS_APPLIED), 2, "%s", f.unit.err.text);
    mysql_connect_to(&f, 17, &foreign);
    mysql_connect_to(&f, 17, &watcher);
    /* A hundred rows changed: the server ends the transaction that did less, which is ours. */
    mysql_must(&foreign,
               "BEGIN; INSERT INTO " ENTITY "_0033 (id, _at, _deleted, _h, _v) "
               "SELECT CONCAT('dead%d-', seq), 1, 1, 1, 1 FROM seq_1_to_100",
               getpid());
    mysql_must(&foreign, "UPDATE " ENTITY "_0025 SET age = 1 WHERE id = '%s'", both[1]->key);
    for (int i = 0; i < 2; i++)
        both[i] = mysql_put(&f, both[i]->key, both[i]->key_len, 20, "second");
    struct ls_unit unit = {.records = both, .n_records = 2};
    pthread_t thread;
    pthread_create(&thread, NULL, apply_thread, &unit);
    wait_for_lock(&watcher, 17, both[0]->key);
    mysql_must(&foreign, "UPDATE " ENTITY "_0017 SET age = 1 WHERE id = '%s'", both[0]->key);
    pthread_join(thread, NULL);
    cr_expect_eq(mysql_count(both, 2, LS_RETRY), 2);
    cr_expect_eq(unit.err.code, 1213, "%s", unit.err.text);
    cr_expect_eq(unit.err.class, LS_ERR_RETRY);
    mysql_must(&foreign, "ROLLBACK");
    both[0]->verdict = both[1]->verdict = LS_PENDING;
    mysql_apply(&f, both, 2, false);
    cr_expect_eq(mysql_count(both, 2, LS_APPLIED), 2, "%s", f.unit.err.text);
    ls_mysql_close(&foreign);
    ls_mysql_close(&watcher);
}

Test(mysql_sink, a_lock_wait_ends_in_retry_and_nothing_of_the_unit_stays)
{
    struct ls_record **records = some(own("wait"), 18, 3, 10);
    struct ls_mysql foreign;
    mysql_apply(&f, records, 1, false);
    mysql_connect_to(&f, 18, &foreign);
    mysql_must(&foreign, "BEGIN; UPDATE " ENTITY "_0018 SET age = 1 WHERE id = '%s'",
               records[0]->key);
    f.sink.request_timeout_ms = 2000; /* so the lane waits for a lock for a second */
    records[0]->verdict = LS_PENDING;
    ls_mysql_close(&ls_mysql_lane_link(mysql_lane_of(&f, records[0]))->mysql);
    mysql_apply(&f, records, 3, false);
    cr_expect_eq(mysql_count(records, 3, LS_RETRY), 3);
    cr_expect_eq(f.unit.err.code, 1205, "%s", f.unit.err.text);
    cr_expect_not(mysql_fetch_one(&f, records[1]->key).found);
    ls_mysql_close(&foreign);
}

Test(mysql_sink, a_lost_connection_is_retry_and_the_next_unit_connects_again)
{
    struct ls_record **records = some(own("lost"), 1, 5, 10);
    struct ls_mysql foreign;
    mysql_apply(&f, records, 2, false);
    struct ls_mysql_link *ours = ls_mysql_lane_link(mysql_lane_of(&f, records[0]));
    mysql_connect_to(&f, 1, &foreign);
    mysql_must(&foreign, "KILL %lu", mysql_thread_id(ours->mysql.handle));
    mysql_apply(&f, records, 5, false); /* two have their verdict already */
    cr_expect_eq(mysql_count(records, 5, LS_RETRY), 3);
    cr_expect_eq(mysql_count(records, 5, LS_APPLIED), 2);
    cr_expect_eq(f.unit.err.class, LS_ERR_RETRY, "%s", f.unit.err.text);
    for (int i = 0; i < 5; i++)
        if (records[i]->verdict == LS_RETRY)
            records[i]->verdict = LS_PENDING;
    mysql_apply(&f, records, 5, false);
    cr_expect_eq(mysql_count(records, 5, LS_APPLIED), 5, "%s", f.unit.err.text);
    cr_expect_eq(ours->doubts, 0, "the same server answers on another connection");
    ls_mysql_close(&foreign);
}

Test(mysql_sink, a_missing_table_is_fatal_and_names_the_command)
{
    struct mysql_fixture bare;
    mysql_fixture_init_bare(&bare, "livenone", 1);
    struct ls_record *record = mysql_put(&bare, "k", 1, 5, "x");
    mysql_apply(&bare, &record, 1, false);
    cr_expect_eq(record->verdict, LS_FATAL);
    cr_expect_eq(bare.unit.err.class, LS_ERR_FATAL);
    cr_expect_not_null(strstr(bare.unit.err.text, "lockstep schema apply"), "%s",
                       bare.unit.err.text);
    struct ls_err err = {0};
    cr_assert_eq(ls_mysql_store_ops.open(&bare.sink, &bare.store, &err), 0, "%s", err.text);
    cr_expect_eq(ls_mysql_store_ops.check(bare.store, &err), -1);
    cr_expect_eq(err.class, LS_ERR_FATAL);
    cr_expect_not_null(strstr(err.text, "lockstep schema apply"), "%s", err.text);
    mysql_fixture_free(&bare);
}

Test(mysql_sink, a_wrong_password_is_fatal_and_a_closed_port_is_retry)
{
    struct ls_mysql mysql = {0};
    struct ls_err err = {0};
    struct ls_mysql_server server = f.sink.servers[0];
    server.password = (char *)"surely not this";
    cr_expect_eq(ls_mysql_connect(&mysql, &f.sink, &server, &err), -1);
    cr_expect_eq(err.class, LS_ERR_FATAL, "%s", err.text);
    cr_expect_null(strstr(err.text, server.password));
    server = f.sink.servers[0];
    server.port = 1;
    cr_expect_eq(ls_mysql_connect(&mysql, &f.sink, &server, &err), -1);
    cr_expect_eq(err.class, LS_ERR_RETRY, "%s", err.text);
}
