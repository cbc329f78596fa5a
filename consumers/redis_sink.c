/*
 * The Redis sink: one lane, an event loop over poll(2) that talks to all masters at once. Threads:
 * open and close belong to the instance, run_lane is the lane's thread and owns its connections.
 *
 * One lane is enough: what it does per record is a copy and an integer to read, so a core of client
 * feeds several masters, and one thread means no locks. More throughput than a core comes from a
 * second process, which shares the partitions.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>

#include "base/clock.h"
#include "base/mem.h"
#include "consumers/redis_apply.h"

struct redis_sink {
    const struct ls_sink_config *config;
};

static int redis_open(const struct ls_sink_config *config, struct ls_sink **ret, struct ls_err *err)
{
    struct ls_redis_cluster *cluster;
    if (ls_redis_cluster_new(config, &cluster, err) != 0) /* what the lane could not build */
        return -1;
    ls_redis_cluster_free(cluster);
    struct redis_sink *sink = ls_calloc(1, sizeof(*sink));
    sink->config = config;
    *ret = (struct ls_sink *)sink;
    return 0;
}

static void redis_close(struct ls_sink *sink)
{
    free(sink);
}

static unsigned redis_n_lanes(const struct ls_sink *sink)
{
    return 1;
}

/* The nodes that are configured; the lane finds the others. */
static bool redis_server(const struct ls_sink_config *config, unsigned lane, size_t i,
                         struct ls_buf *buf)
{
    if (i >= config->n_nodes)
        return false;
    ls_buf_printf(buf, "%s:%u", config->nodes[i].host, config->nodes[i].port);
    return true;
}

static unsigned redis_lane_of(const struct ls_sink *sink, int32_t partition)
{
    return 0;
}

static uint32_t redis_unit_limit(const struct ls_sink *sink)
{
    return UINT32_MAX;
}

/*
 * When a node with unanswered requests is given up: it says nothing for a request's timeout, or it
 * trickles, and the oldest request has not been answered for so many times as long.
 */
static int64_t patience_ends_ms(const struct ls_redis_lane *lane,
                                const struct ls_redis_lane_node *node)
{
    int64_t request_ms = lane->cluster->options.request_timeout_ms;
    int64_t silent_ms = node->progress_ms + request_ms;
    int64_t old_ms = node->sent.head->sent_ms + LS_ANSWER_TIMES * request_ms;
    return silent_ms < old_ms ? silent_ms : old_ms;
}

/* Fails connections that took too long; what they had in hand ends as RETRY. */
static void check_deadlines(struct ls_redis_lane *lane, int64_t now_ms)
{
    uint32_t request_ms = lane->cluster->options.request_timeout_ms;
    struct ls_err err;
    for (size_t i = 0; i < lane->n_nodes; i++) {
        struct ls_redis_conn *conn = lane->cluster->conns[i];
        struct ls_redis_lane_node *node = lane->nodes[i];
        if (conn->state == LS_REDIS_CONNECTING || conn->state == LS_REDIS_GREETING) {
            if (now_ms < conn->deadline_ms)
                continue;
            ls_err_set(&err, LS_ERR_RETRY, ETIMEDOUT, "%s did not %s in time", conn->where,
                       conn->state == LS_REDIS_CONNECTING ? "accept a connection" : "answer INFO");
            ls_redis_lane_lost(lane, i, &err);
        } else if (node->n_sent > 0 && now_ms >= patience_ends_ms(lane, node)) {
            bool silent = now_ms - node->progress_ms >= request_ms;
            ls_err_set(&err, LS_ERR_RETRY, ETIMEDOUT, "%s answered %s of %u requests within %u ms",
                       conn->where, silent ? "none" : "not the oldest", node->n_sent,
                       silent ? request_ms : LS_ANSWER_TIMES * request_ms);
            ls_redis_lane_lost(lane, i, &err);
        }
    }
}

/* Starts connecting all seeds; whether any may still answer. */
static bool seek_seeds(struct ls_redis_lane *lane)
{
    bool hope = false;
    if (!lane->map_seeking)
        lane->map_err = (struct ls_err){0};
    for (size_t i = 0; i < lane->cluster->n_seeds; i++) {
        const struct ls_redis_conn *conn = lane->cluster->conns[i];
        if (conn->state == LS_REDIS_CLOSED && !lane->map_seeking)
            ls_redis_lane_connect(lane, i);
        hope |= conn->state != LS_REDIS_CLOSED;
    }
    lane->map_seeking = true;
    return hope;
}

/* Reads the map when it is wanted, not too often, from any node that is READY. */
static void see_to_map(struct ls_redis_lane *lane, int64_t now_ms)
{
    struct ls_redis_cluster *cluster = lane->cluster;
    if (!lane->map_wanted || lane->map_asked)
        return;
    if (lane->map_at_ms != 0 && now_ms - lane->map_at_ms < LS_REDIS_MAP_INTERVAL_MS)
        return;
    for (size_t i = 0; i < cluster->n_conns; i++) {
        size_t node = cluster->next_probe++ % cluster->n_conns;
        if (cluster->conns[node]->state == LS_REDIS_READY) {
            ls_redis_lane_ask_map(lane, node, now_ms);
            return;
        }
    }
    if (seek_seeds(lane))
        return;
    lane->map_seeking = false;
    lane->map_wanted = false;
    lane->map_at_ms = now_ms;
    struct ls_err err = lane->map_err;
    ls_redis_lane_mapped(lane, &err);
}

/* Milliseconds until something is due: a deadline, or the next reading of the map. */
static int wait_ms(const struct ls_redis_lane *lane, int64_t now_ms)
{
    int64_t due_ms = INT64_MAX;
    for (size_t i = 0; i < lane->n_nodes; i++) {
        const struct ls_redis_conn *conn = lane->cluster->conns[i];
        const struct ls_redis_lane_node *node = lane->nodes[i];
        int64_t at_ms = INT64_MAX;
        if (conn->state == LS_REDIS_CONNECTING || conn->state == LS_REDIS_GREETING)
            at_ms = conn->deadline_ms;
        else if (node->n_sent > 0)
            at_ms = patience_ends_ms(lane, node);
        if (at_ms < due_ms)
            due_ms = at_ms;
    }
    if (lane->map_wanted && !lane->map_asked && !lane->map_seeking &&
        lane->map_at_ms + LS_REDIS_MAP_INTERVAL_MS < due_ms)
        due_ms = lane->map_at_ms + LS_REDIS_MAP_INTERVAL_MS;
    if (due_ms == INT64_MAX)
        return -1;
    return due_ms <= now_ms ? 0 : (int)(due_ms - now_ms < INT_MAX ? due_ms - now_ms : INT_MAX);
}

/* Waits, then serves every connection that has something. pfds is the caller's, grown as needed. */
static void turn(struct ls_redis_lane *lane, struct pollfd **pfds, bool take, int64_t now_ms)
{
    ls_redis_lane_grow(lane);
    size_t n = lane->n_nodes;
    *pfds = ls_realloc(*pfds, (n + 1) * sizeof(**pfds));
    for (size_t i = 0; i < n; i++) {
        struct ls_redis_conn *conn = lane->cluster->conns[i];
        (*pfds)[i] = (struct pollfd){.fd = conn->fd, .events = ls_redis_conn_events(conn)};
    }
    (*pfds)[n] = (struct pollfd){.fd = take ? ls_lane_fd(lane->queue) : -1, .events = POLLIN};
    if (poll(*pfds, n + 1, wait_ms(lane, now_ms)) <= 0)
        return;
    now_ms = ls_mono_ms();
    for (size_t i = 0; i < n; i++) {
        struct ls_redis_conn *conn = lane->cluster->conns[i];
        struct ls_err err = {0};
        /* The answers of one node may close another's connection: then the event is stale. */
        if ((*pfds)[i].revents == 0 || conn->fd != (*pfds)[i].fd)
            continue;
        if (ls_redis_conn_io(conn, (*pfds)[i].revents, &err) != 0)
            ls_redis_lane_lost(lane, i, &err);
        else
            ls_redis_lane_answers(lane, i, now_ms);
    }
}

/* When closing takes longer than a request may: everything still open ends as RETRY. */
static void give_up(struct ls_redis_lane *lane)
{
    struct ls_err err;
    ls_err_set(&err, LS_ERR_RETRY, ETIMEDOUT, "%s: the worker stopped before the answer came",
               lane->cluster->options.name);
    for (size_t i = 0; i < lane->n_nodes; i++)
        ls_redis_lane_lost(lane, i, &err);
    ls_redis_lane_mapped(lane, &err);
}

static void redis_run_lane(struct ls_sink *opaque, unsigned lane_index, struct ls_lane *queue)
{
    const struct redis_sink *sink = (const struct redis_sink *)opaque;
    const struct ls_sink_config *config = sink->config;
    struct ls_redis_cluster *cluster;
    struct ls_redis_lane lane;
    struct pollfd *pfds = NULL;
    struct ls_err err;
    if (ls_redis_cluster_new(config, &cluster, &err) != 0)
        abort(); /* open() has built the same */
    /* Room beside the batches: marks and looks never wait for records. */
    unsigned n_works = (config->batches_in_flight ? config->batches_in_flight : 1) + 2;
    ls_redis_lane_init(&lane, config->entity, queue, cluster, n_works);
    int64_t give_up_ms = INT64_MAX;
    for (;;) {
        int64_t now_ms = ls_mono_ms();
        bool closing = ls_lane_closing(queue);
        if (closing && give_up_ms == INT64_MAX)
            give_up_ms = now_ms + config->request_timeout_ms;
        while (!closing && lane.n_busy < n_works) {
            struct ls_unit *unit = ls_lane_take(queue, 0);
            if (unit == NULL)
                break;
            ls_redis_lane_begin(&lane, unit);
        }
        if (closing && now_ms >= give_up_ms)
            give_up(&lane);
        if (closing && lane.n_busy == 0)
            break;
        check_deadlines(&lane, now_ms);
        see_to_map(&lane, now_ms);
        for (size_t i = 0; i < lane.n_nodes; i++)
            ls_redis_lane_pump(&lane, i, now_ms);
        turn(&lane, &pfds, !closing && lane.n_busy < n_works, now_ms);
    }
    free(pfds);
    for (size_t i = 0; i < lane.n_nodes; i++) /* a map request may still be out: drop it */
        ls_redis_lane_lost(&lane, i, &(struct ls_err){.class = LS_ERR_RETRY});
    ls_redis_lane_free(&lane);
    ls_redis_cluster_free(cluster);
}

const struct ls_sink_ops ls_redis_sink_ops = {
    .kind = LS_SINK_REDIS,
    .wants_values = false,
    .wants_hash = false,
    .open = redis_open,
    .close = redis_close,
    .n_lanes = redis_n_lanes,
    .lane_of = redis_lane_of,
    .server = redis_server,
    .unit_records = redis_unit_limit,
    .unit_bytes = redis_unit_limit,
    .run_lane = redis_run_lane,
};
