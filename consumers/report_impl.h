/* The report's parts, for report.c and observe.c and nobody else. */
#ifndef LS_CONSUMERS_REPORT_IMPL_H
#define LS_CONSUMERS_REPORT_IMPL_H

#include "consumers/failures.h"
#include "consumers/instance_impl.h"
#include "consumers/stats.h"

enum {
    LS_STUCK_MS = 60 * 1000,    /* without a final verdict though something is left to do */
    LS_STUCK_PART_TIMES = 5,    /* so many times as long for one partition while others move */
    LS_SILENT_PARTS = 12,       /* silent for this part of it: WAITING */
    LS_LOG_AWAY_MS = 10 * 1000, /* the log did not answer for so long: the sink WAITs */
    LS_STANDBY_MS = 10 * 1000,  /* without partitions, after joining: others have them */
    LS_RATE_SAMPLES = 5,
};

/* A partition, as it was seen last. */
struct ls_seen {
    int64_t low;       /* as of the newest look at it while it was begun; -1: never */
    int64_t asked_end; /* what the broker said of its end; -1: nothing yet */
    int64_t moved_ms;  /* monotonic: when low moved last, or nothing was left */
    int64_t oldest_ms; /* when the record at low was written, or was seen to be waiting; 0: none */
};

struct ls_report {
    struct ls_heartbeat beat;
    struct ls_buf json;
    char key[200];
    int64_t opened_ms; /* monotonic; beat.started_ms is for people */
    int64_t next_beat_ms;
    int64_t beaten_ms; /* when Kafka confirmed one last */
    struct {
        int64_t at_ms;
        uint64_t settled;
    } samples[LS_RATE_SAMPLES]; /* a ring: the rate is that since the oldest */
    unsigned n_samples;

    struct ls_stats *stats; /* NULL: nobody looks */
    struct ls_stats_view view;
    struct ls_failures failures;
    int64_t said_ms; /* when a state was logged last */
    char raw[480];   /* the newest failure as it came, to know its text again */

    struct ls_seen *seen;
    int64_t next_ask_ms;  /* the broker, for the ends of the log */
    int64_t away_ms;      /* since when it does not answer; 0: it does */
    char away[256];       /* what it said, or why not */
    uint64_t settled;     /* as of the newest look */
    int64_t explained_ms; /* when a state other than RUNNING said why nothing moves */
    int64_t bare_ms;      /* since when it has joined and has no partition; 0: it has some */
};

/* Records with a final verdict. */
uint64_t ls_observe_settled(const struct ls_instance *instance);
/* Brings the view up to date; asks the broker for the ends of the log now and then. */
void ls_observe(struct ls_instance *instance);
/* What the lane waits for, when it has something in hand. Returns whether it has. */
bool ls_observe_lane_wait(const struct ls_instance *instance, unsigned number, char *ret,
                          size_t size);
/* That the partition has no leader, and what to do about it. */
void ls_observe_lack(const struct ls_instance *instance, int32_t partition, char *ret, size_t size);
/* What the instance waits for, when it has something to do and nothing of it is done. */
void ls_observe_wait(const struct ls_instance *instance, char *ret, size_t size);

#endif
