/*
 * Requeue: quarantined records, once more to their store. It is the sink's own lanes with a list of
 * records as the source, run once: a guarded write (law 2), so it may be done at any time, beside
 * live workers, and twice. No mark moves and nothing is committed.
 *
 * It refuses a store that is not this log's (no mark, or another genesis), as a worker would. Which
 * entries are closed afterwards is the caller's: those whose outcome is applied or stale, and no
 * others. What is applied here stands behind the sink's mark; a store that loses it by going back
 * in time is not filled with it again by the mark alone, and `lockstep verify` finds it missing.
 *
 * One thread (each lane has its own). A crash leaves the entries as they were.
 */
#ifndef LS_CONSUMERS_REQUEUE_H
#define LS_CONSUMERS_REQUEUE_H

#include <stdatomic.h>

#include "consumers/sink.h"
#include "pipeline/quarantine_entry.h"

enum ls_requeue_outcome {
    LS_REQUEUE_PENDING, /* not done: interrupted, or the store is away */
    LS_REQUEUE_APPLIED, /* the store took it */
    LS_REQUEUE_STALE,   /* the store has this version or a newer one */
    LS_REQUEUE_REFUSED, /* still poison; code, reject and text say why */
    LS_REQUEUE_UNFIT,   /* no store can ever take it (misrouted, no key, null, of a log that was
                           there before this one): text says what to do */
    LS_REQUEUE_OUTCOMES,
};

struct ls_requeue_item {
    const struct ls_quarantine_entry *entry; /* borrowed */
    enum ls_requeue_outcome outcome;
    enum ls_reject reject;
    int code;
    char text[256];
};

struct ls_requeue;

/*
 * Starts the sink's lanes and looks at their stores. NULL and err as a worker's start; RETRY only
 * when none of its servers can be reached.
 */
struct ls_requeue *ls_requeue_open(const struct ls_config *config,
                                   const struct ls_sink_config *sink, const atomic_int *stop,
                                   struct ls_err *err);
/* Safe on NULL. */
void ls_requeue_close(struct ls_requeue *requeue);

/*
 * Gives every item its outcome. Of several items of a key the newest goes first; the older ones are
 * stale once it is in. What the store refuses for now is tried again for up to 30 s without any
 * progress. -1 (RETRY, FATAL) when the rest could not be done: those are PENDING, others keep their
 * outcome. Returns 0 with PENDING items when *stop was set, and where the server of an item could
 * not be reached at the start (its text says why).
 */
int ls_requeue_apply(struct ls_requeue *requeue, struct ls_requeue_item *items, size_t n,
                     struct ls_err *err);

/*
 * What would come of it, without writing: UNFIT and REFUSED by what can be read, STALE by what the
 * store has; PENDING would be tried.
 */
int ls_requeue_preview(const struct ls_config *config, const struct ls_sink_config *sink,
                       struct ls_requeue_item *items, size_t n, struct ls_err *err);

#endif
