/* The Redis store against a real cluster: marks, contents, and what is wrong with a set-up. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "consumers/redis_encode.h"
#include "redis_fixture.h"

TestSuite(redis_store, .timeout = 120);

#define GENESIS_A "11111111-2222-3333-4444-555555555555"
#define GENESIS_B "99999999-2222-3333-4444-555555555555"

static const struct ls_store_ops *const ops = &ls_redis_store_ops;

static struct ls_store *open_store(struct redis_fixture *f)
{
    struct ls_store *store = NULL;
    struct ls_err err = {0};
    cr_assert_eq(ops->open(&f->config, &store, &err), 0, "%s", err.text);
    return store;
}

static struct ls_mark mark_of(int32_t partition, uint64_t version, const char *genesis)
{
    struct ls_mark mark = {
        .partition = partition, .version = version, .at_ms = 7 + (int64_t)version};
    snprintf(mark.genesis, sizeof(mark.genesis), "%s", genesis);
    return mark;
}

static void read_marks(struct ls_store *store, struct ls_mark marks[4])
{
    struct ls_err err = {0};
    for (int32_t i = 0; i < 4; i++)
        marks[i] = (struct ls_mark){.partition = i};
    cr_assert_eq(ops->read_marks(store, marks, 4, &err), 0, "%s", err.text);
}

Test(redis_store, the_mark_is_the_oldest_of_all_tags)
{
    struct redis_fixture f;
    struct ls_mark marks[4];
    struct ls_err err = {0};
    fixture_start(&f);
    struct ls_store *store = open_store(&f);
    read_marks(store, marks);
    cr_assert_str_eq(marks[0].genesis, "", "an empty store has none");

    for (int32_t i = 0; i < 4; i++)
        marks[i] = mark_of(i, 500, GENESIS_A);
    marks[0].version = 0;
    cr_assert_eq(ops->reset_marks(store, marks, 4, &err), 0, "%s", err.text);
    read_marks(store, marks);
    cr_assert_eq(marks[0].version, 0);
    cr_assert_str_eq(marks[0].genesis, GENESIS_A);
    cr_assert_eq(marks[1].version, 500);
    cr_assert_eq(marks[1].at_ms, 507);

    /* One tag that lags (its master lost a write in a failover) is what counts. */
    char name[LS_REDIS_KEY_MAX], value[LS_REDIS_MARK_BYTES];
    size_t len = ls_redis_mark_key(f.schema, 1, 77, name);
    struct ls_mark older = mark_of(1, 450, GENESIS_A);
    ls_redis_put_mark(&older, value);
    int node = fixture_owner(ls_redis_mark_slot(77));
    fixture_do(&f, node, "SET %b %b", name, len, value, sizeof(value));
    read_marks(store, marks);
    cr_assert_eq(marks[1].version, 450);
    cr_assert_eq(marks[1].at_ms, 457);

    struct ls_mark foreign = mark_of(1, 450, GENESIS_B);
    ls_redis_put_mark(&foreign, value);
    fixture_do(&f, node, "SET %b %b", name, len, value, sizeof(value));
    read_marks(store, marks);
    cr_assert_str_eq(marks[1].genesis, "", "two logs: no mark that resync would have to heed");

    fixture_do(&f, node, "SET %b garbage", name, len);
    read_marks(store, marks);
    cr_assert_str_eq(marks[1].genesis, "", "a garbage mark is none");
    cr_assert_str_eq(marks[2].genesis, GENESIS_A);
    ops->close(store);
    fixture_stop(&f);
}

Test(redis_store, an_emptied_master_sets_every_mark_to_zero_in_the_log_that_the_others_name)
{
    struct redis_fixture f;
    struct ls_mark marks[4];
    struct ls_err err = {0};
    fixture_start(&f);
    struct ls_store *store = open_store(&f);
    for (int node = 0; node < FIXTURE_MASTERS; node++) {
        for (int32_t i = 0; i < 4; i++)
            marks[i] = mark_of(i, 9, GENESIS_A);
        cr_assert_eq(ops->reset_marks(store, marks, 4, &err), 0, "%s", err.text);
        read_marks(store, marks);
        cr_assert_eq(marks[3].version, 9);
        fixture_do(&f, node, "FLUSHALL");
        read_marks(store, marks);
        for (int i = 0; i < 4; i++) {
            cr_assert_str_eq(marks[i].genesis, GENESIS_A, "partition %d, node %d", i, node);
            cr_assert_eq(marks[i].version, 0, "partition %d, node %d", i, node);
            cr_assert_eq(marks[i].at_ms, 0, "partition %d, node %d", i, node);
        }
    }
    for (int node = 0; node < FIXTURE_MASTERS; node++)
        fixture_do(&f, node, "FLUSHALL");
    read_marks(store, marks);
    for (int i = 0; i < 4; i++)
        cr_assert_str_eq(marks[i].genesis, "", "partition %d: all masters are empty", i);
    ops->close(store);
    fixture_stop(&f);
}

struct seen {
    unsigned n, odd;
};

static int see(void *opaque, const struct ls_image *images, size_t n_images)
{
    struct seen *seen = opaque;
    for (size_t i = 0; i < n_images; i++) {
        seen->n++;
        seen->odd += images[i].key.len < 2 || images[i].key.data[0] != 'k';
    }
    return 0;
}

static int see_one(void *opaque, const struct ls_image *images, size_t n_images)
{
    return 42;
}

Test(redis_store, gives_back_what_the_lane_wrote)
{
    enum { KEYS = 3000 };
    struct redis_fixture f;
    struct ls_err err = {0};
    bool data = true;
    uint64_t live = 0, deleted = 0;
    fixture_start(&f);
    struct ls_store *store = open_store(&f);
    struct ls_mark mark = mark_of(0, 1, GENESIS_A);
    cr_assert_eq(ops->reset_marks(store, &mark, 1, &err), 0);
    cr_assert_eq(ops->has_data(store, &data, &err), 0, "%s", err.text);
    cr_assert_not(data, "a mark is no data");

    fixture_lane_start(&f);
    struct ls_unit unit = {0};
    char name[16];
    for (int i = 0; i < KEYS; i++) {
        snprintf(name, sizeof(name), "k%d", i);
        fixture_record(&f, name, (uint64_t)i + 1, i % 3 == 0 ? NULL : name);
    }
    fixture_apply(&f, &unit);
    fixture_lane_stop(&f);
    cr_assert_eq(ops->has_data(store, &data, &err), 0);
    cr_assert(data);
    cr_assert_eq(ops->count(store, &live, &deleted, &err), 0, "%s", err.text);
    cr_assert_eq(live, KEYS - KEYS / 3);
    cr_assert_eq(deleted, KEYS / 3);
    struct seen seen = {0};
    cr_assert_eq(ops->walk(store, 0, see, &seen, &err), 0, "%s", err.text);
    cr_assert_eq(seen.n, KEYS);
    cr_assert_eq(seen.odd, 0);
    cr_assert_eq(ops->walk(store, 0, see_one, &seen, &err), 42);
    ops->close(store);
    fixture_stop(&f);
}

static struct ls_span span(const char *text)
{
    return (struct ls_span){text, (uint32_t)strlen(text)};
}

Test(redis_store, fetch_tells_what_is_really_there)
{
    struct redis_fixture f;
    struct ls_err err = {0};
    fixture_start(&f);
    struct ls_store *store = open_store(&f);
    fixture_lane_start(&f);
    cr_assert_eq(fixture_apply_one(&f, "put", 5, "Rex", NULL), LS_APPLIED);
    cr_assert_eq(fixture_apply_one(&f, "gone", 6, NULL, NULL), LS_APPLIED);
    struct ls_span keys[] = {span("put"),   span("gone"), span("none"),
                             span("short"), span("hash"), span("junk")};
    static const char *const odd[] = {"SET pet:{short} 1234567", "HSET pet:{hash} a b",
                                      "SET pet:{junk} 12345678garbage"};
    for (int i = 0; i < 3; i++)
        fixture_do(&f, fixture_owner(ls_redis_slot(keys[3 + i].data, keys[3 + i].len)), odd[i]);
    struct ls_arena arena = {0};
    struct ls_image images[6];
    cr_assert_eq(ops->fetch(store, keys, 6, &arena, images, &err), 0, "%s", err.text);
    cr_assert(images[0].found && !images[0].deleted && !images[0].undecodable);
    cr_assert_eq(images[0].version, 5);
    cr_assert_eq(images[0].values[0].text.len, 3);
    struct ls_value value = {.present = true, .text = span("Rex")};
    struct ls_buf scratch = {0};
    cr_assert_eq(images[0].hash, ls_hash(f.schema, "put", 3, false, &value, &scratch));
    cr_assert(images[1].found && images[1].deleted && images[1].values == NULL);
    cr_assert_eq(images[1].hash, ls_hash(f.schema, "gone", 4, true, NULL, &scratch));
    cr_assert_not(images[2].found);
    for (int i = 3; i < 6; i++)
        cr_assert(images[i].found && images[i].undecodable && images[i].why != NULL, "%d", i);
    ls_buf_free(&scratch);
    ls_arena_free(&arena);
    ops->close(store);
    fixture_stop(&f);
}

static void count_line(void *opaque, const char *line)
{
    (*(unsigned *)opaque)++;
    cr_assert_neq(line[0], '\0');
}

Test(redis_store, check_and_diff_name_what_is_wrong)
{
    struct redis_fixture f;
    struct ls_err err = {0};
    unsigned lines = 0;
    size_t differences = 9;
    fixture_start(&f);
    struct ls_store *store = open_store(&f);
    cr_assert_eq(ops->check(store, &err), 0, "%s", err.text);
    cr_assert_eq(ops->apply(store, count_line, &lines, &err), 0, "%s", err.text);
    cr_assert_eq(lines, 0, "there is nothing to make");
    cr_assert_eq(ops->diff(store, count_line, &lines, &differences, &err), 0, "%s", err.text);
    cr_assert_eq(differences, 0);
    cr_assert_eq(lines, 0);

    fixture_do(&f, 1, "CONFIG SET appendonly no");
    cr_assert_eq(ops->diff(store, count_line, &lines, &differences, &err), 0, "%s", err.text);
    cr_assert_eq(differences, 0);
    cr_assert_eq(lines, 1, "a note");
    ops->close(store);

    store = open_store(&f);
    fixture_do(&f, 1, "CONFIG SET appendonly yes");
    fixture_do(&f, 1, "CONFIG SET maxmemory-policy volatile-ttl");
    cr_assert_eq(ops->diff(store, count_line, &lines, &differences, &err), 0, "%s", err.text);
    cr_assert_eq(differences, 1);
    cr_assert_eq(ops->check(store, &err), -1);
    cr_assert_eq(err.class, LS_ERR_FATAL);
    fixture_do(&f, 1, "CONFIG SET maxmemory-policy noeviction");
    cr_assert_eq(ops->check(store, &err), 0, "%s", err.text);

    /* A restart while nobody looked: the next call connects again. */
    fixture_kill(&f, 1);
    cr_assert_eq(ops->check(store, &err), -1);
    cr_assert_eq(err.class, LS_ERR_RETRY);
    fixture_boot(&f, 1);
    fixture_wait_ok(&f);
    cr_assert_eq(ops->check(store, &err), 0, "%s", err.text);
    ops->close(store);
    fixture_stop(&f);
}

Test(redis_store, a_moving_slot_is_followed_by_fetch_and_refused_by_walk)
{
    struct redis_fixture f;
    struct ls_err err = {0};
    fixture_start(&f);
    struct ls_store *store = open_store(&f);
    fixture_lane_start(&f);
    cr_assert_eq(fixture_apply_one(&f, "rex", 5, "x", NULL), LS_APPLIED);
    uint16_t slot = ls_redis_slot("rex", 3);
    int from = fixture_owner(slot), to = (from + 1) % FIXTURE_MASTERS;
    redisReply *from_id = fixture_command(&f, from, "CLUSTER MYID");
    redisReply *to_id = fixture_command(&f, to, "CLUSTER MYID");
    fixture_do(&f, to, "CLUSTER SETSLOT %d IMPORTING %s", slot, from_id->str);
    fixture_do(&f, from, "CLUSTER SETSLOT %d MIGRATING %s", slot, to_id->str);
    fixture_do(&f, from, "MIGRATE 127.0.0.1 %d %s 0 5000 AUTH2 tester %s KEYS pet:{rex}",
               f.ports[to], "", "open sesame");
    struct ls_span key = span("rex");
    struct ls_arena arena = {0};
    struct ls_image image;
    struct seen seen = {0};
    cr_assert_eq(ops->fetch(store, &key, 1, &arena, &image, &err), 0, "ASK: %s", err.text);
    cr_assert_eq(image.version, 5);
    cr_assert_eq(ops->walk(store, 0, see, &seen, &err), -1);
    cr_assert_eq(err.class, LS_ERR_RETRY);
    cr_assert_not_null(strstr(err.text, "being moved"), "%s", err.text);
    fixture_do(&f, to, "CLUSTER SETSLOT %d NODE %s", slot, to_id->str);
    fixture_do(&f, from, "CLUSTER SETSLOT %d NODE %s", slot, to_id->str);
    cr_assert_eq(ops->fetch(store, &key, 1, &arena, &image, &err), 0, "MOVED: %s", err.text);
    cr_assert_eq(image.version, 5);
    freeReplyObject(from_id);
    freeReplyObject(to_id);
    ls_arena_free(&arena);
    ops->close(store);
    fixture_stop(&f);
}
