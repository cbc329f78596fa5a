/*
 * The positions of a quarantine topic as they were when it was last read here, in a file of the
 * state folder, so that the next reading only reads what came since: a topic of hundreds of
 * megabytes costs a few milliseconds. The file may be thrown away at any time; one that is torn, of
 * another format or of another topic counts as none. Two that write at once each write a whole one.
 *
 * Rejected: counts in the workers' heartbeats. They would be wrong while no worker runs, and after
 * entries were closed by hand.
 */
#ifndef LS_PIPELINE_QUARANTINED_FILE_H
#define LS_PIPELINE_QUARANTINED_FILE_H

#include "pipeline/quarantined.h"

/* How far a partition of the quarantine topic was read, and by what it is known again. */
struct ls_quarantined_place {
    int64_t next; /* offset */
    int64_t last; /* offset of the newest message that was read, -1: none */
    int64_t last_ms;
    uint64_t last_hash; /* of its key */
};

/* Reads `<state_dir>/quarantine/<topic>`; false when there is none that can be used. */
bool ls_quarantined_load(const struct ls_config *config, const char *topic,
                         struct ls_quarantined_place *places, int32_t n_places,
                         struct ls_quarantined *set);
/* Writes it. A folder that can't be written to only makes the next reading slow. */
void ls_quarantined_save(const struct ls_config *config, const char *topic,
                         const struct ls_quarantined_place *places, int32_t n_places,
                         const struct ls_quarantined *set);

#endif
