#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "consumers/open_entries.h"
#include "schema/key.h"

static char member[] = "member", fake[] = "fake";
static struct ls_entity_config entity = {.name = member, .generation = 1, .partitions = 8};
static struct ls_sink_config sink = {.name = fake, .entity = &entity};
static struct ls_config config;
static struct ls_genesis genesis[8];
static struct ls_open_entries *entries;
static int64_t closed[4096];
static size_t n_closed;
static bool refuse;

static void start(void)
{
    entries = ls_open_entries_new(&config, &sink, genesis);
    n_closed = 0;
    refuse = false;
}

static void stop(void)
{
    ls_open_entries_free(entries);
}

TestSuite(open_entries, .init = start, .fini = stop);

static bool close_entry(void *opaque, int32_t partition, int64_t offset)
{
    (void)opaque;
    (void)partition;
    if (!refuse)
        closed[n_closed++] = offset;
    return !refuse;
}

static struct ls_record record_of(const char *key, int64_t offset)
{
    return (struct ls_record){
        .key = key,
        .key_len = (uint16_t)strlen(key),
        .partition = ls_partition_of(ls_shard_of(key, strlen(key)), entity.partitions),
        .offset = offset,
        .version = ls_version(1, offset),
        .at_ms = 1000 + offset,
    };
}

static void add(const char *key, int64_t offset)
{
    struct ls_record record = record_of(key, offset);
    ls_open_entries_add(entries, &record);
}

static void settle(const char *key, int64_t offset)
{
    struct ls_record record = record_of(key, offset);
    ls_open_entries_settled(entries, &record, close_entry, NULL);
}

Test(open_entries, only_this_version_or_a_newer_one_closes)
{
    cr_expect_not(ls_open_entries_wants(entries));
    add("k", 10);
    settle("k", 9);
    settle("other", 11);
    cr_expect_eq(n_closed, 0);
    settle("k", 10);
    cr_expect_eq(n_closed, 1);
    cr_expect_eq(closed[0], 10);
    cr_expect_not(ls_open_entries_wants(entries));
}

Test(open_entries, one_success_closes_all_entries_of_its_key_and_of_no_other)
{
    char key[16];
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        for (int version = 0; version < 3; version++)
            add(key, 3 * i + version);
    }
    cr_assert_eq(ls_open_entries_count(entries), 3000);
    for (int i = 0; i < 1000; i += 2) {
        snprintf(key, sizeof(key), "key-%d", i);
        settle(key, 3 * i + 1); /* not the third */
    }
    cr_expect_eq(n_closed, 1000);
    for (size_t i = 0; i < n_closed; i++)
        cr_expect(closed[i] / 3 % 2 == 0 && closed[i] % 3 < 2, "%lld", (long long)closed[i]);
    cr_expect_eq(ls_open_entries_count(entries), 2000);
    settle("key-1", 1 << 20);
    cr_expect_eq(n_closed, 1003);
}

Test(open_entries, an_entry_that_was_put_twice_is_closed_once)
{
    add("k", 5);
    add("k", 5);
    settle("k", 6);
    cr_expect_eq(n_closed, 1);
}

Test(open_entries, what_cannot_be_closed_now_stays_known)
{
    add("k", 5);
    refuse = true;
    settle("k", 6);
    cr_expect_eq(ls_open_entries_count(entries), 1);
    refuse = false;
    settle("k", 7);
    cr_expect_eq(n_closed, 1);
}

Test(open_entries, without_a_version_its_place_tells_or_the_time)
{
    struct ls_record null_value = record_of("k", 10), misrouted = record_of("m", 20);
    null_value.version = misrouted.version = 0;
    misrouted.partition = (misrouted.partition + 1) % entity.partitions;
    ls_open_entries_add(entries, &null_value);
    ls_open_entries_add(entries, &misrouted);
    settle("k", 9);
    settle("m", 20); /* of the same millisecond */
    cr_expect_eq(n_closed, 0);
    settle("k", 11);
    settle("m", 21);
    cr_expect_eq(n_closed, 2);
}

Test(open_entries, a_record_without_a_key_is_not_remembered)
{
    struct ls_record record = {.partition = 1, .offset = 1};
    ls_open_entries_add(entries, &record);
    cr_expect_not(ls_open_entries_wants(entries));
}
