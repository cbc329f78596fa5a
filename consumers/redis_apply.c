/*
 * Where a record is applied to Redis. See redis_apply.h for the shape. A crash loses what has no
 * answer yet; the log has it, and the guard makes sending it again harmless, in any order.
 *
 * Rejected: a thread per master (three times the wake-ups for the same two cores), and a ring per
 * connection that is filled in the unit's order (a full ring holds up the other masters).
 */
#include "consumers/redis_apply.h"

#include <assert.h>

#include "base/mem.h"
#include "consumers/redis_list.h"

void ls_redis_lane_init(struct ls_redis_lane *lane, const struct ls_entity_config *entity,
                        struct ls_lane *queue, struct ls_redis_cluster *cluster, unsigned n_works)
{
    *lane = (struct ls_redis_lane){.entity = entity, .queue = queue, .cluster = cluster};
    lane->seen = ls_redis_seen_new((size_t)entity->partitions);
    lane->two_logs = ls_calloc((size_t)entity->partitions, sizeof(*lane->two_logs));
    lane->n_works = n_works;
    lane->works = ls_calloc(n_works, sizeof(*lane->works));
    lane->map.kind = LS_REDIS_MAP;
    ls_redis_list_init(&lane->unrouted);
    ls_redis_lane_grow(lane);
}

void ls_redis_lane_free(struct ls_redis_lane *lane)
{
    assert(lane->n_busy == 0);
    for (unsigned i = 0; i < lane->n_works; i++)
        free(lane->works[i].requests);
    free(lane->works);
    for (size_t i = 0; i < lane->n_nodes; i++)
        free(lane->nodes[i]);
    free(lane->nodes);
    free(lane->seen);
    free(lane->two_logs);
}

void ls_redis_lane_grow(struct ls_redis_lane *lane)
{
    size_t n = lane->cluster->n_conns;
    if (lane->n_nodes >= n)
        return;
    lane->nodes = ls_realloc(lane->nodes, n * sizeof(*lane->nodes));
    for (; lane->n_nodes < n; lane->n_nodes++) {
        struct ls_redis_lane_node *node = ls_calloc(1, sizeof(*node));
        ls_redis_list_init(&node->backlog);
        ls_redis_list_init(&node->sent);
        for (uint32_t i = 0; i < LS_REDIS_SCRIPTS; i++)
            node->load[i] = (struct ls_redis_request){.kind = LS_REDIS_LOAD, .index = i};
        lane->nodes[lane->n_nodes] = node;
    }
}

void ls_redis_work_done(struct ls_redis_lane *lane, struct ls_redis_work *work)
{
    struct ls_unit *unit = work->unit;
    assert(work->open == 0);
    work->unit = NULL;
    lane->n_busy--;
    ls_lane_complete(lane->queue, unit);
}

void ls_redis_lane_settle(struct ls_redis_lane *lane, struct ls_redis_request *request,
                          enum ls_verdict verdict, const struct ls_err *err)
{
    struct ls_redis_work *work = &lane->works[request->work];
    struct ls_unit *unit = work->unit;
    assert(work->open > 0);
    if (request->kind == LS_REDIS_RECORD)
        unit->records[request->index]->verdict = (uint8_t)verdict;
    else if (err != NULL)
        work->marks_lost = true;
    if (err != NULL)
        ls_unit_note(unit, err);
    if (--work->open > 0)
        return;
    if (unit->look != NULL) {
        ls_redis_look_next(lane, work);
        return;
    }
    if (unit->n_marks > 0 && !work->marks_lost)
        unit->marks_written = true;
    ls_redis_work_done(lane, work);
}

void ls_redis_lane_fail(struct ls_redis_lane *lane, struct ls_redis_request *request,
                        const struct ls_err *err)
{
    ls_redis_lane_settle(lane, request, err->class == LS_ERR_FATAL ? LS_FATAL : LS_RETRY, err);
}

void ls_redis_lane_queue(struct ls_redis_lane *lane, size_t node, struct ls_redis_request *request,
                         bool first)
{
    lane->cluster->conns[node]->pins++;
    if (first)
        ls_redis_list_prepend(&lane->nodes[node]->backlog, request);
    else
        ls_redis_list_append(&lane->nodes[node]->backlog, request);
}

void ls_redis_lane_await_map(struct ls_redis_lane *lane, struct ls_redis_request *request)
{
    ls_redis_list_append(&lane->unrouted, request);
    lane->map_wanted = true;
}

void ls_redis_lane_route(struct ls_redis_lane *lane, struct ls_redis_request *request)
{
    uint16_t owner = lane->cluster->owner[request->slot];
    if (owner == LS_REDIS_NO_NODE)
        ls_redis_lane_await_map(lane, request);
    else
        ls_redis_lane_queue(lane, owner, request, false);
}

static struct ls_redis_work *free_work(struct ls_redis_lane *lane)
{
    struct ls_redis_work *work = lane->works;
    while (work->unit != NULL)
        work++;
    assert(work < lane->works + lane->n_works);
    return work;
}

void ls_redis_work_reserve(struct ls_redis_work *work, size_t n)
{
    assert(work->open == 0);
    work->n = 0;
    if (work->cap >= n)
        return;
    free(work->requests);
    work->requests = ls_malloc(n * sizeof(*work->requests));
    work->cap = n;
}

struct ls_redis_request *ls_redis_work_add(struct ls_redis_lane *lane, struct ls_redis_work *work,
                                           enum ls_redis_request_kind kind)
{
    assert(work->n < work->cap);
    struct ls_redis_request *request = &work->requests[work->n++];
    *request =
        (struct ls_redis_request){.kind = (uint8_t)kind, .work = (uint16_t)(work - lane->works)};
    work->open++;
    return request;
}

static void begin_records(struct ls_redis_lane *lane, struct ls_redis_work *work)
{
    const struct ls_unit *unit = work->unit;
    ls_redis_work_reserve(work, unit->n_records);
    for (uint32_t i = 0; i < unit->n_records; i++) {
        const struct ls_record *record = unit->records[i];
        if (record->verdict != LS_PENDING)
            continue;
        struct ls_redis_request *request = ls_redis_work_add(lane, work, LS_REDIS_RECORD);
        request->index = i;
        /* The key is the entry's hash tag, so its own slot is the entry's. */
        request->slot = ls_redis_slot(record->key, record->key_len);
    }
    if (work->n == 0)
        ls_redis_work_done(lane, work);
    /* Routing completes nothing, so the place stays ours meanwhile. */
    for (size_t i = 0; i < work->n; i++)
        ls_redis_lane_route(lane, &work->requests[i]);
}

void ls_redis_lane_begin(struct ls_redis_lane *lane, struct ls_unit *unit)
{
    struct ls_redis_work *work = free_work(lane);
    assert(unit->n_records == 0 || unit->n_marks == 0);
    work->unit = unit;
    work->marks_lost = false;
    lane->n_busy++;
    if (unit->look != NULL)
        ls_redis_look_begin(lane, work);
    else if (unit->n_marks == 0)
        begin_records(lane, work);
    else if (!ls_redis_marks_begin(lane, work))
        ls_redis_work_done(lane, work);
}

static void encode(struct ls_redis_lane *lane, size_t index, struct ls_redis_request *request)
{
    struct ls_buf *out = &lane->cluster->conns[index]->out;
    const struct ls_unit *unit = NULL;
    if (request->kind == LS_REDIS_RECORD)
        unit = lane->works[request->work].unit;
    request->skip = request->asking;
    if (request->asking)
        ls_redis_encode_asking(out);
    switch ((enum ls_redis_request_kind)request->kind) {
    case LS_REDIS_RECORD:
        ls_redis_encode_entry(out, lane->entity->schema, unit->records[request->index],
                              unit->repair);
        break;
    case LS_REDIS_MARKS:
        ls_redis_marks_encode(lane, index, out, request);
        break;
    case LS_REDIS_LOAD:
        ls_redis_encode_load(out, (enum ls_redis_script)request->index);
        break;
    case LS_REDIS_MAP:
        ls_redis_put_words(out, "CLUSTER", "SLOTS", NULL);
        break;
    case LS_REDIS_LOOK_MAP:
    case LS_REDIS_LOOK_INFO:
    case LS_REDIS_LOOK_MARKS:
    case LS_REDIS_LOOK_SCAN:
        ls_redis_look_encode(lane, out, request);
        break;
    }
}

/* Puts SCRIPT LOAD before all that waits, unless it is on its way. */
static void load_script(struct ls_redis_lane *lane, size_t index, enum ls_redis_script script)
{
    struct ls_redis_lane_node *node = lane->nodes[index];
    if (node->loading[script])
        return;
    node->loading[script] = true;
    ls_redis_lane_queue(lane, index, &node->load[script], true);
}

void ls_redis_lane_connect(struct ls_redis_lane *lane, size_t index)
{
    struct ls_err err = {0};
    lane->nodes[index]->greeted = false;
    if (ls_redis_conn_start(lane->cluster->conns[index], &err) != 0)
        ls_redis_lane_lost(lane, index, &err);
}

/* What follows a connection that has become READY, before anything is sent over it. */
static void greeted(struct ls_redis_lane *lane, size_t index)
{
    lane->nodes[index]->greeted = true;
    if (!lane->cluster->conns[index]->is_master) /* it will answer MOVED: know better soon */
        lane->map_wanted = true;
    ls_redis_doubt_node(lane, index);
    for (int i = 0; i < LS_REDIS_SCRIPTS; i++)
        load_script(lane, index, (enum ls_redis_script)i);
}

/* Marks that were asked for before the lane was unsure are not written any more. */
static bool is_in_doubt(const struct ls_redis_lane *lane, const struct ls_redis_request *request)
{
    return request->kind == LS_REDIS_MARKS &&
           !ls_lane_may_mark(lane->queue, lane->works[request->work].unit);
}

void ls_redis_lane_pump(struct ls_redis_lane *lane, size_t index, int64_t now_ms)
{
    struct ls_redis_lane_node *node = lane->nodes[index];
    struct ls_redis_conn *conn = lane->cluster->conns[index];
    struct ls_err err = {0};
    if (conn->state == LS_REDIS_READY && !node->greeted)
        greeted(lane, index);
    if (node->backlog.head == NULL && ls_redis_conn_unsent(conn) == 0)
        return;
    if (conn->state == LS_REDIS_CLOSED) {
        ls_redis_lane_connect(lane, index);
        return;
    }
    if (conn->state != LS_REDIS_READY)
        return;
    while (node->backlog.head != NULL && node->n_sent < LS_REDIS_UNANSWERED_MAX &&
           ls_redis_conn_unsent(conn) < LS_REDIS_UNSENT_BYTES_MAX) {
        struct ls_redis_request *request = ls_redis_list_pop(&node->backlog);
        if (is_in_doubt(lane, request)) {
            conn->pins--;
            lane->works[request->work].marks_lost = true;
            ls_redis_lane_settle(lane, request, LS_RETRY, NULL);
            continue;
        }
        encode(lane, index, request);
        request->sent_ms = now_ms;
        if (node->n_sent++ == 0)
            node->progress_ms = now_ms;
        ls_redis_list_append(&node->sent, request);
    }
    if (ls_redis_conn_flush(conn, &err) != 0)
        ls_redis_lane_lost(lane, index, &err);
}

void ls_redis_lane_ask_map(struct ls_redis_lane *lane, size_t node, int64_t now_ms)
{
    lane->map_wanted = false;
    lane->map_seeking = false;
    lane->map_asked = true;
    lane->map_at_ms = now_ms;
    ls_redis_lane_queue(lane, node, &lane->map, true);
}

void ls_redis_lane_mapped(struct ls_redis_lane *lane, const struct ls_err *err)
{
    struct ls_redis_list waiting = lane->unrouted;
    if (waiting.head == NULL)
        waiting.tail = &waiting.head;
    ls_redis_list_init(&lane->unrouted);
    ls_redis_lane_grow(lane);
    lane->map_err = err ? *err : (struct ls_err){0};
    lane->map_losses = 0;
    for (struct ls_redis_request *request; (request = ls_redis_list_pop(&waiting)) != NULL;) {
        if (err == NULL && request->kind == LS_REDIS_LOOK_MAP) {
            ls_redis_lane_settle(lane, request, LS_PENDING, NULL);
            continue;
        }
        if (err == NULL && lane->cluster->owner[request->slot] != LS_REDIS_NO_NODE) {
            ls_redis_lane_route(lane, request);
            continue;
        }
        struct ls_err none;
        ls_err_set(&none, LS_ERR_RETRY, 0,
                   "%s: no master serves slot %u; is a node down, or a slot not assigned? "
                   "(redis-cli --cluster check)",
                   lane->cluster->options.name, request->slot);
        ls_redis_lane_fail(lane, request, err ? err : &none);
    }
}

void ls_redis_lane_lost(struct ls_redis_lane *lane, size_t index, const struct ls_err *err)
{
    struct ls_redis_lane_node *node = lane->nodes[index];
    struct ls_redis_conn *conn = lane->cluster->conns[index];
    ls_redis_conn_close(conn);
    node->greeted = false;
    node->n_sent = 0;
    bool map_lost = false;
    struct ls_redis_list *const lists[] = {&node->sent, &node->backlog};
    for (size_t i = 0; i < LS_COUNT(lists); i++) {
        for (struct ls_redis_request *request; (request = ls_redis_list_pop(lists[i])) != NULL;) {
            conn->pins--;
            if (request->kind == LS_REDIS_LOAD) {
                node->loading[request->index] = false;
            } else if (request->kind == LS_REDIS_MAP) {
                lane->map_asked = false;
                lane->map_wanted = true; /* of another node, then */
                map_lost = true;
            } else {
                ls_redis_lane_fail(lane, request, err);
            }
        }
    }
    assert(conn->pins == 0);
    if (err->class >= lane->map_err.class) /* a wrong password is worth more than a refusal */
        lane->map_err = *err;
    if (conn->in_map)
        lane->map_wanted = true;
    /* Each node greets and then leaves: who waits for the map is told why, and may ask again. */
    if (map_lost && ++lane->map_losses >= lane->cluster->n_conns) {
        struct ls_err worst = lane->map_err;
        ls_redis_lane_mapped(lane, &worst);
        lane->map_err = (struct ls_err){0};
    }
}

/* Sends a request to another node, or settles it when there is none or it was sent on too often. */
static void redirect(struct ls_redis_lane *lane, struct ls_redis_request *request, int to,
                     const redisReply *reply, const char *where)
{
    struct ls_err err;
    if (to >= 0 && ++request->hops <= LS_REDIS_HOPS_MAX) {
        ls_redis_lane_grow(lane);
        ls_redis_lane_queue(lane, (size_t)to, request, false);
        return;
    }
    ls_redis_reply_err(&err, reply, where);
    ls_redis_lane_fail(lane, request, &err);
}

static enum ls_redis_script script_of(const struct ls_redis_lane *lane,
                                      const struct ls_redis_request *request)
{
    if (request->kind == LS_REDIS_MARKS)
        return LS_REDIS_SET_MARKS;
    return lane->works[request->work].unit->repair ? LS_REDIS_SET_NEWER_OR_SAME
                                                   : LS_REDIS_SET_NEWER;
}

/*
 * An error in answer to a record, mark or look. Only records follow a MOVED: where it leads, a
 * failover may just have taken place, which the next map tells.
 */
static void refused(struct ls_redis_lane *lane, size_t index, struct ls_redis_request *request,
                    const redisReply *reply)
{
    struct ls_redis_cluster *cluster = lane->cluster;
    const char *where = cluster->conns[index]->where;
    struct ls_err err;
    switch (ls_redis_judge(reply)) {
    case LS_REDIS_MOVED:
        lane->map_wanted = true;
        request->asking = false;
        if (request->kind != LS_REDIS_RECORD)
            break;
        redirect(lane, request, ls_redis_cluster_moved(cluster, reply, index), reply, where);
        return;
    case LS_REDIS_ASK:
        request->asking = true;
        redirect(lane, request, ls_redis_cluster_asked(cluster, reply, index), reply, where);
        return;
    case LS_REDIS_NOSCRIPT:
        load_script(lane, index, script_of(lane, request));
        redirect(lane, request, (int)index, reply, where);
        return;
    case LS_REDIS_TRYAGAIN:
        if (ls_redis_marks_split(lane, request))
            return;
        break;
    case LS_REDIS_HEALS:
    case LS_REDIS_SETUP:
    case LS_REDIS_UNKNOWN:
    case LS_REDIS_OK:
        lane->map_wanted = true; /* CLUSTERDOWN, READONLY: there may be a new master */
        break;
    }
    ls_redis_reply_err(&err, reply, where);
    ls_redis_lane_fail(lane, request, &err);
}

/* SCRIPT LOAD answers the script's SHA-1; anything else means that its EVALSHA will fail. */
static void loaded(struct ls_redis_lane *lane, size_t index, const struct ls_redis_request *request,
                   const redisReply *reply)
{
    struct ls_err err;
    lane->nodes[index]->loading[request->index] = false;
    if (reply->type == REDIS_REPLY_STRING &&
        strcmp(reply->str, ls_redis_script_sha((enum ls_redis_script)request->index)) == 0)
        return;
    ls_redis_reply_err(&err, reply, lane->cluster->conns[index]->where);
    ls_err_prefix(&err, "SCRIPT LOAD");
    ls_redis_lane_lost(lane, index, &err);
}

static void got_map(struct ls_redis_lane *lane, size_t index, const redisReply *reply)
{
    struct ls_err err = {0};
    lane->map_asked = false;
    bool good = ls_redis_cluster_take_map(lane->cluster, reply, index, &err) == 0;
    if (good)
        ls_redis_doubt_map(lane);
    ls_redis_lane_mapped(lane, good ? NULL : &err);
}

static void answered(struct ls_redis_lane *lane, size_t index, struct ls_redis_request *request,
                     const redisReply *reply)
{
    if (request->kind == LS_REDIS_LOAD) {
        loaded(lane, index, request, reply);
    } else if (request->kind == LS_REDIS_MAP) {
        got_map(lane, index, reply);
    } else if (reply->type == REDIS_REPLY_ERROR) {
        refused(lane, index, request, reply);
    } else if (request->kind == LS_REDIS_MARKS) {
        ls_redis_marks_answered(lane, index, request, reply);
    } else if (request->kind != LS_REDIS_RECORD) {
        ls_redis_look_answered(lane, index, request, reply);
    } else if (reply->type == REDIS_REPLY_INTEGER) {
        ls_redis_lane_settle(lane, request, reply->integer != 0 ? LS_APPLIED : LS_STALE, NULL);
    } else {
        refused(lane, index, request, reply);
    }
}

void ls_redis_lane_answers(struct ls_redis_lane *lane, size_t index, int64_t now_ms)
{
    struct ls_redis_lane_node *node = lane->nodes[index];
    struct ls_redis_conn *conn = lane->cluster->conns[index];
    struct ls_err err = {0};
    const redisReply *reply;
    int rc;
    while ((rc = ls_redis_conn_reply(conn, &reply, &err)) > 0) {
        struct ls_redis_request *request = node->sent.head;
        if (request == NULL) {
            ls_err_set(&err, LS_ERR_RETRY, 0, "%s sent an answer to nothing", conn->where);
            rc = -1;
            break;
        }
        node->progress_ms = now_ms;
        if (request->skip) {
            request->skip = false;
            if (reply->type != REDIS_REPLY_ERROR)
                continue;
            /* Its command will be answered with MOVED: without ASKING it has no business there. */
            request->hops = LS_REDIS_HOPS_MAX;
            ls_redis_reply_err(&err, reply, conn->where);
            ls_unit_note(lane->works[request->work].unit, &err);
            continue;
        }
        ls_redis_list_pop(&node->sent);
        node->n_sent--;
        conn->pins--;
        answered(lane, index, request, reply);
    }
    if (rc < 0)
        ls_redis_lane_lost(lane, index, &err);
}
