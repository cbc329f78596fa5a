/*
 * The instance's parts, for the files that make it up and nobody else:
 *   instance.c   the loop and its states
 *   startup.c    store, log identity, marks: where each partition starts
 *   dispatch.c   batches → units → verdicts → the low watermark
 *   marks.c      low watermarks → marks in the store → committed offsets
 *   quarantine.c poison → the quarantine topic
 *   report.c     heartbeats, log lines, counters
 * All of it runs in the instance's thread; lanes are met only through lane.h.
 */
#ifndef LS_CONSUMERS_INSTANCE_IMPL_H
#define LS_CONSUMERS_INSTANCE_IMPL_H

#include "consumers/batch.h"
#include "consumers/instance.h"
#include "consumers/lane.h"
#include "consumers/store.h"
#include "pipeline/heartbeat.h"
#include "pipeline/source.h"

enum {
    LS_BACKOFF_BASE_MS = 50,
    LS_BACKOFF_CAP_MS = 5000,     /* between two tries of what the store refused for now */
    LS_START_RETRY_MS = 1000,     /* between two tries to start while the store is away */
    LS_HALT_RECHECK_MS = 15000,   /* a halted sink looks again this often */
    LS_UNKNOWN_ATTEMPTS_MAX = 30, /* then an error that no table knows is FATAL */
    LS_WAKE_MS = 20,              /* between two requests that wake a broker, for one lane */
    LS_AWAY_MS = 5000,            /* ... and after one that it did not answer */
    LS_DRAIN_MS = 20000,          /* SIGTERM: at most this long for what is in flight */
    LS_TAKEN_DRAIN_MS = 5000,     /* partitions that are taken away: likewise */
};

/* A partition as this instance knows it. */
struct ls_partition {
    enum { LS_PART_NONE, LS_PART_GIVEN, LS_PART_BEGUN } state;
    int64_t read;      /* next offset to be read; what is before it is in a batch or settled */
    bool heard;        /* anything came since it was begun */
    bool at_end;       /* the last that came was the end of the log */
    int64_t low;       /* next offset: everything before it has its final verdict */
    int64_t low_at_ms; /* LogAppendTime of the newest record before low */
    int64_t marked;    /* low as the store's mark has it */
    int64_t marking;   /* low that is being written, or -1 */
};

/* A lane as its instance knows it. */
struct ls_lane_state {
    struct ls_lane *lane;
    rd_kafka_queue_t *queue;
    struct ls_batch *oldest, **newest; /* in flight, in the order read */
    uint32_t n_batches;
    uint32_t units_out;      /* given to the lane and not back */
    struct ls_unit *waiting; /* to go again when resume_ms has come */
    int64_t resume_ms;
    int64_t woken_ms; /* when its broker was woken last */
    int32_t woken;    /* and for which partition */
    unsigned attempt; /* failed tries in a row: sets the back-off */
};

struct ls_quarantine;

struct ls_instance {
    const struct ls_instance_options *options;
    const struct ls_config *config;
    const struct ls_sink_config *sink_config;
    const struct ls_sink_ops *ops;
    const struct ls_store_ops *store_ops;
    struct ls_sink *sink;
    struct ls_store *store; /* open while marks may be read; this thread's */
    struct ls_source *source;
    struct ls_returns *returns;
    struct ls_quarantine *quarantine;
    struct ls_lane_state *lanes;
    unsigned n_lanes;
    struct ls_partition *partitions;
    int32_t n_partitions;
    struct ls_genesis *genesis; /* by partition, as the log has it */
    int64_t *stop_at;           /* RANGE: exclusive ends by partition, else NULL */
    struct ls_intake intake;
    struct ls_batch *spare;    /* reused, linked by next */
    uint32_t released_version; /* newest released schema that was looked up */

    enum ls_state state;
    char reason[256];
    char last_error[480];
    int64_t next_start_ms; /* STARTING, WAITING, HALTED: when to try again */
    int64_t next_begin_ms; /* given partitions could not be begun: when to try again; 0: at once */
    int64_t next_marks_ms;
    bool log_unsure; /* the group was rebalanced: the log may have changed under it */
    bool dropping;   /* letting go of everything: rebalances need not wait for work in hand */

    struct ls_instance_totals totals;
    rd_kafka_t *producer; /* quarantine and heartbeats */
    struct ls_report *report;
};

/* instance.c: the group's events */
void ls_instance_given(void *opaque, const int32_t *partitions, size_t n);
void ls_instance_taken(void *opaque, const int32_t *partitions, size_t n, bool lost);

/* startup.c: one try to get going; on -1 err says RETRY (try again soon) or FATAL (halt). */
int ls_startup(struct ls_instance *instance, struct ls_err *err);
/*
 * Begins every partition that was given and is not begun yet, from its mark. An outage here does
 * not disturb the partitions that are begun already: the others wait. -1 as ls_startup.
 */
int ls_startup_begin_given(struct ls_instance *instance, struct ls_err *err);
/* Ends all partitions and closes the store, so that ls_startup can begin afresh. */
void ls_startup_undo(struct ls_instance *instance);

/* dispatch.c */
/* Whether a lane has room for another batch now. */
bool ls_dispatch_can_fetch(const struct ls_instance *instance, const struct ls_lane_state *lane);
/* Reads and dispatches what the lanes have room for; -1 when the sink must halt or start again. */
int ls_dispatch_fetch(struct ls_instance *instance, struct ls_err *err);
/* Takes finished units and quarantine confirmations, and sends again what is due. -1 likewise. */
int ls_dispatch_returns(struct ls_instance *instance, struct ls_err *err);
/* A quarantine write of this batch is confirmed. */
void ls_dispatch_quarantined(struct ls_instance *instance, struct ls_batch *batch);
/* Units and quarantine writes out, over all lanes. */
bool ls_dispatch_idle(const struct ls_instance *instance);
/* Forgets what was read for a partition that ended: its batches no longer move the watermark. */
void ls_dispatch_forget(struct ls_instance *instance, int32_t partition);
/* Waits for what is in flight, up to timeout_ms, without reading more. */
void ls_dispatch_drain(struct ls_instance *instance, int64_t timeout_ms);
/*
 * Drops all that was read and is not settled, after the lanes gave back what they had taken: before
 * starting again from the marks.
 */
void ls_dispatch_drop(struct ls_instance *instance);
/* Puts a unit without records on a lane; takes the marks, which were allocated for it. */
void ls_dispatch_marks(struct ls_instance *instance, unsigned lane, struct ls_mark *marks,
                       uint32_t n_marks);

/* marks.c */
/* Writes the marks that are due: all that moved, at most once an interval; now: at once. */
void ls_marks_write(struct ls_instance *instance, bool now);
/* A unit came back with its marks written (or not: then they are due again). */
void ls_marks_written(struct ls_instance *instance, const struct ls_unit *unit);
bool ls_marks_pending(const struct ls_instance *instance);

/* quarantine.c */
/* A producer with acks=all for quarantine and heartbeats, its callbacks served by quarantine.c. */
rd_kafka_t *ls_quarantine_producer(struct ls_instance *instance, struct ls_err *err);
struct ls_quarantine *ls_quarantine_open(struct ls_instance *instance);
void ls_quarantine_close(struct ls_quarantine *quarantine);
/*
 * Sends a poison record to the quarantine topic; batch->open counts it until it is confirmed. Never
 * waits: what the producer cannot take now is kept and sent by serve.
 */
void ls_quarantine_put(struct ls_quarantine *quarantine, struct ls_batch *batch,
                       struct ls_record *record, int code, const char *text);
/* Lets go of all batches: writes that are not confirmed no longer count for them. */
void ls_quarantine_forget(struct ls_quarantine *quarantine);
/*
 * Runs delivery callbacks, sends what was kept. -1 when the topic is missing or refuses a record
 * for good (FATAL), or when the producer broke and was replaced (RETRY, or FATAL where it was the
 * set-up that broke it).
 */
int ls_quarantine_serve(struct ls_quarantine *quarantine, struct ls_err *err);

/* report.c */
struct ls_report *ls_report_open(const struct ls_instance *instance);
void ls_report_close(struct ls_report *report);
/* Sets the state; a change is logged and reported at once. reason may be NULL. */
void ls_report_state(struct ls_instance *instance, enum ls_state state, const char *reason);
/* Keeps err as the last error and logs it; repeats within a while are counted, not logged again. */
void ls_report_error(struct ls_instance *instance, const struct ls_err *err);
/* Sends a heartbeat when it is due (now: at once). */
void ls_report_beat(struct ls_instance *instance, bool now);

#endif
