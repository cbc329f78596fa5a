/*
 * The log's identity, and who makes it: reading and writing genesis records, and what `topics
 * create` refuses to make again.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "mock_kafka.h"
#include "pipeline/kafka.h"
#include "pipeline/topics.h"
#include "pipeline/topics_admin.h"
#include "schema/key.h"

#define UUID_A "0b9d2a5e-3c1f-4b7a-9d68-1f2e3d4c5b6a"
#define UUID_B "77777777-7777-4777-8777-777777777777"
#define STATE  "member.state.1"

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

TestSuite(topics, .init = start, .fini = stop);

static void put_genesis_of(const char *topic, int32_t partition, const char *uuid,
                           int32_t partitions)
{
    struct ls_genesis genesis = {.partition = partition,
                                 .partitions = partitions,
                                 .generation = 1,
                                 .created_us = 1700000000000000};
    snprintf(genesis.uuid, sizeof(genesis.uuid), "%s", uuid);
    snprintf(genesis.topic, sizeof(genesis.topic), "%s", topic);
    mock_kafka_put_genesis(&mock, STATE, &genesis);
}

static void put_genesis(int32_t partition, const char *uuid, int32_t partitions)
{
    put_genesis_of(STATE, partition, uuid, partitions);
}

Test(topics, genesis_is_the_one_of_all_partitions)
{
    mock_kafka_topic(&mock, STATE, 4);
    for (int32_t p = 0; p < 4; p++) {
        put_genesis(p, UUID_A, 4);
        mock_kafka_put_text(&mock, STATE, p, "a", "record");
    }
    struct ls_genesis genesis[4];
    struct ls_err err = {0};
    cr_assert_eq(ls_kafka_genesis(&mock.config, &mock.entity, genesis, &err), 0, "%s", err.text);
    for (int32_t p = 0; p < 4; p++) {
        cr_expect_str_eq(genesis[p].uuid, UUID_A);
        cr_expect_eq(genesis[p].partition, p);
    }
}

static void expect_no_genesis(const char *expected)
{
    struct ls_genesis genesis[4] = {0};
    struct ls_err err = {0};
    cr_expect_eq(ls_kafka_genesis(&mock.config, &mock.entity, genesis, &err), -1);
    cr_expect_eq(err.class, LS_ERR_FATAL, "%s", err.text);
    cr_expect(strstr(err.text, expected), "\n   found: %s\nexpected: %s", err.text, expected);
    cr_expect_eq(genesis[0].uuid[0], '\0', "nothing is given back on failure");
}

Test(topics, genesis_of_another_number_of_partitions_is_refused)
{
    mock_kafka_topic(&mock, STATE, 2);
    expect_no_genesis("member.state.1 has 2 partitions, and lockstep.yaml says 4");
}

Test(topics, genesis_that_one_partition_lacks_is_refused)
{
    mock_kafka_topic(&mock, STATE, 4);
    for (int32_t p = 0; p < 3; p++)
        put_genesis(p, UUID_A, 4);
    mock_kafka_put_text(&mock, STATE, 3, "a", "record");
    expect_no_genesis("member.state.1/3 has no genesis record; `lockstep topics create`");
}

Test(topics, genesis_records_that_disagree_are_refused)
{
    mock_kafka_topic(&mock, STATE, 4);
    for (int32_t p = 0; p < 4; p++)
        put_genesis(p, p == 2 ? UUID_B : UUID_A, 4);
    expect_no_genesis("partitions 0 and 2 have different genesis records");
}

Test(topics, genesis_of_another_log_is_refused)
{
    mock_kafka_topic(&mock, STATE, 4);
    for (int32_t p = 0; p < 4; p++)
        put_genesis_of("order.state.1", p, UUID_A, 4);
    expect_no_genesis("it is a copy of another log");
}

Test(topics, genesis_that_is_garbage_is_refused_with_its_place)
{
    mock_kafka_topic(&mock, STATE, 4);
    mock_kafka_put_text(&mock, STATE, 0, "a", "record");
    mock_kafka_put_text(&mock, STATE, 0, LS_GENESIS_KEY, "garbage");
    expect_no_genesis("member.state.1/0 offset 1: genesis record");
}

static void expect_written(int32_t expected, const char *uuid)
{
    int32_t written = -1;
    char found[37] = "";
    struct ls_err err = {0};
    cr_assert_eq(ls_topics_write_genesis(&mock.config, &mock.entity, &written, found, &err), 0,
                 "%s", err.text);
    cr_expect_eq(written, expected, "%d written", written);
    if (uuid)
        cr_expect_str_eq(found, uuid);
}

Test(topics, genesis_is_written_once_to_every_partition)
{
    mock_kafka_topic(&mock, STATE, 4);
    expect_written(4, NULL);
    struct ls_genesis genesis[4];
    struct ls_err err = {0};
    cr_assert_eq(ls_kafka_genesis(&mock.config, &mock.entity, genesis, &err), 0, "%s", err.text);
    expect_written(0, genesis[0].uuid);
}

Test(topics, genesis_of_an_interrupted_creation_is_completed_with_its_uuid)
{
    mock_kafka_topic(&mock, STATE, 4);
    put_genesis(2, UUID_A, 4);
    mock_kafka_put_text(&mock, STATE, 0, "a", "record");
    expect_written(3, UUID_A);
    struct ls_genesis genesis[4];
    struct ls_err err = {0};
    cr_assert_eq(ls_kafka_genesis(&mock.config, &mock.entity, genesis, &err), 0, "%s", err.text);
}

Test(topics, genesis_is_not_written_beside_one_that_disagrees)
{
    mock_kafka_topic(&mock, STATE, 4);
    put_genesis(0, UUID_A, 4);
    put_genesis(1, UUID_B, 4);
    int32_t written = 0;
    char uuid[37];
    struct ls_err err = {0};
    cr_expect_eq(ls_topics_write_genesis(&mock.config, &mock.entity, &written, uuid, &err), -1);
    cr_expect_eq(err.class, LS_ERR_FATAL);
    cr_expect(strstr(err.text, "member.state.1/1 has the genesis record of another log"), "%s",
              err.text);
}

static void ignore_made(void *opaque, const char *topic, bool made, const char *line)
{
    (void)opaque, (void)topic, (void)made, (void)line;
}

static void expect_not_created(const char *const *new_logs, const char *expected)
{
    struct ls_err err = {0};
    cr_expect_eq(ls_topics_create(&mock.config, new_logs, ignore_made, NULL, &err), -1);
    cr_expect(strstr(err.text, expected), "\n   found: %s\nexpected: %s", err.text, expected);
}

static void set_topic_error(const char *topic, rd_kafka_resp_err_t code)
{
    mock_kafka_topic(&mock, topic, 1); /* else the mock cluster makes it when it is asked for */
    rd_kafka_mock_topic_set_error(mock.cluster, topic, code);
}

Test(topics, a_log_that_access_rules_hide_is_not_called_deleted)
{
    mock_kafka_topic(&mock, LS_TOPIC_CONTROL, 1);
    mock_kafka_put_text(&mock, LS_TOPIC_CONTROL, 0, "log/" STATE, "{\"genesis\":\"" UUID_A "\"}");
    set_topic_error(STATE, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    expect_not_created(NULL, "member.state.1 is hidden from this user by Kafka's access rules");
    rd_kafka_mock_topic_set_error(mock.cluster, STATE, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    expect_not_created(NULL, "member.state.1 was deleted");
}

Test(topics, logs_of_two_entities_that_are_gone_may_be_new_together_and_not_alone)
{
    static const char known[] = "{\"genesis\":\"" UUID_A "\"}";
    struct ls_entity_config entities[] = {mock.entity, mock.entity};
    entities[1].name = (char *)(uintptr_t) "order";
    mock.config.entities = entities;
    mock.config.n_entities = LS_COUNT(entities);
    mock_kafka_topic(&mock, LS_TOPIC_CONTROL, 1);
    mock_kafka_put_text(&mock, LS_TOPIC_CONTROL, 0, "log/" STATE, known);
    mock_kafka_put_text(&mock, LS_TOPIC_CONTROL, 0, "log/order.state.1", known);
    set_topic_error(STATE, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    set_topic_error("order.state.1", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    static const char both[] = "`lockstep topics create --new-log member --new-log order`";
    expect_not_created(NULL, both);
    expect_not_created((const char *[]){"member", NULL}, both);
    expect_not_created((const char *[]){"order", NULL}, both);
    /* The mock cluster makes no topics: it was asked to. */
    expect_not_created((const char *[]){"order", "member", NULL}, "creating topics");
}

Test(topics, partitions_that_were_added_get_no_genesis)
{
    static const char expected[] =
        "member.state.1 was made with 2 partitions, as its genesis record says, and has 4 now; a "
        "log never changes their number: its keys would go astray. Set entities.member.generation "
        "to 2";
    mock_kafka_topic(&mock, STATE, 4);
    mock_kafka_topic(&mock, LS_TOPIC_CONTROL, 1);
    put_genesis(0, UUID_A, 2);
    put_genesis(1, UUID_A, 2);
    expect_not_created(NULL, expected);
    expect_no_genesis(expected);
    struct ls_genesis genesis[4];
    bool found[4];
    struct ls_err err = {0};
    cr_assert_eq(ls_kafka_find_genesis(&mock.config, STATE, 4, genesis, found, &err), 0, "%s",
                 err.text);
    cr_expect_not(found[2]);
    cr_expect_not(found[3]);
}
