/*
 * Waiting for a MySQL server, with a deadline for the whole of an answer.
 *
 * From a plain socket the library reads what is there and asks us to wait for more. Over TLS it
 * leaves the waiting to the socket: OpenSSL reads until a record is whole, each read with a timeout
 * of its own, and nobody is asked. So there the socket never blocks, from the greeting on, and the
 * library asks, if not well: it passes seconds for milliseconds, and waits for something to read
 * also where it could not write. The limit is therefore the socket's own (SO_RCVTIMEO, where the
 * library has put its timeout), and a wait ends with the next edge of either kind: what comes, or
 * room for what is to go. Asking poll() for either was rejected: there nearly always is room, so a
 * wait for an answer would spin. Asking for what comes was rejected, too: a statement that is
 * larger than the socket's buffer would wait for an answer to its first half.
 *
 * The set of edges is the thread's, made at its first wait and closed when the thread ends. Sockets
 * leave it when they are closed. Edges from before a read or write that found nothing to do only
 * cost another try.
 */
#include "pipeline/mysql_wait.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

/* The question that this thread waits for an answer to. */
static _Thread_local struct {
    int64_t by_ms; /* monotonic; 0: each wait has its own timeout only */
    bool tls;
    bool late;
} question;

static pthread_key_t edges_key; /* the set's descriptor + 1 */

void ls_mysql_hurry(const struct ls_sink_config *config)
{
    question.by_ms = ls_mono_ms() + (int64_t)config->request_timeout_ms * LS_ANSWER_TIMES;
    question.tls = config->tls.on;
    question.late = false;
}

void ls_mysql_rest(void)
{
    question.by_ms = 0;
    question.tls = false;
    question.late = false;
}

bool ls_mysql_late(void)
{
    return question.late;
}

void ls_mysql_never_block(my_socket fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && !(flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

/* The limit of a wait, 0 when the library's counts: the socket blocks, or connects yet. */
static int64_t own_limit_ms(my_socket fd)
{
    int flags = fcntl(fd, F_GETFL);
    struct timeval limit = {0};
    socklen_t size = sizeof(limit);
    if (flags < 0 || !(flags & O_NONBLOCK) ||
        getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, &size) != 0)
        return 0;
    return (int64_t)limit.tv_sec * 1000 + limit.tv_usec / 1000;
}

static void close_edges(void *value)
{
    close((int)(intptr_t)value - 1);
}

static void make_edges_key(void)
{
    pthread_key_create(&edges_key, close_edges);
}

/* This thread's set; -1 when the process is out of descriptors. */
static int edges(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_edges_key);
    intptr_t known = (intptr_t)pthread_getspecific(edges_key);
    if (known != 0)
        return (int)known - 1;
    int set = epoll_create1(EPOLL_CLOEXEC);
    if (set >= 0)
        pthread_setspecific(edges_key, (void *)(intptr_t)(set + 1));
    return set;
}

/* As poll(), for the next edge of either kind; 0 also for an edge of another socket. */
static int wait_edge(my_socket fd, int left_ms)
{
    int set = edges();
    struct epoll_event edge = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = fd};
    if (set < 0 || (epoll_ctl(set, EPOLL_CTL_ADD, fd, &edge) != 0 && errno != EEXIST))
        return -1;
    int rc = epoll_wait(set, &edge, 1, left_ms);
    return rc == 1 && edge.data.fd != fd ? 0 : rc;
}

static int wait_level(my_socket fd, bool is_read, int left_ms)
{
    struct pollfd waited = {.fd = fd, .events = is_read ? POLLIN : POLLOUT};
    return poll(&waited, 1, left_ms);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int ls_mysql_wait(my_socket fd, my_bool is_read, int timeout_ms)
{
    if (question.tls && is_read)
        ls_mysql_never_block(fd); /* here at the greeting, so the handshake does not block either */
    int64_t own_ms = own_limit_ms(fd), limit_ms = own_ms > 0 ? own_ms : timeout_ms;
    int64_t until_ms = limit_ms > 0 ? ls_mono_ms() + limit_ms : INT64_MAX;
    if (question.by_ms != 0)
        until_ms = least(until_ms, question.by_ms);
    for (;;) {
        int64_t left_ms = until_ms == INT64_MAX ? -1 : until_ms - ls_mono_ms();
        if (until_ms != INT64_MAX && left_ms <= 0) {
            question.late = true;
            errno = ETIMEDOUT;
            return 0;
        }
        left_ms = least(left_ms, INT32_MAX);
        int rc = own_ms > 0 ? wait_edge(fd, (int)left_ms) : wait_level(fd, is_read, (int)left_ms);
        if (rc > 0 || (rc < 0 && errno != EINTR))
            return rc;
    }
}
