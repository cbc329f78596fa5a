/*
 * What a Redis store holds: single entries, all of them, and how many. Blocking, one thread,
 * reading only.
 *
 * SCAN and the slots' lists say nothing about keys that are moved from one master to another behind
 * the walk's back, so walk and count refuse to give a result when slots moved meanwhile.
 */
#include <stdio.h>

#include "base/mem.h"
#include "consumers/redis_encode.h"
#include "consumers/redis_store.h"

enum {
    SLOTS_AT_ONCE = 16, /* of a count: bounds the keys in memory to a thousandth of the cluster's */
};
#define SCAN_COUNT   "1000"
#define KEYS_OF_SLOT "1000000"

static struct ls_redis_store *redis_of(struct ls_store *store)
{
    return (struct ls_redis_store *)store;
}

/* The key inside an entry's name, or false where the name is no entry's. A view. */
static bool key_of(const struct ls_redis_store *store, const char *name, size_t len,
                   struct ls_span *ret)
{
    size_t prefix = strlen(store->schema->redis_prefix) + 2; /* `m:{` */
    if (len < prefix + 2 || len - prefix - 1 > LS_KEY_BYTES_MAX || name[len - 1] != '}' ||
        memcmp(name, store->pattern, prefix) != 0)
        return false;
    *ret = (struct ls_span){.data = name + prefix, .len = (uint32_t)(len - prefix - 1)};
    return true;
}

/* Which master serves which slot; to see whether it changed. */
struct shape {
    uint16_t owner[LS_REDIS_SLOTS];
    uint16_t nodes[LS_REDIS_NODES_MAX];
    size_t n;
};

/* Reads the cluster's shape; RETRY while slots are being moved. */
static int read_shape(struct ls_redis_store *store, struct shape *ret, struct ls_err *err)
{
    struct ls_redis_cluster *cluster = store->cluster;
    if (ls_redis_cluster_refresh(cluster, err) != 0)
        return -1;
    if (ls_redis_cluster_check(cluster, err) != 0)
        return -1;
    memcpy(ret->owner, cluster->owner, sizeof(ret->owner));
    ret->n = ls_redis_cluster_masters(cluster, ret->nodes);
    for (size_t i = 0; i < ret->n; i++) {
        const redisReply *reply;
        if (ls_redis_cluster_ask(cluster, ret->nodes[i], &reply, err, "CLUSTER", "NODES", NULL) !=
            0)
            return -1;
        if (reply->type != REDIS_REPLY_STRING)
            return ls_redis_reply_err(err, reply, cluster->conns[ret->nodes[i]]->where);
        /* `[93->-node]` and `[77-<-node]`: slots on their way from and to this master. */
        if (strstr(reply->str, "->-") != NULL || strstr(reply->str, "-<-") != NULL)
            return ls_err_set(err, LS_ERR_RETRY, 0,
                              "%s: slots are being moved; again when that has ended",
                              cluster->conns[ret->nodes[i]]->where);
    }
    return 0;
}

/* RETRY when the shape is no longer `before`. */
static int still_shaped(struct ls_redis_store *store, const struct shape *before,
                        struct ls_err *err)
{
    LS_CLEANUP_FREE struct shape *after = ls_malloc(sizeof(*after));
    if (read_shape(store, after, err) != 0)
        return -1;
    if (memcmp(before->owner, after->owner, sizeof(after->owner)) != 0)
        return ls_err_set(err, LS_ERR_RETRY, 0,
                          "%s: slots moved while its keys were read; again from the start",
                          store->cluster->options.name);
    return 0;
}

/* One SCAN: the entries' keys into the arena, the next cursor into `cursor`. */
static int scan_once(struct ls_redis_store *store, size_t node, char cursor[24],
                     struct ls_arena *arena, struct ls_image **ret, size_t *ret_n,
                     struct ls_err *err)
{
    const redisReply *reply;
    if (ls_redis_cluster_ask(store->cluster, node, &reply, err, "SCAN", cursor, "MATCH",
                             store->pattern, "COUNT", SCAN_COUNT, NULL) != 0)
        return -1;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING || reply->element[0]->len >= 24 ||
        reply->element[1]->type != REDIS_REPLY_ARRAY)
        return ls_redis_reply_err(err, reply, store->cluster->conns[node]->where);
    snprintf(cursor, 24, "%s", reply->element[0]->str);
    const redisReply *names = reply->element[1];
    struct ls_image *images = ls_arena_alloc(arena, (names->elements + 1) * sizeof(*images));
    size_t n = 0;
    for (size_t i = 0; i < names->elements; i++) {
        const redisReply *name = names->element[i];
        struct ls_span key;
        if (name->type != REDIS_REPLY_STRING || !key_of(store, name->str, name->len, &key))
            continue;
        char *copy = ls_arena_alloc(arena, key.len + 1);
        memcpy(copy, key.data, key.len);
        images[n++] = (struct ls_image){.key = {.data = copy, .len = key.len}, .found = true};
    }
    *ret = images;
    *ret_n = n;
    return 0;
}

/* Scans one master. page returning non-zero ends it with that value. */
static int scan_node(struct ls_redis_store *store, size_t node, ls_page_fn *page, void *opaque,
                     struct ls_err *err)
{
    struct ls_arena arena = {0};
    char cursor[24] = "0";
    int rc = 0;
    do {
        struct ls_image *images = NULL;
        size_t n = 0;
        ls_arena_reset(&arena);
        rc = scan_once(store, node, cursor, &arena, &images, &n, err);
        if (rc == 0 && n > 0)
            rc = page(opaque, images, n);
    } while (rc == 0 && strcmp(cursor, "0") != 0);
    ls_arena_free(&arena);
    return rc;
}

int ls_redis_store_walk(struct ls_store *opaque, uint16_t shard, ls_page_fn *page,
                        void *page_opaque, struct ls_err *err)
{
    struct ls_redis_store *store = redis_of(opaque);
    if (shard != 0)
        return 0; /* all was given with shard 0 */
    LS_CLEANUP_FREE struct shape *shape = ls_malloc(sizeof(*shape));
    int rc = read_shape(store, shape, err);
    for (size_t i = 0; rc == 0 && i < shape->n; i++)
        rc = scan_node(store, shape->nodes[i], page, page_opaque, err);
    return rc != 0 ? rc : still_shaped(store, shape, err);
}

static int found_one(void *opaque, const struct ls_image *images, size_t n)
{
    *(bool *)opaque = true;
    return 1;
}

int ls_redis_store_has_data(struct ls_store *opaque, bool *ret, struct ls_err *err)
{
    struct ls_redis_store *store = redis_of(opaque);
    uint16_t nodes[LS_REDIS_NODES_MAX];
    bool found = false;
    if (ls_redis_cluster_refresh(store->cluster, err) != 0)
        return -1;
    size_t n = ls_redis_cluster_masters(store->cluster, nodes);
    for (size_t i = 0; i < n && !found; i++) {
        if (scan_node(store, nodes[i], found_one, &found, err) < 0)
            return -1;
    }
    *ret = found;
    return 0;
}

struct fetch {
    struct ls_redis_store *store;
    const struct ls_span *keys;
    struct ls_arena *arena;
    struct ls_image *images;
    struct ls_buf scratch;
};

static uint16_t key_slot(void *opaque, size_t index)
{
    const struct fetch *fetch = opaque;
    return ls_redis_slot(fetch->keys[index].data, fetch->keys[index].len);
}

static void encode_get(void *opaque, size_t index, struct ls_buf *out)
{
    const struct fetch *fetch = opaque;
    char name[LS_REDIS_KEY_MAX];
    size_t len = ls_redis_entry_key(fetch->store->schema, fetch->keys[index].data,
                                    fetch->keys[index].len, name);
    const char *words[] = {"GET", name};
    ls_redis_put_command(out, 2, words, (size_t[]){3, len});
}

static void cannot_read(struct ls_image *image, struct ls_arena *arena, const char *why)
{
    size_t size = strlen(why) + 1;
    image->undecodable = true;
    image->why = memcpy(ls_arena_alloc(arena, size), why, size);
}

static int take_entry(void *opaque, size_t index, const redisReply *reply, struct ls_err *err)
{
    struct fetch *fetch = opaque;
    struct ls_image *image = &fetch->images[index];
    struct ls_err why = {0};
    *image = (struct ls_image){.key = fetch->keys[index], .found = true};
    if (reply->type == REDIS_REPLY_NIL) {
        image->found = false;
        return 0;
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        /* Permissions are told apart as FATAL before this: WRONGTYPE is what is left. */
        if (strncmp(reply->str, "WRONGTYPE", 9) != 0)
            return ls_redis_reply_err(err, reply, fetch->store->cluster->options.name);
        cannot_read(image, fetch->arena, "the key holds another type than a string");
        return 0;
    }
    if (reply->type != REDIS_REPLY_STRING || reply->len < LS_REDIS_VERSION_BYTES) {
        cannot_read(image, fetch->arena, "the value is shorter than a version");
        return 0;
    }
    char *bytes = ls_arena_alloc(fetch->arena, reply->len);
    memcpy(bytes, reply->str, reply->len);
    image->version = ls_redis_get_version(bytes);
    struct ls_envelope envelope;
    if (ls_wire_decode(fetch->store->schema, bytes + LS_REDIS_VERSION_BYTES,
                       reply->len - LS_REDIS_VERSION_BYTES, fetch->arena, &envelope, &image->values,
                       &why) != 0) {
        image->values = NULL;
        cannot_read(image, fetch->arena, why.text);
        return 0;
    }
    image->deleted = envelope.op == LS_OP_DELETE;
    if (image->deleted)
        image->values = NULL;
    image->hash = ls_hash(fetch->store->schema, image->key.data, image->key.len, image->deleted,
                          image->values, &fetch->scratch);
    return 0;
}

int ls_redis_store_fetch(struct ls_store *opaque, const struct ls_span *keys, size_t n_keys,
                         struct ls_arena *arena, struct ls_image *images, struct ls_err *err)
{
    struct fetch fetch = {
        .store = redis_of(opaque), .keys = keys, .arena = arena, .images = images};
    struct ls_redis_each each = {.n = n_keys,
                                 .opaque = &fetch,
                                 .slot = key_slot,
                                 .encode = encode_get,
                                 .answer = take_entry};
    int rc = ls_redis_each(fetch.store->cluster, &each, err);
    ls_buf_free(&fetch.scratch);
    return rc;
}

/*
 * Counting goes by slot (CLUSTER GETKEYSINSLOT), because SCAN may give a key twice and remembering
 * all keys would take memory without bound. The head of each value says whether it is a delete.
 */
struct count {
    struct ls_redis_store *store;
    size_t first_slot;
    struct ls_arena arena;
    struct ls_span *keys; /* of the slots at hand */
    size_t n_keys, cap_keys;
    uint64_t live, deleted;
};

static uint16_t counted_slot(void *opaque, size_t index)
{
    const struct count *count = opaque;
    return (uint16_t)(count->first_slot + index);
}

static void encode_slot_keys(void *opaque, size_t index, struct ls_buf *out)
{
    char slot[8];
    snprintf(slot, sizeof(slot), "%u", counted_slot(opaque, index));
    ls_redis_put_words(out, "CLUSTER", "GETKEYSINSLOT", slot, KEYS_OF_SLOT, NULL);
}

static int take_slot_keys(void *opaque, size_t index, const redisReply *reply, struct ls_err *err)
{
    struct count *count = opaque;
    if (reply->type != REDIS_REPLY_ARRAY)
        return ls_redis_reply_err(err, reply, count->store->cluster->options.name);
    for (size_t i = 0; i < reply->elements; i++) {
        const redisReply *name = reply->element[i];
        struct ls_span key;
        if (name->type != REDIS_REPLY_STRING || !key_of(count->store, name->str, name->len, &key))
            continue;
        if (count->n_keys == count->cap_keys) {
            count->cap_keys = count->cap_keys ? 2 * count->cap_keys : 1024;
            count->keys = ls_realloc(count->keys, count->cap_keys * sizeof(*count->keys));
        }
        char *copy = ls_arena_alloc(&count->arena, key.len + 1);
        memcpy(copy, key.data, key.len);
        count->keys[count->n_keys++] = (struct ls_span){.data = copy, .len = key.len};
    }
    return 0;
}

static uint16_t counted_key_slot(void *opaque, size_t index)
{
    const struct count *count = opaque;
    return ls_redis_slot(count->keys[index].data, count->keys[index].len);
}

static void encode_peek(void *opaque, size_t index, struct ls_buf *out)
{
    const struct count *count = opaque;
    char name[LS_REDIS_KEY_MAX], last[8];
    size_t len = ls_redis_entry_key(count->store->schema, count->keys[index].data,
                                    count->keys[index].len, name);
    int last_len = snprintf(last, sizeof(last), "%d", LS_REDIS_HEAD_BYTES - 1);
    const char *words[] = {"GETRANGE", name, "0", last};
    ls_redis_put_command(out, 4, words, (size_t[]){8, len, 1, (size_t)last_len});
}

static int take_peek(void *opaque, size_t index, const redisReply *reply, struct ls_err *err)
{
    struct count *count = opaque;
    bool deleted = false;
    if (reply->type == REDIS_REPLY_STRING && reply->len == 0)
        return 0; /* gone since its slot was listed */
    if (reply->type == REDIS_REPLY_STRING)
        ls_redis_peek_deleted(reply->str, reply->len, &deleted);
    if (deleted)
        count->deleted++;
    else /* what can't be read is there, and not deleted: verify names it */
        count->live++;
    return 0;
}

int ls_redis_store_count(struct ls_store *opaque, uint64_t *ret_live, uint64_t *ret_deleted,
                         struct ls_err *err)
{
    struct count count = {.store = redis_of(opaque)};
    struct ls_redis_cluster *cluster = count.store->cluster;
    struct ls_redis_each slots = {.n = SLOTS_AT_ONCE,
                                  .opaque = &count,
                                  .slot = counted_slot,
                                  .encode = encode_slot_keys,
                                  .answer = take_slot_keys};
    struct ls_redis_each peeks = {
        .opaque = &count, .slot = counted_key_slot, .encode = encode_peek, .answer = take_peek};
    LS_CLEANUP_FREE struct shape *shape = ls_malloc(sizeof(*shape));
    int rc = read_shape(count.store, shape, err);
    for (; rc == 0 && count.first_slot < LS_REDIS_SLOTS; count.first_slot += SLOTS_AT_ONCE) {
        ls_arena_reset(&count.arena);
        count.n_keys = 0;
        rc = ls_redis_each(cluster, &slots, err);
        peeks.n = count.n_keys;
        if (rc == 0)
            rc = ls_redis_each(cluster, &peeks, err);
    }
    if (rc == 0)
        rc = still_shaped(count.store, shape, err);
    if (rc == 0) {
        *ret_live = count.live;
        *ret_deleted = count.deleted;
    }
    ls_arena_free(&count.arena);
    free(count.keys);
    return rc;
}
