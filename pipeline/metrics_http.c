/*
 * The listener: libmicrohttpd without a thread of its own, run by ours, so that what it lacks can
 * be done beside it in the same thread: a connection that was not answered for a while is cut. Its
 * own timeout is one of silence, and a client that sends a byte now and then is never silent (seen
 * with 0.9.75: one byte a second held a connection for as long as it was tried). Cutting is
 * shutdown(): the descriptor stays libmicrohttpd's to close.
 *
 * Rejected: a thread of the library's and a second one that cuts. A descriptor may be another
 * connection's by the time that the second thread gets to it.
 */
#include "pipeline/metrics_http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

enum {
    CONNECTIONS_MAX = 64,
    CONNECTIONS_OF_ADDRESS = 8,   /* so that one address leaves room for all others */
    CONNECTIONS_OF_LOOPBACK = 48, /* that is many clients: probes, a proxy's own ones */
    CONNECTION_BYTES = 16 << 10,  /* of one: request line and headers must fit */
    TICK_MS = 250,                /* between two looks at connections that are open */
    BACKLOG = 64,
};

struct connection {
    int fd;               /* -1: none */
    int64_t since_ms;     /* when it was opened, or answered last */
    struct in6_addr from; /* IPv4 is mapped */
};

struct ls_http {
    struct MHD_Daemon *daemon;
    pthread_t thread;
    int stop_fd;
    int64_t answer_ms;
    struct connection connections[CONNECTIONS_MAX]; /* the thread's */
    unsigned n_connections;
    const struct ls_page *pages;
    size_t n_pages;
    void *opaque;
    char address[300];
};

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
                              struct ls_buf *body)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body->len, body->data, MHD_RESPMEM_MUST_COPY);
    ls_buf_free(body);
    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result on_request(void *opaque, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state)
{
    static const char plain[] = "text/plain; charset=utf-8";
    const struct ls_http *http = opaque;
    struct ls_buf body = {0};
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        ls_buf_append_str(&body, "only GET and HEAD are served here\n");
        return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, plain, &body);
    }
    /* The first call comes before the request is whole; an answer to it ends the connection. */
    if (*state == NULL && *upload_size == 0) {
        *state = opaque;
        return MHD_YES;
    }
    for (size_t i = 0; i < http->n_pages; i++) {
        if (strcmp(url, http->pages[i].path) != 0)
            continue;
        unsigned status = http->pages[i].write(http->opaque, &body);
        return answer(connection, status, http->pages[i].type, &body);
    }
    ls_buf_append_str(&body, "not here; there is");
    for (size_t i = 0; i < http->n_pages; i++)
        ls_buf_printf(&body, " %s", http->pages[i].path);
    ls_buf_append_char(&body, '\n');
    return answer(connection, MHD_HTTP_NOT_FOUND, plain, &body);
}

static struct in6_addr address_of(const struct sockaddr *address)
{
    struct in6_addr found = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
    if (address->sa_family == AF_INET6)
        found = ((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    else if (address->sa_family == AF_INET)
        memcpy(&found.s6_addr[12], &((const struct sockaddr_in *)(const void *)address)->sin_addr,
               4);
    return found;
}

static bool is_loopback(const struct in6_addr *address)
{
    return IN6_IS_ADDR_LOOPBACK(address) ||
           (IN6_IS_ADDR_V4MAPPED(address) && address->s6_addr[12] == 127);
}

/* The library's own limit makes no difference between loopback and others. */
static enum MHD_Result on_accept(void *opaque, const struct sockaddr *address, socklen_t len)
{
    const struct ls_http *http = opaque;
    struct in6_addr from = address_of(address);
    unsigned n = 0, most = is_loopback(&from) ? CONNECTIONS_OF_LOOPBACK : CONNECTIONS_OF_ADDRESS;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        n += http->connections[i].fd >= 0 && IN6_ARE_ADDR_EQUAL(&http->connections[i].from, &from);
    return n < most ? MHD_YES : MHD_NO;
}

static void on_connection(void *opaque, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct ls_http *http = opaque;
    struct connection *slot = *context;
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (slot != NULL) {
            slot->fd = -1;
            http->n_connections--;
        }
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *client =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    for (size_t i = 0; i < CONNECTIONS_MAX && info != NULL && *context == NULL; i++) {
        if (http->connections[i].fd >= 0)
            continue;
        http->connections[i] = (struct connection){.fd = info->connect_fd,
                                                   .since_ms = ls_mono_ms(),
                                                   .from = address_of(client->client_addr)};
        http->n_connections++;
        *context = &http->connections[i];
    }
}

static void on_answered(void *opaque, struct MHD_Connection *connection, void **state,
                        enum MHD_RequestTerminationCode how)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *slot = info != NULL ? info->socket_context : NULL;
    if (slot != NULL)
        slot->since_ms = ls_mono_ms();
}

/*
 * Whoever sends or reads so slowly, or keeps a connection for nothing, loses it. at_ms is a time
 * before the newest reading, so that no request is cut that had come by then and was not seen.
 */
static void cut_late(struct ls_http *http, int64_t at_ms)
{
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        if (http->connections[i].fd >= 0 &&
            at_ms - http->connections[i].since_ms >= http->answer_ms)
            shutdown(http->connections[i].fd, SHUT_RDWR);
}

static void *serve(void *opaque)
{
    struct ls_http *http = opaque;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    struct pollfd fds[2] = {{.fd = http->stop_fd, .events = POLLIN},
                            {.fd = info->epoll_fd, .events = POLLIN}};
    while (fds[0].revents == 0) {
        MHD_UNSIGNED_LONG_LONG soon_ms = TICK_MS;
        bool has_soon = MHD_get_timeout(http->daemon, &soon_ms) == MHD_YES && soon_ms < TICK_MS;
        int64_t before_ms = ls_mono_ms();
        poll(fds, 2, has_soon ? (int)soon_ms : http->n_connections > 0 ? TICK_MS : -1);
        MHD_run(http->daemon);
        cut_late(http, before_ms);
    }
    return NULL;
}

static int fail(const struct ls_listen *listen, const char *why, struct ls_err *err)
{
    return ls_err_set(err, LS_ERR_FATAL, errno, "cannot listen on %s port %s: %s", listen->host,
                      listen->port, why);
}

/* A socket that listens, or -1: made here, so that what is wrong can be told. */
static int open_socket(const struct ls_listen *listen_at, struct ls_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
    int rc = getaddrinfo(listen_at->host, listen_at->port, &hints, &found);
    if (rc != 0)
        return fail(listen_at, gai_strerror(rc), err);
    int one = 1;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
        bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) {
        freeaddrinfo(found);
        return fd;
    }
    int code = errno;
    freeaddrinfo(found);
    if (fd >= 0)
        close(fd);
    errno = code;
    return fail(listen_at,
                code == EADDRINUSE ? "another process listens there; choose another port, or none"
                                   : strerror(code),
                err);
}

static void name_address(struct ls_http *http, int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    char host[200] = "?", port[16] = "?";
    if (getsockname(fd, (struct sockaddr *)&address, &len) == 0)
        getnameinfo((struct sockaddr *)&address, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV);
    bool six = strchr(host, ':') != NULL;
    snprintf(http->address, sizeof(http->address), "%s%s%s:%s", six ? "[" : "", host,
             six ? "]" : "", port);
}

struct ls_http *ls_http_open(const struct ls_listen *listen, const struct ls_page *pages, size_t n,
                             void *opaque, struct ls_err *err)
{
    int fd = open_socket(listen, err);
    if (fd < 0)
        return NULL;
    struct ls_http *http = ls_calloc(1, sizeof(*http));
    http->pages = pages;
    http->n_pages = n;
    http->opaque = opaque;
    http->answer_ms = listen->answer_ms > 0 ? listen->answer_ms : LS_HTTP_ANSWER_MS;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        http->connections[i].fd = -1;
    name_address(http, fd);
    http->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    http->daemon = MHD_start_daemon(
        MHD_USE_EPOLL, 0, on_accept, http, on_request, http, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_BYTES, MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
        MHD_OPTION_NOTIFY_COMPLETED, on_answered, http, MHD_OPTION_END);
    if (http->stop_fd >= 0 && http->daemon != NULL &&
        pthread_create(&http->thread, NULL, serve, http) == 0)
        return http;
    fail(listen, "no thread can be started", err);
    if (http->daemon != NULL)
        MHD_stop_daemon(http->daemon); /* closes the socket */
    else
        close(fd);
    if (http->stop_fd >= 0)
        close(http->stop_fd);
    free(http);
    return NULL;
}

const char *ls_http_address(const struct ls_http *http)
{
    return http->address;
}

void ls_http_close(struct ls_http *http)
{
    if (http == NULL)
        return;
    eventfd_write(http->stop_fd, 1);
    pthread_join(http->thread, NULL);
    MHD_stop_daemon(http->daemon);
    close(http->stop_fd);
    free(http);
}
