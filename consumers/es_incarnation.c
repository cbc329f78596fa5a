/* Incarnations of an index. Pure; see es_incarnation.h. */
#include "consumers/es_incarnation.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/buf.h"
#include "base/mem.h"

enum { SHARDS_MAX = 1024 }; /* Elasticsearch's own limit, and our number of routing values */

char *ls_es_incarnation_state_path(const char *index)
{
    return ls_asprintf("/_cluster/state/metadata/%s?filter_path=cluster_uuid,"
                       "metadata.indices.*.primary_terms,"
                       "metadata.indices.*.settings.index.uuid,"
                       "metadata.indices.*.settings.index.number_of_shards",
                       index);
}

char *ls_es_incarnation_stats_path(const char *index)
{
    return ls_asprintf("/%s/_stats/docs?level=shards&filter_path=indices.*.uuid,"
                       "indices.*.shards.*.routing.primary,"
                       "indices.*.shards.*.commit.user_data.history_uuid",
                       index);
}

void ls_es_incarnation_free(struct ls_es_incarnation *inc)
{
    free(inc->primaries);
    *inc = (struct ls_es_incarnation){0};
}

/* A member of an object that is reached by these names. */
static json_t *reach(json_t *json, const char *const *names)
{
    for (; *names != NULL; names++)
        json = json_object_get(json, *names);
    return json;
}

#define REACH(json, ...) reach(json, (const char *const[]){__VA_ARGS__, NULL})

/* Copies a UUID; false when there is none or it is longer than any. */
static bool take_uuid(const json_t *json, char ret[LS_ES_UUID_SIZE])
{
    const char *text = json_string_value(json);
    if (text == NULL || text[0] == '\0' || strlen(text) >= LS_ES_UUID_SIZE)
        return false;
    snprintf(ret, LS_ES_UUID_SIZE, "%s", text);
    return true;
}

static int not_whole(struct ls_err *err)
{
    return ls_err_set(err, LS_ERR_RETRY, 0, "the answer about its identity is cut or is not JSON");
}

static int read_state(struct ls_es_incarnation *inc, const char *index, json_t *root,
                      struct ls_err *err)
{
    json_t *entry = REACH(root, "metadata", "indices", index);
    if (entry == NULL && json_object_get(root, "cluster_uuid") != NULL)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "there is no such index; `lockstep schema apply` creates it");
    json_t *settings = REACH(entry, "settings", "index");
    const char *number = json_string_value(json_object_get(settings, "number_of_shards"));
    unsigned long n = number != NULL ? strtoul(number, NULL, 10) : 0;
    if (!take_uuid(json_object_get(settings, "uuid"), inc->uuid) || n < 1 || n > SHARDS_MAX)
        return not_whole(err);
    inc->primaries = ls_calloc(n, sizeof(*inc->primaries));
    for (uint32_t i = 0; i < n; i++) {
        char name[12];
        snprintf(name, sizeof(name), "%" PRIu32, i);
        json_t *term = REACH(entry, "primary_terms", name);
        if (!json_is_integer(term))
            return not_whole(err);
        inc->primaries[i].term = json_integer_value(term);
    }
    inc->n_primaries = (uint32_t)n;
    return 0;
}

typedef int read_fn(struct ls_es_incarnation *inc, const char *index, json_t *root,
                    struct ls_err *err);

/* An answer that is no JSON is read as one without anything in it. */
static int read_reply(read_fn *read, struct ls_es_incarnation *inc, const char *index,
                      const char *reply, size_t len, struct ls_err *err)
{
    json_t *root = json_loadb(reply != NULL ? reply : "", len, 0, NULL);
    int rc = read(inc, index, root, err);
    json_decref(root);
    return rc;
}

int ls_es_incarnation_state(struct ls_es_incarnation *inc, const char *index, const char *reply,
                            size_t len, struct ls_err *err)
{
    *inc = (struct ls_es_incarnation){0};
    return read_reply(read_state, inc, index, reply, len, err);
}

/* The history of a shard's primary among its copies; NULL when none of them is one. */
static json_t *history_of(json_t *copies)
{
    size_t i;
    json_t *copy;
    json_array_foreach(copies, i, copy)
    {
        if (json_is_true(REACH(copy, "routing", "primary")))
            return REACH(copy, "commit", "user_data", "history_uuid");
    }
    return NULL;
}

static void digest(struct ls_es_incarnation *inc)
{
    struct ls_buf text = {0};
    ls_buf_append(&text, inc->uuid, sizeof(inc->uuid));
    for (uint32_t i = 0; i < inc->n_primaries; i++)
        ls_buf_append(&text, inc->primaries[i].history, sizeof(inc->primaries[i].history));
    snprintf(inc->home, sizeof(inc->home), "%016" PRIx64,
             (uint64_t)XXH3_64bits(text.data, text.len));
    ls_buf_free(&text);
}

static int read_stats(struct ls_es_incarnation *inc, const char *index, json_t *root,
                      struct ls_err *err)
{
    char uuid[LS_ES_UUID_SIZE];
    json_t *entry = REACH(root, "indices", index);
    if (!json_is_object(root))
        return not_whole(err);
    if (!take_uuid(json_object_get(entry, "uuid"), uuid))
        return ls_err_set(err, LS_ERR_RETRY, 0, "no shard of it is up");
    if (strcmp(uuid, inc->uuid) != 0)
        return ls_err_set(err, LS_ERR_RETRY, 0, "it was made again just now");
    for (uint32_t i = 0; i < inc->n_primaries; i++) {
        char name[12];
        snprintf(name, sizeof(name), "%" PRIu32, i);
        json_t *history = history_of(REACH(entry, "shards", name));
        if (!take_uuid(history, inc->primaries[i].history))
            return ls_err_set(err, LS_ERR_RETRY, 0, "shard %" PRIu32 " has no primary", i);
    }
    digest(inc);
    return 0;
}

int ls_es_incarnation_stats(struct ls_es_incarnation *inc, const char *index, const char *reply,
                            size_t len, struct ls_err *err)
{
    return read_reply(read_stats, inc, index, reply, len, err);
}

bool ls_es_incarnation_same(const struct ls_es_incarnation *was,
                            const struct ls_es_incarnation *now, const char *index, char *why,
                            size_t size)
{
    if (strcmp(was->uuid, now->uuid) != 0) {
        snprintf(why, size,
                 "index %s is another one: it was deleted and made again (uuid %s was %s)", index,
                 now->uuid, was->uuid);
        return false;
    }
    uint32_t n = now->n_primaries < was->n_primaries ? now->n_primaries : was->n_primaries;
    for (uint32_t i = 0; i < n; i++) { /* first what says most */
        if (strcmp(was->primaries[i].history, now->primaries[i].history) == 0)
            continue;
        snprintf(why, size,
                 "index %s: shard %" PRIu32 " has another history: it was restored, or a stale or "
                 "empty copy took its place",
                 index, i);
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (was->primaries[i].term == now->primaries[i].term)
            continue;
        snprintf(why, size,
                 "index %s: shard %" PRIu32 " has a new primary (term %" PRId64 " was %" PRId64
                 "): a restart or a failover",
                 index, i, now->primaries[i].term, was->primaries[i].term);
        return false;
    }
    return was->n_primaries == now->n_primaries;
}
