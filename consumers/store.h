/*
 * A store seen by those who read it and set it up: marks at start, schema apply and diff, verify.
 * One handle is one set of connections, used by one thread at a time. Blocking, with the timeouts
 * of the sink's configuration. Errors: RETRY for an outage, FATAL for a wrong set-up (and then the
 * text names the command that mends it).
 */
#ifndef LS_CONSUMERS_STORE_H
#define LS_CONSUMERS_STORE_H

#include "base/mem.h"
#include "pipeline/config.h"
#include "pipeline/record.h"

/* What a store really holds for one key. Spans and values live in the caller's arena. */
struct ls_image {
    struct ls_span key;
    bool found;
    bool undecodable; /* present, but not readable as a record; why says what is wrong */
    const char *why;  /* NULL unless undecodable */
    bool deleted;
    uint64_t version; /* as stored: guards writes */
    uint64_t hash;    /* recomputed from the content that the store holds, never the stored one */
    uint64_t stored_hash; /* what the sink wrote beside it; 0 where the store keeps none (redis) */
    int64_t at_ms;        /* `_at`; 0 where the store keeps none */
    struct ls_value *values; /* NULL when deleted or undecodable */
};

struct ls_store; /* each kind embeds its own state behind it */

/* Receives a page of images in order; non-zero ends the walk with that value. */
typedef int ls_page_fn(void *opaque, const struct ls_image *images, size_t n_images);
/* Receives one line of a report, e.g. a difference or a step that was done. */
typedef void ls_line_fn(void *opaque, const char *line);

struct ls_store_ops {
    enum ls_sink_kind kind;
    /*
     * Whether walk() gives keys in byte order (mysql, es) or in any order, possibly some twice
     * (redis).
     */
    bool walks_in_order;

    /* Connects and checks identity and the session settings that correctness rests on. */
    int (*open)(const struct ls_sink_config *config, struct ls_store **ret, struct ls_err *err);
    void (*close)(struct ls_store *store);

    /*
     * Set-up that a sink needs to run: tables, index, columns, server settings. FATAL names the
     * first thing that is wrong and the command that mends it (`lockstep schema apply`).
     */
    int (*check)(struct ls_store *store, struct ls_err *err);
    /* Creates what is missing, never alters or drops; line() gets a line for each thing made. */
    int (*apply)(struct ls_store *store, ls_line_fn *line, void *opaque, struct ls_err *err);
    /* line() gets a line for each thing that differs from the schema; ret_differences counts. */
    int (*diff)(struct ls_store *store, ls_line_fn *line, void *opaque, size_t *ret_differences,
                struct ls_err *err);

    /* Whether there is any record at all (not counting marks). */
    int (*has_data)(struct ls_store *store, bool *ret, struct ls_err *err);
    /*
     * The oldest mark of each partition: marks[0..n) with .partition filled in by the caller;
     * genesis "" where there is none. In redis, whose marks stand under many tags: where some tags
     * have one and others none (a master was emptied), version 0 with the genesis of those that
     * are there, so that the sink fills it from the start (or the beginning of an older generation,
     * if that is theirs); where any is no mark, or two of a generation name different logs, none.
     */
    int (*read_marks)(struct ls_store *store, struct ls_mark *marks, size_t n, struct ls_err *err);
    /*
     * Writes marks unguarded, backwards too: the first marks of an empty store (version 0) and
     * resync. Workers never use it otherwise.
     */
    int (*reset_marks)(struct ls_store *store, const struct ls_mark *marks, size_t n,
                       struct ls_err *err);

    /* Makes earlier writes visible to walk (ES refresh); nothing elsewhere. */
    int (*refresh)(struct ls_store *store, struct ls_err *err);
    /* What is there for these keys, images in the same order (found false where nothing is). */
    int (*fetch)(struct ls_store *store, const struct ls_span *keys, size_t n_keys,
                 struct ls_arena *arena, struct ls_image *images, struct ls_err *err);
    /*
     * All records of one shard (deleted ones too, marks not), in pages of at most a few thousand,
     * in byte order of the key. Redis has no shards: it is asked once, with shard 0, walks all
     * masters, and gives keys only (version and hash 0). An image's memory is valid during the
     * page call only.
     */
    int (*walk)(struct ls_store *store, uint16_t shard, ls_page_fn *page, void *opaque,
                struct ls_err *err);
    /* Records and soft deletes that the store holds, as it counts them: for tables people read. */
    int (*count)(struct ls_store *store, uint64_t *ret_live, uint64_t *ret_deleted,
                 struct ls_err *err);
};

extern const struct ls_store_ops ls_mysql_store_ops;
extern const struct ls_store_ops ls_redis_store_ops;
extern const struct ls_store_ops ls_es_store_ops;

const struct ls_store_ops *ls_store_ops_for(enum ls_sink_kind kind);

#endif
