/* What Prometheus reads, the health pages, and where a process listens. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <ifaddrs.h>
#include <math.h>
#include <net/if.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "consumers/health.h"

static void expect_has(struct ls_buf *page, const char *text)
{
    cr_expect(strstr(ls_buf_cstr(page), text) != NULL, "'%s' is not in:\n%s", text, page->data);
}

Test(metrics, a_histogram_counts_cumulatively_and_a_value_on_a_bound_is_within_it)
{
    struct ls_histogram histogram = {.buckets = &ls_buckets_records};
    ls_histogram_add(&histogram, 1, 1);
    ls_histogram_add(&histogram, 4, 2);
    ls_histogram_add(&histogram, 1e9, 1);
    struct ls_buf page = {0};
    struct ls_labels labels = {{{"sink", "a"}}};
    ls_metric_histogram(&page, "x", &labels, &histogram);
    expect_has(&page, "x_bucket{sink=\"a\",le=\"1\"} 1\n");
    expect_has(&page, "x_bucket{sink=\"a\",le=\"4\"} 3\n");
    expect_has(&page, "x_bucket{sink=\"a\",le=\"65536\"} 3\n");
    expect_has(&page, "x_bucket{sink=\"a\",le=\"+Inf\"} 4\n");
    expect_has(&page, "x_sum{sink=\"a\"} 1000000009\n");
    expect_has(&page, "x_count{sink=\"a\"} 4\n");
    ls_buf_free(&page);
}

Test(metrics, label_values_are_escaped)
{
    struct ls_buf page = {0};
    struct ls_labels labels = {{{"reason", "a \"b\" \\ c\nd"}}};
    ls_metric_value(&page, "x", &labels, 0.5);
    expect_has(&page, "x{reason=\"a \\\"b\\\" \\\\ c\\nd\"} 0.5\n");
    ls_buf_clear(&page);
    ls_metric_value(&page, "x", NULL, NAN);
    expect_has(&page, "x NaN\n");
    ls_buf_free(&page);
}

Test(metrics, the_process_tells_of_itself)
{
    struct ls_buf page = {0};
    ls_metric_process(&page);
    expect_has(&page, "# TYPE process_cpu_seconds_total counter\n");
    double start_s = -1, resident = -1;
    const char *at = strstr(ls_buf_cstr(&page), "\nprocess_start_time_seconds ");
    cr_assert_not_null(at);
    cr_assert_eq(sscanf(at, "\nprocess_start_time_seconds %lf", &start_s), 1);
    cr_expect_float_eq(start_s, (double)ls_wall_us() / 1e6, 600);
    at = strstr(page.data, "\nprocess_resident_memory_bytes ");
    cr_assert_not_null(at);
    cr_assert_eq(sscanf(at, "\nprocess_resident_memory_bytes %lf", &resident), 1);
    cr_expect_gt(resident, 100e3);
    ls_buf_free(&page);
}

static struct ls_entity_config entity = {.name = (char *)"member", .partitions = 4};
static struct ls_sink_config sinks[2] = {
    {.name = (char *)"mysql", .kind = LS_SINK_MYSQL, .entity = &entity},
    {.name = (char *)"redis-a", .kind = LS_SINK_REDIS, .entity = &entity},
};

struct fixture {
    struct ls_stats *stats[2];
    struct ls_stats_view view; /* as an instance has it */
    struct ls_health health;
    struct ls_buf page;
};

static void set_up(struct fixture *made)
{
    *made = (struct fixture){.stats = {ls_stats_new(&sinks[0]), ls_stats_new(&sinks[1])}};
    made->health = (struct ls_health){.stats = made->stats, .n = 2, .version = "1.2.3"};
    ls_stats_view_init(&made->view, 4, 1);
    made->view.state = LS_STATE_RUNNING;
}

static void take_down(struct fixture *made)
{
    ls_health_free(&made->health);
    ls_stats_view_free(&made->view);
    ls_stats_free(made->stats[0]);
    ls_stats_free(made->stats[1]);
    ls_buf_free(&made->page);
}

static unsigned get(struct fixture *made, const char *path)
{
    ls_buf_clear(&made->page);
    for (size_t i = 0; i < LS_HEALTH_PAGES; i++)
        if (strcmp(ls_health_pages[i].path, path) == 0)
            return ls_health_pages[i].write(&made->health, &made->page);
    return 404;
}

Test(health, metrics_tell_what_the_instance_published)
{
    struct fixture made;
    set_up(&made);
    made.view.counts[LS_APPLIED] = 10;
    made.view.counts[LS_STALE] = 5;
    made.view.consumed = 15;
    made.view.partitions[2] = (struct ls_partition_stats){
        .owned = true, .lag = 7, .oldest_ms = ls_wall_us() / 1000 - 90000};
    made.view.partitions[3] = (struct ls_partition_stats){.owned = true, .lag = -1};
    made.view.lanes[0] = (struct ls_lane_stats){.breaker = LS_BREAKER_OPEN, .openings = 3};
    ls_stats_publish(made.stats[0], &made.view);
    cr_expect_eq(get(&made, "/metrics"), 200);
    expect_has(&made.page, "lockstep_build_info{version=\"1.2.3\"} 1\n");
    expect_has(&made.page,
               "lockstep_sink_state{entity=\"member\",sink=\"mysql\",state=\"running\"} 1\n");
    expect_has(&made.page,
               "lockstep_sink_state{entity=\"member\",sink=\"redis-a\",state=\"starting\"} 1\n");
    expect_has(&made.page,
               "lockstep_records_total{entity=\"member\",sink=\"mysql\",verdict=\"stale\"} 5\n");
    expect_has(&made.page,
               "lockstep_lag_records{entity=\"member\",sink=\"mysql\",partition=\"2\"} 7\n");
    expect_has(&made.page, "lockstep_partitions_owned{entity=\"member\",sink=\"mysql\"} 2\n");
    expect_has(&made.page, "lockstep_breaker_state{entity=\"member\",sink=\"mysql\",lane=\"0\","
                           "server=\"\",state=\"open\"} 1\n");
    expect_has(&made.page,
               "lockstep_behind_seconds{entity=\"member\",sink=\"mysql\",partition=\"2\"} 90");
    cr_expect_null(strstr(made.page.data, "partition=\"3\""), "what is not known is not told");
    cr_expect_null(strstr(made.page.data, "partition=\"0\""), "nor what is others' to tell");
    take_down(&made);
}

Test(health, a_lane_is_told_with_the_servers_that_it_writes_to)
{
    struct ls_mysql_server servers[] = {{.host = (char *)"db1", .port = 3306},
                                        {.host = (char *)"db2", .port = 3307}};
    struct ls_redis_node nodes[] = {{(char *)"r1", 1},
                                    {(char *)"r2", 2},
                                    {(char *)"r3", 3},
                                    {(char *)"r4", 4},
                                    {(char *)"r5", 5}};
    char *urls[] = {(char *)"https://es:9200"};
    struct ls_sink_config kinds[] = {
        {.name = (char *)"mysql",
         .kind = LS_SINK_MYSQL,
         .entity = &entity,
         .requests_in_flight = 2,
         .servers = servers,
         .n_servers = LS_COUNT(servers)},
        {.name = (char *)"redis",
         .kind = LS_SINK_REDIS,
         .entity = &entity,
         .nodes = nodes,
         .n_nodes = LS_COUNT(nodes)},
        {.name = (char *)"es", .kind = LS_SINK_ES, .entity = &entity, .urls = urls, .n_urls = 1},
    };
    struct ls_stats *stats[LS_COUNT(kinds)];
    struct ls_health health = {.stats = stats, .n = LS_COUNT(kinds), .version = "1"};
    for (size_t i = 0; i < LS_COUNT(kinds); i++) {
        struct ls_stats_view view = {0};
        stats[i] = ls_stats_new(&kinds[i]);
        ls_stats_view_init(&view, 1, kinds[i].kind == LS_SINK_MYSQL ? 4 : 1);
        ls_stats_publish(stats[i], &view);
        ls_stats_view_free(&view);
    }
    struct ls_buf page = {0};
    cr_assert_eq(ls_health_pages[0].write(&health, &page), 200);
    expect_has(&page,
               "_openings_total{entity=\"member\",sink=\"mysql\",lane=\"1\",server=\"db1:3306\"}");
    expect_has(&page,
               "_openings_total{entity=\"member\",sink=\"mysql\",lane=\"2\",server=\"db2:3307\"}");
    expect_has(&page, "sink=\"redis\",lane=\"0\",server=\"r1:1,r2:2,r3:3,r4:4\"} 0\n");
    expect_has(&page, "sink=\"es\",lane=\"0\",server=\"es:9200\",state=\"closed\"} 1\n");
    ls_buf_free(&page);
    ls_health_free(&health);
    for (size_t i = 0; i < LS_COUNT(kinds); i++)
        ls_stats_free(stats[i]);
}

Test(health, a_loop_that_does_not_turn_is_unhealthy_and_nothing_else_is)
{
    struct fixture made;
    set_up(&made);
    made.view.state = LS_STATE_HALTED;
    ls_stats_publish(made.stats[0], &made.view);
    cr_expect_eq(get(&made, "/healthz"), 200, "a restart would not mend it");
    ls_stats_turn_at(made.stats[1], ls_mono_ms() - LS_LOOP_STALLED_MS - 5000);
    cr_expect_eq(get(&made, "/healthz"), 503);
    expect_has(&made.page, "redis-a: its loop has not turned for 35 s\n");
    ls_stats_turn(made.stats[1]);
    cr_expect_eq(get(&made, "/healthz"), 200);
    take_down(&made);
}

Test(health, ready_is_all_sinks_running_or_standing_by)
{
    struct fixture made;
    set_up(&made);
    ls_stats_publish(made.stats[0], &made.view);
    cr_expect_eq(get(&made, "/readyz"), 503, "the other one has only begun");
    expect_has(&made.page, "mysql: RUNNING\nredis-a: STARTING\n");
    made.view.state = LS_STATE_STUCK;
    snprintf(made.view.reason, sizeof(made.view.reason), "waits for the store");
    ls_stats_publish(made.stats[1], &made.view);
    cr_expect_eq(get(&made, "/readyz"), 503);
    expect_has(&made.page, "redis-a: STUCK: waits for the store\n");
    made.view.state = LS_STATE_WAITING;
    made.view.standby = true;
    ls_stats_publish(made.stats[1], &made.view);
    cr_expect_eq(get(&made, "/readyz"), 200);
    take_down(&made);
}

Test(listen, takes_what_people_write)
{
    static const struct {
        const char *text, *host, *port;
    } cases[] = {
        {"9464", "127.0.0.1", "9464"},
        {":9464", "127.0.0.1", "9464"},
        {"0.0.0.0:80", "0.0.0.0", "80"},
        {"[::1]:9464", "::1", "9464"},
        {"metrics.local:0", "metrics.local", "0"},
    };
    for (size_t i = 0; i < LS_COUNT(cases); i++) {
        struct ls_listen listen;
        struct ls_err err = {0};
        cr_assert_eq(ls_listen_parse(cases[i].text, &listen, &err), 0, "%s", err.text);
        cr_expect_str_eq(listen.host, cases[i].host);
        cr_expect_str_eq(listen.port, cases[i].port);
    }
}

Test(listen, refuses_what_cannot_be_meant)
{
    static const char *const cases[] = {"",         ":",     "host:", "host:http", "1.2.3.4:70000",
                                        "::1:9464", "[::1]", "[]:1",  "a b:1"};
    for (size_t i = 0; i < LS_COUNT(cases); i++) {
        struct ls_listen listen;
        struct ls_err err = {0};
        cr_expect_eq(ls_listen_parse(cases[i], &listen, &err), -1, "'%s'", cases[i]);
        cr_expect(strstr(err.text, "expected ADDRESS:PORT") != NULL, "%s", err.text);
    }
}

static unsigned count_page(void *opaque, struct ls_buf *body)
{
    (*(int *)opaque)++;
    ls_buf_append_str(body, "here\n");
    return 200;
}

Test(http, a_port_that_is_taken_is_told)
{
    static const struct ls_page page = {"/x", "text/plain", count_page};
    int called = 0;
    struct ls_listen listen;
    struct ls_err err = {0};
    cr_assert_eq(ls_listen_parse("127.0.0.1:0", &listen, &err), 0);
    struct ls_http *http = ls_http_open(&listen, &page, 1, &called, &err);
    cr_assert_not_null(http, "%s", err.text);
    cr_assert_eq(ls_listen_parse(ls_http_address(http), &listen, &err), 0, "%s", err.text);
    cr_expect_null(ls_http_open(&listen, &page, 1, &called, &err));
    cr_expect(strstr(err.text, "another process listens there") != NULL, "%s", err.text);
    cr_expect_eq(called, 0);
    ls_http_close(http);
}

/* Serves count_page there. */
static struct ls_http *open_http_at(const char *address, uint32_t answer_ms)
{
    static const struct ls_page page = {"/x", "text/plain", count_page};
    static int called;
    struct ls_listen listen;
    struct ls_err err = {0};
    cr_assert_eq(ls_listen_parse(address, &listen, &err), 0);
    listen.answer_ms = answer_ms;
    struct ls_http *http = ls_http_open(&listen, &page, 1, &called, &err);
    cr_assert_not_null(http, "%s", err.text);
    return http;
}

static struct ls_http *open_http(uint32_t answer_ms)
{
    return open_http_at("127.0.0.1:0", answer_ms);
}

/* One of this machine's that is not loopback, if it has any. */
static bool own_address(char ret[INET_ADDRSTRLEN])
{
    struct ifaddrs *all = NULL;
    bool found = false;
    cr_assert_eq(getifaddrs(&all), 0);
    for (struct ifaddrs *i = all; i != NULL && !found; i = i->ifa_next)
        if (i->ifa_addr != NULL && i->ifa_addr->sa_family == AF_INET &&
            (i->ifa_flags & IFF_UP) != 0 && (i->ifa_flags & IFF_LOOPBACK) == 0)
            found = inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr, ret,
                              INET_ADDRSTRLEN) != NULL;
    freeifaddrs(all);
    return found;
}

/* A client with an address of its own, which has sent that much of a request. */
static int connect_from(const char *address, const struct ls_http *http, const char *request)
{
    struct sockaddr_in own = {.sin_family = AF_INET};
    struct sockaddr_in there = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons((uint16_t)strtoul(strrchr(ls_http_address(http), ':') + 1, NULL, 10)),
    };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    inet_pton(AF_INET, address, &own.sin_addr);
    cr_assert_eq(bind(fd, (struct sockaddr *)&own, sizeof(own)), 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&there, sizeof(there)), 0);
    send(fd, request, strlen(request), MSG_NOSIGNAL); /* one that is not wanted may be cut by now */
    return fd;
}

/* What came first, up to its end or until nothing came for 5 s. */
static bool answers_200(int fd)
{
    char text[256] = "";
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    return poll(&wait, 1, 5000) == 1 && recv(fd, text, sizeof(text) - 1, 0) > 0 &&
           memcmp(text, "HTTP/1.1 200", 12) == 0;
}

Test(http, one_address_that_takes_all_it_can_leaves_room_for_another, .timeout = 60)
{
    struct ls_http *http = open_http(60000);
    int held[200];
    for (size_t i = 0; i < LS_COUNT(held); i++)
        held[i] = connect_from("127.0.0.9", http, "GET /x HTTP/1.1\r\nHo");
    for (int i = 0; i < 3; i++) {
        int fd = connect_from("127.0.0.2", http, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n");
        cr_expect(answers_200(fd));
        close(fd);
    }
    for (size_t i = 0; i < LS_COUNT(held); i++)
        close(held[i]);
    ls_http_close(http);
}

/* Sends a byte every few milliseconds until the connection is cut; returns how many. */
static int trickle(int fd, int most)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    for (int n = 0; n < most; n++)
        if (send(fd, "a", 1, MSG_NOSIGNAL) != 1 || poll(&wait, 1, 20) != 0)
            return n;
    return most;
}

Test(http, a_request_that_trickles_in_is_cut_though_it_is_never_silent, .timeout = 60)
{
    struct ls_http *http = open_http(1000);
    int fd = connect_from("127.0.0.1", http, "GET /x HTTP/1.1\r\nX: ");
    cr_expect_lt(trickle(fd, 1000), 1000);
    close(fd);
    ls_http_close(http);
}

Test(http, a_connection_that_is_answered_again_and_again_is_kept, .timeout = 60)
{
    static const char request[] = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n";
    struct ls_http *http = open_http(1000);
    int fd = connect_from("127.0.0.1", http, request);
    for (int64_t begun_ms = ls_mono_ms(); ls_mono_ms() - begun_ms < 2500;) {
        cr_assert(answers_200(fd));
        poll(NULL, 0, 50);
        cr_assert_eq(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    }
    struct pollfd wait = {.fd = fd, .events = POLLRDHUP};
    cr_expect_eq(poll(&wait, 1, 10000), 1, "it is cut when it asks for nothing more");
    close(fd);
    ls_http_close(http);
}

/* How many of n connections from that address are still open, once the others were closed. */
static int held_open(const char *address, const struct ls_http *http, int n)
{
    int fds[200], held = 0;
    cr_assert_leq(n, (int)LS_COUNT(fds));
    for (int i = 0; i < n; i++)
        fds[i] = connect_from(address, http, "GET /x HTTP/1.1\r\nHo");
    int answered = connect_from("127.0.0.2", http, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_expect(answers_200(answered)); /* which comes after the others in the queue */
    close(answered);
    for (int i = 0; i < n; i++) {
        struct pollfd wait = {.fd = fds[i], .events = POLLRDHUP};
        held += poll(&wait, 1, 0) == 0;
    }
    for (int i = 0; i < n; i++)
        close(fds[i]);
    return held;
}

Test(http, loopback_is_many_clients_and_any_other_address_is_one, .timeout = 60)
{
    struct ls_http *http = open_http_at("0.0.0.0:0", 60000);
    char own[INET_ADDRSTRLEN];
    cr_expect_eq(held_open("127.0.0.1", http, 40), 40);
    if (own_address(own))
        cr_expect_eq(held_open(own, http, 40), 8, "from %s", own);
    ls_http_close(http);
}

static atomic_bool is_held;

static unsigned hold_page(void *opaque, struct ls_buf *body)
{
    atomic_store(&is_held, true);
    while (atomic_load(&is_held))
        poll(NULL, 0, 1);
    return count_page(opaque, body);
}

Test(http, a_request_that_came_in_time_is_answered_though_it_is_read_late, .timeout = 60)
{
    static const struct ls_page both[] = {{"/x", "text/plain", count_page},
                                          {"/hold", "text/plain", hold_page}};
    static const char request[] = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n";
    int called = 0;
    struct ls_listen listen = {.host = "127.0.0.1", .port = "0", .answer_ms = 1000};
    struct ls_err err = {0};
    struct ls_http *http = ls_http_open(&listen, both, LS_COUNT(both), &called, &err);
    cr_assert_not_null(http, "%s", err.text);
    int kept = connect_from("127.0.0.1", http, request);
    cr_assert(answers_200(kept));
    int64_t answered_ms = ls_mono_ms();
    int other = connect_from("127.0.0.1", http, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    while (!atomic_load(&is_held))
        poll(NULL, 0, 1);
    send(kept, request, strlen(request), MSG_NOSIGNAL);
    while (ls_mono_ms() - answered_ms < 1500)
        poll(NULL, 0, 10);
    atomic_store(&is_held, false);
    cr_expect(answers_200(other));
    cr_expect(answers_200(kept));
    close(kept);
    close(other);
    ls_http_close(http);
}
