#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/heartbeat.h"

static struct ls_heartbeat sample(void)
{
    static struct ls_heartbeat_partition parts[2] = {
        {.partition = 3, .low = 120, .end = 500, .low_at_ms = 1700000000000},
        {.partition = 7, .low = 0, .end = -1},
    };
    struct ls_heartbeat heartbeat = {
        .entity = "member",
        .sink = "es-primary",
        .instance = "host:12:0",
        .state = LS_STATE_RETRYING,
        .reason = "store refused the connection",
        .last_error = "es-primary: 503 \"overloaded\"\n",
        .time_ms = 1700000001000,
        .started_ms = 1699999999000,
        .consumed = 120,
        .rate = 12.5,
        .rewinds = 3,
        .rewound_ms = 1700000000500,
        .last_error_ms = 1700000000900,
        .partitions = parts,
        .n_partitions = 2,
    };
    for (int v = LS_APPLIED; v < LS_VERDICTS; v++)
        heartbeat.counts[v] = (uint64_t)v * 10;
    return heartbeat;
}

Test(heartbeat, survives_the_round_trip)
{
    struct ls_heartbeat in = sample(), out;
    struct ls_buf buf = {0};
    struct ls_err err = {0};
    ls_heartbeat_encode(&in, &buf);
    cr_assert_eq(ls_heartbeat_decode(buf.data, buf.len, &out, &err), 0, "%s", err.text);
    cr_expect_str_eq(out.entity, in.entity);
    cr_expect_str_eq(out.sink, in.sink);
    cr_expect_str_eq(out.instance, in.instance);
    cr_expect_eq(out.state, in.state);
    cr_expect_str_eq(out.reason, in.reason);
    cr_expect_str_eq(out.last_error, in.last_error);
    cr_expect_eq(out.time_ms, in.time_ms);
    cr_expect_eq(out.started_ms, in.started_ms);
    cr_expect_eq(out.consumed, in.consumed);
    cr_expect_eq(out.rewinds, in.rewinds);
    cr_expect_eq(out.rewound_ms, in.rewound_ms);
    cr_expect_eq(out.last_error_ms, in.last_error_ms);
    cr_expect_float_eq(out.rate, in.rate, 1e-9);
    for (int v = LS_APPLIED; v < LS_VERDICTS; v++)
        cr_expect_eq(out.counts[v], in.counts[v]);
    cr_assert_eq(out.n_partitions, 2);
    for (size_t i = 0; i < 2; i++) {
        cr_expect_eq(out.partitions[i].partition, in.partitions[i].partition);
        cr_expect_eq(out.partitions[i].low, in.partitions[i].low);
        cr_expect_eq(out.partitions[i].end, in.partitions[i].end);
        cr_expect_eq(out.partitions[i].low_at_ms, in.partitions[i].low_at_ms);
    }
    free(out.partitions);
    ls_buf_free(&buf);
}

/* A store's message may be cut in the middle of a character; the heartbeat has to go out anyway. */
Test(heartbeat, cleans_texts_that_are_not_utf8)
{
    struct ls_heartbeat in = sample(), out;
    snprintf(in.last_error, sizeof(in.last_error), "caf\xc3\xa9 \xff bad\xe4\xb8");
    struct ls_buf buf = {0};
    struct ls_err err = {0};
    ls_heartbeat_encode(&in, &buf);
    cr_assert_eq(ls_heartbeat_decode(buf.data, buf.len, &out, &err), 0, "%s", err.text);
    cr_expect_str_eq(out.last_error, "caf\xc3\xa9 ? bad??");
    free(out.partitions);
    ls_buf_free(&buf);
}

Test(heartbeat, writes_a_rate_that_is_no_number_as_zero)
{
    struct ls_heartbeat in = sample(), out;
    in.rate = NAN;
    struct ls_buf buf = {0};
    struct ls_err err = {0};
    ls_heartbeat_encode(&in, &buf);
    cr_assert_eq(ls_heartbeat_decode(buf.data, buf.len, &out, &err), 0, "%s", err.text);
    cr_expect_eq(out.rate, 0);
    free(out.partitions);
    ls_buf_free(&buf);
}

#define HEAD                                                                              \
    "{\"entity\":\"m\",\"sink\":\"s\",\"instance\":\"i\",\"time_ms\":1,\"started_ms\":1," \
    "\"consumed\":0,\"rate\":0,\"counts\":{},"

Test(heartbeat, takes_what_it_does_not_know)
{
    const char *json = HEAD "\"state\":\"RUNNING\",\"partitions\":[],\"later\":{\"x\":[1]}}";
    struct ls_heartbeat out;
    struct ls_err err = {0};
    cr_assert_eq(ls_heartbeat_decode(json, strlen(json), &out, &err), 0, "%s", err.text);
    cr_expect_null(out.partitions);
}

/* A reader from before STUCK was known takes it for WAITING, and no heartbeat for broken. */
Test(heartbeat, says_stuck_in_words_that_older_readers_know)
{
    struct ls_heartbeat in = sample(), out;
    struct ls_buf buf = {0};
    struct ls_err err = {0};
    in.state = LS_STATE_STUCK;
    snprintf(in.breaker, sizeof(in.breaker), "half-open");
    in.openings = 3;
    in.flow_limit = 12;
    in.flow_max = 8192;
    in.rewinds = 2;
    ls_heartbeat_encode(&in, &buf);
    cr_expect(strstr(ls_buf_cstr(&buf), "\"state\":\"WAITING\"") != NULL, "%s", buf.data);
    cr_assert_eq(ls_heartbeat_decode(buf.data, buf.len, &out, &err), 0, "%s", err.text);
    cr_expect_eq(out.state, LS_STATE_STUCK);
    cr_expect_str_eq(out.breaker, "half-open");
    cr_expect_eq(out.openings, 3);
    cr_expect_eq(out.flow_limit, 12);
    cr_expect_eq(out.flow_max, 8192);
    cr_expect_eq(out.rewinds, 2);
    free(out.partitions);
    ls_buf_free(&buf);
}

Test(heartbeat, refuses_hostile_json_and_says_why)
{
    static const char *const hostile[] = {
        "",
        "{",
        "[]",
        "null",
        "{}",
        "\"x\"",
        HEAD "\"state\":\"DANCING\",\"partitions\":[]}",
        HEAD "\"state\":3,\"partitions\":[]}",
        HEAD "\"state\":\"RUNNING\",\"partitions\":{}}",
        HEAD "\"state\":\"RUNNING\",\"partitions\":[3]}",
        HEAD "\"state\":\"RUNNING\",\"partitions\":[{\"partition\":-1,\"low\":0,\"end\":0,"
             "\"low_at_ms\":0}]}",
        HEAD "\"state\":\"RUNNING\",\"partitions\":[{\"partition\":4096,\"low\":0,\"end\":0,"
             "\"low_at_ms\":0}]}",
        HEAD "\"state\":\"RUNNING\",\"partitions\":[{\"partition\":1,\"low\":1e300,\"end\":0,"
             "\"low_at_ms\":0}]}",
        HEAD "\"state\":\"RUNNING\",\"state\":\"RUNNING\",\"partitions\":[]}",
        HEAD "\"state\":\"RUNNING\",\"partitions\":[],\"openings\":-1}",
        HEAD "\"state\":\"RUNNING\",\"partitions\":[],\"flow_limit\":4294967296}",
        HEAD "\"state\":\"RUNNING\",\"partitions\":[],\"breaker\":{}}",
        HEAD "\"state\":\"RUNNING\",\"reason\":7,\"partitions\":[]}",
        HEAD "\"state\":\"RUNNING\",\"partitions\":[]} x",
        HEAD "\"state\":\"RUNNING\",\"reason\":\"\\u0000\",\"partitions\":[]}",
    };
    for (size_t i = 0; i < LS_COUNT(hostile); i++) {
        struct ls_heartbeat out = {.n_partitions = 99};
        struct ls_err err = {0};
        cr_expect_eq(ls_heartbeat_decode(hostile[i], strlen(hostile[i]), &out, &err), -1, "%s",
                     hostile[i]);
        cr_expect_eq(err.class, LS_ERR_POISON);
        cr_expect_neq(err.text[0], '\0');
        cr_expect_eq(out.n_partitions, 99, "written on failure");
    }
}

Test(heartbeat, refuses_a_name_that_does_not_fit_and_cuts_a_message_between_characters)
{
    struct ls_buf buf = {0};
    struct ls_err err = {0};
    struct ls_heartbeat out;
    ls_buf_append_str(&buf, "{\"entity\":\"");
    for (int i = 0; i < 40; i++)
        ls_buf_append_char(&buf, 'e');
    ls_buf_append_str(&buf, "\"}");
    cr_expect_eq(ls_heartbeat_decode(buf.data, buf.len, &out, &err), -1);
    cr_expect(strstr(err.text, "entity") != NULL);

    ls_buf_clear(&buf);
    ls_buf_append_str(&buf, HEAD "\"state\":\"HALTED\",\"partitions\":[],\"reason\":\"x");
    for (int i = 0; i < 300; i++)
        ls_buf_append_str(&buf, "\xc3\xa9");
    ls_buf_append_str(&buf, "\"}");
    cr_assert_eq(ls_heartbeat_decode(buf.data, buf.len, &out, &err), 0, "%s", err.text);
    cr_expect_eq(strlen(out.reason), LS_HEARTBEAT_TEXT_MAX - 1);
    cr_expect_str_eq(out.reason + LS_HEARTBEAT_TEXT_MAX - 3, "\xc3\xa9");
    ls_buf_free(&buf);
}

Test(heartbeat, names_every_state)
{
    cr_expect_str_eq(ls_state_name(LS_STATE_STARTING), "STARTING");
    cr_expect_str_eq(ls_state_name(LS_STATE_STOPPED), "STOPPED");
    cr_expect_str_eq(ls_state_name((enum ls_state)77), "UNKNOWN");
}
