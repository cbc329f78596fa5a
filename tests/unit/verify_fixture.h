/*
 * A store in memory, a ledger that stands for the log, and `verify` between them: for the tests of
 * what it finds. The store fails, lags and misbehaves as a test says.
 */
#ifndef LS_TESTS_VERIFY_FIXTURE_H
#define LS_TESTS_VERIFY_FIXTURE_H

#include "consumers/verify.h"

struct verify_row {
    struct ls_image image;
    uint16_t shard; /* where it stands, which is its key's place unless a test says otherwise */
    char key[32];
};

/* What the store holds and does; a test sets any of it between verify_setup and verify_run. */
struct verify_fake {
    struct verify_row *rows;
    size_t n_rows;
    struct ls_mark marks[4];
    int64_t quarantined_offset; /* of the record that is in the quarantine, or -1 */
    bool fail_open;
    bool fail_walk;
    bool disordered;         /* walks against the order of keys */
    void (*on_marks)(void);  /* called when the marks are read, unless NULL */
    void (*on_update)(void); /* ... and when the ledger is to be brought up to date */
    int n_rounds;            /* the store counts: reads of its marks */
    size_t largest_fetch;    /* ... and keys that were asked for at once, at most */
    struct ls_ledger *ledger;
};
extern struct verify_fake verify_fake;

/* The store walks its shards in the order of keys, as MySQL does; or not at all, as Redis does. */
extern const struct ls_store_ops verify_ordered, verify_unordered;

/* An empty store whose marks stand at offset 1000, and an empty ledger in a folder of its own. */
void verify_setup(void);
void verify_teardown(void);

/* The version of the record at this offset. */
uint64_t verify_version(int64_t offset);

/* Puts a row on its key's shard. It moves when verify_run sorts the rows. */
struct verify_row *verify_put_row(const char *key, uint64_t version, uint64_t hash, bool deleted);
/* The log has these keys' records, all at this offset, which times three is their hash. */
void verify_log(const char *const *keys, size_t n, int64_t offset, bool deleted);
void verify_log_one(const char *key, int64_t offset, bool deleted);
/* All marks of the store, of the ledger's log. */
void verify_set_marks(int64_t offset);

/* A job that waits wait_ms for what the sink has not passed, and keeps two examples of each. */
struct ls_verify_job verify_job(const struct ls_store_ops *ops, int64_t wait_ms);
/* Runs such a job over the rows. The caller frees its report. */
struct ls_verify_job verify_run(const struct ls_store_ops *ops, int64_t wait_ms);

#endif
