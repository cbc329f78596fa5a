/*
 * Which failures were told lately. A store that is away fails every request with the same words, so
 * a failure is logged when it is new, then counted, and told again with its count after a while
 * that doubles from 10 s to 5 min. Failures are the same when class, code and the store's own name
 * of the failure are; where there is neither, when their texts are the same but for numbers and
 * what is quoted.
 *
 * Bounded: the failure that was met longest ago makes room for a new one. Pure: time is passed in
 * (monotonic). One thread; a crash forgets the counts.
 */
#ifndef LS_CONSUMERS_FAILURES_H
#define LS_CONSUMERS_FAILURES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum {
    LS_FAILURES_MAX = 64,
    LS_FAILURE_AGAIN_MS = 10 * 1000,
    LS_FAILURE_AGAIN_MAX_MS = 300 * 1000,
};

struct ls_failure {
    struct ls_err err; /* the newest: its text as people may see it; class NONE: a free place */
    uint64_t shape;    /* of the name, or of the text where there is neither name nor code */
    uint64_t unsaid;   /* repeats since it was told */
    int64_t said_ms;
    int64_t met_ms;
    int64_t again_ms; /* from said_ms to when it is told again */
};

struct ls_failures { /* all zero at first */
    struct ls_failure place[LS_FAILURES_MAX];
};

/*
 * Notes a failure. Returns it with the repeats that were not told (unsaid) when it is to be told
 * now, else NULL. The caller tells it at once and then calls ls_failures_said.
 */
struct ls_failure *ls_failures_note(struct ls_failures *failures, const struct ls_err *err,
                                    int64_t now_ms);
/* A failure whose repeats are due to be told though it was not met again; NULL: none. */
struct ls_failure *ls_failures_due(struct ls_failures *failures, int64_t now_ms);
/* All that was not told, whatever the time: before the end. NULL: nothing. */
struct ls_failure *ls_failures_left(struct ls_failures *failures);
void ls_failures_said(struct ls_failure *failure, int64_t now_ms);

/* Whether an answer with this code that no table knows was met lately. */
bool ls_failures_unknown(const struct ls_failures *failures, int code);

#endif
