/*
 * The engine, against librdkafka's mock cluster and a store in memory that refuses what a test
 * wants refused: one verdict for every record, retries of just what was refused, poison to the
 * quarantine with the displaced record in its place, and marks that never pass what is not settled.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "consumers/instance.h"
#include "consumers/replay.h"
#include "fake_sink.h"
#include "mock_kafka.h"
#include "pipeline/kafka.h"
#include "pipeline/topics.h"
#include "schema/key.h"

#define UUID  "0b9d2a5e-3c1f-4b7a-9d68-1f2e3d4c5b6a"
#define STATE "member.state.1"

static struct mock_kafka mock;
static struct ls_schema *schema;
static struct ls_sink_config sink;

static void start(void)
{
    static const char text[] = "entity: member\nversion: 1\nredis_prefix: m\n"
                               "expected_records: 1000\naverage_bytes: 100\nfields:\n"
                               "  - {number: 1, name: id, type: string, key: true}\n"
                               "  - {number: 2, name: n, type: int}\n";
    struct ls_err err = {0};
    ls_log_set_level(LS_LOG_ERROR + 1);
    fake_reset();
    mock_kafka_start(&mock);
    cr_assert_eq(ls_schema_parse("member.yaml", text, strlen(text), &schema, &err), 0, "%s",
                 err.text);
    mock.entity.schema = schema;
    sink = (struct ls_sink_config){
        .name = ls_strdup("fake"),
        .kind = LS_SINK_REDIS,
        .entity = &mock.entity,
        .batch_records = 1000,
        .batch_bytes = 1 << 20,
        .batches_in_flight = 2,
    };
    mock_kafka_topic(&mock, STATE, FAKE_PARTITIONS);
    mock_kafka_topic(&mock, "member.quarantine.fake", 1);
    mock_kafka_topic(&mock, LS_TOPIC_CONTROL, 1);
    for (int32_t i = 0; i < FAKE_PARTITIONS; i++) {
        struct ls_genesis genesis = {.uuid = UUID,
                                     .partition = i,
                                     .partitions = FAKE_PARTITIONS,
                                     .generation = 1,
                                     .topic = STATE};
        struct ls_buf value = {0};
        ls_genesis_encode(&genesis, &value);
        mock_kafka_put(&mock, STATE, i, LS_GENESIS_KEY, value.data, value.len);
        ls_buf_free(&value);
    }
}

static void stop(void)
{
    mock_kafka_stop(&mock);
    ls_schema_free(schema);
    free(sink.name);
}

TestSuite(instance, .init = start, .fini = stop, .timeout = 60);

/* Records of one key with n = from to up_to, in one message set, so that they are read together. */
static void put_up_to(const char *key, int64_t from, int64_t up_to)
{
    int32_t partition = ls_partition_of(ls_shard_of(key, strlen(key)), FAKE_PARTITIONS);
    struct ls_envelope envelope = {.schema_version = 1};
    for (int64_t n = from; n <= up_to; n++) {
        struct ls_value value = {.present = true, .number = n};
        struct ls_buf wire = {0};
        ls_wire_encode(schema, &envelope, &value, &wire);
        cr_assert_eq(rd_kafka_producev(
                         mock.owner, RD_KAFKA_V_TOPIC(STATE), RD_KAFKA_V_PARTITION(partition),
                         RD_KAFKA_V_KEY(key, strlen(key)), RD_KAFKA_V_VALUE(wire.data, wire.len),
                         RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
        ls_buf_free(&wire);
    }
    cr_assert_eq(rd_kafka_flush(mock.owner, 10000), RD_KAFKA_RESP_ERR_NO_ERROR);
}

static void put(const char *key, int64_t n)
{
    put_up_to(key, n, n);
}

static int64_t n_of(const struct ls_record *record)
{
    struct ls_arena arena = {0};
    struct ls_envelope envelope;
    struct ls_value *values;
    struct ls_err err = {0};
    int64_t n = -1;
    if (ls_wire_decode(schema, record->body, record->body_len, &arena, &envelope, &values, &err) ==
        0)
        n = values[0].number;
    ls_arena_free(&arena);
    return n;
}

static bool has_key(const struct ls_record *record, const char *key)
{
    return record->key_len == strlen(key) && memcmp(record->key, key, record->key_len) == 0;
}

struct run {
    pthread_t thread;
    struct ls_instance_options options;
    struct ls_instance_totals totals;
    struct ls_err err;
    atomic_int stop;
    int rc;
};

static void *run_main(void *opaque)
{
    struct run *run = opaque;
    run->rc = ls_instance_run(&run->options, &run->stop, NULL, NULL, &run->totals, &run->err);
    return NULL;
}

static void set_options(struct run *run, enum ls_position position)
{
    *run = (struct run){.options = {.config = &mock.config,
                                    .sink = &sink,
                                    .position = position,
                                    .mark_interval_ms = 20,
                                    .backoff_cap_ms = 5,
                                    .sink_ops = &fake_sink_ops}};
}

/* The whole log as a range, to its end. */
static void run_range(struct run *run)
{
    struct ls_range *ranges;
    set_options(run, LS_POSITION_RANGE);
    cr_assert_eq(ls_replay_ranges(&mock.config, &mock.entity, NULL, 0, &ranges, &run->err), 0, "%s",
                 run->err.text);
    run->options.ranges = ranges;
    run_main(run);
    free(ranges);
}

static void run_live(struct run *run)
{
    set_options(run, LS_POSITION_MARKS);
    cr_assert_eq(pthread_create(&run->thread, NULL, run_main, run), 0);
}

static void end_live(struct run *run)
{
    run->stop = 1;
    pthread_join(run->thread, NULL);
}

/* Polls a condition; Criterion's timeout ends a test whose condition never comes. */
#define WAIT_FOR(condition) \
    while (!(condition))    \
    poll(NULL, 0, 5)

static uint64_t settled(const struct run *run)
{
    const uint64_t *counts = run->totals.counts;
    return counts[LS_APPLIED] + counts[LS_STALE] + counts[LS_SUPERSEDED] + counts[LS_POISON];
}

static int64_t records_in(const char *topic)
{
    int64_t low, high;
    cr_assert_eq(rd_kafka_query_watermark_offsets(mock.owner, topic, 0, &low, &high, 10000),
                 RD_KAFKA_RESP_ERR_NO_ERROR);
    return high;
}

static int64_t quarantined(void)
{
    return records_in("member.quarantine.fake");
}

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

static atomic_int held = 1;

static enum ls_verdict hold_one(const struct ls_record *record, struct ls_err *err)
{
    if (!has_key(record, "held") || !held)
        return LS_APPLIED;
    ls_err_set(err, LS_ERR_RETRY, 0, "held");
    return LS_RETRY;
}

Test(instance, a_mark_never_passes_a_record_without_its_verdict)
{
    int32_t partition = ls_partition_of(ls_shard_of("held", 4), FAKE_PARTITIONS);
    put("held", 1);
    fake_decide(hold_one);
    struct run run;
    run_live(&run);
    WAIT_FOR(fake_get("held").tries > 5);
    for (int i = 0; i < 40; i++) {
        char key[16];
        snprintf(key, sizeof(key), "later-%d", i);
        put(key, i);
    }
    WAIT_FOR(fake_get("held").tries > 15);
    /* Offset 0 is the genesis record, 1 the one that is held. */
    cr_assert_leq(fake_mark(partition).version, ls_version(1, 0));
    held = 0;
    int64_t low, end;
    rd_kafka_query_watermark_offsets(mock.owner, STATE, partition, &low, &end, 10000);
    WAIT_FOR(fake_mark(partition).version == ls_version(1, end - 1));
    cr_assert_str_eq(fake_mark(partition).genesis, UUID);
    end_live(&run);
    cr_assert_eq(run.totals.consumed, 41);
    cr_assert_eq(settled(&run), 41);
}

Test(instance, a_sink_starts_at_its_mark)
{
    put("before", 1);
    int32_t partition = ls_partition_of(ls_shard_of("before", 6), FAKE_PARTITIONS);
    for (int32_t i = 0; i < FAKE_PARTITIONS; i++) {
        fake.marks[i] =
            (struct ls_mark){.partition = i, .version = ls_version(1, 0), .genesis = UUID};
        if (i == partition)
            fake.marks[i].version = ls_version(1, 1);
    }
    fake.has_data = true;
    struct run run;
    run_live(&run);
    put("after", 2);
    WAIT_FOR(fake_get("after").version != 0);
    end_live(&run);
    cr_assert_eq(fake_get("before").tries, 0);
    cr_assert_eq(run.totals.consumed, 1);
}

static void keep_last(void *opaque, const rd_kafka_message_t *message)
{
    snprintf(opaque, 2048, "%.*s", (int)message->len, (const char *)message->payload);
}

/* Runs live until the sink has said why it halts; nothing may have been applied. */
static void expect_halt(const char *why)
{
    put("k", 1);
    struct run run;
    run_live(&run);
    /* Its heartbeats say the state. */
    char last[2048] = "";
    struct ls_err err = {0};
    while (strstr(last, why) == NULL)
        ls_kafka_read_all(&mock.config, LS_TOPIC_CONTROL, keep_last, last, &err);
    cr_assert_not_null(strstr(last, "HALTED"), "%s", last);
    end_live(&run);
    cr_assert_eq(fake_get("k").tries, 0);
}

Test(instance, data_without_a_mark_halts_and_names_resync)
{
    fake.has_data = true;
    expect_halt("lockstep resync --sink fake");
}

Test(instance, another_log_under_the_same_name_halts)
{
    for (int32_t i = 0; i < FAKE_PARTITIONS; i++)
        fake.marks[i] = (struct ls_mark){.partition = i,
                                         .version = ls_version(1, 0),
                                         .genesis = "77777777-7777-4777-8777-777777777777"};
    expect_halt("it was made again");
}

Test(instance, a_mark_beyond_the_end_of_the_log_halts)
{
    for (int32_t i = 0; i < FAKE_PARTITIONS; i++)
        fake.marks[i] =
            (struct ls_mark){.partition = i, .version = ls_version(1, 500), .genesis = UUID};
    expect_halt("the log went back");
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

/* A key of each partition is written; reached() tells how many of them the store has. */
static void put_everywhere(const char *prefix)
{
    for (int32_t i = 0, partition = 0; partition < FAKE_PARTITIONS; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%s%d", prefix, i);
        if (ls_partition_of(ls_shard_of(key, strlen(key)), FAKE_PARTITIONS) != partition)
            continue;
        put(key, i);
        partition++;
    }
}

static int reached(const char *prefix)
{
    int n = 0;
    pthread_mutex_lock(&fake.lock);
    for (size_t i = 0; i < fake.n_entries; i++)
        n += strncmp(fake.entries[i].key, prefix, strlen(prefix)) == 0;
    pthread_mutex_unlock(&fake.lock);
    return n;
}

struct beat {
    const char *instance; /* how its key ends */
    char last[2048];
};

static void keep_beat(void *opaque, const rd_kafka_message_t *message)
{
    struct beat *beat = opaque;
    size_t len = strlen(beat->instance);
    if (message->key_len > len &&
        memcmp((const char *)message->key + message->key_len - len, beat->instance, len) == 0)
        snprintf(beat->last, sizeof(beat->last), "%.*s", (int)message->len,
                 (const char *)message->payload);
}

static void wait_until_it_says(const char *instance, const char *what)
{
    struct beat beat = {.instance = instance};
    struct ls_err err = {0};
    while (strstr(beat.last, what) == NULL)
        ls_kafka_read_all(&mock.config, LS_TOPIC_CONTROL, keep_beat, &beat, &err);
}

Test(instance, partitions_that_cannot_be_begun_do_not_stop_the_others)
{
    struct run stays, leaves;
    run_live(&stays);
    set_options(&leaves, LS_POSITION_MARKS);
    leaves.options.number = 1;
    cr_assert_eq(pthread_create(&leaves.thread, NULL, run_main, &leaves), 0);
    wait_until_it_says(":1", "RUNNING");
    put_everywhere("shared-");
    WAIT_FOR(reached("shared-") == FAKE_PARTITIONS);

    fake_no_reads(true);
    end_live(&leaves);
    wait_until_it_says(":0", "no reads now");
    put_everywhere("meanwhile-");
    WAIT_FOR(reached("meanwhile-") > 0);
    cr_assert_lt(reached("meanwhile-"), FAKE_PARTITIONS);
    fake_no_reads(false);
    WAIT_FOR(reached("meanwhile-") == FAKE_PARTITIONS);
    end_live(&stays);
}
