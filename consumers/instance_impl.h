/*
 * The instance's parts, for the files that make it up and nobody else:
 *   instance.c   the loop and its states
 *   startup.c    log identity: who the log is, and where a partition begins by its mark
 *   log_watch.c  law 7 while running: whether the log is still the one that was begun
 *   looks.c      looks at the stores: partitions begin, and a store that went back is noticed
 *   dispatch.c   batches → verdicts → the low watermark
 *   send.c       what waits → units, as the lane's breaker and flow allow
 *   rewind.c     letting go of what was read: of a lane in doubt, or of everything
 *   memory.c     how much of the log is held, and may be
 *   marks.c      low watermarks → marks in the store → committed offsets
 *   quarantine.c poison → the quarantine topic
 *   report.h     what it says of itself: heartbeats, log lines, counters
 * All of it runs in the instance's thread; lanes are met only through lane.h.
 */
#ifndef LS_CONSUMERS_INSTANCE_IMPL_H
#define LS_CONSUMERS_INSTANCE_IMPL_H

#include "consumers/batch.h"
#include "consumers/breaker.h"
#include "consumers/flow.h"
#include "consumers/instance.h"
#include "consumers/lane.h"
#include "consumers/report.h"
#include "pipeline/heartbeat.h"
#include "pipeline/kafka.h"
#include "pipeline/source.h"

enum {
    LS_BACKOFF_BASE_MS = 50,
    LS_BACKOFF_CAP_MS = 5000,   /* between two tries of what the store refused for now */
    LS_START_RETRY_MS = 1000,   /* between two tries to start while log or store are away */
    LS_HALT_RECHECK_MS = 15000, /* a halted sink looks again this often */
    LS_ASK_LOG_MS = 8000, /* what the loop reads of topics: not to pass for one that is gone */
    LS_LOOK_MS = 10000,   /* between two looks at a store that is up */
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
    int64_t low_at_ms; /* the latest LogAppendTime before low */
    int64_t marked;    /* low as the store's mark has it */
    int64_t marking;   /* low that is being written, or -1 */
    uint64_t stored;   /* version of the store's mark, as this instance saw or wrote it last */
    uint64_t stored_at_look; /* ... when the newest look was given out */
    int64_t first_ms;        /* at_ms of the mark at zero that it was begun with; 0: of none */
    bool in_look;            /* was waiting to be begun when the newest look was given out */
    int64_t clean;           /* what is younger before low and no record (struct ls_log_position) */
    bool unasked;            /* the newest watch of the log had no answer for it */
    bool leaderless;         /* ... nor had the newest asking for its end: it is not to be woken */
};

/* A lane as its instance knows it. */
struct ls_lane_state {
    struct ls_lane *lane;
    rd_kafka_queue_t *queue;
    struct ls_batch *oldest, **newest; /* in flight, in the order read */
    uint32_t n_batches;
    uint32_t units_out;                 /* given to the lane and not back */
    struct ls_unit *ready, **ready_end; /* records to be sent, linked by next */
    struct ls_breaker breaker;          /* when anything may be sent */
    struct ls_flow flow;                /* how much of it */
    unsigned unknown;                   /* failures in a row that no table knows */
    int64_t settled_ms; /* when anything of what is in hand was settled last, or began to wait */
    int64_t woken_ms;   /* when its broker was woken last */
    int32_t woken;      /* and for which partition */

    uint64_t incarnation; /* that what is in hand rests on (ls_lane_unsure) */
    bool looking;         /* a look is with the lane */
    bool seen;            /* the newest look could be answered, and every mark was there */
    bool ours;            /* every mark was there once in this instance's life */
    bool looked;          /* a look was answered in this instance's life */
    bool follows;         /* ... and found a mark beyond the start */
    bool doubted;         /* a mark was not as expected: look at once */
    /*
     * Marks that are with the lane. Never together with a look: what a look sees is what the lane
     * compares marks with, so a mark that overtakes its answer would be written over a loss.
     */
    uint32_t marks_out;
    bool rewinding;       /* letting go of what is in hand; then it looks, and begins afresh */
    int32_t n_partitions; /* that this lane serves, of all there are */
    int64_t next_look_ms;
    unsigned look_attempt;  /* failed looks in a row */
    struct ls_err look_err; /* why the newest look failed; NONE when it did not */
};

/* A unit with what only the instance knows of it. */
struct ls_work {
    struct ls_unit unit;
    struct ls_batch *batch; /* NULL for marks and looks */
    unsigned lane;
    unsigned unknown; /* answers in a row that no table knows; an outage before does not count */
    struct ls_flow_ticket ticket; /* of its records, while they are out */
};

/* What an instance holds of the log. Its owner's thread; metrics take a copy (ls_memory_held). */
struct ls_memory {
    uint64_t limit;         /* memory_bytes of the sink */
    uint64_t held;          /* bytes of the batches in hand */
    uint32_t record_bytes;  /* of a record in hand, smoothed */
    uint32_t payload_bytes; /* ... of its key and value alone */
};

struct ls_quarantine;

struct ls_instance {
    const struct ls_instance_options *options;
    const struct ls_config *config;
    const struct ls_sink_config *sink_config;
    const struct ls_sink_ops *ops;
    struct ls_sink *sink;
    struct ls_source *source;
    struct ls_returns *returns;
    struct ls_quarantine *quarantine;
    struct ls_lane_state *lanes;
    unsigned n_lanes;
    struct ls_partition *partitions;
    int32_t n_partitions;
    struct ls_genesis *genesis; /* by partition, as the log has it */
    /*
     * By partition: its own genesis was read since the log was last unsure. The others had no
     * leader then, stand with the uuid of those, and are not begun before they were asked.
     */
    bool *asked;
    int64_t *stop_at; /* RANGE: exclusive ends by partition, else NULL */
    struct ls_intake intake;
    struct ls_batch *spare; /* the next to be used, or NULL */
    struct ls_memory memory;

    enum ls_state state;
    char reason[LS_HEARTBEAT_TEXT_MAX];
    char last_error[LS_HEARTBEAT_TEXT_MAX];
    int64_t last_error_ms; /* wall clock: when it was met; 0: never */
    /*
     * DOWN: waits for next_start_ms. LOOKING: the log is known, the stores are being looked at.
     * UP: in the group, or reading its range.
     */
    enum { LS_INSTANCE_DOWN, LS_INSTANCE_LOOKING, LS_INSTANCE_UP } phase;
    int64_t next_start_ms;
    int64_t next_log_ms;     /* log_unsure and the log could not be asked: when to try again */
    int64_t next_leaders_ms; /* partitions wait for a leader: when to ask who has one */
    int64_t next_marks_ms;
    int64_t next_watch_ms;   /* when records that come have the log looked at again */
    int64_t next_genesis_ms; /* ... and its very beginning */
    uint64_t rewinds;        /* lanes that were read again from their marks while running */
    int64_t rewound_ms;      /* wall clock: when the last of them was; 0: never */
    /*
     * Why the log could not be asked where partitions begin, in this round of the loop: the other
     * lanes' are not asked for then, as each would wait for as long. NONE: it could.
     */
    struct ls_err begin_err;
    bool log_unsure; /* the group was rebalanced: the log may have changed under it */
    bool dropping;   /* letting go of everything: rebalances need not wait for work in hand */

    struct {
        uint32_t version;
        int64_t wall_ms; /* when it was asked for; 0: never */
        int64_t mono_ms;
    } released; /* the newest released schema, as of then */

    struct ls_instance_totals totals;
    rd_kafka_t *producer; /* quarantine and heartbeats */
    struct ls_report *report;
};

/* instance.c: the group's events */
void ls_instance_given(void *opaque, const int32_t *partitions, size_t n);
void ls_instance_taken(void *opaque, const int32_t *partitions, size_t n, bool lost);

/* startup.c */
/* Who the log is; then the stores are looked at. On -1 err says RETRY (try soon) or FATAL (halt).
 */
int ls_startup(struct ls_instance *instance, struct ls_err *err);
/*
 * While LOOKING: once every lane was looked at, joins the group or opens the range, if there is a
 * store that can be used. -1 as ls_startup.
 */
int ls_startup_join(struct ls_instance *instance, struct ls_err *err);
/*
 * After a rebalance, and when a partition that waits has a leader again: whether the log is still
 * the one that this instance knows. -1 as ls_startup.
 */
int ls_startup_check_log(struct ls_instance *instance, struct ls_err *err);
/*
 * Says that the log is another one, or went back: `what` as ls_kafka_check_log found it. -1 FATAL,
 * or RETRY when the log could not be asked for the reason.
 */
int ls_startup_refuse_log(struct ls_instance *instance, const struct ls_log_position *what,
                          struct ls_err *err);
/* Law 7: whether the store's mark names the log that is read. -1 FATAL. */
int ls_startup_check_mark(const struct ls_instance *instance, const struct ls_mark *mark,
                          struct ls_err *err);
/*
 * Begins partitions that were given where their marks say (a range: at its start), as many as a
 * second allows; the others stay as they are, for the next look. -1 RETRY when any could not be
 * begun, as it has no leader; FATAL, where none is begun, as ls_startup.
 */
int ls_startup_begin(struct ls_instance *instance, const struct ls_mark *marks, size_t n,
                     struct ls_err *err);
/* Ends all partitions and lets go of everything, so that ls_startup can begin afresh. */
void ls_startup_undo(struct ls_instance *instance);

/* log_watch.c */
/*
 * To be called before records that were read are given to a store: from time to time asks the
 * broker whether the log is still the one that they were expected from. Waits for the answer. -1
 * FATAL when it is not, RETRY when the broker does not answer, or not for a partition that the
 * batch has records of; then nothing may be applied.
 */
int ls_log_watch(struct ls_instance *instance, const struct ls_batch *batch, struct ls_err *err);

/* looks.c */
/* Gives out the looks that are due, and rewinds lanes that are in doubt. */
void ls_looks_serve(struct ls_instance *instance);
/* A look came back. -1 FATAL: the sink halts. */
int ls_looks_answered(struct ls_instance *instance, struct ls_work *work, struct ls_err *err);
/*
 * The lane, or some of its partitions, cannot be begun with now: it is looked at again after a
 * back-off, which does not grow where only a leader is away, and why is kept. Partitions that are
 * given meanwhile, and doubts, do not wait for that.
 */
void ls_looks_put_off(struct ls_lane_state *lane, const struct ls_err *why);
/* Whether every lane that serves partitions was looked at since the start, with whatever result. */
bool ls_looks_complete(const struct ls_instance *instance);

/* rewind.c */
/*
 * What the lane has in hand is dropped as it comes back, its partitions end and are to be begun
 * again from the store's marks (a range: from its start).
 */
void ls_rewind_lane(struct ls_instance *instance, unsigned lane);
/* A unit of a lane that is rewinding came back; frees it. */
void ls_rewind_unit(struct ls_instance *instance, struct ls_work *work);
/*
 * Drops all that was read and is not settled, after the lanes gave back what they had taken: before
 * starting again from the marks.
 */
void ls_rewind_all(struct ls_instance *instance);

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
/* Gives a batch's memory back for the next one. */
void ls_dispatch_release(struct ls_instance *instance, struct ls_batch *batch);

/* send.c */
void ls_send_init(struct ls_instance *instance, struct ls_lane_state *lane);
void ls_send_free_work(struct ls_work *work);
/* The newest records of a batch wait to be sent; what may go goes at once. */
void ls_send_batch(struct ls_instance *instance, unsigned lane, struct ls_batch *batch);
/* Work that came back waits to be sent again, behind what waits already. */
void ls_send_later(struct ls_lane_state *lane, struct ls_work *work);
/* Gives the lane as much of what waits as breaker and flow allow now. */
void ls_send_lane(struct ls_instance *instance, struct ls_lane_state *lane);
/*
 * Puts a unit without records on a lane: marks to write, or a look. Takes marks and look, which
 * were allocated for it. Neither waits for breaker or flow.
 */
void ls_send_marks(struct ls_instance *instance, unsigned lane, struct ls_mark *marks,
                   uint32_t n_marks, struct ls_look *look);
/*
 * Work with records came back and its verdicts were read (settled: any of them is final): breaker
 * and flow learn from it.
 */
void ls_send_answered(struct ls_instance *instance, struct ls_work *work, bool settled);
/* Work came back and nobody asks what became of it. */
void ls_send_dropped(struct ls_instance *instance, struct ls_work *work);
/* Frees what waits and closes the breaker: the lane begins afresh. */
void ls_send_forget(struct ls_lane_state *lane);
/* Whether the newest that the store said was a failure: it may be away. */
bool ls_send_is_away(const struct ls_lane_state *lane);
/* Milliseconds until what waits may be sent; INT64_MAX when that depends on something else. */
int64_t ls_send_wait_ms(const struct ls_lane_state *lane, int64_t now_us);

/* memory.c */
/* Before there are lanes. */
void ls_memory_init(struct ls_instance *instance);
/* How much of the log may be fetched ahead of the batches. */
struct ls_source_limits ls_memory_source_limits(const struct ls_instance *instance);
/* Records and wire bytes of the next batch at most. */
uint32_t ls_memory_batch_records(const struct ls_instance *instance);
uint32_t ls_memory_batch_bytes(const struct ls_instance *instance);
/* Whether another batch of this lane fits. */
bool ls_memory_has_room(const struct ls_instance *instance, const struct ls_lane_state *lane);
/* A batch was read, or is let go of. */
void ls_memory_took(struct ls_instance *instance, struct ls_batch *batch);
void ls_memory_gave(struct ls_instance *instance, const struct ls_batch *batch);
/* Bytes of batches and of what is fetched ahead, for metrics: measured but for the latter. */
uint64_t ls_memory_held(const struct ls_instance *instance);

/* marks.c */
/* Writes the marks that are due: all that moved, at most once an interval; now: at once. */
void ls_marks_write(struct ls_instance *instance, bool now);
/* A unit came back with its marks written (or not: then they are due again). */
void ls_marks_written(struct ls_instance *instance, unsigned lane, const struct ls_unit *unit);
/* Whether marks are out or due. Not those of a lane that is away or in doubt: they do not come. */
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
/*
 * A unit came back: weighs what its store refused for good. Above the sink's rate those records
 * become FATAL and so does the unit, and none of them reaches the quarantine.
 */
void ls_quarantine_weigh(struct ls_quarantine *quarantine, struct ls_unit *unit);
/* A batch is whole: closes the entries that its records outdate. Costs nothing where none is. */
void ls_quarantine_settled(struct ls_quarantine *quarantine, const struct ls_batch *batch);
/* Partitions were given: looks for the entries that their former owner has put. */
void ls_quarantine_look(struct ls_quarantine *quarantine);
/*
 * Lets go of a batch, or of all (NULL): writes that are not confirmed no longer count for them.
 */
void ls_quarantine_forget(struct ls_quarantine *quarantine, const struct ls_batch *batch);
/* Open entries that this worker knows of: those at its start, and its own. */
uint64_t ls_quarantine_known(const struct ls_quarantine *quarantine);
/* Records whose batches wait for their quarantine write to be confirmed. */
uint64_t ls_quarantine_unconfirmed(const struct ls_quarantine *quarantine);
/*
 * Runs delivery callbacks, sends what was kept. -1 when the topic is missing or refuses a record
 * for good (FATAL), or when the producer broke and was replaced (RETRY, or FATAL where it was the
 * set-up that broke it).
 */
int ls_quarantine_serve(struct ls_quarantine *quarantine, struct ls_err *err);

#endif
