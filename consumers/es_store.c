/*
 * The Elasticsearch store as those see it who read it and set it up: ops table, marks, counts.
 * Blocking; one handle is used by one thread at a time. A crash leaves nothing half done: each
 * request stands for itself.
 */
#include "consumers/es_store.h"

#include <poll.h>
#include <stdlib.h>

#include "base/clock.h"
#include "consumers/es_incarnation.h"
#include "consumers/es_marks.h"
#include "pipeline/es_errors.h"

enum {
    PAGE_DOCS = 1000,
    MARKS_PATIENCE_MS = 10 * 1000, /* how long refused marks are sent again, at these intervals */
    MARKS_AGAIN_MS = 100,
    MARKS_AGAIN_MAX_MS = 1000,
};

static int es_open(const struct ls_sink_config *config, struct ls_store **ret, struct ls_err *err)
{
    struct es_store *store = ls_calloc(1, sizeof(*store));
    store->config = config;
    store->schema = config->entity->schema;
    store->page = PAGE_DOCS;
    json_t *health = NULL;
    if (ls_es_client_new(config, &store->client, err) != 0 ||
        ls_es_json(store->client, "GET", "/_cluster/health?filter_path=cluster_name", NULL, &health,
                   err) != 0) {
        ls_es_client_free(store->client);
        free(store);
        return -1;
    }
    json_decref(health);
    *ret = (struct ls_store *)store;
    return 0;
}

static void es_close(struct ls_store *opaque)
{
    struct es_store *store = (struct es_store *)opaque;
    if (store == NULL)
        return;
    ls_es_client_free(store->client);
    ls_buf_free(&store->body);
    ls_buf_free(&store->reply);
    ls_buf_free(&store->scratch);
    free(store);
}

int ls_es_ask(struct es_store *store, const char *path, bool *ret_too_large, struct ls_err *err)
{
    LS_CLEANUP_FREE char *whole = ls_asprintf("/%s%s", store->config->index, path);
    long status = 0;
    bool too_large = false;
    int rc = ls_es_request(store->client, "POST", whole, ls_buf_cstr(&store->body), store->body.len,
                           &status, &store->reply, &too_large, err);
    if (ret_too_large != NULL)
        *ret_too_large = too_large;
    if (rc == 0 && (status < 200 || status > 299))
        rc = ls_es_reply_err(err, status, store->reply.data, store->reply.len);
    if (rc != 0)
        ls_err_prefix(err, "index %s", store->config->index);
    return rc;
}

static int es_refresh(struct ls_store *opaque, struct ls_err *err)
{
    struct es_store *store = (struct es_store *)opaque;
    ls_buf_clear(&store->body);
    return ls_es_ask(store, LS_ES_REFRESH_PATH, NULL, err);
}

int ls_es_count_read(const char *reply, size_t len, uint64_t *ret, struct ls_err *err)
{
    json_t *root = json_loadb(reply != NULL ? reply : "", len, 0, NULL);
    json_t *count = json_object_get(root, "count");
    json_t *failed = json_object_get(json_object_get(root, "_shards"), "failed");
    int rc = 0;
    if (!json_is_integer(count) || json_integer_value(failed) != 0)
        rc = ls_err_set(err, LS_ERR_RETRY, 0, "not all shards were counted");
    else
        *ret = (uint64_t)json_integer_value(count);
    json_decref(root);
    return rc;
}

static int count_docs(struct es_store *store, const char *query, uint64_t *ret, struct ls_err *err)
{
    ls_buf_clear(&store->body);
    ls_buf_append_str(&store->body, query);
    if (ls_es_ask(store, LS_ES_COUNT_PATH, NULL, err) != 0)
        return -1;
    if (ls_es_count_read(store->reply.data, store->reply.len, ret, err) != 0)
        return ls_err_prefix(err, "index %s", store->config->index);
    return 0;
}

#define DELETED "{\"term\":{\"_deleted\":true}}"

static int es_has_data(struct ls_store *opaque, bool *ret, struct ls_err *err)
{
    uint64_t count;
    if (es_refresh(opaque, err) != 0 ||
        count_docs((struct es_store *)opaque, LS_ES_COUNT_DATA, &count, err) != 0)
        return -1;
    *ret = count > 0;
    return 0;
}

static int es_count(struct ls_store *opaque, uint64_t *ret_live, uint64_t *ret_deleted,
                    struct ls_err *err)
{
    struct es_store *store = (struct es_store *)opaque;
    uint64_t live, deleted;
    if (count_docs(store, "{\"query\":{\"bool\":{\"must_not\":[" LS_ES_NO_MARK "," DELETED "]}}}",
                   &live, err) != 0 ||
        count_docs(store, "{\"query\":{\"bool\":{\"filter\":" DELETED "}}}", &deleted, err) != 0)
        return -1;
    *ret_live = live;
    *ret_deleted = deleted;
    return 0;
}

/* GET of a path of the cluster's, the 2xx answer in store->reply. */
static int get(struct es_store *store, const char *path, struct ls_err *err)
{
    long status = 0;
    int rc = ls_es_request(store->client, "GET", path, NULL, 0, &status, &store->reply, NULL, err);
    if (rc == 0 && (status < 200 || status > 299))
        rc = ls_es_reply_err(err, status, store->reply.data, store->reply.len);
    return rc;
}

/* Which data the index holds now; free with ls_es_incarnation_free. */
static int ask_incarnation(struct es_store *store, struct ls_es_incarnation *ret,
                           struct ls_err *err)
{
    const char *index = store->config->index;
    LS_CLEANUP_FREE char *state = ls_es_incarnation_state_path(index);
    LS_CLEANUP_FREE char *stats = ls_es_incarnation_stats_path(index);
    struct ls_es_incarnation inc = {0};
    if (get(store, state, err) == 0 &&
        ls_es_incarnation_state(&inc, index, store->reply.data, store->reply.len, err) == 0 &&
        get(store, stats, err) == 0 &&
        ls_es_incarnation_stats(&inc, index, store->reply.data, store->reply.len, err) == 0) {
        *ret = inc;
        return 0;
    }
    ls_es_incarnation_free(&inc);
    return ls_err_prefix(err, "index %s", index);
}

static int es_read_marks(struct ls_store *opaque, struct ls_mark *marks, size_t n,
                         struct ls_err *err)
{
    struct es_store *store = (struct es_store *)opaque;
    if (n == 0)
        return 0;
    LS_CLEANUP_FREE struct ls_es_mark *held = ls_calloc(n, sizeof(*held));
    for (size_t i = 0; i < n; i++)
        held[i].mark.partition = marks[i].partition;
    struct ls_es_incarnation inc;
    if (ask_incarnation(store, &inc, err) != 0)
        return -1;
    char home[LS_ES_HOME_SIZE];
    memcpy(home, inc.home, sizeof(home));
    ls_es_incarnation_free(&inc);
    ls_buf_clear(&store->body);
    ls_es_marks_ask(held, n, &store->body);
    if (ls_es_ask(store, "/_mget", NULL, err) != 0)
        return -1;
    if (ls_es_marks_read(store->reply.data, store->reply.len, held, n, err) != 0)
        return ls_err_prefix(err, "marks in index %s", store->config->index);
    ls_es_marks_void(held, n, home);
    for (size_t i = 0; i < n; i++)
        marks[i] = held[i].mark;
    return 0;
}

/*
 * Writes n marks unguarded, in one request. Those that were not written stand in
 * marks[0..*ret_left) then. -1 when any was not.
 */
static int write_marks(struct es_store *store, const char *home, struct ls_es_mark *marks, size_t n,
                       size_t *ret_left, struct ls_err *err)
{
    LS_CLEANUP_FREE enum ls_es_mark_result *results = ls_calloc(n, sizeof(*results));
    size_t left = 0;
    ls_buf_clear(&store->body);
    for (size_t i = 0; i < n; i++)
        ls_es_marks_write(&marks[i].mark, home, NULL, &store->body);
    if (ls_es_ask(store, "/_bulk?" LS_ES_MARKS_FILTER, NULL, err) != 0 ||
        ls_es_marks_written(store->reply.data, store->reply.len, marks, results, n, err) != 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (results[i] != LS_ES_MARK_WRITTEN)
            marks[left++] = marks[i];
    *ret_left = left;
    if (left > 0 && err->class == LS_ERR_NONE) /* a conflict, though there was no guard */
        ls_err_set(err, LS_ERR_RETRY, 409, "another writer is at the marks");
    return left > 0 ? -1 : 0;
}

/*
 * A node whose queue is short refuses some marks of each request, since each shard's are a task of
 * its own: those that it refused go again.
 */
static int es_reset_marks(struct ls_store *opaque, const struct ls_mark *marks, size_t n,
                          struct ls_err *err)
{
    struct es_store *store = (struct es_store *)opaque;
    if (n == 0)
        return 0;
    LS_CLEANUP_FREE struct ls_es_mark *left = ls_calloc(n, sizeof(*left));
    struct ls_es_incarnation inc;
    if (ask_incarnation(store, &inc, err) != 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        left[i].mark = marks[i];
    int64_t until_ms = ls_mono_ms() + MARKS_PATIENCE_MS;
    struct ls_err why = {0};
    for (unsigned attempt = 0; write_marks(store, inc.home, left, n, &n, &why) != 0 &&
                               why.class == LS_ERR_RETRY && ls_mono_ms() < until_ms;
         attempt++) {
        poll(NULL, 0, (int)ls_backoff_ms(attempt, MARKS_AGAIN_MS, MARKS_AGAIN_MAX_MS));
        why = (struct ls_err){0};
    }
    ls_es_incarnation_free(&inc);
    if (why.class == LS_ERR_NONE)
        return 0;
    *err = why;
    return ls_err_prefix(err, "marks in index %s", store->config->index);
}

const struct ls_store_ops ls_es_store_ops = {
    .kind = LS_SINK_ES,
    .walks_in_order = true,
    .open = es_open,
    .close = es_close,
    .check = ls_es_check,
    .apply = ls_es_apply,
    .diff = ls_es_diff,
    .has_data = es_has_data,
    .read_marks = es_read_marks,
    .reset_marks = es_reset_marks,
    .refresh = es_refresh,
    .fetch = ls_es_fetch,
    .walk = ls_es_walk,
    .count = es_count,
};
