/* The ledger's handle, shared by its own files only. */
#ifndef LS_PIPELINE_LEDGER_INTERNAL_H
#define LS_PIPELINE_LEDGER_INTERNAL_H

#include "pipeline/ledger.h"
#include "pipeline/ledger_env.h"

struct ls_ledger_reader; /* ledger_update.c: the Kafka side, made by the first update */

struct ls_ledger {
    struct ls_ledger_env env;
    const struct ls_config *config; /* borrowed */
    const struct ls_entity_config *entity;
    struct ls_ledger_reader *reader;
    pthread_mutex_t updating;
    uint64_t asked;  /* atomic: updates asked for */
    uint64_t served; /* under updating: asked as of the newest finished update's begin */
    char rebuilt[200];
};

/*
 * The state beside the entries (ledger_state.c), in a transaction of the caller's; they return
 * LMDB's codes. deleted: entries that are deletes, 0 before the first writing.
 */
int ls_ledger_state_deleted(struct ls_ledger *ledger, MDB_txn *txn, uint64_t *ret);
/* positions[0..partitions). */
int ls_ledger_state_put(struct ls_ledger *ledger, MDB_txn *txn, uint64_t deleted,
                        const struct ls_ledger_position *positions);
/* Drops everything, entries too, and makes it a ledger of the log with that genesis. */
int ls_ledger_state_reset(struct ls_ledger *ledger, MDB_txn *txn, const char *genesis);

/* Frees the Kafka side; NULL is fine. */
void ls_ledger_reader_close(struct ls_ledger_reader *reader);

#endif
