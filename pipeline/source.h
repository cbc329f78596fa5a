/*
 * A source: where a sink instance's messages come from. Two kinds behind one face: the sink's
 * consumer group (live), or a plain range of the state topic without a group (replay, resync).
 *
 * Messages never come through the group's own queue. Each lane has a queue; a partition is
 * forwarded to its lane's queue before it is begun, and librdkafka keeps a forwarding that the
 * application made. So a lane that is full simply is not read (its partitions stop fetching when
 * their queue is full), while serve() keeps membership and rebalances going, and a lane whose store
 * is dead never holds up another's partitions. pause()/resume() was rejected: it throws away what
 * was fetched and needs the same bookkeeping.
 *
 * In a group, a partition that was given is begun later, when the store's mark is known: the
 * assignment is acknowledged at once with none of its partitions, so a store that is down never
 * holds up the group.
 *
 * One thread uses a source. Nothing of it survives a crash; positions live in the stores' marks.
 */
#ifndef LS_PIPELINE_SOURCE_H
#define LS_PIPELINE_SOURCE_H

#include <librdkafka/rdkafka.h>

#include "pipeline/config.h"

struct ls_source;

/* What a group does to a source; called from ls_source_serve and ls_source_close. */
struct ls_source_events {
    /* These partitions are ours now; begin each when its start is known. */
    void (*given)(void *opaque, const int32_t *partitions, size_t n);
    /*
     * These partitions go to somebody else: finish or drop what is in hand. lost: they are gone
     * already (the session ended). On return the source stops fetching them.
     */
    void (*taken)(void *opaque, const int32_t *partitions, size_t n, bool lost);
};

/* How much may be fetched ahead of those who read; bytes of keys and values. */
struct ls_source_limits {
    uint64_t queue_bytes;     /* of one queue: nothing more is asked for from here on */
    uint64_t fetch_bytes;     /* of one answer of a broker, about */
    uint64_t partition_bytes; /* ... of one partition in it */
};

/* Joins the sink's consumer group. limits NULL: the usual. NULL and err on failure. */
struct ls_source *ls_source_group(const struct ls_config *config, const struct ls_sink_config *sink,
                                  const struct ls_source_limits *limits,
                                  const struct ls_source_events *events, void *opaque,
                                  struct ls_err *err);
/* Reads partitions of the entity's state topic without any group. */
struct ls_source *ls_source_range(const struct ls_config *config,
                                  const struct ls_entity_config *entity,
                                  const struct ls_source_limits *limits, struct ls_err *err);

/*
 * Leaves the group (events.taken is called for what is left) and frees everything. Queues made by
 * ls_source_queue are destroyed with it.
 */
void ls_source_close(struct ls_source *source);

/* A queue for one lane, owned by the source. */
rd_kafka_queue_t *ls_source_queue(struct ls_source *source);

/* Starts fetching a partition at an offset into a lane's queue. */
int ls_source_begin(struct ls_source *source, int32_t partition, int64_t offset,
                    rd_kafka_queue_t *queue, struct ls_err *err);
/* Stops fetching a partition, if it was begun; messages in its queue may still come. */
void ls_source_end(struct ls_source *source, int32_t partition);

/* Runs callbacks: rebalances, errors. Does not wait. Call at least every few seconds. */
void ls_source_serve(struct ls_source *source);

/* Readable while a queue has messages or serve() has work: for poll(2). clear() before looking. */
int ls_source_fd(const struct ls_source *source);
void ls_source_clear_fd(struct ls_source *source);

/* Commits next offsets, for lag displays only, without waiting; no-op for a range. */
void ls_source_commit(struct ls_source *source, const int32_t *partitions, const int64_t *offsets,
                      size_t n);

/*
 * ls_kafka_wake for a partition that was begun: when its queue has run empty, the second that its
 * broker's thread sleeps is lost. Call it seldom.
 */
int ls_source_wake(struct ls_source *source, int32_t partition);

/* End of a partition's log as last fetched (no request is made), or -1. */
int64_t ls_source_cached_end(struct ls_source *source, int32_t partition);

/* The client, for requests such as ls_kafka_ranges. Borrowed. */
rd_kafka_t *ls_source_client(struct ls_source *source);

#endif
