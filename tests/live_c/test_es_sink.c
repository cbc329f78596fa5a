/* The Elasticsearch lane against a real node: guards, verdicts, marks. */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "es_fixture.h"
#include "schema/key.h"

static struct es_fixture fixture;
static struct es_fixture *f = &fixture;

static void begin(void)
{
    es_start(f);
    es_lane_start(f);
}

static void end(void)
{
    es_stop(f);
}

TestSuite(es_sink, .init = begin, .fini = end, .timeout = 120);

Test(es_sink, only_a_newer_version_is_applied)
{
    cr_expect_eq(es_apply_one(f, "a", 10, "first", NULL), LS_APPLIED);
    cr_expect_eq(es_apply_one(f, "a", 9, "older", NULL), LS_STALE);
    cr_expect_eq(es_apply_one(f, "a", 10, "same", NULL), LS_STALE);
    struct ls_image image = es_fetch(f, "a");
    cr_expect_eq(image.version, 10);
    cr_expect_eq(image.values[ES_NAME].text.len, strlen("first"));
    cr_expect_eq(es_apply_one(f, "a", 11, "newer", NULL), LS_APPLIED);
    cr_expect_eq(es_fetch(f, "a").version, 11);
}

Test(es_sink, repair_overwrites_an_equal_version_but_no_newer_one)
{
    cr_assert_eq(es_apply_one(f, "a", 10, "wrong", NULL), LS_APPLIED);
    struct ls_unit unit = {.repair = true};
    f->n_records = 0;
    es_named(f, "a", 10, "right");
    es_apply(f, &unit);
    cr_expect_eq(f->records[0].verdict, LS_APPLIED);
    cr_expect_eq(memcmp(es_fetch(f, "a").values[ES_NAME].text.data, "right", 5), 0);
    unit = (struct ls_unit){.repair = true};
    f->n_records = 0;
    es_named(f, "a", 9, "older");
    es_apply(f, &unit);
    cr_expect_eq(f->records[0].verdict, LS_STALE);
}

Test(es_sink, a_delete_stays_and_refuses_an_older_put)
{
    cr_assert_eq(es_apply_one(f, "a", 10, "x", NULL), LS_APPLIED);
    cr_assert_eq(es_apply_one(f, "a", 12, NULL, NULL), LS_APPLIED);
    cr_expect_eq(es_apply_one(f, "a", 11, "late", NULL), LS_STALE);
    struct ls_image image = es_fetch(f, "a");
    cr_expect(image.found && image.deleted && !image.undecodable, "%s", image.why);
    cr_expect_eq(image.version, 12);
    cr_expect_eq(image.hash, image.stored_hash);
    cr_expect_eq(es_apply_one(f, "a", 13, "back", NULL), LS_APPLIED);
    cr_expect_not(es_fetch(f, "a").deleted);
}

Test(es_sink, a_document_that_was_deleted_by_hand_comes_back_with_the_next_refresh)
{
    cr_assert_eq(es_apply_one(f, "a", 10, "x", NULL), LS_APPLIED);
    LS_CLEANUP_FREE char *path =
        ls_asprintf("/%s/_doc/a?routing=%u", f->index, ls_shard_of("a", strlen("a")));
    LS_CLEANUP_FREE char *refresh = ls_asprintf("/%s/_refresh", f->index);
    json_decref(es_http(f, "DELETE", path, NULL));
    cr_assert_not(es_fetch(f, "a").found);
    int64_t deadline_ms = ls_mono_ms() + 20000; /* less than the 60 s of the default */
    while (es_apply_one(f, "a", 10, "x", NULL) != LS_APPLIED) {
        cr_assert_lt(ls_mono_ms(), deadline_ms);
        json_decref(es_http(f, "POST", refresh, NULL));
    }
    cr_expect(es_fetch(f, "a").found);
}

#define MAPPING_WITHOUT_NAME(points)                                                             \
    "\"dynamic\":\"strict\",\"_routing\":{\"required\":true},\"properties\":{"                   \
    "\"id\":{\"type\":\"keyword\"},\"points\":{\"type\":\"" points "\"},"                        \
    "\"_v_hi\":{\"type\":\"long\"},\"_v_lo\":{\"type\":\"long\"},\"_h_hi\":{\"type\":\"long\"}," \
    "\"_h_lo\":{\"type\":\"long\"},\"_at\":{\"type\":\"long\"},"                                 \
    "\"_deleted\":{\"type\":\"boolean\"},\"_shard\":{\"type\":\"integer\"}"

Test(es_sink, one_refused_document_is_poison_alone)
{
    es_index_anew(f, "{" MAPPING_WITHOUT_NAME("byte") "}}");
    char key[16];
    for (unsigned i = 0; i < 50; i++) {
        struct ls_value values[ES_FIELDS] = {
            [ES_POINTS] = {.present = true, .number = i == 20 ? 4711 : i}};
        snprintf(key, sizeof(key), "k%u", i);
        es_record(f, key, 10, values);
    }
    struct ls_unit unit = {0};
    es_apply(f, &unit);
    cr_expect_eq(es_count(f, LS_APPLIED), 49);
    cr_expect_eq(f->records[20].verdict, LS_POISON);
    cr_expect_eq(f->records[20].reject, LS_REJECT_STORE);
    cr_assert_eq(unit.n_refusals, 1);
    cr_expect_eq(unit.refusals[0].record, &f->records[20]);
    cr_expect_not_null(strstr(unit.refusals[0].text, "[points]"), "%s", unit.refusals[0].text);
    cr_expect_null(strstr(unit.refusals[0].text, "4711"), "values stay out: %s",
                   unit.refusals[0].text);
    es_unit_done(&unit);
}

Test(es_sink, a_mapping_without_a_field_of_the_schema_is_fatal)
{
    struct ls_err err;
    es_index_anew(f, "{" MAPPING_WITHOUT_NAME("long") "}}");
    cr_expect_eq(es_apply_one(f, "a", 10, "x", &err), LS_FATAL);
    cr_expect_not_null(strstr(err.text, "lockstep schema apply"), "%s", err.text);
}

Test(es_sink, a_missing_index_is_fatal_and_is_not_made_by_writing)
{
    struct ls_err err;
    LS_CLEANUP_FREE char *path = ls_asprintf("/%s", f->index);
    json_decref(es_http(f, "DELETE", path, NULL));
    cr_expect_eq(es_apply_one(f, "a", 10, "x", &err), LS_FATAL);
    cr_expect_not_null(strstr(err.text, "lockstep schema apply"), "%s", err.text);
    cr_expect_null(es_http(f, "GET", path, NULL));
}

Test(es_sink, a_blocked_index_is_tried_again)
{
    LS_CLEANUP_FREE char *path = ls_asprintf("/%s/_settings", f->index);
    json_decref(es_http(f, "PUT", path, "{\"index.blocks.write\":true}"));
    struct ls_err err;
    cr_expect_eq(es_apply_one(f, "a", 10, "x", &err), LS_RETRY);
    cr_expect_eq(err.class, LS_ERR_RETRY, "%s", err.text);
    json_decref(es_http(f, "PUT", path, "{\"index.blocks.write\":false}"));
    cr_expect_eq(es_apply_one(f, "a", 10, "x", NULL), LS_APPLIED);
}

Test(es_sink, records_with_a_verdict_are_left_alone)
{
    struct ls_unit unit = {0};
    es_named(f, "a", 10, "x");
    es_named(f, "b", 10, "x")->verdict = LS_SUPERSEDED;
    es_named(f, "c", 10, "x");
    es_apply(f, &unit);
    cr_expect_eq(es_count(f, LS_APPLIED), 2);
    cr_expect_eq(f->records[1].verdict, LS_SUPERSEDED);
    cr_expect_not(es_fetch(f, "b").found);
}

static void add_many(unsigned n, uint64_t version)
{
    char key[24];
    static struct ls_span tags[] = {{"red", 3}, {"tall", 4}};
    f->n_records = 0;
    ls_arena_reset(&f->arena);
    for (unsigned i = 0; i < n; i++) {
        struct ls_value values[ES_FIELDS] = {
            [ES_NAME] = {.present = true, .text = {"a name of thirty-two characters", 31}},
            [ES_POINTS] = {.present = true, .number = i},
            [ES_BALANCE] = {.present = true, .real = i / 4.0},
            [ES_VIP] = {.present = true, .number = i % 2},
            [ES_TAGS] = {.present = true, .count = 2, .list = tags},
        };
        snprintf(key, sizeof(key), "plant-%07u", i);
        es_record(f, key, version, values);
    }
}

Test(es_sink, a_unit_larger_than_a_request_is_sent_in_several)
{
    es_lane_stop(f);
    f->config.bulk_bytes = 20000;
    es_lane_start(f);
    struct ls_unit unit = {0};
    add_many(1000, 10);
    es_apply(f, &unit);
    cr_expect_eq(es_count(f, LS_APPLIED), 1000);
}

Test(es_sink, a_closing_lane_gives_every_unit_back)
{
    struct ls_unit units[8] = {0};
    add_many(8 * 500, 10);
    for (unsigned i = 0; i < 8; i++) {
        units[i].records = f->pointers + i * 500;
        units[i].n_records = 500;
        ls_lane_submit(f->lane, &units[i]);
    }
    unsigned seen = 0;
    for (struct ls_unit *left = ls_lane_stop(f->lane); left != NULL; left = left->next)
        seen++;
    for (struct ls_unit *unit = ls_returns_take(f->returns); unit != NULL; unit = unit->next) {
        seen++;
        for (uint32_t i = 0; i < unit->n_records; i++)
            cr_expect_neq(unit->records[i]->verdict, LS_PENDING);
    }
    cr_expect_eq(seen, 8);
    ls_es_sink_ops.close(f->sink);
    ls_returns_free(f->returns);
    f->lane = NULL;
}

/* Whole units, as the instance cuts them; seconds until the last is back. */
static double run_units(unsigned n_records, unsigned per_unit)
{
    unsigned n = (n_records + per_unit - 1) / per_unit;
    struct ls_unit *units = ls_calloc(n, sizeof(*units));
    int64_t start_us = ls_mono_us();
    for (unsigned i = 0; i < n; i++) {
        units[i].records = f->pointers + i * per_unit;
        units[i].n_records =
            n_records - i * per_unit < per_unit ? n_records - i * per_unit : per_unit;
        ls_lane_submit(f->lane, &units[i]);
    }
    for (unsigned seen = 0; seen < n;) {
        struct pollfd wait = {.fd = ls_returns_fd(f->returns), .events = POLLIN};
        cr_assert_eq(poll(&wait, 1, 60000), 1, "%u of %u units came back", seen, n);
        for (struct ls_unit *unit = ls_returns_take(f->returns); unit; unit = unit->next)
            seen++;
    }
    double seconds = (double)(ls_mono_us() - start_us) / 1e6;
    free(units);
    return seconds;
}

Test(es_sink, many_units_in_flight_all_end_and_a_second_pass_is_stale)
{
    enum { N = 20000 };
    add_many(N, 10);
    double first = run_units(N, 2000);
    cr_expect_eq(es_count(f, LS_APPLIED), N);
    for (unsigned i = 0; i < N; i++)
        f->records[i].verdict = LS_PENDING;
    double again = run_units(N, 2000);
    cr_expect_eq(es_count(f, LS_STALE), N);
    fprintf(stderr, "es lane: %.0f docs/s, all stale %.0f docs/s\n", N / first, N / again);
}
