/*
 * Where a record is applied to Redis. See redis_apply.h for the shape. A crash loses what has no
 * answer yet; the log has it, and the guard makes sending it again harmless, in any order.
 *
 * Rejected: a thread per master (three times the wake-ups for the same two cores), and a ring per
 * connection that is filled in the unit's order (a full ring holds up the other masters).
 */
#include "consumers/redis_apply.h"

#include <assert.h>

#include "base/clock.h"
#include "base/mem.h"

static void list_init(struct ls_redis_list *list)
{
    list->head = NULL;
    list->tail = &list->head;
}

static void push_tail(struct ls_redis_list *list, struct ls_redis_request *request)
{
    request->next = NULL;
    *list->tail = request;
    list->tail = &request->next;
}

static void push_head(struct ls_redis_list *list, struct ls_redis_request *request)
{
    request->next = list->head;
    if (list->head == NULL)
        list->tail = &request->next;
    list->head = request;
}

static struct ls_redis_request *pop(struct ls_redis_list *list)
{
    struct ls_redis_request *request = list->head;
    if (request != NULL) {
        list->head = request->next;
        if (list->head == NULL)
            list->tail = &list->head;
    }
    return request;
}

void ls_redis_lane_init(struct ls_redis_lane *lane, const struct ls_schema *schema,
                        struct ls_lane *queue, struct ls_redis_cluster *cluster, unsigned n_works)
{
    *lane = (struct ls_redis_lane){.schema = schema, .queue = queue, .cluster = cluster};
    lane->n_works = n_works;
    lane->works = ls_calloc(n_works, sizeof(*lane->works));
    lane->map.kind = LS_REDIS_MAP;
    list_init(&lane->unrouted);
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
}

void ls_redis_lane_grow(struct ls_redis_lane *lane)
{
    size_t n = lane->cluster->n_conns;
    if (lane->n_nodes >= n)
        return;
    lane->nodes = ls_realloc(lane->nodes, n * sizeof(*lane->nodes));
    for (; lane->n_nodes < n; lane->n_nodes++) {
        struct ls_redis_lane_node *node = ls_calloc(1, sizeof(*node));
        list_init(&node->backlog);
        list_init(&node->sent);
        for (uint32_t i = 0; i < LS_REDIS_SCRIPTS; i++)
            node->load[i] = (struct ls_redis_request){.kind = LS_REDIS_LOAD, .index = i};
        lane->nodes[lane->n_nodes] = node;
    }
}

/* Gives a record or mark its outcome; err is NULL for success. Completes the unit with the last. */
static void settle(struct ls_redis_lane *lane, struct ls_redis_request *request,
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
    if (unit->n_marks > 0 && !work->marks_lost)
        unit->marks_written = true;
    work->unit = NULL;
    lane->n_busy--;
    ls_lane_complete(lane->queue, unit);
}

static void settle_err(struct ls_redis_lane *lane, struct ls_redis_request *request,
                       const struct ls_err *err)
{
    settle(lane, request, err->class == LS_ERR_FATAL ? LS_FATAL : LS_RETRY, err);
}

/* Queues a request at a node. */
static void queue_at(struct ls_redis_lane *lane, size_t node, struct ls_redis_request *request,
                     bool first)
{
    lane->cluster->conns[node]->pins++;
    if (first)
        push_head(&lane->nodes[node]->backlog, request);
    else
        push_tail(&lane->nodes[node]->backlog, request);
}

/* Queues a record or mark at its slot's master; without a map, or a master, it waits for one. */
static void route(struct ls_redis_lane *lane, struct ls_redis_request *request)
{
    uint16_t owner = lane->cluster->owner[request->slot];
    if (owner == LS_REDIS_NO_NODE) {
        push_tail(&lane->unrouted, request);
        lane->map_wanted = true;
        return;
    }
    queue_at(lane, owner, request, false);
}

static struct ls_redis_work *free_work(struct ls_redis_lane *lane)
{
    struct ls_redis_work *work = lane->works;
    while (work->unit != NULL)
        work++;
    assert(work < lane->works + lane->n_works);
    return work;
}

void ls_redis_lane_begin(struct ls_redis_lane *lane, struct ls_unit *unit)
{
    struct ls_redis_work *work = free_work(lane);
    bool marks = unit->n_marks > 0 && !unit->marks_written;
    size_t most = unit->n_records + (marks ? (size_t)unit->n_marks * LS_REDIS_MARK_TAGS : 0);
    if (work->cap < most) {
        free(work->requests);
        work->requests = ls_malloc(most * sizeof(*work->requests));
        work->cap = most;
    }
    struct ls_redis_request blank = {.work = (uint16_t)(work - lane->works)};
    size_t n = 0;
    for (uint32_t i = 0; i < unit->n_records; i++) {
        const struct ls_record *record = unit->records[i];
        if (record->verdict != LS_PENDING)
            continue;
        struct ls_redis_request *request = &work->requests[n++];
        *request = blank;
        request->kind = LS_REDIS_RECORD;
        request->index = i;
        /* The key is the entry's hash tag, so its own slot is the entry's. */
        request->slot = ls_redis_slot(record->key, record->key_len);
    }
    for (uint32_t i = 0; marks && i < unit->n_marks * LS_REDIS_MARK_TAGS; i++) {
        struct ls_redis_request *request = &work->requests[n++];
        *request = blank;
        request->kind = LS_REDIS_MARK;
        request->index = i;
        request->slot = ls_redis_mark_slot(i % LS_REDIS_MARK_TAGS);
    }
    if (n == 0) {
        ls_lane_complete(lane->queue, unit);
        return;
    }
    work->unit = unit;
    work->open = n;
    work->marks_lost = false;
    lane->n_busy++;
    for (size_t i = 0; i < n; i++)
        route(lane, &work->requests[i]);
}

static void encode(struct ls_redis_lane *lane, struct ls_buf *out, struct ls_redis_request *request)
{
    const struct ls_unit *unit = NULL;
    if (request->kind == LS_REDIS_RECORD || request->kind == LS_REDIS_MARK)
        unit = lane->works[request->work].unit;
    request->skip = request->asking;
    if (request->asking)
        ls_redis_encode_asking(out);
    switch ((enum ls_redis_request_kind)request->kind) {
    case LS_REDIS_RECORD:
        ls_redis_encode_entry(out, lane->schema, unit->records[request->index], unit->repair);
        break;
    case LS_REDIS_MARK:
        ls_redis_encode_mark(out, lane->schema, &unit->marks[request->index / LS_REDIS_MARK_TAGS],
                             request->index % LS_REDIS_MARK_TAGS);
        break;
    case LS_REDIS_LOAD:
        ls_redis_encode_load(out, (enum ls_redis_script)request->index);
        break;
    case LS_REDIS_MAP:
        ls_redis_put_words(out, "CLUSTER", "SLOTS", NULL);
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
    queue_at(lane, index, &node->load[script], true);
}

void ls_redis_lane_connect(struct ls_redis_lane *lane, size_t index)
{
    struct ls_err err = {0};
    lane->nodes[index]->greeted = false;
    if (ls_redis_conn_start(lane->cluster->conns[index], &err) != 0)
        ls_redis_lane_lost(lane, index, &err);
}

void ls_redis_lane_pump(struct ls_redis_lane *lane, size_t index, int64_t now_ms)
{
    struct ls_redis_lane_node *node = lane->nodes[index];
    struct ls_redis_conn *conn = lane->cluster->conns[index];
    struct ls_err err = {0};
    if (node->backlog.head == NULL && ls_redis_conn_unsent(conn) == 0)
        return;
    if (conn->state == LS_REDIS_CLOSED) {
        ls_redis_lane_connect(lane, index);
        return;
    }
    if (conn->state != LS_REDIS_READY)
        return;
    if (!node->greeted) {
        node->greeted = true;
        if (!conn->is_master) /* it will answer MOVED: know better soon */
            lane->map_wanted = true;
        for (int i = 0; i < LS_REDIS_SCRIPTS; i++)
            load_script(lane, index, (enum ls_redis_script)i);
    }
    while (node->backlog.head != NULL && node->n_sent < LS_REDIS_UNANSWERED_MAX &&
           ls_redis_conn_unsent(conn) < LS_REDIS_UNSENT_BYTES_MAX) {
        struct ls_redis_request *request = pop(&node->backlog);
        encode(lane, &conn->out, request);
        if (node->n_sent++ == 0)
            node->progress_ms = now_ms;
        push_tail(&node->sent, request);
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
    queue_at(lane, node, &lane->map, true);
}

void ls_redis_lane_mapped(struct ls_redis_lane *lane, const struct ls_err *err)
{
    struct ls_redis_list waiting = lane->unrouted;
    if (waiting.head == NULL)
        waiting.tail = &waiting.head;
    list_init(&lane->unrouted);
    ls_redis_lane_grow(lane);
    lane->map_err = err ? *err : (struct ls_err){0};
    for (struct ls_redis_request *request; (request = pop(&waiting)) != NULL;) {
        if (err == NULL && lane->cluster->owner[request->slot] != LS_REDIS_NO_NODE) {
            route(lane, request);
            continue;
        }
        struct ls_err none;
        ls_err_set(&none, LS_ERR_RETRY, 0,
                   "%s: no master serves slot %u; is a node down, or a slot not assigned? "
                   "(redis-cli --cluster check)",
                   lane->cluster->options.name, request->slot);
        settle_err(lane, request, err ? err : &none);
    }
}

void ls_redis_lane_lost(struct ls_redis_lane *lane, size_t index, const struct ls_err *err)
{
    struct ls_redis_lane_node *node = lane->nodes[index];
    struct ls_redis_conn *conn = lane->cluster->conns[index];
    ls_redis_conn_close(conn);
    node->greeted = false;
    node->n_sent = 0;
    struct ls_redis_list *const lists[] = {&node->sent, &node->backlog};
    for (size_t i = 0; i < LS_COUNT(lists); i++) {
        for (struct ls_redis_request *request; (request = pop(lists[i])) != NULL;) {
            conn->pins--;
            if (request->kind == LS_REDIS_LOAD) {
                node->loading[request->index] = false;
            } else if (request->kind == LS_REDIS_MAP) {
                lane->map_asked = false;
                lane->map_wanted = true; /* of another node, then */
            } else {
                settle_err(lane, request, err);
            }
        }
    }
    assert(conn->pins == 0);
    if (err->class >= lane->map_err.class) /* a wrong password is worth more than a refusal */
        lane->map_err = *err;
    if (conn->in_map)
        lane->map_wanted = true;
}

/* Sends a request to another node, or settles it when there is none or it was sent on too often. */
static void redirect(struct ls_redis_lane *lane, struct ls_redis_request *request, int to,
                     const redisReply *reply, const char *where)
{
    struct ls_err err;
    if (to >= 0 && ++request->hops <= LS_REDIS_HOPS_MAX) {
        ls_redis_lane_grow(lane);
        queue_at(lane, (size_t)to, request, false);
        return;
    }
    ls_redis_reply_err(&err, reply, where);
    settle_err(lane, request, &err);
}

/* An error in answer to a record or mark. */
static void refused(struct ls_redis_lane *lane, size_t index, struct ls_redis_request *request,
                    const redisReply *reply)
{
    struct ls_redis_cluster *cluster = lane->cluster;
    const char *where = cluster->conns[index]->where;
    const struct ls_unit *unit = lane->works[request->work].unit;
    struct ls_err err;
    switch (ls_redis_judge(reply)) {
    case LS_REDIS_MOVED:
        lane->map_wanted = true;
        request->asking = false;
        redirect(lane, request, ls_redis_cluster_moved(cluster, reply, index), reply, where);
        return;
    case LS_REDIS_ASK:
        request->asking = true;
        redirect(lane, request, ls_redis_cluster_asked(cluster, reply, index), reply, where);
        return;
    case LS_REDIS_NOSCRIPT:
        load_script(lane, index,
                    request->kind == LS_REDIS_RECORD && unit->repair ? LS_REDIS_SET_NEWER_OR_SAME
                                                                     : LS_REDIS_SET_NEWER);
        redirect(lane, request, (int)index, reply, where);
        return;
    case LS_REDIS_HEALS:
    case LS_REDIS_SETUP:
    case LS_REDIS_UNKNOWN:
    case LS_REDIS_OK:
        ls_redis_reply_err(&err, reply, where);
        lane->map_wanted = true; /* CLUSTERDOWN, READONLY: there may be a new master */
        break;
    }
    settle_err(lane, request, &err);
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
    ls_redis_lane_mapped(lane, good ? NULL : &err);
}

static void answered(struct ls_redis_lane *lane, size_t index, struct ls_redis_request *request,
                     const redisReply *reply)
{
    if (request->kind == LS_REDIS_LOAD) {
        loaded(lane, index, request, reply);
    } else if (request->kind == LS_REDIS_MAP) {
        got_map(lane, index, reply);
    } else if (reply->type == REDIS_REPLY_INTEGER) {
        settle(lane, request, reply->integer != 0 ? LS_APPLIED : LS_STALE, NULL);
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
        pop(&node->sent);
        node->n_sent--;
        conn->pins--;
        answered(lane, index, request, reply);
    }
    if (rc < 0)
        ls_redis_lane_lost(lane, index, &err);
}
