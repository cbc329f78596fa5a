/*
 * Kafka as the pipeline uses it: error classes, clients and their properties, reading small topics,
 * the released schema. A missing topic is tested live: the mock cluster makes every topic that is
 * asked for.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "mock_kafka.h"
#include "pipeline/ends.h"
#include "pipeline/kafka.h"
#include "pipeline/kafka_property.h"
#include "pipeline/schema_release.h"
#include "pipeline/topics.h"

#define STATE "member.state.1"

static struct mock_kafka mock;

static void start(void)
{
    ls_log_set_level(LS_LOG_ERROR); /* the mock cluster lacks things that clients warn of */
    mock_kafka_start(&mock);
}

static void stop(void)
{
    mock_kafka_stop(&mock);
}

TestSuite(kafka, .init = start, .fini = stop);

Test(kafka, errors_have_the_class_of_what_heals_them)
{
    static const struct {
        rd_kafka_resp_err_t code;
        enum ls_err_class class;
    } cases[] = {
        {RD_KAFKA_RESP_ERR__TRANSPORT, LS_ERR_RETRY},
        {RD_KAFKA_RESP_ERR__TIMED_OUT, LS_ERR_RETRY},
        {RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, LS_ERR_RETRY},
        {RD_KAFKA_RESP_ERR__RESOLVE, LS_ERR_RETRY},
        {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, LS_ERR_RETRY},
        {RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, LS_ERR_RETRY},
        {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, LS_ERR_RETRY},
        {RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, LS_ERR_RETRY},
        {RD_KAFKA_RESP_ERR__QUEUE_FULL, LS_ERR_RETRY},
        {RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, LS_ERR_RETRY},
        {RD_KAFKA_RESP_ERR__AUTHENTICATION, LS_ERR_FATAL},
        {RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED, LS_ERR_FATAL},
        {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, LS_ERR_FATAL},
        {RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, LS_ERR_FATAL},
        {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, LS_ERR_FATAL},
        {RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, LS_ERR_FATAL},
        {RD_KAFKA_RESP_ERR__FATAL, LS_ERR_FATAL},
        {RD_KAFKA_RESP_ERR__FENCED, LS_ERR_FATAL},
        {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, LS_ERR_POISON},
        {RD_KAFKA_RESP_ERR_NO_ERROR, LS_ERR_NONE},
    };
    for (size_t i = 0; i < LS_COUNT(cases); i++)
        cr_expect_eq(ls_kafka_class(cases[i].code), cases[i].class, "%s",
                     rd_kafka_err2name(cases[i].code));
    struct ls_err err = {0};
    cr_expect_eq(ls_kafka_err(&err, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "topic %s", "t"), -1);
    cr_expect_eq(err.code, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    cr_expect_str_eq(err.name, "UNKNOWN_TOPIC_OR_PART");
    cr_expect_str_eq(err.text, "topic t: Broker: Unknown topic or partition; `lockstep topics "
                               "create` makes the topics, and a state topic that was there "
                               "before needs the next generation");
}

Test(kafka, client_refuses_a_property_that_is_none)
{
    const char *extra[] = {"no.such.property", "1", NULL};
    struct ls_err err = {0};
    cr_expect_null(ls_kafka_client(&mock.config, RD_KAFKA_PRODUCER, "test", NULL, extra, &err));
    cr_expect_eq(err.class, LS_ERR_FATAL);
    cr_expect_str_eq(err.text, "kafka: librdkafka has no property 'no.such.property'");
}

static void expect_property(rd_kafka_t *client, const char *name, const char *expected)
{
    char value[64] = "";
    size_t size = sizeof(value);
    cr_expect_eq(rd_kafka_conf_get(rd_kafka_conf(client), name, value, &size), RD_KAFKA_CONF_OK);
    cr_expect_str_eq(value, expected, "%s is %s", name, value);
}

Test(kafka, each_client_is_given_the_properties_of_its_type_alone)
{
    struct ls_property properties[] = {
        {(char *)(uintptr_t) "linger.ms", (char *)(uintptr_t) "7"},
        {(char *)(uintptr_t) "fetch.min.bytes", (char *)(uintptr_t) "3"},
        {(char *)(uintptr_t) "socket.timeout.ms", (char *)(uintptr_t) "5000"},
    };
    mock.config.properties = properties;
    mock.config.n_properties = LS_COUNT(properties);
    struct ls_err err = {0};
    rd_kafka_t *producer =
        ls_kafka_client(&mock.config, RD_KAFKA_PRODUCER, "test", NULL, NULL, &err);
    rd_kafka_t *consumer =
        ls_kafka_client(&mock.config, RD_KAFKA_CONSUMER, "test", NULL, NULL, &err);
    cr_assert(producer != NULL && consumer != NULL, "%s", err.text);
    expect_property(producer, "linger.ms", "7");
    expect_property(producer, "fetch.min.bytes", "1");
    expect_property(producer, "socket.timeout.ms", "5000");
    expect_property(consumer, "linger.ms", "5");
    expect_property(consumer, "fetch.min.bytes", "3");
    expect_property(consumer, "socket.timeout.ms", "5000");
    rd_kafka_destroy(producer);
    rd_kafka_destroy(consumer);
    mock.config.n_properties = 0;
}

Test(kafka, a_property_is_for_those_that_librdkafka_says)
{
    static const struct {
        const char *name;
        bool producer, consumer;
    } cases[] = {
        {"linger.ms", true, false},
        {"compression.type", true, false},
        {"message.timeout.ms", true, false}, /* of topics */
        {"fetch.min.bytes", false, true},
        {"session.timeout.ms", false, true},
        {"security.protocol", true, true},
        {"linger", true, true}, /* none: told by whoever sets it */
    };
    for (size_t i = 0; i < LS_COUNT(cases); i++) {
        cr_expect_eq(ls_kafka_property_is_for(cases[i].name, RD_KAFKA_PRODUCER), cases[i].producer,
                     "%s", cases[i].name);
        cr_expect_eq(ls_kafka_property_is_for(cases[i].name, RD_KAFKA_CONSUMER), cases[i].consumer,
                     "%s", cases[i].name);
    }
}

Test(kafka, clients_keep_the_laws_and_extra_properties_win)
{
    struct ls_property property = {(char *)(uintptr_t) "linger.ms", (char *)(uintptr_t) "7"};
    mock.config.properties = &property;
    mock.config.n_properties = 1;
    const char *extra[] = {"linger.ms", "9", NULL};
    struct ls_err err = {0};
    rd_kafka_t *producer =
        ls_kafka_client(&mock.config, RD_KAFKA_PRODUCER, "test", NULL, NULL, &err);
    cr_assert_not_null(producer, "%s", err.text);
    expect_property(producer, "client.id", "lockstep-test");
    expect_property(producer, "enable.idempotence", "true");
    expect_property(producer, "allow.auto.create.topics", "false");
    expect_property(producer, "linger.ms", "7");
    rd_kafka_destroy(producer);
    rd_kafka_t *other = ls_kafka_client(&mock.config, RD_KAFKA_PRODUCER, "test", NULL, extra, &err);
    cr_assert_not_null(other, "%s", err.text);
    expect_property(other, "linger.ms", "9");
    rd_kafka_destroy(other);
    mock.config.n_properties = 0;
    const char *group[] = {"group.id", "g", NULL};
    rd_kafka_t *consumer =
        ls_kafka_client(&mock.config, RD_KAFKA_CONSUMER, "test", NULL, group, &err);
    cr_assert_not_null(consumer, "%s", err.text);
    expect_property(consumer, "enable.auto.commit", "false");
    expect_property(consumer, "isolation.level", "read_committed");
    expect_property(consumer, "auto.offset.reset", "smallest"); /* librdkafka's name of earliest */
    rd_kafka_destroy(consumer);
}

struct seen {
    unsigned count[4];
    unsigned ordered; /* messages at the offset that was expected next */
};

static void count_message(void *opaque, const rd_kafka_message_t *message)
{
    struct seen *seen = opaque;
    cr_assert_eq(message->err, RD_KAFKA_RESP_ERR_NO_ERROR);
    seen->ordered += message->offset == seen->count[message->partition]++;
}

Test(kafka, reads_every_record_of_all_partitions_once)
{
    mock_kafka_topic(&mock, "small", 4);
    for (int i = 0; i < 30; i++)
        mock_kafka_put_text(&mock, "small", i % 3, "k", "v"); /* partition 3 stays empty */
    struct seen seen = {0};
    struct ls_err err = {0};
    cr_assert_eq(
        ls_kafka_read_all(&mock.config, "small", LS_KAFKA_TIMEOUT_MS, count_message, &seen, &err),
        0, "%s", err.text);
    cr_expect_eq(seen.count[0], 10);
    cr_expect_eq(seen.count[1], 10);
    cr_expect_eq(seen.count[2], 10);
    cr_expect_eq(seen.count[3], 0);
    cr_expect_eq(seen.ordered, 30);
}

Test(kafka, reads_on_after_errors_that_heal)
{
    mock_kafka_topic(&mock, "small", 1);
    for (int i = 0; i < 10; i++)
        mock_kafka_put_text(&mock, "small", 0, "k", "v");
    rd_kafka_mock_push_request_errors(mock.cluster, 1 /* Fetch */, 2,
                                      RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
                                      RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
    struct seen seen = {0};
    struct ls_err err = {0};
    cr_assert_eq(
        ls_kafka_read_all(&mock.config, "small", LS_KAFKA_TIMEOUT_MS, count_message, &seen, &err),
        0, "%s", err.text);
    cr_expect_eq(seen.count[0], 10);
    cr_expect_eq(seen.ordered, 10);
}

Test(kafka, a_partition_without_a_leader_yet_is_asked_again)
{
    mock_kafka_topic(&mock, "small", 1);
    mock_kafka_put_text(&mock, "small", 0, "k", "v");
    struct ls_err err = {0};
    int64_t first = -1, end = -1;
    rd_kafka_t *client = ls_kafka_client(&mock.config, RD_KAFKA_PRODUCER, "test", NULL, NULL, &err);
    cr_assert_not_null(client, "%s", err.text);
    /* the client tries each request a few times itself */
    enum { TIMES = 8 };
    rd_kafka_resp_err_t errors[TIMES];
    for (int i = 0; i < TIMES; i++)
        errors[i] = RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    rd_kafka_mock_push_request_errors_array(mock.cluster, 2 /* ListOffsets */, TIMES, errors);
    cr_assert_eq(
        ls_kafka_ranges(client, "small", &(int32_t){0}, 1, LS_KAFKA_TIMEOUT_MS, &first, &end, &err),
        0, "%s", err.text);
    cr_expect_eq(first, 0);
    cr_expect_eq(end, 1);
    rd_kafka_destroy(client);
}

static uint32_t released(char **ret_json)
{
    uint32_t version = 99;
    struct ls_err err = {0};
    cr_assert_eq(
        ls_schema_released(&mock.config, "member", LS_KAFKA_TIMEOUT_MS, &version, ret_json, &err),
        0, "%s", err.text);
    return version;
}

Test(kafka, released_schema_is_the_newest_record_of_its_entity)
{
    mock_kafka_topic(&mock, LS_TOPIC_CONTROL, 1);
    cr_expect_eq(released(NULL), 0);
    mock_kafka_put_text(&mock, LS_TOPIC_CONTROL, 0, "schema/member", "{\"version\": 1}");
    mock_kafka_put_text(&mock, LS_TOPIC_CONTROL, 0, "schema/member", "{\"version\": 3}");
    mock_kafka_put_text(&mock, LS_TOPIC_CONTROL, 0, "schema/members", "{\"version\": 7}");
    mock_kafka_put_text(&mock, LS_TOPIC_CONTROL, 0, "heartbeat/member/es/x", "{}");
    LS_CLEANUP_FREE char *json = NULL;
    cr_expect_eq(released(&json), 3);
    cr_expect_str_eq(json, "{\"version\": 3}");
    mock_kafka_put(&mock, LS_TOPIC_CONTROL, 0, "schema/member", NULL, 0);
    cr_expect_eq(released(NULL), 0, "taken back");
}

Test(kafka, released_schema_that_is_garbage_is_fatal)
{
    mock_kafka_topic(&mock, LS_TOPIC_CONTROL, 1);
    mock_kafka_put_text(&mock, LS_TOPIC_CONTROL, 0, "schema/member", "{\"version\": \"one\"}");
    uint32_t version = 99;
    struct ls_err err = {0};
    cr_expect_eq(
        ls_schema_released(&mock.config, "member", LS_KAFKA_TIMEOUT_MS, &version, NULL, &err), -1);
    cr_expect_eq(err.class, LS_ERR_FATAL);
    cr_expect_eq(version, 99);
}

static struct ls_schema *schema_of(int version, const char *type)
{
    LS_CLEANUP_FREE char *text =
        ls_asprintf("entity: member\nversion: %d\nredis_prefix: m\nexpected_records: 1000\n"
                    "average_bytes: 100\nfields:\n"
                    "  - {number: 1, name: id, type: string, key: true}\n"
                    "  - {number: 2, name: points, type: %s}\n",
                    version, type);
    struct ls_schema *schema = NULL;
    struct ls_err err = {0};
    cr_assert_eq(ls_schema_parse("member.yaml", text, strlen(text), &schema, &err), 0, "%s",
                 err.text);
    return schema;
}

Test(kafka, schema_is_released_once_and_never_incompatibly)
{
    mock_kafka_topic(&mock, LS_TOPIC_CONTROL, 1);
    struct ls_schema *first = schema_of(1, "int");
    struct ls_schema *changed = schema_of(2, "bool");
    bool fresh = false;
    struct ls_err err = {0};
    cr_assert_eq(ls_schema_release(&mock.config, first, &fresh, &err), 0, "%s", err.text);
    cr_expect(fresh);
    cr_assert_eq(ls_schema_release(&mock.config, first, &fresh, &err), 0, "%s", err.text);
    cr_expect_not(fresh);
    cr_expect_eq(ls_schema_release(&mock.config, changed, &fresh, &err), -1);
    cr_expect_eq(err.code, LS_SCHEMA_INCOMPATIBLE);
    cr_expect_eq(strncmp(err.text, "member.yaml:8: ", 15), 0, "%s", err.text);
    cr_expect_eq(released(NULL), 1);
    ls_schema_free(first);
    ls_schema_free(changed);
}

static int check_log(rd_kafka_t *client, struct ls_err *err)
{
    enum { TIMEOUT_MS = 1000 };
    struct ls_log_position position = {.offset = 5, .at_ms = 1700000000000};
    const struct ls_log_position *wrong = NULL;
    int rc = ls_kafka_check_log(&mock.config, client, STATE, &position, 1, TIMEOUT_MS, &wrong, err);
    cr_expect_null(wrong);
    return rc;
}

Test(kafka, log_is_asked_of_its_new_leader_once_the_old_one_is_gone)
{
    rd_kafka_mock_cluster_t *pair = rd_kafka_mock_cluster_new(mock.owner, 2);
    mock.config.brokers = (char *)(uintptr_t)rd_kafka_mock_cluster_bootstraps(pair);
    rd_kafka_mock_topic_create(pair, STATE, 1, 2);
    rd_kafka_mock_partition_set_leader(pair, STATE, 0, 1);
    struct ls_err err = {0};
    rd_kafka_t *client = ls_kafka_client(&mock.config, RD_KAFKA_PRODUCER, "test", NULL, NULL, &err);
    cr_assert_not_null(client, "%s", err.text);
    cr_assert_eq(check_log(client, &err), 0, "%s", err.text);

    /* The others take it for the leader a while longer, and are asked only then. */
    rd_kafka_mock_broker_set_down(pair, 1);
    cr_assert_eq(check_log(client, &err), -1);
    cr_expect_eq(err.class, LS_ERR_RETRY);
    rd_kafka_mock_partition_set_leader(pair, STATE, 0, 2);
    int rc = -1;
    for (int i = 0; i < 3 && rc < 0; i++)
        rc = check_log(client, &err);
    cr_expect_eq(rc, 0, "%s", err.text);
    rd_kafka_destroy(client);
    rd_kafka_mock_cluster_destroy(pair);
}
