/*
 * Status: where every sink stands, from Kafka alone: end offsets, the groups' offsets, heartbeats
 * in lockstep.control and the quarantine topics. No store and no worker is asked, so it tells of
 * those that are down too.
 */
#ifndef LS_PIPELINE_STATUS_H
#define LS_PIPELINE_STATUS_H

#include <stdbool.h>

#include "base/buf.h"
#include "pipeline/config.h"
#include "pipeline/heartbeat.h"

enum {
    LS_STATUS_ALIVE_MS = 10 * 1000, /* a heartbeat older than this: the instance is gone */
    LS_STATUS_INSTANCES_MAX = 256,  /* of one sink that are remembered, the newest ones */
    LS_STATUS_LOOKS_MAX = 10,       /* that an ETA is made from: steady, yet soon right */
};

/* The states of instances, and two that only others can say of them. */
enum ls_sink_state {
    LS_SINK_STARTING,
    LS_SINK_RUNNING,
    LS_SINK_WAITING,
    LS_SINK_RETRYING,
    LS_SINK_HALTED,
    LS_SINK_STUCK,
    LS_SINK_STOPPED, /* the last instance left cleanly */
    LS_SINK_LOST,    /* the last instance fell silent */
    LS_SINK_NEVER,   /* no instance was ever heard of */
};
const char *ls_sink_state_name(enum ls_sink_state state); /* "RUNNING" */

struct ls_status_sink {
    const struct ls_sink_config *sink;
    enum ls_sink_state state;
    char reason[LS_HEARTBEAT_TEXT_MAX];
    char last_error[LS_HEARTBEAT_TEXT_MAX];
    int64_t last_error_ms; /* when it was met; 0 not told */
    int64_t heard_ms;      /* time of the newest heartbeat, 0 if none */
    int64_t lag;           /* offsets without a final verdict; 0 where none of them is a record */
    double behind_s;       /* age of the oldest of them; 0 when there is none, -1 when not known */
    double rate;           /* records/s, all instances */
    double eta_s; /* until nothing lags, as the looks before this one shrank; -1 not known */
    uint64_t counts[LS_VERDICTS]; /* all instances that are alive, else the newest one */
    uint64_t consumed;
    uint64_t quarantined;  /* entries of the quarantine topic that are open */
    bool quarantined_more; /* at least so many */
    int32_t unowned;       /* partitions without a worker, while some instance is alive */
    /* Partitions of the log without a leader, whose lag is not known; until the next gather. */
    const int32_t *leaderless;
    size_t n_leaderless;
    bool unheard;        /* part of lockstep.control has no leader: heartbeats may be missing */
    char breaker[12];    /* of the instance that stands worst: "closed", "open"; "" not told */
    uint64_t openings;   /* of breakers, all instances */
    uint32_t flow_limit; /* records that may be out at once, where it is the smallest part ... */
    uint32_t flow_max;   /* ... of what is configured; 0 not told */
    uint64_t rewinds;    /* times that the store had gone back, all instances */
    int64_t rewound_ms;  /* when that was last; 0 never or not told */
    const struct ls_heartbeat *instances; /* those that are alive; borrowed until the next gather */
    size_t n_instances;
};

struct ls_status; /* what is kept between two looks: clients, heartbeats, quarantine counts */

/* For these sinks (borrowed). NULL and err on failure. */
struct ls_status *ls_status_open(const struct ls_config *config,
                                 const struct ls_sink_config *const *sinks, size_t n,
                                 struct ls_err *err);
void ls_status_close(struct ls_status *status);

/*
 * Looks at everything; sinks[0..n) in the order given to open. A few round trips; bounded by the
 * request timeouts when no broker answers (RETRY). One thread.
 */
int ls_status_gather(struct ls_status *status, struct ls_status_sink *sinks, struct ls_err *err);

/*
 * Folds a sink's heartbeats into one state; the pure part of gathering. alive gets those that are
 * (n at most), *ret the state, reason, counts and rate of all.
 */
void ls_status_fold(const struct ls_heartbeat *beats, size_t n, int64_t now_ms,
                    struct ls_heartbeat *alive, struct ls_status_sink *ret);

/* The newest looks at one sink's lag; all zero at first. */
struct ls_status_looks {
    struct {
        int64_t at_ms; /* monotonic */
        int64_t lag;
    } look[LS_STATUS_LOOKS_MAX];
    size_t n; /* ever; the newest is look[(n - 1) % LS_STATUS_LOOKS_MAX] */
};
/*
 * Adds a look and returns the seconds until nothing lags, if it goes on to shrink as it did over
 * the looks that are kept: 0 where nothing lags, -1 on the first look and where it does not shrink.
 * Pure.
 */
double ls_status_eta(struct ls_status_looks *looks, int64_t at_ms, int64_t lag);

/* Whether a sink has nothing left to do: RUNNING or STOPPED with lag 0, and that of all. */
bool ls_status_caught_up(const struct ls_status_sink *sink);

/*
 * Whether nothing needs a person: RUNNING, or not running with nothing left to do, and every
 * partition has a leader.
 */
bool ls_status_fine(const struct ls_status_sink *sink);

/* What people and programs read. Pure. */
void ls_status_table(const struct ls_status_sink *sinks, size_t n, int64_t now_ms,
                     struct ls_buf *buf);
/* One object on one line. */
void ls_status_json(const struct ls_status_sink *sinks, size_t n, int64_t now_ms,
                    struct ls_buf *buf);

#endif
