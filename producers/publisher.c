/*
 * The publisher at work: taking changes within bounded memory, reporting deliveries, flush.
 *
 * Threads: see publisher.h. Taking reserves bytes with a compare-and-swap, so publishers of many
 * threads meet only inside librdkafka; the lock is taken only by those who must wait, and by the
 * poll thread when somebody waits.
 * A crash loses what was taken and not yet confirmed; the contract in lockstep/publisher.h says
 * what that means to the caller. Rejected: librdkafka's own queue limit as the back-pressure. It
 * counts messages and payload of one client as a whole, blocks without a deadline, and its defaults
 * allow 1 GiB.
 */
#include "producers/publisher.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "schema/key.h"

enum { RECHECK_MS = 100 }; /* of conditions that nobody signals: closing, a full client queue */

const char *lockstep_code_name(enum lockstep_code code)
{
    switch (code) {
    case LOCKSTEP_OK:
        return "ok";
    case LOCKSTEP_WOULD_BLOCK:
        return "would-block";
    case LOCKSTEP_INVALID:
        return "invalid";
    case LOCKSTEP_SETUP:
        return "setup";
    case LOCKSTEP_FAILED:
        return "failed";
    }
    return "unknown";
}

const char *lockstep_outcome_name(enum lockstep_outcome outcome)
{
    switch (outcome) {
    case LOCKSTEP_PUBLISHED:
        return "published";
    case LOCKSTEP_NOT_PUBLISHED:
        return "not-published";
    case LOCKSTEP_UNKNOWN:
        break;
    }
    return "unknown";
}

enum lockstep_code ls_publisher_error(struct lockstep_error *error, enum lockstep_code code,
                                      const char *format, ...)
{
    if (error != NULL) {
        va_list args;
        va_start(args, format);
        vsnprintf(error->text, sizeof(error->text), format, args);
        va_end(args);
        error->code = code;
    }
    return code;
}

bool ls_publisher_wait(lockstep_publisher *publisher, int64_t deadline_ms, int64_t cap_ms)
{
    int64_t now_ms = ls_mono_ms();
    if (now_ms >= deadline_ms)
        return false;
    int64_t wait_ms = deadline_ms - now_ms < cap_ms ? deadline_ms - now_ms : cap_ms;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    atomic_fetch_add(&publisher->waiting, 1);
    pthread_cond_timedwait(&publisher->changed, &publisher->lock, &until);
    atomic_fetch_sub(&publisher->waiting, 1);
    return true;
}

/* Deadline of a call: on the poll thread nobody else would make room, so nothing waits there. */
static int64_t call_deadline_ms(lockstep_publisher *publisher, int timeout_ms)
{
    if (pthread_equal(pthread_self(), publisher->poll_thread))
        timeout_ms = 0;
    return timeout_ms < 0 ? INT64_MAX : ls_mono_ms() + timeout_ms;
}

static enum lockstep_code failed_error(lockstep_publisher *publisher, struct lockstep_error *error)
{
    char text[256];
    rd_kafka_resp_err_t code = rd_kafka_fatal_error(publisher->producer, text, sizeof(text));
    return ls_publisher_error(error, LOCKSTEP_FAILED,
                              "the Kafka client cannot go on (%s: %s): close the publisher, open "
                              "another and publish again what was not reported as published",
                              rd_kafka_err2name(code), text);
}

static bool try_reserve(lockstep_publisher *publisher, size_t bytes)
{
    size_t used = atomic_load(&publisher->bytes_in_flight);
    while (used + bytes <= publisher->max_bytes) {
        if (atomic_compare_exchange_weak(&publisher->bytes_in_flight, &used, used + bytes)) {
            atomic_fetch_add(&publisher->records_in_flight, 1);
            return true;
        }
    }
    return false;
}

/* Gives room back and wakes those who wait: for a quarter of the room (not for every record), or
 * all. */
void ls_publisher_release(lockstep_publisher *publisher, size_t bytes)
{
    size_t used = atomic_fetch_sub(&publisher->bytes_in_flight, bytes) - bytes;
    size_t left = atomic_fetch_sub(&publisher->records_in_flight, 1) - 1;
    if (atomic_load(&publisher->waiting) == 0)
        return;
    if (left != 0 && used > publisher->max_bytes / 4 * 3)
        return;
    pthread_mutex_lock(&publisher->lock);
    pthread_cond_broadcast(&publisher->changed);
    pthread_mutex_unlock(&publisher->lock);
}

static enum lockstep_code room_error(lockstep_publisher *publisher, struct lockstep_error *error)
{
    pthread_mutex_lock(&publisher->lock);
    enum lockstep_code code = ls_publisher_error(
        error, LOCKSTEP_WOULD_BLOCK,
        "%zu records (%zu bytes, the limit is %zu) wait for Kafka at %s: try again later%s%s",
        atomic_load(&publisher->records_in_flight), atomic_load(&publisher->bytes_in_flight),
        publisher->max_bytes, publisher->brokers,
        publisher->last_error.class ? "; last error: " : "", publisher->last_error.text);
    pthread_mutex_unlock(&publisher->lock);
    return code;
}

static enum lockstep_code reserve(lockstep_publisher *publisher, size_t bytes, int64_t deadline_ms,
                                  struct lockstep_error *error)
{
    while (!try_reserve(publisher, bytes)) {
        if (atomic_load(&publisher->failed))
            return failed_error(publisher, error);
        pthread_mutex_lock(&publisher->lock);
        bool waited = ls_publisher_wait(publisher, deadline_ms, RECHECK_MS);
        pthread_mutex_unlock(&publisher->lock);
        if (!waited)
            return room_error(publisher, error);
    }
    return LOCKSTEP_OK;
}

/* Waits until the entity's topic is ready. A refused topic is refused at once. */
static enum lockstep_code await_topic(lockstep_publisher *publisher,
                                      struct ls_publisher_entity *entity, int64_t deadline_ms,
                                      struct lockstep_error *error)
{
    int state = atomic_load_explicit(&entity->state, memory_order_acquire);
    if (state == LS_TOPIC_READY)
        return LOCKSTEP_OK;
    enum lockstep_code code = LOCKSTEP_OK;
    pthread_mutex_lock(&publisher->lock);
    while ((state = atomic_load(&entity->state)) == LS_TOPIC_UNCHECKED) {
        if (!ls_publisher_wait(publisher, deadline_ms, RECHECK_MS))
            break;
    }
    if (state == LS_TOPIC_REFUSED)
        code = ls_publisher_error(error, LOCKSTEP_SETUP, "%s", entity->problem.text);
    else if (state == LS_TOPIC_UNCHECKED)
        code = ls_publisher_error(
            error, LOCKSTEP_WOULD_BLOCK,
            "topic %s could not be checked yet, Kafka at %s does not answer%s%s", entity->topic,
            publisher->brokers, entity->problem.class ? ": " : "", entity->problem.text);
    pthread_mutex_unlock(&publisher->lock);
    return code;
}

enum lockstep_code ls_publisher_entity_ready(lockstep_publisher *publisher,
                                             struct ls_publisher_entity *entity, int timeout_ms,
                                             struct lockstep_error *error)
{
    enum lockstep_code code =
        await_topic(publisher, entity, call_deadline_ms(publisher, timeout_ms), error);
    if (code == LOCKSTEP_OK && atomic_load(&publisher->failed))
        return failed_error(publisher, error);
    return code;
}

enum lockstep_code lockstep_publisher_ready(lockstep_publisher *publisher, int timeout_ms,
                                            struct lockstep_error *error)
{
    int64_t deadline_ms = call_deadline_ms(publisher, timeout_ms);
    for (size_t i = 0; i < publisher->n_entities; i++) {
        enum lockstep_code code =
            await_topic(publisher, &publisher->entities[i], deadline_ms, error);
        if (code != LOCKSTEP_OK)
            return code;
    }
    return atomic_load(&publisher->failed) ? failed_error(publisher, error) : LOCKSTEP_OK;
}

/* Checks key and values and encodes them into wire. */
static enum lockstep_code encode(lockstep_publisher *publisher,
                                 const struct ls_publisher_entity *entity,
                                 const struct ls_change *change, struct ls_buf *wire,
                                 struct lockstep_error *error)
{
    const struct ls_schema *schema = entity->schema;
    struct ls_err err = {0};
    if (ls_key_check(change->key.data, change->key.len, &err) < 0)
        return ls_publisher_error(error, LOCKSTEP_INVALID, "%s", err.text);
    bool delete = change->op == LS_OP_DELETE;
    for (size_t i = 0; !delete &&i < schema->n_fields; i++) {
        if (change->values[i].present &&
            ls_value_check(&schema->fields[i], &change->values[i], &err) < 0)
            return ls_publisher_error(error, LOCKSTEP_INVALID, "%s", err.text);
    }
    struct ls_envelope envelope = {
        .schema_version = schema->version,
        .op = change->op,
        .time_us = change->time_us ? change->time_us : ls_wall_us(),
        .origin = {publisher->origin, (uint32_t)strlen(publisher->origin)},
        .trace = change->trace,
    };
    ls_buf_clear(wire);
    ls_wire_encode(schema, &envelope, delete ? NULL : change->values, wire);
    if (wire->len > LS_BODY_BYTES_MAX)
        return ls_publisher_error(error, LOCKSTEP_INVALID,
                                  "the record takes %zu bytes, the limit is %d: shorten its fields",
                                  wire->len, LS_BODY_BYTES_MAX);
    return LOCKSTEP_OK;
}

/* Hands a reserved record to librdkafka; -1 when its queue is full (try again). */
static enum lockstep_code hand_over(lockstep_publisher *publisher,
                                    struct ls_publisher_entity *entity,
                                    const struct ls_change *change, const struct ls_buf *wire,
                                    void *opaque, bool *ret_full, struct lockstep_error *error)
{
    int32_t partition =
        ls_partition_of(ls_shard_of(change->key.data, change->key.len), entity->partitions);
    *ret_full = false;
    if (rd_kafka_produce(entity->handle, partition, RD_KAFKA_MSG_F_COPY, wire->data, wire->len,
                         change->key.data, change->key.len, opaque) == 0)
        return LOCKSTEP_OK;
    rd_kafka_resp_err_t code = rd_kafka_last_error();
    switch (code) {
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
        *ret_full = true;
        return LOCKSTEP_WOULD_BLOCK;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
        return ls_publisher_error(error, LOCKSTEP_INVALID,
                                  "the record takes %zu bytes, more than message.max.bytes",
                                  wire->len);
    case RD_KAFKA_RESP_ERR__FATAL:
        atomic_store(&publisher->failed, true);
        return failed_error(publisher, error);
    default:
        return ls_publisher_error(error, LOCKSTEP_SETUP, "topic %s partition %d: %s", entity->topic,
                                  partition, rd_kafka_err2str(code));
    }
}

enum lockstep_code ls_publisher_take(lockstep_publisher *publisher,
                                     struct ls_publisher_entity *entity,
                                     const struct ls_change *change, struct ls_buf *wire,
                                     void *opaque, int timeout_ms, struct lockstep_error *error)
{
    enum lockstep_code code = encode(publisher, entity, change, wire, error);
    if (code != LOCKSTEP_OK)
        return code;
    if (atomic_load(&publisher->failed))
        return failed_error(publisher, error);
    /* The clock is read only when there is something to wait for. */
    size_t bytes = ls_publisher_bytes_of(wire->len, change->key.len);
    bool at_once = atomic_load_explicit(&entity->state, memory_order_acquire) == LS_TOPIC_READY &&
                   try_reserve(publisher, bytes);
    int64_t deadline_ms = at_once ? 0 : call_deadline_ms(publisher, timeout_ms);
    if (!at_once) {
        code = await_topic(publisher, entity, deadline_ms, error);
        if (code == LOCKSTEP_OK)
            code = reserve(publisher, bytes, deadline_ms, error);
        if (code != LOCKSTEP_OK)
            return code;
    }
    bool full;
    while ((code = hand_over(publisher, entity, change, wire, opaque, &full, error)) !=
           LOCKSTEP_OK) {
        if (full) {
            if (deadline_ms == 0)
                deadline_ms = call_deadline_ms(publisher, timeout_ms);
            pthread_mutex_lock(&publisher->lock);
            bool waited = ls_publisher_wait(publisher, deadline_ms, RECHECK_MS);
            pthread_mutex_unlock(&publisher->lock);
            if (waited)
                continue;
            code = room_error(publisher, error);
        }
        ls_publisher_release(publisher, bytes);
        return code;
    }
    return LOCKSTEP_OK;
}

enum lockstep_code lockstep_publisher_flush(lockstep_publisher *publisher, int timeout_ms,
                                            size_t *ret_unreported, struct lockstep_error *error)
{
    int64_t deadline_ms = call_deadline_ms(publisher, timeout_ms);
    size_t left;
    pthread_mutex_lock(&publisher->lock);
    while ((left = atomic_load(&publisher->records_in_flight)) != 0) {
        if (!ls_publisher_wait(publisher, deadline_ms, RECHECK_MS))
            break;
    }
    pthread_mutex_unlock(&publisher->lock);
    if (ret_unreported != NULL)
        *ret_unreported = left;
    return left == 0 ? LOCKSTEP_OK : room_error(publisher, error);
}

size_t lockstep_publisher_in_flight(lockstep_publisher *publisher)
{
    return atomic_load(&publisher->records_in_flight);
}
