/*
 * The engine's quarantine: a later success of a key closes its entries, whoever put them there, and
 * a store that refuses too much halts the sink before the topic is filled.
 */
#include "base/mem.h"
#include "instance_fixture.h"

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
    cr_assert_eq(ls_kafka_read_all(&mock.config, QUARANTINE, take, &found, &err), 0, "%s",
                 err.text);
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
