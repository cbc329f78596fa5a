/*
 * What a sink instance lets others see of it: a view, published by its own thread about once a
 * second and at every change of state, and read by the thread that answers HTTP. A reader never
 * touches the instance, so a look at the numbers can neither disturb the work nor hang with it.
 *
 * One thing is told beside the view: that the loop turns, so that a loop that hangs can be told
 * from one that has nothing to say. A crash takes all of it along.
 *
 * Rejected: atomic counters that a reader adds up. They would be read at different moments, and
 * verdicts that do not add up to what was consumed are the first thing one looks for in a fault.
 */
#ifndef LS_CONSUMERS_STATS_H
#define LS_CONSUMERS_STATS_H

#include "consumers/breaker.h"
#include "consumers/sink.h"
#include "pipeline/config.h"
#include "pipeline/heartbeat.h"
#include "pipeline/metrics.h"

enum { LS_ERR_CLASSES = LS_ERR_FATAL + 1 };

struct ls_partition_stats {
    bool owned;        /* given to this instance by the group */
    int64_t lag;       /* offsets without a final verdict; -1 not known */
    int64_t oldest_ms; /* about when the oldest of them was written, 0 if there is none or its time
                          is not known */
};

struct ls_lane_stats {
    uint32_t batches; /* in hand */
    uint32_t units;   /* with the lane */
    uint32_t records; /* with the lane or waiting to go again */
    enum ls_breaker_state breaker;
    uint64_t openings;   /* of the breaker, ever */
    uint32_t flow_limit; /* records that may be out */
    uint32_t flow_max;   /* ... at most */
};

struct ls_stats_view {
    enum ls_state state;
    char reason[LS_HEARTBEAT_TEXT_MAX];
    char warning[LS_LANE_WARNING_MAX]; /* what stops nothing and a person should know; "" nothing */
    bool wrong;                        /* ... and should act on */
    bool standby; /* WAITING because others have all partitions: nothing is wrong */
    uint64_t counts[LS_VERDICTS];
    uint64_t consumed;
    uint64_t failures[LS_ERR_CLASSES]; /* answers of stores and log, by class */
    uint64_t looks, rewinds;
    uint64_t heartbeats_failed;
    int64_t heartbeat_ms;  /* monotonic: when Kafka confirmed one last */
    uint64_t quarantined;  /* open entries that this worker knows of */
    uint64_t unconfirmed;  /* records that wait for the quarantine */
    uint64_t memory_bytes; /* of messages and batches in hand */
    int64_t progress_ms; /* monotonic: when something got its final verdict, or nothing was left */
    struct ls_histogram batch_records;
    struct ls_histogram request_s; /* from giving a unit to a lane to its verdicts */
    struct ls_histogram delay_s;   /* LogAppendTime to APPLIED */
    struct ls_partition_stats *partitions;
    int32_t n_partitions;
    struct ls_lane_stats *lanes;
    unsigned n_lanes;
};

struct ls_stats;

/* For one instance of this sink (borrowed). The caller frees it after the instance has ended. */
struct ls_stats *ls_stats_new(const struct ls_sink_config *sink);
void ls_stats_free(struct ls_stats *stats);
const struct ls_sink_config *ls_stats_sink(const struct ls_stats *stats);

/* The instance's: its loop turns. One atomic store. */
void ls_stats_turn(struct ls_stats *stats);
/* The same, with the time given: for tests. */
void ls_stats_turn_at(struct ls_stats *stats, int64_t mono_ms);
/* The instance's: copies the view for the readers. */
void ls_stats_publish(struct ls_stats *stats, const struct ls_stats_view *view);

/* Any thread: monotonic milliseconds when the loop turned last. */
int64_t ls_stats_turned_ms(const struct ls_stats *stats);
/*
 * Any thread: the newest view; what ret held before is reused, so it starts zeroed and ends with
 * ls_stats_view_free.
 */
void ls_stats_read(struct ls_stats *stats, struct ls_stats_view *ret);
void ls_stats_view_free(struct ls_stats_view *view);

/* Fills in what a view needs before it is counted into. */
void ls_stats_view_init(struct ls_stats_view *view, int32_t n_partitions, unsigned n_lanes);

#endif
