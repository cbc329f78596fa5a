#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/status.h"
#include "pipeline/status_internal.h"

static struct ls_entity_config entity = {.name = (char *)"member", .partitions = 8};
static struct ls_sink_config config = {
    .name = (char *)"mysql", .kind = LS_SINK_MYSQL, .entity = &entity};

enum { NOW_MS = 1700000100 };

static struct ls_heartbeat beat(const char *instance, enum ls_state state, int64_t age_ms)
{
    struct ls_heartbeat made = {
        .state = state,
        .time_ms = NOW_MS - age_ms,
        .rate = 100,
        .consumed = 30,
        .counts = {[LS_APPLIED] = 10, [LS_STALE] = 20},
    };
    snprintf(made.instance, sizeof(made.instance), "%s", instance);
    return made;
}

static struct ls_status_sink fold(const struct ls_heartbeat *beats, size_t n,
                                  struct ls_heartbeat *alive)
{
    struct ls_status_sink ret = {.sink = &config};
    ls_status_fold(beats, n, NOW_MS, alive, &ret);
    return ret;
}

Test(status, a_sink_that_nobody_ever_ran_is_never_run)
{
    struct ls_heartbeat alive[4];
    struct ls_status_sink sink = fold(NULL, 0, alive);
    cr_expect_eq(sink.state, LS_SINK_NEVER);
    cr_expect_eq(sink.n_instances, 0);
}

Test(status, instances_that_live_are_summed_and_the_worst_state_shows)
{
    struct ls_heartbeat alive[4],
        beats[] = {beat("a", LS_STATE_RUNNING, 100), beat("b", LS_STATE_RETRYING, 200),
                   beat("old", LS_STATE_HALTED, 60000)};
    snprintf(beats[1].reason, sizeof(beats[1].reason), "503 overloaded");
    snprintf(beats[2].last_error, sizeof(beats[2].last_error), "of the dead");
    struct ls_status_sink sink = fold(beats, 3, alive);
    cr_expect_eq(sink.state, LS_SINK_RETRYING);
    cr_expect_str_eq(sink.reason, "503 overloaded");
    cr_expect_str_eq(sink.last_error, "");
    cr_expect_eq(sink.n_instances, 2);
    cr_expect_eq(sink.counts[LS_APPLIED], 20);
    cr_expect_eq(sink.counts[LS_STALE], 40);
    cr_expect_eq(sink.consumed, 60);
    cr_expect_float_eq(sink.rate, 200, 1e-9);
}

Test(status, silence_is_lost_and_a_clean_end_is_stopped)
{
    struct ls_heartbeat alive[4], silent[] = {beat("a", LS_STATE_STOPPED, 90000),
                                              beat("b", LS_STATE_RUNNING, LS_STATUS_ALIVE_MS)};
    struct ls_status_sink sink = fold(silent, 2, alive);
    cr_expect_eq(sink.state, LS_SINK_LOST);
    cr_expect_eq(sink.heard_ms, NOW_MS - LS_STATUS_ALIVE_MS);
    cr_expect_eq(sink.counts[LS_APPLIED], 10, "the newest one's, not the sum of all that ever ran");
    struct ls_heartbeat stopped[] = {beat("a", LS_STATE_RUNNING, 90000),
                                     beat("b", LS_STATE_STOPPED, 100)};
    sink = fold(stopped, 2, alive);
    cr_expect_eq(sink.state, LS_SINK_STOPPED);
    cr_expect_eq(sink.n_instances, 0, "who left cleanly is not alive, however short ago");
}

Test(status, says_what_needs_a_person)
{
    struct ls_status_sink sink = {.state = LS_SINK_RUNNING, .lag = 1000};
    cr_expect(ls_status_fine(&sink));
    sink.state = LS_SINK_STOPPED;
    cr_expect_not(ls_status_fine(&sink));
    sink.lag = 0;
    cr_expect(ls_status_fine(&sink));
    sink.state = LS_SINK_LOST;
    cr_expect_not(ls_status_fine(&sink));
    sink.state = LS_SINK_HALTED;
    cr_expect_not(ls_status_fine(&sink));
}

Test(status, a_partition_without_a_leader_needs_a_person_and_is_named)
{
    static const int32_t leaderless[] = {1, 2, 5};
    struct ls_status_sink sink = {.sink = &config, .state = LS_SINK_RUNNING};
    struct ls_buf text = {0}, json = {0};
    cr_expect(ls_status_fine(&sink) && ls_status_caught_up(&sink));
    sink.leaderless = leaderless;
    sink.n_leaderless = LS_COUNT(leaderless);
    sink.unheard = true;
    cr_expect_not(ls_status_fine(&sink));
    cr_expect_not(ls_status_caught_up(&sink), "nobody knows what they hold");
    ls_status_table(&sink, 1, NOW_MS, &text);
    cr_expect(
        strstr(ls_buf_cstr(&text), "mysql: partitions 1-2,5 of member.state.0 have no leader"),
        "%s", ls_buf_cstr(&text));
    cr_expect(strstr(ls_buf_cstr(&text), "part of lockstep.control has no leader"), "%s",
              ls_buf_cstr(&text));
    ls_status_json(&sink, 1, NOW_MS, &json);
    cr_expect(strstr(ls_buf_cstr(&json), "\"partitions_without_leader\":[1,2,5]"), "%s",
              ls_buf_cstr(&json));
    ls_buf_free(&text);
    ls_buf_free(&json);
}

Test(status, keeps_the_newest_heartbeat_of_each_instance_and_a_bounded_number)
{
    struct ls_status_kept kept = {0};
    struct ls_heartbeat one = beat("a", LS_STATE_RUNNING, 500),
                        two = beat("a", LS_STATE_STOPPED, 100);
    one.partitions = ls_calloc(1, sizeof(*one.partitions));
    two.partitions = ls_calloc(1, sizeof(*two.partitions));
    ls_status_keep(&kept, &two);
    ls_status_keep(&kept, &one); /* late: older than what is there */
    cr_expect_eq(kept.n_beats, 1);
    cr_expect_eq(kept.beats[0].state, LS_STATE_STOPPED);
    for (int i = 0; i < LS_STATUS_INSTANCES_MAX + 50; i++) {
        char name[16];
        snprintf(name, sizeof(name), "i%d", i);
        struct ls_heartbeat next = beat(name, LS_STATE_RUNNING, 90 - i % 50);
        ls_status_keep(&kept, &next);
    }
    cr_expect_eq(kept.n_beats, (size_t)LS_STATUS_INSTANCES_MAX);
    for (size_t i = 0; i < kept.n_beats; i++)
        free(kept.beats[i].partitions);
    free(kept.beats);
}

Test(status, caught_up_is_running_or_stopped_with_nothing_left)
{
    struct ls_status_sink sink = {.state = LS_SINK_RUNNING};
    cr_expect(ls_status_caught_up(&sink));
    sink.lag = 1;
    cr_expect_not(ls_status_caught_up(&sink));
    sink = (struct ls_status_sink){.state = LS_SINK_STOPPED};
    cr_expect(ls_status_caught_up(&sink));
    static const enum ls_sink_state others[] = {LS_SINK_STARTING, LS_SINK_WAITING, LS_SINK_RETRYING,
                                                LS_SINK_HALTED,   LS_SINK_LOST,    LS_SINK_NEVER};
    for (size_t i = 0; i < LS_COUNT(others); i++) {
        sink.state = others[i];
        cr_expect_not(ls_status_caught_up(&sink), "%s", ls_sink_state_name(others[i]));
    }
}

/* Criterion's macros evaluate their arguments twice, and a look is kept. */
static void expect_eta(struct ls_status_looks *looks, int64_t at_ms, int64_t lag, double expected)
{
    double eta_s = ls_status_eta(looks, at_ms, lag);
    cr_expect_float_eq(eta_s, expected, 1e-9, "%lld at %lld ms: %f s", (long long)lag,
                       (long long)at_ms, eta_s);
}

Test(status, the_eta_is_the_lag_by_the_rate_at_which_it_shrank)
{
    struct ls_status_looks looks = {0};
    expect_eta(&looks, 5000, 9000, -1); /* one look tells no rate */
    expect_eta(&looks, 6000, 8000, 8);
    expect_eta(&looks, 7000, 8000, 16); /* 1000 in 2 s */
    expect_eta(&looks, 8000, 0, 0);
}

Test(status, there_is_no_eta_where_the_lag_does_not_shrink)
{
    struct ls_status_looks looks = {0};
    expect_eta(&looks, 1000, 500, -1);
    expect_eta(&looks, 2000, 500, -1);
    expect_eta(&looks, 3000, 700, -1);
    expect_eta(&looks, 4000, 400, 12); /* 100 in 3 s */
}

Test(status, the_eta_forgets_what_is_long_ago)
{
    struct ls_status_looks looks = {0};
    expect_eta(&looks, 0, 1009000, -1);
    for (int64_t i = 1; i < LS_STATUS_LOOKS_MAX; i++)
        expect_eta(&looks, i * 1000, 9000, 9000 * (double)i / 1e6);
    expect_eta(&looks, LS_STATUS_LOOKS_MAX * 1000, 9000, -1);
    expect_eta(&looks, LS_STATUS_LOOKS_MAX * 1000 + 1000, 8000, 8.0 * (LS_STATUS_LOOKS_MAX - 1));
}

static struct ls_status_sink sample(struct ls_heartbeat *alive)
{
    static struct ls_heartbeat_partition low[] = {
        {.partition = 0}, {.partition = 1}, {.partition = 2}, {.partition = 6}};
    alive[0] = beat("host:1:0", LS_STATE_RUNNING, 10);
    alive[0].partitions = low;
    alive[0].n_partitions = 4;
    alive[1] = beat("host:2:0", LS_STATE_RUNNING, 10);
    return (struct ls_status_sink){
        .sink = &config,
        .state = LS_SINK_RUNNING,
        .lag = 1234567,
        .behind_s = 3.25,
        .eta_s = 77.6,
        .rate = 15900,
        .counts = {[LS_APPLIED] = 20000, [LS_RETRY] = 7},
        .quarantined = 3,
        .instances = alive,
        .n_instances = 2,
        .last_error = "line one\nline \033[31mtwo",
    };
}

Test(status_view, prints_a_row_and_what_a_person_has_to_know)
{
    struct ls_heartbeat alive[2];
    struct ls_status_sink sink = sample(alive);
    struct ls_buf buf = {0};
    ls_status_table(&sink, 1, NOW_MS, &buf);
    const char *text = ls_buf_cstr(&buf);
    cr_expect(strstr(text, "mysql  RUNNING    1,234,567     3.2 s  1 min 18 s  15.9 k/s   20,000"),
              "%s", text);
    cr_expect(strstr(text, "  mysql: last error: line one\\x0aline \\x1b[31mtwo\n"), "%s", text);
    cr_expect(strstr(text, "  mysql: host:1:0 RUNNING, partitions 0-2,6\n"), "%s", text);
    cr_expect(strstr(text, "  mysql: host:2:0 RUNNING, partitions none\n"), "%s", text);
    ls_buf_free(&buf);
}

Test(status_view, says_how_long_ago_things_were)
{
    struct ls_status_sink sink = {.sink = &config,
                                  .state = LS_SINK_RUNNING,
                                  .last_error = "gone",
                                  .last_error_ms = NOW_MS - 90 * 1000,
                                  .rewinds = 2,
                                  .rewound_ms = NOW_MS - 3600 * 1000};
    struct ls_buf buf = {0};
    ls_status_table(&sink, 1, NOW_MS, &buf);
    const char *text = ls_buf_cstr(&buf);
    cr_expect(strstr(text, "  mysql: last error (1 min 30 s ago): gone\n"), "%s", text);
    cr_expect(strstr(text, "store's marks 2 times, last 1 h"), "%s", text);
    ls_buf_free(&buf);
}

Test(status_view, says_since_when_a_sink_is_lost)
{
    struct ls_status_sink sink = {
        .sink = &config, .state = LS_SINK_LOST, .heard_ms = 1700000000000, .behind_s = -1};
    struct ls_buf buf = {0};
    ls_status_table(&sink, 1, 1700000090000, &buf);
    cr_expect(
        strstr(ls_buf_cstr(&buf), "mysql: LOST since 2023-11-14 22:13:20 UTC (1 min 30 s ago)"),
        "%s", ls_buf_cstr(&buf));
    ls_buf_free(&buf);
}

Test(status_view, says_what_breaker_and_flow_do_only_where_it_is_not_the_ordinary)
{
    struct ls_status_sink sink = {.sink = &config,
                                  .state = LS_SINK_RETRYING,
                                  .breaker = "open",
                                  .openings = 3,
                                  .flow_limit = 12,
                                  .flow_max = 16384};
    struct ls_buf buf = {0};
    ls_status_table(&sink, 1, NOW_MS, &buf);
    cr_expect(strstr(ls_buf_cstr(&buf), "mysql: breaker open") != NULL, "%s", buf.data);
    cr_expect(strstr(buf.data, "mysql: the store's answers allow 12 of 16,384 records at once") !=
                  NULL,
              "%s", buf.data);
    ls_buf_clear(&buf);
    snprintf(sink.breaker, sizeof(sink.breaker), "closed");
    sink.flow_limit = 12000;
    ls_status_table(&sink, 1, NOW_MS, &buf);
    cr_expect_null(strstr(ls_buf_cstr(&buf), "breaker"));
    cr_expect_null(strstr(buf.data, "answers allow"));
    ls_buf_free(&buf);
}

Test(status, a_stuck_instance_shows_and_is_not_fine)
{
    struct ls_heartbeat alive[4],
        beats[] = {beat("a", LS_STATE_RUNNING, 100), beat("b", LS_STATE_STUCK, 100),
                   beat("c", LS_STATE_RETRYING, 100)};
    snprintf(beats[1].reason, sizeof(beats[1].reason), "waits for the store");
    beats[0].flow_limit = beats[0].flow_max = 100;
    beats[2].flow_limit = 10, beats[2].flow_max = 100;
    snprintf(beats[0].breaker, sizeof(beats[0].breaker), "closed");
    snprintf(beats[2].breaker, sizeof(beats[2].breaker), "open");
    struct ls_status_sink sink = fold(beats, 3, alive);
    cr_expect_eq(sink.state, LS_SINK_STUCK);
    cr_expect_str_eq(sink.reason, "waits for the store");
    cr_expect_not(ls_status_fine(&sink));
    cr_expect_str_eq(sink.breaker, "open");
    cr_expect_eq(sink.flow_limit, 10);
}

Test(status_view, prints_the_table_alone_when_there_is_nothing_to_say)
{
    struct ls_status_sink sink = {.sink = &config, .state = LS_SINK_RUNNING};
    struct ls_buf buf = {0};
    ls_status_table(&sink, 1, NOW_MS, &buf);
    size_t lines = 0;
    for (size_t i = 0; i < buf.len; i++)
        lines += buf.data[i] == '\n';
    cr_expect_eq(lines, 2);
    ls_buf_free(&buf);
}

Test(status_view, fits_120_columns_with_seven_sinks_at_work)
{
    static const char *const names[] = {"mysql",     "redis-a",      "redis-b",    "es-primary",
                                        "es-backup", "es-marketing", "es-fallback"};
    struct ls_sink_config configs[LS_COUNT(names)];
    struct ls_status_sink sinks[LS_COUNT(names)];
    struct ls_heartbeat alive[2];
    struct ls_buf buf = {0};
    for (size_t i = 0; i < LS_COUNT(names); i++) {
        configs[i] = config;
        configs[i].name = (char *)names[i];
        sinks[i] = sample(alive);
        sinks[i].sink = &configs[i];
        sinks[i].lag = 199999;
        sinks[i].behind_s = 80;
        sinks[i].counts[LS_APPLIED] = 107000;
    }
    ls_status_table(sinks, LS_COUNT(names), NOW_MS, &buf);
    const char *line = ls_buf_cstr(&buf);
    size_t width = strcspn(line, "\n");
    cr_expect_leq(width, 120, "%zu columns", width);
    for (size_t i = 0; i <= LS_COUNT(names); i++) {
        cr_expect_eq(strcspn(line, "\n"), width, "row %zu", i);
        line += width + 1;
    }
    ls_buf_free(&buf);
}

Test(status_view, no_eta_is_a_dash_for_people_and_null_for_programs)
{
    struct ls_status_sink sink = {
        .sink = &config, .state = LS_SINK_RUNNING, .lag = 5, .behind_s = -1, .eta_s = -1};
    struct ls_buf buf = {0};
    ls_status_table(&sink, 1, NOW_MS, &buf);
    cr_expect(strstr(ls_buf_cstr(&buf), "RUNNING          5         ?         -         -"), "%s",
              ls_buf_cstr(&buf));
    ls_buf_clear(&buf);
    ls_status_json(&sink, 1, NOW_MS, &buf);
    cr_expect(strstr(ls_buf_cstr(&buf), "\"eta_s\":null"), "%s", ls_buf_cstr(&buf));
    ls_buf_free(&buf);
}

Test(status_view, gives_programs_one_object_on_one_line)
{
    struct ls_heartbeat alive[2];
    struct ls_status_sink sink = sample(alive);
    struct ls_buf buf = {0};
    ls_status_json(&sink, 1, NOW_MS, &buf);
    cr_expect_eq(memchr(buf.data, '\n', buf.len), buf.data + buf.len - 1);
    json_t *root = json_loadb(buf.data, buf.len, 0, NULL);
    cr_assert_not_null(root);
    json_t *item = json_array_get(json_object_get(root, "sinks"), 0);
    cr_expect(json_is_true(json_object_get(root, "fine")));
    cr_expect_eq(json_integer_value(json_object_get(item, "lag")), 1234567);
    cr_expect_eq(json_integer_value(json_object_get(item, "quarantined")), 3);
    cr_expect_eq(json_array_size(json_object_get(item, "instances")), 2);
    cr_expect_float_eq(json_number_value(json_object_get(item, "behind_s")), 3.25, 1e-9);
    cr_expect_float_eq(json_number_value(json_object_get(item, "eta_s")), 77.6, 1e-9);
    json_decref(root);
    ls_buf_free(&buf);
}
