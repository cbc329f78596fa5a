/*
 * A sink: the writing side of a store, as an ops table per kind (mysql, redis, es).
 *
 * The sink instance (instance.h) reads the log, decodes, keeps the newest record of each key and
 * cuts the work into units; a sink has one or more lanes, each a thread with its own live handles
 * (so they need no locks) that takes units, writes them, and gives every record a verdict. A lane
 * serves a fixed set of partitions; a batch belongs to one lane, so a dead MySQL server stops only
 * the partitions that live on it.
 *
 * Lanes do not retry, back off, count, log or quarantine: that is the instance's, once for all
 * kinds. A lane reconnects when it is given the next unit.
 */
#ifndef LS_CONSUMERS_SINK_H
#define LS_CONSUMERS_SINK_H

#include "pipeline/config.h"
#include "pipeline/record.h"

struct ls_refusal { /* why a store refused a record for good: for the quarantine */
    struct ls_record *record;
    int code;
    char text[256];
};

/*
 * A look at the store (law 6): a unit without records, whose marks[0..n) have .partition filled in,
 * all those of the lane. The lane fills in the marks as the store has them now (genesis "": none),
 * and remembers what it saw: that is what its next marks are compared with. As store.h's read_marks
 * says of redis. unit->err stays NONE when all of it could be read; else RETRY or FATAL as ever.
 */
struct ls_look {
    bool setup;    /* in: check the set-up, too, and whether there is data */
    bool has_data; /* out, with setup: any record at all of the lane's partitions */
};

/*
 * Work for one lane: records, or marks, or a look. The lane may not touch it after
 * ls_lane_complete. Only records whose verdict is LS_PENDING are work; others are left alone (a
 * unit comes back with only its retries pending).
 */
struct ls_unit {
    struct ls_record **records;
    uint32_t n_records;
    /*
     * Marks to write. Each moves by compare-and-set: it is written only where the store still holds
     * what the lane saw there last, by a look or by its own writing; anything else there sets
     * marks_unexpected, and is left as it is. None is written unless ls_lane_may_mark. The lane
     * sets marks_written when all of them are durable.
     */
    struct ls_mark *marks;
    uint32_t n_marks;
    bool marks_written;
    bool marks_unexpected;
    struct ls_look *look; /* NULL: not a look */
    uint64_t incarnation; /* of the lane that the unit rests on; set by ls_lane_submit */
    /* Take a record of an equal version too (repair); the mark is guarded as ever. */
    bool repair;

    /*
     * Results. For each record: verdict APPLIED, STALE, RETRY, POISON (reject is LS_REJECT_STORE)
     * or FATAL. A store that only counts (MySQL) may not know which record of a statement was
     * stale: then it marks as many of them APPLIED and STALE as the server counted.
     * err is the worst failure met (FATAL over UNKNOWN over RETRY over POISON), for the log and
     * status; class NONE when all went well. Each POISON record's own text is set by
     * ls_unit_poison.
     */
    struct ls_err err;
    struct ls_refusal *refusals; /* one per POISON record, made by ls_unit_poison */
    uint32_t n_refusals;

    struct ls_unit *next; /* the queue's */
    void *owner;          /* the instance's */
};

/* Verdict POISON with the store's reason, kept for the quarantine. Called by lanes. */
void ls_unit_poison(struct ls_unit *unit, struct ls_record *record, int code, const char *text);
/*
 * Why this unit's store refused the record; NULL when it did not. For who gave the unit, until the
 * next ls_unit_poison.
 */
const struct ls_refusal *ls_unit_refusal(const struct ls_unit *unit,
                                         const struct ls_record *record);

/*
 * Gives verdict FATAL (err->class FATAL) or RETRY (RETRY, UNKNOWN) to all pending records. POISON
 * is not for this.
 */
void ls_unit_fail(struct ls_unit *unit, const struct ls_err *err);

/* Keeps err in unit->err if it is worse than what is there. */
void ls_unit_note(struct ls_unit *unit, const struct ls_err *err);

enum { LS_LANE_WARNING_MAX = 400 };

/* The lane's end of its queue. Thread-safe. */
struct ls_lane;
/*
 * Next unit, waiting up to timeout_ms (-1: for ever, 0: not at all). NULL: none in time, or
 * closing.
 */
struct ls_unit *ls_lane_take(struct ls_lane *lane, int timeout_ms);
/* Gives a unit back with its verdicts. */
void ls_lane_complete(struct ls_lane *lane, struct ls_unit *unit);
/*
 * Says that what this lane has written since the last mark may be gone: the server is another one
 * than before or has started again, a master was demoted, the index is another. A connection that
 * broke is no such doubt by itself. Raises the lane's incarnation, so that no mark that was asked
 * for before is written any more; the instance drops what it has in hand for the lane, looks, and
 * reads again from the marks. why is for people: what was found, and where.
 */
void ls_lane_unsure(struct ls_lane *lane, const char *why);
/*
 * Says what a person should know of the store that stops nothing, as it was found now; "": nothing
 * any more. `wrong` where somebody has to act; else it may be as it should be.
 */
void ls_lane_warn(struct ls_lane *lane, bool wrong, const char *text);
/* Whether the unit's marks may be written: nothing was in doubt since it was given. */
bool ls_lane_may_mark(struct ls_lane *lane, const struct ls_unit *unit);
/* True when the lane shall finish what it has taken and return from run_lane. */
bool ls_lane_closing(struct ls_lane *lane);
/* An eventfd that is readable while a unit waits or the lane is closing: for poll(2). Do not read
 * it. */
int ls_lane_fd(struct ls_lane *lane);

struct ls_sink; /* each kind embeds its own state behind it */

struct ls_sink_ops {
    enum ls_sink_kind kind;
    bool wants_values; /* needs record->values (redis stores the wire body and does not) */
    bool wants_hash;   /* needs record->hash */

    /* Builds the shared, read-only state from configuration. No I/O. */
    int (*open)(const struct ls_sink_config *config, struct ls_sink **ret, struct ls_err *err);
    void (*close)(struct ls_sink *sink);

    /* Lanes, and which one serves a partition (its records and its mark). */
    unsigned (*n_lanes)(const struct ls_sink *sink);
    unsigned (*lane_of)(const struct ls_sink *sink, int32_t partition);
    /*
     * Appends where the lane's i-th server is, `host:port` as configured; false when it has no
     * more. Pure; any thread.
     */
    bool (*server)(const struct ls_sink_config *config, unsigned lane_index, size_t i,
                   struct ls_buf *buf);
    /* At most this many records and wire bytes in one unit (UINT32_MAX: as the batch is). */
    uint32_t (*unit_records)(const struct ls_sink *sink);
    uint32_t (*unit_bytes)(const struct ls_sink *sink);

    /*
     * A lane thread's whole life: connect lazily, take units until the lane is closing, complete
     * every unit that was taken (when closing, too: with its verdicts, bounded by the request
     * timeout), clean up. Several units may be held at once (pipelines, requests in flight) and may
     * complete in any order.
     */
    void (*run_lane)(struct ls_sink *sink, unsigned lane_index, struct ls_lane *lane);
};

extern const struct ls_sink_ops ls_mysql_sink_ops;
extern const struct ls_sink_ops ls_redis_sink_ops;
extern const struct ls_sink_ops ls_es_sink_ops;

const struct ls_sink_ops *ls_sink_ops_for(enum ls_sink_kind kind);

/*
 * Appends where a lane's servers are, as configured, for people and labels: "host:port,host:port".
 * A cluster is known by the first few. Pure; any thread.
 */
void ls_sink_servers(const struct ls_sink_ops *ops, const struct ls_sink_config *config,
                     unsigned lane_index, struct ls_buf *buf);

#endif
