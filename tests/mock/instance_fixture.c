#include "instance_fixture.h"

#include "base/log.h"
#include "base/mem.h"
#include "consumers/replay.h"

struct mock_kafka mock;
static struct ls_schema *schema;
struct ls_sink_config sink;

void instance_start(void)
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
        .memory_bytes = 64 << 20,
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
        mock_kafka_put_genesis(&mock, STATE, &genesis);
    }
}

void instance_stop(void)
{
    mock_kafka_stop(&mock);
    ls_schema_free(schema);
    free(sink.name);
}

static void produce(const char *key, int64_t n)
{
    int32_t partition = ls_partition_of(ls_shard_of(key, strlen(key)), FAKE_PARTITIONS);
    struct ls_envelope envelope = {.schema_version = 1};
    struct ls_value value = {.present = true, .number = n};
    struct ls_buf wire = {0};
    ls_wire_encode(schema, &envelope, &value, &wire);
    cr_assert_eq(
        rd_kafka_producev(mock.owner, RD_KAFKA_V_TOPIC(STATE), RD_KAFKA_V_PARTITION(partition),
                          RD_KAFKA_V_KEY(key, strlen(key)), RD_KAFKA_V_VALUE(wire.data, wire.len),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
        RD_KAFKA_RESP_ERR_NO_ERROR);
    ls_buf_free(&wire);
}

static void flush(void)
{
    cr_assert_eq(rd_kafka_flush(mock.owner, 10000), RD_KAFKA_RESP_ERR_NO_ERROR);
}

void put_up_to(const char *key, int64_t from, int64_t up_to)
{
    for (int64_t n = from; n <= up_to; n++)
        produce(key, n);
    flush();
}

void put_together(char (*keys)[16], int n)
{
    for (int i = 0; i < n; i++)
        produce(keys[i], i);
    flush();
}

void put(const char *key, int64_t n)
{
    put_up_to(key, n, n);
}

int64_t n_of(const struct ls_record *record)
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

bool has_key(const struct ls_record *record, const char *key)
{
    return record->key_len == strlen(key) && memcmp(record->key, key, record->key_len) == 0;
}

static void *run_main(void *opaque)
{
    struct run *run = opaque;
    run->rc = ls_instance_run(&run->options, &run->stop, NULL, NULL, &run->totals, &run->err);
    return NULL;
}

void set_options(struct run *run, enum ls_position position)
{
    *run = (struct run){.options = {.config = &mock.config,
                                    .sink = &sink,
                                    .position = position,
                                    .mark_interval_ms = 20,
                                    .look_interval_ms = 50,
                                    .backoff_cap_ms = 5,
                                    .sink_ops = &fake_sink_ops}};
}

void run_range(struct run *run)
{
    struct ls_range *ranges;
    set_options(run, LS_POSITION_RANGE);
    cr_assert_eq(ls_replay_ranges(&mock.config, &mock.entity, NULL, 0, &ranges, &run->err), 0, "%s",
                 run->err.text);
    run->options.ranges = ranges;
    run_main(run);
    free(ranges);
}

void start_live(struct run *run)
{
    cr_assert_eq(pthread_create(&run->thread, NULL, run_main, run), 0);
}

void run_live(struct run *run)
{
    set_options(run, LS_POSITION_MARKS);
    start_live(run);
}

void end_live(struct run *run)
{
    run->stop = 1;
    pthread_join(run->thread, NULL);
}

uint64_t settled(const struct run *run)
{
    const uint64_t *counts = run->totals.counts;
    return counts[LS_APPLIED] + counts[LS_STALE] + counts[LS_SUPERSEDED] + counts[LS_POISON];
}

int64_t records_in(const char *topic)
{
    int64_t low, high;
    cr_assert_eq(rd_kafka_query_watermark_offsets(mock.owner, topic, 0, &low, &high, 10000),
                 RD_KAFKA_RESP_ERR_NO_ERROR);
    return high;
}

int64_t quarantined(void)
{
    return records_in("member.quarantine.fake");
}

void put_everywhere(const char *prefix)
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

int reached(const char *prefix)
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

void wait_until_it_says(const char *instance, const char *what)
{
    struct beat beat = {.instance = instance};
    struct ls_err err = {0};
    while (strstr(beat.last, what) == NULL)
        ls_kafka_read_all(&mock.config, LS_TOPIC_CONTROL, LS_KAFKA_TIMEOUT_MS, keep_beat, &beat,
                          &err);
}
