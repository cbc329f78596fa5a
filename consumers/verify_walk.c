/*
 * The walk: ledger and store side by side, in pages. A store that gives its keys in order is merged
 * with the ledger, shard by shard. One that does not (redis) is asked for the ledger's keys, and
 * then walked for keys that the ledger lacks.
 *
 * In the sink's thread. Keeps nothing: a crash means verifying again.
 */
#include <stdio.h>
#include <string.h>

#include "consumers/verify_internal.h"
#include "schema/key.h"

enum { FETCH_KEYS = LS_VERIFY_CANDIDATES };

static int order_of(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order != 0 ? order : a_len < b_len ? -1 : a_len > b_len;
}

static void count_entry(struct ls_verify *verify, const struct ls_ledger_entry *entry)
{
    struct ls_verify_report *report = verify->report;
    __atomic_add_fetch(entry->deleted ? &report->deleted : &report->live, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&report->done, 1, __ATOMIC_RELAXED);
}

/* Equal is final at once; anything else has to be confirmed. */
static int judge(struct ls_verify *verify, const struct ls_ledger_entry *entry,
                 const struct ls_image *image, struct ls_err *err)
{
    char why[160];
    if (ls_verify_compare(entry, image, why) == LS_DIFF_EQUAL) {
        ls_verify_note(verify, LS_DIFF_EQUAL, entry, image, "");
        return 0;
    }
    return ls_verify_differ(verify, entry, image, err);
}

/* --- stores that walk in order --- */

struct merge {
    struct ls_verify *verify;
    const struct ls_ledger_entry *entry; /* the ledger's next, or NULL at the shard's end */
    uint16_t shard;
    char last[LS_KEY_BYTES_MAX];
    uint32_t last_len;
    bool begun;
};

static int next_entry(struct merge *merge, struct ls_err *err)
{
    int rc = ls_ledger_cursor_next(&merge->verify->cursor, &merge->entry, err);
    if (rc == 0)
        merge->entry = NULL;
    else if (rc > 0)
        count_entry(merge->verify, merge->entry);
    return rc < 0 ? -1 : 0;
}

/* The ledger's entries before a key (NULL: all that are left) are not in the store. */
static int pass_missing(struct merge *merge, const struct ls_span *before, struct ls_err *err)
{
    static const struct ls_image nothing = {.found = false};
    while (merge->entry != NULL &&
           (before == NULL ||
            order_of(merge->entry->key, merge->entry->key_len, before->data, before->len) < 0)) {
        if (ls_verify_differ(merge->verify, merge->entry, &nothing, err) < 0 ||
            next_entry(merge, err) < 0)
            return -1;
    }
    return 0;
}

/* A store that breaks the order would yield nonsense, so it is not merged on. */
static int check_order(struct merge *merge, const struct ls_image *image, struct ls_err *err)
{
    if (image->key.len > LS_KEY_BYTES_MAX)
        return ls_err_set(err, LS_ERR_FATAL, 0, "shard %u holds a key of %u bytes, more than %d",
                          merge->shard, image->key.len, LS_KEY_BYTES_MAX);
    if (merge->begun &&
        order_of(merge->last, merge->last_len, image->key.data, image->key.len) >= 0)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "shard %u does not give its keys in byte order: is the key's collation "
                          "binary? `lockstep schema diff` tells",
                          merge->shard);
    memcpy(merge->last, image->key.data, image->key.len);
    merge->last_len = image->key.len;
    merge->begun = true;
    return 0;
}

static int merge_image(struct merge *merge, const struct ls_image *image, struct ls_err *err)
{
    struct ls_verify *verify = merge->verify;
    if (check_order(merge, image, err) < 0 || pass_missing(merge, &image->key, err) < 0)
        return -1;
    if (ls_shard_of(image->key.data, image->key.len) != merge->shard) {
        /* Readers look for the key on its own shard, where it is judged by itself. */
        char why[160];
        struct ls_ledger_entry none = {
            .key = image->key.data,
            .key_len = (uint16_t)image->key.len,
            .shard = merge->shard,
        };
        snprintf(why, sizeof(why), "stands on shard %u, its own is %u", merge->shard,
                 ls_shard_of(image->key.data, image->key.len));
        if (image->undecodable)
            snprintf(why, sizeof(why), "not on its own shard, %u, and no record: %s",
                     ls_shard_of(image->key.data, image->key.len), image->why);
        ls_verify_note(verify, LS_DIFF_EXTRA, &none, image, why);
        return 0;
    }
    if (merge->entry == NULL ||
        order_of(merge->entry->key, merge->entry->key_len, image->key.data, image->key.len) != 0)
        return ls_verify_suspect(verify, image->key, err);
    if (judge(verify, merge->entry, image, err) < 0)
        return -1;
    return next_entry(merge, err);
}

static int merge_page(void *opaque, const struct ls_image *images, size_t n_images)
{
    struct merge *merge = opaque;
    struct ls_err *err = &merge->verify->err;
    for (size_t i = 0; i < n_images; i++)
        if (merge_image(merge, &images[i], err) < 0)
            return 1;
    if (ls_verify_stopped(merge->verify)) {
        ls_err_set(err, LS_ERR_RETRY, 0, "interrupted");
        return 1;
    }
    return 0;
}

/* Walks a store with a page callback that keeps its own failure in verify->err. */
static int walk_store(struct ls_verify *verify, uint16_t shard, ls_page_fn *page, void *opaque,
                      struct ls_err *err)
{
    verify->err = (struct ls_err){0};
    int rc = verify->ops->walk(verify->walker, shard, page, opaque, err);
    if (rc > 0)
        *err = verify->err;
    return rc == 0 ? 0 : -1;
}

static int walk_in_order(struct ls_verify *verify, struct ls_err *err)
{
    for (unsigned shard = 0; shard < LS_SHARDS; shard++) {
        struct merge merge = {.verify = verify, .shard = (uint16_t)shard};
        ls_ledger_cursor_begin(&verify->cursor, merge.shard);
        if (next_entry(&merge, err) < 0 ||
            walk_store(verify, merge.shard, merge_page, &merge, err) < 0 ||
            pass_missing(&merge, NULL, err) < 0)
            return -1;
        if (ls_verify_stopped(verify))
            return ls_err_set(err, LS_ERR_RETRY, 0, "interrupted");
    }
    return 0;
}

/* --- stores that do not --- */

struct fetching {
    struct ls_arena arena; /* keys of the page */
    struct ls_span keys[FETCH_KEYS];
    struct ls_ledger_entry entries[FETCH_KEYS];
    struct ls_image images[FETCH_KEYS];
    size_t n;
};

static int fetch_page(struct ls_verify *verify, struct fetching *page, struct ls_err *err)
{
    if (page->n == 0)
        return 0;
    ls_arena_reset(&verify->arena);
    int rc =
        verify->ops->fetch(verify->walker, page->keys, page->n, &verify->arena, page->images, err);
    /* Confirming uses the arena again, so what is equal is counted first. */
    bool equal[FETCH_KEYS];
    for (size_t i = 0; rc == 0 && i < page->n; i++) {
        char why[160];
        equal[i] = ls_verify_compare(&page->entries[i], &page->images[i], why) == LS_DIFF_EQUAL;
        if (equal[i])
            ls_verify_note(verify, LS_DIFF_EQUAL, &page->entries[i], &page->images[i], "");
    }
    for (size_t i = 0; rc == 0 && i < page->n; i++) {
        count_entry(verify, &page->entries[i]);
        if (!equal[i])
            rc = ls_verify_differ(verify, &page->entries[i], &page->images[i], err);
    }
    page->n = 0;
    ls_arena_reset(&page->arena);
    if (rc == 0 && ls_verify_stopped(verify))
        rc = ls_err_set(err, LS_ERR_RETRY, 0, "interrupted");
    return rc;
}

static int fetch_all(struct ls_verify *verify, struct fetching *page, struct ls_err *err)
{
    for (unsigned shard = 0; shard < LS_SHARDS; shard++) {
        const struct ls_ledger_entry *entry;
        int rc;
        ls_ledger_cursor_begin(&verify->cursor, (uint16_t)shard);
        while ((rc = ls_ledger_cursor_next(&verify->cursor, &entry, err)) > 0) {
            char *key = ls_arena_alloc(&page->arena, entry->key_len);
            memcpy(key, entry->key, entry->key_len);
            page->entries[page->n] = *entry;
            page->entries[page->n].key = key;
            page->keys[page->n++] = (struct ls_span){key, entry->key_len};
            if (page->n == FETCH_KEYS && fetch_page(verify, page, err) < 0)
                return -1;
        }
        if (rc < 0)
            return -1;
    }
    return fetch_page(verify, page, err);
}

/* Keys that the store gives and the ledger lacks. */
static int extra_page(void *opaque, const struct ls_image *images, size_t n_images)
{
    struct ls_verify *verify = opaque;
    struct ls_span keys[LS_LEDGER_PAGE];
    struct ls_ledger_entry entries[LS_LEDGER_PAGE];
    for (size_t from = 0; from < n_images;) {
        size_t n = n_images - from < LS_LEDGER_PAGE ? n_images - from : LS_LEDGER_PAGE;
        for (size_t i = 0; i < n; i++)
            keys[i] = images[from + i].key;
        if (ls_ledger_lookup(verify->model->ledger, keys, n, entries, &verify->err) < 0)
            return 1;
        for (size_t i = 0; i < n; i++)
            if (!entries[i].found && ls_verify_suspect(verify, keys[i], &verify->err) < 0)
                return 1;
        from += n;
    }
    if (ls_verify_stopped(verify)) {
        ls_err_set(&verify->err, LS_ERR_RETRY, 0, "interrupted");
        return 1;
    }
    return 0;
}

int ls_verify_walk(struct ls_verify *verify, struct ls_err *err)
{
    if (verify->ops->walks_in_order) {
        if (walk_in_order(verify, err) < 0)
            return -1;
    } else {
        LS_CLEANUP_FREE struct fetching *page = ls_calloc(1, sizeof(*page));
        int rc = fetch_all(verify, page, err);
        ls_arena_free(&page->arena);
        if (rc < 0 || walk_store(verify, 0, extra_page, verify, err) < 0)
            return -1;
    }
    return ls_verify_confirm(verify, err);
}
