/*
 * The ledger against a real log: what it takes and passes over, how it goes on, and when it throws
 * itself away. Each test has an entity and a state folder of its own and deletes its topic.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "kafka_fixture.h"
#include "pipeline/kafka.h"
#include "pipeline/ledger.h"
#include "pipeline/topics.h"
#include "pipeline/topics_admin.h"
#include "schema/key.h"

enum { PARTITIONS = 4, WAIT_MS = 30000, UPDATERS = 4 };

static char dir[] = "/tmp/lockstep-live-ledger-XXXXXX";
static struct ls_config *stack; /* the file's */
static struct ls_config config; /* the test's: the stack's brokers, an entity of its own */
static struct ls_entity_config entity;
static char topic[LS_TOPIC_NAME_MAX];
static struct ls_ledger *ledger;
static rd_kafka_t *producer;
static struct ls_err err;

#define OK(call) cr_assert_eq((call), 0, "%s", err.text)

static void ignore(void *opaque, const char *name, bool made, const char *line)
{
}

static void make_topic(void)
{
    const char *const new_logs[] = {entity.name, NULL};
    OK(ls_topics_create(&config, new_logs, ignore, NULL, &err));
}

static void delete_topic(void)
{
    kafka_delete_topics(producer, &(const char *){topic}, 1);
}

static void open_ledger(void)
{
    OK(ls_ledger_open(&config, &entity, 0, &ledger, &err));
}

static void set_up(void)
{
    const char *path = getenv("LOCKSTEP_CONFIG");
    cr_assert_not_null(path, "LOCKSTEP_CONFIG must name the local stack's configuration");
    OK(ls_config_read(path, &stack, &err));
    cr_assert_not_null(mkdtemp(dir));
    static const char schema[] = "entity: pet\n"
                                 "version: 1\n"
                                 "redis_prefix: pet\n"
                                 "expected_records: 1000\n"
                                 "average_bytes: 100\n"
                                 "fields:\n"
                                 "  - {number: 1, name: id, type: string, key: true}\n"
                                 "  - {number: 2, name: name, type: string, length: 200}\n";
    entity = (struct ls_entity_config){.name = kafka_own_entity("lt_ledger"),
                                       .generation = 2,
                                       .partitions = PARTITIONS,
                                       .replication = 1};
    OK(ls_schema_parse("pet.yaml", schema, strlen(schema), &entity.schema, &err));
    config = *stack;
    config.state_dir = dir;
    config.entities = &entity;
    config.n_entities = 1;
    config.sinks = NULL;
    config.n_sinks = 0;
    ls_topic_state(&entity, topic);
    producer = ls_kafka_client(&config, RD_KAFKA_PRODUCER, "test", NULL, NULL, &err);
    cr_assert_not_null(producer, "%s", err.text);
    make_topic();
    open_ledger();
}

static void tear_down(void)
{
    ls_ledger_close(ledger);
    delete_topic();
    rd_kafka_destroy(producer);
    ls_schema_free(entity.schema);
    free(entity.name);
    ls_config_free(stack);
    pid_t pid = fork();
    if (pid == 0)
        execlp("rm", "rm", "-rf", dir, (char *)NULL);
    waitpid(pid, NULL, 0);
}

TestSuite(ledger_live, .init = set_up, .fini = tear_down, .timeout = 120);

static void send_raw(int32_t partition, const char *key, const void *value, size_t len,
                     uint64_t version)
{
    char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)(version >> (56 - 8 * i));
    rd_kafka_headers_t *headers = rd_kafka_headers_new(1);
    if (version > 0)
        rd_kafka_header_add(headers, "v", -1, bytes, sizeof(bytes));
    rd_kafka_resp_err_t code = rd_kafka_producev(
        producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
        RD_KAFKA_V_KEY(key, strlen(key)), RD_KAFKA_V_VALUE((void *)(uintptr_t)value, len),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    cr_assert_eq(code, RD_KAFKA_RESP_ERR_NO_ERROR);
    cr_assert_eq(rd_kafka_flush(producer, WAIT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
}

/* name NULL: a delete. */
static void publish(const char *key, const char *name, uint64_t version)
{
    struct ls_envelope envelope = {.schema_version = 1, .op = name ? LS_OP_PUT : LS_OP_DELETE};
    struct ls_value value = {.present = true};
    struct ls_buf buf = {0};
    if (name)
        value.text = (struct ls_span){name, (uint32_t)strlen(name)};
    ls_wire_encode(entity.schema, &envelope, name ? &value : NULL, &buf);
    send_raw(ls_partition_of(ls_shard_of(key, strlen(key)), PARTITIONS), key, buf.data, buf.len,
             version);
    ls_buf_free(&buf);
}

static struct ls_ledger_entry find(const char *key)
{
    struct ls_ledger_entry entry;
    struct ls_span span = {key, (uint32_t)strlen(key)};
    OK(ls_ledger_lookup(ledger, &span, 1, &entry, &err));
    return entry;
}

static struct ls_ledger_counts count(void)
{
    struct ls_ledger_counts counts;
    OK(ls_ledger_count(ledger, &counts, &err));
    return counts;
}

static uint64_t hash_of(const char *key, const char *name)
{
    struct ls_value value = {.present = true, .text = {name, (uint32_t)strlen(name)}};
    struct ls_buf scratch = {0};
    uint64_t hash = ls_hash(entity.schema, key, strlen(key), false, &value, &scratch);
    ls_buf_free(&scratch);
    return hash;
}

Test(ledger_live, takes_the_newest_of_each_key_and_goes_on_from_there)
{
    OK(ls_ledger_update(ledger, NULL, &err));
    cr_expect_eq(count().live, 0);
    publish("a", "one", 0);
    publish("a", "two", 0);
    publish("b", "gone", 0);
    publish("b", NULL, 0);
    OK(ls_ledger_update(ledger, NULL, &err));
    cr_expect_eq(count().live, 1);
    cr_expect_eq(count().deleted, 1);
    cr_expect_eq(find("a").hash, hash_of("a", "two"));
    cr_expect_eq(find("a").version, ls_version(2, find("a").offset));
    cr_expect(find("b").deleted);
    ls_ledger_close(ledger);
    open_ledger();
    publish("b", "back", 0);
    OK(ls_ledger_update(ledger, NULL, &err));
    cr_expect_eq(count().live, 2);
    cr_expect_eq(find("b").hash, hash_of("b", "back"));
    cr_expect_null(ls_ledger_rebuilt(ledger));
}

Test(ledger_live, counts_poison_once_and_indexes_none_of_it)
{
    int32_t home = ls_partition_of(ls_shard_of("c", 1), PARTITIONS);
    send_raw(home, "c", "garbage", 7, 0);
    send_raw(home, "c", NULL, 0, 0);
    send_raw((home + 1) % PARTITIONS, "c", "misrouted", 9, 0);
    send_raw(0, "a{b}", "bad key", 7, 0);
    OK(ls_ledger_update(ledger, NULL, &err));
    OK(ls_ledger_update(ledger, NULL, &err));
    cr_expect_eq(count().poison, 4);
    cr_expect_eq(count().live, 0);
    cr_expect_not(find("c").found);
}

Test(ledger_live, honours_the_version_that_a_copied_record_brings)
{
    publish("a", "newer", ls_version(1, 900));
    publish("a", "older", ls_version(1, 100));
    OK(ls_ledger_update(ledger, NULL, &err));
    cr_expect_eq(find("a").version, ls_version(1, 900));
    cr_expect_eq(find("a").hash, hash_of("a", "newer"));
}

Test(ledger_live, a_topic_that_was_made_anew_is_another_log)
{
    publish("a", "one", 0);
    OK(ls_ledger_update(ledger, NULL, &err));
    cr_expect(find("a").found);
    delete_topic();
    ls_ledger_close(ledger);
    make_topic();
    open_ledger();
    publish("z", "other", 0);
    OK(ls_ledger_update(ledger, NULL, &err));
    cr_assert_not_null(ls_ledger_rebuilt(ledger));
    cr_expect_not(find("a").found);
    cr_expect(find("z").found);
}

/* What the ledger says of each partition, as if no record had been younger than that. */
static void forget_times(int64_t at_ms)
{
    struct ls_ledger_position positions[PARTITIONS];
    OK(ls_ledger_begin(ledger, &err));
    OK(ls_ledger_positions(ledger, positions, &err));
    for (int p = 0; p < PARTITIONS; p++)
        positions[p].max_at_ms = at_ms;
    OK(ls_ledger_write(ledger, NULL, 0, positions, &err));
    OK(ls_ledger_end(ledger, &err));
}

static void open_again(void)
{
    ls_ledger_close(ledger);
    open_ledger();
    OK(ls_ledger_update(ledger, NULL, &err));
}

Test(ledger_live, a_younger_record_before_its_position_is_of_another_log)
{
    publish("a", "one", 0);
    OK(ls_ledger_update(ledger, NULL, &err));
    forget_times(1);
    open_again();
    cr_assert_not_null(ls_ledger_rebuilt(ledger));
    cr_expect_not_null(strstr(ls_ledger_rebuilt(ledger), "were reused"), "%s",
                       ls_ledger_rebuilt(ledger));
    cr_expect(find("a").found, "it is built from what is there now");
}

/* `topics create` wrote the genesis records in a transaction: its end is younger than they are. */
Test(ledger_live, a_younger_control_record_is_no_other_log)
{
    OK(ls_ledger_update(ledger, NULL, &err));
    struct ls_ledger_position positions[PARTITIONS];
    OK(ls_ledger_positions(ledger, positions, &err));
    for (int p = 0; p < PARTITIONS; p++) {
        cr_expect_eq(positions[p].next, 2, "a genesis and the end of its transaction");
        cr_expect_gt(positions[p].max_at_ms, 0, "so it is looked into");
    }
    open_again();
    cr_expect_null(ls_ledger_rebuilt(ledger), "%s", ls_ledger_rebuilt(ledger));
}

static void *update(void *opaque)
{
    struct ls_err *failure = opaque;
    ls_ledger_update(ledger, NULL, failure);
    return NULL;
}

Test(ledger_live, many_threads_may_ask_at_once)
{
    pthread_t threads[UPDATERS];
    struct ls_err failures[UPDATERS] = {0};
    publish("a", "one", 0);
    for (int i = 0; i < UPDATERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, update, &failures[i]), 0);
    for (int i = 0; i < UPDATERS; i++) {
        pthread_join(threads[i], NULL);
        cr_expect_eq(failures[i].class, LS_ERR_NONE, "%s", failures[i].text);
    }
    cr_expect(find("a").found);
}
