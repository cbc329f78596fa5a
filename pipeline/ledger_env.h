/*
 * The ledger's LMDB environment: opening, the lock over processes, the map's growth, and telling a
 * torn file from a whole one. For the ledger's own files only.
 */
#ifndef LS_PIPELINE_LEDGER_ENV_H
#define LS_PIPELINE_LEDGER_ENV_H

#include <lmdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct ls_ledger_env {
    char *dir;
    MDB_env *env;
    MDB_dbi log;   /* shard + key -> entry */
    MDB_dbi state; /* identity, positions, counts */
    /* Shared while a transaction is open, exclusive while the map changes its size: LMDB's rule. */
    pthread_rwlock_t gate;
    int lock_fd;
    int64_t lock_wait_ms; /* how long another process is waited for */
    bool unsynced;        /* the file `unsynced` is there */
    char rebuilt[200];    /* why it was thrown away when it was opened, or "" */
};

int ls_ledger_env_open(struct ls_ledger_env *env, const char *dir, size_t map_bytes,
                       struct ls_err *err);
void ls_ledger_env_close(struct ls_ledger_env *env);

/* LMDB's error as ours; names the folder and what to do. Returns -1. */
int ls_ledger_env_err(const struct ls_ledger_env *env, int code, const char *what,
                      struct ls_err *err);

/* A transaction; the gate is held until it ends. Reading never waits for a writer. */
int ls_ledger_env_read(struct ls_ledger_env *env, MDB_txn **ret, struct ls_err *err);
int ls_ledger_env_write(struct ls_ledger_env *env, MDB_txn **ret, struct ls_err *err);
void ls_ledger_env_abort(struct ls_ledger_env *env, MDB_txn *txn);
/* Returns LMDB's code: MDB_MAP_FULL means grow and do it again. */
int ls_ledger_env_commit(struct ls_ledger_env *env, MDB_txn *txn);
/* Doubles the map. No transaction of the caller may be open. */
int ls_ledger_env_grow(struct ls_ledger_env *env, struct ls_err *err);

/* The lock over processes. */
int ls_ledger_env_lock(struct ls_ledger_env *env, struct ls_err *err);
void ls_ledger_env_unlock(struct ls_ledger_env *env);
/* Before the first commit that is not synced, and after the last: see the top of ledger.h. */
int ls_ledger_env_mark_unsynced(struct ls_ledger_env *env, struct ls_err *err);
int ls_ledger_env_sync(struct ls_ledger_env *env, struct ls_err *err);

#endif
