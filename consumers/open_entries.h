/*
 * The open entries of a sink's quarantine as its worker knows them, by the hash of the record's
 * key: so that a later success of a key closes its entries. What is there at the start, and what
 * other workers have put there when partitions change hands, is read by a thread in the background;
 * records that are settled meanwhile are remembered, and matched when it is done.
 *
 * All of it is bounded, and nothing depends on it: an entry that is not known here stays open until
 * it is requeued, which finds it stale. An empty quarantine costs one look at its end. One thread,
 * the instance's; a crash forgets it all.
 */
#ifndef LS_CONSUMERS_OPEN_ENTRIES_H
#define LS_CONSUMERS_OPEN_ENTRIES_H

#include <stdbool.h>

#include "pipeline/config.h"
#include "pipeline/record.h"
#include "schema/wire.h"

enum {
    LS_OPEN_ENTRIES_MAX = 1 << 18, /* that are known: 12 MiB at most */
    LS_OPEN_RECENT_MAX = 1 << 16,  /* settled records that are remembered while reading: 1.5 MiB */
};

struct ls_open_entries;

/*
 * Entries of a log that was there before this one are none of it: genesis (borrowed, by partition;
 * at_ms 0: not known yet) tells which. It is only looked at in ls_open_entries_serve().
 */
struct ls_open_entries *ls_open_entries_new(const struct ls_config *config,
                                            const struct ls_sink_config *sink,
                                            const struct ls_genesis *genesis);
/* Ends the reading, which may take one request to Kafka. Safe on NULL. */
void ls_open_entries_free(struct ls_open_entries *open);

/* Asks for what came since the last reading. Returns at once. */
void ls_open_entries_look(struct ls_open_entries *open);

/* Closes the entry at a position of the log; false when that is not possible now. */
typedef bool ls_close_entry_fn(void *opaque, int32_t partition, int64_t offset);

/* Takes over what was read, starts a reading that is due. Call it often. */
void ls_open_entries_serve(struct ls_open_entries *open, ls_close_entry_fn *close, void *opaque);

/* An entry of this worker's own. A record without a key is none that anything could close. */
void ls_open_entries_add(struct ls_open_entries *open, const struct ls_record *record);

/* A record is APPLIED or STALE: closes the entries of its key that are not newer. */
void ls_open_entries_settled(struct ls_open_entries *open, const struct ls_record *record,
                             ls_close_entry_fn *close, void *opaque);

/* Whether settled() can have anything to do. */
bool ls_open_entries_wants(const struct ls_open_entries *open);
/* Entries that are known. */
size_t ls_open_entries_count(const struct ls_open_entries *open);

#endif
