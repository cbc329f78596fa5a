/*
 * One non-blocking connection: sockets, the greeting, and hiredis's reader for the answers.
 * Threads: one owner. A crash loses what was not answered, which the owner sends again.
 *
 * Rejected: redisContext. Its output buffer is reallocated and moved for every command, and it
 * cannot say how much is unsent; its blocking mode cannot serve several masters at once. Its reader
 * is fine, given an integer reply that costs no allocation: a guarded set answers nothing else.
 */
#include "pipeline/redis_conn.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "pipeline/redis_reply.h"

enum { READ_BYTES = 64 * 1024, KEPT_BYTES = 1 << 20 };

/* The reply object of every integer that stands alone; it lives until the next one. */
static _Thread_local redisReply integer_reply;
static _Thread_local redisReplyObjectFunctions reply_functions;
static _Thread_local const redisReplyObjectFunctions *default_functions;

static void *create_integer(const redisReadTask *task, long long value)
{
    if (task->parent != NULL)
        return default_functions->createInteger(task, value);
    integer_reply = (redisReply){.type = REDIS_REPLY_INTEGER, .integer = value};
    return &integer_reply;
}

static void *create_array(const redisReadTask *task, int elements)
{
    if (elements > LS_REDIS_ANSWER_ITEMS_MAX)
        return NULL; /* the reader fails with "out of memory" */
    return default_functions->createArray(task, elements);
}

static void free_object(void *reply)
{
    if (reply != &integer_reply)
        default_functions->freeObject(reply);
}

static redisReader *new_reader(void)
{
    redisReader *reader = redisReaderCreate();
    if (reader == NULL)
        abort();
    if (default_functions == NULL) {
        default_functions = reader->fn;
        reply_functions = *reader->fn;
        reply_functions.createInteger = create_integer;
        reply_functions.createArray = create_array;
        reply_functions.freeObject = free_object;
    }
    reader->fn = &reply_functions;
    reader->maxbuf = KEPT_BYTES;
    return reader;
}

void ls_redis_put_command(struct ls_buf *out, size_t n, const char *const *words,
                          const size_t *lens)
{
    ls_buf_append_char(out, '*');
    ls_buf_append_u64(out, n);
    for (size_t i = 0; i < n; i++) {
        ls_buf_append(out, "\r\n$", 3);
        ls_buf_append_u64(out, lens[i]);
        ls_buf_append(out, "\r\n", 2);
        ls_buf_append(out, words[i], lens[i]);
    }
    ls_buf_append(out, "\r\n", 2);
}

void ls_redis_vput_words(struct ls_buf *out, const char *word, va_list args)
{
    enum { WORDS_MAX = 16 };
    const char *words[WORDS_MAX];
    size_t lens[WORDS_MAX];
    size_t n = 0;
    for (; word != NULL; word = va_arg(args, const char *)) {
        assert(n < WORDS_MAX);
        words[n] = word;
        lens[n++] = strlen(word);
    }
    ls_redis_put_command(out, n, words, lens);
}

void ls_redis_put_words(struct ls_buf *out, const char *word, ...)
{
    va_list args;
    va_start(args, word);
    ls_redis_vput_words(out, word, args);
    va_end(args);
}

bool ls_redis_info_field(const char *text, size_t len, const char *name, const char **ret_value,
                         size_t *ret_len)
{
    size_t name_len = strlen(name);
    const char *end = text + len;
    for (const char *line = text; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        const char *next = stop ? stop + 1 : end;
        if (stop == NULL)
            stop = end;
        if (stop > line && stop[-1] == '\r')
            stop--;
        if ((size_t)(stop - line) > name_len && line[name_len] == ':' &&
            memcmp(line, name, name_len) == 0) {
            *ret_value = line + name_len + 1;
            *ret_len = (size_t)(stop - *ret_value);
            return true;
        }
        line = next;
    }
    return false;
}

void ls_redis_conn_init(struct ls_redis_conn *conn, const struct ls_redis_options *options,
                        const char *host, uint16_t port)
{
    *conn = (struct ls_redis_conn){.options = options, .port = port, .fd = -1};
    snprintf(conn->host, sizeof(conn->host), "%s", host);
    snprintf(conn->where, sizeof(conn->where), "%s %s:%u", options->name, conn->host, port);
}

void ls_redis_conn_close(struct ls_redis_conn *conn)
{
    if (conn->fd >= 0)
        close(conn->fd);
    conn->fd = -1;
    conn->state = LS_REDIS_CLOSED;
    if (conn->reply)
        free_object(conn->reply);
    conn->reply = NULL;
    if (conn->reader)
        redisReaderFree(conn->reader);
    conn->reader = NULL;
    if (conn->addresses)
        freeaddrinfo(conn->addresses);
    conn->addresses = conn->address = NULL;
    ls_buf_clear(&conn->out);
    conn->out_sent = 0;
}

void ls_redis_conn_free(struct ls_redis_conn *conn)
{
    ls_redis_conn_close(conn);
    ls_buf_free(&conn->out);
}

/* Closes and returns -1 with a RETRY that names errno. */
static int fail_errno(struct ls_redis_conn *conn, int code, const char *what, struct ls_err *err)
{
    ls_redis_conn_close(conn);
    return ls_err_set(err, LS_ERR_RETRY, code, "%s: %s: %s", conn->where, what, strerror(code));
}

/* Tries the addresses from conn->address on until one does not fail at once. */
static int try_addresses(struct ls_redis_conn *conn, struct ls_err *err)
{
    int code = EHOSTUNREACH;
    for (; conn->address != NULL; conn->address = conn->address->ai_next) {
        const struct addrinfo *address = conn->address;
        int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0) {
            code = errno;
            continue;
        }
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
        if (connect(fd, address->ai_addr, address->ai_addrlen) == 0 || errno == EINPROGRESS) {
            conn->fd = fd;
            return 0;
        }
        code = errno;
        close(fd);
    }
    return fail_errno(conn, code, "could not connect", err);
}

int ls_redis_conn_start(struct ls_redis_conn *conn, struct ls_err *err)
{
    assert(conn->state == LS_REDIS_CLOSED);
    char port[8];
    snprintf(port, sizeof(port), "%u", conn->port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    int rc = getaddrinfo(conn->host, port, &hints, &conn->addresses);
    if (rc != 0) {
        conn->addresses = NULL;
        return ls_err_set(err, LS_ERR_RETRY, rc, "%s: could not resolve the host: %s", conn->where,
                          gai_strerror(rc));
    }
    conn->address = conn->addresses;
    conn->state = LS_REDIS_CONNECTING;
    conn->deadline_ms = ls_mono_ms() + conn->options->connect_timeout_ms;
    conn->reader = new_reader();
    return try_addresses(conn, err);
}

/* The socket is connected: say who we are and ask what the node is. */
static void greet(struct ls_redis_conn *conn)
{
    const struct ls_redis_options *options = conn->options;
    freeaddrinfo(conn->addresses);
    conn->addresses = conn->address = NULL;
    conn->state = LS_REDIS_GREETING;
    conn->deadline_ms = ls_mono_ms() + options->request_timeout_ms;
    conn->greetings = 1;
    if (options->user) {
        ls_redis_put_words(&conn->out, "AUTH", options->user,
                           options->password ? options->password : "", NULL);
        conn->greetings++;
    } else if (options->password && options->password[0]) {
        ls_redis_put_words(&conn->out, "AUTH", options->password, NULL);
        conn->greetings++;
    }
    ls_redis_put_words(&conn->out, "INFO", NULL);
}

static bool info_is(const redisReply *info, const char *name, const char *expected)
{
    const char *value;
    size_t len;
    return ls_redis_info_field(info->str, info->len, name, &value, &len) &&
           len == strlen(expected) && memcmp(value, expected, len) == 0;
}

/* Takes an id of INFO over; whether it is another than before. */
static bool take_id(const redisReply *info, const char *name, char id[LS_REDIS_ID_SIZE])
{
    char before[LS_REDIS_ID_SIZE];
    const char *value = "";
    size_t len = 0;
    memcpy(before, id, sizeof(before));
    ls_redis_info_field(info->str, info->len, name, &value, &len);
    snprintf(id, LS_REDIS_ID_SIZE, "%.*s", (int)len, value);
    return before[0] != '\0' && strcmp(before, id) != 0;
}

int ls_redis_conn_take_info(struct ls_redis_conn *conn, const redisReply *info, struct ls_err *err)
{
    const char *value = "unknown";
    size_t len = strlen(value);
    if (info->type != REDIS_REPLY_STRING)
        return ls_redis_reply_err(err, info, conn->where);
    if (!info_is(info, "cluster_enabled", "1"))
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "%s is not in cluster mode; lockstep needs a Redis Cluster "
                          "(cluster-enabled yes)",
                          conn->where);
    if (info_is(info, "loading", "1")) {
        ls_err_set(err, LS_ERR_RETRY, 0, "%s is still loading its data", conn->where);
        ls_err_name(err, "LOADING", 7); /* what it answers to all else */
        return -1;
    }
    if (!info_is(info, "maxmemory_policy", "noeviction")) {
        ls_redis_info_field(info->str, info->len, "maxmemory_policy", &value, &len);
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "%s has maxmemory-policy %.*s, so it may drop members by itself; set "
                          "`maxmemory-policy noeviction`",
                          conn->where, (int)len, value);
    }
    conn->is_master = info_is(info, "role", "master");
    bool another = take_id(info, "run_id", conn->run_id);
    another |= take_id(info, "master_replid", conn->replid);
    conn->is_another |= another;
    if (conn->replid[0] == '\0')
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "%s does not say its master_replid in INFO; lockstep needs Redis 4 or "
                          "newer",
                          conn->where);
    return 0;
}

/* Takes one complete reply off the reader; see ls_redis_conn_reply. */
static int next_reply(struct ls_redis_conn *conn, const redisReply **ret, struct ls_err *err)
{
    if (conn->reply) {
        free_object(conn->reply);
        conn->reply = NULL;
    }
    void *reply = NULL;
    if (redisReaderGetReply(conn->reader, &reply) != REDIS_OK) {
        ls_err_set(err, LS_ERR_RETRY, conn->reader->err,
                   "%s does not speak Redis's protocol (%s); is it the right port?", conn->where,
                   conn->reader->errstr);
        ls_redis_conn_close(conn);
        return -1;
    }
    if (reply == NULL)
        return 0;
    conn->reply = reply;
    *ret = reply;
    return 1;
}

int ls_redis_conn_reply(struct ls_redis_conn *conn, const redisReply **ret, struct ls_err *err)
{
    if (conn->state != LS_REDIS_READY)
        return 0;
    return next_reply(conn, ret, err);
}

static int take_greetings(struct ls_redis_conn *conn, struct ls_err *err)
{
    while (conn->greetings > 0) {
        const redisReply *reply;
        int rc = next_reply(conn, &reply, err);
        if (rc <= 0)
            return rc;
        conn->greetings--;
        bool failed;
        if (conn->greetings == 0)
            failed = ls_redis_conn_take_info(conn, reply, err) != 0;
        else
            failed = ls_redis_judge(reply) != LS_REDIS_OK &&
                     ls_redis_reply_err(err, reply, conn->where) != 0;
        if (failed) {
            ls_redis_conn_close(conn);
            return -1;
        }
    }
    conn->state = LS_REDIS_READY;
    return 0;
}

int ls_redis_conn_flush(struct ls_redis_conn *conn, struct ls_err *err)
{
    while (ls_redis_conn_unsent(conn) > 0) {
        ssize_t n = send(conn->fd, conn->out.data + conn->out_sent, ls_redis_conn_unsent(conn),
                         MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n < 0)
            return fail_errno(conn, errno, "lost the connection", err);
        conn->out_sent += (size_t)n;
    }
    size_t unsent = ls_redis_conn_unsent(conn);
    if (unsent == 0) {
        ls_buf_clear(&conn->out);
        conn->out_sent = 0;
        if (conn->out.cap > KEPT_BYTES)
            ls_buf_free(&conn->out);
    } else if (conn->out_sent > unsent) {
        memmove(conn->out.data, conn->out.data + conn->out_sent, unsent);
        conn->out.len = unsent;
        conn->out_sent = 0;
    }
    return 0;
}

static int receive(struct ls_redis_conn *conn, struct ls_err *err)
{
    static _Thread_local char bytes[READ_BYTES];
    ssize_t n = recv(conn->fd, bytes, sizeof(bytes), 0);
    if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (n < 0)
        return fail_errno(conn, errno, "lost the connection", err);
    if (n == 0) {
        ls_redis_conn_close(conn);
        return ls_err_set(err, LS_ERR_RETRY, 0, "%s closed the connection", conn->where);
    }
    if (conn->reader->len - conn->reader->pos + (size_t)n > LS_REDIS_ANSWER_BYTES_MAX) {
        ls_redis_conn_close(conn);
        return ls_err_set(err, LS_ERR_RETRY, 0, "%s sent an answer of more than %d MiB",
                          conn->where, LS_REDIS_ANSWER_BYTES_MAX >> 20);
    }
    if (redisReaderFeed(conn->reader, bytes, (size_t)n) != REDIS_OK) {
        ls_redis_conn_close(conn);
        return ls_err_set(err, LS_ERR_RETRY, 0, "%s: its answer could not be kept", conn->where);
    }
    return 0;
}

static int finish_connect(struct ls_redis_conn *conn, struct ls_err *err)
{
    int code = 0;
    socklen_t len = sizeof(code);
    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &code, &len) != 0)
        code = errno;
    if (code == 0) {
        greet(conn);
        return 0;
    }
    close(conn->fd);
    conn->fd = -1;
    conn->address = conn->address->ai_next;
    if (conn->address == NULL)
        return fail_errno(conn, code, "could not connect", err);
    return try_addresses(conn, err);
}

short ls_redis_conn_events(const struct ls_redis_conn *conn)
{
    switch (conn->state) {
    case LS_REDIS_CLOSED:
        return 0;
    case LS_REDIS_CONNECTING:
        return POLLOUT;
    case LS_REDIS_GREETING:
    case LS_REDIS_READY:
        break;
    }
    return (short)(POLLIN | (ls_redis_conn_unsent(conn) > 0 ? POLLOUT : 0));
}

int ls_redis_conn_io(struct ls_redis_conn *conn, short revents, struct ls_err *err)
{
    if (conn->state == LS_REDIS_CONNECTING && revents != 0) {
        if (finish_connect(conn, err) != 0)
            return -1;
        if (conn->state == LS_REDIS_CONNECTING)
            return 0;
    }
    if (conn->state == LS_REDIS_CLOSED || conn->state == LS_REDIS_CONNECTING)
        return 0;
    if (revents & (POLLIN | POLLERR | POLLHUP)) {
        if (receive(conn, err) != 0)
            return -1;
    }
    if (ls_redis_conn_flush(conn, err) != 0)
        return -1;
    if (conn->state == LS_REDIS_GREETING)
        return take_greetings(conn, err);
    return 0;
}
