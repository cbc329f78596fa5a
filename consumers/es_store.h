/*
 * The Elasticsearch store, for the files that make it up and nobody else:
 *   es_store.c   open, marks, counts: the ops table
 *   es_read.c    fetch and walk
 *   es_schema.c  check, apply, diff (es_setup.h judges)
 * One handle, one connection, one thread.
 */
#ifndef LS_CONSUMERS_ES_STORE_H
#define LS_CONSUMERS_ES_STORE_H

#include "base/buf.h"
#include "consumers/store.h"
#include "pipeline/es_client.h"

struct es_store {
    const struct ls_sink_config *config;
    const struct ls_schema *schema;
    struct ls_es_client *client;
    struct ls_buf body, reply, scratch; /* reused */
    size_t page; /* documents asked for at once; halved when an answer is too large */
};

/* Paths and bodies that make writes visible and count data; es_look.c asks the same. */
#define LS_ES_REFRESH_PATH "/_refresh?filter_path=_shards.failed"
#define LS_ES_COUNT_PATH   "/_count?filter_path=count,_shards.failed"
#define LS_ES_NO_MARK      "{\"exists\":{\"field\":\"_mark\"}}"
#define LS_ES_COUNT_DATA   "{\"query\":{\"bool\":{\"must_not\":" LS_ES_NO_MARK "}}}"
/* Reads the answer to a count; RETRY when it is cut or a shard could not be counted. Pure. */
int ls_es_count_read(const char *reply, size_t len, uint64_t *ret, struct ls_err *err);

/* ls_store_ops' functions of the same names. */
int ls_es_fetch(struct ls_store *store, const struct ls_span *keys, size_t n_keys,
                struct ls_arena *arena, struct ls_image *images, struct ls_err *err);
int ls_es_walk(struct ls_store *store, uint16_t shard, ls_page_fn *page, void *opaque,
               struct ls_err *err);
int ls_es_check(struct ls_store *store, struct ls_err *err);
int ls_es_apply(struct ls_store *store, ls_line_fn *line, void *opaque, struct ls_err *err);
int ls_es_diff(struct ls_store *store, ls_line_fn *line, void *opaque, size_t *ret_differences,
               struct ls_err *err);

/*
 * POST of store->body to /<index><path>, the 2xx answer in store->reply. -1 with ret_too_large
 * (which may be NULL) when the answer passes the client's bound: ask for less.
 */
int ls_es_ask(struct es_store *store, const char *path, bool *ret_too_large, struct ls_err *err);

#endif
