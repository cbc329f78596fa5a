/*
 * Replay: a bounded range of the log into sinks, beside live consumption, by the same engine. What
 * a store has already answers STALE; what it lacks is APPLIED. Positions are the run's own; marks
 * and group offsets are left alone.
 */
#ifndef LS_CONSUMERS_REPLAY_H
#define LS_CONSUMERS_REPLAY_H

#include <stdatomic.h>

#include "consumers/instance.h"
#include "pipeline/record.h"
#include "schema/wire.h"

struct ls_replay_sink {
    const struct ls_sink_config *sink;
    struct ls_instance_totals totals;
    struct ls_err err; /* class NONE when it ended well */
    bool interrupted;
    double seconds;
    int64_t *at_ms; /* by partition: of the newest record that was read; freed by ls_replay_free */
};

/*
 * Ranges of all partitions of an entity's state topic, from where the log starts to where it ends
 * now; partitions[] selects some (n_chosen 0: all). The caller frees *ret.
 */
int ls_replay_ranges(const struct ls_config *config, const struct ls_entity_config *entity,
                     const int32_t *chosen, size_t n_chosen, struct ls_range **ret,
                     struct ls_err *err);

/*
 * Runs the ranges into all sinks at once, a thread each, until done or *stop. Progress on stderr
 * (base/progress.h). resync: a store with data and no mark is not refused, and a record of an equal
 * version is written again, so that wrong content under a right version is mended. Results are in
 * sinks[]. Returns how many did not end well.
 */
size_t ls_replay_run(const struct ls_config *config, struct ls_replay_sink *sinks, size_t n,
                     const struct ls_range *ranges, bool resync, const atomic_int *stop);

/*
 * After a whole replay: gives a store that has no mark for a partition one at the range's end, so
 * that `run` goes on from there. Partitions that have a mark keep it, but for one that the log
 * begins behind: what it waits for was deleted, and all that is left has just been read. err is
 * the sink's.
 */
int ls_replay_adopt(const struct ls_config *config, struct ls_replay_sink *sink,
                    const struct ls_range *ranges);
/*
 * Which marks that writes, of those that the store has by partition (marks[n], replaced by them);
 * returns how many. genesis, ranges and at_ms are by partition. Pure.
 */
size_t ls_replay_marks(struct ls_mark *marks, size_t n, const struct ls_entity_config *entity,
                       const struct ls_genesis *genesis, const struct ls_range *ranges,
                       const int64_t *at_ms);

/* Frees the array and what its n sinks hold. */
void ls_replay_free(struct ls_replay_sink *sinks, size_t n);

#endif
