/*
 * Verify: does a store hold exactly what the log says? The ledger is the model; ledger and store
 * are both walked in full and compared by version and by a hash recomputed from what the store
 * really holds.
 *
 * A difference is only a candidate until it is confirmed: what the walk met may have been in
 * flight. Confirming reads the sink's marks, then the store, then brings the ledger up to date, in
 * this order: so what the store has beyond the ledger is beyond the log for good, and what it lacks
 * although the mark had passed it before it was read is lacking for good. Only what the mark has
 * not passed is waited for, and then called lagging.
 *
 * Memory does not grow with the members: candidates, examples and pages are bounded, and nothing is
 * spilled. Each sink has a thread and store handles of its own; the ledger is shared.
 */
#ifndef LS_CONSUMERS_VERIFY_H
#define LS_CONSUMERS_VERIFY_H

#include <stdatomic.h>

#include "base/buf.h"
#include "consumers/store.h"
#include "pipeline/ledger.h"

enum ls_difference {
    LS_DIFF_EQUAL,
    LS_DIFF_LAGGING,     /* the sink has not come to the record yet */
    LS_DIFF_QUARANTINED, /* the key's newest record is in the sink's quarantine */
    LS_DIFF_AHEAD,       /* the store's version is newer than any in the log */
    LS_DIFF_DIVERGED,    /* other content, or an older version though the sink has passed it */
    LS_DIFF_MISSING,     /* in the log, not in the store */
    LS_DIFF_EXTRA,       /* in the store, not in the log; or on another shard than its key's */
    LS_DIFF_RESURRECTED, /* deleted in the log, there in the store */
    LS_DIFF_UNDECODABLE, /* the store holds something that is no record */
    LS_DIFFS,
};
/* "equal", "lagging", ... */
const char *ls_difference_name(enum ls_difference difference);

enum {
    LS_VERIFY_CANDIDATES = 1000, /* confirmed at once */
    LS_VERIFY_EXAMPLES_MAX = 1000,
};

struct ls_verify_side {
    bool found;
    bool deleted;
    uint64_t version;
    uint64_t hash;
};

struct ls_verify_example {
    enum ls_difference difference;
    char key[LS_KEY_BYTES_MAX + 1];
    uint16_t shard;
    int64_t offset; /* of the log's record, -1 when there is none */
    struct ls_verify_side log;
    struct ls_verify_side store;
    char why[160];
};

/* What is found of one sink. counts and done are written by its thread while others look at them.
 */
struct ls_verify_report {
    const struct ls_sink_config *sink;
    uint64_t counts[LS_DIFFS]; /* each key of log or store has one */
    uint64_t live;             /* keys of the log that were compared: members */
    uint64_t deleted;
    uint64_t done; /* keys of the log so far, of about total */
    uint64_t total;
    struct ls_verify_example *examples; /* at most `examples` of each difference */
    size_t n_examples;
    double seconds;
    bool finished;
    struct ls_err err; /* class other than NONE: could not tell */
};
void ls_verify_report_free(struct ls_verify_report *report);
/* Whether it is all equal; different (by anything but lagging). Neither: could not tell. */
bool ls_verify_equal(const struct ls_verify_report *report);
bool ls_verify_different(const struct ls_verify_report *report);

/* What one sink is compared with, and how. Everything outside of the store comes in here. */
struct ls_verify_model {
    struct ls_ledger *ledger;
    /* Brings the ledger to the end of the log. Called by several threads. */
    int (*update)(void *opaque, struct ls_err *err);
    /*
     * Sets ret[i] where the record at partitions[i], offsets[i] of the log is in the sink's
     * quarantine as it is now. Called by the sink's thread.
     */
    int (*quarantined)(void *opaque, const int32_t *partitions, const int64_t *offsets, size_t n,
                       bool *ret, struct ls_err *err);
    void *opaque;
    int64_t wait_ms;        /* for what the sink has not passed yet, in all */
    uint32_t examples;      /* of each difference, at most LS_VERIFY_EXAMPLES_MAX */
    const atomic_int *stop; /* ends early, with an error in the report; may be NULL */
};

struct ls_verify_job {
    struct ls_verify_model model;
    const struct ls_store_ops *ops;
    struct ls_verify_report report; /* .sink is set by the caller, the rest by the job */
};

/*
 * Runs all jobs, each in a thread, and calls tick (unless NULL) a few times a second until all are
 * finished. Failures stand in the jobs' reports.
 */
void ls_verify_run(struct ls_verify_job *jobs, size_t n, void (*tick)(void *opaque), void *opaque);

/*
 * Compares one key. image may have found false, entry too. why gets a short reason ("" where the
 * difference says all). Pure.
 */
enum ls_difference ls_verify_compare(const struct ls_ledger_entry *entry,
                                     const struct ls_image *image, char why[160]);

/* The report as people read it and as programs do. Pure. */
struct ls_verify_format {
    bool show_pii; /* keys as they are, though the schema says pii */
};
void ls_verify_table(const struct ls_verify_report *const *reports, size_t n,
                     const struct ls_verify_format *format, struct ls_buf *buf);
/* One object. */
void ls_verify_json(const struct ls_verify_report *const *reports, size_t n,
                    const struct ls_verify_format *format, struct ls_buf *buf);

#endif
