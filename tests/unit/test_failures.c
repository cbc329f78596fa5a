/* Failures that repeat are counted and told now and then; none is lost from the count. */
#include <criterion/criterion.h>

#include "consumers/failures.h"

static struct ls_failures failures;

static struct ls_err failure(enum ls_err_class class, int code, const char *text)
{
    struct ls_err err;
    ls_err_set(&err, class, code, "%s", text);
    return err;
}

/* Notes it; tells it if it is to be told. Returns the repeats that were told with it, or -1. */
static int64_t note(const struct ls_err *err, int64_t now_ms)
{
    struct ls_failure *met = ls_failures_note(&failures, err, now_ms);
    if (met == NULL)
        return -1;
    int64_t unsaid = (int64_t)met->unsaid;
    ls_failures_said(met, now_ms);
    return unsaid;
}

static void start(void)
{
    failures = (struct ls_failures){0};
}

TestSuite(failures, .init = start);

Test(failures, the_first_is_told_and_repeats_are_counted_until_the_next_time)
{
    struct ls_err away = failure(LS_ERR_RETRY, 2002, "refused");
    cr_expect_eq(note(&away, 1000), 0);
    for (int i = 0; i < 50; i++)
        cr_expect_eq(note(&away, 1100 + i), -1);
    cr_expect_eq(note(&away, 1000 + LS_FAILURE_AGAIN_MS), 50);
    /* It is told half as often each time. */
    cr_expect_eq(note(&away, 1000 + 2 * LS_FAILURE_AGAIN_MS), -1);
    cr_expect_eq(note(&away, 1000 + 3 * LS_FAILURE_AGAIN_MS), 1);
}

Test(failures, another_code_or_class_is_another_failure_whatever_the_text)
{
    struct ls_err one = failure(LS_ERR_RETRY, 1205, "text"),
                  two = failure(LS_ERR_RETRY, 1213, "text"),
                  three = failure(LS_ERR_FATAL, 1205, "text");
    cr_expect_eq(note(&one, 1), 0);
    cr_expect_eq(note(&two, 1), 0);
    cr_expect_eq(note(&three, 1), 0);
    struct ls_err other = failure(LS_ERR_RETRY, 1205, "row 12 of member 'x'");
    cr_expect_eq(note(&other, 2), -1);
}

Test(failures, a_name_tells_failures_apart_that_have_one_number_or_none)
{
    struct ls_err full = failure(LS_ERR_RETRY, 0, "a:1 answered: OOM"),
                  also = failure(LS_ERR_RETRY, 0, "b:2 answered: OOM"),
                  down = failure(LS_ERR_RETRY, 0, "a:1 answered: CLUSTERDOWN"),
                  busy = failure(LS_ERR_RETRY, 429, "x"), block = failure(LS_ERR_RETRY, 429, "x");
    ls_err_name(&full, "OOM command", 11);
    ls_err_name(&also, "OOM", 3);
    ls_err_name(&down, "CLUSTERDOWN", 11);
    ls_err_name(&busy, "es_rejected_execution_exception", 31);
    ls_err_name(&block, "cluster_block_exception", 23);
    cr_expect_str_eq(full.name, "OOM");
    cr_expect_eq(note(&full, 1), 0);
    cr_expect_eq(note(&also, 2), -1);
    cr_expect_eq(note(&down, 3), 0);
    cr_expect_eq(note(&busy, 4), 0);
    cr_expect_eq(note(&block, 5), 0);
}

Test(failures, without_a_code_the_text_tells_but_not_its_numbers_and_quotes)
{
    struct ls_err one = failure(LS_ERR_POISON, 0, "'email': 17 characters are too many"),
                  same = failure(LS_ERR_POISON, 0, "'note': 2001 characters are too many"),
                  other = failure(LS_ERR_POISON, 0, "not msgpack at byte 7");
    cr_expect_eq(note(&one, 1), 0);
    cr_expect_eq(note(&same, 2), -1);
    cr_expect_eq(note(&other, 3), 0);
}

Test(failures, repeats_are_told_also_when_the_failure_ends)
{
    struct ls_err away = failure(LS_ERR_RETRY, 503, "overloaded");
    note(&away, 1000);
    note(&away, 2000);
    cr_expect_null(ls_failures_due(&failures, 3000));
    struct ls_failure *due = ls_failures_due(&failures, 1000 + LS_FAILURE_AGAIN_MS);
    cr_assert_not_null(due);
    cr_expect_eq(due->unsaid, 1);
    ls_failures_said(due, 1000 + LS_FAILURE_AGAIN_MS);
    cr_expect_null(ls_failures_due(&failures, 1000 + 100 * LS_FAILURE_AGAIN_MS));
    cr_expect_null(ls_failures_left(&failures));
}

Test(failures, as_many_kinds_as_come_take_bounded_room)
{
    for (int code = 1; code <= 10 * LS_FAILURES_MAX; code++) {
        struct ls_err err = failure(LS_ERR_RETRY, code, "x");
        cr_expect_eq(note(&err, code), 0);
    }
    struct ls_err newest = failure(LS_ERR_RETRY, 10 * LS_FAILURES_MAX, "x");
    cr_expect_eq(note(&newest, 10 * LS_FAILURES_MAX + 1), -1, "the newest are kept");
}

Test(failures, an_answer_that_no_table_knows_stays_known)
{
    struct ls_err odd = failure(LS_ERR_UNKNOWN, 4711, "odd"),
                  halted = failure(LS_ERR_FATAL, 4711, "");
    note(&odd, 1);
    note(&halted, 2);
    cr_expect(ls_failures_unknown(&failures, 4711));
    cr_expect_not(ls_failures_unknown(&failures, 1205));
}
