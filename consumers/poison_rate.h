/*
 * How much of what a store refuses is still taken for bad records. A store that is set up wrong (a
 * column too narrow, a field mapped as another type) refuses records one by one like a bad record,
 * and would fill the quarantine; so store-borne poison above a rate halts the sink instead. What
 * the log itself got wrong is never counted here: anyone may write to a log.
 *
 * A limit on the number a minute, and not on the share, is what bounds the topic whatever the load.
 * After it was passed, the sink tries again from its mark every few seconds; until it has shown
 * that the store takes records again, little is let through: one record every TRIAL_MS, so that a
 * record that really is bad passes in the end, and one for every SHARE that the store took, so that
 * a store that was mended goes on at once. Pure: the caller's clock, one thread.
 */
#ifndef LS_CONSUMERS_POISON_RATE_H
#define LS_CONSUMERS_POISON_RATE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    LS_POISON_SLOTS = 12,
    LS_POISON_SLOT_MS = 5000, /* together a minute */
    LS_POISON_TRIAL_MS = 10000,
    LS_POISON_SHARE = 20,
};

struct ls_poison_rate {
    uint32_t limit; /* a minute; 0: none */
    struct {
        int64_t number; /* of the slot since the clock's start */
        uint64_t poison, taken;
    } slots[LS_POISON_SLOTS];
    bool tripped;
    int64_t next_trial_ms; /* tripped: when one more is let through */
    uint64_t taken;        /* tripped: by the store, since; less what was let through for it */
    uint64_t proof;        /* tripped: by the store, since */
};

/* What is said of the last minute: records that the store refused, of those it answered for good.
 */
struct ls_poison_share {
    uint64_t poison, records;
};

/*
 * The store refused so many records of a unit for good and took others. True: they may go to the
 * quarantine, and count. False: the sink has to halt, and nothing of this unit counts but its share
 * in *ret.
 */
bool ls_poison_rate_take(struct ls_poison_rate *rate, int64_t now_ms, uint32_t poison,
                         uint32_t taken, struct ls_poison_share *ret);

#endif
