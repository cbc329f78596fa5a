/*
 * What an Elasticsearch lane warns of, against a server of the test's own that has one index and
 * answers about its alias as the test says.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "consumers/es_incarnation.h"
#include "consumers/es_setup.h"
#include "consumers/lane.h"
#include "pipeline/metrics_http.h"
#include "schema/schema.h"

#define INDEX   "plant-1"
#define GENESIS "0b5f7a9e-0000-4000-8000-000000000001"

static const char SCHEMA[] = "entity: plant\n"
                             "version: 1\n"
                             "redis_prefix: plant\n"
                             "expected_records: 1000\n"
                             "average_bytes: 200\n"
                             "fields:\n"
                             "  - {number: 1, name: id, type: string, key: true}\n"
                             "  - {number: 2, name: name, type: string, length: 200}\n";

static struct ls_schema *schema;
static struct ls_http *http;
static struct ls_page pages[3];
static char *paths[3];
static atomic_int alias_status;
static struct ls_returns *returns;
static struct ls_sink *sink;
static struct ls_lane *lane;

static unsigned write_state(void *opaque, struct ls_buf *body)
{
    (void)opaque;
    ls_buf_append_str(body, "{\"metadata\":{\"indices\":{\"" INDEX
                            "\":{\"settings\":{\"index\":{\"uuid\":\"u\","
                            "\"number_of_shards\":\"1\"}},\"primary_terms\":{\"0\":1}}}}}");
    return 200;
}

static unsigned write_stats(void *opaque, struct ls_buf *body)
{
    (void)opaque;
    ls_buf_append_str(body,
                      "{\"indices\":{\"" INDEX "\":{\"uuid\":\"u\",\"shards\":{\"0\":[{\"routing\":"
                      "{\"primary\":true},\"commit\":{\"user_data\":"
                      "{\"history_uuid\":\"h\"}}}]}}}}");
    return 200;
}

/* With status 404 it means that no index has the alias. */
static unsigned write_alias(void *opaque, struct ls_buf *body)
{
    int status = atomic_load(&alias_status);
    (void)opaque;
    ls_buf_printf(body, "{\"error\":{\"type\":\"refused\"},\"status\":%d}", status);
    return (unsigned)status;
}

static void add_page(size_t i, char *path, unsigned (*write)(void *opaque, struct ls_buf *body))
{
    path[strcspn(path, "?")] = '\0';
    paths[i] = path;
    pages[i] = (struct ls_page){path, "application/json", write};
}

static void start(void)
{
    static struct ls_entity_config entity;
    static struct ls_sink_config config;
    static char url[300], *urls[] = {url};
    struct ls_err err = {0};
    struct ls_listen listen = {.host = "127.0.0.1", .port = "0"};
    cr_assert_eq(ls_schema_parse("test", SCHEMA, sizeof(SCHEMA) - 1, &schema, &err), 0, "%s",
                 err.text);
    entity = (struct ls_entity_config){
        .name = (char *)"plant", .generation = 1, .partitions = 1, .schema = schema};
    config = (struct ls_sink_config){.name = (char *)"es-t",
                                     .kind = LS_SINK_ES,
                                     .entity = &entity,
                                     .batches_in_flight = 1,
                                     .requests_in_flight = 1,
                                     .connect_timeout_ms = 2000,
                                     .request_timeout_ms = 20000,
                                     .urls = urls,
                                     .n_urls = 1,
                                     .index = (char *)INDEX,
                                     .alias = (char *)"plants",
                                     .data_nodes = 1,
                                     .bulk_bytes = 1 << 20};
    add_page(0, ls_es_incarnation_state_path(INDEX), write_state);
    add_page(1, ls_es_incarnation_stats_path(INDEX), write_stats);
    add_page(2, ls_es_setup_readers_path(&config), write_alias);
    http = ls_http_open(&listen, pages, LS_COUNT(pages), NULL, &err);
    cr_assert_not_null(http, "%s", err.text);
    snprintf(url, sizeof(url), "http://%s", ls_http_address(http));
    cr_assert_eq(ls_es_sink_ops.open(&config, &sink, &err), 0, "%s", err.text);
    returns = ls_returns_new();
    lane = ls_lane_start(&ls_es_sink_ops, sink, 0, returns, &err);
    cr_assert_not_null(lane, "%s", err.text);
}

static void stop(void)
{
    cr_assert_null(ls_lane_stop(lane), "no unit was left");
    ls_es_sink_ops.close(sink);
    ls_returns_free(returns);
    ls_http_close(http);
    ls_schema_free(schema);
    for (size_t i = 0; i < LS_COUNT(paths); i++)
        free(paths[i]);
}

TestSuite(es_warning, .init = start, .fini = stop, .timeout = 60);

/* One look; the server has no marks, so the look itself fails after the alias was asked for. */
static bool warning_after(int status, char *text, size_t size)
{
    struct ls_mark mark = {.partition = 0, .genesis = GENESIS};
    struct ls_look look = {0};
    struct ls_unit unit = {.look = &look, .marks = &mark, .n_marks = 1};
    struct pollfd wait = {.fd = ls_returns_fd(returns), .events = POLLIN};
    atomic_store(&alias_status, status);
    ls_lane_submit(lane, &unit);
    cr_assert_eq(poll(&wait, 1, -1), 1);
    cr_assert_eq(ls_returns_take(returns), &unit);
    cr_assert_not_null(strstr(unit.err.text, "HTTP 405"), "the marks were asked for: %s",
                       unit.err.text);
    free(unit.refusals);
    return ls_lane_warning(lane, text, size);
}

Test(es_warning, an_alias_that_may_no_longer_be_asked_for_is_not_warned_of)
{
    static const int refusals[] = {401, 403};
    char text[LS_LANE_WARNING_MAX];
    for (size_t i = 0; i < LS_COUNT(refusals); i++) {
        cr_expect(warning_after(404, text, sizeof(text)));
        cr_expect_not_null(strstr(text, "no index has the alias plants"), "%s", text);
        cr_expect_not(warning_after(refusals[i], text, sizeof(text)), "after %d", refusals[i]);
        cr_expect_str_eq(text, "", "after %d: %s", refusals[i], text);
    }
}

Test(es_warning, a_node_with_too_much_to_do_takes_back_no_warning)
{
    char text[LS_LANE_WARNING_MAX];
    cr_expect(warning_after(404, text, sizeof(text)));
    cr_expect(warning_after(429, text, sizeof(text)));
    cr_expect_not_null(strstr(text, "no index has the alias plants"), "%s", text);
}
