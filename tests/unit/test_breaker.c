/* The breaker: when it opens, what it lets through, and when it closes. Time is the test's own. */
#include <criterion/criterion.h>

#include "consumers/breaker.h"

enum { BASE_MS = 50, CAP_MS = 5000 };

static struct ls_breaker breaker;
static int64_t now_us;

static void start(void)
{
    ls_breaker_init(&breaker, BASE_MS, CAP_MS);
    now_us = 1000000;
}

TestSuite(breaker, .init = start);

/* Sends one unit when the breaker allows it, and answers a millisecond later. */
static int64_t send(void)
{
    if (now_us < breaker.resume_us)
        now_us = breaker.resume_us;
    cr_assert(ls_breaker_may_send(&breaker, now_us));
    ls_breaker_sent(&breaker);
    int64_t sent_us = now_us;
    now_us += 1000;
    return sent_us;
}

static void fail(void)
{
    int64_t sent_us = send();
    ls_breaker_failed(&breaker, sent_us, now_us, "connection refused");
}

static void open_it(void)
{
    while (breaker.state == LS_BREAKER_CLOSED)
        fail();
}

Test(breaker, a_number_of_failures_in_a_row_opens_it)
{
    for (unsigned i = 1; i < LS_BREAKER_FAILURES; i++) {
        fail();
        cr_expect_eq(breaker.state, LS_BREAKER_CLOSED);
    }
    fail();
    cr_expect_eq(breaker.state, LS_BREAKER_OPEN);
    cr_expect_eq(breaker.openings, 1);
    cr_expect_str_eq(breaker.cause, "connection refused");
    now_us += 2500000;
    cr_expect_eq(ls_breaker_open_ms(&breaker, now_us), 2500);
}

Test(breaker, an_answer_between_starts_the_count_again)
{
    for (unsigned i = 0; i < 4 * LS_BREAKER_FAILURES; i++) {
        if (i % (LS_BREAKER_FAILURES - 1) != 0)
            fail();
        else
            ls_breaker_ok(&breaker, send());
        if (breaker.n_window == LS_BREAKER_WINDOW)
            break; /* from here on the rate may open it */
    }
    cr_expect_leq(breaker.failures, LS_BREAKER_FAILURES - 1);
    cr_expect_eq(breaker.openings, 1, "only the rate opened it");
}

Test(breaker, most_units_of_a_window_failing_opens_it)
{
    unsigned units = 0;
    while (breaker.state == LS_BREAKER_CLOSED && units < 100) {
        if (units++ % 2 == 0)
            fail();
        else
            ls_breaker_ok(&breaker, send());
    }
    cr_expect_eq(breaker.state, LS_BREAKER_OPEN);
    cr_expect_geq(units, LS_BREAKER_WINDOW, "a window that is not full says nothing");
    cr_expect_leq(units, LS_BREAKER_WINDOW + 1);
}

Test(breaker, a_few_failures_among_many_do_not_open_it)
{
    for (unsigned i = 0; i < 1000; i++) {
        if (i % 4 == 0)
            fail();
        else
            ls_breaker_ok(&breaker, send());
    }
    cr_expect_eq(breaker.openings, 0);
}

Test(breaker, units_that_fail_together_are_one_failure)
{
    int64_t sent_us[8];
    for (int i = 0; i < 8; i++)
        sent_us[i] = now_us + i;
    now_us += 5000;
    for (int i = 0; i < 8; i++)
        ls_breaker_failed(&breaker, sent_us[i], now_us, "cut");
    cr_expect_eq(breaker.failures, 1);
    cr_expect_eq(breaker.state, LS_BREAKER_CLOSED);
}

Test(breaker, while_open_one_probe_at_a_time_is_sent)
{
    open_it();
    now_us = breaker.resume_us;
    cr_expect_not(ls_breaker_may_send(&breaker, now_us - 1));
    cr_assert(ls_breaker_may_send(&breaker, now_us));
    ls_breaker_sent(&breaker);
    cr_expect_eq(breaker.state, LS_BREAKER_HALF_OPEN);
    cr_expect_not(ls_breaker_may_send(&breaker, now_us + 3600000000));
}

Test(breaker, a_probe_that_is_answered_closes_it)
{
    open_it();
    ls_breaker_ok(&breaker, send());
    cr_expect_eq(breaker.state, LS_BREAKER_CLOSED);
    cr_expect_eq(breaker.failures, 0);
    cr_expect(ls_breaker_may_send(&breaker, now_us), "at once");
    cr_expect_eq(ls_breaker_open_ms(&breaker, now_us), 0);
    for (unsigned i = 1; i < LS_BREAKER_FAILURES; i++)
        fail();
    cr_expect_eq(breaker.state, LS_BREAKER_CLOSED, "it counts from the start again");
}

Test(breaker, a_probe_that_is_answered_in_part_closes_it_after_a_short_wait)
{
    open_it();
    int64_t sent_us = send();
    ls_breaker_partly(&breaker, sent_us, now_us, "busy");
    cr_expect_eq(breaker.state, LS_BREAKER_CLOSED);
    cr_expect_leq(breaker.resume_us, now_us + 2000 * BASE_MS);
}

Test(breaker, probes_that_fail_wait_longer_up_to_the_cap_and_open_it_only_once)
{
    open_it();
    int64_t longest_us = 0;
    for (int i = 0; i < 200; i++) {
        fail();
        cr_assert_eq(breaker.state, LS_BREAKER_OPEN);
        if (breaker.resume_us - now_us > longest_us)
            longest_us = breaker.resume_us - now_us;
    }
    cr_expect_leq(longest_us, 1000 * CAP_MS);
    cr_expect_gt(longest_us, 500 * CAP_MS);
    cr_expect_eq(breaker.openings, 1);
    cr_expect_eq(breaker.probes, 200);
}

Test(breaker, what_was_sent_before_it_opened_neither_closes_it_nor_ends_the_probe)
{
    int64_t old_us = now_us;
    now_us += 1000;
    open_it();
    ls_breaker_ok(&breaker, old_us);
    cr_expect_eq(breaker.state, LS_BREAKER_OPEN);
    int64_t probe_us = send();
    ls_breaker_failed(&breaker, old_us, now_us, "cut");
    cr_expect_eq(breaker.state, LS_BREAKER_HALF_OPEN);
    ls_breaker_ok(&breaker, probe_us);
    cr_expect_eq(breaker.state, LS_BREAKER_CLOSED);
}

Test(breaker, a_sink_that_starts_again_begins_closed_and_keeps_its_counts)
{
    open_it();
    ls_breaker_reset(&breaker);
    cr_expect(ls_breaker_may_send(&breaker, 0));
    cr_expect_eq(breaker.state, LS_BREAKER_CLOSED);
    cr_expect_eq(breaker.openings, 1);
}
