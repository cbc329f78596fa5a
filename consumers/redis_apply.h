/*
 * Applying units to a Redis Cluster: records and marks become requests, requests wait at their
 * node, answers become verdicts. redis_sink.c runs the event loop around it. One thread: the
 * lane's.
 *
 * A request is in exactly one list: its node's backlog (not encoded yet), its node's sent list (an
 * answer is awaited; answers come in that order), or unrouted (no map yet). So bytes are made only
 * when the connection has room for them, a slow node never holds up another, and a redirected
 * request is simply moved.
 */
#ifndef LS_CONSUMERS_REDIS_APPLY_H
#define LS_CONSUMERS_REDIS_APPLY_H

#include "consumers/redis_encode.h"
#include "consumers/sink.h"
#include "pipeline/redis_cluster.h"

enum {
    LS_REDIS_UNSENT_BYTES_MAX = 256 * 1024, /* of one connection; one request more at most */
    LS_REDIS_UNANSWERED_MAX = 16384,        /* requests of one connection */
    LS_REDIS_MAP_INTERVAL_MS = 100,         /* between two readings of the map, at least */
};

enum ls_redis_request_kind {
    LS_REDIS_RECORD, /* index: of the record in its unit */
    LS_REDIS_MARK,   /* index: of the mark in its unit * LS_REDIS_MARK_TAGS + tag */
    LS_REDIS_LOAD,   /* index: enum ls_redis_script */
    LS_REDIS_MAP,
};

struct ls_redis_request {
    struct ls_redis_request *next;
    uint32_t index;
    uint16_t slot;
    uint16_t work; /* index of the unit's place */
    uint8_t kind;  /* enum ls_redis_request_kind */
    uint8_t hops;  /* redirects and reloads so far */
    bool asking;   /* goes with an ASKING before it */
    bool skip;     /* the next answer is that ASKING's */
};

struct ls_redis_list {
    struct ls_redis_request *head, **tail;
};

/* What the lane knows of a node beside its connection; same index as cluster->conns. */
struct ls_redis_lane_node {
    struct ls_redis_list backlog;
    struct ls_redis_list sent;
    uint32_t n_sent;
    int64_t progress_ms; /* last answer, or when the first of the unanswered was sent */
    bool greeted;        /* what follows a READY connection was done */
    struct ls_redis_request load[LS_REDIS_SCRIPTS];
    bool loading[LS_REDIS_SCRIPTS]; /* load[i] is in a list */
};

/* A place for a unit that is being worked on. */
struct ls_redis_work {
    struct ls_unit *unit; /* NULL: free */
    struct ls_redis_request *requests;
    size_t cap;      /* of requests */
    size_t open;     /* requests without an outcome */
    bool marks_lost; /* one of the marks could not be written */
};

struct ls_redis_lane {
    const struct ls_schema *schema;
    struct ls_lane *queue;
    struct ls_redis_cluster *cluster;
    struct ls_redis_lane_node **nodes;
    size_t n_nodes;
    struct ls_redis_work *works;
    unsigned n_works;
    unsigned n_busy;
    struct ls_redis_list unrouted;

    /* Reading the map. */
    bool map_wanted;
    bool map_asked;    /* `map` is in a list of some node */
    bool map_seeking;  /* seeds are being connected for it */
    int64_t map_at_ms; /* when it was last asked for */
    struct ls_redis_request map;
    struct ls_err map_err; /* why the last try gave none; class NONE if it did */
};

void ls_redis_lane_init(struct ls_redis_lane *lane, const struct ls_schema *schema,
                        struct ls_lane *queue, struct ls_redis_cluster *cluster, unsigned n_works);
/* All units must have been completed. The cluster is the caller's. */
void ls_redis_lane_free(struct ls_redis_lane *lane);

/* Takes a unit into a free place and routes all that is pending in it; completes an empty one. */
void ls_redis_lane_begin(struct ls_redis_lane *lane, struct ls_unit *unit);

/* Makes nodes[] as long as the cluster's. Call before using a node's index. */
void ls_redis_lane_grow(struct ls_redis_lane *lane);

/* Starts connecting a closed node. */
void ls_redis_lane_connect(struct ls_redis_lane *lane, size_t node);

/* Encodes backlog while the connection has room, and sends; connects a closed one. */
void ls_redis_lane_pump(struct ls_redis_lane *lane, size_t node, int64_t now_ms);

/* Takes all answers that have arrived. */
void ls_redis_lane_answers(struct ls_redis_lane *lane, size_t node, int64_t now_ms);

/* The connection is lost: its requests end with err (RETRY or FATAL). */
void ls_redis_lane_lost(struct ls_redis_lane *lane, size_t node, const struct ls_err *err);

/* Ends or routes what waits for a map, after one came (err NULL) or could not be had. */
void ls_redis_lane_mapped(struct ls_redis_lane *lane, const struct ls_err *err);

/* Puts the request for the map at the head of a READY node's backlog. */
void ls_redis_lane_ask_map(struct ls_redis_lane *lane, size_t node, int64_t now_ms);

#endif
