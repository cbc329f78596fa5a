/* What the publisher promises, against a cluster in this process that fails on demand. */
#include "tests/mock/publisher_fixture.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "schema/key.h"

enum { LONG_MS = 20000 }; /* of waits that end much earlier when all is well */

static struct fixture fixture;
static struct lockstep_error error;

static void setup(void)
{
    fixture_start(&fixture);
}

static void teardown(void)
{
    fixture_stop(&fixture);
}

TestSuite(publisher, .init = setup, .fini = teardown, .timeout = 60);

static void start_ready(int delivery_timeout_ms)
{
    fixture_topic(&fixture, FIXTURE_PARTITIONS, FIXTURE_PARTITIONS);
    fixture_open(&fixture, FIXTURE_PARTITIONS, delivery_timeout_ms);
    cr_assert_eq(lockstep_publisher_ready(fixture.publisher, LONG_MS, &error), LOCKSTEP_OK, "%s",
                 error.text);
}

static void put_many(size_t count, unsigned keys)
{
    for (size_t i = 0; i < count; i++) {
        char key[32];
        snprintf(key, sizeof(key), "key-%zu", i % keys);
        cr_assert_eq(fixture_put(&fixture, key, i, 10, LONG_MS, &error), LOCKSTEP_OK, "%s",
                     error.text);
    }
}

static void flush_all(void)
{
    size_t left = 99;
    cr_assert_eq(lockstep_publisher_flush(fixture.publisher, LONG_MS, &left, &error), LOCKSTEP_OK,
                 "%s", error.text);
    cr_assert_eq(left, 0);
}

/* Everything published once, each partition's offsets one after the other, each key in order. */
static void check_published(size_t count)
{
    int64_t next[FIXTURE_PARTITIONS] = {1, 1, 1, 1}; /* 0 is the genesis record */
    size_t newest[64] = {0};
    cr_assert_eq(atomic_load(&fixture.n_seen), count);
    for (size_t i = 0; i < count; i++) {
        const struct fixture_delivery *seen = &fixture.seen[i];
        cr_assert_eq(seen->outcome, LOCKSTEP_PUBLISHED, "%s", seen->reason);
        int32_t partition =
            ls_partition_of(ls_shard_of(seen->key, strlen(seen->key)), FIXTURE_PARTITIONS);
        cr_assert_eq(seen->partition, partition);
        cr_assert_eq(seen->offset, next[partition]++);
        cr_assert_eq(seen->version, ls_version(1, seen->offset));
        size_t key = (size_t)strtoul(seen->key + strlen("key-"), NULL, 10);
        cr_assert(newest[key] == 0 || seen->number + 1 > newest[key], "key %s out of order",
                  seen->key);
        newest[key] = seen->number + 1;
    }
}

Test(publisher, deliveries_give_partition_offset_and_version)
{
    start_ready(0);
    put_many(400, 40);
    flush_all();
    check_published(400);
    cr_assert_eq(lockstep_publisher_in_flight(fixture.publisher), 0);
}

/* The mock cluster takes whatever comes, where a broker refuses a batch whose predecessor it lacks:
 * so all of a partition's records must go in one batch. */
Test(publisher, errors_that_heal_cost_neither_a_record_nor_the_order)
{
    fixture.linger_ms = "500";
    start_ready(0);
    rd_kafka_mock_push_request_errors(
        fixture.cluster, 0 /* Produce */, 4, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
    put_many(400, 40);
    flush_all();
    check_published(400);
}

Test(publisher, a_refused_record_is_known_not_to_be_published)
{
    start_ready(0);
    rd_kafka_mock_push_request_errors(fixture.cluster, 0, 1,
                                      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    put_many(1, 1);
    flush_all();
    cr_assert_eq(fixture.outcomes[LOCKSTEP_NOT_PUBLISHED], 1);
    cr_assert_str_eq(fixture.seen[0].reason, "Broker: Topic authorization failed");
    cr_assert_eq(fixture.seen[0].offset, -1);
    cr_assert_eq(fixture.seen[0].version, 0);
}

Test(publisher, opens_while_kafka_is_down_and_takes_nothing_until_it_is_up)
{
    fixture_topic(&fixture, FIXTURE_PARTITIONS, FIXTURE_PARTITIONS);
    fixture_down(&fixture);
    fixture_open(&fixture, 0, 0);
    cr_assert_eq(fixture_put(&fixture, "key-0", 0, 10, 0, &error), LOCKSTEP_WOULD_BLOCK);
    cr_assert_eq(lockstep_publisher_ready(fixture.publisher, 300, &error), LOCKSTEP_WOULD_BLOCK);
    cr_assert_not_null(strstr(error.text, FIXTURE_TOPIC), "%s", error.text);
    fixture_up(&fixture);
    cr_assert_eq(fixture_put(&fixture, "key-0", 0, 10, LONG_MS, &error), LOCKSTEP_OK, "%s",
                 error.text);
    flush_all();
    check_published(1);
}

/* Publishes records of 8 kB with the broker down until there is no room. Returns how many. */
static size_t fill(void)
{
    size_t taken = 0;
    enum lockstep_code code;
    while ((code = fixture_put(&fixture, "key-1", taken, 8000, 0, &error)) == LOCKSTEP_OK) {
        taken++;
        cr_assert_lt(taken, 2000, "memory is not bounded");
    }
    cr_assert_eq(code, LOCKSTEP_WOULD_BLOCK);
    return taken;
}

Test(publisher, memory_is_bounded_while_the_broker_is_down_and_all_arrives_afterwards)
{
    start_ready(0);
    fixture_down(&fixture);
    size_t taken = fill();
    cr_assert_geq(taken, 900); /* 8 MiB by 8.2 kB */
    cr_assert_eq(lockstep_publisher_in_flight(fixture.publisher), taken);

    int64_t start_ms = ls_mono_ms();
    cr_assert_eq(fixture_put(&fixture, "key-1", 0, 8000, 250, &error), LOCKSTEP_WOULD_BLOCK);
    int64_t waited_ms = ls_mono_ms() - start_ms;
    cr_assert(waited_ms >= 250 && waited_ms < 10000, "%lld ms", (long long)waited_ms);

    size_t left = 0;
    cr_assert_eq(lockstep_publisher_flush(fixture.publisher, 200, &left, &error),
                 LOCKSTEP_WOULD_BLOCK);
    cr_assert_eq(left, taken);

    fixture_up(&fixture);
    cr_assert_eq(fixture_put(&fixture, "key-1", taken, 8000, LONG_MS, &error), LOCKSTEP_OK, "%s",
                 error.text);
    flush_all();
    check_published(taken + 1);
}

Test(publisher, a_record_that_is_never_confirmed_is_given_up_at_the_delivery_timeout)
{
    start_ready(1500);
    fixture_down(&fixture);
    put_many(10, 4);
    flush_all();
    cr_assert_eq(atomic_load(&fixture.n_seen), 10);
    cr_assert_eq(fixture.outcomes[LOCKSTEP_PUBLISHED], 0);
    for (size_t i = 0; i < 10; i++)
        cr_assert_str_eq(fixture.seen[i].reason, "Local: Message timed out");
}

Test(publisher, an_answer_that_is_lost_leaves_the_outcome_unknown)
{
    start_ready(1500);
    put_many(1, 1); /* the producer has its id from the broker now */
    flush_all();
    /* longer than the delivery timeout: the request is sent, the answer does not come in time */
    cr_assert_eq(rd_kafka_mock_broker_set_rtt(fixture.cluster, FIXTURE_BROKER, 5000), 0);
    put_many(1, 1);
    flush_all();
    cr_assert_eq(fixture.outcomes[LOCKSTEP_UNKNOWN], 1, "%s", fixture.seen[1].reason);
}

Test(publisher, close_reports_what_it_gives_up)
{
    start_ready(0);
    fixture_down(&fixture);
    put_many(10, 4);
    cr_assert_eq(lockstep_publisher_close(fixture.publisher, 100), 10);
    fixture.publisher = NULL;
    cr_assert_eq(atomic_load(&fixture.n_seen), 10);
    cr_assert_eq(fixture.outcomes[LOCKSTEP_PUBLISHED], 0);
}

static void refuse_topic(int32_t expected_partitions, const char *reason)
{
    fixture_open(&fixture, expected_partitions, 0);
    cr_assert_eq(lockstep_publisher_ready(fixture.publisher, LONG_MS, &error), LOCKSTEP_SETUP);
    cr_assert_not_null(strstr(error.text, reason), "%s", error.text);
    cr_assert_eq(fixture_put(&fixture, "key-0", 0, 10, LONG_MS, &error), LOCKSTEP_SETUP);
}

Test(publisher, refuses_a_missing_topic_until_it_is_made)
{
    fixture_topic(&fixture, FIXTURE_PARTITIONS, FIXTURE_PARTITIONS);
    rd_kafka_mock_topic_set_error(fixture.cluster, FIXTURE_TOPIC,
                                  RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    refuse_topic(0, "is not there: make it with `lockstep topics create`");
    rd_kafka_mock_topic_set_error(fixture.cluster, FIXTURE_TOPIC, RD_KAFKA_RESP_ERR_NO_ERROR);
    enum lockstep_code code;
    int64_t end_ms = ls_mono_ms() + LONG_MS;
    while ((code = lockstep_publisher_ready(fixture.publisher, 100, &error)) != LOCKSTEP_OK &&
           ls_mono_ms() < end_ms)
        ;
    cr_assert_eq(code, LOCKSTEP_OK, "%s", error.text);
}

Test(publisher, refuses_a_topic_whose_genesis_names_other_partitions)
{
    fixture_topic(&fixture, 2, 4);
    refuse_topic(0, "has 2 partitions, its genesis record says 4");
}

Test(publisher, refuses_a_topic_of_other_partitions_than_configured)
{
    fixture_topic(&fixture, 2, 2);
    refuse_topic(8, "has 2 partitions, the configuration says 8");
}

static void produce_stray(void)
{
    char key[] = "key-0", value[] = "x";
    cr_assert_eq(rd_kafka_producev(fixture.client, RD_KAFKA_V_TOPIC(FIXTURE_TOPIC),
                                   RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_KEY(key, strlen(key)),
                                   RD_KAFKA_V_VALUE(value, 1),
                                   RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
                 RD_KAFKA_RESP_ERR_NO_ERROR);
    cr_assert_eq(rd_kafka_flush(fixture.client, LONG_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
}

Test(publisher, refuses_a_topic_that_does_not_begin_with_a_genesis_record)
{
    fixture_topic(&fixture, 2, 0);
    produce_stray();
    refuse_topic(0, "does not begin with a genesis record");
}

Test(publisher, refuses_an_empty_topic)
{
    fixture_topic(&fixture, 2, 0);
    refuse_topic(0, "does not begin with a genesis record");
}

struct many {
    pthread_t thread;
    size_t first;
};

static void *publish_many(void *argument)
{
    struct many *many = argument;
    for (size_t i = 0; i < 500; i++) {
        char key[32];
        struct lockstep_error own = {0};
        snprintf(key, sizeof(key), "key-%zu", many->first);
        if (fixture_put(&fixture, key, i, 100, LONG_MS, &own) != LOCKSTEP_OK)
            return NULL;
    }
    return many;
}

Test(publisher, threads_publish_at_once_and_each_keeps_its_order)
{
    start_ready(0);
    struct many threads[4];
    for (size_t i = 0; i < 4; i++) {
        threads[i].first = i;
        cr_assert_eq(pthread_create(&threads[i].thread, NULL, publish_many, &threads[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        void *done;
        pthread_join(threads[i].thread, &done);
        cr_assert_not_null(done);
    }
    flush_all();
    check_published(2000);
}
