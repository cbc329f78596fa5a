/*
 * Many small requests to a Redis Cluster at once, blocking: each goes to its slot's master, all are
 * pipelined, redirects are followed. For those who read a store or set it up; the sink's lane has
 * its own loop. One thread.
 */
#ifndef LS_PIPELINE_REDIS_EACH_H
#define LS_PIPELINE_REDIS_EACH_H

#include "pipeline/redis_cluster.h"

/* Requests on their way at once. */
enum { LS_REDIS_EACH_WINDOW = 1024 };

struct ls_redis_each {
    size_t n;
    void *opaque;
    uint16_t (*slot)(void *opaque, size_t index);
    /* Appends the command of request index; may be called again for one that was redirected. */
    void (*encode)(void *opaque, size_t index, struct ls_buf *out);
    /*
     * Takes the answer, in any order of index, once each: no error, or an error of the command
     * itself (WRONGTYPE and what is not in redis_reply.c's table). -1 ends the run. It must not use
     * the cluster.
     */
    int (*answer)(void *opaque, size_t index, const redisReply *reply, struct ls_err *err);
};

/*
 * Runs all requests. On -1 (RETRY or FATAL) some may have been answered. An answer that takes
 * longer than the request timeout is an error.
 */
int ls_redis_each(struct ls_redis_cluster *cluster, const struct ls_redis_each *each,
                  struct ls_err *err);

#endif
