/*
 * One non-blocking connection to one Redis node, used by one thread. Bytes to send are appended to
 * `out` (see consumers/redis_encode.h); answers come in the order of the requests. The owner polls
 * the descriptor and keeps account of what each answer belongs to.
 *
 * On every connect it greets the node: AUTH where a user or password is set, then INFO, from which
 * the settings that correctness rests on are checked: cluster mode on, data loaded, and
 * maxmemory-policy noeviction (law 10). INFO rather than CONFIG GET, because managed services and
 * careful ACLs forbid CONFIG.
 *
 * INFO also says who the node is: its run id, new with every start, and its replication id, new
 * with every start and every failover. A node that is another one than at the last greeting may
 * have lost what was acknowledged before (law 6); a connection that merely broke finds the same one
 * again.
 */
#ifndef LS_PIPELINE_REDIS_CONN_H
#define LS_PIPELINE_REDIS_CONN_H

#include <hiredis/hiredis.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

enum {
    LS_REDIS_ANSWER_BYTES_MAX = 64 << 20, /* one answer that is not complete yet, at most */
    LS_REDIS_ANSWER_ITEMS_MAX = 1 << 20,  /* items of one array in an answer, at most */
    LS_REDIS_ID_SIZE = 41,                /* of a run id or replication id, with its NUL */
};

struct ls_redis_options {
    char *name;     /* of the sink, for messages */
    char *user;     /* NULL: the default user */
    char *password; /* NULL: none */
    uint32_t connect_timeout_ms;
    uint32_t request_timeout_ms;
};

enum ls_redis_conn_state {
    LS_REDIS_CLOSED,
    LS_REDIS_CONNECTING,
    LS_REDIS_GREETING,
    LS_REDIS_READY,
};

struct ls_redis_conn {
    const struct ls_redis_options *options; /* borrowed */
    char host[256];
    char where[320]; /* "redis-a 127.0.0.1:16379", for messages */
    uint16_t port;
    enum ls_redis_conn_state state;
    int fd; /* -1 when closed */
    struct ls_buf out;
    size_t out_sent;            /* bytes of out that the kernel has taken */
    redisReader *reader;        /* NULL when closed */
    redisReply *reply;          /* the last one handed out */
    struct addrinfo *addresses; /* of this attempt, and the one that is tried */
    struct addrinfo *address;
    unsigned greetings;            /* answers of the greeting still to come */
    int64_t deadline_ms;           /* of connecting or greeting, monotonic */
    bool is_master;                /* as INFO said last */
    bool is_another;               /* INFO named other ids than before; the owner clears it */
    char run_id[LS_REDIS_ID_SIZE]; /* as INFO said last; "" before */
    char replid[LS_REDIS_ID_SIZE]; /* likewise */
    bool in_map;                   /* the cluster's: owns slots by the map, or by a MOVED since */
    bool was_in_map;               /* the cluster's: the same of the map before */
    uint32_t pins;                 /* the owner's: requests that name this connection */
};

void ls_redis_conn_init(struct ls_redis_conn *conn, const struct ls_redis_options *options,
                        const char *host, uint16_t port);
/* Closes and frees what it holds. */
void ls_redis_conn_free(struct ls_redis_conn *conn);

/*
 * Starts connecting. Resolving a name blocks; connecting does not. -1: refused at once, closed.
 */
int ls_redis_conn_start(struct ls_redis_conn *conn, struct ls_err *err);

/* Closes; what was not answered is lost. */
void ls_redis_conn_close(struct ls_redis_conn *conn);

/*
 * Takes an answer to INFO, of the greeting or of the owner: the node's role and ids. -1 when it is
 * none (as ls_redis_reply_err), RETRY while the node loads, FATAL for settings that lose members.
 */
int ls_redis_conn_take_info(struct ls_redis_conn *conn, const redisReply *info, struct ls_err *err);

/* Bytes that wait to be sent. */
static inline size_t ls_redis_conn_unsent(const struct ls_redis_conn *conn)
{
    return conn->out.len - conn->out_sent;
}

/* Events to poll for. */
short ls_redis_conn_events(const struct ls_redis_conn *conn);

/*
 * Goes on with connecting, greeting, sending and reading, without blocking, after poll said
 * `revents`. -1: it failed and is closed; err says why, as RETRY or FATAL.
 */
int ls_redis_conn_io(struct ls_redis_conn *conn, short revents, struct ls_err *err);

/* Sends what fits into the kernel's buffer now. Errors as above. */
int ls_redis_conn_flush(struct ls_redis_conn *conn, struct ls_err *err);

/*
 * Next answer of a READY connection that has arrived: 1 and the reply (owned by the connection,
 * valid until the next call on any connection of this thread), 0 none, -1 not Redis's protocol,
 * closed.
 */
int ls_redis_conn_reply(struct ls_redis_conn *conn, const redisReply **ret, struct ls_err *err);

/* Appends a command of n words in Redis's protocol. */
void ls_redis_put_command(struct ls_buf *out, size_t n, const char *const *words,
                          const size_t *lens);
/* The same with NUL-terminated words, ended by NULL. */
void ls_redis_put_words(struct ls_buf *out, const char *word, ...) __attribute__((sentinel));
/* The same for a function that takes such words itself: word, then those of args. */
void ls_redis_vput_words(struct ls_buf *out, const char *word, va_list args);

/* The value of `name:value` in an INFO text, as a span in it; false where it is not there. */
bool ls_redis_info_field(const char *text, size_t len, const char *name, const char **ret_value,
                         size_t *ret_len);

#endif
