/*
 * The genesis records of a state topic: one UUID, the identity of the log, in each partition.
 *
 * All missing ones are written in one Kafka transaction whose transactional.id belongs to the
 * topic. Opening it waits for, or aborts, whatever another `topics create` had begun, and shuts
 * that one out; what is there is read only after that. So two at a time can't make two UUIDs: one
 * sees the other's, or is refused and looks again. A crash leaves all partitions without or all
 * with one; what an older, interrupted creation left is completed with its UUID.
 *
 * Rejected: the first record of partition 0 as the arbiter (compaction keeps the newest of a key,
 * so the loser's could survive); a claim in lockstep.control (a topic that is deleted and made
 * again would get the identity of the old one, which is just what must be noticed).
 *
 * Threads: any, each call by itself.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "pipeline/ends.h"
#include "pipeline/topics_admin.h"
#include "schema/key.h"

enum {
    OPEN_TIMEOUT_MS = 60000,
    TRANSACTION_TIMEOUT_MS = 10000,
    ATTEMPTS_MAX = 8, /* of one that others shut out again and again */
    BACKOFF_MS = 250,
    BACKOFF_MAX_MS = 4000,
};

struct writing {
    const struct ls_config *config;
    const struct ls_entity_config *entity;
    char topic[LS_TOPIC_NAME_MAX];
    struct ls_genesis *genesis; /* of each partition */
    bool *found;
    int32_t n_found;
    struct ls_err delivery; /* the first record that was not delivered */
};

static void new_uuid(char uuid[37])
{
    unsigned char b[16];
    if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
        abort(); /* cannot fail for 16 bytes */
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(uuid, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
             b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
             b[14], b[15]);
}

/* Reads what is there; refuses what does not fit together. uuid is "" where there is none. */
static int look(struct writing *writing, char uuid[37], struct ls_err *err)
{
    int32_t n = writing->entity->partitions;
    if (ls_kafka_find_genesis(writing->config, writing->topic, n, writing->genesis, writing->found,
                              err) < 0)
        return -1;
    uuid[0] = '\0';
    writing->n_found = 0;
    for (int32_t p = 0; p < n; p++) {
        if (!writing->found[p])
            continue;
        const struct ls_genesis *genesis = &writing->genesis[p];
        writing->n_found++;
        if ((uuid[0] && strcmp(uuid, genesis->uuid) != 0) ||
            strcmp(genesis->topic, writing->topic) != 0 || genesis->partition != p ||
            genesis->generation != writing->entity->generation)
            return ls_err_set(
                err, LS_ERR_FATAL, 0,
                "%s/%d has the genesis record of another log; `lockstep topics check` "
                "tells more, and the next generation is a way out",
                writing->topic, p);
        if (genesis->partitions != n)
            return ls_kafka_refuse_partitions(writing->entity, genesis, err);
        memcpy(uuid, genesis->uuid, sizeof(genesis->uuid));
    }
    return 0;
}

/* A partition that is full of records and has no genesis is not a log that lockstep made. */
static int check_adoptable(struct writing *writing, rd_kafka_t *client, struct ls_err *err)
{
    size_t n = (size_t)writing->entity->partitions;
    LS_CLEANUP_FREE int64_t *firsts = ls_calloc(n, sizeof(*firsts));
    LS_CLEANUP_FREE int64_t *ends = ls_calloc(n, sizeof(*ends));
    if (ls_kafka_ranges(client, writing->topic, NULL, n, LS_KAFKA_TIMEOUT_MS, firsts, ends, err) <
        0)
        return -1;
    for (int32_t p = 0; p < writing->entity->partitions; p++) {
        int64_t records = ends[p] - firsts[p];
        if (!writing->found[p] && records >= LS_GENESIS_WITHIN)
            return ls_err_set(err, LS_ERR_FATAL, 0,
                              "%s/%d holds up to %lld records and no genesis record: this log was "
                              "not made by `lockstep topics create`; use another generation",
                              writing->topic, p, (long long)records);
    }
    return 0;
}

static int transaction_err(struct ls_err *err, rd_kafka_error_t *error, const char *topic)
{
    ls_kafka_err(err, rd_kafka_error_code(error), "genesis of %s", topic);
    if (err && rd_kafka_error_is_retriable(error))
        err->class = LS_ERR_RETRY;
    rd_kafka_error_destroy(error);
    return -1;
}

static void on_delivery(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
    struct writing *writing = opaque;
    bool purged = message->err == RD_KAFKA_RESP_ERR__PURGE_QUEUE ||
                  message->err == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT; /* the commit tells why */
    if (message->err && !purged && writing->delivery.class == LS_ERR_NONE)
        ls_kafka_err(&writing->delivery, message->err, "genesis of %s/%d", writing->topic,
                     message->partition);
}

static int produce_missing(struct writing *writing, rd_kafka_t *client, const char *uuid,
                           struct ls_err *err)
{
    int32_t n = writing->entity->partitions;
    for (int32_t p = 0; p < n; p++) {
        if (writing->found[p])
            continue;
        struct ls_genesis genesis = {.partition = p,
                                     .partitions = n,
                                     .generation = writing->entity->generation,
                                     .created_us = ls_wall_us()};
        memcpy(genesis.uuid, uuid, sizeof(genesis.uuid));
        snprintf(genesis.topic, sizeof(genesis.topic), "%s", writing->topic);
        struct ls_buf value = {0};
        ls_genesis_encode(&genesis, &value);
        rd_kafka_resp_err_t code =
            rd_kafka_producev(client, RD_KAFKA_V_TOPIC(writing->topic), RD_KAFKA_V_PARTITION(p),
                              RD_KAFKA_V_KEY(LS_GENESIS_KEY, strlen(LS_GENESIS_KEY)),
                              RD_KAFKA_V_VALUE(value.data, value.len),
                              RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
        ls_buf_free(&value);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            return ls_kafka_err(err, code, "genesis of %s/%d", writing->topic, p);
    }
    return 0;
}

/* Looks again, now that nobody else can write, and fills what is missing. */
static int fill(struct writing *writing, rd_kafka_t *client, char uuid[37], struct ls_err *err)
{
    if (look(writing, uuid, err) < 0)
        return -1;
    if (writing->n_found == writing->entity->partitions)
        return 0;
    if (check_adoptable(writing, client, err) < 0)
        return -1;
    if (uuid[0] == '\0')
        new_uuid(uuid);
    rd_kafka_error_t *error = rd_kafka_begin_transaction(client);
    if (error)
        return transaction_err(err, error, writing->topic);
    int rc = produce_missing(writing, client, uuid, err);
    if (rc == 0) {
        error = rd_kafka_commit_transaction(client, LS_KAFKA_TIMEOUT_MS);
        if (error)
            rc = transaction_err(err, error, writing->topic);
        if (rc < 0 && writing->delivery.class && err)
            *err = writing->delivery;
    }
    if (rc < 0) {
        error = rd_kafka_abort_transaction(client, LS_KAFKA_TIMEOUT_MS);
        if (error)
            rd_kafka_error_destroy(error);
    }
    return rc;
}

static int write_missing(struct writing *writing, char uuid[37], struct ls_err *err)
{
    char id[LS_TOPIC_NAME_MAX + 20];
    char timeout[16];
    snprintf(id, sizeof(id), "lockstep.genesis.%s", writing->topic);
    snprintf(timeout, sizeof(timeout), "%d", TRANSACTION_TIMEOUT_MS);
    const char *extra[] = {"transactional.id",
                           id,
                           "transaction.timeout.ms",
                           timeout,
                           "message.timeout.ms",
                           timeout,
                           NULL};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_opaque(conf, writing);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_t *client =
        ls_kafka_client(writing->config, RD_KAFKA_PRODUCER, "topics", conf, extra, err);
    if (client == NULL)
        return -1;
    rd_kafka_error_t *error = rd_kafka_init_transactions(client, OPEN_TIMEOUT_MS);
    int rc = error ? transaction_err(err, error, writing->topic) : fill(writing, client, uuid, err);
    rd_kafka_destroy(client);
    return rc;
}

static bool was_shut_out(const struct ls_err *err)
{
    return err->code == RD_KAFKA_RESP_ERR__FENCED ||
           err->code == RD_KAFKA_RESP_ERR_PRODUCER_FENCED ||
           err->code == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
}

/* The topic was just made, and not every broker has heard of it. */
static bool is_not_heard_of(const struct ls_err *err)
{
    return err->code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
           err->code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
           err->code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
}

/*
 * Looks, and writes what is missing; who was shut out by another looks again what that one did, and
 * who met a broker that lags behind the others asks it again.
 */
static int complete(struct writing *writing, int32_t *ret_written, char uuid[37],
                    struct ls_err *err)
{
    for (unsigned attempt = 0;; attempt++) {
        *ret_written = 0;
        struct ls_err why = {0};
        writing->delivery = (struct ls_err){0};
        bool looked = look(writing, uuid, &why) == 0;
        if (looked && writing->n_found == writing->entity->partitions)
            return 0;
        if (looked && write_missing(writing, uuid, &why) == 0) {
            *ret_written = writing->entity->partitions - writing->n_found;
            return 0;
        }
        bool passes = is_not_heard_of(&why) || (looked && was_shut_out(&why));
        if (!passes || attempt + 1 == ATTEMPTS_MAX) {
            if (err)
                *err = why;
            return -1;
        }
        int64_t wait_ms = ls_backoff_ms(attempt, BACKOFF_MS, BACKOFF_MAX_MS);
        nanosleep(&(struct timespec){.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000},
                  NULL);
    }
}

int ls_topics_write_genesis(const struct ls_config *config, const struct ls_entity_config *entity,
                            int32_t *ret_written, char uuid[37], struct ls_err *err)
{
    size_t n = (size_t)entity->partitions;
    struct writing writing = {.config = config,
                              .entity = entity,
                              .genesis = ls_calloc(n, sizeof(*writing.genesis)),
                              .found = ls_calloc(n, sizeof(*writing.found))};
    ls_topic_state(entity, writing.topic);
    int32_t written = 0;
    int rc = complete(&writing, &written, uuid, err);
    if (rc == 0)
        *ret_written = written;
    free(writing.genesis);
    free(writing.found);
    return rc;
}
