/*
 * Heartbeats: what each sink instance says of itself in lockstep.control, about once a second and
 * at every change of state; key `heartbeat/<entity>/<sink>/<instance>`, value JSON
 * (docs/ARCHITECTURE.md). An instance that leaves cleanly writes one last heartbeat with state
 * STOPPED. Status and readers use nothing else of a worker.
 */
#ifndef LS_PIPELINE_HEARTBEAT_H
#define LS_PIPELINE_HEARTBEAT_H

#include "base/buf.h"
#include "pipeline/record.h"

enum ls_state {
    LS_STATE_STARTING, /* connecting, reading marks */
    LS_STATE_RUNNING,  /* something moves, or nothing is left to do */
    LS_STATE_WAITING,  /* for something named in reason: the store, the topic, partitions */
    LS_STATE_RETRYING, /* work in hand is being sent again */
    LS_STATE_HALTED,   /* FATAL: a person has to act */
    LS_STATE_STOPPED,
    /*
     * Something is left to do, nothing got its final verdict for a minute, and none of the other
     * states explains it; reason says what it waits for. In JSON it is WAITING with "stuck": true,
     * which readers from before it was known take for WAITING.
     */
    LS_STATE_STUCK,
};
const char *ls_state_name(enum ls_state state); /* "RUNNING" */

struct ls_heartbeat_partition {
    int32_t partition;
    int64_t low;       /* next offset: everything before it has its final verdict */
    int64_t end;       /* end of the log as the worker last saw it, or -1 */
    int64_t low_at_ms; /* LogAppendTime of the newest record before low, or 0 */
};

/* As long as the text of an error: what to do about it stands at its end. */
enum { LS_HEARTBEAT_TEXT_MAX = 480 };

struct ls_heartbeat {
    char entity[33];
    char sink[33];
    char instance[80]; /* host:pid:number */
    enum ls_state state;
    char reason[LS_HEARTBEAT_TEXT_MAX];     /* why it is not RUNNING; "" otherwise */
    char last_error[LS_HEARTBEAT_TEXT_MAX]; /* newest failure, "" if none ever */
    int64_t time_ms;                        /* wall clock of the worker */
    int64_t started_ms;
    uint64_t counts[LS_VERDICTS]; /* final verdicts since start, and RETRY: records sent again */
    uint64_t consumed;            /* records read since start */
    double rate;                  /* records/s with a final verdict, over the last seconds */
    /* Of the lane that stands worst; not told by older workers: "" and 0. */
    char breaker[12];    /* "closed", "open", "half-open" */
    uint64_t openings;   /* of all lanes' breakers, since start */
    uint32_t flow_limit; /* records that may be out at once now ... */
    uint32_t flow_max;   /* ... and at most */
    uint64_t rewinds;    /* times that the store had gone back, since start */
    /* Wall clock of the worker: when that was last, and last_error was met; 0 never or not told. */
    int64_t rewound_ms;
    int64_t last_error_ms;
    struct ls_heartbeat_partition *partitions;
    size_t n_partitions;
};

void ls_heartbeat_encode(const struct ls_heartbeat *heartbeat, struct ls_buf *buf);
/* The caller frees ret->partitions. */
int ls_heartbeat_decode(const char *json, size_t len, struct ls_heartbeat *ret, struct ls_err *err);

#endif
