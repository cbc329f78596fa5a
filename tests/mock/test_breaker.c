/*
 * Breaker and flow in the engine, against a store in memory: what an outage holds back, how a store
 * that takes little gets little, and that neither ends in a loss, a quarantine or a rebalance.
 */
#include "base/clock.h"
#include "instance_fixture.h"

TestSuite(breaker_engine, .init = instance_start, .fini = instance_stop, .timeout = 60);

static atomic_bool away, unheard_of, locked;
static atomic_uint n_tried; /* while it is away */

static void put_many(const char *prefix, int n)
{
    char key[32];
    for (int i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "%s%d", prefix, i);
        put(key, i);
    }
}

static int n_applied(const char *prefix, int n)
{
    char key[32];
    int applied = 0;
    for (int i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "%s%d", prefix, i);
        applied += fake_get(key).version != 0;
    }
    return applied;
}

static enum ls_verdict refuse_while_away(const struct ls_record *record, struct ls_err *err)
{
    (void)record;
    if (!away)
        return LS_APPLIED;
    n_tried++;
    ls_err_set(err, unheard_of ? LS_ERR_UNKNOWN : LS_ERR_RETRY, 7, "away");
    return LS_RETRY;
}

static void lose_the_store(void)
{
    away = true;
    fake_decide(refuse_while_away);
}

Test(breaker_engine, while_a_store_is_away_only_probes_are_sent_and_nothing_more_is_read)
{
    lose_the_store();
    put_many("early-", 60);
    struct run run;
    run_live(&run);
    WAIT_FOR(n_tried > 200); /* long open by then: every failure was a probe */
    put_many("late-", 20);
    unsigned before = n_tried;
    WAIT_FOR(n_tried > before + 400);
    cr_assert_eq(fake_tries_of("late-"), 0, "nothing was read for the lane");
    cr_assert_eq(n_applied("early-", 60), 0);
    away = false;
    WAIT_FOR(n_applied("early-", 60) == 60 && n_applied("late-", 20) == 20);
    end_live(&run);
    cr_assert_eq(settled(&run), run.totals.consumed);
    cr_assert_eq(run.totals.consumed, 80);
    cr_assert_eq(run.totals.counts[LS_APPLIED], 80);
    cr_assert_eq(quarantined(), 0);
}

Test(breaker_engine, an_outage_is_retrying_and_running_again_after_it)
{
    lose_the_store();
    put_many("k-", 10);
    struct run run;
    run_live(&run);
    wait_until_it_says(":0", "\"RETRYING\"");
    away = false;
    wait_until_it_says(":0", "\"RUNNING\"");
    WAIT_FOR(n_applied("k-", 10) == 10);
    end_live(&run);
}

Test(breaker_engine, a_store_that_takes_one_record_at_a_time_gets_one)
{
    fake_take_at_most(1);
    put_many("k-", 100);
    struct run run;
    run_range(&run);
    cr_assert_eq(run.rc, 0, "%s", run.err.text);
    cr_assert_eq(run.totals.counts[LS_APPLIED], 100);
    cr_assert_gt(fake_units_refused(), 0);
    cr_assert_lt(fake_units_refused(), 150, "it is not tried again and again with too much");
    cr_assert_eq(quarantined(), 0);
}

static enum ls_verdict refuse_locked(const struct ls_record *record, struct ls_err *err)
{
    if (!locked || !has_key(record, "locked"))
        return LS_APPLIED;
    ls_err_set(err, LS_ERR_RETRY, 1205, "lock wait timeout");
    err->overload = true;
    return LS_RETRY;
}

Test(breaker_engine, a_record_that_somebody_has_locked_does_not_hold_up_the_others)
{
    enum { N = 40 };
    char keys[N][16] = {"locked"};
    int32_t partition = ls_partition_of(ls_shard_of("locked", 6), FAKE_PARTITIONS);
    for (int n = 1, i = 0; n < N; i++) {
        snprintf(keys[n], sizeof(keys[n]), "k-%d", i);
        n += ls_partition_of(ls_shard_of(keys[n], strlen(keys[n])), FAKE_PARTITIONS) == partition;
    }
    put_together(keys, N);
    locked = true;
    fake_decide(refuse_locked);
    struct run run;
    run_live(&run);
    for (int i = 1; i < N; i++)
        WAIT_FOR(fake_get(keys[i]).version != 0);
    cr_assert_eq(fake_get("locked").version, 0);
    locked = false;
    WAIT_FOR(fake_get("locked").version != 0);
    end_live(&run);
    cr_assert_eq(settled(&run), run.totals.consumed);
    cr_assert_eq(run.totals.counts[LS_APPLIED], N);
}

Test(breaker_engine, an_error_in_no_table_is_bounded_though_each_probe_has_other_records)
{
    unheard_of = true;
    lose_the_store();
    put_many("k-", 200);
    struct run run;
    run_range(&run);
    cr_assert_eq(run.rc, -1);
    cr_assert_eq(run.err.class, LS_ERR_FATAL);
    cr_assert_eq(quarantined(), 0);
    for (int i = 0; i < 200; i++) {
        char key[32];
        snprintf(key, sizeof(key), "k-%d", i);
        cr_assert_leq(fake_get(key).tries, 32, "%s", key);
    }
}

Test(breaker_engine, a_worker_that_is_stopped_does_not_wait_for_a_store_that_is_away)
{
    lose_the_store();
    put_many("k-", 60);
    struct run run;
    run_live(&run);
    WAIT_FOR(n_tried > 200);
    int64_t stopped_ms = ls_mono_ms();
    end_live(&run);
    cr_assert_lt(ls_mono_ms() - stopped_ms, 10000, "it would drain for 20 s");
    cr_assert_eq(run.totals.counts[LS_APPLIED], 0);
    for (int32_t i = 0; i < FAKE_PARTITIONS; i++)
        cr_assert_eq(fake_mark(i).version, 0, "no mark passes what is not applied");
}
