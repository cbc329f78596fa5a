/*
 * The inside of the publisher, for its own files and for `lockstep publish`, which hands over
 * values that its parsers have read instead of building a record field by field.
 *
 * Threads: callers publish from any thread; the poll thread serves librdkafka and reports
 * deliveries; the topic thread checks the topics until all are as they should be. Shared state is
 * atomic or under `lock`. Callers wait for room on `changed`.
 */
#ifndef LS_PRODUCERS_PUBLISHER_H
#define LS_PRODUCERS_PUBLISHER_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "pipeline/config.h"
#include "pipeline/kafka_refusal.h"
#include "producers/change.h"
#include "producers/lockstep/publisher.h"

enum {
    LS_PUBLISHER_BYTES_DEFAULT = 64 << 20,
    LS_PUBLISHER_BYTES_MIN = 8 << 20,   /* a quarter of it holds the largest record */
    LS_PUBLISHER_RECORD_OVERHEAD = 200, /* librdkafka's own memory for a message, about */
    LS_PUBLISHER_DELIVERY_TIMEOUT_MS = 120 * 1000,
    LS_PUBLISHER_MESSAGE_MAX = 2 << 20, /* above any record; the topic has its own limit */
    LS_TRACE_MAX = 64,
    LS_ORIGIN_MAX = 64,
};

enum ls_topic_state {
    LS_TOPIC_UNCHECKED = 0, /* Kafka was not reached yet */
    LS_TOPIC_READY,         /* handle and partitions are set, for good */
    LS_TOPIC_REFUSED,       /* not what it should be; looked at again */
};

struct ls_publisher_entity {
    const struct ls_schema *schema;
    struct ls_schema *own_schema; /* to free; NULL where the configuration owns it */
    uint32_t generation;
    int32_t partitions_expected; /* 0: whatever the genesis says */
    char topic[250];

    atomic_int state; /* enum ls_topic_state: set last, with release order */
    int32_t partitions;
    rd_kafka_topic_t *handle;
    struct ls_err problem; /* under the publisher's lock: why it is not ready */
};

struct lockstep_publisher {
    struct ls_config *config; /* NULL unless opened from a file */
    char *brokers;
    struct ls_property *properties;
    size_t n_properties;
    char origin[LS_ORIGIN_MAX + 1];
    size_t max_bytes;
    int delivery_timeout_ms;
    lockstep_delivery_fn *on_delivery;
    void *delivery_opaque;
    lockstep_log_fn *on_log;
    void *log_opaque;

    struct ls_publisher_entity *entities;
    size_t n_entities;

    rd_kafka_t *producer;
    pthread_t poll_thread;
    pthread_t topic_thread;
    unsigned threads_started; /* of the two, in this order */

    atomic_size_t bytes_in_flight;
    atomic_size_t records_in_flight;
    atomic_int waiting;       /* threads on `changed` */
    atomic_bool closing;      /* ends the topic thread */
    atomic_bool stop_polling; /* ends the poll thread */
    atomic_bool failed;       /* the client met a fatal error */
    pthread_mutex_t lock;
    pthread_cond_t changed;             /* monotonic clock */
    struct ls_err last_error;           /* under lock: newest of librdkafka's */
    char refusal[LS_KAFKA_REFUSAL_MAX]; /* under lock: newest of a broker's; "": none */
    int64_t refusal_ms;                 /* under lock: when, monotonic */
};

/* The entity of that name; LOCKSTEP_SETUP with the names there are. */
enum lockstep_code ls_publisher_entity(lockstep_publisher *publisher, const char *name,
                                       struct ls_publisher_entity **ret,
                                       struct lockstep_error *error);

/* lockstep_publisher_ready for one entity: another one's topic does not matter to it. */
enum lockstep_code ls_publisher_entity_ready(lockstep_publisher *publisher,
                                             struct ls_publisher_entity *entity, int timeout_ms,
                                             struct lockstep_error *error);

/*
 * Checks and takes one change, as lockstep_publish does. wire is the caller's scratch memory, one
 * per thread.
 */
enum lockstep_code ls_publisher_take(lockstep_publisher *publisher,
                                     struct ls_publisher_entity *entity,
                                     const struct ls_change *change, struct ls_buf *wire,
                                     void *opaque, int timeout_ms, struct lockstep_error *error);

/* Fills error (which may be NULL) and returns code. */
enum lockstep_code ls_publisher_error(struct lockstep_error *error, enum lockstep_code code,
                                      const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * A conf with brokers, properties, log and error callbacks; the caller owns it. NULL and err if a
 * property is refused.
 */
rd_kafka_conf_t *ls_publisher_conf(lockstep_publisher *publisher, rd_kafka_type_t type,
                                   struct ls_err *err);

/* What a record takes of the memory in flight, and giving it back when it was reported. */
static inline size_t ls_publisher_bytes_of(size_t body_len, size_t key_len)
{
    return body_len + key_len + LS_PUBLISHER_RECORD_OVERHEAD;
}
void ls_publisher_release(lockstep_publisher *publisher, size_t bytes);

/* Body of the topic thread; argument and result as pthread_create wants them. */
void *ls_publisher_topic_thread(void *publisher);

/*
 * Waits on `changed` (lock held) for at most cap_ms and not past the deadline. False when the
 * deadline has passed.
 */
bool ls_publisher_wait(lockstep_publisher *publisher, int64_t deadline_ms, int64_t cap_ms);

#endif
