/* Looks and marks of the MySQL lane, against real servers: each test has partitions of its own. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "mysql_fixture.h"
#include "schema/mysql_ddl.h"

#define ENTITY "livemarks"
#define LOG    "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
#define OTHER  "99999999-bbbb-cccc-dddd-eeeeeeeeeeee"

enum { PARTITIONS = 16 };

static struct mysql_fixture f;
static struct ls_mysql direct; /* to the first server, past the lane */

static void setup(void)
{
    mysql_fixture_init(&f, ENTITY);
    f.entity.partitions = PARTITIONS; /* enough for tests that run side by side */
    ls_mysql_lane_free(f.lanes[0]);
    f.lanes[0] = ls_mysql_lane_new(&f.sink, &f.sink.servers[0], NULL);
    mysql_connect_to(&f, 0, &direct);
}

static void teardown(void)
{
    ls_mysql_close(&direct);
    mysql_fixture_free(&f);
}

TestSuite(mysql_marks, .init = setup, .fini = teardown, .timeout = 120);

MYSQL_DROPS_AFTER(mysql_marks, ENTITY)

static void set_mark(int32_t partition, const char *genesis, uint64_t version)
{
    mysql_must(&direct, "REPLACE INTO " ENTITY "_mark VALUES (%d, '%s', 1, %llu)", partition,
               genesis, (unsigned long long)version);
}

static void drop_mark(int32_t partition)
{
    mysql_must(&direct, "DELETE FROM " ENTITY "_mark WHERE _partition = %d", partition);
}

static struct ls_mark mark_of(int32_t partition, uint64_t version)
{
    return (struct ls_mark){
        .partition = partition, .version = version, .at_ms = 6000, .genesis = LOG};
}

/* A look at one partition; unit is its result. */
static struct ls_mark look(int32_t partition, bool setup_too, struct ls_unit *unit)
{
    static struct ls_look request;
    static struct ls_mark mark;
    request = (struct ls_look){.setup = setup_too};
    mark = (struct ls_mark){.partition = partition};
    *unit = (struct ls_unit){.marks = &mark, .n_marks = 1, .look = &request};
    ls_mysql_lane_work(f.lanes[0], unit);
    return mark;
}

static struct ls_unit move(struct ls_mark *marks, uint32_t n)
{
    struct ls_unit unit = {.marks = marks, .n_marks = n};
    ls_mysql_lane_work(f.lanes[0], &unit);
    return unit;
}

/* The mark as the store has it; version 0 and no genesis where it has none. */
static struct ls_mark stored(int32_t partition)
{
    struct ls_mark mark = {.partition = partition};
    char sql[120];
    int len =
        snprintf(sql, sizeof(sql),
                 "SELECT _genesis, _at, _v FROM " ENTITY "_mark WHERE _partition = %d", partition);
    MYSQL_RES *rows;
    struct ls_err err = {0};
    cr_assert_eq(ls_mysql_rows(&direct, sql, (size_t)len, &rows, &err), 0, "%s", err.text);
    MYSQL_ROW row = mysql_fetch_row(rows);
    if (row != NULL) {
        snprintf(mark.genesis, sizeof(mark.genesis), "%s", row[0]);
        mark.at_ms = strtoll(row[1], NULL, 10);
        mark.version = strtoull(row[2], NULL, 10);
    }
    mysql_free_result(rows);
    return mark;
}

Test(mysql_marks, a_mark_that_was_never_looked_at_is_not_moved)
{
    set_mark(0, LOG, 50);
    struct ls_mark mark = mark_of(0, 60);
    struct ls_unit unit = move(&mark, 1);
    cr_expect(unit.marks_unexpected);
    cr_expect_not(unit.marks_written);
    cr_expect_eq(unit.err.class, LS_ERR_NONE, "%s", unit.err.text);
    cr_expect_eq(stored(0).version, 50);
}

Test(mysql_marks, a_mark_moves_from_what_a_look_or_the_lane_itself_left)
{
    struct ls_unit unit;
    set_mark(1, LOG, 50);
    cr_expect_eq(look(1, false, &unit).version, 50, "%s", unit.err.text);
    static const uint64_t versions[] = {60, 75, 20}; /* back, too: the lane saw what it replaces */
    for (size_t i = 0; i < LS_COUNT(versions); i++) {
        struct ls_mark mark = mark_of(1, versions[i]);
        unit = move(&mark, 1);
        cr_expect(unit.marks_written, "%s", unit.err.text);
        cr_expect_eq(stored(1).version, versions[i]);
    }
    cr_expect_eq(stored(1).at_ms, 6000);
    cr_expect_str_eq(stored(1).genesis, LOG);
}

/* A mark that changed between the look and the writing, to what change() makes of it. */
static void changed_meanwhile(int32_t partition, const char *genesis, uint64_t version)
{
    struct ls_unit unit;
    set_mark(partition, LOG, 50);
    look(partition, false, &unit);
    if (genesis != NULL)
        set_mark(partition, genesis, version);
    else
        drop_mark(partition);
    struct ls_mark mark = mark_of(partition, 60);
    unit = move(&mark, 1);
    cr_expect(unit.marks_unexpected);
    cr_expect_not(unit.marks_written);
    cr_expect_eq(unit.err.class, LS_ERR_NONE, "%s", unit.err.text);
    cr_expect_str_eq(stored(partition).genesis, genesis != NULL ? genesis : "");
    cr_expect_eq(stored(partition).version, version);
    look(partition, false, &unit);
    unit = move(&mark, 1);
    cr_expect(unit.marks_written, "after a look: %s", unit.err.text);
    cr_expect_eq(stored(partition).version, 60);
}

Test(mysql_marks, a_mark_that_went_back_is_not_covered_up)
{
    changed_meanwhile(2, LOG, 40);
}

Test(mysql_marks, a_mark_that_somebody_moved_on_is_not_moved_back)
{
    changed_meanwhile(4, LOG, 70);
}

Test(mysql_marks, a_mark_of_another_log_is_left_as_it_is)
{
    changed_meanwhile(5, OTHER, 50);
}

Test(mysql_marks, a_mark_that_vanished_is_not_made_again_without_a_look)
{
    changed_meanwhile(6, NULL, 0);
}

Test(mysql_marks, of_two_first_marks_the_second_changes_nothing)
{
    struct ls_unit unit;
    drop_mark(3);
    cr_expect_str_eq(look(3, false, &unit).genesis, "");
    struct ls_mark mark = mark_of(3, 0);
    set_mark(3, LOG, 30);
    unit = move(&mark, 1);
    cr_expect(unit.marks_unexpected);
    cr_expect_eq(stored(3).version, 30);
    drop_mark(3);
    unit = move(&mark, 1);
    cr_expect(unit.marks_written, "%s", unit.err.text);
    cr_expect_str_eq(stored(3).genesis, LOG);
}

Test(mysql_marks, one_unexpected_mark_does_not_keep_the_others)
{
    struct ls_unit unit;
    set_mark(7, LOG, 50);
    set_mark(8, LOG, 50);
    look(7, false, &unit);
    look(8, false, &unit);
    set_mark(7, LOG, 45);
    struct ls_mark marks[] = {mark_of(7, 60), mark_of(8, 60)};
    unit = move(marks, 2);
    cr_expect(unit.marks_unexpected);
    cr_expect_not(unit.marks_written);
    cr_expect_eq(stored(7).version, 45);
    cr_expect_eq(stored(8).version, 60);
}

Test(mysql_marks, a_look_with_set_up_tells_data_of_its_own_partitions_only)
{
    struct ls_unit unit;
    mysql_must(&direct, "DELETE FROM " ENTITY "_0009; DELETE FROM " ENTITY "_0010");
    mysql_must(&direct, "INSERT INTO " ENTITY "_0010 (id, _at, _deleted, _h, _v) "
                        "VALUES ('x', 1, 0, 0, 1)");
    look(9, true, &unit); /* shards 9 and 10 are of partitions 9 and 10 */
    cr_expect_eq(unit.err.class, LS_ERR_NONE, "%s", unit.err.text);
    cr_expect_not(unit.look->has_data);
    look(10, true, &unit);
    cr_expect_eq(unit.err.class, LS_ERR_NONE, "%s", unit.err.text);
    cr_expect(unit.look->has_data);
    mysql_must(&direct, "DELETE FROM " ENTITY "_0010");
}

Test(mysql_marks, a_missing_table_is_fatal_for_the_partitions_that_need_it)
{
    struct ls_buf sql = {0};
    struct ls_unit unit;
    struct mysql_fixture usual = f;
    mysql_fixture_init_bare(&f, "livegone", 1);
    f.entity.partitions = LS_SHARDS; /* a table each; only the first is made */
    ls_mysql_lane_free(f.lanes[0]);
    f.lanes[0] = ls_mysql_lane_new(&f.sink, &f.sink.servers[0], NULL);
    ls_mysql_create_marks(f.entity.schema, &sql);
    ls_buf_append_char(&sql, ';');
    ls_mysql_create_shard(f.entity.schema, 0, &sql);
    mysql_must(&direct, "%s", ls_buf_cstr(&sql));
    ls_buf_free(&sql);
    look(0, true, &unit);
    cr_expect_eq(unit.err.class, LS_ERR_NONE, "%s", unit.err.text);
    look(8, true, &unit);
    cr_expect_eq(unit.err.class, LS_ERR_FATAL);
    cr_expect_not_null(strstr(unit.err.text, "livegone_0008 is missing"), "%s", unit.err.text);
    mysql_must(&direct, "DROP TABLE livegone_mark, livegone_0000");
    mysql_fixture_free(&f);
    f = usual;
}
