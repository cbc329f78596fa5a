/*
 * The engine, against librdkafka's mock cluster and a store in memory that refuses what a test
 * wants refused: one verdict for every record, retries of just what was refused, poison to the
 * quarantine with the displaced record in its place.
 */
#include "instance_fixture.h"

TestSuite(instance, .init = instance_start, .fini = instance_stop, .timeout = 60);

Test(instance, every_record_gets_one_verdict_and_they_add_up)
{
    char key[16];
    for (int i = 0; i < 50; i++) {
        snprintf(key, sizeof(key), "key-%d", i % 20);
        put(key, i);
    }
    mock_kafka_put(&mock, STATE, 0, "garbage", "\xc1\xc1", 2);
    struct run run;
    run_range(&run);
    cr_assert_eq(run.rc, 0, "%s", run.err.text);
    cr_assert_eq(run.totals.consumed, 51);
    cr_assert_eq(settled(&run), 51);
    cr_assert_eq(run.totals.counts[LS_POISON], 1);
    cr_assert_geq(run.totals.counts[LS_APPLIED], 20);
    cr_assert_eq(quarantined(), 1);

    struct run again;
    run_range(&again);
    cr_assert_eq(again.rc, -1, "data and no mark: a replay is refused, too");
    for (int32_t i = 0; i < FAKE_PARTITIONS; i++)
        fake.marks[i] = (struct ls_mark){.partition = i, .genesis = UUID};
    run_range(&again);
    cr_assert_eq(again.rc, 0, "%s", again.err.text);
    cr_assert_eq(again.totals.counts[LS_APPLIED], 0, "a second reading changes nothing");
    cr_assert_eq(again.totals.consumed, 51);
    cr_assert_eq(settled(&again), 51);
}

static enum ls_verdict refuse_one(const struct ls_record *record, struct ls_err *err)
{
    if (!has_key(record, "often") || fake_tries("often") > 3)
        return LS_APPLIED;
    ls_err_set(err, LS_ERR_RETRY, 429, "not now");
    return LS_RETRY;
}

Test(instance, only_what_was_refused_goes_again)
{
    put("often", 1);
    for (int i = 0; i < 30; i++) {
        char key[16];
        snprintf(key, sizeof(key), "once-%d", i);
        put(key, i);
    }
    fake_decide(refuse_one);
    struct run run;
    run_range(&run);
    cr_assert_eq(run.rc, 0);
    cr_assert_eq(fake_get("often").tries, 4);
    cr_assert_eq(run.totals.counts[LS_RETRY], 3);
    for (int i = 0; i < 30; i++) {
        char key[16];
        snprintf(key, sizeof(key), "once-%d", i);
        cr_assert_eq(fake_get(key).tries, 1, "%s", key);
    }
}

static enum ls_verdict refuse_newest(const struct ls_record *record, struct ls_err *err)
{
    if (n_of(record) < 3)
        return LS_APPLIED;
    ls_err_set(err, LS_ERR_POISON, 1406, "too long");
    return LS_POISON;
}

Test(instance, the_record_that_a_refused_one_displaced_is_applied_in_its_place)
{
    put_up_to("k", 1, 4);
    fake_decide(refuse_newest);
    struct run run;
    run_range(&run);
    cr_assert_eq(run.rc, 0, "%s", run.err.text);
    cr_assert_eq(run.totals.counts[LS_POISON], 2);
    cr_assert_eq(run.totals.counts[LS_APPLIED], 1);
    cr_assert_eq(run.totals.counts[LS_SUPERSEDED], 1);
    cr_assert_eq(ls_version_offset(fake_get("k").version), 2, "genesis, 1, then 2");
    cr_assert_eq(quarantined(), 2);
}

static enum ls_verdict refuse_unknown(const struct ls_record *record, struct ls_err *err)
{
    (void)record;
    ls_err_set(err, LS_ERR_UNKNOWN, 12345, "never heard of it");
    return LS_RETRY;
}

Test(instance, an_error_in_no_table_is_retried_a_bounded_number_of_times)
{
    put("k", 1);
    fake_decide(refuse_unknown);
    struct run run;
    run_range(&run);
    cr_assert_eq(run.rc, -1);
    cr_assert_eq(run.err.class, LS_ERR_FATAL);
    cr_assert_eq(run.err.code, 12345);
    cr_assert_eq(fake_get("k").tries, 31);
    cr_assert_eq(quarantined(), 0, "nothing that may heal is quarantined");
}

static enum ls_verdict refuse_after_an_outage(const struct ls_record *record, struct ls_err *err)
{
    (void)record;
    if (fake_tries("k") > 50)
        return LS_APPLIED;
    bool outage = fake_tries("k") <= 45;
    ls_err_set(err, outage ? LS_ERR_RETRY : LS_ERR_UNKNOWN, 12345, "not now");
    return LS_RETRY;
}

Test(instance, an_outage_does_not_use_up_the_tries_of_an_unknown_error)
{
    put("k", 1);
    fake_decide(refuse_after_an_outage);
    struct run run;
    run_range(&run);
    cr_assert_eq(run.rc, 0, "%s", run.err.text);
    cr_assert_eq(run.totals.counts[LS_APPLIED], 1);
}

static enum ls_verdict refuse_set_up(const struct ls_record *record, struct ls_err *err)
{
    (void)record;
    ls_err_set(err, LS_ERR_FATAL, 1146, "no such table");
    return LS_FATAL;
}

Test(instance, a_wrong_set_up_stops_the_sink_and_quarantines_nothing)
{
    put("k", 1);
    fake_decide(refuse_set_up);
    struct run run;
    run_range(&run);
    cr_assert_eq(run.rc, -1);
    cr_assert_eq(run.err.code, 1146);
    cr_assert_eq(quarantined(), 0);
    cr_assert_eq(fake_get("k").tries, 1);
}

enum { API_PRODUCE = 0 };

Test(instance, a_quarantine_that_never_takes_a_record_halts_the_sink)
{
    mock_kafka_put(&mock, STATE, 0, "garbage", "\xc1\xc1", 2);
    rd_kafka_mock_push_request_errors(mock.cluster, API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    struct run run;
    run_range(&run);
    cr_assert_eq(run.rc, -1);
    cr_assert_eq(run.err.class, LS_ERR_FATAL);
    cr_assert_not_null(strstr(run.err.text, "member.quarantine.fake"), "%s", run.err.text);
    cr_assert_not_null(strstr(run.err.text, "max.message.bytes"), "%s", run.err.text);
}

Test(instance, a_producer_that_broke_is_replaced_and_poison_still_reaches_the_quarantine)
{
    rd_kafka_mock_push_request_errors(mock.cluster, API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    struct run run;
    run_live(&run); /* whose first heartbeat meets the error, and ends that producer */
    WAIT_FOR(records_in(LS_TOPIC_CONTROL) > 0);
    mock_kafka_put(&mock, STATE, 0, "garbage", "\xc1\xc1", 2);
    WAIT_FOR(quarantined() == 1);
    end_live(&run);
    cr_assert_eq(run.totals.counts[LS_POISON], 1);
}

Test(instance, as_much_memory_as_may_be_configured_is_no_reason_to_halt)
{
    sink.memory_bytes = INT64_C(1) << 40;
    put_everywhere("k-");
    struct run run;
    run_live(&run);
    WAIT_FOR(reached("k-") == FAKE_PARTITIONS);
    end_live(&run);
}
