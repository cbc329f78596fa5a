/*
 * Looks and marks of the Redis lane against a real cluster: a mark is written only where the lane
 * saw what stands there and only on the server that it greeted, and every way in which a store goes
 * back in time is a doubt.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "consumers/redis_encode.h"
#include "redis_fixture.h"

TestSuite(redis_marks, .timeout = 120);

#define GENESIS_A "11111111-2222-3333-4444-555555555555"
#define GENESIS_B "99999999-2222-3333-4444-555555555555"

struct eyes {
    struct redis_fixture f;
    struct ls_mark marks[FIXTURE_PARTITIONS]; /* as the last look saw them */
    struct ls_look look;
    struct ls_unit unit; /* of the last look or writing */
};

static void start(struct eyes *e)
{
    fixture_start(&e->f);
    fixture_lane_start(&e->f);
}

static void look(struct eyes *e, bool setup)
{
    fixture_look(&e->f, setup, e->marks, &e->look, &e->unit);
}

/* A look that can't fail. */
static void see(struct eyes *e)
{
    look(e, false);
    cr_assert_eq(e->unit.err.class, LS_ERR_NONE, "%s", e->unit.err.text);
}

static struct ls_mark mark_of(int32_t partition, uint64_t version, const char *genesis)
{
    struct ls_mark mark = {
        .partition = partition, .version = version, .at_ms = 7 + (int64_t)version};
    snprintf(mark.genesis, sizeof(mark.genesis), "%s", genesis);
    return mark;
}

/* Writes the marks of partitions 1 and 2. */
static bool write_marks(struct eyes *e, uint64_t version)
{
    struct ls_mark marks[2] = {mark_of(1, version, GENESIS_A), mark_of(2, version, GENESIS_A)};
    e->unit = (struct ls_unit){.marks = marks, .n_marks = 2};
    fixture_apply(&e->f, &e->unit);
    e->unit.marks = NULL;
    return e->unit.marks_written;
}

static void set_tag(struct eyes *e, unsigned tag, int32_t partition, uint64_t version,
                    const char *genesis)
{
    char name[LS_REDIS_KEY_MAX], value[LS_REDIS_MARK_BYTES];
    struct ls_mark mark = mark_of(partition, version, genesis);
    size_t len = ls_redis_mark_key(e->f.schema, partition, tag, name);
    ls_redis_put_mark(&mark, value);
    fixture_do(&e->f, fixture_owner(ls_redis_mark_slot(tag)), "SET %b %b", name, len, value,
               sizeof(value));
}

static uint64_t doubts(const struct eyes *e)
{
    return ls_lane_incarnation(e->f.lane);
}

Test(redis_marks, are_written_only_after_a_look_and_where_it_still_holds)
{
    struct eyes e;
    start(&e);
    cr_assert_not(write_marks(&e, 500));
    cr_assert(e.unit.marks_unexpected, "nobody has looked");
    look(&e, true);
    cr_assert_eq(e.unit.err.class, LS_ERR_NONE, "%s", e.unit.err.text);
    cr_assert_not(e.look.has_data);
    cr_assert_str_eq(e.marks[1].genesis, "");
    cr_assert(write_marks(&e, 500), "%s", e.unit.err.text);
    cr_assert(write_marks(&e, 600), "on its own writing");
    see(&e);
    cr_assert_eq(e.marks[1].version, 600);
    cr_assert_eq(e.marks[2].at_ms, 607);
    cr_assert_str_eq(e.marks[1].genesis, GENESIS_A);
    cr_assert_str_eq(e.marks[0].genesis, "");

    /* Somebody else moved one tag on: this lane leaves it alone until it has seen it. */
    set_tag(&e, 40, 1, 650, GENESIS_A);
    cr_assert_not(write_marks(&e, 620));
    cr_assert(e.unit.marks_unexpected);
    cr_assert_eq(e.unit.err.class, LS_ERR_NONE, "%s", e.unit.err.text);
    see(&e);
    cr_assert_eq(e.marks[1].version, 620, "the other tags were written, and the oldest counts");
    cr_assert(write_marks(&e, 610), "back, too, after a look");
    see(&e);
    cr_assert_eq(e.marks[1].version, 610);
    cr_assert_eq(doubts(&e), 0, "what this lane wrote itself is no doubt");
    fixture_stop(&e.f);
}

Test(redis_marks, a_tag_of_another_type_is_none_and_a_strange_string_is_replaced)
{
    struct eyes e;
    char name[LS_REDIS_KEY_MAX], odd[LS_REDIS_MARK_BYTES] = {0};
    start(&e);
    size_t len = ls_redis_mark_key(e.f.schema, 1, 9, name);
    int node = fixture_owner(ls_redis_mark_slot(9));
    fixture_do(&e.f, node, "HSET %b a b", name, len);
    see(&e);
    cr_assert(write_marks(&e, 5), "%s", e.unit.err.text);
    fixture_do(&e.f, node, "SET %b garbage", name, len);
    see(&e);
    cr_assert_str_eq(e.marks[1].genesis, "");
    cr_assert(write_marks(&e, 6), "%s", e.unit.err.text);
    fixture_do(&e.f, node, "SET %b %b", name, len, odd, sizeof(odd));
    see(&e);
    cr_assert_str_eq(e.marks[1].genesis, "");
    cr_assert(write_marks(&e, 7), "%s", e.unit.err.text);
    see(&e);
    cr_assert_eq(e.marks[1].version, 7);
    fixture_stop(&e.f);
}

Test(redis_marks, a_look_tells_data_only_where_there_is_no_mark)
{
    struct eyes e;
    start(&e);
    look(&e, true);
    cr_assert_not(e.look.has_data);
    cr_assert_eq(fixture_apply_one(&e.f, "rex", 1, "x", NULL), LS_APPLIED);
    look(&e, true);
    cr_assert(e.look.has_data);
    cr_assert_str_eq(e.marks[1].genesis, "");
    fixture_stop(&e.f);
}

Test(redis_marks, an_emptied_master_is_a_doubt_and_the_rest_may_be_moved_back)
{
    struct eyes e;
    start(&e);
    see(&e);
    cr_assert(write_marks(&e, 500));
    fixture_do(&e.f, 1, "FLUSHALL");
    cr_assert_not(write_marks(&e, 600));
    cr_assert(e.unit.marks_unexpected);
    see(&e);
    cr_assert_eq(doubts(&e), 1);
    cr_assert_eq(e.marks[1].version, 0);
    cr_assert_str_eq(e.marks[1].genesis, GENESIS_A);
    see(&e);
    cr_assert_eq(doubts(&e), 1, "the same again is no new doubt");
    cr_assert(write_marks(&e, 100));
    see(&e);
    cr_assert_eq(e.marks[1].version, 100, "the tags that stood at 600 too");
    fixture_stop(&e.f);
}

Test(redis_marks, an_emptied_master_is_a_doubt_even_when_its_marks_were_at_zero)
{
    struct eyes e;
    start(&e);
    see(&e);
    cr_assert(write_marks(&e, 0));
    cr_assert_eq(fixture_apply_one(&e.f, "rex", 1, "x", NULL), LS_APPLIED);
    fixture_do(&e.f, fixture_owner(ls_redis_slot("rex", 3)), "FLUSHALL");
    see(&e);
    cr_assert_eq(e.marks[1].version, 0, "which is what was written, and yet a record is lost");
    cr_assert_eq(doubts(&e), 1);
    fixture_stop(&e.f);
}

Test(redis_marks, a_restarted_master_is_a_doubt_and_no_older_request_writes_a_mark_to_it)
{
    struct eyes e;
    start(&e);
    see(&e);
    fixture_do(&e.f, 2, "CONFIG SET appendfsync always"); /* else the kill may lose the mark */
    cr_assert(write_marks(&e, 500));
    fixture_kill(&e.f, 2);
    cr_assert_not(write_marks(&e, 600));
    cr_assert_eq(e.unit.err.class, LS_ERR_RETRY, "%s", e.unit.err.text);
    fixture_boot(&e.f, 2);
    fixture_wait_ok(&e.f);
    /* Given before anybody knows of the restart: greeting the node is what tells. */
    cr_assert_not(write_marks(&e, 600));
    cr_assert_eq(doubts(&e), 1);
    see(&e);
    cr_assert_eq(e.marks[1].version, 500);
    cr_assert(write_marks(&e, 600), "%s", e.unit.err.text);
    cr_assert_eq(doubts(&e), 1);
    fixture_stop(&e.f);
}

Test(redis_marks, a_connection_that_breaks_is_no_doubt)
{
    struct eyes e;
    start(&e);
    see(&e);
    cr_assert(write_marks(&e, 500));
    for (int node = 0; node < FIXTURE_MASTERS; node++)
        fixture_do(&e.f, node, "CLIENT KILL TYPE normal SKIPME yes");
    if (!write_marks(&e, 600)) { /* the lane may have heard of it only now */
        cr_assert_eq(e.unit.err.class, LS_ERR_RETRY, "%s", e.unit.err.text);
        see(&e);
        cr_assert(write_marks(&e, 600), "%s", e.unit.err.text);
    }
    cr_assert_eq(doubts(&e), 0);
    fixture_stop(&e.f);
}

Test(redis_marks, that_name_two_logs_halt_the_sink_and_are_none_to_a_resync)
{
    struct eyes e;
    start(&e);
    see(&e);
    cr_assert(write_marks(&e, 500));
    set_tag(&e, 77, 1, 700, GENESIS_B);
    see(&e);
    cr_assert_str_eq(e.marks[1].genesis, "");
    cr_assert_str_eq(e.marks[2].genesis, GENESIS_A);
    cr_assert_not(write_marks(&e, 0));
    cr_assert_eq(e.unit.err.class, LS_ERR_FATAL);
    cr_assert_not_null(strstr(e.unit.err.text, GENESIS_B), "%s", e.unit.err.text);
    cr_assert_not_null(strstr(e.unit.err.text, "lockstep resync --sink redis-t"), "%s",
                       e.unit.err.text);
    set_tag(&e, 77, 1, 500, GENESIS_A);
    see(&e);
    cr_assert(write_marks(&e, 600), "%s", e.unit.err.text);
    fixture_stop(&e.f);
}

Test(redis_marks, a_look_finds_a_setting_that_drops_members_while_all_is_connected)
{
    struct eyes e;
    start(&e);
    see(&e);
    fixture_do(&e.f, 2, "CONFIG SET maxmemory-policy allkeys-lru");
    look(&e, false);
    cr_assert_eq(e.unit.err.class, LS_ERR_FATAL);
    cr_assert_not_null(strstr(e.unit.err.text, "noeviction"), "%s", e.unit.err.text);
    fixture_do(&e.f, 2, "CONFIG SET maxmemory-policy noeviction");
    see(&e);
    fixture_stop(&e.f);
}

static void move_slot(struct redis_fixture *f, int from, int to, unsigned slot, const char *name,
                      size_t len)
{
    redisReply *from_id = fixture_command(f, from, "CLUSTER MYID");
    redisReply *to_id = fixture_command(f, to, "CLUSTER MYID");
    fixture_do(f, to, "CLUSTER SETSLOT %d IMPORTING %s", slot, from_id->str);
    fixture_do(f, from, "CLUSTER SETSLOT %d MIGRATING %s", slot, to_id->str);
    fixture_do(f, from, "MIGRATE 127.0.0.1 %d %s 0 5000 AUTH2 tester %s KEYS %b", f->ports[to], "",
               "open sesame", name, len);
    freeReplyObject(from_id);
    freeReplyObject(to_id);
}

Test(redis_marks, of_a_slot_that_is_half_moved_are_read_and_written_one_by_one)
{
    enum { TAG = 3 };
    struct eyes e;
    char name[LS_REDIS_KEY_MAX];
    start(&e);
    see(&e);
    cr_assert(write_marks(&e, 500));
    unsigned slot = ls_redis_mark_slot(TAG);
    int from = fixture_owner((uint16_t)slot), to = (from + 1) % FIXTURE_MASTERS;
    size_t len = ls_redis_mark_key(e.f.schema, 1, TAG, name);
    move_slot(&e.f, from, to, slot, name, len); /* and not that of partition 2 */
    cr_assert(write_marks(&e, 600), "%s", e.unit.err.text);
    see(&e);
    cr_assert_eq(e.marks[1].version, 600);
    cr_assert_eq(e.marks[2].version, 600);

    len = ls_redis_mark_key(e.f.schema, 2, TAG, name);
    redisReply *to_id = fixture_command(&e.f, to, "CLUSTER MYID");
    fixture_do(&e.f, from, "MIGRATE 127.0.0.1 %d %s 0 5000 AUTH2 tester %s KEYS %b", e.f.ports[to],
               "", "open sesame", name, len);
    fixture_do(&e.f, to, "CLUSTER SETSLOT %d NODE %s", slot, to_id->str);
    fixture_do(&e.f, from, "CLUSTER SETSLOT %d NODE %s", slot, to_id->str);
    freeReplyObject(to_id);
    cr_assert_not(write_marks(&e, 700), "a mark follows no MOVED");
    cr_assert_eq(e.unit.err.class, LS_ERR_RETRY);
    cr_assert(write_marks(&e, 700), "%s", e.unit.err.text);
    see(&e);
    cr_assert_eq(e.marks[2].version, 700);
    cr_assert_eq(doubts(&e), 0, "slots that a person moves are no doubt");
    fixture_stop(&e.f);
}
