/*
 * The Redis store for those who set it up and read its marks: blocking, one thread. Nothing has to
 * be created in Redis; what can be wrong are the servers' settings and the shape of the cluster.
 */
#include "consumers/redis_store.h"

#include <stdio.h>

#include "base/mem.h"
#include "consumers/redis_encode.h"

static struct ls_redis_store *redis_of(struct ls_store *store)
{
    return (struct ls_redis_store *)store;
}

static void redis_store_close(struct ls_store *opaque)
{
    struct ls_redis_store *store = redis_of(opaque);
    if (store == NULL)
        return;
    ls_redis_cluster_free(store->cluster);
    free(store);
}

static int redis_store_open(const struct ls_sink_config *config, struct ls_store **ret,
                            struct ls_err *err)
{
    struct ls_redis_cluster *cluster;
    if (ls_redis_cluster_new(config, &cluster, err) != 0)
        return -1;
    if (ls_redis_cluster_refresh(cluster, err) != 0) {
        ls_redis_cluster_free(cluster);
        return -1;
    }
    struct ls_redis_store *store = ls_calloc(1, sizeof(*store));
    store->schema = config->entity->schema;
    store->generation = config->entity->generation;
    store->cluster = cluster;
    ls_redis_entry_pattern(store->schema, store->pattern);
    *ret = (struct ls_store *)store;
    return 0;
}

/* Connects a master of the map; the greeting checks its settings. */
static int check_master(struct ls_redis_cluster *cluster, size_t node, struct ls_err *err)
{
    if (ls_redis_cluster_connect(cluster, node, err) != 0)
        return -1;
    if (!cluster->conns[node]->is_master)
        return ls_redis_not_master(cluster->conns[node], err);
    return 0;
}

static int redis_store_check(struct ls_store *opaque, struct ls_err *err)
{
    struct ls_redis_store *store = redis_of(opaque);
    uint16_t nodes[LS_REDIS_NODES_MAX];
    if (ls_redis_cluster_refresh(store->cluster, err) != 0)
        return -1;
    size_t n = ls_redis_cluster_masters(store->cluster, nodes);
    for (size_t i = 0; i < n; i++) {
        if (check_master(store->cluster, nodes[i], err) != 0)
            return -1;
    }
    return ls_redis_cluster_check(store->cluster, err);
}

static int redis_store_apply(struct ls_store *opaque, ls_line_fn *line, void *line_opaque,
                             struct ls_err *err)
{
    return redis_store_check(opaque, err); /* entries are keys: there is nothing to make */
}

struct report {
    ls_line_fn *line;
    void *opaque;
    size_t differences;
};

static void differs(struct report *report, const char *where, const char *what)
{
    LS_CLEANUP_FREE char *text = ls_asprintf("%s: %s", where, what);
    report->line(report->opaque, text);
    report->differences++;
}

/* Whether an INFO-like answer has `name:value`. */
static bool says(const redisReply *reply, const char *name, const char *expected)
{
    const char *value;
    size_t len;
    return reply->type == REDIS_REPLY_STRING &&
           ls_redis_info_field(reply->str, reply->len, name, &value, &len) &&
           len == strlen(expected) && memcmp(value, expected, len) == 0;
}

static int diff_master(struct ls_redis_store *store, size_t node, struct report *report,
                       struct ls_err *err)
{
    struct ls_redis_cluster *cluster = store->cluster;
    const char *where = cluster->conns[node]->where;
    const redisReply *reply;
    if (check_master(cluster, node, err) != 0) {
        if (err->class != LS_ERR_FATAL)
            return -1;
        report->line(report->opaque, err->text);
        report->differences++;
        return 0;
    }
    if (ls_redis_cluster_ask(cluster, node, &reply, err, "CLUSTER", "INFO", NULL) != 0)
        return -1;
    if (!says(reply, "cluster_state", "ok"))
        differs(report, where, "cluster_state is not ok");
    unsigned tags = 0;
    for (unsigned tag = 0; tag < LS_REDIS_MARK_TAGS; tag++)
        tags += cluster->owner[ls_redis_mark_slot(tag)] == node;
    if (tags == 0)
        differs(report, where,
                "no mark's slot is on this master, so an emptied one would go unnoticed; give it "
                "at least 256 slots in a row");
    if (ls_redis_cluster_ask(cluster, node, &reply, err, "INFO", "persistence", NULL) != 0)
        return -1;
    if (!says(reply, "aof_enabled", "1")) {
        LS_CLEANUP_FREE char *text = ls_asprintf(
            "note: %s: appendonly is off; after a restart it is filled from the log again", where);
        report->line(report->opaque, text);
    }
    return 0;
}

static int redis_store_diff(struct ls_store *opaque, ls_line_fn *line, void *line_opaque,
                            size_t *ret_differences, struct ls_err *err)
{
    struct ls_redis_store *store = redis_of(opaque);
    struct report report = {.line = line, .opaque = line_opaque};
    uint16_t nodes[LS_REDIS_NODES_MAX];
    char text[64];
    if (ls_redis_cluster_refresh(store->cluster, err) != 0)
        return -1;
    size_t n = ls_redis_cluster_masters(store->cluster, nodes);
    for (size_t i = 0; i < n; i++) {
        if (diff_master(store, nodes[i], &report, err) != 0)
            return -1;
    }
    unsigned uncovered = ls_redis_cluster_uncovered(store->cluster);
    if (uncovered > 0) {
        snprintf(text, sizeof(text), "%u of %d slots are served by no master", uncovered,
                 LS_REDIS_SLOTS);
        differs(&report, store->cluster->options.name, text);
    }
    *ret_differences = report.differences;
    return 0;
}

/* Marks: request index is the mark's index * LS_REDIS_MARK_TAGS + tag. */

struct marks {
    struct ls_redis_store *store;
    const struct ls_mark *wanted;
    struct ls_redis_seen *seen; /* read: by index in wanted, and tag */
};

static uint16_t mark_slot(void *opaque, size_t index)
{
    return ls_redis_mark_slot(index % LS_REDIS_MARK_TAGS);
}

static void encode_mark_get(void *opaque, size_t index, struct ls_buf *out)
{
    const struct marks *marks = opaque;
    char name[LS_REDIS_KEY_MAX];
    size_t len =
        ls_redis_mark_key(marks->store->schema, marks->wanted[index / LS_REDIS_MARK_TAGS].partition,
                          index % LS_REDIS_MARK_TAGS, name);
    const char *words[] = {"GET", name};
    ls_redis_put_command(out, 2, words, (size_t[]){3, len});
}

static void encode_mark_set(void *opaque, size_t index, struct ls_buf *out)
{
    const struct marks *marks = opaque;
    const struct ls_mark *mark = &marks->wanted[index / LS_REDIS_MARK_TAGS];
    char name[LS_REDIS_KEY_MAX], value[LS_REDIS_MARK_BYTES];
    size_t len =
        ls_redis_mark_key(marks->store->schema, mark->partition, index % LS_REDIS_MARK_TAGS, name);
    ls_redis_put_mark(mark, value);
    const char *words[] = {"SET", name, value};
    ls_redis_put_command(out, 3, words, (size_t[]){3, len, sizeof(value)});
}

static int take_mark(void *opaque, size_t index, const redisReply *reply, struct ls_err *err)
{
    const struct marks *marks = opaque;
    ls_redis_seen_take(&marks->seen[index], reply);
    return 0;
}

static int redis_store_read_marks(struct ls_store *opaque, struct ls_mark *marks, size_t n,
                                  struct ls_err *err)
{
    LS_CLEANUP_FREE struct ls_redis_seen *seen = ls_redis_seen_new(n);
    struct marks run = {.store = redis_of(opaque), .wanted = marks, .seen = seen};
    struct ls_redis_each each = {.n = n * LS_REDIS_MARK_TAGS,
                                 .opaque = &run,
                                 .slot = mark_slot,
                                 .encode = encode_mark_get,
                                 .answer = take_mark};
    if (ls_redis_each(run.store->cluster, &each, err) != 0)
        return -1;
    char log[37], other[37];
    for (size_t i = 0; i < n; i++) /* where they name two logs: none, which resync replaces */
        ls_redis_seen_fold(ls_redis_seen_at(seen, i, 0), run.store->generation, &marks[i], log,
                           other);
    return 0;
}

static int mark_was_set(void *opaque, size_t index, const redisReply *reply, struct ls_err *err)
{
    const struct marks *marks = opaque;
    if (reply->type == REDIS_REPLY_STATUS)
        return 0;
    return ls_redis_reply_err(err, reply, marks->store->cluster->options.name);
}

static int redis_store_reset_marks(struct ls_store *opaque, const struct ls_mark *marks, size_t n,
                                   struct ls_err *err)
{
    struct marks run = {.store = redis_of(opaque), .wanted = marks};
    struct ls_redis_each each = {.n = n * LS_REDIS_MARK_TAGS,
                                 .opaque = &run,
                                 .slot = mark_slot,
                                 .encode = encode_mark_set,
                                 .answer = mark_was_set};
    return ls_redis_each(run.store->cluster, &each, err);
}

static int redis_store_refresh(struct ls_store *store, struct ls_err *err)
{
    return 0; /* a write is visible at once */
}

const struct ls_store_ops ls_redis_store_ops = {
    .kind = LS_SINK_REDIS,
    .walks_in_order = false,
    .open = redis_store_open,
    .close = redis_store_close,
    .check = redis_store_check,
    .apply = redis_store_apply,
    .diff = redis_store_diff,
    .has_data = ls_redis_store_has_data,
    .read_marks = redis_store_read_marks,
    .reset_marks = redis_store_reset_marks,
    .refresh = redis_store_refresh,
    .fetch = ls_redis_store_fetch,
    .walk = ls_redis_store_walk,
    .count = ls_redis_store_count,
};
