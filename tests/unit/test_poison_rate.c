#include <criterion/criterion.h>

#include "consumers/poison_rate.h"

enum { LIMIT = 100, SECOND = 1000 };

static struct ls_poison_share share;

Test(poison_rate, bad_records_below_the_limit_pass_for_ever)
{
    struct ls_poison_rate rate = {.limit = LIMIT};
    int64_t now_ms = 1000000;
    for (int i = 0; i < 10000; i++, now_ms += SECOND)
        cr_assert(ls_poison_rate_take(&rate, now_ms, 1, 0, &share), "%d", i);
}

Test(poison_rate, more_than_the_limit_in_a_minute_halts_and_nothing_of_it_passes)
{
    struct ls_poison_rate rate = {.limit = LIMIT};
    cr_expect_not(ls_poison_rate_take(&rate, 1000000, LIMIT + 1, 899, &share));
    cr_expect_eq(share.poison, LIMIT + 1);
    cr_expect_eq(share.records, 1000);
    struct ls_poison_rate slow = {.limit = LIMIT};
    int64_t now_ms = 1000000;
    int passed = 0;
    for (; ls_poison_rate_take(&slow, now_ms, 1, 10, &share); now_ms += SECOND / 10)
        passed++;
    cr_expect_eq(passed, LIMIT);
    cr_expect_eq(share.poison, LIMIT + 1);
}

Test(poison_rate, a_store_that_stays_wrong_gets_almost_nothing_through)
{
    struct ls_poison_rate rate = {.limit = LIMIT};
    int64_t now_ms = 1000000;
    uint64_t passed = 0;
    cr_assert_not(ls_poison_rate_take(&rate, now_ms, 500, 0, &share));
    /* Tried every 15 s for an hour, one record at a time until it halts. */
    for (int trial = 0; trial < 240; trial++, now_ms += 15 * SECOND)
        while (ls_poison_rate_take(&rate, now_ms, 1, 0, &share))
            passed++;
    cr_expect_leq(passed, 240);
    cr_expect_geq(passed, 200, "a record that is really bad passes in the end");
    cr_expect(rate.tripped);
}

Test(poison_rate, a_store_that_was_mended_goes_on_and_bad_records_pass_again)
{
    struct ls_poison_rate rate = {.limit = LIMIT};
    int64_t now_ms = 1000000;
    cr_assert_not(ls_poison_rate_take(&rate, now_ms, 4000, 96, &share));
    now_ms += SECOND;
    cr_expect(ls_poison_rate_take(&rate, now_ms, 3, 4093, &share), "few among many that it took");
    cr_expect_not(rate.tripped, "it has shown that it takes records");
    cr_expect(ls_poison_rate_take(&rate, now_ms, LIMIT - 3, 0, &share));
    cr_expect_not(ls_poison_rate_take(&rate, now_ms, 1, 0, &share), "the limit holds as before");
}

Test(poison_rate, a_part_of_the_records_refused_still_is_a_wrong_set_up_after_a_halt)
{
    struct ls_poison_rate rate = {.limit = LIMIT};
    int64_t now_ms = 1000000;
    cr_assert_not(ls_poison_rate_take(&rate, now_ms, 500, 500, &share));
    for (int trial = 0; trial < 10; trial++, now_ms += 15 * SECOND)
        cr_expect_not(ls_poison_rate_take(&rate, now_ms, 80, 320, &share), "%d", trial);
}

Test(poison_rate, without_a_limit_nothing_halts)
{
    struct ls_poison_rate rate = {0};
    for (int i = 0; i < 100; i++)
        cr_expect(ls_poison_rate_take(&rate, 1000000, 100000, 0, &share));
}
