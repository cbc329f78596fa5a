/*
 * A Redis Cluster as its client sees it: the nodes, a connection to each, and which master serves
 * which slot. Found from any seed by CLUSTER SLOTS; corrected by every MOVED. One thread.
 *
 * Two kinds of user: the sink's lane, which runs its own event loop over the connections
 * (consumers/redis_apply.c), and the blocking calls below, for those who read a store or set it up.
 * A cluster object belongs to one of them.
 */
#ifndef LS_PIPELINE_REDIS_CLUSTER_H
#define LS_PIPELINE_REDIS_CLUSTER_H

#include "pipeline/config.h"
#include "pipeline/redis_conn.h"
#include "pipeline/redis_reply.h"
#include "schema/redis_layout.h"

enum {
    LS_REDIS_NODES_MAX = 2000, /* nodes known at once; Redis recommends at most 1000 in a cluster */
    LS_REDIS_NO_NODE = 0xffff,
    LS_REDIS_HOPS_MAX = 16, /* redirects of one request before it is given up */
};

struct ls_redis_cluster {
    struct ls_redis_options options;
    struct ls_redis_conn **conns; /* the first n_seeds are the seeds; a place may be reused */
    size_t n_conns;
    size_t n_seeds;
    size_t next_probe;              /* where the search for a node to ask for the map begins */
    uint16_t owner[LS_REDIS_SLOTS]; /* index of the slot's master, or LS_REDIS_NO_NODE */
    bool mapped;                    /* a map was read at least once */
};

/* Built from the sink's configuration; no I/O. FATAL when it asks for TLS. The caller frees. */
int ls_redis_cluster_new(const struct ls_sink_config *config, struct ls_redis_cluster **ret,
                         struct ls_err *err);
void ls_redis_cluster_free(struct ls_redis_cluster *cluster);

/* Takes a MOVED over into the map. Index of the slot's master now, or -1 when it names no place. */
int ls_redis_cluster_moved(struct ls_redis_cluster *cluster, const redisReply *reply, size_t from);
/* The node that an ASK names, or -1. The map stays as it is. */
int ls_redis_cluster_asked(struct ls_redis_cluster *cluster, const redisReply *reply, size_t from);

/*
 * Takes an answer to CLUSTER SLOTS as the new map. On -1 (an error, no slots at all, or not
 * understood) the old one stays. Idle connections to nodes that own nothing any more are closed.
 */
int ls_redis_cluster_take_map(struct ls_redis_cluster *cluster, const redisReply *reply,
                              size_t from, struct ls_err *err);

/*
 * A node that owned slots by the map before this one, or by a MOVED since, and owns none any more:
 * after a failover (which takes all slots of a master at once) or when all of them were moved.
 * NULL: none. Valid until the next map.
 */
const struct ls_redis_conn *ls_redis_cluster_gone(const struct ls_redis_cluster *cluster);

/* Slots that no master serves. */
unsigned ls_redis_cluster_uncovered(const struct ls_redis_cluster *cluster);
/* 0 when every slot has a master by the map, else -1 and RETRY. */
int ls_redis_cluster_check(const struct ls_redis_cluster *cluster, struct ls_err *err);

/* The indices of all masters that serve slots, into nodes[LS_REDIS_NODES_MAX]; returns how many. */
size_t ls_redis_cluster_masters(const struct ls_redis_cluster *cluster, uint16_t *nodes);

/* The RETRY for a node that the map names as a master and that says it is none. Returns -1. */
int ls_redis_not_master(const struct ls_redis_conn *conn, struct ls_err *err);

/*
 * Blocking calls, bounded by the connect and request timeouts. Errors as everywhere: RETRY for an
 * outage, FATAL for the set-up.
 */

/*
 * Closes idle connections that the other side has closed meanwhile (a restarted server), so that
 * the next call connects again instead of failing. Only while no answer is awaited.
 */
void ls_redis_cluster_close_stale(struct ls_redis_cluster *cluster);
/* Connects a node and greets it, unless it is READY. */
int ls_redis_cluster_connect(struct ls_redis_cluster *cluster, size_t node, struct ls_err *err);
/* Asks one node after the other for the map until one gives it. */
int ls_redis_cluster_refresh(struct ls_redis_cluster *cluster, struct ls_err *err);
/*
 * One command (words ended by NULL) to one node. The reply may be an error reply; it is valid until
 * the next call.
 */
int ls_redis_cluster_ask(struct ls_redis_cluster *cluster, size_t node, const redisReply **ret,
                         struct ls_err *err, const char *word, ...) __attribute__((sentinel));
/* The same for a command that is encoded already. */
int ls_redis_cluster_ask_encoded(struct ls_redis_cluster *cluster, size_t node,
                                 const struct ls_buf *command, const redisReply **ret,
                                 struct ls_err *err);

#endif
