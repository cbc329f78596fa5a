/*
 * Marks of a Redis lane, and when what the lane has written is in doubt (law 6). A crash loses
 * marks that were not written: they are only older than they could be.
 *
 * A Redis Cluster replicates asynchronously, so a failover loses the newest writes of one master,
 * acknowledged or not. What is lost is always the end of that master's history: a replica holds a
 * prefix of it, and so do an older append-only file and an older dump. So a mark that is written to
 * the same history after its records can only be lost before them, and the oldest mark of all tags
 * tells how far to read again. What has to be made sure is that a mark never gets into another
 * history than its records did:
 * - Each history has an id of its own (INFO's master_replid), which changes with every start and
 *   every promotion. The lane learns it with the greeting, before it sends any record; the script
 *   that writes a mark compares it, on the server, in the same atomic step. INFO at each look and
 *   the greeting of each new connection compare it, too.
 * - A promoted replica has another address. A failover takes all slots of a master at once, so a
 *   node that owned slots by one map and owns none by the next is a doubt; marks never follow a
 *   MOVED, and wait while a new map is wanted. A master that is cut off from the others may take
 *   records and marks for a while: both are lost together, and the new map tells. Slots that are
 *   moved by a person leave both masters with slots, and are no doubt.
 * - FLUSHALL changes no id. Each tag is written only where the bytes stand that the lane saw or
 *   wrote last, so a tag that is gone is never written again before a look; and a look that finds a
 *   tag gone or older is a doubt by itself, however new the other tags are.
 * After a doubt the instance looks and reads again from the oldest mark; then this lane may move
 * the newer tags back, because it saw them.
 *
 * What this does not catch: a slot that was just moved to a master which then fails over before its
 * replica has the slot's keys (Redis itself loses them; `lockstep verify` tells), and a master
 * without any tag's slot (`lockstep schema diff` says so).
 *
 * Rejected: WAIT for replicas (it slows every batch, and promises nothing to the record: the one
 * that is promoted may be another), and asking INFO before each mark (a failover fits in between).
 */
#include <limits.h>
#include <stdio.h>

#include "consumers/redis_apply.h"

void ls_redis_doubt_node(struct ls_redis_lane *lane, size_t node)
{
    struct ls_redis_conn *conn = lane->cluster->conns[node];
    char why[sizeof(conn->where) + 128];
    bool doubt = conn->is_another && conn->in_map; /* a replica may come and go */
    conn->is_another = false;
    if (!doubt)
        return;
    snprintf(why, sizeof(why), "%s was started again or has changed its role", conn->where);
    ls_lane_unsure(lane->queue, why);
}

void ls_redis_doubt_map(struct ls_redis_lane *lane)
{
    const struct ls_redis_conn *gone = ls_redis_cluster_gone(lane->cluster);
    if (gone == NULL)
        return;
    char why[sizeof(gone->where) + 128];
    snprintf(why, sizeof(why), "%s is no master of any slot any more: another took its place",
             gone->where);
    ls_lane_unsure(lane->queue, why);
}

/* Whether a unit's marks may be tried; says why not in the unit. */
static bool may_try(struct ls_redis_lane *lane, struct ls_unit *unit)
{
    for (uint32_t i = 0; i < unit->n_marks; i++) {
        size_t partition = (size_t)unit->marks[i].partition;
        if (lane->two_logs[partition].class != LS_ERR_NONE) {
            ls_unit_note(unit, &lane->two_logs[partition]);
            return false;
        }
        for (unsigned tag = 0; tag < LS_REDIS_MARK_TAGS; tag++)
            if (ls_redis_seen_at(lane->seen, partition, tag)->state == LS_REDIS_UNSEEN)
                unit->marks_unexpected = true; /* a look has to come first */
    }
    return !unit->marks_unexpected && ls_lane_may_mark(lane->queue, unit);
}

bool ls_redis_marks_begin(struct ls_redis_lane *lane, struct ls_redis_work *work)
{
    struct ls_unit *unit = work->unit;
    if (unit->marks_written || !may_try(lane, unit))
        return false;
    bool settled = !lane->map_wanted && !lane->map_asked;
    ls_redis_work_reserve(work, (size_t)LS_REDIS_MARK_TAGS * (1 + unit->n_marks));
    for (unsigned tag = 0; tag < LS_REDIS_MARK_TAGS; tag++) {
        struct ls_redis_request *request = ls_redis_work_add(lane, work, LS_REDIS_MARKS);
        request->index = tag;
        request->slot = ls_redis_mark_slot(tag);
        request->n = (uint16_t)unit->n_marks;
        if (settled)
            ls_redis_lane_route(lane, request);
        else
            ls_redis_lane_await_map(lane, request);
    }
    return true;
}

void ls_redis_marks_encode(struct ls_redis_lane *lane, size_t node, struct ls_buf *out,
                           const struct ls_redis_request *request)
{
    const struct ls_unit *unit = lane->works[request->work].unit;
    ls_redis_encode_marks_set(out, lane->entity->schema, &unit->marks[request->first], request->n,
                              request->index, lane->cluster->conns[node]->replid, lane->seen);
}

/* The node has another history than when it was greeted: what it acknowledged may be gone. */
static void another_server(struct ls_redis_lane *lane, size_t node,
                           struct ls_redis_request *request)
{
    struct ls_redis_conn *conn = lane->cluster->conns[node];
    struct ls_err err;
    conn->is_another = true;
    ls_redis_doubt_node(lane, node);
    conn->run_id[0] = conn->replid[0] =
        '\0'; /* the doubt was said: the next greeting learns them */
    ls_err_set(&err, LS_ERR_RETRY, 0, "%s has changed its role or history since it was greeted",
               conn->where);
    ls_redis_lane_fail(lane, request, &err);
    ls_redis_lane_lost(lane, node, &err);
}

void ls_redis_marks_answered(struct ls_redis_lane *lane, size_t node,
                             struct ls_redis_request *request, const redisReply *reply)
{
    struct ls_redis_work *work = &lane->works[request->work];
    struct ls_unit *unit = work->unit;
    long long answer = reply->type == REDIS_REPLY_INTEGER ? reply->integer : LLONG_MIN;
    struct ls_err err;
    switch (answer) {
    case LS_REDIS_MARKS_WRITTEN:
        for (unsigned i = request->first; i < request->first + request->n; i++)
            ls_redis_seen_put(
                ls_redis_seen_at(lane->seen, (size_t)unit->marks[i].partition, request->index),
                &unit->marks[i]);
        ls_redis_lane_settle(lane, request, LS_APPLIED, NULL);
        return;
    case LS_REDIS_MARKS_UNEXPECTED:
        unit->marks_unexpected = true;
        work->marks_lost = true;
        ls_redis_lane_settle(lane, request, LS_STALE, NULL);
        return;
    case LS_REDIS_MARKS_OTHER_SERVER:
        another_server(lane, node, request);
        return;
    default:
        ls_redis_reply_err(&err, reply, lane->cluster->conns[node]->where);
        ls_redis_lane_fail(lane, request, &err);
    }
}

bool ls_redis_marks_split(struct ls_redis_lane *lane, struct ls_redis_request *request)
{
    uint16_t n = request->n;
    if (n < 2)
        return false;
    request->n = 1;
    request->asking = false; /* each finds its own way from the slot's master on */
    for (uint16_t i = 1; i < n; i++) {
        struct ls_redis_request *one = ls_redis_work_add(lane, &lane->works[request->work],
                                                         (enum ls_redis_request_kind)request->kind);
        one->index = request->index;
        one->slot = request->slot;
        one->first = request->first + i;
        one->n = 1;
        ls_redis_lane_route(lane, one);
    }
    ls_redis_lane_route(lane, request);
    return true;
}
