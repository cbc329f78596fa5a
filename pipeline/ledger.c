/*
 * The ledger's entries: how they stand in LMDB, and reading and writing them. Everything is in this
 * machine's byte order and packed by memcpy, since LMDB aligns nothing; the file never leaves the
 * machine.
 *
 *     log: shard (2 bytes, big-endian) + key -> version, hash, offset, at_ms (8 each), flags (1)
 *          and room for the body behind
 *
 * A key's place includes its shard, so that a shard is one range in key order, as the stores give
 * it.
 */
#include <stdio.h>
#include <string.h>

#include "pipeline/ledger_internal.h"
#include "schema/key.h"

enum {
    PLACE_MAX = 2 + LS_KEY_BYTES_MAX,
    ENTRY_BYTES = 33, /* the body, where it is kept, follows */
    FLAG_DELETED = 1,
};

static size_t put_place(char place[PLACE_MAX], uint16_t shard, const char *key, size_t len)
{
    place[0] = (char)(shard >> 8);
    place[1] = (char)shard;
    memcpy(place + 2, key, len);
    return len + 2;
}

static void pack_entry(const struct ls_ledger_entry *entry, char bytes[ENTRY_BYTES])
{
    memcpy(bytes, &entry->version, 8);
    memcpy(bytes + 8, &entry->hash, 8);
    memcpy(bytes + 16, &entry->offset, 8);
    memcpy(bytes + 24, &entry->at_ms, 8);
    bytes[32] = entry->deleted ? FLAG_DELETED : 0;
}

static int unpack_entry(const MDB_val *value, struct ls_ledger_entry *entry)
{
    if (value->mv_size < ENTRY_BYTES)
        return MDB_CORRUPTED;
    const char *bytes = value->mv_data;
    memcpy(&entry->version, bytes, 8);
    memcpy(&entry->hash, bytes + 8, 8);
    memcpy(&entry->offset, bytes + 16, 8);
    memcpy(&entry->at_ms, bytes + 24, 8);
    entry->deleted = bytes[32] & FLAG_DELETED;
    entry->found = true;
    return MDB_SUCCESS;
}

int ls_ledger_open(const struct ls_config *config, const struct ls_entity_config *entity,
                   size_t map_bytes, struct ls_ledger **ret, struct ls_err *err)
{
    struct ls_ledger *ledger = ls_calloc(1, sizeof(*ledger));
    LS_CLEANUP_FREE char *dir =
        ls_asprintf("%s/ledger/%s.%u", config->state_dir, entity->name, entity->generation);
    if (ls_ledger_env_open(&ledger->env, dir, map_bytes, err) < 0) {
        free(ledger);
        return -1;
    }
    ledger->config = config;
    ledger->entity = entity;
    pthread_mutex_init(&ledger->updating, NULL);
    if (ledger->env.rebuilt[0] != '\0')
        snprintf(ledger->rebuilt, sizeof(ledger->rebuilt), "%s", ledger->env.rebuilt);
    *ret = ledger;
    return 0;
}

void ls_ledger_close(struct ls_ledger *ledger)
{
    if (ledger == NULL)
        return;
    ls_ledger_reader_close(ledger->reader);
    ls_ledger_env_close(&ledger->env);
    pthread_mutex_destroy(&ledger->updating);
    free(ledger);
}

const struct ls_entity_config *ls_ledger_entity(const struct ls_ledger *ledger)
{
    return ledger->entity;
}

const char *ls_ledger_rebuilt(const struct ls_ledger *ledger)
{
    return ledger->rebuilt[0] != '\0' ? ledger->rebuilt : NULL;
}

int ls_ledger_lookup(struct ls_ledger *ledger, const struct ls_span *keys, size_t n,
                     struct ls_ledger_entry *entries, struct ls_err *err)
{
    MDB_txn *txn;
    if (ls_ledger_env_read(&ledger->env, &txn, err) < 0)
        return -1;
    int code = MDB_SUCCESS;
    for (size_t i = 0; i < n && code == MDB_SUCCESS; i++) {
        struct ls_ledger_entry entry = {
            .key = keys[i].data,
            .key_len = (uint16_t)keys[i].len,
            .shard = ls_shard_of(keys[i].data, keys[i].len),
        };
        char bytes[PLACE_MAX];
        if (keys[i].len <= LS_KEY_BYTES_MAX) {
            MDB_val place = {put_place(bytes, entry.shard, keys[i].data, keys[i].len), bytes},
                    value;
            code = mdb_get(txn, ledger->env.log, &place, &value);
            if (code == MDB_SUCCESS)
                code = unpack_entry(&value, &entry);
            else if (code == MDB_NOTFOUND)
                code = MDB_SUCCESS;
        }
        entries[i] = entry;
    }
    ls_ledger_env_abort(&ledger->env, txn);
    return code == MDB_SUCCESS ? 0 : ls_ledger_env_err(&ledger->env, code, "look up a key", err);
}

/* Copies what the cursor stands at. */
static int copy_entry(const MDB_val *place, const MDB_val *value, struct ls_arena *arena,
                      struct ls_ledger_entry *ret)
{
    struct ls_ledger_entry entry = {0};
    const unsigned char *bytes = place->mv_data;
    entry.shard = (uint16_t)(bytes[0] << 8 | bytes[1]);
    entry.key_len = (uint16_t)(place->mv_size - 2);
    char *key = ls_arena_alloc(arena, entry.key_len);
    memcpy(key, bytes + 2, entry.key_len);
    entry.key = key;
    int code = unpack_entry(value, &entry);
    *ret = entry;
    return code;
}

/*
 * The next entries of the cursor's shard in byte order of the key, after the last that it had, at
 * most a page; fewer only at the end of the shard. Keys are copied to its arena.
 */
static int read_page(struct ls_ledger_cursor *page, struct ls_err *err)
{
    struct ls_ledger *ledger = page->ledger;
    MDB_txn *txn;
    if (ls_ledger_env_read(&ledger->env, &txn, err) < 0)
        return -1;
    MDB_cursor *cursor = NULL;
    size_t n = 0;
    char bytes[PLACE_MAX];
    size_t len = put_place(bytes, page->shard, page->last, page->last_len);
    MDB_val place = {len, bytes}, value;
    int code = mdb_cursor_open(txn, ledger->env.log, &cursor);
    if (code == MDB_SUCCESS)
        code = mdb_cursor_get(cursor, &place, &value, MDB_SET_RANGE);
    if (code == MDB_SUCCESS && page->last_len > 0 && place.mv_size == len &&
        memcmp(place.mv_data, bytes, len) == 0)
        code = mdb_cursor_get(cursor, &place, &value, MDB_NEXT);
    while (code == MDB_SUCCESS && n < LS_LEDGER_PAGE && memcmp(place.mv_data, bytes, 2) == 0) {
        code = copy_entry(&place, &value, &page->arena, &page->entries[n]);
        n++;
        if (code == MDB_SUCCESS)
            code = mdb_cursor_get(cursor, &place, &value, MDB_NEXT);
    }
    if (cursor != NULL)
        mdb_cursor_close(cursor);
    ls_ledger_env_abort(&ledger->env, txn);
    if (code != MDB_SUCCESS && code != MDB_NOTFOUND)
        return ls_ledger_env_err(&ledger->env, code, "read a shard", err);
    page->n_entries = n;
    return 0;
}

void ls_ledger_cursor_init(struct ls_ledger_cursor *cursor, struct ls_ledger *ledger)
{
    *cursor = (struct ls_ledger_cursor){.ledger = ledger};
    cursor->entries = ls_calloc(LS_LEDGER_PAGE, sizeof(*cursor->entries));
}

void ls_ledger_cursor_begin(struct ls_ledger_cursor *cursor, uint16_t shard)
{
    cursor->shard = shard;
    cursor->n_entries = 0;
    cursor->at = 0;
    cursor->last_len = 0;
    cursor->ended = false;
}

int ls_ledger_cursor_next(struct ls_ledger_cursor *cursor, const struct ls_ledger_entry **ret,
                          struct ls_err *err)
{
    if (cursor->at == cursor->n_entries) {
        if (cursor->ended)
            return 0;
        ls_arena_reset(&cursor->arena);
        cursor->n_entries = cursor->at = 0;
        if (read_page(cursor, err) < 0)
            return -1;
        cursor->ended = cursor->n_entries < LS_LEDGER_PAGE;
        if (cursor->n_entries == 0)
            return 0;
        const struct ls_ledger_entry *last = &cursor->entries[cursor->n_entries - 1];
        memcpy(cursor->last, last->key, last->key_len);
        cursor->last_len = last->key_len;
    }
    *ret = &cursor->entries[cursor->at++];
    return 1;
}

void ls_ledger_cursor_free(struct ls_ledger_cursor *cursor)
{
    ls_arena_free(&cursor->arena);
    free(cursor->entries);
    cursor->entries = NULL;
}

int ls_ledger_begin(struct ls_ledger *ledger, struct ls_err *err)
{
    return ls_ledger_env_lock(&ledger->env, err);
}

int ls_ledger_end(struct ls_ledger *ledger, struct ls_err *err)
{
    int rc = ls_ledger_env_sync(&ledger->env, err);
    ls_ledger_env_unlock(&ledger->env);
    return rc;
}

static int by_place(const void *left, const void *right)
{
    const struct ls_ledger_entry *a = left, *b = right;
    if (a->shard != b->shard)
        return a->shard < b->shard ? -1 : 1;
    size_t shorter = a->key_len < b->key_len ? a->key_len : b->key_len;
    int order = memcmp(a->key, b->key, shorter);
    if (order != 0)
        return order;
    if (a->key_len != b->key_len)
        return a->key_len < b->key_len ? -1 : 1;
    return a->version < b->version ? -1 : a->version > b->version;
}

/* Writes one entry if it is at least as new as what is there, and keeps count of deletes. */
static int write_entry(MDB_cursor *cursor, const struct ls_ledger_entry *entry, uint64_t *deleted)
{
    char place_bytes[PLACE_MAX], bytes[ENTRY_BYTES];
    MDB_val place = {put_place(place_bytes, entry->shard, entry->key, entry->key_len), place_bytes};
    MDB_val value;
    struct ls_ledger_entry old = {0};
    int code = mdb_cursor_get(cursor, &place, &value, MDB_SET);
    if (code == MDB_SUCCESS)
        code = unpack_entry(&value, &old);
    else if (code == MDB_NOTFOUND)
        code = MDB_SUCCESS;
    if (code != MDB_SUCCESS || (old.found && old.version > entry->version))
        return code;
    *deleted -= old.deleted;
    if (entry->purged)
        return old.found ? mdb_cursor_del(cursor, 0) : MDB_SUCCESS;
    *deleted += entry->deleted;
    pack_entry(entry, bytes);
    value = (MDB_val){sizeof(bytes), bytes};
    place = (MDB_val){(size_t)entry->key_len + 2, place_bytes};
    return mdb_cursor_put(cursor, &place, &value, old.found ? MDB_CURRENT : 0);
}

static int write_in(struct ls_ledger *ledger, MDB_txn *txn, const struct ls_ledger_entry *entries,
                    size_t n, const struct ls_ledger_position *positions)
{
    uint64_t deleted;
    int code = ls_ledger_state_deleted(ledger, txn, &deleted);
    MDB_cursor *cursor = NULL;
    if (code == MDB_SUCCESS)
        code = mdb_cursor_open(txn, ledger->env.log, &cursor);
    for (size_t i = 0; code == MDB_SUCCESS && i < n; i++)
        code = write_entry(cursor, &entries[i], &deleted);
    if (cursor != NULL)
        mdb_cursor_close(cursor);
    return code == MDB_SUCCESS ? ls_ledger_state_put(ledger, txn, deleted, positions) : code;
}

struct change {          /* one write transaction, as often as the map has to grow for it */
    const char *genesis; /* reset, when it is not NULL */
    const struct ls_ledger_entry *entries;
    size_t n;
    const struct ls_ledger_position *positions;
};

static int run_change(struct ls_ledger *ledger, const struct change *change, struct ls_err *err)
{
    if (ls_ledger_env_mark_unsynced(&ledger->env, err) < 0)
        return -1;
    for (;;) {
        MDB_txn *txn;
        if (ls_ledger_env_write(&ledger->env, &txn, err) < 0)
            return -1;
        int code = change->genesis
                       ? ls_ledger_state_reset(ledger, txn, change->genesis)
                       : write_in(ledger, txn, change->entries, change->n, change->positions);
        if (code == MDB_SUCCESS)
            code = ls_ledger_env_commit(&ledger->env, txn);
        else
            ls_ledger_env_abort(&ledger->env, txn);
        if (code == MDB_SUCCESS)
            return 0;
        if (code != MDB_MAP_FULL)
            return ls_ledger_env_err(&ledger->env, code, "write", err);
        if (ls_ledger_env_grow(&ledger->env, err) < 0)
            return -1;
    }
}

int ls_ledger_reset(struct ls_ledger *ledger, const char *genesis, const char *why,
                    struct ls_err *err)
{
    if (run_change(ledger, &(struct change){.genesis = genesis}, err) < 0)
        return -1;
    if (why != NULL)
        snprintf(ledger->rebuilt, sizeof(ledger->rebuilt), "%s", why);
    return 0;
}

int ls_ledger_write(struct ls_ledger *ledger, struct ls_ledger_entry *entries, size_t n,
                    const struct ls_ledger_position *positions, struct ls_err *err)
{
    /* In the tree's order: neighbours share pages, so fewer are copied. */
    if (n > 0)
        qsort(entries, n, sizeof(*entries), by_place);
    return run_change(ledger, &(struct change){.entries = entries, .n = n, .positions = positions},
                      err);
}
