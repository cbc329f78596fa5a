/* Building records, options, and what stands in the log afterwards. */
#include "tests/mock/publisher_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "schema/wire.h"

enum { LONG_MS = 20000 };

static struct fixture fixture;
static struct lockstep_error error;
static lockstep_record *record;

static void setup(void)
{
    fixture_start(&fixture);
    fixture_topic(&fixture, FIXTURE_PARTITIONS, FIXTURE_PARTITIONS);
    fixture_open(&fixture, 0, 0);
    cr_assert_eq(lockstep_record_new(fixture.publisher, "thing", &record, &error), LOCKSTEP_OK);
    cr_assert_eq(lockstep_record_put(record, "k", 1, &error), LOCKSTEP_OK);
}

static void teardown(void)
{
    lockstep_record_free(record);
    fixture_stop(&fixture);
}

TestSuite(record, .init = setup, .fini = teardown, .timeout = 60);

static void refused(enum lockstep_code code, const char *field, const char *limit)
{
    cr_assert_eq(code, LOCKSTEP_INVALID);
    cr_assert_eq(error.code, LOCKSTEP_INVALID);
    cr_assert_not_null(strstr(error.text, field), "%s", error.text);
    cr_assert_not_null(strstr(error.text, limit), "%s", error.text);
}

Test(record, setters_name_field_and_limit_at_once)
{
    static const char *const too_many[] = {"a", "b", "c"};
    static const char *const too_long[] = {"a", "123456"};
    LS_CLEANUP_FREE char *text = ls_malloc(40000);
    memset(text, 'x', 40000);
    refused(lockstep_record_set_string(record, "s", text, 8001, &error), "(s)", "8000");
    refused(lockstep_record_set_string(record, "s", text, 40000, &error), "(s)", "8000");
    refused(lockstep_record_set_string(record, "s", "\xff", 1, &error), "(s)", "UTF-8");
    refused(lockstep_record_set_string(record, "zip", "x", 1, &error), "zip", "no such field");
    refused(lockstep_record_set_string(record, "id", "x", 1, &error), "id", "key");
    refused(lockstep_record_set_int(record, "s", 1, &error), "s", "string, not int");
    refused(lockstep_record_set_float(record, "f", NAN, &error), "(f)", "finite");
    refused(lockstep_record_set_list(record, "l", too_many, NULL, 3, &error), "(l)", "2");
    refused(lockstep_record_set_list(record, "l", too_long, NULL, 2, &error), "(l)", "5");
    refused(lockstep_record_set_trace(record, text, 65, &error), "trace", "64");
}

Test(record, keys_are_checked_where_they_are_given)
{
    refused(lockstep_record_put(record, "", 0, &error), "key", "");
    refused(lockstep_record_put(record, "a{b}", 4, &error), "key", "brace");
    refused(lockstep_record_put(record, "a\nb", 3, &error), "key", "control");
    refused(lockstep_publish(fixture.publisher, record, NULL, 0, &error), "empty", "begin it");
}

Test(record, a_delete_has_no_fields)
{
    cr_assert_eq(lockstep_record_delete(record, "k", 1, &error), LOCKSTEP_OK);
    refused(lockstep_record_set_int(record, "i", 1, &error), "i", "only a put");
}

Test(record, of_an_unknown_entity_names_those_there_are)
{
    lockstep_record *none = NULL;
    cr_assert_eq(lockstep_record_new(fixture.publisher, "nothing", &none, &error), LOCKSTEP_SETUP);
    cr_assert_not_null(strstr(error.text, "thing"));
    cr_assert_null(none);
}

/* The newest record of partition, read as any consumer would. */
static rd_kafka_message_t *read_at(int32_t partition, int64_t offset)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    const char *brokers = rd_kafka_mock_cluster_bootstraps(fixture.cluster);
    cr_assert_eq(rd_kafka_conf_set(conf, "bootstrap.servers", brokers, text, sizeof(text)), 0);
    rd_kafka_t *consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    cr_assert_not_null(consumer, "%s", text);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(consumer, FIXTURE_TOPIC, NULL);
    cr_assert_eq(rd_kafka_consume_start(topic, partition, offset), 0);
    rd_kafka_message_t *message = rd_kafka_consume(topic, partition, LONG_MS);
    cr_assert_not_null(message);
    cr_assert_eq(message->err, RD_KAFKA_RESP_ERR_NO_ERROR);
    static char copy[4096];
    cr_assert_leq(message->len, sizeof(copy));
    rd_kafka_message_t *kept = ls_malloc(sizeof(*kept));
    *kept = *message;
    kept->payload = memcpy(copy, message->payload, message->len);
    rd_kafka_message_destroy(message);
    rd_kafka_consume_stop(topic, partition);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(consumer);
    return kept;
}

static void publish_and_decode(struct ls_schema *schema, struct ls_arena *arena,
                               struct ls_envelope *envelope, struct ls_value **values)
{
    cr_assert_eq(lockstep_publish(fixture.publisher, record, NULL, LONG_MS, &error), LOCKSTEP_OK,
                 "%s", error.text);
    cr_assert_eq(lockstep_publisher_flush(fixture.publisher, LONG_MS, NULL, &error), LOCKSTEP_OK);
    const struct fixture_delivery *seen = &fixture.seen[atomic_load(&fixture.n_seen) - 1];
    rd_kafka_message_t *message = read_at(seen->partition, seen->offset);
    struct ls_err err = {0};
    cr_assert_eq(
        ls_wire_decode(schema, message->payload, message->len, arena, envelope, values, &err), 0,
        "%s", err.text);
    free(message);
}

Test(record, stands_in_the_log_as_it_was_built)
{
    static const char *const items[] = {"a", ""};
    struct ls_schema *schema;
    struct ls_err err = {0};
    cr_assert_eq(ls_schema_read(fixture.schema_path, &schema, &err), 0);
    char text[] = "héllo";
    lockstep_record_set_string(record, "s", text, strlen(text), &error);
    memset(text, '?', strlen(text)); /* what was set is a copy */
    lockstep_record_set_int(record, "i", INT64_MIN, &error);
    lockstep_record_set_float(record, "f", -0.0, &error);
    lockstep_record_set_bool(record, "b", true, &error);
    lockstep_record_set_list(record, "l", items, NULL, 2, &error);
    lockstep_record_set_trace(record, "trace-1", 7, &error);
    lockstep_record_set_change_time(record, 1234567);

    struct ls_arena arena = {0};
    struct ls_envelope envelope;
    struct ls_value *values;
    publish_and_decode(schema, &arena, &envelope, &values);
    cr_assert_eq(envelope.op, LS_OP_PUT);
    cr_assert_eq(envelope.time_us, 1234567);
    cr_assert_eq(envelope.origin.len, strlen("mock-test"));
    cr_assert_eq(memcmp(envelope.trace.data, "trace-1", 7), 0);
    cr_assert_eq(values[0].text.len, strlen("héllo"));
    cr_assert_eq(memcmp(values[0].text.data, "héllo", values[0].text.len), 0);
    cr_assert_eq(values[1].number, INT64_MIN);
    cr_assert_not(signbit(values[2].real));
    cr_assert_eq(values[3].number, 1);
    cr_assert_not(values[4].present, "a field that is not set is absent");
    cr_assert_eq(values[5].count, 2);

    cr_assert_eq(lockstep_record_delete(record, "k", 1, &error), LOCKSTEP_OK);
    publish_and_decode(schema, &arena, &envelope, &values);
    cr_assert_eq(envelope.op, LS_OP_DELETE);
    cr_assert_eq(envelope.trace.len, 0, "a record begun anew keeps nothing");
    cr_assert_null(values);
    ls_arena_free(&arena);
    ls_schema_free(schema);
}

static void refuse_property(const char *name, const char *value, const char *reason)
{
    struct lockstep_entity entity = {.schema_file = fixture.schema_path};
    struct lockstep_property property = {name, value};
    struct lockstep_options options = LOCKSTEP_OPTIONS_INIT;
    options.brokers = "localhost:1";
    options.entities = &entity;
    options.n_entities = 1;
    options.properties = &property;
    options.n_properties = 1;
    options.origin = "mock-test";
    lockstep_publisher *none = NULL;
    cr_assert_eq(lockstep_publisher_open(&options, &none, &error), LOCKSTEP_SETUP);
    cr_assert_null(none);
    cr_assert_not_null(strstr(error.text, name), "%s", error.text);
    cr_assert_not_null(strstr(error.text, reason), "%s", error.text);
    cr_assert_null(strstr(error.text, "s3cret"), "%s", error.text);
}

Test(record, options_that_would_break_the_promises_are_refused)
{
    refuse_property("acks", "1", "leave it out");
    refuse_property("enable.idempotence", "false", "leave it out");
    refuse_property("partitioner", "random", "leave it out");
    refuse_property("no.such.thing", "s3cret", "no such property");
    refuse_property("linger.ms", "s3cret", "not a value");
}
