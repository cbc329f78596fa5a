#include "pipeline/metrics_http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

enum {
    CONNECTIONS_MAX = 16,
    CONNECTION_BYTES = 16 << 10, /* of one: request line and headers must fit */
    IDLE_S = 15,
    BACKLOG = 16,
};

struct ls_http {
    struct MHD_Daemon *daemon;
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
    name_address(http, fd);
    http->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL, NULL, on_request, http,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)IDLE_S, MHD_OPTION_END);
    if (http->daemon != NULL)
        return http;
    fail(listen, "no thread can be started", err);
    close(fd);
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
    MHD_stop_daemon(http->daemon);
    free(http);
}
