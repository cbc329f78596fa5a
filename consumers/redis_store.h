/* What the files of the Redis store share: redis_store.c (set-up, marks), redis_walk.c (contents).
 */
#ifndef LS_CONSUMERS_REDIS_STORE_H
#define LS_CONSUMERS_REDIS_STORE_H

#include "consumers/store.h"
#include "pipeline/redis_cluster.h"
#include "pipeline/redis_each.h"

struct ls_redis_store {
    const struct ls_schema *schema;
    uint32_t generation; /* of the log that is read */
    struct ls_redis_cluster *cluster;
    char pattern[LS_REDIS_KEY_MAX]; /* of SCAN: all entries and nothing else */
};

int ls_redis_store_has_data(struct ls_store *store, bool *ret, struct ls_err *err);
int ls_redis_store_fetch(struct ls_store *store, const struct ls_span *keys, size_t n_keys,
                         struct ls_arena *arena, struct ls_image *images, struct ls_err *err);
int ls_redis_store_walk(struct ls_store *store, uint16_t shard, ls_page_fn *page, void *opaque,
                        struct ls_err *err);
int ls_redis_store_count(struct ls_store *store, uint64_t *ret_live, uint64_t *ret_deleted,
                         struct ls_err *err);

#endif
