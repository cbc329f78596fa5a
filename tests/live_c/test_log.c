/*
 * Law 7 on a real broker: whether a log is still the one that was read. The topic is the test's
 * own and is deleted at its end.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdlib.h>

#include "base/mem.h"
#include "kafka_fixture.h"
#include "pipeline/ends.h"
#include "pipeline/topics_admin.h"

enum { PARTITIONS = 2, WAIT_MS = 30000, TRIES = 300 };

static struct ls_config *stack;
static struct ls_config config;
static struct ls_entity_config entity;
static char topic[LS_TOPIC_NAME_MAX];
static rd_kafka_t *client;

static void on_made(void *opaque, const char *name, bool made, const char *line)
{
    (void)opaque, (void)name, (void)made, (void)line;
}

static void make_topic(void)
{
    struct ls_err err = {0};
    const char *const new_logs[] = {entity.name, NULL};
    /* A topic that is being deleted refuses its name for a moment. */
    for (int i = 0; i < TRIES; i++) {
        if (ls_topics_create(&config, new_logs, on_made, NULL, &err) == 0)
            return;
        poll(NULL, 0, 100);
    }
    cr_assert_fail("%s", err.text);
}

static void setup(void)
{
    const char *path = getenv("LOCKSTEP_CONFIG");
    struct ls_err err = {0};
    cr_assert_not_null(path, "LOCKSTEP_CONFIG must name the local stack's configuration");
    cr_assert_eq(ls_config_read(path, &stack, &err), 0, "%s", err.text);
    entity = (struct ls_entity_config){.name = kafka_own_entity("lt_log"),
                                       .generation = 1,
                                       .partitions = PARTITIONS,
                                       .replication = 1};
    config = *stack;
    config.entities = &entity;
    config.n_entities = 1;
    config.n_sinks = 0;
    ls_topic_state(&entity, topic);
    client = ls_kafka_client(&config, RD_KAFKA_PRODUCER, "test", NULL, NULL, &err);
    cr_assert_not_null(client, "%s", err.text);
    make_topic();
}

static void delete_topic(void)
{
    kafka_delete_topics(client, &(const char *){topic}, 1);
}

static void teardown(void)
{
    delete_topic();
    rd_kafka_destroy(client);
    free(entity.name);
    ls_config_free(stack);
}

TestSuite(log, .init = setup, .fini = teardown, .timeout = 120);

static void on_delivered(rd_kafka_t *kafka, const rd_kafka_message_t *message, void *opaque)
{
    (void)kafka, (void)opaque;
    cr_assert_eq(message->err, RD_KAFKA_RESP_ERR_NO_ERROR, "%s", rd_kafka_err2str(message->err));
}

/* Where partition 0 ends, of what is committed. */
static int64_t end_of_first(void)
{
    struct ls_err err = {0};
    int64_t end = 0;
    cr_assert_eq(
        ls_kafka_ranges(client, topic, &(int32_t){0}, 1, LS_KAFKA_TIMEOUT_MS, NULL, &end, &err), 0,
        "%s", err.text);
    return end;
}

/* n records of a writer of its own, into partition 0; transactional ones are committed. */
static void put(int n, bool transactional)
{
    struct ls_err err = {0};
    int64_t before = end_of_first();
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivered);
    const char *extra[] = {transactional ? "transactional.id" : NULL, topic, NULL};
    rd_kafka_t *writer = ls_kafka_client(&config, RD_KAFKA_PRODUCER, "test", conf, extra, &err);
    cr_assert_not_null(writer, "%s", err.text);
    if (transactional) {
        cr_assert_null(rd_kafka_init_transactions(writer, WAIT_MS));
        cr_assert_null(rd_kafka_begin_transaction(writer));
    }
    for (int i = 0; i < n; i++)
        cr_assert_eq(rd_kafka_producev(writer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
                                       RD_KAFKA_V_KEY("k", 1),
                                       RD_KAFKA_V_VALUE((void *)(uintptr_t) "v", 1),
                                       RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    if (transactional)
        cr_assert_null(rd_kafka_commit_transaction(writer, WAIT_MS));
    cr_assert_eq(rd_kafka_flush(writer, WAIT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_destroy(writer);
    /* A commit is answered before the partition has its end, and until then nobody sees it. */
    while (end_of_first() < before + n + (transactional ? 1 : 0))
        poll(NULL, 0, 5);
}

static void take_position(void *opaque, const rd_kafka_message_t *message)
{
    struct ls_log_position *position = opaque;
    int64_t at_ms = rd_kafka_message_timestamp(message, NULL);
    if (message->partition == 0 && at_ms > position->at_ms)
        position->at_ms = at_ms;
}

/* As a mark at the very end of partition 0 would have it: control records are behind it, too. */
static struct ls_log_position position_at_end(void)
{
    struct ls_log_position position = {.partition = 0};
    struct ls_err err = {0};
    cr_assert_eq(
        ls_kafka_read_all(&config, topic, LS_KAFKA_TIMEOUT_MS, take_position, &position, &err), 0,
        "%s", err.text);
    position.offset = end_of_first() - 1;
    return position;
}

static bool holds(struct ls_log_position *positions, size_t n)
{
    const struct ls_log_position *wrong = NULL;
    struct ls_err err = {0};
    cr_assert_eq(ls_kafka_check_log(&config, client, topic, positions, n, WAIT_MS, &wrong, &err), 0,
                 "%s", err.text);
    cr_expect(wrong == NULL || wrong == &positions[0]);
    return wrong == NULL;
}

Test(log, that_only_grew_is_the_same)
{
    struct ls_genesis genesis[PARTITIONS];
    struct ls_err err = {0};
    cr_assert_eq(ls_kafka_genesis(&config, &entity, genesis, &err), 0, "%s", err.text);
    put(10, false);
    struct ls_log_position positions[PARTITIONS];
    positions[0] = position_at_end();
    cr_expect_gt(genesis[1].at_ms, 0);
    positions[1] = (struct ls_log_position){
        .partition = 1, .offset = genesis[1].offset, .at_ms = genesis[1].at_ms};
    put(10, false);
    cr_expect(holds(positions, PARTITIONS));
}

Test(log, that_ends_with_the_records_of_a_transaction_is_the_same)
{
    put(3, false);
    poll(NULL, 0, 5); /* so that the end of the transaction is younger than its record */
    put(1, true);
    struct ls_log_position position = position_at_end();
    position.at_ms--; /* what a clock that stood still would have said of the record itself */
    cr_expect_not(holds(&position, 1));
    cr_expect_eq(position.clean, 0, "what is wrong is never remembered as clean");
    position.at_ms++;
    cr_expect(holds(&position, 1));
    cr_expect_gt(position.clean, 0, "the end of the transaction was read");
    cr_expect(holds(&position, 1));
    position.at_ms--;
    cr_expect_not(holds(&position, 1), "a record is elsewhere, so it is read");
}

Test(log, that_was_made_again_and_grew_beyond_the_position_is_another)
{
    struct ls_genesis genesis[PARTITIONS], again[PARTITIONS];
    struct ls_err err = {0};
    cr_assert_eq(ls_kafka_genesis(&config, &entity, genesis, &err), 0, "%s", err.text);
    put(10, false);
    struct ls_log_position positions[2];
    positions[0] = position_at_end();
    delete_topic();
    make_topic();
    put(50, false);
    cr_expect_not(holds(positions, 1));
    positions[0] = (struct ls_log_position){.offset = genesis[0].offset, .at_ms = genesis[0].at_ms};
    cr_expect_not(holds(positions, 1), "its genesis alone shows it");
    cr_assert_eq(ls_kafka_genesis(&config, &entity, again, &err), 0, "%s", err.text);
    cr_expect_str_neq(genesis[0].uuid, again[0].uuid);
}

Test(log, without_a_known_time_is_not_asked)
{
    struct ls_log_position position = {.partition = 0, .offset = 1};
    cr_expect(holds(&position, 1));
}
