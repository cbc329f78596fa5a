/*
 * Windows of pipelined requests. Within a window all are sent first and answers are read node by
 * node, so that the masters work at the same time; what was redirected goes again in the next
 * round.
 */
#include "pipeline/redis_each.h"

#include "base/mem.h"

struct window {
    struct ls_redis_cluster *cluster;
    const struct ls_redis_each *each;
    size_t first; /* index of request 0 of the window */
    size_t n;
    size_t open; /* without an answer */
    bool done[LS_REDIS_EACH_WINDOW];
    uint16_t asked[LS_REDIS_EACH_WINDOW]; /* the node that an ASK named, else NO_NODE */
    uint16_t node[LS_REDIS_EACH_WINDOW];  /* where it was sent in this round, else NO_NODE */
};

/* The node of request i, reading the map where the slot has none. */
static int place(struct window *window, size_t i, struct ls_err *err)
{
    struct ls_redis_cluster *cluster = window->cluster;
    if (window->asked[i] != LS_REDIS_NO_NODE) {
        window->node[i] = window->asked[i];
        return 0;
    }
    uint16_t slot = window->each->slot(window->each->opaque, window->first + i);
    if (cluster->owner[slot] == LS_REDIS_NO_NODE && ls_redis_cluster_refresh(cluster, err) != 0)
        return -1;
    if (cluster->owner[slot] == LS_REDIS_NO_NODE)
        return ls_err_set(err, LS_ERR_RETRY, 0,
                          "%s: no master serves slot %u; is a node down, or a slot not assigned? "
                          "(redis-cli --cluster check)",
                          cluster->options.name, slot);
    window->node[i] = cluster->owner[slot];
    return 0;
}

static int send_round(struct window *window, struct ls_err *err)
{
    for (size_t i = 0; i < window->n; i++) {
        window->node[i] = LS_REDIS_NO_NODE;
        if (!window->done[i] && place(window, i, err) != 0)
            return -1;
    }
    /* Only now: reading the map above needs connections without answers under way. */
    for (size_t i = 0; i < window->n; i++) {
        if (window->node[i] == LS_REDIS_NO_NODE)
            continue;
        struct ls_redis_conn *conn = window->cluster->conns[window->node[i]];
        if (ls_redis_cluster_connect(window->cluster, window->node[i], err) != 0)
            return -1;
        if (window->asked[i] != LS_REDIS_NO_NODE)
            ls_redis_put_words(&conn->out, "ASKING", NULL);
        window->each->encode(window->each->opaque, window->first + i, &conn->out);
    }
    for (size_t node = 0; node < window->cluster->n_conns; node++) {
        struct ls_redis_conn *conn = window->cluster->conns[node];
        if (conn->state == LS_REDIS_READY && ls_redis_conn_flush(conn, err) != 0)
            return -1;
    }
    return 0;
}

/* The next answer of the node, waiting for it. */
static int await(struct window *window, size_t node, const redisReply **ret, struct ls_err *err)
{
    static const struct ls_buf nothing = {0};
    return ls_redis_cluster_ask_encoded(window->cluster, node, &nothing, ret, err);
}

static int take_answer(struct window *window, size_t i, struct ls_err *err)
{
    struct ls_redis_cluster *cluster = window->cluster;
    size_t node = window->node[i];
    const redisReply *reply;
    int to;
    if (window->asked[i] != LS_REDIS_NO_NODE && await(window, node, &reply, err) != 0)
        return -1;
    if (await(window, node, &reply, err) != 0)
        return -1;
    switch (ls_redis_judge(reply)) {
    case LS_REDIS_MOVED:
    case LS_REDIS_ASK:
        window->asked[i] = LS_REDIS_NO_NODE;
        if (ls_redis_judge(reply) == LS_REDIS_MOVED)
            to = ls_redis_cluster_moved(cluster, reply, node);
        else
            to = ls_redis_cluster_asked(cluster, reply, node);
        if (to < 0)
            return ls_redis_reply_err(err, reply, cluster->conns[node]->where);
        if (ls_redis_judge(reply) == LS_REDIS_ASK) {
            window->asked[i] = (uint16_t)to;
            cluster->conns[to]->pins++; /* it owns nothing yet: keep its place */
        }
        return 0;
    case LS_REDIS_TRYAGAIN:
    case LS_REDIS_HEALS:
    case LS_REDIS_SETUP:
        return ls_redis_reply_err(err, reply, cluster->conns[node]->where);
    case LS_REDIS_OK:
    case LS_REDIS_NOSCRIPT:
    case LS_REDIS_UNKNOWN:
        break;
    }
    window->done[i] = true;
    window->open--;
    return window->each->answer(window->each->opaque, window->first + i, reply, err);
}

static int read_round(struct window *window, struct ls_err *err)
{
    /* A redirect may add nodes; what was sent went to those that were there before. */
    size_t n_nodes = window->cluster->n_conns;
    for (size_t node = 0; node < n_nodes; node++) {
        for (size_t i = 0; i < window->n; i++) {
            if (window->node[i] == node && take_answer(window, i, err) != 0)
                return -1;
        }
    }
    return 0;
}

static int run_window(struct window *window, struct ls_err *err)
{
    window->open = window->n;
    for (size_t i = 0; i < window->n; i++) {
        window->done[i] = false;
        window->asked[i] = LS_REDIS_NO_NODE;
    }
    for (int round = 0; window->open > 0; round++) {
        if (round > LS_REDIS_HOPS_MAX)
            return ls_err_set(err, LS_ERR_RETRY, 0,
                              "%s: requests were redirected more than %d times; its nodes disagree "
                              "about the slots (redis-cli --cluster check)",
                              window->cluster->options.name, LS_REDIS_HOPS_MAX);
        if (send_round(window, err) != 0 || read_round(window, err) != 0)
            return -1;
    }
    return 0;
}

int ls_redis_each(struct ls_redis_cluster *cluster, const struct ls_redis_each *each,
                  struct ls_err *err)
{
    struct window *window = ls_malloc(sizeof(*window));
    window->cluster = cluster;
    window->each = each;
    int rc = 0;
    ls_redis_cluster_close_stale(cluster);
    for (size_t first = 0; first < each->n && rc == 0; first += window->n) {
        size_t left = each->n - first;
        window->first = first;
        window->n = left < LS_REDIS_EACH_WINDOW ? left : LS_REDIS_EACH_WINDOW;
        rc = run_window(window, err);
    }
    for (size_t i = 0; i < cluster->n_conns; i++) {
        cluster->conns[i]->pins = 0;
        if (rc != 0) /* answers may still be under way that nobody waits for */
            ls_redis_conn_close(cluster->conns[i]);
    }
    free(window);
    return rc;
}
