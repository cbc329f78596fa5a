/*
 * Applying units to a Redis Cluster: records, marks and looks become requests, requests wait at
 * their node, answers become verdicts. The lane's parts, all in its thread:
 *   redis_sink.c         the event loop
 *   redis_apply.c        records; how requests reach their node and come to an end
 *   redis_apply_marks.c  marks, by compare-and-set; when what was written is in doubt
 *   redis_apply_look.c   looks
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
    LS_REDIS_MARKS,  /* index: tag; the unit's marks [first, first + n) under it */
    LS_REDIS_LOAD,   /* index: enum ls_redis_script */
    LS_REDIS_MAP,
    LS_REDIS_LOOK_MAP,   /* of a look: waits for a map, is never sent */
    LS_REDIS_LOOK_INFO,  /* of a look: the node's set-up and ids */
    LS_REDIS_LOOK_MARKS, /* of a look: as LS_REDIS_MARKS */
    LS_REDIS_LOOK_SCAN,  /* of a look: whether there is data */
};

struct ls_redis_request {
    struct ls_redis_request *next;
    int64_t sent_ms; /* monotonic */
    uint32_t index;
    uint16_t slot;
    uint16_t work; /* index of the unit's place */
    uint16_t first, n;
    uint8_t kind; /* enum ls_redis_request_kind */
    uint8_t hops; /* redirects and reloads so far */
    bool asking;  /* goes with an ASKING before it */
    bool skip;    /* the next answer is that ASKING's */
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
    size_t n;        /* requests that are in use */
    size_t open;     /* requests without an outcome */
    bool marks_lost; /* one of the marks could not be written */

    /* Of a look. */
    enum { LS_REDIS_LOOK_MAPS, LS_REDIS_LOOK_READS, LS_REDIS_LOOK_SCANS } phase;
    bool doubted; /* said that something went back in time */
    bool scanned; /* for data, which was found: the marks were read once more */
    size_t scan_node;
    char cursor[24]; /* of SCAN */
};

struct ls_redis_lane {
    const struct ls_entity_config *entity;
    struct ls_lane *queue;
    struct ls_redis_cluster *cluster;
    struct ls_redis_lane_node **nodes;
    size_t n_nodes;
    struct ls_redis_work *works;
    unsigned n_works;
    unsigned n_busy;
    struct ls_redis_list unrouted;
    struct ls_redis_seen *seen; /* by partition and tag: what the next marks are compared with */
    struct ls_err *two_logs;    /* by partition: FATAL where its tags name two logs, else NONE */

    /* Reading the map. */
    bool map_wanted;
    bool map_asked;    /* `map` is in a list of some node */
    bool map_seeking;  /* seeds are being connected for it */
    int64_t map_at_ms; /* when it was last asked for */
    struct ls_redis_request map;
    struct ls_err map_err; /* why the last try gave none; class NONE if it did */
    size_t map_losses;     /* nodes in a row that were lost while they were asked for it */
};

void ls_redis_lane_init(struct ls_redis_lane *lane, const struct ls_entity_config *entity,
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

/* For the lane's own parts. */

/* Makes room for n requests of a place in which none is open, and takes none of them. */
void ls_redis_work_reserve(struct ls_redis_work *work, size_t n);
/* The next request of a place, blank, open and in no list. Room was made for it. */
struct ls_redis_request *ls_redis_work_add(struct ls_redis_lane *lane, struct ls_redis_work *work,
                                           enum ls_redis_request_kind kind);
/* Queues a request at a node. */
void ls_redis_lane_queue(struct ls_redis_lane *lane, size_t node, struct ls_redis_request *request,
                         bool first);
/* Queues a request at its slot's master; without a map, or a master, it waits for one. */
void ls_redis_lane_route(struct ls_redis_lane *lane, struct ls_redis_request *request);
/* Lets a request wait for the next map, which is asked for. */
void ls_redis_lane_await_map(struct ls_redis_lane *lane, struct ls_redis_request *request);
/*
 * Gives a request its outcome; err is NULL for success. With the last of them the unit is complete,
 * or the look goes on. verdict is a record's; others ignore it.
 */
void ls_redis_lane_settle(struct ls_redis_lane *lane, struct ls_redis_request *request,
                          enum ls_verdict verdict, const struct ls_err *err);
/* The same for a failure: RETRY, or FATAL where err is. */
void ls_redis_lane_fail(struct ls_redis_lane *lane, struct ls_redis_request *request,
                        const struct ls_err *err);
/* Completes the unit of a place, in which nothing is open, and frees the place. */
void ls_redis_work_done(struct ls_redis_lane *lane, struct ls_redis_work *work);

/* redis_apply_marks.c */
/* Routes a unit's marks; false when none may be written: the unit says why, nothing is open. */
bool ls_redis_marks_begin(struct ls_redis_lane *lane, struct ls_redis_work *work);
void ls_redis_marks_encode(struct ls_redis_lane *lane, size_t node, struct ls_buf *out,
                           const struct ls_redis_request *request);
void ls_redis_marks_answered(struct ls_redis_lane *lane, size_t node,
                             struct ls_redis_request *request, const redisReply *reply);
/* A tag's request that met TRYAGAIN: one for each partition instead. False when it has but one. */
bool ls_redis_marks_split(struct ls_redis_lane *lane, struct ls_redis_request *request);
/* After a greeting, an INFO, or a map: says so when what was written may be gone. */
void ls_redis_doubt_node(struct ls_redis_lane *lane, size_t node);
void ls_redis_doubt_map(struct ls_redis_lane *lane);

/* redis_apply_look.c */
void ls_redis_look_begin(struct ls_redis_lane *lane, struct ls_redis_work *work);
void ls_redis_look_encode(struct ls_redis_lane *lane, struct ls_buf *out,
                          const struct ls_redis_request *request);
void ls_redis_look_answered(struct ls_redis_lane *lane, size_t node,
                            struct ls_redis_request *request, const redisReply *reply);
/* All that the look has asked so far is answered: asks on, or completes it. */
void ls_redis_look_next(struct ls_redis_lane *lane, struct ls_redis_work *work);

#endif
