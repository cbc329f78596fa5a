/* What is known of the marks in Redis, tag by tag, and what the tags say together. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "consumers/redis_encode.h"
#include "consumers/redis_marks.h"
#include "schema/key.h"

#define LOG_A "11111111-2222-3333-4444-555555555555"
#define LOG_B "99999999-2222-3333-4444-555555555555"

static struct ls_mark mark_of(uint32_t generation, int64_t offset, const char *genesis)
{
    struct ls_mark mark = {.partition = 5, .at_ms = 77};
    mark.version = offset < 0 ? 0 : ls_version(generation, offset);
    snprintf(mark.genesis, sizeof(mark.genesis), "%s", genesis);
    return mark;
}

static void put_all(struct ls_redis_seen *tags, const struct ls_mark *mark)
{
    for (unsigned tag = 0; tag < LS_REDIS_MARK_TAGS; tag++)
        ls_redis_seen_put(&tags[tag], mark);
}

static redisReply string_reply(char *bytes, size_t len)
{
    return (redisReply){.type = REDIS_REPLY_STRING, .str = bytes, .len = len};
}

static const redisReply nil = {.type = REDIS_REPLY_NIL};

Test(redis_marks, a_tag_goes_back_when_its_mark_is_gone_garbage_or_older)
{
    struct ls_redis_seen tag = {0};
    struct ls_mark five = mark_of(1, 5, LOG_A), six = mark_of(1, 6, LOG_A);
    char old_bytes[LS_REDIS_MARK_BYTES], new_bytes[LS_REDIS_MARK_BYTES], garbage[] = "garbage";
    ls_redis_put_mark(&five, old_bytes);
    ls_redis_put_mark(&six, new_bytes);
    redisReply old_reply = string_reply(old_bytes, sizeof(old_bytes));
    redisReply new_reply = string_reply(new_bytes, sizeof(new_bytes));
    redisReply bad_reply = string_reply(garbage, strlen(garbage));

    cr_assert_not(ls_redis_seen_take(&tag, &nil), "nothing was known");
    cr_assert_not(ls_redis_seen_take(&tag, &old_reply));
    cr_assert_not(ls_redis_seen_take(&tag, &old_reply), "the same");
    cr_assert_not(ls_redis_seen_take(&tag, &new_reply), "newer: somebody moved it on");
    cr_assert(ls_redis_seen_take(&tag, &old_reply), "older");
    cr_assert_not(ls_redis_seen_take(&tag, &old_reply), "what was seen is what counts now");
    cr_assert(ls_redis_seen_take(&tag, &nil), "gone");
    cr_assert_eq(tag.state, LS_REDIS_NO_MARK);
    ls_redis_seen_put(&tag, &six);
    cr_assert(ls_redis_seen_take(&tag, &bad_reply));
    cr_assert_eq(tag.state, LS_REDIS_GARBAGE);
    cr_assert_not(ls_redis_seen_take(&tag, &bad_reply));
    old_bytes[30] = '\0';
    cr_assert_not(ls_redis_seen_take(&tag, &old_reply));
    cr_assert_eq(tag.state, LS_REDIS_GARBAGE, "no text where the log's name should be");
}

Test(redis_marks, the_oldest_tag_counts)
{
    struct ls_redis_seen tags[LS_REDIS_MARK_TAGS] = {0};
    struct ls_mark newer = mark_of(2, 9, LOG_A), older = mark_of(2, 4, LOG_A);
    struct ls_mark mark = {.partition = 5};
    char log[37], other[37];
    cr_assert(ls_redis_seen_fold(tags, 2, &mark, log, other));
    cr_assert_str_eq(mark.genesis, "", "an empty store has none");
    put_all(tags, &newer);
    ls_redis_seen_put(&tags[77], &older);
    cr_assert(ls_redis_seen_fold(tags, 2, &mark, log, other));
    cr_assert_eq(mark.version, older.version);
    cr_assert_eq(mark.at_ms, 77);
    cr_assert_eq(mark.partition, 5);
}

Test(redis_marks, a_missing_tag_means_all_of_the_log_that_the_others_name)
{
    struct ls_redis_seen tags[LS_REDIS_MARK_TAGS] = {0};
    struct ls_mark nine = mark_of(2, 9, LOG_A), mark = {.partition = 5};
    char log[37], other[37];
    put_all(tags, &nine);
    tags[0].state = LS_REDIS_NO_MARK;
    cr_assert(ls_redis_seen_fold(tags, 2, &mark, log, other));
    cr_assert_eq(mark.version, 0);
    cr_assert_eq(mark.at_ms, 0);
    cr_assert_str_eq(mark.genesis, LOG_A);

    /* Read as version 0 of this log it would halt: the log of the next generation is another. */
    cr_assert(ls_redis_seen_fold(tags, 3, &mark, log, other));
    cr_assert_eq(ls_version_generation(mark.version), 2);
    cr_assert_eq(ls_version_offset(mark.version), -1);
    cr_assert_str_eq(mark.genesis, LOG_A);

    tags[9].state = LS_REDIS_GARBAGE;
    cr_assert(ls_redis_seen_fold(tags, 2, &mark, log, other));
    cr_assert_str_eq(mark.genesis, "", "garbage is no mark");
}

Test(redis_marks, two_logs_are_told_unless_one_is_of_an_older_generation)
{
    struct ls_redis_seen tags[LS_REDIS_MARK_TAGS] = {0};
    struct ls_mark ours = mark_of(2, 9, LOG_A), foreign = mark_of(2, 4, LOG_B),
                   before = mark_of(1, 40, LOG_B), nothing = mark_of(2, -1, LOG_B);
    struct ls_mark mark = {.partition = 5};
    char log[37], other[37];
    put_all(tags, &ours);
    ls_redis_seen_put(&tags[3], &foreign);
    cr_assert_not(ls_redis_seen_fold(tags, 2, &mark, log, other));
    cr_assert_str_eq(mark.genesis, "");
    cr_assert_str_eq(log, LOG_A);
    cr_assert_str_eq(other, LOG_B);
    ls_redis_seen_put(&tags[3], &nothing);
    cr_assert_not(ls_redis_seen_fold(tags, 2, &mark, log, other));

    /* A worker was killed while it wrote its first marks of a new generation. */
    ls_redis_seen_put(&tags[3], &before);
    cr_assert(ls_redis_seen_fold(tags, 2, &mark, log, other));
    cr_assert_eq(mark.version, before.version);
    cr_assert_str_eq(mark.genesis, LOG_B);
}
