/* Marks in Elasticsearch against a real node: guarded by compare-and-set, reset, gone, foreign;
 * looks. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "es_fixture.h"

static struct es_fixture fixture;
static struct es_fixture *f = &fixture;

static struct ls_mark make_mark(int32_t partition, uint64_t version)
{
    struct ls_mark mark = {.partition = partition, .version = version, .at_ms = 1000};
    snprintf(mark.genesis, sizeof(mark.genesis), ES_GENESIS);
    return mark;
}

static void reset(int32_t partition, uint64_t version)
{
    struct ls_err err = {0};
    struct ls_mark mark = make_mark(partition, version);
    cr_assert_eq(ls_es_store_ops.reset_marks(f->store, &mark, 1, &err), 0, "%s", err.text);
}

static struct ls_mark held(int32_t partition)
{
    struct ls_err err = {0};
    struct ls_mark mark = {.partition = partition};
    cr_assert_eq(ls_es_store_ops.read_marks(f->store, &mark, 1, &err), 0, "%s", err.text);
    return mark;
}

/* Writes one mark; the unit as it came back. */
static struct ls_unit write_by(struct es_fixture *lane, int32_t partition, uint64_t version)
{
    static struct ls_mark mark;
    mark = make_mark(partition, version);
    struct ls_unit unit = {.marks = &mark, .n_marks = 1};
    lane->n_records = 0;
    es_apply(lane, &unit);
    return unit;
}

static bool write_mark(int32_t partition, uint64_t version)
{
    struct ls_unit unit = write_by(f, partition, version);
    cr_assert_eq(unit.err.class, LS_ERR_NONE, "%s", unit.err.text);
    cr_assert(unit.marks_written != unit.marks_unexpected, "one or the other");
    return unit.marks_written;
}

static void look_well(struct es_fixture *lane, bool setup)
{
    struct ls_unit *unit = es_look(lane, setup);
    cr_assert_eq(unit->err.class, LS_ERR_NONE, "%s", unit->err.text);
}

static void begin(void)
{
    es_start(f);
    es_lane_start(f);
    for (int32_t i = 0; i < ES_PARTITIONS; i++)
        reset(i, 0);
    look_well(f, true);
}

static void end(void)
{
    es_stop(f);
}

TestSuite(es_marks, .init = begin, .fini = end, .timeout = 60);

Test(es_marks, a_mark_moves_forward_and_is_read_back)
{
    cr_expect_str_eq(held(2).genesis, ES_GENESIS);
    cr_expect_eq(held(2).version, 0);
    cr_expect(write_mark(2, UINT64_C(1) << 48 | 5));
    cr_expect(write_mark(2, UINT64_C(1) << 48 | 7));
    cr_expect_eq(held(2).version, UINT64_C(1) << 48 | 7);
    cr_expect_eq(held(2).at_ms, 1000);
}

Test(es_marks, marks_of_several_partitions_go_with_records)
{
    struct ls_mark marks[] = {make_mark(0, 5), make_mark(1, 6), make_mark(3, 7)};
    struct ls_unit unit = {.marks = marks, .n_marks = 3};
    es_named(f, "a", 10, "x");
    es_apply(f, &unit);
    cr_expect(unit.marks_written, "%s", unit.err.text);
    cr_expect_eq(f->records[0].verdict, LS_APPLIED);
    cr_expect_eq(held(0).version, 5);
    cr_expect_eq(held(1).version, 6);
    cr_expect_eq(held(3).version, 7);
}

Test(es_marks, a_look_finds_set_up_data_and_marks)
{
    cr_expect_not(f->look.has_data, "marks are no data");
    cr_assert(write_mark(1, 50));
    cr_assert_eq(es_apply_one(f, "a", 10, "x", NULL), LS_APPLIED);
    look_well(f, true);
    cr_expect(f->look.has_data);
    cr_expect_eq(f->marks[1].version, 50);
    cr_expect_eq(f->marks[0].version, 0);
    cr_expect_str_eq(f->marks[0].genesis, ES_GENESIS);
    LS_CLEANUP_FREE char *path = ls_asprintf("/%s/_settings", f->index);
    json_decref(es_http(f, "PUT", path, "{\"index.translog.durability\":\"async\"}"));
    struct ls_unit *unit = es_look(f, true);
    cr_expect_eq(unit->err.class, LS_ERR_FATAL);
    cr_expect_not_null(strstr(unit->err.text, "durability"), "%s", unit->err.text);
    look_well(f, false);
}

Test(es_marks, a_lane_that_has_not_looked_writes_no_mark)
{
    es_lane_stop(f);
    es_lane_start(f);
    cr_expect_not(write_mark(0, 5));
    cr_expect_eq(held(0).version, 0);
    look_well(f, false);
    cr_expect(write_mark(0, 5));
}

Test(es_marks, a_zombie_cannot_move_a_mark_back)
{
    cr_assert(write_mark(0, 5));
    struct es_fixture owner = *f;
    es_lane_start(&owner);
    look_well(&owner, false);
    cr_assert(write_by(&owner, 0, 9).marks_written);
    cr_expect_not(write_mark(0, 7), "the other one's mark is not what this lane saw");
    cr_expect_eq(held(0).version, 9);
    cr_expect_not(write_mark(0, 12), "nor is it known before a look");
    look_well(f, false);
    cr_expect_eq(f->marks[0].version, 9);
    cr_expect(write_mark(0, 12));
    es_lane_stop(&owner);
}

Test(es_marks, a_reset_moves_back_at_once_and_is_noticed)
{
    cr_assert(write_mark(1, 50));
    reset(1, 20);
    cr_expect_eq(held(1).version, 20);
    cr_expect_not(write_mark(1, 60), "this lane would have skipped 21 to 50");
    cr_expect_eq(held(1).version, 20);
    look_well(f, false);
    cr_expect_eq(f->marks[1].version, 20);
    cr_expect(write_mark(1, 30), "it starts again from what the index holds");
    cr_expect_eq(held(1).version, 30);
}

Test(es_marks, an_index_made_anew_puts_the_lane_in_doubt_and_gets_no_mark_unseen)
{
    struct ls_err err = {0};
    char why[256] = "";
    cr_assert(write_mark(0, 5));
    LS_CLEANUP_FREE char *path = ls_asprintf("/%s", f->index);
    json_decref(es_http(f, "DELETE", path, NULL));
    cr_assert_eq(ls_es_store_ops.apply(f->store, NULL, NULL, &err), 0, "%s", err.text);
    cr_expect_not(write_mark(0, 9));
    cr_expect_str_eq(held(0).genesis, "");
    uint64_t incarnation = ls_lane_incarnation(f->lane);
    look_well(f, false);
    cr_expect_str_eq(f->marks[0].genesis, "");
    cr_expect_eq(ls_lane_incarnation(f->lane), incarnation + 1);
    ls_lane_doubt(f->lane, why, sizeof(why));
    cr_expect_not_null(strstr(why, "deleted and made again"), "%s", why);
    cr_expect(write_mark(0, 0), "the first mark, now that it was seen that there is none");
    cr_expect_str_eq(held(0).genesis, ES_GENESIS);
}

Test(es_marks, a_mark_that_speaks_of_other_data_counts_as_one_at_zero)
{
    cr_assert(write_mark(0, 5));
    cr_assert(write_mark(1, 6));
    LS_CLEANUP_FREE char *path = ls_asprintf("/%s/_doc/%%7Bmark%%7D:1?routing=1", f->index);
    json_t *answer = es_http(f, "GET", path, NULL);
    json_t *doc = json_object_get(answer, "_source");
    cr_assert_not_null(doc, "%s", path);
    cr_expect_eq(strlen(json_string_value(json_object_get(doc, "_home"))), 16);
    json_object_set_new(doc, "_home", json_string("0123456789abcdef"));
    char *body = json_dumps(doc, 0);
    json_decref(es_http(f, "PUT", path, body));
    free(body);
    json_decref(answer);
    cr_expect_eq(held(1).version, 0);
    look_well(f, false);
    cr_expect_eq(f->marks[0].version, 5);
    cr_expect_eq(f->marks[1].version, 0);
    cr_expect_str_eq(f->marks[1].genesis, ES_GENESIS);
    cr_expect(write_mark(1, 2), "and it moves on from there");
    cr_expect_eq(held(1).version, 2);
}

Test(es_marks, another_logs_mark_is_left_alone)
{
    struct ls_err err = {0};
    struct ls_mark foreign = make_mark(0, 5);
    foreign.genesis[0] = 'f';
    cr_assert_eq(ls_es_store_ops.reset_marks(f->store, &foreign, 1, &err), 0);
    cr_expect_not(write_mark(0, 9));
    look_well(f, false);
    cr_expect_str_eq(f->marks[0].genesis, foreign.genesis);
    cr_expect_eq(held(0).version, 5);
}

Test(es_marks, marks_of_a_missing_index_are_fatal)
{
    struct ls_err err = {0};
    LS_CLEANUP_FREE char *path = ls_asprintf("/%s", f->index);
    json_decref(es_http(f, "DELETE", path, NULL));
    struct ls_mark mark = {.partition = 0};
    cr_expect_eq(ls_es_store_ops.read_marks(f->store, &mark, 1, &err), -1);
    cr_expect_eq(err.class, LS_ERR_FATAL);
    cr_expect_not_null(strstr(err.text, "lockstep schema apply"), "%s", err.text);
    struct ls_unit unit = write_by(f, 0, 9);
    cr_expect_not(unit.marks_written);
    cr_expect_eq(unit.err.class, LS_ERR_FATAL, "%s", unit.err.text);
    struct ls_unit *look = es_look(f, false);
    cr_expect_eq(look->err.class, LS_ERR_FATAL);
    cr_expect_not_null(strstr(look->err.text, "lockstep schema apply"), "%s", look->err.text);
    mark = make_mark(0, 1);
    cr_expect_eq(ls_es_store_ops.reset_marks(f->store, &mark, 1, &err), -1);
    cr_expect_eq(err.class, LS_ERR_FATAL, "%s", err.text);
}
