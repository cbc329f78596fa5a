/*
 * Which marks a whole replay leaves in a store.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "consumers/replay.h"
#include "schema/key.h"

#define UUID "0b9d2a5e-3c1f-4b7a-9d68-1f2e3d4c5b6a"

enum { N = 3 };

static const struct ls_entity_config entity = {.generation = 2, .partitions = N};
static const struct ls_range ranges[N] = {{0, 10}, {5, 20}, {5, 30}};
static const int64_t at_ms[N] = {1001, 1002, 1003};

static size_t choose(struct ls_mark *marks)
{
    struct ls_genesis genesis[N] = {0};
    for (size_t i = 0; i < N; i++)
        snprintf(genesis[i].uuid, sizeof(genesis[i].uuid), "%s", UUID);
    return ls_replay_marks(marks, N, &entity, genesis, ranges, at_ms);
}

Test(replay, marks_say_when_the_record_before_them_was_appended)
{
    struct ls_mark marks[N] = {{.partition = 0}, {.partition = 1}, {.partition = 2}};
    cr_assert_eq(choose(marks), N);
    for (size_t i = 0; i < N; i++) {
        cr_expect_eq(marks[i].partition, (int32_t)i);
        cr_expect_eq(marks[i].version, ls_version(2, ranges[i].to - 1));
        cr_expect_str_eq(marks[i].genesis, UUID);
        cr_expect_eq(marks[i].at_ms, at_ms[i]);
    }
}

Test(replay, a_mark_is_kept_where_the_log_reaches_it)
{
    struct ls_mark marks[N] = {
        {.partition = 0, .version = ls_version(2, 3), .genesis = UUID, .at_ms = 7},
        {.partition = 1, .version = ls_version(2, 4), .genesis = UUID, .at_ms = 8},
        {.partition = 2, .version = ls_version(2, 3), .genesis = UUID, .at_ms = 9}};
    cr_assert_eq(choose(marks), 1, "the log begins behind the third");
    cr_expect_eq(marks[0].partition, 2);
    cr_expect_eq(marks[0].version, ls_version(2, 29));
    cr_expect_eq(marks[0].at_ms, 1003);
}
