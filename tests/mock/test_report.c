/*
 * What an instance says of itself: RUNNING only where something moves or nothing is left to do.
 */
#include <stdatomic.h>

#include "base/clock.h"
#include "consumers/health.h"
#include "instance_fixture.h"

static atomic_int held;
static atomic_llong clock_off_us; /* by how much the wall clock was set */
static struct ls_stats *stats;

static void start(void)
{
    instance_start();
    held = 0;
    clock_off_us = 0;
    stats = ls_stats_new(&sink);
}

static void stop(void)
{
    ls_stats_free(stats);
    instance_stop();
}

TestSuite(report, .init = start, .fini = stop, .timeout = 60);

/* What all of the program gets as the wall clock's time: see meson.build. */
int64_t __real_ls_wall_us(void);
int64_t __wrap_ls_wall_us(void);
int64_t __wrap_ls_wall_us(void)
{
    return __real_ls_wall_us() + clock_off_us;
}

/* A store that neither takes nor refuses. */
static enum ls_verdict no_answer(const struct ls_record *record, struct ls_err *err)
{
    while (held)
        poll(NULL, 0, 1);
    return LS_APPLIED;
}

static enum ls_state state_now(char *reason, size_t size)
{
    struct ls_stats_view view = {0};
    ls_stats_read(stats, &view);
    enum ls_state state = view.state;
    if (reason != NULL)
        snprintf(reason, size, "%s", view.reason);
    ls_stats_view_free(&view);
    return state;
}

static int64_t progress_ms(void)
{
    struct ls_stats_view view = {0};
    ls_stats_read(stats, &view);
    int64_t at_ms = view.progress_ms;
    ls_stats_view_free(&view);
    return at_ms;
}

static void start_watched_for(struct run *run, uint32_t stuck_ms)
{
    set_options(run, LS_POSITION_MARKS);
    run->options.stats = stats;
    run->options.stuck_ms = stuck_ms;
    start_live(run);
    WAIT_FOR(state_now(NULL, 0) == LS_STATE_RUNNING);
}

static void start_watched(struct run *run)
{
    start_watched_for(run, 1500);
}

static unsigned get(const char *path, struct ls_buf *body)
{
    struct ls_health health = {.stats = &stats, .n = 1, .version = "1"};
    unsigned status = 404;
    for (size_t i = 0; i < LS_HEALTH_PAGES; i++)
        if (strcmp(ls_health_pages[i].path, path) == 0)
            status = ls_health_pages[i].write(&health, body);
    ls_health_free(&health);
    return status;
}

Test(report, a_store_that_neither_takes_nor_refuses_makes_the_sink_stuck_until_it_answers)
{
    struct run run;
    struct ls_buf body = {0};
    char reason[256];
    fake_decide(no_answer);
    start_watched(&run);
    held = 1;
    put_everywhere("k-");
    WAIT_FOR(state_now(reason, sizeof(reason)) == LS_STATE_STUCK);
    cr_expect(strstr(reason, "waits for the store at fake:1 to answer") != NULL, "%s", reason);
    cr_expect_eq(get("/readyz", &body), 503);
    cr_expect(strstr(ls_buf_cstr(&body), "fake: STUCK: waits for the store") != NULL, "%s",
              body.data);
    ls_buf_clear(&body);
    cr_expect_eq(get("/healthz", &body), 200, "the loop turns: a restart would not help");
    held = 0;
    WAIT_FOR(state_now(NULL, 0) == LS_STATE_RUNNING);
    WAIT_FOR(reached("k-") == FAKE_PARTITIONS);
    end_live(&run);
    ls_buf_free(&body);
}

Test(report, a_store_that_has_not_answered_for_a_while_is_waited_for_before_any_timeout)
{
    struct run run;
    char reason[256];
    fake_decide(no_answer);
    start_watched_for(&run, 12000);
    held = 1;
    put_everywhere("k-");
    WAIT_FOR(state_now(reason, sizeof(reason)) != LS_STATE_RUNNING);
    cr_expect_eq(state_now(NULL, 0), LS_STATE_WAITING);
    cr_expect(strstr(reason, "waits for the store at fake:1 to answer") != NULL, "%s", reason);
    held = 0;
    WAIT_FOR(state_now(NULL, 0) == LS_STATE_RUNNING);
    end_live(&run);
}

static atomic_int refused;

static enum ls_verdict no_answer_after_a_refusal(const struct ls_record *record, struct ls_err *err)
{
    if (atomic_exchange(&refused, 1) != 0)
        return no_answer(record, err);
    ls_err_set(err, LS_ERR_RETRY, 0, "away");
    return LS_RETRY;
}

Test(report, one_failure_and_then_nothing_is_retrying)
{
    struct run run;
    char reason[256];
    fake_decide(no_answer_after_a_refusal);
    start_watched_for(&run, 12000);
    held = 1;
    put("k", 1);
    WAIT_FOR(state_now(reason, sizeof(reason)) != LS_STATE_RUNNING);
    cr_expect_eq(state_now(NULL, 0), LS_STATE_RETRYING);
    held = 0;
    WAIT_FOR(state_now(NULL, 0) == LS_STATE_RUNNING);
    end_live(&run);
}

Test(report, a_sink_that_has_nothing_left_to_do_is_running_for_as_long_as_that)
{
    struct run run;
    start_watched(&run);
    put_everywhere("k-");
    WAIT_FOR(reached("k-") == FAKE_PARTITIONS);
    int64_t since_ms = ls_mono_ms();
    WAIT_FOR(state_now(NULL, 0) != LS_STATE_RUNNING || progress_ms() > since_ms + 3000);
    cr_expect_eq(state_now(NULL, 0), LS_STATE_RUNNING);
    end_live(&run);
}

Test(report, a_log_that_does_not_answer_is_waited_for_and_said_so)
{
    struct run run;
    char reason[256];
    start_watched(&run);
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    WAIT_FOR(state_now(reason, sizeof(reason)) == LS_STATE_WAITING &&
             strstr(reason, "Kafka does not answer") != NULL);
    rd_kafka_mock_broker_set_up(mock.cluster, 1);
    WAIT_FOR(state_now(NULL, 0) == LS_STATE_RUNNING);
    end_live(&run);
}

Test(report, a_start_that_takes_too_long_is_told_though_the_wall_clock_was_set_back)
{
    struct run run;
    set_options(&run, LS_POSITION_MARKS);
    run.options.stats = stats;
    run.options.stuck_ms = 5000;
    pthread_mutex_lock(&fake.lock); /* no look is answered */
    start_live(&run);
    wait_until_it_says(":0", "STARTING");
    clock_off_us = -3600000000LL;
    WAIT_FOR(state_now(NULL, 0) == LS_STATE_STUCK);
    pthread_mutex_unlock(&fake.lock);
    WAIT_FOR(state_now(NULL, 0) == LS_STATE_RUNNING);
    end_live(&run);
}
