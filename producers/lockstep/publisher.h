/*
 * Publishing changes of entities to lockstep's log, from any service that links a C library.
 *
 * A record is the full image of one entity (a put) or its deletion. It is checked with the schema
 * before it is sent, goes to the partition that its key belongs to, and comes back once as a
 * delivery that says what became of it and where it stands in the log. Every store follows from
 * there; nothing else has to be written.
 *
 * WHAT IS KNOWN
 *   taken         lockstep_publish returned LOCKSTEP_OK: the record is in this process's memory and
 *                 its delivery will be reported exactly once, at the latest by close.
 *   PUBLISHED     all in-sync replicas have the record. Every store will get it, or a newer image
 * of the key. The version is its place in the log. NOT_PUBLISHED the record is not in the log and
 * never will be. UNKNOWN       the answer was lost. The record may be in the log, or not. a crash
 * whatever was taken and not yet reported is UNKNOWN.
 *
 * WHAT TO DO WHEN IT IS NOT KNOWN
 *   Publish the key's full image as it is now. A second copy of an image is harmless: it is a
 *   newer version with the same content, and a store that has both holds the same thing. Publish
 * the newest image that the service has, not the one that failed: an old image published again
 * after a newer one is, to the log, the newest.
 *
 * ORDER
 *   Records of one key that one publisher took one after the other, are in the log in that order;
 *   one that fails is missing from it and never comes in later. Between keys, and between
 *   publishers, there is no order. A service whose threads change the same key must itself put them
 *   in order (a lock or a row lock around change and publish).
 *
 * THREADS
 *   lockstep_publish, lockstep_publisher_ready, _flush and _in_flight may be called from any
 * thread. A record belongs to one thread at a time. open and close are called once, with no other
 * call on the publisher under way. Deliveries are reported from the publisher's own thread. The
 *   library makes threads of its own, so it must be opened after a fork, not before.
 */
#ifndef LOCKSTEP_PUBLISHER_H
#define LOCKSTEP_PUBLISHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LOCKSTEP_API __attribute__((visibility("default")))
#else
#define LOCKSTEP_API
#endif

/* Result of every call that can fail. */
enum lockstep_code {
    LOCKSTEP_OK = 0,
    LOCKSTEP_WOULD_BLOCK = -1, /* not done before the deadline, nothing taken: try again */
    LOCKSTEP_INVALID = -2,     /* this record or argument can never be accepted as it is */
    LOCKSTEP_SETUP = -3,       /* the set-up is wrong (topic, schema, login): a person has to act */
    LOCKSTEP_FAILED = -4,      /* this publisher can send no more: close it and open another */
};

/* "ok", "would-block", "invalid", "setup", "failed". Never NULL. */
LOCKSTEP_API const char *lockstep_code_name(enum lockstep_code code);

/* Filled by a call that returns something else than LOCKSTEP_OK. NULL is fine where one is asked
 * for. */
struct lockstep_error {
    enum lockstep_code code;
    char text[480]; /* what, where and what to do, one line; never a field's value */
};

/* What became of a record. */
enum lockstep_outcome {
    LOCKSTEP_PUBLISHED = 0,
    LOCKSTEP_NOT_PUBLISHED = 1,
    LOCKSTEP_UNKNOWN = 2,
};

/* "published", "not-published", "unknown". Never NULL. */
LOCKSTEP_API const char *lockstep_outcome_name(enum lockstep_outcome outcome);

struct lockstep_delivery {
    enum lockstep_outcome outcome;
    const char *entity; /* NUL-terminated */
    const char *key;    /* key_len bytes, not NUL-terminated; valid during the call */
    size_t key_len;
    void *record_opaque; /* as given to lockstep_publish */
    int32_t partition;   /* -1 unless published */
    /*
     * Place in the partition, and the version: generation << 48 | (offset + 1). Both are of a
     * published record only, and even then -1 and 0 in the rare case that the broker confirmed a
     * record sent twice without saying where the first one stands.
     */
    int64_t offset;
    uint64_t version;
    const char *reason; /* why it is not published, one line; "" if it is */
};

/*
 * Reports one delivery, from the publisher's own thread: be quick. It may publish (a publish from
 * here never waits, whatever its deadline) but must not flush or close.
 */
typedef void lockstep_delivery_fn(void *opaque, const struct lockstep_delivery *delivery);

/* A log line of the Kafka client, from any of its threads; level as in syslog (3 error .. 7 debug).
 */
typedef void lockstep_log_fn(void *opaque, int level, const char *text);

struct lockstep_entity {
    const char *schema_file; /* YAML */
    uint32_t generation;     /* of the topic <entity>.state.<generation>; 0 means 1 */
    int32_t partitions;      /* that the topic must have; 0: what its genesis record says */
};

struct lockstep_property { /* one property of librdkafka */
    const char *name;
    const char *value;
};

/*
 * How to open. Start from LOCKSTEP_OPTIONS_INIT. Everything is copied or read during open.
 * Either config_file, or brokers and entities.
 */
struct lockstep_options {
    size_t size; /* sizeof(struct lockstep_options): another version's struct is refused, not
                    misread */

    /*
     * lockstep's own configuration file: its brokers, properties and entities. The whole file is
     * read, with the secrets that it points to.
     */
    const char *config_file;

    const char *brokers; /* "host:port,host:port" */
    const struct lockstep_entity *entities;
    size_t n_entities;

    /*
     * Further properties of librdkafka: security.protocol, sasl.*, ssl.*, compression.codec,
     * linger.ms and the like. Those that the contract rests on are refused: enable.idempotence,
     * acks, partitioner, transactional.id, the queue's limits and the delivery timeout.
     */
    const struct lockstep_property *properties;
    size_t n_properties;

    const char *origin; /* who publishes, 1 to 64 bytes of UTF-8: kept in every record */

    size_t max_bytes_in_flight; /* taken and not yet reported; 0: 64 MiB; at least 8 MiB */
    int delivery_timeout_ms;    /* a record not confirmed by then is given up; 0: 120,000 */

    lockstep_delivery_fn *on_delivery; /* may be NULL: then only flush and close tell */
    void *delivery_opaque;
    lockstep_log_fn *on_log; /* may be NULL: nothing is logged */
    void *log_opaque;
};

#define LOCKSTEP_OPTIONS_INIT                   \
    {                                           \
        .size = sizeof(struct lockstep_options) \
    }

typedef struct lockstep_publisher lockstep_publisher;
typedef struct lockstep_record lockstep_record;

/*
 * Reads schemas and configuration and starts connecting in the background; does not wait for
 * Kafka. LOCKSTEP_OK and *ret, or LOCKSTEP_SETUP. The caller closes the publisher.
 */
LOCKSTEP_API enum lockstep_code lockstep_publisher_open(const struct lockstep_options *options,
                                                        lockstep_publisher **ret,
                                                        struct lockstep_error *error);

/*
 * Waits until Kafka was reached and every entity's topic is as its genesis record (and
 * `partitions`) says. The first publish of an entity waits for the same, so calling this is a
 * matter of taste: a service that wants to start while Kafka is down does not. timeout_ms: 0 does
 * not wait, -1 waits for ever. LOCKSTEP_WOULD_BLOCK names the last error met; LOCKSTEP_SETUP says
 * what is wrong with the topic. Both are looked at again in the background, so either may turn into
 * LOCKSTEP_OK later.
 */
LOCKSTEP_API enum lockstep_code lockstep_publisher_ready(lockstep_publisher *publisher,
                                                         int timeout_ms,
                                                         struct lockstep_error *error);

/*
 * Waits until every record taken so far (by other threads too) has been reported. LOCKSTEP_OK, or
 * LOCKSTEP_WOULD_BLOCK when the deadline came first: *ret_unreported (may be NULL, always set) says
 * how many are still unknown. timeout_ms as above.
 */
LOCKSTEP_API enum lockstep_code lockstep_publisher_flush(lockstep_publisher *publisher,
                                                         int timeout_ms, size_t *ret_unreported,
                                                         struct lockstep_error *error);

/* Records taken and not yet reported. */
LOCKSTEP_API size_t lockstep_publisher_in_flight(lockstep_publisher *publisher);

/*
 * Flushes for at most timeout_ms, gives up what is left (each is reported: NOT_PUBLISHED if it was
 * never sent, else UNKNOWN) and frees the publisher. Returns how many were given up. NULL is fine.
 */
LOCKSTEP_API size_t lockstep_publisher_close(lockstep_publisher *publisher, int timeout_ms);

/*
 * An empty record of an entity, used again and again with lockstep_record_put or _delete. It must
 * be freed before its publisher is closed. LOCKSTEP_SETUP: no such entity (the text names those
 * there are).
 */
LOCKSTEP_API enum lockstep_code lockstep_record_new(lockstep_publisher *publisher,
                                                    const char *entity, lockstep_record **ret,
                                                    struct lockstep_error *error);
LOCKSTEP_API void lockstep_record_free(lockstep_record *record); /* NULL is fine */

/*
 * Begin a record anew: all fields absent, no trace id. A put is the full image: a field that is not
 * set is absent in every store afterwards. A key is 1 to 255 bytes of UTF-8 without control
 * characters and braces; LOCKSTEP_INVALID says what is wrong, and the record is then empty.
 */
LOCKSTEP_API enum lockstep_code lockstep_record_put(lockstep_record *record, const char *key,
                                                    size_t key_len, struct lockstep_error *error);
LOCKSTEP_API enum lockstep_code lockstep_record_delete(lockstep_record *record, const char *key,
                                                       size_t key_len,
                                                       struct lockstep_error *error);

/*
 * Set a field of a put by its name; what is passed is copied. Setting it again replaces it.
 * LOCKSTEP_INVALID names the field and the limit: no such field, another type, too long, not UTF-8,
 * not finite; the field then is what it was. An empty string or list is a value; absent is not
 * setting it.
 */
LOCKSTEP_API enum lockstep_code lockstep_record_set_string(lockstep_record *record,
                                                           const char *field, const char *text,
                                                           size_t len,
                                                           struct lockstep_error *error);
LOCKSTEP_API enum lockstep_code lockstep_record_set_int(lockstep_record *record, const char *field,
                                                        int64_t number,
                                                        struct lockstep_error *error);
LOCKSTEP_API enum lockstep_code lockstep_record_set_float(lockstep_record *record,
                                                          const char *field, double number,
                                                          struct lockstep_error *error);
LOCKSTEP_API enum lockstep_code lockstep_record_set_bool(lockstep_record *record, const char *field,
                                                         bool yes, struct lockstep_error *error);
/* time_us: microseconds since 1970-01-01 UTC. */
LOCKSTEP_API enum lockstep_code lockstep_record_set_time(lockstep_record *record, const char *field,
                                                         int64_t time_us,
                                                         struct lockstep_error *error);
/* lens may be NULL: then the items are NUL-terminated. */
LOCKSTEP_API enum lockstep_code lockstep_record_set_list(lockstep_record *record, const char *field,
                                                         const char *const *items,
                                                         const size_t *lens, size_t count,
                                                         struct lockstep_error *error);

/* Trace id kept in the record, at most 64 bytes of UTF-8. */
LOCKSTEP_API enum lockstep_code lockstep_record_set_trace(lockstep_record *record,
                                                          const char *trace, size_t len,
                                                          struct lockstep_error *error);
/* When the service made the change (information only; no order rests on it). Default: at publish.
 */
LOCKSTEP_API void lockstep_record_set_change_time(lockstep_record *record, int64_t time_us);

/*
 * Hands the record over. The record itself is copied, so it can be used for the next one at once.
 *   LOCKSTEP_OK           taken: its delivery will be reported once, with record_opaque.
 *   LOCKSTEP_WOULD_BLOCK  not taken: memory in flight stayed at its limit, or the topic could not
 * be checked yet, for timeout_ms (0: return at once; -1: wait for ever). LOCKSTEP_INVALID      not
 * taken: no put or delete was begun, or the record is too large. LOCKSTEP_SETUP        not taken:
 * the topic is missing or not what its genesis says, or the login is refused. LOCKSTEP_FAILED not
 * taken: the client met a fatal error. Close, open again, and publish again what was not reported
 * as published.
 */
LOCKSTEP_API enum lockstep_code lockstep_publish(lockstep_publisher *publisher,
                                                 lockstep_record *record, void *record_opaque,
                                                 int timeout_ms, struct lockstep_error *error);

#ifdef __cplusplus
}
#endif

#endif
