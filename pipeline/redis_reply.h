/*
 * What an answer of a Redis Cluster means to the one who asked. Pure: no connection, any thread.
 */
#ifndef LS_PIPELINE_REDIS_REPLY_H
#define LS_PIPELINE_REDIS_REPLY_H

#include <hiredis/hiredis.h>
#include <stdint.h>

#include "base/err.h"

enum ls_redis_answer {
    LS_REDIS_OK,       /* no error */
    LS_REDIS_MOVED,    /* the slot lives elsewhere: ask there, from now on */
    LS_REDIS_ASK,      /* this key lives elsewhere while its slot moves: ask there, this once */
    LS_REDIS_NOSCRIPT, /* the server does not know the script (any more) */
    LS_REDIS_TRYAGAIN, /* some keys of the command are moving: one by one, or later */
    LS_REDIS_HEALS,    /* overload, failover, loading, out of memory: again later */
    LS_REDIS_SETUP,    /* authentication, permissions, no cluster: a person has to act */
    LS_REDIS_UNKNOWN,  /* an error that this table does not know */
};

/* Judges a reply by the first word of its error, if it is one. */
enum ls_redis_answer ls_redis_judge(const redisReply *reply);

struct ls_redis_redirect {
    uint16_t slot;
    uint16_t port;
    char host[256]; /* "": the host that answered */
};

/*
 * Parses `MOVED 3999 127.0.0.1:6381` or `ASK …`. -1 when it names no place: then only a new map of
 * the cluster helps.
 */
int ls_redis_redirect_parse(const redisReply *reply, struct ls_redis_redirect *ret);

/*
 * The error as ours: SETUP is FATAL with what to do, all else RETRY. `where` names sink and node.
 * Returns -1. The text is the server's, cut at 200 bytes, its control characters as '?'; the name
 * is its first word, which is what Redis has for codes.
 */
int ls_redis_reply_err(struct ls_err *err, const redisReply *reply, const char *where);

#endif
