/*
 * Kafka as all parts use it: clients made from the configuration, the log's identity, and reading a
 * small topic, whole or in part. Everything else talks to librdkafka directly.
 */
#ifndef LS_PIPELINE_KAFKA_H
#define LS_PIPELINE_KAFKA_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#include "pipeline/config.h"
#include "schema/wire.h"

enum {
    /*
     * A call that asks Kafka, whatever it asks one after the other; reading: without anything new
     * from the broker. To end a client of its own may take a few seconds more.
     */
    LS_KAFKA_TIMEOUT_MS = 15000,
    LS_KAFKA_MESSAGE_BYTES_MAX = 4 << 20, /* of any message that lockstep writes */
    /*
     * The genesis is among this many first records of a partition. Compaction only moves it
     * forward, so it stays there; `topics create` adopts no partition with more.
     */
    LS_GENESIS_WITHIN = 100000,
};

/*
 * A client of that type with bootstrap.servers, the configured properties of its type, client.id
 * `lockstep-<role>`, log lines routed to ls_log, what the laws ask of every client (producer: acks
 * of all, idempotence, murmur2_random; consumer: no automatic commit, earliest, read_committed;
 * neither makes topics), then `extra` (name, value pairs, NULL-ended or NULL), which wins. `conf`
 * is NULL or a conf with callbacks and opaque set; it is always consumed. NULL and err (FATAL) on
 * failure. The caller destroys the client.
 */
rd_kafka_t *ls_kafka_client(const struct ls_config *config, rd_kafka_type_t type, const char *role,
                            rd_kafka_conf_t *conf, const char *const *extra, struct ls_err *err);

/*
 * Ends a client, waiting a few seconds at most. librdkafka 2.0.2 waits for ever for a broker's
 * thread that still holds a partition, which is so when the cluster was replaced by another under
 * the same address: then the client is left to itself, so that the process can end, and false is
 * returned: what it was given (descriptors to wake, opaques) must stay. NULL is fine.
 */
bool ls_kafka_end(rd_kafka_t *client);

/*
 * What a librdkafka error means: authentication, authorisation, unknown topic, a wrong set-up and a
 * fenced or broken client are FATAL, a record that the broker can never take is POISON, the rest is
 * RETRY.
 */
enum ls_err_class ls_kafka_class(rd_kafka_resp_err_t code);

/*
 * librdkafka's error as ours, the formatted text before librdkafka's. Where no broker could be
 * talked to and one has refused password or certificate lately, that: FATAL. Returns -1.
 */
int ls_kafka_err(struct ls_err *err, rd_kafka_resp_err_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Whether any broker answers within timeout_ms: a client of its own asks. RETRY when none does. */
int ls_kafka_answers(const struct ls_config *config, int timeout_ms, struct ls_err *err);

/*
 * Wakes librdkafka's thread of the partition's broker, by a small request to it: one whose queue
 * was full, or that was idle when a partition was assigned, may sleep for up to a second before it
 * looks again (librdkafka 2.0.2; measured: 1.0 s without, 0.03 s with). Waits for the answer, at
 * most half a second. -1: no answer, so the broker is not asleep but away.
 */
int ls_kafka_wake(rd_kafka_t *client, const char *topic, int32_t partition);

/*
 * Number of partitions of a topic; 0 when the topic is not there (not an error).
 */
int ls_kafka_partitions(rd_kafka_t *client, const char *topic, int32_t *ret, struct ls_err *err);

/*
 * The genesis record of each partition of the entity's state topic, genesis[0..partitions). FATAL,
 * naming `lockstep topics create`, when the topic is missing, has another number of partitions, a
 * partition has no genesis, or they disagree.
 */
int ls_kafka_genesis(const struct ls_config *config, const struct ls_entity_config *entity,
                     struct ls_genesis *genesis, struct ls_err *err);

/*
 * The same for a topic that may lack some: found[p] says whether partition p has a genesis.
 * Disagreement between partitions is not looked at. FATAL on a genesis that can't be read. RETRY
 * when a partition has no leader, after a few seconds in which it may get one.
 */
int ls_kafka_find_genesis(const struct ls_config *config, const char *topic, int32_t partitions,
                          struct ls_genesis *genesis, bool *found, struct ls_err *err);

/* Says that the log was made with another number of partitions, and the way out. Returns -1. */
int ls_kafka_refuse_partitions(const struct ls_entity_config *entity,
                               const struct ls_genesis *genesis, struct ls_err *err);

/*
 * As ls_kafka_genesis, but of the partitions that have a leader: asked[p] says which. The others
 * get the same uuid, since a log has one, with offset and time 0, and have to be asked before
 * anything of them is used. RETRY when none has a leader, or nothing new comes for timeout_ms.
 */
int ls_kafka_genesis_asked(const struct ls_config *config, const struct ls_entity_config *entity,
                           int timeout_ms, struct ls_genesis *genesis, bool *asked,
                           struct ls_err *err);

/*
 * A place in the log and what is known of it: no record up to and including `offset` was appended
 * after `at_ms`, the LogAppendTime of the newest of them. A mark says that of the log behind it, a
 * genesis record of itself.
 */
struct ls_log_position {
    int32_t partition;
    int64_t offset;
    int64_t at_ms; /* 0: not known, and nothing is checked */
    /*
     * Where the first younger thing is that was read and is no record, as the last check of this
     * position left it: it is not read again. 0: read whatever is there.
     */
    int64_t clean;
    bool asked; /* set by the check: its partition has a leader, and that answered */
};

/*
 * Law 7: whether the log is still the one that the positions were taken from. A record at or before
 * a position that is younger than it says was not there then: the log was cut and written again, or
 * made again under its name, and this tells so even when it has grown beyond the position since.
 * Who leads is asked, and then each broker that leads any of the partitions; partitions without a
 * leader are left out, as positions[].asked says. Where something younger is there, it is read
 * until a record proves it, by a consumer of its own, as the control records of transactions are
 * younger, too, and no sign of anything. ret_wrong is the first position that no longer holds, NULL
 * when all that were asked do. -1: RETRY when that takes longer than timeout_ms (while reading:
 * when nothing new comes for so long).
 */
int ls_kafka_check_log(const struct ls_config *config, rd_kafka_t *client, const char *topic,
                       struct ls_log_position *positions, size_t n, int timeout_ms,
                       const struct ls_log_position **ret_wrong, struct ls_err *err);

/*
 * Reads all partitions of a topic from the start to the end as it is now, calling each() for every
 * message (never one with an error). For small topics: control, quarantine. FATAL when the topic is
 * missing; RETRY when nothing new comes for timeout_ms, and then each() may have been called.
 */
typedef void ls_message_fn(void *opaque, const rd_kafka_message_t *message);
int ls_kafka_read_all(const struct ls_config *config, const char *topic, int timeout_ms,
                      ls_message_fn *each, void *opaque, struct ls_err *err);

/*
 * The same for a part of the log: of each partition what is left of [from, end), which may end
 * before `end`, until each() returns true: that is enough of all of them. RETRY when a partition
 * has no leader, or nothing comes for timeout_ms; FATAL when a partition is not there.
 */
typedef bool ls_span_fn(void *opaque, const rd_kafka_message_t *message);
struct ls_log_span {
    int32_t partition;
    int64_t from;
    int64_t end;
};
int ls_kafka_read_spans(const struct ls_config *config, const char *topic,
                        const struct ls_log_span *spans, size_t n, int timeout_ms, ls_span_fn *each,
                        void *opaque, struct ls_err *err);

#endif
