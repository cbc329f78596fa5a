/*
 * The parts of verify, for the files that make it up and nobody else:
 *   verify.c         one sink from start to end; all sinks in threads
 *   verify_walk.c    ledger and store side by side: candidates
 *   verify_confirm.c candidates become verdicts
 *   verify_report.c  what people and programs read
 */
#ifndef LS_CONSUMERS_VERIFY_INTERNAL_H
#define LS_CONSUMERS_VERIFY_INTERNAL_H

#include "consumers/verify.h"

/* One sink's comparison, in its thread. */
struct ls_verify {
    const struct ls_verify_model *model;
    const struct ls_store_ops *ops;
    struct ls_verify_report *report;
    /* Two handles, so that confirming in the middle of a walk does not disturb it. */
    struct ls_store *walker;
    struct ls_store *confirmer;
    struct ls_ledger_cursor cursor;
    struct ls_arena arena; /* of one page or of one round of confirming */
    struct ls_mark *marks; /* by partition */
    int64_t marks_read_ms;

    struct ls_span *candidates; /* keys, LS_VERIFY_CANDIDATES at most */
    size_t n_candidates;
    struct ls_arena keys; /* of the candidates */

    /* Of a round of confirming, allocated once. */
    struct ls_ledger_entry *entries;
    struct ls_image *images;
    int64_t waited_ms; /* of model->wait_ms */

    struct ls_err err; /* failure inside a page callback */
};

bool ls_verify_stopped(const struct ls_verify *verify);

/* Walks everything; every key gets its verdict in the report. */
int ls_verify_walk(struct ls_verify *verify, struct ls_err *err);

/* A key of the ledger that the store does not hold as the log has it. */
int ls_verify_differ(struct ls_verify *verify, const struct ls_ledger_entry *entry,
                     const struct ls_image *image, struct ls_err *err);
/* Notes a key that differs; confirms all that are noted when they are many. */
int ls_verify_suspect(struct ls_verify *verify, struct ls_span key, struct ls_err *err);
/* Gives every noted key its verdict. */
int ls_verify_confirm(struct ls_verify *verify, struct ls_err *err);
/* Reads the sink's marks; FATAL when they are of another log. */
int ls_verify_read_marks(struct ls_verify *verify, struct ls_err *err);

/* Counts a verdict and keeps it as an example if there is room. */
void ls_verify_note(struct ls_verify *verify, enum ls_difference difference,
                    const struct ls_ledger_entry *entry, const struct ls_image *image,
                    const char *why);

#endif
