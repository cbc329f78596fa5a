/*
 * Marks and looks: a sink starts at its marks and never passes what is not settled; the wrong log
 * or store halts it; and a store that lost something while the sink ran is filled again.
 */
#include "base/clock.h"
#include "consumers/replay.h"
#include "instance_fixture.h"

TestSuite(marks, .init = instance_start, .fini = instance_stop, .timeout = 60);

static atomic_int held = 1;

static enum ls_verdict hold_one(const struct ls_record *record, struct ls_err *err)
{
    if (!has_key(record, "held") || !held)
        return LS_APPLIED;
    ls_err_set(err, LS_ERR_RETRY, 0, "held");
    return LS_RETRY;
}

Test(marks, a_mark_never_passes_a_record_without_its_verdict)
{
    int32_t partition = ls_partition_of(ls_shard_of("held", 4), FAKE_PARTITIONS);
    put("held", 1);
    fake_decide(hold_one);
    struct run run;
    run_live(&run);
    WAIT_FOR(fake_get("held").tries > 5);
    for (int i = 0; i < 40; i++) {
        char key[16];
        snprintf(key, sizeof(key), "later-%d", i);
        put(key, i);
    }
    WAIT_FOR(fake_get("held").tries > 15);
    /* Offset 0 is the genesis record, 1 the one that is held. */
    cr_assert_leq(fake_mark(partition).version, ls_version(1, 0));
    held = 0;
    int64_t low, end;
    rd_kafka_query_watermark_offsets(mock.owner, STATE, partition, &low, &end, 10000);
    WAIT_FOR(fake_mark(partition).version == ls_version(1, end - 1));
    cr_assert_str_eq(fake_mark(partition).genesis, UUID);
    end_live(&run);
    cr_assert_eq(run.totals.consumed, 41);
    cr_assert_eq(settled(&run), 41);
}

Test(marks, a_sink_starts_at_its_mark)
{
    put("before", 1);
    int32_t partition = ls_partition_of(ls_shard_of("before", 6), FAKE_PARTITIONS);
    for (int32_t i = 0; i < FAKE_PARTITIONS; i++) {
        fake.marks[i] =
            (struct ls_mark){.partition = i, .version = ls_version(1, 0), .genesis = UUID};
        if (i == partition)
            fake.marks[i].version = ls_version(1, 1);
    }
    fake.has_data = true;
    struct run run;
    run_live(&run);
    put("after", 2);
    WAIT_FOR(fake_get("after").version != 0);
    end_live(&run);
    cr_assert_eq(fake_get("before").tries, 0);
    cr_assert_eq(run.totals.consumed, 1);
}

static void keep_last(void *opaque, const rd_kafka_message_t *message)
{
    snprintf(opaque, 2048, "%.*s", (int)message->len, (const char *)message->payload);
}

/* Runs live until the sink has said why it halts; nothing may have been applied. */
static void expect_halt(const char *why)
{
    put("k", 1);
    struct run run;
    run_live(&run);
    /* Its heartbeats say the state. */
    char last[2048] = "";
    struct ls_err err = {0};
    while (strstr(last, why) == NULL)
        ls_kafka_read_all(&mock.config, LS_TOPIC_CONTROL, LS_KAFKA_TIMEOUT_MS, keep_last, last,
                          &err);
    cr_assert_not_null(strstr(last, "HALTED"), "%s", last);
    end_live(&run);
    cr_assert_eq(fake_get("k").tries, 0);
}

Test(marks, data_without_a_mark_halts_and_names_resync)
{
    fake.has_data = true;
    expect_halt("lockstep resync --sink fake");
}

Test(marks, another_log_under_the_same_name_halts)
{
    for (int32_t i = 0; i < FAKE_PARTITIONS; i++)
        fake.marks[i] = (struct ls_mark){.partition = i,
                                         .version = ls_version(1, 0),
                                         .genesis = "77777777-7777-4777-8777-777777777777"};
    expect_halt("it was made again");
}

Test(marks, a_mark_beyond_the_end_of_the_log_halts)
{
    for (int32_t i = 0; i < FAKE_PARTITIONS; i++)
        fake.marks[i] =
            (struct ls_mark){.partition = i, .version = ls_version(1, 500), .genesis = UUID};
    expect_halt("the log went back");
}

Test(marks, partitions_that_cannot_be_begun_do_not_stop_the_others)
{
    struct run stays, leaves;
    run_live(&stays);
    set_options(&leaves, LS_POSITION_MARKS);
    leaves.options.number = 1;
    start_live(&leaves);
    wait_until_it_says(":1", "RUNNING");
    put_everywhere("shared-");
    WAIT_FOR(reached("shared-") == FAKE_PARTITIONS);

    fake_no_reads(true);
    end_live(&leaves);
    wait_until_it_says(":0", "no reads now");
    put_everywhere("meanwhile-");
    WAIT_FOR(reached("meanwhile-") > 0);
    cr_assert_lt(reached("meanwhile-"), FAKE_PARTITIONS);
    fake_no_reads(false);
    WAIT_FOR(reached("meanwhile-") == FAKE_PARTITIONS);
    end_live(&stays);
}

Test(marks, a_store_that_was_emptied_under_load_is_filled_again_around_what_came_meanwhile)
{
    put_everywhere("early-");
    struct run run;
    run_live(&run);
    WAIT_FOR(reached("early-") == FAKE_PARTITIONS);
    WAIT_FOR(fake_mark(0).version >= ls_version(1, 1));
    pthread_mutex_lock(&fake.lock);
    fake.n_entries = 0;
    memset(fake.marks, 0, sizeof(fake.marks));
    for (int32_t i = 0; i < FAKE_PARTITIONS; i++)
        fake.marks[i].partition = i;
    fake.has_data = true; /* of this very sink, from between the loss and the next look */
    pthread_mutex_unlock(&fake.lock);
    put_everywhere("late-");
    WAIT_FOR(reached("early-") == FAKE_PARTITIONS && reached("late-") == FAKE_PARTITIONS);
    end_live(&run);
}

Test(marks, a_store_that_went_back_is_filled_again_while_the_sink_runs)
{
    put_everywhere("early-");
    struct run run;
    run_live(&run);
    WAIT_FOR(reached("early-") == FAKE_PARTITIONS);
    WAIT_FOR(fake_mark(0).version >= ls_version(1, 1));
    struct fake_store older;
    fake_save(&older);
    put_everywhere("late-");
    WAIT_FOR(reached("late-") == FAKE_PARTITIONS && fake_all_marked(2));
    fake_restore(&older); /* as from a backup: neither the late records nor their marks */
    cr_assert_eq(reached("late-"), 0);
    WAIT_FOR(reached("late-") == FAKE_PARTITIONS && fake_all_marked(2));
    end_live(&run);
    cr_assert_eq(settled(&run), run.totals.consumed);
    cr_assert_gt(run.totals.consumed, 2 * FAKE_PARTITIONS, "some was read twice");
}

Test(marks, a_store_that_was_emptied_is_filled_again_while_the_sink_runs)
{
    put_everywhere("k-");
    struct run run;
    run_live(&run);
    WAIT_FOR(reached("k-") == FAKE_PARTITIONS && fake_all_marked(1));
    fake_empty();
    WAIT_FOR(reached("k-") == FAKE_PARTITIONS && fake_all_marked(1));
    end_live(&run);
}

Test(marks, a_mark_is_not_written_over_one_that_is_not_expected)
{
    put_everywhere("k-");
    struct run run;
    set_options(&run, LS_POSITION_MARKS);
    run.options.look_interval_ms = 3600 * 1000; /* so that only the writing can notice it */
    start_live(&run);
    WAIT_FOR(reached("k-") == FAKE_PARTITIONS && fake_all_marked(1));
    struct fake_store older;
    fake_save(&older);
    put_everywhere("lost-");
    WAIT_FOR(reached("lost-") == FAKE_PARTITIONS && fake_all_marked(2));
    fake_restore(&older);
    put_everywhere("next-");
    WAIT_FOR(reached("next-") == FAKE_PARTITIONS && reached("lost-") == FAKE_PARTITIONS);
    WAIT_FOR(fake_all_marked(3));
    end_live(&run);
}

Test(marks, what_was_written_before_a_doubt_is_written_again)
{
    put_everywhere("marked-");
    struct run run;
    set_options(&run, LS_POSITION_MARKS);
    run.options.look_interval_ms = 3600 * 1000;
    start_live(&run);
    WAIT_FOR(reached("marked-") == FAKE_PARTITIONS && fake_all_marked(1));
    end_live(&run);

    run.stop = 0;
    run.options.mark_interval_ms = 3600 * 1000; /* nothing more is marked by itself */
    start_live(&run);
    put_everywhere("first-");
    WAIT_FOR(reached("first-") == FAKE_PARTITIONS);
    fake_lose_unmarked("another server answers");
    put_everywhere("second-");
    WAIT_FOR(reached("second-") == FAKE_PARTITIONS && reached("first-") == FAKE_PARTITIONS);
    end_live(&run);
    cr_assert_eq(settled(&run), run.totals.consumed);
    /* What is there may have come before the doubt was noticed, and be read again yet. */
    run.stop = 0;
    run.options.mark_interval_ms = 20;
    start_live(&run);
    WAIT_FOR(fake_all_marked(3));
    end_live(&run);
}

static enum ls_verdict refuse_all(const struct ls_record *record, struct ls_err *err)
{
    (void)record;
    if (!held)
        return LS_APPLIED;
    ls_err_set(err, LS_ERR_RETRY, 0, "away");
    return LS_RETRY;
}

Test(marks, what_waits_for_an_outage_to_end_is_dropped_and_read_again_after_a_doubt)
{
    put_everywhere("k-");
    fake_decide(refuse_all);
    struct run run;
    run_live(&run);
    WAIT_FOR(fake_tries_of("k-") > 10);
    fake_lose_unmarked("another server answers");
    held = 0;
    WAIT_FOR(reached("k-") == FAKE_PARTITIONS && fake_all_marked(1));
    end_live(&run);
    cr_assert_eq(settled(&run), run.totals.consumed);
}

static enum ls_verdict halt_over_f(const struct ls_record *record, struct ls_err *err)
{
    if (record->key[0] != 'f')
        return LS_APPLIED;
    ls_err_set(err, LS_ERR_FATAL, 0, "set up wrong");
    return LS_FATAL;
}

/* A log that went back is known by the position: who forgets it would read on 15 seconds later. */
Test(marks, what_was_settled_is_marked_when_the_sink_halts)
{
    struct run run;
    set_options(&run, LS_POSITION_MARKS);
    run.options.mark_interval_ms = 3600 * 1000;
    put_everywhere("k-");
    fake_decide(halt_over_f);
    start_live(&run);
    WAIT_FOR(reached("k-") == FAKE_PARTITIONS);
    cr_assert_not(fake_all_marked(1));
    put_everywhere("f-");
    wait_until_it_says(":0", "HALTED");
    WAIT_FOR(fake_all_marked(1));
    end_live(&run);
}

Test(marks, a_replay_starts_its_range_again_after_a_doubt)
{
    put_everywhere("k-");
    for (int32_t i = 0; i < FAKE_PARTITIONS; i++)
        fake.marks[i] = (struct ls_mark){.partition = i, .genesis = UUID};
    fake_lose_unmarked("another server answers");
    struct run run;
    run_range(&run);
    cr_assert_eq(run.rc, 0, "%s", run.err.text);
    cr_assert_eq(reached("k-"), FAKE_PARTITIONS);
    cr_assert_eq(settled(&run), run.totals.consumed);
}

Test(marks, a_store_that_refuses_its_first_marks_is_looked_at_after_a_back_off)
{
    put_everywhere("k-");
    fake_no_marks(true);
    struct run run;
    run_live(&run);
    wait_until_it_says(":0", "read-only");
    cr_assert_lt(fake_looks(), 100, "%u looks", fake_looks());
    cr_assert_eq(reached("k-"), 0);
    fake_no_marks(false);
    WAIT_FOR(reached("k-") == FAKE_PARTITIONS && fake_all_marked(1));
    end_live(&run);
}

/* Runs until all is applied and nothing is marked yet. */
static void run_unmarked(struct run *run)
{
    put_everywhere("k-");
    set_options(run, LS_POSITION_MARKS);
    run->options.look_interval_ms = run->options.mark_interval_ms = 3600 * 1000;
    start_live(run);
    WAIT_FOR(reached("k-") == FAKE_PARTITIONS);
}

static void expect_brief_stop(struct run *run)
{
    int64_t since_ms = ls_mono_ms();
    end_live(run);
    cr_assert_lt(ls_mono_ms() - since_ms, 10000, "a stop waits for what may come, up to 20 s");
}

Test(marks, a_stop_does_not_wait_for_marks_of_a_store_that_is_away)
{
    struct run run;
    run_unmarked(&run);
    fake_decide(refuse_all);
    put_everywhere("later-");
    WAIT_FOR(fake_tries_of("later-") > 30);
    expect_brief_stop(&run);
}

Test(marks, a_stop_does_not_wait_for_marks_that_were_not_as_expected)
{
    struct run run;
    run_unmarked(&run);
    pthread_mutex_lock(&fake.lock);
    fake.marks[0].version = ls_version(1, 0);
    pthread_mutex_unlock(&fake.lock);
    expect_brief_stop(&run);
}

/* As another worker does whose look came sooner: the marks at zero are there again. */
static void empty_and_mark_anew(void)
{
    struct fake_store anew;
    fake_save(&anew);
    anew.n_entries = 0;
    for (int32_t i = 0; i < FAKE_PARTITIONS; i++)
        anew.marks[i].at_ms++;
    fake_restore(&anew);
}

Test(marks, a_store_that_was_emptied_before_any_mark_moved_is_filled_again)
{
    struct run run;
    set_options(&run, LS_POSITION_MARKS);
    run.options.mark_interval_ms = 3600 * 1000; /* so that all marks stay at zero */
    put_everywhere("k-");
    start_live(&run);
    WAIT_FOR(reached("k-") == FAKE_PARTITIONS);
    for (int32_t i = 0; i < FAKE_PARTITIONS; i++)
        cr_assert_eq(fake_mark(i).version, 0);
    empty_and_mark_anew();
    WAIT_FOR(reached("k-") == FAKE_PARTITIONS);
    end_live(&run);
    cr_assert_eq(settled(&run), run.totals.consumed);
}

Test(marks, a_range_tells_of_its_end_when_the_newest_record_was_appended_as_a_mark_does)
{
    struct run live, range;
    struct ls_range *ranges;
    int64_t at_ms[FAKE_PARTITIONS] = {0};
    put_everywhere("k-");
    run_live(&live);
    WAIT_FOR(fake_all_marked(1));
    end_live(&live);
    set_options(&range, LS_POSITION_RANGE);
    cr_assert_eq(ls_replay_ranges(&mock.config, &mock.entity, NULL, 0, &ranges, &range.err), 0,
                 "%s", range.err.text);
    struct fake_store after = fake;
    fake_reset();
    range.options.ranges = ranges;
    range.options.ret_low_at_ms = at_ms;
    start_live(&range);
    pthread_join(range.thread, NULL);
    cr_expect_eq(range.rc, 0, "%s", range.err.text);
    for (int32_t i = 0; i < FAKE_PARTITIONS; i++) {
        cr_expect_gt(at_ms[i], 0);
        cr_expect_eq(at_ms[i], after.marks[i].at_ms, "partition %d", i);
    }
    free(ranges);
}
