/*
 * The Elasticsearch lane when answers go wrong: a small server of the test's own that answers as
 * the test says, since a real one can't be asked for a cut reply.
 */
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "es_fixture.h"

enum answer {
    ANSWER_OK,       /* every item 201 */
    ANSWER_SHORT,    /* one item fewer than asked */
    ANSWER_CUT,      /* half of what Content-Length says, then closed */
    ANSWER_GARBAGE,  /* not HTTP */
    ANSWER_NOT_JSON, /* 200 with HTML */
    ANSWER_CLOSE,    /* nothing, closed */
    ANSWER_HANG,     /* nothing, open */
    ANSWER_429,
    ANSWER_503,
    ANSWER_401,
    ANSWER_UNKNOWN, /* 400 of a type that no table knows */
    ANSWER_LIMIT,   /* 413 above LIMIT_BYTES, else OK */
};

enum { LIMIT_BYTES = 3000 };

struct server {
    int listener;
    pthread_t thread;
    atomic_int answer;
    atomic_int n_requests, n_too_large;
    atomic_int history; /* of the index's one shard */
};

static struct server server;
static struct es_fixture fixture;
static struct es_fixture *f = &fixture;

static void send_text(int fd, const char *text, size_t len)
{
    ssize_t sent = send(fd, text, len, MSG_NOSIGNAL);
    (void)sent; /* the client may have gone */
}

static void respond(int fd, const char *status, const char *body, size_t claimed)
{
    struct ls_buf out = {0};
    ls_buf_printf(&out,
                  "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                  status, claimed);
    ls_buf_append_str(&out, body);
    send_text(fd, out.data, out.len);
    ls_buf_free(&out);
}

static void error(int fd, const char *status, const char *type, int code)
{
    char body[200];
    snprintf(body, sizeof(body),
             "{\"error\":{\"type\":\"%s\",\"reason\":\"said the test\"},"
             "\"status\":%d}",
             type, code);
    respond(fd, status, body, strlen(body));
}

static void items(int fd, unsigned n)
{
    struct ls_buf body = {0};
    ls_buf_append_str(&body, "{\"items\":[");
    for (unsigned i = 0; i < n; i++)
        ls_buf_printf(&body, "%s{\"index\":{\"status\":201}}", i > 0 ? "," : "");
    ls_buf_append_str(&body, "]}");
    respond(fd, "200 OK", ls_buf_cstr(&body), body.len);
    ls_buf_free(&body);
}

static unsigned count_items(const struct ls_buf *body)
{
    unsigned n = 0;
    for (size_t i = 0; i < body->len; i++)
        n += body->data[i] == '\n';
    return n / 2;
}

/* Looks are always answered: an index of one shard, with a mark at zero for every partition. */
static bool answer_look(int fd, const char *path)
{
    struct ls_buf body = {0};
    if (strstr(path, "/_cluster/state/") != NULL) {
        ls_buf_printf(&body,
                      "{\"metadata\":{\"indices\":{\"%s\":{\"settings\":{\"index\":{\"uuid\":\"u\","
                      "\"number_of_shards\":\"1\"}},\"primary_terms\":{\"0\":1}}}}}",
                      f->index);
    } else if (strstr(path, "/_stats/") != NULL) {
        ls_buf_printf(
            &body,
            "{\"indices\":{\"%s\":{\"uuid\":\"u\",\"shards\":{\"0\":[{\"routing\":"
            "{\"primary\":true},\"commit\":{\"user_data\":{\"history_uuid\":\"%d\"}}}]}}}}",
            f->index, atomic_load(&server.history));
    } else if (strstr(path, "/_alias/") != NULL) {
        ls_buf_printf(&body, "{\"%s\":{\"aliases\":{\"%s\":{}}}}", f->index, f->alias);
    } else if (strstr(path, "/_mget") != NULL) {
        ls_buf_append_str(&body, "{\"docs\":[");
        for (int i = 0; i < ES_PARTITIONS; i++)
            ls_buf_printf(&body,
                          "%s{\"found\":true,\"_seq_no\":%d,\"_primary_term\":1,\"_source\":"
                          "{\"_mark\":\"" ES_GENESIS "\",\"_partition\":%d,\"_v_hi\":0,"
                          "\"_v_lo\":0}}",
                          i > 0 ? "," : "", i, i);
        ls_buf_append_str(&body, "]}");
    } else {
        return false;
    }
    respond(fd, "200 OK", ls_buf_cstr(&body), body.len);
    ls_buf_free(&body);
    return true;
}

/* Answers one request; false closes the connection. */
static bool answer(int fd, const char *path, const struct ls_buf *body)
{
    static const char half[] = "{\"items\":[{\"index\":{\"status\":201}},{\"ind";
    enum answer kind = (enum answer)atomic_load(&server.answer);
    if (answer_look(fd, path))
        return true;
    atomic_fetch_add(&server.n_requests, 1);
    if (kind == ANSWER_LIMIT && body->len > LIMIT_BYTES) {
        atomic_fetch_add(&server.n_too_large, 1);
        respond(fd, "413 Request Entity Too Large", "", 0);
        return true;
    }
    switch (kind) {
    case ANSWER_OK:
    case ANSWER_LIMIT:
        items(fd, count_items(body));
        return true;
    case ANSWER_SHORT:
        items(fd, count_items(body) - 1);
        return true;
    case ANSWER_CUT:
        respond(fd, "200 OK", half, 2 * sizeof(half));
        return false;
    case ANSWER_GARBAGE:
        send_text(fd, "\x15\x03\x01 no http at all\r\n\r\n", 22);
        return false;
    case ANSWER_NOT_JSON:
        respond(fd, "200 OK", "<html>hello</html>", 18);
        return true;
    case ANSWER_CLOSE:
        return false;
    case ANSWER_HANG:
        return true;
    case ANSWER_429:
        error(fd, "429 Too Many Requests", "es_rejected_execution_exception", 429);
        return true;
    case ANSWER_503:
        error(fd, "503 Service Unavailable", "unavailable_shards_exception", 503);
        return true;
    case ANSWER_401:
        error(fd, "401 Unauthorized", "security_exception", 401);
        return true;
    case ANSWER_UNKNOWN:
        error(fd, "400 Bad Request", "brand_new_exception", 400);
        return true;
    }
    return false;
}

/* Reads one request's first line and body; false when the client has closed. */
static bool read_request(int fd, struct ls_buf *in, struct ls_buf *line, struct ls_buf *body)
{
    for (;;) {
        const char *head = ls_buf_cstr(in), *end = strstr(head, "\r\n\r\n");
        const char *length = strcasestr(head, "content-length:");
        size_t need = length != NULL ? strtoul(length + 15, NULL, 10) : 0;
        if (end != NULL && in->len - (size_t)(end + 4 - head) >= need) {
            ls_buf_clear(line);
            ls_buf_append(line, head, strcspn(head, "\r"));
            ls_buf_clear(body);
            ls_buf_append(body, end + 4, need);
            ls_buf_clear(in);
            return true;
        }
        char *room = ls_buf_reserve(in, 65536);
        ssize_t got = recv(fd, room, 65536, 0);
        if (got <= 0)
            return false;
        in->len += (size_t)got;
    }
}

static void *serve_one(void *opaque)
{
    int fd = (int)(intptr_t)opaque;
    struct ls_buf in = {0}, line = {0}, body = {0};
    while (read_request(fd, &in, &line, &body) && answer(fd, ls_buf_cstr(&line), &body))
        ;
    close(fd);
    ls_buf_free(&in);
    ls_buf_free(&line);
    ls_buf_free(&body);
    return NULL;
}

static void *serve(void *opaque)
{
    int fd;
    while ((fd = accept(server.listener, NULL, NULL)) >= 0) {
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, serve_one, (void *)(intptr_t)fd), 0);
        pthread_detach(thread);
    }
    return NULL;
}

/* Listens on a free port, which is returned; nobody accepts until the thread is started. */
static uint16_t open_listener(int *ret_fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 && listen(fd, 16) == 0 &&
              getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    *ret_fd = fd;
    return ntohs(address.sin_port);
}

static void begin(void)
{
    char url[40];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", open_listener(&server.listener));
    cr_assert_eq(pthread_create(&server.thread, NULL, serve, NULL), 0);
    es_configure(f, url);
    f->config.request_timeout_ms = 400;
    es_lane_start(f);
}

static void end(void)
{
    es_stop(f);
    shutdown(server.listener, SHUT_RDWR);
    pthread_join(server.thread, NULL);
    close(server.listener);
}

TestSuite(es_faults, .init = begin, .fini = end, .timeout = 60);

static struct ls_err send_three(enum answer kind, enum ls_verdict expected)
{
    atomic_store(&server.answer, kind);
    struct ls_unit unit = {0};
    f->n_records = 0;
    es_named(f, "a", 1, "x");
    es_named(f, "b", 1, "x");
    es_named(f, "c", 1, "x");
    es_apply(f, &unit);
    cr_expect_eq(es_count(f, expected), 3, "answer %d: %s", kind, unit.err.text);
    struct ls_err err = unit.err;
    es_unit_done(&unit);
    return err;
}

Test(es_faults, an_answer_that_says_nothing_certain_is_retried_as_a_whole)
{
    static const enum answer kinds[] = {ANSWER_SHORT,    ANSWER_CUT,   ANSWER_GARBAGE,
                                        ANSWER_NOT_JSON, ANSWER_CLOSE, ANSWER_HANG};
    for (size_t i = 0; i < LS_COUNT(kinds); i++) {
        struct ls_err err = send_three(kinds[i], LS_RETRY);
        cr_expect_eq(err.class, LS_ERR_RETRY, "%s", err.text);
        cr_expect_neq(err.text[0], '\0');
    }
    send_three(ANSWER_OK, LS_APPLIED);
}

Test(es_faults, a_refusal_of_the_whole_request_is_judged_by_its_cause)
{
    cr_expect_eq(send_three(ANSWER_429, LS_RETRY).class, LS_ERR_RETRY);
    cr_expect_eq(send_three(ANSWER_503, LS_RETRY).class, LS_ERR_RETRY);
    cr_expect_eq(send_three(ANSWER_UNKNOWN, LS_RETRY).class, LS_ERR_UNKNOWN);
    struct ls_err err = send_three(ANSWER_401, LS_FATAL);
    cr_expect_eq(err.class, LS_ERR_FATAL);
    cr_expect_not_null(strstr(err.text, "api key"), "%s", err.text);
    send_three(ANSWER_OK, LS_APPLIED);
}

Test(es_faults, a_request_that_is_too_large_is_halved_until_it_fits)
{
    char key[16];
    atomic_store(&server.answer, ANSWER_LIMIT);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        es_named(f, key, 1, "x");
    }
    struct ls_unit unit = {0};
    es_apply(f, &unit);
    cr_expect_eq(es_count(f, LS_APPLIED), 100, "%s", unit.err.text);
    cr_expect_gt(atomic_load(&server.n_too_large), 0);
}

Test(es_faults, a_document_that_no_request_can_hold_is_poison_alone)
{
    static char large[2 * LIMIT_BYTES];
    memset(large, 'x', sizeof(large) - 1);
    atomic_store(&server.answer, ANSWER_LIMIT);
    es_named(f, "a", 1, "x");
    es_named(f, "b", 1, large);
    es_named(f, "c", 1, "x");
    struct ls_unit unit = {0};
    es_apply(f, &unit);
    cr_expect_eq(f->records[0].verdict, LS_APPLIED);
    cr_expect_eq(f->records[1].verdict, LS_POISON);
    cr_expect_eq(f->records[2].verdict, LS_APPLIED);
    es_unit_done(&unit);
}

Test(es_faults, a_node_that_is_down_is_retried_and_passed_over_where_there_is_another)
{
    int closed;
    char url[40];
    es_lane_stop(f);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", open_listener(&closed));
    close(closed); /* now nobody listens there */
    char *alive = f->urls[0];
    f->urls[0] = url;
    es_lane_start(f);
    struct ls_err err = send_three(ANSWER_OK, LS_RETRY);
    cr_expect_not_null(strstr(err.text, url), "it says which node: %s", err.text);
    es_lane_stop(f);

    f->urls[1] = alive;
    f->config.n_urls = 2;
    es_lane_start(f);
    send_three(ANSWER_OK, LS_RETRY); /* the first try meets the dead node */
    for (unsigned i = 0; i < 4; i++)
        send_three(ANSWER_OK, LS_APPLIED);
    f->urls[0] = alive;
}

static struct ls_unit write_mark(void)
{
    static struct ls_mark mark;
    mark = (struct ls_mark){.partition = 0, .version = 5, .genesis = ES_GENESIS};
    struct ls_unit unit = {.marks = &mark, .n_marks = 1};
    f->n_records = 0;
    es_apply(f, &unit);
    return unit;
}

Test(es_faults, marks_are_not_written_when_the_server_does_not_say_so)
{
    static const enum answer kinds[] = {ANSWER_OK, ANSWER_CUT, ANSWER_HANG, ANSWER_503, ANSWER_429};
    for (size_t i = 0; i < LS_COUNT(kinds); i++) {
        atomic_store(&server.answer, kinds[i]);
        cr_assert_eq(es_look(f, false)->err.class, LS_ERR_NONE, "%s", f->look_unit.err.text);
        struct ls_unit unit = write_mark();
        cr_expect_not(unit.marks_written);
        cr_expect_eq(unit.err.class, LS_ERR_RETRY, "%s", unit.err.text);
        int requests = atomic_load(&server.n_requests);
        unit = write_mark();
        bool known = kinds[i] == ANSWER_429; /* that says that nothing was written */
        cr_expect_eq(unit.marks_unexpected, !known, "answer %d", kinds[i]);
        cr_expect_eq(atomic_load(&server.n_requests) > requests, known, "answer %d", kinds[i]);
    }
}

Test(es_faults, after_a_failure_the_index_is_compared_before_a_mark_is_written)
{
    cr_assert_eq(es_look(f, false)->err.class, LS_ERR_NONE);
    send_three(ANSWER_CLOSE, LS_RETRY);
    atomic_fetch_add(&server.history, 1); /* the shard came back from an older copy */
    atomic_store(&server.answer, ANSWER_OK);
    int requests = atomic_load(&server.n_requests);
    struct ls_unit unit = write_mark();
    cr_expect_not(unit.marks_written);
    cr_expect_eq(atomic_load(&server.n_requests), requests, "not even tried");
    char why[256] = "";
    cr_expect_eq(ls_lane_incarnation(f->lane), 1);
    ls_lane_doubt(f->lane, why, sizeof(why));
    cr_expect_not_null(strstr(why, "shard 0 has another history"), "%s", why);
}

Test(es_faults, a_failure_that_leaves_the_index_as_it_was_is_no_doubt)
{
    cr_assert_eq(es_look(f, false)->err.class, LS_ERR_NONE);
    send_three(ANSWER_CLOSE, LS_RETRY);
    atomic_store(&server.answer, ANSWER_429);
    struct ls_unit unit = write_mark();
    cr_expect_eq(unit.err.code, 429, "it was tried: %s", unit.err.text);
    cr_expect_eq(ls_lane_incarnation(f->lane), 0);
}

Test(es_faults, wrong_urls_are_refused_before_anything_is_sent)
{
    static const char *const bad[] = {"ftp://127.0.0.1:9200", "no url", "http://u:p@127.0.0.1:1"};
    for (size_t i = 0; i < LS_COUNT(bad); i++) {
        char *urls[] = {(char *)bad[i]};
        struct ls_sink_config config = f->config;
        struct ls_sink *sink;
        struct ls_err err = {0};
        config.urls = urls;
        config.n_urls = 1;
        cr_expect_eq(ls_es_sink_ops.open(&config, &sink, &err), -1, "%s", bad[i]);
        cr_expect_eq(err.class, LS_ERR_FATAL);
        cr_expect_null(strstr(err.text, "u:p"), "no secret in a message: %s", err.text);
    }
}
