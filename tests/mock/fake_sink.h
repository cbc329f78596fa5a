/*
 * A store in memory that does as a test tells it: guarded like a real one, with one lane. The
 * engine is tested against it and librdkafka's mock cluster.
 */
#ifndef LS_TESTS_FAKE_SINK_H
#define LS_TESTS_FAKE_SINK_H

#include <pthread.h>

#include "consumers/sink.h"

enum { FAKE_KEYS_MAX = 256, FAKE_PARTITIONS = 4 };

struct fake_entry {
    char key[32];
    uint64_t version;
    unsigned tries; /* how often the lane was given a record of this key */
};

struct fake_store {
    pthread_mutex_t lock; /* of all that follows */
    struct fake_entry entries[FAKE_KEYS_MAX];
    size_t n_entries;
    struct ls_mark marks[FAKE_PARTITIONS];
    bool has_data;                        /* of a stranger */
    bool no_reads;                        /* marks can't be read now */
    struct ls_mark seen[FAKE_PARTITIONS]; /* by the lane, at its last look or writing */
    bool no_marks;                        /* marks can't be written now */
    unsigned looks;                       /* that were answered */
    const char *unsure;                   /* the lane says this of its next unit, once */
    uint32_t unit_max;                    /* records of a unit that is not refused; 0: any */
    unsigned units_refused;
    /* Verdict of a record, and the failure that goes with RETRY, POISON or FATAL in *err. */
    enum ls_verdict (*decide)(const struct ls_record *record, struct ls_err *err);
};

/* The one store of the process: a lane finds it without being told. */
extern struct fake_store fake;

void fake_reset(void);
/* Copy of a key's entry; version 0 when it is not there. */
struct fake_entry fake_get(const char *key);
/* For decide(), which is called with the lock held. */
unsigned fake_tries(const char *key);
struct ls_mark fake_mark(int32_t partition);
void fake_no_reads(bool no_reads);
void fake_no_marks(bool no_marks);
unsigned fake_looks(void);
void fake_decide(enum ls_verdict (*decide)(const struct ls_record *record, struct ls_err *err));

/* Refuses, for its load, whole units of more records than that (0: none), and counts them. */
void fake_take_at_most(uint32_t n_records);
unsigned fake_units_refused(void);

/* Whether every partition's mark covers that offset. */
bool fake_all_marked(int64_t offset);
/* How often records of keys with that prefix were tried, together. */
unsigned fake_tries_of(const char *prefix);

/* The store goes back in time without a word: to what was saved, or to nothing. */
void fake_save(struct fake_store *ret);
void fake_restore(const struct fake_store *saved);
void fake_empty(void);
/*
 * The store loses what no mark covers, and the lane will be unsure at its next unit: a failover as
 * the lane sees it.
 */
void fake_lose_unmarked(const char *why);

extern const struct ls_sink_ops fake_sink_ops;

#endif
