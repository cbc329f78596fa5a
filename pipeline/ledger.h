/*
 * The ledger: an embedded LMDB index of the log, key -> version, hash and position, one per entity
 * and generation in `<state_dir>/ledger/<entity>.<generation>/`. It is the model of what every
 * store should hold: verify compares with it, replay, resync and explain read it. It is kept up to
 * date incrementally and may be thrown away at any time: the log has everything.
 *
 * Rules are the worker's: what counts as a record is decided by ls_intake, and where two records of
 * a key meet the higher version wins, not the later offset.
 *
 * Threads: any thread may read; one at a time updates (in this process by a lock, over processes by
 * flock on `update.lock`). Every call is short-lived towards LMDB (a page of entries is copied
 * out), so no caller can hold old pages and make the file grow, and the map can be enlarged between
 * calls.
 *
 * A crash of the process leaves the last transaction, records and position together. Commits are
 * not synced one by one; a file `unsynced` with the machine's boot id stands while commits may be
 * in memory only. Found with another boot id, the machine went down in between: the ledger may be
 * torn and is built again.
 */
#ifndef LS_PIPELINE_LEDGER_H
#define LS_PIPELINE_LEDGER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "pipeline/config.h"

enum {
    LS_LEDGER_PAGE = 512,                /* entries that a cursor reads at once */
    LS_LEDGER_BATCH_RECORDS = 64 * 1024, /* records of one transaction at most */
};

struct ls_ledger;

/* One key. The position is that of the record that won; its partition follows from the shard. */
struct ls_ledger_entry {
    const char *key; /* who owns it is said at each function */
    uint64_t version;
    uint64_t hash;
    int64_t offset;
    int64_t at_ms;
    uint16_t key_len;
    uint16_t shard;
    bool deleted;
    bool found;  /* lookup only */
    bool purged; /* write only: the key leaves the ledger, if this version is the newest */
};

/* How far a partition has been read. */
struct ls_ledger_position {
    int64_t next;      /* offset */
    int64_t max_at_ms; /* highest LogAppendTime of a record before next; 0: of none */
    uint64_t poison;   /* records that are none: quarantined by every sink */
};

struct ls_ledger_counts {
    uint64_t live;
    uint64_t deleted;
    uint64_t poison;
};

/*
 * Opens or makes the ledger. One handle per ledger and process (an LMDB rule). A damaged or torn
 * one is thrown away: ls_ledger_rebuilt says so. map_bytes is the first size of the map, 0 for the
 * default (sparse: costs address space only); it grows by doubling.
 */
int ls_ledger_open(const struct ls_config *config, const struct ls_entity_config *entity,
                   size_t map_bytes, struct ls_ledger **ret, struct ls_err *err);
void ls_ledger_close(struct ls_ledger *ledger);

/* The entity that it was opened with. Borrowed. */
const struct ls_entity_config *ls_ledger_entity(const struct ls_ledger *ledger);
/* Why it was thrown away and built again since it was opened, or NULL. Borrowed. */
const char *ls_ledger_rebuilt(const struct ls_ledger *ledger);

/* Fills entries[i] for keys[i]; entries[i].key is keys[i]'s. One consistent view of all keys. */
int ls_ledger_lookup(struct ls_ledger *ledger, const struct ls_span *keys, size_t n,
                     struct ls_ledger_entry *entries, struct ls_err *err);

int ls_ledger_count(struct ls_ledger *ledger, struct ls_ledger_counts *ret, struct ls_err *err);

/*
 * Identity of the log that the ledger is of: "" before the first update, "unknown" for one of
 * another format, number of partitions or set of retired fields, which the next update builds
 * again.
 */
int ls_ledger_genesis(struct ls_ledger *ledger, char ret[37], struct ls_err *err);

/*
 * All entries of a shard in byte order, page by page. What it sees may be of several moments; each
 * entry is whole. One thread per cursor.
 */
struct ls_ledger_cursor {
    struct ls_ledger *ledger;
    struct ls_arena arena;
    struct ls_ledger_entry *entries;
    size_t n_entries;
    size_t at;
    char last[LS_KEY_BYTES_MAX];
    uint16_t last_len;
    uint16_t shard;
    bool ended;
};
void ls_ledger_cursor_init(struct ls_ledger_cursor *cursor, struct ls_ledger *ledger);
/* Starts at a shard's first entry. */
void ls_ledger_cursor_begin(struct ls_ledger_cursor *cursor, uint16_t shard);
/* 1 and the entry (valid until the next call), 0 at the end, -1. */
int ls_ledger_cursor_next(struct ls_ledger_cursor *cursor, const struct ls_ledger_entry **ret,
                          struct ls_err *err);
void ls_ledger_cursor_free(struct ls_ledger_cursor *cursor);

struct ls_ledger_progress {
    /* Called now and then by the updating thread; may be NULL. Offsets, so an upper bound. */
    void (*each)(void *opaque, uint64_t done, uint64_t total);
    void *opaque;
    const atomic_int
        *stop; /* when it becomes non-zero the update ends early, with -1; may be NULL */
};

/*
 * Reads the log from where the ledger stands to its end as of the call. Thread-safe: calls that
 * wait for one that began after they did are done with it. Throws the ledger away and builds it
 * again when it is of another log (genesis, a position beyond the end or before the start of the
 * log, or a record before the position that is younger than any that was read). RETRY when the
 * brokers do not answer or another process updates it; FATAL for a wrong set-up and for a record of
 * a released schema that is newer than ours. What was read until then is kept.
 */
int ls_ledger_update(struct ls_ledger *ledger, const struct ls_ledger_progress *progress,
                     struct ls_err *err);

/*
 * Writing, for the updater and tests. begin takes the lock over processes (waits up to 10 s, then
 * RETRY names the other's pid); end makes all that was written durable and gives it back.
 */
int ls_ledger_begin(struct ls_ledger *ledger, struct ls_err *err);
int ls_ledger_end(struct ls_ledger *ledger, struct ls_err *err);
/* positions[0..partitions): how far each partition was read. Between begin and end. */
int ls_ledger_positions(struct ls_ledger *ledger, struct ls_ledger_position *positions,
                        struct ls_err *err);
/* Empties it and makes it the ledger of that log; why is kept for ls_ledger_rebuilt unless NULL. */
int ls_ledger_reset(struct ls_ledger *ledger, const char *genesis, const char *why,
                    struct ls_err *err);
/*
 * One transaction: entries (sorted in place; several of one key may be among them) and positions of
 * all partitions.
 */
int ls_ledger_write(struct ls_ledger *ledger, struct ls_ledger_entry *entries, size_t n,
                    const struct ls_ledger_position *positions, struct ls_err *err);

#endif
