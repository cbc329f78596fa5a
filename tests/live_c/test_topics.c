/*
 * Topics on a real broker: creation, its races and repetitions, and what check finds. Each test has
 * an entity of its own and deletes its topics; lockstep.control stays, as the stack has it anyway.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kafka_fixture.h"
#include "pipeline/ends.h"
#include "pipeline/topics_admin.h"

enum { CREATORS = 4, PARTITIONS = 4, WAIT_MS = 30000 };

static struct ls_config *stack; /* the file's */
static struct ls_config
    config; /* the test's: the stack's brokers, an entity and a sink of its own */
static struct ls_entity_config entity;
static struct ls_sink_config sink;

static void setup(void)
{
    const char *path = getenv("LOCKSTEP_CONFIG");
    struct ls_err err = {0};
    cr_assert_not_null(path, "LOCKSTEP_CONFIG must name the local stack's configuration");
    cr_assert_eq(ls_config_read(path, &stack, &err), 0, "%s", err.text);
    entity = (struct ls_entity_config){.name = kafka_own_entity("lt_topics"),
                                       .generation = 3,
                                       .partitions = PARTITIONS,
                                       .replication = 1};
    sink = (struct ls_sink_config){.name = ls_strdup("es-test"), .entity = &entity};
    config = *stack;
    config.entities = &entity;
    config.n_entities = 1;
    config.sinks = &sink;
    config.n_sinks = 1;
}

static rd_kafka_t *client(void)
{
    struct ls_err err = {0};
    rd_kafka_t *made = ls_kafka_client(&config, RD_KAFKA_PRODUCER, "test", NULL, NULL, &err);
    cr_assert_not_null(made, "%s", err.text);
    return made;
}

static void delete_topics(const char *const *names, size_t n)
{
    rd_kafka_t *kafka = client();
    kafka_delete_topics(kafka, names, n);
    rd_kafka_destroy(kafka);
}

static void teardown(void)
{
    char state[LS_TOPIC_NAME_MAX], newer[LS_TOPIC_NAME_MAX], quarantine[LS_TOPIC_NAME_MAX];
    ls_topic_state(&entity, state);
    ls_topic_quarantine(&sink, quarantine);
    entity.generation++;
    ls_topic_state(&entity, newer);
    const char *names[] = {state, newer, quarantine};
    delete_topics(names, LS_COUNT(names));
    free(entity.name);
    free(sink.name);
    ls_config_free(stack);
}

TestSuite(topics, .init = setup, .fini = teardown, .timeout = 120);

/* Makes a topic as somebody who does not know lockstep would. */
static void make_by_hand(const char *name, int partitions, const char *policy)
{
    char text[256];
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(name, partitions, 1, text, sizeof(text));
    cr_assert_not_null(topic, "%s", text);
    rd_kafka_NewTopic_set_config(topic, "cleanup.policy", policy);
    rd_kafka_t *kafka = client();
    rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(kafka, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_AdminOptions_set_operation_timeout(options, WAIT_MS, NULL, 0);
    rd_kafka_CreateTopics(kafka, &topic, 1, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    cr_assert_not_null(event);
    size_t n = 0;
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &n);
    cr_assert_eq(n, 1);
    cr_assert_eq(rd_kafka_topic_result_error(results[0]), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_event_destroy(event);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(kafka);
    rd_kafka_NewTopic_destroy(topic);
}

static void count_made(void *opaque, const char *topic, bool made, const char *line)
{
    if (strcmp(topic, LS_TOPIC_CONTROL) != 0)
        *(int *)opaque += made;
}

static int create(void)
{
    int made = 0;
    struct ls_err err = {0};
    cr_assert_eq(ls_topics_create(&config, NULL, count_made, &made, &err), 0, "%s", err.text);
    return made;
}

/* What check said, a line each: "law <topic> <what>" or "note ...". */
static void add_finding(void *opaque, const struct ls_topic_finding *finding)
{
    ls_buf_printf(opaque, "%s %s %s\n", finding->law ? "law" : "note", finding->topic,
                  finding->what);
}

static size_t check(struct ls_buf *findings)
{
    size_t broken = 0;
    struct ls_err err = {0};
    cr_assert_eq(ls_topics_check(&config, add_finding, findings, &broken, &err), 0, "%s", err.text);
    ls_buf_cstr(findings);
    return broken;
}

static void expect_finding(struct ls_buf *findings, const char *format, const char *topic)
{
    LS_CLEANUP_FREE char *line = ls_asprintf("%s %s ", "law", topic);
    const char *found = strstr(ls_buf_cstr(findings), line);
    bool there = false;
    for (; found && !there; found = strstr(found + 1, line))
        there = strncmp(found + strlen(line), format, strlen(format)) == 0;
    cr_expect(there, "expected '%s%s' among:\n%s", line, format, ls_buf_cstr(findings));
}

Test(topics, are_created_once_and_keep_the_laws)
{
    cr_expect_eq(create(), 3, "state, its genesis, and quarantine");
    struct ls_genesis first[PARTITIONS], second[PARTITIONS];
    struct ls_err err = {0};
    cr_assert_eq(ls_kafka_genesis(&config, &entity, first, &err), 0, "%s", err.text);
    cr_expect_eq(create(), 0, "nothing is made twice");
    cr_assert_eq(ls_kafka_genesis(&config, &entity, second, &err), 0, "%s", err.text);
    cr_expect_str_eq(first[0].uuid, second[0].uuid);
    struct ls_buf findings = {0};
    check(&findings);
    cr_expect_null(strstr(ls_buf_cstr(&findings), "law lt_topics"), "%s", findings.data);
    cr_expect(strstr(ls_buf_cstr(&findings), "has 1 replica"), "one replica is a note");
    ls_buf_free(&findings);
}

static void *create_in_thread(void *opaque)
{
    int made = 0;
    return (void *)(intptr_t)ls_topics_create(&config, NULL, count_made, &made, opaque);
}

/* They shut each other out, look again, and all end with the same identity. */
Test(topics, created_by_several_at_a_time_have_one_identity)
{
    pthread_t threads[CREATORS];
    struct ls_err errs[CREATORS] = {0};
    for (int i = 0; i < CREATORS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, create_in_thread, &errs[i]), 0);
    int succeeded = 0;
    for (int i = 0; i < CREATORS; i++) {
        void *rc;
        pthread_join(threads[i], &rc);
        succeeded += rc == NULL;
    }
    cr_expect_eq(succeeded, CREATORS, "%d: %s %s %s %s", succeeded, errs[0].text, errs[1].text,
                 errs[2].text, errs[3].text);
    struct ls_genesis genesis[PARTITIONS];
    struct ls_err err = {0};
    cr_assert_eq(ls_kafka_genesis(&config, &entity, genesis, &err), 0, "%s", err.text);
    char topic[LS_TOPIC_NAME_MAX];
    ls_topic_state(&entity, topic);
    rd_kafka_t *kafka = client();
    for (int32_t p = 0; p < PARTITIONS; p++) {
        int64_t low = 0, end = 0;
        cr_assert_eq(ls_kafka_ranges(kafka, topic, &p, 1, LS_KAFKA_TIMEOUT_MS, &low, &end, &err), 0,
                     "%s", err.text);
        cr_expect_leq(end, 2, "partition %d: a record and its commit, found %ld", p, (long)end);
    }
    rd_kafka_destroy(kafka);
}

Test(topics, missing_are_named)
{
    struct ls_buf findings = {0};
    char topic[LS_TOPIC_NAME_MAX];
    cr_expect_geq(check(&findings), 2);
    ls_topic_state(&entity, topic);
    expect_finding(&findings, "is missing", topic);
    struct ls_genesis genesis[PARTITIONS];
    struct ls_err err = {0};
    cr_expect_eq(ls_kafka_genesis(&config, &entity, genesis, &err), -1);
    cr_expect_eq(err.class, LS_ERR_FATAL);
    cr_expect(strstr(err.text, "lockstep topics create"), "%s", err.text);
    ls_buf_free(&findings);
}

Test(topics, made_by_hand_are_left_alone_and_what_breaks_a_law_is_named)
{
    char state[LS_TOPIC_NAME_MAX], newer[LS_TOPIC_NAME_MAX];
    ls_topic_state(&entity, state);
    make_by_hand(state, PARTITIONS, "delete");
    entity.generation++;
    ls_topic_state(&entity, newer);
    entity.generation--;
    make_by_hand(newer, 1, "compact");
    struct ls_buf findings = {0};
    check(&findings);
    expect_finding(&findings, "4 of 4 partitions have no genesis record", state);
    cr_expect_eq(create(), 2, "its genesis and the quarantine, but not the topic");
    ls_buf_clear(&findings);
    check(&findings);
    expect_finding(&findings, "cleanup.policy is delete, expected compact", state);
    expect_finding(&findings, "message.timestamp.type is CreateTime, expected LogAppendTime",
                   state);
    expect_finding(&findings, "min.compaction.lag.ms is 0, expected at least 604800000", state);
    expect_finding(&findings, "delete.retention.ms is 86400000, expected at least 2592000000",
                   state);
    expect_finding(&findings, "is a newer generation than 3", newer);
    cr_expect_null(strstr(ls_buf_cstr(&findings), "genesis"), "%s", findings.data);
    ls_buf_free(&findings);
}

Test(topics, with_other_partitions_are_refused_and_get_no_genesis)
{
    char state[LS_TOPIC_NAME_MAX];
    ls_topic_state(&entity, state);
    make_by_hand(state, 2, "compact");
    int made = 0;
    struct ls_err err = {0};
    cr_expect_eq(ls_topics_create(&config, NULL, count_made, &made, &err), -1);
    cr_expect_eq(err.class, LS_ERR_FATAL);
    cr_expect(strstr(err.text, "has 2 partitions"), "%s", err.text);
    struct ls_buf findings = {0};
    check(&findings);
    expect_finding(&findings, "has 2 partitions, the configuration says 4", state);
    ls_buf_free(&findings);
    rd_kafka_t *kafka = client();
    int64_t first = 0, end = 0;
    cr_assert_eq(
        ls_kafka_ranges(kafka, state, &(int32_t){0}, 1, LS_KAFKA_TIMEOUT_MS, &first, &end, &err), 0,
        "%s", err.text);
    cr_expect_eq(end, 0);
    rd_kafka_destroy(kafka);
}

Test(topics, that_need_more_brokers_than_there_are_say_so)
{
    entity.replication = 9;
    int made = 0;
    struct ls_err err = {0};
    cr_expect_eq(ls_topics_create(&config, NULL, count_made, &made, &err), -1);
    cr_expect_eq(err.class, LS_ERR_FATAL);
    cr_expect(strstr(err.text, "replication"), "%s", err.text);
}

/* FATAL, and says what is so and both ways on. */
static void expect_refused(const char *what)
{
    int made = 0;
    struct ls_err err = {0};
    cr_expect_eq(ls_topics_create(&config, NULL, count_made, &made, &err), -1);
    cr_expect_eq(made, 0);
    cr_expect_eq(err.class, LS_ERR_FATAL);
    LS_CLEANUP_FREE char *next = ls_asprintf("entities.%s.generation to 4", entity.name);
    LS_CLEANUP_FREE char *flag = ls_asprintf("--new-log %s`", entity.name);
    cr_expect(strstr(err.text, what), "%s", err.text);
    cr_expect(strstr(err.text, next), "%s", err.text);
    cr_expect(strstr(err.text, flag), "%s", err.text);
}

Test(topics, of_a_log_that_was_deleted_are_not_made_again_unasked)
{
    char state[LS_TOPIC_NAME_MAX];
    const char *names[] = {state};
    ls_topic_state(&entity, state);
    create();
    struct ls_genesis first[PARTITIONS], second[PARTITIONS];
    struct ls_err err = {0};
    cr_assert_eq(ls_kafka_genesis(&config, &entity, first, &err), 0, "%s", err.text);
    delete_topics(names, 1);
    expect_refused("was deleted");
    struct ls_buf findings = {0};
    check(&findings);
    expect_finding(&findings, "is missing", state);
    ls_buf_free(&findings);
    /* By hand or by a broker that makes what is asked for: it has no identity, and gets none. */
    make_by_hand(state, PARTITIONS, "compact");
    expect_refused("it has no genesis record");
    cr_expect_eq(ls_kafka_genesis(&config, &entity, second, &err), -1);
    int made = 0;
    const char *const new_logs[] = {entity.name, NULL};
    cr_assert_eq(ls_topics_create(&config, new_logs, count_made, &made, &err), 0, "%s", err.text);
    cr_assert_eq(ls_kafka_genesis(&config, &entity, second, &err), 0, "%s", err.text);
    cr_expect_str_neq(first[0].uuid, second[0].uuid);
    cr_expect_eq(create(), 0, "the new log is the one that is known now");
}

Test(topics, of_a_log_that_was_deleted_go_on_with_the_next_generation)
{
    char state[LS_TOPIC_NAME_MAX];
    const char *names[] = {state};
    ls_topic_state(&entity, state);
    create();
    delete_topics(names, 1);
    entity.generation++;
    cr_expect_eq(create(), 2, "the next state topic and its genesis");
    entity.generation--;
}
