/*
 * The sink instance: the one engine. It reads a source, keeps the newest record of each key,
 * applies them through the sink's lanes with bounded work in flight, gives every record one
 * verdict, moves the low watermark, writes the mark into the store and commits.
 *
 * Live consumption, replay and resync are the same engine: another source, position and pace.
 */
#ifndef LS_CONSUMERS_INSTANCE_H
#define LS_CONSUMERS_INSTANCE_H

#include <stdatomic.h>

#include "consumers/sink.h"
#include "consumers/stats.h"

enum ls_position {
    LS_POSITION_MARKS, /* live: the sink's group; starts at the store's marks and moves them */
    LS_POSITION_RANGE, /* replay: from..to of each partition, no group, marks left alone */
};

struct ls_range { /* of one partition */
    int64_t from;
    int64_t to; /* exclusive */
};

struct ls_instance_options {
    const struct ls_config *config;
    const struct ls_sink_config *sink;
    enum ls_position position;
    const struct ls_range *ranges; /* RANGE: by partition; from == to leaves a partition out */
    bool repair;                   /* a record of an equal version is written, too */
    bool adopt;                    /* RANGE: a store with data and no mark is not refused */
    /*
     * RANGE: where the run leaves, by partition, when the newest record before its end was
     * appended (0: nothing was read), so that a mark can be made there; or NULL.
     */
    int64_t *ret_low_at_ms;
    uint32_t mark_interval_ms;          /* 0: 1000 */
    uint32_t backoff_cap_ms;            /* between two tries of what the store refused; 0: 5000 */
    unsigned number;                    /* tells instances of one process apart */
    uint32_t look_interval_ms;          /* 0: 10000 */
    uint32_t stuck_ms;                  /* without progress, until it says STUCK; 0: 60000 */
    struct ls_stats *stats;             /* what others may see of it, or NULL; borrowed */
    const struct ls_sink_ops *sink_ops; /* NULL: those of the sink's kind */
};

/* Totals of one run. Every consumed record has one of the final verdicts when the run ends well. */
struct ls_instance_totals {
    uint64_t consumed;
    uint64_t counts[LS_VERDICTS]; /* final verdicts; [RETRY]: records that were sent again */
};

/*
 * Runs until *stop is set (then drains: finishes what is in flight for a bounded time, writes
 * marks, commits, leaves) or, for a range, until its end. Blocking; each instance has its own
 * thread. Failures of store or log do not end a live run: the instance waits, retries or halts, and
 * says so in its heartbeats and log. Returns 0, or -1 and err when it could not start at all (no
 * thread, no client), or when a range met a FATAL verdict. progress, if not NULL, is called a few
 * times a second with the totals so far and, for a range, the offsets left.
 */
typedef void ls_instance_progress_fn(void *opaque, const struct ls_instance_totals *totals,
                                     uint64_t offsets_left);
int ls_instance_run(const struct ls_instance_options *options, const atomic_int *stop,
                    ls_instance_progress_fn *progress, void *opaque,
                    struct ls_instance_totals *ret_totals, struct ls_err *err);

#endif
