/*
 * Looks of a Redis lane: beside the records in flight, in the same event loop, so that a look never
 * holds up anything but the instance that waits for it. A crash leaves nothing: a look only reads.
 *
 * A look asks for a new map first, then every master what it is (INFO: set-up, role, ids) and, in
 * the same order on the same connection, the marks under all tags. Only where there is no mark at
 * all it looks for data, and if there is some it reads the marks once more: another worker that
 * starts at the same time writes marks before data, so whoever sees its data sees its marks.
 */
#include <stdio.h>
#include <string.h>

#include "consumers/redis_apply.h"
#include "schema/key.h"

#define SCAN_COUNT "1000"

void ls_redis_look_begin(struct ls_redis_lane *lane, struct ls_redis_work *work)
{
    ls_redis_work_reserve(work, 1);
    work->phase = LS_REDIS_LOOK_MAPS;
    work->scanned = work->doubted = false;
    work->unit->look->has_data = false;
    ls_redis_lane_await_map(lane, ls_redis_work_add(lane, work, LS_REDIS_LOOK_MAP));
}

static void send_reads(struct ls_redis_lane *lane, struct ls_redis_work *work)
{
    uint16_t nodes[LS_REDIS_NODES_MAX];
    size_t n_nodes = ls_redis_cluster_masters(lane->cluster, nodes);
    size_t n_marks = work->unit->n_marks;
    ls_redis_work_reserve(work, n_nodes + (size_t)LS_REDIS_MARK_TAGS * (1 + n_marks));
    work->phase = LS_REDIS_LOOK_READS;
    for (size_t i = 0; i < n_nodes; i++)
        ls_redis_lane_queue(lane, nodes[i], ls_redis_work_add(lane, work, LS_REDIS_LOOK_INFO),
                            false);
    for (unsigned tag = 0; tag < LS_REDIS_MARK_TAGS && n_marks > 0; tag++) {
        struct ls_redis_request *request = ls_redis_work_add(lane, work, LS_REDIS_LOOK_MARKS);
        request->index = tag;
        request->slot = ls_redis_mark_slot(tag);
        request->n = (uint16_t)n_marks;
        ls_redis_lane_route(lane, request);
    }
}

/* Asks the next master that has more to tell; false when there is none. */
static bool send_scan(struct ls_redis_lane *lane, struct ls_redis_work *work)
{
    uint16_t nodes[LS_REDIS_NODES_MAX];
    size_t n_nodes = ls_redis_cluster_masters(lane->cluster, nodes);
    if (work->scan_node >= n_nodes)
        return false;
    ls_redis_work_reserve(work, 1);
    ls_redis_lane_queue(lane, nodes[work->scan_node],
                        ls_redis_work_add(lane, work, LS_REDIS_LOOK_SCAN), false);
    return true;
}

void ls_redis_look_encode(struct ls_redis_lane *lane, struct ls_buf *out,
                          const struct ls_redis_request *request)
{
    const struct ls_redis_work *work = &lane->works[request->work];
    const struct ls_schema *schema = lane->entity->schema;
    char pattern[LS_REDIS_KEY_MAX];
    if (request->kind == LS_REDIS_LOOK_INFO) {
        ls_redis_put_words(out, "INFO", NULL);
    } else if (request->kind == LS_REDIS_LOOK_MARKS) {
        ls_redis_encode_marks_get(out, schema, &work->unit->marks[request->first], request->n,
                                  request->index);
    } else {
        ls_redis_entry_pattern(schema, pattern);
        ls_redis_put_words(out, "SCAN", work->cursor, "MATCH", pattern, "COUNT", SCAN_COUNT, NULL);
    }
}

/* What the tags say of each partition, into the unit. Returns how many have no mark. */
static uint32_t fold(struct ls_redis_lane *lane, struct ls_unit *unit)
{
    uint32_t n_missing = 0;
    for (uint32_t i = 0; i < unit->n_marks; i++) {
        struct ls_mark *mark = &unit->marks[i];
        size_t partition = (size_t)mark->partition;
        char log[37], other[37];
        lane->two_logs[partition] = (struct ls_err){0};
        if (!ls_redis_seen_fold(ls_redis_seen_at(lane->seen, partition, 0),
                                lane->entity->generation, mark, log, other))
            ls_err_set(&lane->two_logs[partition], LS_ERR_FATAL, 0,
                       "%s: the marks of partition %d name two logs, %s and %s, so some of its "
                       "masters followed another log. If this one is right, `lockstep resync "
                       "--sink %s` reads all of it into the store and makes its marks anew",
                       lane->cluster->options.name, mark->partition, log, other,
                       lane->cluster->options.name);
        n_missing += mark->genesis[0] == '\0';
    }
    return n_missing;
}

void ls_redis_look_next(struct ls_redis_lane *lane, struct ls_redis_work *work)
{
    struct ls_unit *unit = work->unit;
    struct ls_err err;
    if (unit->err.class != LS_ERR_NONE) {
        ls_redis_work_done(lane, work);
        return;
    }
    switch (work->phase) {
    case LS_REDIS_LOOK_MAPS:
        if (ls_redis_cluster_check(lane->cluster, &err) == 0) {
            send_reads(lane, work);
            return;
        }
        ls_unit_note(unit, &err);
        break;
    case LS_REDIS_LOOK_READS:
        if (fold(lane, unit) < unit->n_marks || !unit->look->setup || work->scanned)
            break;
        work->scanned = true;
        work->phase = LS_REDIS_LOOK_SCANS;
        work->scan_node = 0;
        snprintf(work->cursor, sizeof(work->cursor), "0");
        if (send_scan(lane, work))
            return;
        break;
    case LS_REDIS_LOOK_SCANS:
        if (unit->look->has_data) {
            send_reads(lane, work);
            return;
        }
        if (strcmp(work->cursor, "0") == 0)
            work->scan_node++;
        if (send_scan(lane, work))
            return;
        break;
    }
    ls_redis_work_done(lane, work);
}

/* Whether the node's set-up is right; says so when it is another one than before. */
static int take_info(struct ls_redis_lane *lane, size_t node, const redisReply *reply,
                     struct ls_err *err)
{
    struct ls_redis_conn *conn = lane->cluster->conns[node];
    int rc = ls_redis_conn_take_info(conn, reply, err);
    ls_redis_doubt_node(lane, node);
    if (rc != 0)
        return rc;
    return conn->is_master ? 0 : ls_redis_not_master(conn, err);
}

/* The tag lost what this lane has seen there: the node was emptied, or went back in time. */
static void doubt_tag(struct ls_redis_lane *lane, size_t node, const struct ls_mark *mark,
                      const struct ls_redis_seen *before, const struct ls_redis_seen *now)
{
    const char *where = lane->cluster->conns[node]->where;
    long long from = ls_version_offset(ls_redis_get_version(before->bytes));
    char why[256];
    if (now->state == LS_REDIS_MARK_SEEN)
        snprintf(why, sizeof(why),
                 "%.120s went back in time: its mark of partition %d was at offset %lld, now at "
                 "%lld",
                 where, mark->partition, from,
                 (long long)ls_version_offset(ls_redis_get_version(now->bytes)));
    else
        snprintf(why, sizeof(why),
                 "%.120s lost its mark of partition %d, which was at offset %lld: it was emptied",
                 where, mark->partition, from);
    ls_lane_unsure(lane->queue, why);
}

static int take_marks(struct ls_redis_lane *lane, size_t node,
                      const struct ls_redis_request *request, const redisReply *reply,
                      struct ls_err *err)
{
    struct ls_redis_work *work = &lane->works[request->work];
    const struct ls_unit *unit = work->unit;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != request->n)
        return ls_redis_reply_err(err, reply, lane->cluster->conns[node]->where);
    for (unsigned i = 0; i < request->n; i++) {
        const struct ls_mark *mark = &unit->marks[request->first + i];
        struct ls_redis_seen *seen =
            ls_redis_seen_at(lane->seen, (size_t)mark->partition, request->index);
        struct ls_redis_seen before = *seen;
        if (!ls_redis_seen_take(seen, reply->element[i]) || work->doubted)
            continue; /* one tag says it for all of them */
        work->doubted = true;
        doubt_tag(lane, node, mark, &before, seen);
    }
    return 0;
}

static int take_scan(struct ls_redis_lane *lane, size_t node, struct ls_redis_work *work,
                     const redisReply *reply, struct ls_err *err)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[0]->len >= sizeof(work->cursor) ||
        reply->element[1]->type != REDIS_REPLY_ARRAY)
        return ls_redis_reply_err(err, reply, lane->cluster->conns[node]->where);
    snprintf(work->cursor, sizeof(work->cursor), "%s", reply->element[0]->str);
    work->unit->look->has_data = reply->element[1]->elements > 0;
    return 0;
}

void ls_redis_look_answered(struct ls_redis_lane *lane, size_t node,
                            struct ls_redis_request *request, const redisReply *reply)
{
    struct ls_redis_work *work = &lane->works[request->work];
    struct ls_err err;
    int rc;
    if (request->kind == LS_REDIS_LOOK_INFO)
        rc = take_info(lane, node, reply, &err);
    else if (request->kind == LS_REDIS_LOOK_MARKS)
        rc = take_marks(lane, node, request, reply, &err);
    else
        rc = take_scan(lane, node, work, reply, &err);
    if (rc != 0)
        ls_redis_lane_fail(lane, request, &err);
    else
        ls_redis_lane_settle(lane, request, LS_PENDING, NULL);
}
