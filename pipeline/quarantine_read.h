/*
 * Reads a sink's quarantine topic: as messages between two offsets, or as the entries that are open
 * (not closed, and not replaced by a newer message about the same record).
 *
 * A topic may hold hundreds of megabytes, so nothing of it is kept: it is read once for what is
 * replaced or closed (a bit per message), and once more for the entries. Each call has a consumer
 * of its own, joins no group and commits nothing. Keeping all entries in memory was rejected, and
 * so was reading backwards, which Kafka cannot do. Any thread, each call by itself.
 */
#ifndef LS_PIPELINE_QUARANTINE_READ_H
#define LS_PIPELINE_QUARANTINE_READ_H

#include <stdatomic.h>

#include "pipeline/quarantine_entry.h"

/* A consumer of one topic and the range of each partition as it was when it was opened. */
struct ls_quarantine_scan {
    rd_kafka_t *consumer;
    char topic[LS_TOPIC_NAME_MAX];
    int32_t n;      /* partitions; 0: the topic is not there */
    int64_t *first; /* by partition */
    int64_t *end;
};

/* Opens the topic of that sink. A topic that is not there is not an error. RETRY or FATAL. */
int ls_quarantine_scan_open(const struct ls_config *config, const struct ls_sink_config *sink,
                            struct ls_quarantine_scan *ret, struct ls_err *err);
void ls_quarantine_scan_close(struct ls_quarantine_scan *scan);

/*
 * Calls each() for every message from from[p] (NULL: the first) to end[p], partitions mixed, until
 * each() says false or *stop (NULL: never) is set; then it returns 0 too. RETRY when the broker
 * falls silent.
 */
typedef bool ls_quarantine_message_fn(void *opaque, const rd_kafka_message_t *message);
int ls_quarantine_scan_run(const struct ls_quarantine_scan *scan, const int64_t *from,
                           ls_quarantine_message_fn *each, void *opaque, const atomic_int *stop,
                           struct ls_err *err);

/*
 * Calls each() for every entry that is open, in the order of the topic, until it says false or
 * *stop is set. from (NULL: the first) leaves out what stands before. The number of the topic's
 * messages that have to be read is known before: end[] less from[].
 */
typedef bool ls_quarantine_entry_fn(void *opaque, const struct ls_quarantine_entry *entry);
int ls_quarantine_scan_open_entries(const struct ls_quarantine_scan *scan,
                                    const struct ls_entity_config *entity, const int64_t *from,
                                    ls_quarantine_entry_fn *each, void *opaque,
                                    const atomic_int *stop, struct ls_err *err);

/* All of it: opens, reads the open entries, closes. */
int ls_quarantine_read(const struct ls_config *config, const struct ls_sink_config *sink,
                       ls_quarantine_entry_fn *each, void *opaque, const atomic_int *stop,
                       struct ls_err *err);

#endif
