/* The parts of status, for its own files: heartbeats (status_beats.c), offsets (status_lag.c). */
#ifndef LS_PIPELINE_STATUS_INTERNAL_H
#define LS_PIPELINE_STATUS_INTERNAL_H

#include <librdkafka/rdkafka.h>

#include "pipeline/status.h"

/* One sink between two looks. */
struct ls_status_kept {
    const struct ls_sink_config *sink;
    struct ls_heartbeat *beats; /* newest of each instance */
    size_t n_beats;
    struct ls_heartbeat *alive; /* copies of those that are, for the caller */
    int64_t *low;               /* by partition: next offset that is not final */
    int64_t quarantine_end;     /* as of the newest reading, or -1 */
    uint64_t quarantined;
    bool quarantined_more;
    struct ls_status_looks looks;
};

/* LogAppendTime of the first record that a sink would apply at or after an offset. */
struct ls_status_peeked {
    int64_t offset;
    int64_t at_ms; /* 0: there is none before end */
    int64_t end;
};

/* An entity's log as of this look. */
struct ls_status_log {
    const struct ls_entity_config *entity;
    int64_t *first; /* -1, and so is the end: nobody can be asked */
    int64_t *end;
    int32_t *leaderless; /* those partitions */
    size_t n_leaderless;
    struct ls_status_peeked
        *peeked; /* by partition: the newest one; sinks often wait at the same */
};

struct ls_status {
    const struct ls_config *config;
    rd_kafka_t *client;   /* requests */
    rd_kafka_t *follower; /* reads lockstep.control on from where it stands */
    rd_kafka_t *peeker;   /* reads single records, for their age; asks for groups' offsets */
    int32_t control_partitions;
    int64_t *control_next; /* by partition */
    bool unheard;          /* some of them have no leader */
    struct ls_status_kept *kept;
    size_t n;
    struct ls_status_log *logs; /* one per entity */
    size_t n_logs;
};

/* Closes a consumer, if there is one. */
void ls_status_end_consumer(rd_kafka_t **consumer);

/* Reads new heartbeats into kept. */
int ls_status_follow(struct ls_status *status, struct ls_err *err);
/* Keeps a heartbeat if it is its instance's newest. Takes beat->partitions over. */
void ls_status_keep(struct ls_status_kept *kept, struct ls_heartbeat *beat);

/*
 * First offsets and ends of a topic's partitions [0..n), -1 of those without a leader, though that
 * be all of them.
 */
int ls_status_range(struct ls_status *status, const char *topic, int32_t n, int64_t *first,
                    int64_t *end, struct ls_err *err);
/* Ends of the logs; call once a look, first. */
int ls_status_ends(struct ls_status *status, struct ls_err *err);
/* low[], lag, behind_s and unowned of one sink. */
int ls_status_lag(struct ls_status *status, struct ls_status_kept *kept, struct ls_status_sink *ret,
                  struct ls_err *err);
const struct ls_status_log *ls_status_log_of(const struct ls_status *status,
                                             const struct ls_entity_config *entity);

#endif
