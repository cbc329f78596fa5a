/*
 * The table of Redis errors. A word that is not in it is UNKNOWN, never "heals": the caller decides
 * how often it believes that.
 */
#include "pipeline/redis_reply.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "schema/redis_layout.h"

enum { TEXT_MAX = 200 };

static const struct {
    const char *start;
    enum ls_redis_answer answer;
    bool overload;
} answers[] = {
    {"MOVED ", LS_REDIS_MOVED},
    {"ASK ", LS_REDIS_ASK},
    {"NOSCRIPT", LS_REDIS_NOSCRIPT},
    {"TRYAGAIN", LS_REDIS_TRYAGAIN},
    {"CLUSTERDOWN", LS_REDIS_HEALS},
    {"LOADING", LS_REDIS_HEALS, true},
    {"READONLY", LS_REDIS_HEALS},
    {"MASTERDOWN", LS_REDIS_HEALS},
    {"BUSY", LS_REDIS_HEALS, true},
    {"OOM", LS_REDIS_HEALS, true},
    {"MISCONF", LS_REDIS_HEALS}, /* the disk is full or failing: writes are refused for now */
    {"NOREPLICAS", LS_REDIS_HEALS},
    {"UNKILLABLE", LS_REDIS_HEALS},
    {"ERR max number of clients", LS_REDIS_HEALS, true},
    {"NOAUTH", LS_REDIS_SETUP},
    {"WRONGPASS", LS_REDIS_SETUP},
    {"NOPERM", LS_REDIS_SETUP},
    {"ERR The user executing the script", LS_REDIS_SETUP}, /* its ACL, met inside the script */
    {"DENIED", LS_REDIS_SETUP},                            /* protected mode */
    {"ERR invalid password", LS_REDIS_SETUP},
    {"ERR AUTH ", LS_REDIS_SETUP},
    {"ERR Client sent AUTH", LS_REDIS_SETUP},
    {"ERR This instance has cluster support disabled", LS_REDIS_SETUP},
};

static bool starts_with(const redisReply *reply, const char *start)
{
    size_t len = strlen(start);
    return reply->len >= len && memcmp(reply->str, start, len) == 0;
}

enum ls_redis_answer ls_redis_judge(const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ERROR)
        return LS_REDIS_OK;
    for (size_t i = 0; i < LS_COUNT(answers); i++) {
        if (starts_with(reply, answers[i].start))
            return answers[i].answer;
    }
    return LS_REDIS_UNKNOWN;
}

/* Whether an error is a refusal for load, so that less at a time may pass. */
static bool is_overload(const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ERROR)
        return false;
    for (size_t i = 0; i < LS_COUNT(answers); i++) {
        if (starts_with(reply, answers[i].start))
            return answers[i].overload;
    }
    return false;
}

/* Digits of [at, end) as a number up to max; -1 where it is none. */
static long parse_number(const char *at, const char *end, long max)
{
    long number = 0;
    if (at == end)
        return -1;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9')
            return -1;
        number = number * 10 + (*at - '0');
        if (number > max)
            return -1;
    }
    return number;
}

int ls_redis_redirect_parse(const redisReply *reply, struct ls_redis_redirect *ret)
{
    const char *end = reply->str + reply->len;
    const char *slot = memchr(reply->str, ' ', reply->len);
    if (slot == NULL)
        return -1;
    slot++;
    const char *host = memchr(slot, ' ', (size_t)(end - slot));
    if (host == NULL)
        return -1;
    long slot_number = parse_number(slot, host, LS_REDIS_SLOTS - 1);
    host++;
    /* The last colon: an IPv6 address has its own. */
    const char *colon = memrchr(host, ':', (size_t)(end - host));
    if (colon == NULL || slot_number < 0)
        return -1;
    long port = parse_number(colon + 1, end, UINT16_MAX);
    size_t host_len = (size_t)(colon - host);
    if (port <= 0 || host_len >= sizeof(ret->host))
        return -1;
    if (host_len == 1 && *host == '?') /* a node that does not know the other's name */
        return -1;
    ret->slot = (uint16_t)slot_number;
    ret->port = (uint16_t)port;
    memcpy(ret->host, host, host_len);
    ret->host[host_len] = '\0';
    return 0;
}

/* What a person does about an error. Workers read secrets once, at their start. */
static const char *advice(const redisReply *reply)
{
    if (starts_with(reply, "NOAUTH"))
        return "; set `user` and `password_file` of the sink, and restart its workers";
    if (starts_with(reply, "WRONGPASS") || starts_with(reply, "ERR invalid password"))
        return "; check `user` and `password_file` of the sink against the server's ACL, and restart "
               "its workers after a change of the file";
    if (starts_with(reply, "NOPERM") || starts_with(reply, "ERR The user executing"))
        return "; the sink's user needs +@read +@write +@scripting +cluster +asking +info on the "
               "entity's keys";
    if (starts_with(reply, "ERR This instance"))
        return "; lockstep needs a Redis Cluster (cluster-enabled yes)";
    if (starts_with(reply, "OOM"))
        return "; raise `maxmemory`, or add masters";
    return "";
}

int ls_redis_reply_err(struct ls_err *err, const redisReply *reply, const char *where)
{
    char text[TEXT_MAX + 1];
    size_t len = 0;
    if (reply->type == REDIS_REPLY_ERROR || reply->type == REDIS_REPLY_STATUS) {
        for (; len < reply->len && len < TEXT_MAX; len++) {
            unsigned char c = (unsigned char)reply->str[len];
            text[len] = c < 0x20 || c == 0x7f ? '?' : (char)c;
        }
    } else {
        len = (size_t)snprintf(text, sizeof(text), "an answer of an unexpected type (%d)",
                               reply->type);
    }
    text[len] = '\0';
    enum ls_redis_answer judged = ls_redis_judge(reply);
    bool setup = judged == LS_REDIS_SETUP;
    enum ls_err_class class = setup                        ? LS_ERR_FATAL
                              : judged == LS_REDIS_UNKNOWN ? LS_ERR_UNKNOWN
                                                           : LS_ERR_RETRY;
    ls_err_set(err, class, 0, "%s answered: %s%s", where, text, advice(reply));
    err->overload = is_overload(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        ls_err_name(err, reply->str, reply->len);
    return -1;
}
