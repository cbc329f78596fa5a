/* Marks in Elasticsearch against a real node: guarded by compare-and-set, reset, gone, foreign. */
#include <criterion/criterion.h>
#include <stdio.h>

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

static bool write_mark(int32_t partition, uint64_t version, struct ls_err *ret_err)
{
    struct ls_mark mark = make_mark(partition, version);
    struct ls_unit unit = {.marks = &mark, .n_marks = 1};
    f->n_records = 0;
    es_apply(f, &unit);
    if (ret_err != NULL)
        *ret_err = unit.err;
    else
        cr_assert_eq(unit.err.class, LS_ERR_NONE, "%s", unit.err.text);
    return unit.marks_written;
}

static void begin(void)
{
    es_start(f);
    es_lane_start(f);
    for (int32_t i = 0; i < ES_PARTITIONS; i++)
        reset(i, 0);
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
    cr_expect(write_mark(2, UINT64_C(1) << 48 | 5, NULL));
    cr_expect(write_mark(2, UINT64_C(1) << 48 | 7, NULL));
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

Test(es_marks, a_zombie_cannot_move_a_mark_back)
{
    cr_assert(write_mark(0, 5, NULL));
    struct es_fixture zombie = *f;
    es_lane_start(&zombie);
    struct ls_mark ahead = make_mark(0, 9);
    struct ls_unit unit = {.marks = &ahead, .n_marks = 1};
    zombie.n_records = 0;
    es_apply(&zombie, &unit);
    cr_assert(unit.marks_written, "%s", unit.err.text);
    cr_expect(write_mark(0, 7, NULL), "what a newer mark covers counts as written");
    cr_expect_eq(held(0).version, 9);
    cr_expect(write_mark(0, 12, NULL), "and the lane goes on from there");
    cr_expect_eq(held(0).version, 12);
    es_lane_stop(&zombie);
}

Test(es_marks, a_reset_moves_back_at_once_and_is_noticed)
{
    struct ls_err err = {0};
    cr_assert(write_mark(1, 50, NULL));
    reset(1, 20);
    cr_expect_eq(held(1).version, 20);
    cr_expect_not(write_mark(1, 60, &err), "this lane would have skipped 21 to 50");
    cr_expect_eq(err.class, LS_ERR_FATAL);
    cr_expect_not_null(strstr(err.text, "went back from version 50 to 20"), "%s", err.text);
    cr_expect_eq(held(1).version, 20);
    cr_expect(write_mark(1, 30, NULL), "it starts again from what the index holds");
    cr_expect_eq(held(1).version, 30);
}

Test(es_marks, a_mark_that_is_gone_is_not_made_again)
{
    struct ls_err err = {0};
    cr_assert(write_mark(0, 5, NULL));
    json_t *made;
    LS_CLEANUP_FREE char *path = ls_asprintf("/%s", f->index);
    json_decref(es_http(f, "DELETE", path, NULL));
    cr_assert_eq(ls_es_store_ops.apply(f->store, NULL, NULL, &err), 0, "%s", err.text);
    made = es_http(f, "GET", path, NULL);
    cr_assert_not_null(made);
    json_decref(made);
    cr_expect_not(write_mark(0, 9, &err));
    cr_expect_eq(err.class, LS_ERR_FATAL);
    cr_expect_not_null(strstr(err.text, "no mark of partition 0"), "%s", err.text);
    cr_expect_str_eq(held(0).genesis, "");
}

Test(es_marks, another_logs_mark_is_fatal)
{
    struct ls_err err = {0};
    struct ls_mark foreign = make_mark(0, 5);
    foreign.genesis[0] = 'f';
    cr_assert_eq(ls_es_store_ops.reset_marks(f->store, &foreign, 1, &err), 0);
    cr_expect_not(write_mark(0, 9, &err));
    cr_expect_eq(err.class, LS_ERR_FATAL);
    cr_expect_not_null(strstr(err.text, "follows log"), "%s", err.text);
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
    mark = make_mark(0, 1);
    cr_expect_eq(ls_es_store_ops.reset_marks(f->store, &mark, 1, &err), -1);
    cr_expect_eq(err.class, LS_ERR_FATAL, "%s", err.text);
}
