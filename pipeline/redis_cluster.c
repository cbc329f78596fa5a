/*
 * The map of a Redis Cluster and its blocking calls. A crash loses nothing: the map is read again.
 *
 * CLUSTER SLOTS rather than CLUSTER SHARDS, which only Redis 7 has; what SHARDS adds (health,
 * replication offsets) is not needed, since a write to the wrong or a failing node says so itself.
 */
#include "pipeline/redis_cluster.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>

#include "base/clock.h"
#include "base/mem.h"

/*
 * Index of the connection to host and port (made, not started, where there is none). "" as host is
 * the host of `from`. -1 when LS_REDIS_NODES_MAX are known.
 */
static int find_node(struct ls_redis_cluster *cluster, const char *host, uint16_t port, size_t from)
{
    struct ls_redis_conn *unused = NULL;
    size_t unused_at = 0;
    if (host[0] == '\0')
        host = cluster->conns[from]->host;
    for (size_t i = 0; i < cluster->n_conns; i++) {
        struct ls_redis_conn *conn = cluster->conns[i];
        if (conn->port == port && strcmp(conn->host, host) == 0)
            return (int)i;
        if (i >= cluster->n_seeds && !conn->in_map && !conn->was_in_map && conn->pins == 0 &&
            conn->state == LS_REDIS_CLOSED) {
            unused = conn;
            unused_at = i;
        }
    }
    if (unused != NULL) {
        ls_redis_conn_free(unused);
        ls_redis_conn_init(unused, &cluster->options, host, port);
        return (int)unused_at;
    }
    if (cluster->n_conns == LS_REDIS_NODES_MAX)
        return -1;
    cluster->conns = ls_realloc(cluster->conns, (cluster->n_conns + 1) * sizeof(*cluster->conns));
    struct ls_redis_conn *conn = ls_malloc(sizeof(*conn));
    ls_redis_conn_init(conn, &cluster->options, host, port);
    cluster->conns[cluster->n_conns] = conn;
    return (int)cluster->n_conns++;
}

int ls_redis_cluster_new(const struct ls_sink_config *config, struct ls_redis_cluster **ret,
                         struct ls_err *err)
{
    if (config->tls.on)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "sink %s: tls: this build's hiredis has no TLS; remove `tls` and use a "
                          "private network or a TLS tunnel",
                          config->name);
    assert(config->n_nodes > 0);
    struct ls_redis_cluster *cluster = ls_calloc(1, sizeof(*cluster));
    cluster->options = (struct ls_redis_options){
        .name = ls_strdup(config->name),
        .user = config->user ? ls_strdup(config->user) : NULL,
        .password = config->password ? ls_strdup(config->password) : NULL,
        .connect_timeout_ms = config->connect_timeout_ms,
        .request_timeout_ms = config->request_timeout_ms,
    };
    for (size_t i = 0; i < LS_REDIS_SLOTS; i++)
        cluster->owner[i] = LS_REDIS_NO_NODE;
    for (size_t i = 0; i < config->n_nodes; i++)
        find_node(cluster, config->nodes[i].host, config->nodes[i].port, 0);
    cluster->n_seeds = cluster->n_conns;
    *ret = cluster;
    return 0;
}

void ls_redis_cluster_free(struct ls_redis_cluster *cluster)
{
    if (cluster == NULL)
        return;
    for (size_t i = 0; i < cluster->n_conns; i++) {
        ls_redis_conn_free(cluster->conns[i]);
        free(cluster->conns[i]);
    }
    free(cluster->conns);
    free(cluster->options.name);
    free(cluster->options.user);
    if (cluster->options.password) /* a core file later on shall not hold it */
        explicit_bzero(cluster->options.password, strlen(cluster->options.password));
    free(cluster->options.password);
    free(cluster);
}

int ls_redis_cluster_asked(struct ls_redis_cluster *cluster, const redisReply *reply, size_t from)
{
    struct ls_redis_redirect to;
    if (ls_redis_redirect_parse(reply, &to) != 0)
        return -1;
    return find_node(cluster, to.host, to.port, from);
}

int ls_redis_cluster_moved(struct ls_redis_cluster *cluster, const redisReply *reply, size_t from)
{
    struct ls_redis_redirect to;
    if (ls_redis_redirect_parse(reply, &to) != 0)
        return -1;
    int node = find_node(cluster, to.host, to.port, from);
    if (node >= 0) {
        cluster->owner[to.slot] = (uint16_t)node;
        cluster->conns[node]->in_map = true;
    }
    return node;
}

/* One item of CLUSTER SLOTS, [first, last, [host, port, …], …]; 0 and its parts if it is sound. */
static int parse_range(const redisReply *item, long long *ret_first, long long *ret_last,
                       const char **ret_host, uint16_t *ret_port)
{
    if (item->type != REDIS_REPLY_ARRAY || item->elements < 3 ||
        item->element[0]->type != REDIS_REPLY_INTEGER ||
        item->element[1]->type != REDIS_REPLY_INTEGER)
        return -1;
    const redisReply *master = item->element[2];
    long long first = item->element[0]->integer, last = item->element[1]->integer;
    if (first < 0 || first > last || last >= LS_REDIS_SLOTS || master->type != REDIS_REPLY_ARRAY ||
        master->elements < 2 || master->element[1]->type != REDIS_REPLY_INTEGER)
        return -1;
    const redisReply *host = master->element[0];
    long long port = master->element[1]->integer;
    if ((host->type != REDIS_REPLY_STRING && host->type != REDIS_REPLY_NIL) || port <= 0 ||
        port > UINT16_MAX)
        return -1;
    *ret_first = first;
    *ret_last = last;
    *ret_port = (uint16_t)port;
    *ret_host = host->type == REDIS_REPLY_STRING && strcmp(host->str, "?") != 0 ? host->str : "";
    return 0;
}

int ls_redis_cluster_take_map(struct ls_redis_cluster *cluster, const redisReply *reply,
                              size_t from, struct ls_err *err)
{
    const char *where = cluster->conns[from]->where;
    if (reply->type != REDIS_REPLY_ARRAY)
        return ls_redis_reply_err(err, reply, where);
    if (reply->elements == 0)
        return ls_err_set(err, LS_ERR_RETRY, 0,
                          "%s knows of no slots: it belongs to no cluster, or to one that was not "
                          "created yet (redis-cli --cluster create)",
                          where);
    long long first, last;
    const char *host;
    uint16_t port;
    for (size_t i = 0; i < reply->elements; i++) {
        if (parse_range(reply->element[i], &first, &last, &host, &port) != 0)
            return ls_err_set(err, LS_ERR_RETRY, 0, "%s answered CLUSTER SLOTS with something else",
                              where);
    }
    for (size_t i = 0; i < LS_REDIS_SLOTS; i++)
        cluster->owner[i] = LS_REDIS_NO_NODE;
    for (size_t i = 0; i < cluster->n_conns; i++) {
        cluster->conns[i]->was_in_map = cluster->conns[i]->in_map;
        cluster->conns[i]->in_map = false;
    }
    for (size_t i = 0; i < reply->elements; i++) {
        parse_range(reply->element[i], &first, &last, &host, &port);
        int node = find_node(cluster, host, port, from);
        if (node < 0)
            continue;
        cluster->conns[node]->in_map = true;
        for (long long slot = first; slot <= last; slot++)
            cluster->owner[slot] = (uint16_t)node;
    }
    for (size_t i = 0; i < cluster->n_conns; i++) {
        struct ls_redis_conn *conn = cluster->conns[i];
        /* Not the one whose answer is being read. */
        if (!conn->in_map && conn->pins == 0 && i != from)
            ls_redis_conn_close(conn);
    }
    cluster->mapped = true;
    return 0;
}

const struct ls_redis_conn *ls_redis_cluster_gone(const struct ls_redis_cluster *cluster)
{
    for (size_t i = 0; i < cluster->n_conns; i++)
        if (cluster->conns[i]->was_in_map && !cluster->conns[i]->in_map)
            return cluster->conns[i];
    return NULL;
}

unsigned ls_redis_cluster_uncovered(const struct ls_redis_cluster *cluster)
{
    unsigned n = 0;
    for (size_t i = 0; i < LS_REDIS_SLOTS; i++)
        n += cluster->owner[i] == LS_REDIS_NO_NODE;
    return n;
}

int ls_redis_cluster_check(const struct ls_redis_cluster *cluster, struct ls_err *err)
{
    unsigned uncovered = ls_redis_cluster_uncovered(cluster);
    if (uncovered == 0)
        return 0;
    return ls_err_set(err, LS_ERR_RETRY, 0,
                      "%s: %u of %d slots are served by no master; is a node down? "
                      "(redis-cli --cluster check)",
                      cluster->options.name, uncovered, LS_REDIS_SLOTS);
}

size_t ls_redis_cluster_masters(const struct ls_redis_cluster *cluster, uint16_t *nodes)
{
    bool seen[LS_REDIS_NODES_MAX] = {false};
    size_t n = 0;
    for (size_t slot = 0; slot < LS_REDIS_SLOTS; slot++) {
        uint16_t node = cluster->owner[slot];
        if (node == LS_REDIS_NO_NODE || seen[node])
            continue;
        seen[node] = true;
        nodes[n++] = node;
    }
    return n;
}

int ls_redis_not_master(const struct ls_redis_conn *conn, struct ls_err *err)
{
    return ls_err_set(err, LS_ERR_RETRY, 0,
                      "%s is a replica now, though the cluster's map names it as a master; a "
                      "failover is under way",
                      conn->where);
}

/* Waits for the connection's next event and serves it. */
static int wait_io(struct ls_redis_conn *conn, int64_t deadline_ms, struct ls_err *err)
{
    int64_t left_ms = deadline_ms - ls_mono_ms();
    if (left_ms <= 0) {
        bool connecting = conn->state == LS_REDIS_CONNECTING;
        ls_redis_conn_close(conn);
        return ls_err_set(err, LS_ERR_RETRY, ETIMEDOUT, "%s %s", conn->where,
                          connecting ? "did not accept a connection in time"
                                     : "did not answer in time");
    }
    struct pollfd pfd = {.fd = conn->fd, .events = ls_redis_conn_events(conn)};
    int rc = poll(&pfd, 1, (int)left_ms);
    if (rc < 0 && errno != EINTR)
        return ls_err_set(err, LS_ERR_RETRY, errno, "%s: poll: %s", conn->where, strerror(errno));
    return rc > 0 ? ls_redis_conn_io(conn, pfd.revents, err) : 0;
}

void ls_redis_cluster_close_stale(struct ls_redis_cluster *cluster)
{
    for (size_t i = 0; i < cluster->n_conns; i++) {
        struct ls_redis_conn *conn = cluster->conns[i];
        struct pollfd pfd = {.fd = conn->fd, .events = POLLIN};
        if (conn->state == LS_REDIS_READY && poll(&pfd, 1, 0) > 0)
            ls_redis_conn_close(conn);
    }
}

int ls_redis_cluster_connect(struct ls_redis_cluster *cluster, size_t node, struct ls_err *err)
{
    struct ls_redis_conn *conn = cluster->conns[node];
    if (conn->state == LS_REDIS_CLOSED && ls_redis_conn_start(conn, err) != 0)
        return -1;
    while (conn->state != LS_REDIS_READY) {
        if (wait_io(conn, conn->deadline_ms, err) != 0)
            return -1;
    }
    return 0;
}

int ls_redis_cluster_ask_encoded(struct ls_redis_cluster *cluster, size_t node,
                                 const struct ls_buf *command, const redisReply **ret,
                                 struct ls_err *err)
{
    struct ls_redis_conn *conn = cluster->conns[node];
    if (ls_redis_cluster_connect(cluster, node, err) != 0)
        return -1;
    ls_buf_append(&conn->out, command->data, command->len);
    int64_t deadline_ms = ls_mono_ms() + cluster->options.request_timeout_ms;
    for (;;) {
        int rc = ls_redis_conn_reply(conn, ret, err);
        if (rc != 0)
            return rc > 0 ? 0 : -1;
        if (wait_io(conn, deadline_ms, err) != 0)
            return -1;
    }
}

int ls_redis_cluster_ask(struct ls_redis_cluster *cluster, size_t node, const redisReply **ret,
                         struct ls_err *err, const char *word, ...)
{
    struct ls_buf command = {0};
    va_list args;
    va_start(args, word);
    ls_redis_vput_words(&command, word, args);
    va_end(args);
    int rc = ls_redis_cluster_ask_encoded(cluster, node, &command, ret, err);
    ls_buf_free(&command);
    return rc;
}

int ls_redis_cluster_refresh(struct ls_redis_cluster *cluster, struct ls_err *err)
{
    struct ls_err worst = {0}, now = {0};
    size_t n = cluster->n_conns;
    ls_redis_cluster_close_stale(cluster);
    for (size_t i = 0; i < n; i++) {
        size_t node = cluster->next_probe++ % n;
        const redisReply *reply;
        if (ls_redis_cluster_ask(cluster, node, &reply, &now, "CLUSTER", "SLOTS", NULL) == 0 &&
            ls_redis_cluster_take_map(cluster, reply, node, &now) == 0)
            return 0;
        /* A wrong password is worth more to a person than a refused connection. */
        if (now.class > worst.class)
            worst = now;
    }
    *err = worst;
    return -1;
}
