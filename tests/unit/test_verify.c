/* What `verify` finds between a log and a store, and what it does while either still moves. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "schema/key.h"
#include "verify_fixture.h"

TestSuite(verify, .init = verify_setup, .fini = verify_teardown, .timeout = 60);

/* One key for each difference. */
static void make_one_of_each(void)
{
    verify_log_one("equal", 10, false);
    verify_put_row("equal", verify_version(10), 30, false);
    verify_log_one("gone", 11, true);
    verify_put_row("gone", verify_version(11), 33, true);
    verify_log_one("missing", 12, false);
    verify_log_one("older", 13, false);
    verify_put_row("older", verify_version(5), 15, false);
    verify_log_one("content", 14, false);
    verify_put_row("content", verify_version(14), 999, false);
    verify_log_one("ahead", 15, false);
    verify_put_row("ahead", verify_version(16), 48, false);
    verify_put_row("extra", verify_version(17), 51, false);
    verify_log_one("back", 18, true);
    verify_put_row("back", verify_version(4), 12, false);
    verify_log_one("garbled", 19, false);
    struct verify_row *row = verify_put_row("garbled", verify_version(19), 0, false);
    row->image.undecodable = true;
    row->image.why = "not msgpack";
    verify_log_one("late", 2000, false);
    verify_put_row("late", verify_version(3), 9, false);
    verify_log_one("refused", 20, false);
    verify_put_row("refused", verify_version(2), 6, false);
    verify_fake.quarantined_offset = 20;
}

static void check_one_of_each(const struct ls_store_ops *ops)
{
    make_one_of_each();
    struct ls_verify_job job = verify_run(ops, 0);
    const uint64_t *counts = job.report.counts;
    cr_assert_eq(job.report.err.class, LS_ERR_NONE, "%s", job.report.err.text);
    cr_expect_eq(counts[LS_DIFF_EQUAL], 2);
    cr_expect_eq(counts[LS_DIFF_MISSING], 1);
    cr_expect_eq(counts[LS_DIFF_DIVERGED], 2);
    cr_expect_eq(counts[LS_DIFF_AHEAD], 1);
    cr_expect_eq(counts[LS_DIFF_EXTRA], 1);
    cr_expect_eq(counts[LS_DIFF_RESURRECTED], 1);
    cr_expect_eq(counts[LS_DIFF_UNDECODABLE], 1);
    cr_expect_eq(counts[LS_DIFF_LAGGING], 1);
    cr_expect_eq(counts[LS_DIFF_QUARANTINED], 1);
    cr_expect_eq(job.report.live, 8);
    cr_expect_eq(job.report.deleted, 2);
    cr_expect(ls_verify_different(&job.report));
    cr_expect_not(ls_verify_equal(&job.report));
    ls_verify_report_free(&job.report);
}

Test(verify, finds_every_difference_by_merging_with_a_store_in_order)
{
    check_one_of_each(&verify_ordered);
}

Test(verify, finds_every_difference_by_asking_a_store_without_order)
{
    check_one_of_each(&verify_unordered);
}

static void check_lag_without_confirming(const struct ls_store_ops *ops)
{
    enum { LATE = 5 * LS_VERIFY_CANDIDATES };
    char(*names)[16] = ls_calloc(LATE, sizeof(*names));
    const char **keys = ls_calloc(LATE, sizeof(*keys));
    for (size_t i = 0; i < LATE; i++) {
        snprintf(names[i], sizeof(names[i]), "late-%zu", i);
        keys[i] = names[i];
    }
    verify_log(keys, LATE, 2000, false); /* the marks stand at 1000 */
    verify_log_one("missing", 12, false);
    verify_fake.n_rounds = 0;
    struct ls_verify_job job = verify_run(ops, 0);
    cr_expect_eq(job.report.counts[LS_DIFF_LAGGING], LATE);
    cr_expect_eq(job.report.counts[LS_DIFF_MISSING], 1);
    cr_expect_leq(verify_fake.n_rounds, 3, "%d rounds", verify_fake.n_rounds);
    ls_verify_report_free(&job.report);
    free(names);
    free(keys);
}

Test(verify, a_store_far_behind_is_not_read_again_for_each_record_that_it_lacks)
{
    check_lag_without_confirming(&verify_ordered);
    check_lag_without_confirming(&verify_unordered);
}

Test(verify, says_equal_only_when_all_is_equal)
{
    verify_log_one("a", 1, false);
    verify_log_one("b", 2, true);
    verify_put_row("a", verify_version(1), 3, false);
    verify_put_row("b", verify_version(2), 6, true);
    struct ls_verify_job job = verify_run(&verify_ordered, 0);
    cr_expect(ls_verify_equal(&job.report));
    cr_expect_eq(job.report.counts[LS_DIFF_EQUAL], 2);
    cr_expect_eq(job.report.n_examples, 0);
    ls_verify_report_free(&job.report);
}

Test(verify, an_empty_log_and_an_empty_store_are_equal)
{
    struct ls_verify_job job = verify_run(&verify_ordered, 0);
    cr_expect(ls_verify_equal(&job.report));
    ls_verify_report_free(&job.report);
}

Test(verify, a_wrong_hash_beside_right_content_is_a_difference)
{
    verify_log_one("a", 1, false);
    verify_put_row("a", verify_version(1), 3, false)->image.stored_hash = 4;
    struct ls_verify_job job = verify_run(&verify_ordered, 0);
    cr_expect_eq(job.report.counts[LS_DIFF_DIVERGED], 1);
    ls_verify_report_free(&job.report);
}

Test(verify, a_record_on_another_shard_than_its_keys_is_extra)
{
    verify_log_one("a", 1, false);
    verify_put_row("a", verify_version(1), 3, false);
    verify_put_row("a", verify_version(1), 3, false)->shard =
        (uint16_t)((ls_shard_of("a", 1) + 1) % LS_SHARDS);
    struct ls_verify_job job = verify_run(&verify_ordered, 0);
    cr_expect_eq(job.report.counts[LS_DIFF_EQUAL], 1);
    cr_expect_eq(job.report.counts[LS_DIFF_EXTRA], 1);
    cr_expect(strstr(job.report.examples[0].why, "stands on shard") != NULL);
    ls_verify_report_free(&job.report);
}

static void log_catches_up(void)
{
    verify_log_one("a", 9, false);
    verify_log_one("new", 8, false);
}

Test(verify, what_was_in_flight_is_not_a_difference)
{
    /* The walk meets a store that is ahead of the ledger; the log has both records by then. */
    verify_log_one("a", 1, false);
    verify_put_row("a", verify_version(9), 27, false);
    verify_put_row("new", verify_version(8), 24, false);
    verify_fake.on_update = log_catches_up;
    struct ls_verify_job job = verify_run(&verify_ordered, 0);
    cr_expect(ls_verify_equal(&job.report));
    cr_expect_eq(job.report.counts[LS_DIFF_EQUAL], 2);
    ls_verify_report_free(&job.report);
}

static void sink_catches_up(void)
{
    if (verify_fake.n_rounds < 3)
        return;
    verify_set_marks(1000);
    verify_fake.rows[0].image.version = verify_version(500);
    verify_fake.rows[0].image.hash = verify_fake.rows[0].image.stored_hash = 1500;
}

Test(verify, waits_for_what_the_sink_has_not_passed)
{
    verify_log_one("a", 500, false);
    verify_put_row("a", verify_version(1), 3, false);
    verify_set_marks(400);
    verify_fake.on_marks = sink_catches_up;
    struct ls_verify_job job = verify_run(&verify_ordered, 30000);
    cr_expect(ls_verify_equal(&job.report));
    cr_expect_geq(verify_fake.n_rounds, 3);
    ls_verify_report_free(&job.report);
}

Test(verify, a_store_without_marks_is_lagging_and_not_different)
{
    verify_log_one("a", 1, false);
    memset(verify_fake.marks, 0, sizeof(verify_fake.marks));
    struct ls_verify_job job = verify_run(&verify_ordered, 0);
    cr_expect_eq(job.report.counts[LS_DIFF_LAGGING], 1);
    cr_expect_not(ls_verify_equal(&job.report));
    cr_expect_not(ls_verify_different(&job.report));
    ls_verify_report_free(&job.report);
}

Test(verify, marks_of_another_log_cannot_tell_anything)
{
    verify_log_one("a", 1, false);
    snprintf(verify_fake.marks[2].genesis, sizeof(verify_fake.marks[2].genesis), "genesis-two");
    struct ls_verify_job job = verify_run(&verify_ordered, 0);
    cr_expect_eq(job.report.err.class, LS_ERR_FATAL);
    cr_expect(strstr(job.report.err.text, "lockstep resync --sink fake") != NULL);
    ls_verify_report_free(&job.report);
}

Test(verify, memory_and_requests_stay_bounded_when_everything_is_missing)
{
    enum { N = 20000 };
    const char **keys = ls_calloc(N, sizeof(*keys));
    for (int i = 0; i < N; i++)
        keys[i] = ls_asprintf("key-%d", i);
    verify_log(keys, N, 7, false);
    struct ls_verify_job job = verify_run(&verify_ordered, 0);
    cr_expect_eq(job.report.counts[LS_DIFF_MISSING], N);
    cr_expect_eq(job.report.n_examples, 2);
    cr_expect_eq(verify_fake.largest_fetch, (size_t)LS_VERIFY_CANDIDATES);
    ls_verify_report_free(&job.report);
    for (int i = 0; i < N; i++)
        free((void *)(uintptr_t)keys[i]);
    free(keys);
}

Test(verify, a_store_that_fails_is_not_told_about)
{
    verify_log_one("a", 1, false);
    verify_put_row("a", verify_version(1), 3, false);
    verify_fake.fail_walk = true;
    struct ls_verify_job job = verify_run(&verify_ordered, 0);
    cr_expect_str_eq(job.report.err.text, "the server has gone away");
    cr_expect_not(ls_verify_equal(&job.report));
    ls_verify_report_free(&job.report);
    verify_fake.fail_open = true;
    job = verify_run(&verify_ordered, 0);
    cr_expect_str_eq(job.report.err.text, "connection refused");
    ls_verify_report_free(&job.report);
}

Test(verify, a_store_that_breaks_the_order_of_keys_is_refused)
{
    for (int i = 0; i < 2; i++) {
        char key[8];
        snprintf(key, sizeof(key), "k%d", i);
        verify_put_row(key, verify_version(1), 3, false)->shard = 5;
    }
    verify_fake.disordered = true;
    struct ls_verify_job job = verify_run(&verify_ordered, 0);
    cr_expect_eq(job.report.err.class, LS_ERR_FATAL);
    cr_expect(strstr(job.report.err.text, "byte order") != NULL);
    ls_verify_report_free(&job.report);
}

Test(verify, stops_when_asked)
{
    atomic_int stop = 1;
    verify_log_one("a", 1, false);
    struct ls_verify_job job = verify_job(&verify_ordered, 60000);
    job.model.stop = &stop;
    ls_verify_run(&job, 1, NULL, NULL);
    cr_expect_str_eq(job.report.err.text, "interrupted");
    ls_verify_report_free(&job.report);
}
