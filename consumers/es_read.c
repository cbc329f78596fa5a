/*
 * Reading an index back: by key (multi-get, which sees writes at once) and whole shards of the
 * log's 1024 (search, which sees them after a refresh). Blocking, one thread.
 *
 * A walk is search_after over the key, each page a search of its own. A point in time was rejected:
 * a key is in exactly one document of whatever a page sees, and pages divide the keys, so none is
 * missed or met twice, and no search context is held open on the server while a slow walk rests.
 */
#include "consumers/es_encode.h"
#include "consumers/es_image.h"
#include "consumers/es_store.h"
#include "pipeline/es_errors.h"
#include "schema/key.h"

/* Asks for less the next time; false when it is one document already. */
static bool smaller_page(struct es_store *store)
{
    if (store->page == 1)
        return false;
    store->page /= 2;
    return true;
}

static int not_json(const struct es_store *store, struct ls_err *err)
{
    return ls_err_set(err, LS_ERR_RETRY, 0, "index %s: the answer is cut or is not JSON",
                      store->config->index);
}

static void ask_for_keys(struct es_store *store, const struct ls_span *keys, size_t n)
{
    ls_buf_clear(&store->body);
    ls_buf_append_str(&store->body, "{\"docs\":[");
    for (size_t i = 0; i < n; i++) {
        ls_buf_append_str(&store->body, i > 0 ? ",{\"_id\":" : "{\"_id\":");
        ls_es_put_string(&store->body, keys[i].data, keys[i].len);
        ls_buf_printf(&store->body, ",\"routing\":\"%u\"}", ls_shard_of(keys[i].data, keys[i].len));
    }
    ls_buf_append_str(&store->body, "]}");
}

static int read_docs(struct es_store *store, const struct ls_span *keys, size_t n,
                     struct ls_arena *arena, struct ls_image *images, struct ls_err *err)
{
    /* Images outlive the reply: they point into a copy. */
    char *copy = ls_arena_alloc(arena, store->reply.len + 1);
    memcpy(copy, ls_buf_cstr(&store->reply), store->reply.len + 1);
    struct ls_json json = ls_json_begin(copy, store->reply.len);
    struct ls_span name;
    size_t seen = 0;
    for (ls_json_open(&json, '{'); ls_json_key(&json, &name);) {
        if (!ls_json_is(name, "docs")) {
            ls_json_skip(&json, NULL);
            continue;
        }
        for (ls_json_open(&json, '['); ls_json_item(&json); seen++) {
            struct ls_es_doc doc;
            if (!ls_es_doc_read(&json, arena, &doc) || seen >= n)
                continue;
            if (doc.error.len > 0) {
                struct ls_es_judgement judged = ls_es_judge(400, doc.error.data, doc.error.len);
                bool fatal = judged.class == LS_ERR_FATAL;
                return ls_err_set(err, fatal ? LS_ERR_FATAL : LS_ERR_RETRY, 0, "index %s: %.*s%s",
                                  store->config->index, (int)doc.error.len, doc.error.data,
                                  judged.advice);
            }
            if (doc.found)
                ls_es_image(store->schema, &doc, arena, &store->scratch, &images[seen]);
            else
                images[seen] = (struct ls_image){.found = false};
            images[seen].key = keys[seen];
        }
    }
    return json.failed || seen != n ? not_json(store, err) : 0;
}

int ls_es_fetch(struct ls_store *opaque, const struct ls_span *keys, size_t n_keys,
                struct ls_arena *arena, struct ls_image *images, struct ls_err *err)
{
    struct es_store *store = (struct es_store *)opaque;
    for (size_t at = 0; at < n_keys;) {
        size_t n = n_keys - at < store->page ? n_keys - at : store->page;
        bool too_large;
        ask_for_keys(store, keys + at, n);
        if (ls_es_ask(store,
                      "/_mget?filter_path=docs._id,docs._version,docs.found,docs._source,"
                      "docs.error.type",
                      &too_large, err) != 0) {
            if (too_large && smaller_page(store))
                continue;
            return -1;
        }
        if (read_docs(store, keys + at, n, arena, images + at, err) != 0)
            return -1;
        at += n;
    }
    return 0;
}

/*
 * Another writer's document may lack _shard, or have one that is none; readers see it all the same.
 * So the first shard's walk asks for those too, wherever they stand.
 */
static void ask_for_page(struct es_store *store, uint16_t shard, const struct ls_buf *after)
{
    const char *key = store->schema->key.name;
    ls_buf_clear(&store->body);
    ls_buf_printf(&store->body, "{\"size\":%zu,\"query\":{\"bool\":{\"filter\":[", store->page);
    if (shard == 0)
        ls_buf_printf(&store->body,
                      "{\"bool\":{\"must_not\":{\"range\":{\"_shard\":{\"gt\":0,\"lt\":%d}}}}}",
                      LS_SHARDS);
    else
        ls_buf_printf(&store->body, "{\"term\":{\"_shard\":%u}}", shard);
    ls_buf_printf(&store->body,
                  ",{\"exists\":{\"field\":\"%s\"}}]}},\"sort\":[{\"%s\":\"asc\"}],"
                  "\"version\":true,\"track_total_hits\":false",
                  key, key);
    if (after->len > 0) {
        ls_buf_append_str(&store->body, ",\"search_after\":[");
        ls_es_put_string(&store->body, after->data, after->len);
        ls_buf_append_char(&store->body, ']');
    }
    ls_buf_append_char(&store->body, '}');
}

/* The images of one page, in the arena. */
static int read_page(struct es_store *store, struct ls_arena *arena, struct ls_image **ret_images,
                     size_t *ret_n, struct ls_err *err)
{
    struct ls_json json = ls_json_begin(store->reply.data, store->reply.len);
    struct ls_image *images = ls_arena_alloc(arena, store->page * sizeof(*images));
    size_t n = 0;
    struct ls_span name;
    for (ls_json_open(&json, '{'); ls_json_key(&json, &name);) {
        if (!ls_json_is(name, "hits")) {
            ls_json_skip(&json, NULL);
            continue;
        }
        for (ls_json_open(&json, '{'); ls_json_key(&json, &name);) {
            if (!ls_json_is(name, "hits")) {
                ls_json_skip(&json, NULL);
                continue;
            }
            for (ls_json_open(&json, '['); ls_json_item(&json);) {
                struct ls_es_doc doc;
                if (!ls_es_doc_read(&json, arena, &doc) || n == store->page)
                    continue;
                ls_es_image(store->schema, &doc, arena, &store->scratch, &images[n]);
                /* The key that the page is sorted by; another _id makes it undecodable. */
                if (doc.sort.data != NULL)
                    images[n].key = doc.sort;
                n++;
            }
        }
    }
    if (json.failed)
        return not_json(store, err);
    *ret_images = images;
    *ret_n = n;
    return 0;
}

static int walk_pages(struct es_store *store, uint16_t shard, struct ls_arena *arena,
                      struct ls_buf *after, ls_page_fn *page, void *opaque, struct ls_err *err)
{
    char path[256], routing[24] = "";
    if (shard != 0)
        snprintf(routing, sizeof(routing), "routing=%u&", shard);
    snprintf(path, sizeof(path),
             "/_search?%spreference=lockstep&allow_partial_search_results=false&"
             "filter_path=hits.hits._id,hits.hits._version,hits.hits._source,hits.hits.sort",
             routing);
    for (;;) {
        bool too_large;
        ask_for_page(store, shard, after);
        if (ls_es_ask(store, path, &too_large, err) != 0) {
            if (too_large && smaller_page(store))
                continue;
            return -1;
        }
        struct ls_image *images = NULL;
        size_t n = 0, asked = store->page;
        ls_arena_reset(arena);
        if (read_page(store, arena, &images, &n, err) != 0)
            return -1;
        if (n == 0)
            return 0;
        ls_buf_clear(after);
        ls_buf_append(after, images[n - 1].key.data, images[n - 1].key.len);
        int rc = page(opaque, images, n);
        if (rc != 0 || n < asked)
            return rc;
    }
}

int ls_es_walk(struct ls_store *opaque, uint16_t shard, ls_page_fn *page, void *page_opaque,
               struct ls_err *err)
{
    struct es_store *store = (struct es_store *)opaque;
    struct ls_arena arena = {0};
    struct ls_buf after = {0};
    int rc = walk_pages(store, shard, &arena, &after, page, page_opaque, err);
    ls_arena_free(&arena);
    ls_buf_free(&after);
    return rc;
}
