/*
 * The engine's quarantine: a later success of a key closes its entries, whoever put them there, and
 * a store that refuses too much halts the sink before the topic is filled.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "consumers/requeue.h"
#include "instance_fixture.h"
#include "pipeline/quarantine_entry.h"
#include "pipeline/quarantined.h"

#define QUARANTINE "member.quarantine.fake"

TestSuite(quarantine, .init = instance_start, .fini = instance_stop, .timeout = 60);

/* What a poll of all messages of the quarantine says: entries that are open, and closings. */
struct found {
    char open[64][64];
    size_t n_open;
    size_t n_closings;
};

static void take(void *opaque, const rd_kafka_message_t *message)
{
    struct found *found = opaque;
    size_t at = 0;
    while (at < found->n_open && (strlen(found->open[at]) != message->key_len ||
                                  memcmp(found->open[at], message->key, message->key_len) != 0))
        at++;
    if (message->payload == NULL) {
        found->n_closings++;
        if (at < found->n_open)
            memmove(found->open[at], found->open[--found->n_open], sizeof(found->open[0]));
    } else if (at == found->n_open) {
        cr_assert_lt(found->n_open, LS_COUNT(found->open));
        snprintf(found->open[found->n_open++], sizeof(found->open[0]), "%.*s",
                 (int)message->key_len, (const char *)message->key);
    }
}

static struct found look(void)
{
    struct found found = {0};
    struct ls_err err = {0};
    cr_assert_eq(
        ls_kafka_read_all(&mock.config, QUARANTINE, LS_KAFKA_TIMEOUT_MS, take, &found, &err), 0,
        "%s", err.text);
    return found;
}

/* n = 7 is what the store cannot take. */
static enum ls_verdict refuse_seven(const struct ls_record *record, struct ls_err *err)
{
    if (n_of(record) != 7)
        return LS_APPLIED;
    ls_err_set(err, LS_ERR_POISON, 1406, "seven");
    return LS_POISON;
}

static enum ls_verdict take_all(const struct ls_record *record, struct ls_err *err)
{
    (void)record;
    (void)err;
    return LS_APPLIED;
}

Test(quarantine, a_later_success_of_the_key_closes_the_entry_and_no_other)
{
    struct run run;
    fake_decide(refuse_seven);
    put("k", 7);
    put("other", 7);
    run_live(&run);
    WAIT_FOR(quarantined() == 2);
    put("k", 8);
    WAIT_FOR(look().n_closings == 1);
    end_live(&run);
    struct found found = look();
    cr_assert_eq(found.n_open, 1);
    cr_assert_eq(found.n_closings, 1);
    cr_assert_eq(run.totals.counts[LS_POISON], 2, "the verdict stays what it was");
}

Test(quarantine, an_older_image_of_the_key_closes_nothing)
{
    struct run run;
    fake_decide(refuse_seven);
    put_up_to("k", 6, 7); /* 7 is newest; 6 is applied in its place */
    run_live(&run);
    WAIT_FOR(fake_get("k").version != 0 && quarantined() == 1);
    end_live(&run);
    struct found found = look();
    cr_assert_eq(found.n_open, 1);
    cr_assert_eq(found.n_closings, 0);
}

Test(quarantine, an_entry_of_a_worker_before_is_closed_by_the_next_one)
{
    struct run run;
    fake_decide(refuse_seven);
    put("k", 7);
    mock_kafka_put(&mock, STATE, 0, "garbage", "\xc1\xc1", 2); /* no success of it ever */
    run_live(&run);
    WAIT_FOR(quarantined() == 2);
    end_live(&run);
    put("k", 8); /* settled while the next worker reads what is there */
    run_live(&run);
    WAIT_FOR(look().n_open == 1);
    end_live(&run);
    cr_assert_eq(look().n_closings, 1);
}

Test(quarantine, a_replay_that_applies_the_record_closes_its_entry)
{
    struct run run;
    fake_decide(refuse_seven);
    put("k", 7);
    run_live(&run);
    WAIT_FOR(quarantined() == 1);
    end_live(&run);
    fake_decide(take_all);
    struct run again;
    run_range(&again);
    cr_assert_eq(again.rc, 0, "%s", again.err.text);
    cr_assert_eq(again.totals.counts[LS_APPLIED], 1);
    WAIT_FOR(look().n_open == 0);
}

/* An entry about a record of that key, which was appended then. */
static struct ls_quarantine_entry entry_of(const char *key, int64_t offset, int64_t at_ms)
{
    return (struct ls_quarantine_entry){
        .partition = ls_partition_of(ls_shard_of(key, strlen(key)), mock.entity.partitions),
        .offset = offset,
        .version = ls_version(1, offset),
        .at_ms = at_ms,
        .since_ms = at_ms,
        .key = {key, (uint32_t)strlen(key)},
        .class = {"store", 5},
        .text = {"seven", 5},
        .body = {"\x90", 1},
    };
}

static void put_entry(const char *key, int64_t offset, int64_t at_ms)
{
    struct ls_quarantine_entry entry = entry_of(key, offset, at_ms);
    cr_assert_eq(ls_quarantine_entry_send(mock.owner, &sink, &entry, NULL),
                 RD_KAFKA_RESP_ERR_NO_ERROR);
    cr_assert_eq(rd_kafka_flush(mock.owner, 10000), RD_KAFKA_RESP_ERR_NO_ERROR);
}

/* When this log was not there yet: its genesis is as young as the test. */
#define BEFORE_THE_LOG INT64_C(1700000000000)

Test(quarantine, an_entry_of_the_log_before_this_one_is_not_closed_by_a_record_of_this_one)
{
    struct run run;
    put_entry("k", 0, BEFORE_THE_LOG);
    put_entry("k", 1, ls_wall_us() / 1000);
    put("k", 8);
    run_live(&run);
    WAIT_FOR(look().n_closings > 0);
    end_live(&run);
    struct found found = look();
    cr_expect_eq(found.n_closings, 1);
    cr_assert_eq(found.n_open, 1);
    cr_expect_eq(found.open[0][strlen(found.open[0]) - 1], '0', "%s", found.open[0]);
}

Test(quarantine, an_entry_of_the_log_before_this_one_excuses_nothing_that_is_missing)
{
    struct ls_genesis genesis[FAKE_PARTITIONS];
    struct ls_quarantined set = {0};
    struct ls_err err = {0};
    struct ls_quarantine_entry entry = entry_of("k", 0, 0);
    put_entry("k", 3, BEFORE_THE_LOG);
    put_entry("k", 4, ls_wall_us() / 1000);
    cr_assert_eq(ls_kafka_genesis(&mock.config, &mock.entity, genesis, &err), 0, "%s", err.text);
    cr_assert_eq(ls_quarantined_read(&mock.config, &sink, genesis, &set, &err), 0, "%s", err.text);
    cr_expect_not(ls_quarantined_has(&set, entry.partition, 3));
    cr_expect(ls_quarantined_has(&set, entry.partition, 4));
    cr_expect_eq(set.n, 1);
    ls_quarantined_free(&set);
}

Test(quarantine, an_entry_of_the_log_before_this_one_is_not_requeued)
{
    struct ls_quarantine_entry entry = entry_of("k", 500, BEFORE_THE_LOG);
    struct ls_requeue_item item = {.entry = &entry};
    struct ls_err err = {0};
    cr_assert_eq(ls_requeue_preview(&mock.config, &sink, &item, 1, &err), 0, "%s", err.text);
    cr_expect_eq(item.outcome, LS_REQUEUE_UNFIT);
    cr_expect_not_null(strstr(item.text, "of a log that was there before this one"), "%s",
                       item.text);
}

Test(quarantine, an_empty_quarantine_is_left_alone)
{
    struct run run;
    put("k", 1);
    put("k", 2);
    run_range(&run);
    cr_assert_eq(run.rc, 0, "%s", run.err.text);
    cr_assert_eq(quarantined(), 0);
}

static enum ls_verdict refuse_odd(const struct ls_record *record, struct ls_err *err)
{
    if (n_of(record) % 2 == 0)
        return LS_APPLIED;
    ls_err_set(err, LS_ERR_POISON, 1406, "Data too long for column 'n'");
    return LS_POISON;
}

static void put_keys(int n)
{
    for (int i = 0; i < n; i++) {
        char key[16];
        snprintf(key, sizeof(key), "key-%d", i);
        put(key, i);
    }
}

Test(quarantine, store_borne_poison_above_its_rate_halts_before_the_topic_is_filled)
{
    struct run run;
    sink.quarantine_max_per_minute = 5;
    fake_decide(refuse_odd);
    put_keys(100);
    run_range(&run);
    cr_assert_eq(run.rc, -1);
    cr_assert_eq(run.err.class, LS_ERR_FATAL);
    cr_assert_not_null(strstr(run.err.text, "wrong set-up"), "%s", run.err.text);
    cr_assert_not_null(strstr(run.err.text, "Data too long"), "%s", run.err.text);
    cr_assert_leq(quarantined(), 5);
}

Test(quarantine, no_limit_never_halts)
{
    struct run run;
    sink.quarantine_max_per_minute = 0;
    fake_decide(refuse_odd);
    put_keys(100);
    run_range(&run);
    cr_assert_eq(run.rc, 0, "%s", run.err.text);
    cr_assert_eq(run.totals.counts[LS_POISON], 50);
    cr_assert_eq(quarantined(), 50);
}

Test(quarantine, log_borne_poison_never_halts_at_any_rate)
{
    enum { N = 20000 };
    struct run run;
    char garbage[] = "\xc1\xc1";
    sink.quarantine_max_per_minute = 5;
    for (int i = 0; i < N; i++)
        cr_assert_eq(rd_kafka_producev(mock.owner, RD_KAFKA_V_TOPIC(STATE),
                                       RD_KAFKA_V_PARTITION(i % FAKE_PARTITIONS),
                                       RD_KAFKA_V_KEY("k", 1), RD_KAFKA_V_VALUE(garbage, 2),
                                       RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    cr_assert_eq(rd_kafka_flush(mock.owner, 30000), RD_KAFKA_RESP_ERR_NO_ERROR);
    run_range(&run);
    cr_assert_eq(run.rc, 0, "%s", run.err.text);
    cr_assert_eq(run.totals.counts[LS_POISON], N);
    cr_assert_eq(quarantined(), N);
}
