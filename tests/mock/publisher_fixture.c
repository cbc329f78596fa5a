#include "tests/mock/publisher_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "schema/key.h"
#include "schema/wire.h"

static const char schema_text[] =
    "entity: thing\n"
    "version: 1\n"
    "redis_prefix: th\n"
    "expected_records: 1000\n"
    "average_bytes: 100\n"
    "fields:\n"
    "  - {number: 1, name: id, type: string, key: true}\n"
    "  - {number: 2, name: s, type: string, length: 8000}\n"
    "  - {number: 3, name: i, type: int}\n"
    "  - {number: 4, name: f, type: float}\n"
    "  - {number: 5, name: b, type: bool}\n"
    "  - {number: 6, name: t, type: time}\n"
    "  - {number: 7, name: l, type: strings, length: 5, max_items: 2}\n";

static void write_schema(struct fixture *fixture)
{
    snprintf(fixture->schema_path, sizeof(fixture->schema_path), "/tmp/lockstep-mock-XXXXXX");
    int fd = mkstemp(fixture->schema_path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, schema_text, strlen(schema_text)), (ssize_t)strlen(schema_text));
    close(fd);
}

static void quiet(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
}

void fixture_start(struct fixture *fixture)
{
    memset(fixture, 0, sizeof(*fixture));
    write_schema(fixture);
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    cr_assert_eq(rd_kafka_conf_set(conf, "test.mock.num.brokers", "1", text, sizeof(text)), 0);
    cr_assert_eq(rd_kafka_conf_set(conf, "log_level", "3", text, sizeof(text)), 0);
    rd_kafka_conf_set_log_cb(conf, quiet);
    fixture->client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    cr_assert_not_null(fixture->client, "%s", text);
    fixture->cluster = rd_kafka_handle_mock_cluster(fixture->client);
    cr_assert_not_null(fixture->cluster);
}

void fixture_stop(struct fixture *fixture)
{
    lockstep_publisher_close(fixture->publisher, 0);
    rd_kafka_destroy(fixture->client);
    unlink(fixture->schema_path);
}

void fixture_topic(struct fixture *fixture, int partitions, int genesis_partitions)
{
    cr_assert_eq(rd_kafka_mock_topic_create(fixture->cluster, FIXTURE_TOPIC, partitions, 1), 0);
    for (int i = 0; i < partitions && genesis_partitions > 0; i++) {
        struct ls_genesis genesis = {
            .uuid = "11111111-2222-3333-4444-555555555555",
            .partition = i,
            .partitions = genesis_partitions,
            .generation = 1,
            .created_us = 1,
            .topic = FIXTURE_TOPIC,
        };
        struct ls_buf value = {0};
        ls_genesis_encode(&genesis, &value);
        rd_kafka_resp_err_t code = rd_kafka_producev(
            fixture->client, RD_KAFKA_V_TOPIC(FIXTURE_TOPIC), RD_KAFKA_V_PARTITION(i),
            RD_KAFKA_V_KEY(LS_GENESIS_KEY, strlen(LS_GENESIS_KEY)),
            RD_KAFKA_V_VALUE(value.data, value.len), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_END);
        cr_assert_eq(code, RD_KAFKA_RESP_ERR_NO_ERROR);
        ls_buf_free(&value);
    }
    cr_assert_eq(rd_kafka_flush(fixture->client, 10000), RD_KAFKA_RESP_ERR_NO_ERROR);
}

static void on_delivery(void *opaque, const struct lockstep_delivery *delivery)
{
    struct fixture *fixture = opaque;
    size_t at = atomic_load(&fixture->n_seen);
    if (at < FIXTURE_SEEN_MAX) {
        struct fixture_delivery *seen = &fixture->seen[at];
        *seen = (struct fixture_delivery){
            .outcome = delivery->outcome,
            .partition = delivery->partition,
            .offset = delivery->offset,
            .version = delivery->version,
            .number = (size_t)delivery->record_opaque,
        };
        snprintf(seen->key, sizeof(seen->key), "%.*s", (int)delivery->key_len, delivery->key);
        snprintf(seen->reason, sizeof(seen->reason), "%s", delivery->reason);
    }
    atomic_fetch_add(&fixture->outcomes[delivery->outcome], 1);
    atomic_fetch_add(&fixture->n_seen, 1);
}

void fixture_open(struct fixture *fixture, int32_t expected_partitions, int delivery_timeout_ms)
{
    struct lockstep_entity entity = {
        .schema_file = fixture->schema_path,
        .partitions = expected_partitions,
    };
    const struct lockstep_property properties[] = {
        {"reconnect.backoff.max.ms", "200"},
        {"socket.timeout.ms", "1000"},
        {"retry.backoff.ms", "20"},
        {"linger.ms", fixture->linger_ms},
    };
    struct lockstep_options options = LOCKSTEP_OPTIONS_INIT;
    options.brokers = rd_kafka_mock_cluster_bootstraps(fixture->cluster);
    options.entities = &entity;
    options.n_entities = 1;
    options.properties = properties;
    options.n_properties = LS_COUNT(properties) - (fixture->linger_ms == NULL);
    options.origin = "mock-test";
    options.max_bytes_in_flight = (size_t)8 << 20;
    options.delivery_timeout_ms = delivery_timeout_ms;
    options.on_delivery = on_delivery;
    options.delivery_opaque = fixture;
    struct lockstep_error error = {0};
    cr_assert_eq(lockstep_publisher_open(&options, &fixture->publisher, &error), LOCKSTEP_OK, "%s",
                 error.text);
}

void fixture_down(struct fixture *fixture)
{
    cr_assert_eq(rd_kafka_mock_broker_set_down(fixture->cluster, FIXTURE_BROKER), 0);
}

void fixture_up(struct fixture *fixture)
{
    cr_assert_eq(rd_kafka_mock_broker_set_up(fixture->cluster, FIXTURE_BROKER), 0);
}

enum lockstep_code fixture_put(struct fixture *fixture, const char *key, size_t number,
                               size_t bytes, int timeout_ms, struct lockstep_error *error)
{
    lockstep_record *record;
    cr_assert_eq(lockstep_record_new(fixture->publisher, "thing", &record, error), LOCKSTEP_OK);
    LS_CLEANUP_FREE char *text = ls_malloc(bytes + 1);
    memset(text, 'x', bytes);
    enum lockstep_code code = lockstep_record_put(record, key, strlen(key), error);
    if (code == LOCKSTEP_OK)
        code = lockstep_record_set_string(record, "s", text, bytes, error);
    if (code == LOCKSTEP_OK)
        code = lockstep_publish(fixture->publisher, record, (void *)number, timeout_ms, error);
    lockstep_record_free(record);
    return code;
}
