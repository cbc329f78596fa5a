/*
 * When a lane is looked at, and its partitions begun: the instance's parts themselves, in a state
 * that a whole instance would need failures, back-offs and timeouts to come to.
 */
#include <stdatomic.h>

#include "base/clock.h"
#include "base/mem.h"
#include "consumers/report_impl.h"
#include "instance_fixture.h"
#include "pipeline/leaders.h"

static struct ls_instance_options options;
static struct ls_lane_state lane;
static struct ls_partition partitions[FAKE_PARTITIONS];
static struct ls_genesis genesis[FAKE_PARTITIONS];
static bool asked[FAKE_PARTITIONS];
static struct ls_instance instance;

static void start(void)
{
    struct ls_err err = {0};
    instance_start();
    options = (struct ls_instance_options){.config = &mock.config,
                                           .sink = &sink,
                                           .position = LS_POSITION_MARKS,
                                           .stats = ls_stats_new(&sink)};
    lane = (struct ls_lane_state){.n_partitions = FAKE_PARTITIONS, .seen = true};
    lane.newest = &lane.oldest;
    instance = (struct ls_instance){.options = &options,
                                    .config = &mock.config,
                                    .sink_config = &sink,
                                    .ops = &fake_sink_ops,
                                    .lanes = &lane,
                                    .n_lanes = 1,
                                    .partitions = partitions,
                                    .n_partitions = FAKE_PARTITIONS,
                                    .genesis = genesis,
                                    .asked = asked,
                                    .phase = LS_INSTANCE_UP,
                                    .returns = ls_returns_new()};
    memset(partitions, 0, sizeof(partitions));
    for (size_t i = 0; i < FAKE_PARTITIONS; i++) {
        snprintf(genesis[i].topic, sizeof(genesis[i].topic), "%s", STATE);
        asked[i] = true;
        partitions[i].state = LS_PART_BEGUN;
        partitions[i].low = 1;
    }
    cr_assert_eq(fake_sink_ops.open(&sink, &instance.sink, &err), 0);
    ls_send_init(&instance, &lane);
    lane.lane = ls_lane_start(&fake_sink_ops, instance.sink, 0, instance.returns, &err);
    cr_assert_not_null(lane.lane);
    instance.report = ls_report_open(&instance);
    instance.quarantine = ls_quarantine_open(&instance);
    instance.producer = ls_quarantine_producer(&instance, &err);
    cr_assert_not_null(instance.producer);
}

/* Takes back what the lane was given. */
static void stop(void)
{
    WAIT_FOR(ls_returns_fd(instance.returns) >= 0);
    while (lane.units_out > 0) {
        poll(NULL, 0, 1);
        for (struct ls_unit *unit = ls_returns_take(instance.returns), *next; unit; unit = next) {
            next = unit->next;
            ls_send_free_work(unit->owner);
            lane.units_out--;
        }
    }
    ls_lane_stop(lane.lane);
    fake_sink_ops.close(instance.sink);
    ls_kafka_end(instance.producer);
    ls_quarantine_close(instance.quarantine);
    ls_report_close(instance.report);
    ls_returns_free(instance.returns);
    ls_stats_free(options.stats);
    instance_stop();
}

TestSuite(parts, .init = start, .fini = stop, .timeout = 60);

static bool looks_now(void)
{
    ls_looks_serve(&instance);
    return lane.looking;
}

/* The newest look could not begin a partition, as it has no leader. */
static void lack_leader(void)
{
    struct ls_err err = {0};
    partitions[0].state = LS_PART_GIVEN;
    partitions[0].in_look = true;
    ls_leaders_lack(STATE, 0, &err);
    ls_looks_put_off(&lane, &err);
    lane.next_look_ms = INT64_MAX;
}

Test(parts, a_doubt_does_not_wait_for_a_partition_without_a_leader)
{
    lack_leader();
    cr_assert_not(looks_now());
    lane.doubted = true;
    cr_expect(looks_now());
}

Test(parts, a_partition_that_is_given_does_not_wait_for_one_without_a_leader)
{
    lack_leader();
    partitions[1] = (struct ls_partition){.state = LS_PART_GIVEN, .marking = -1};
    instance.log_unsure = true;
    cr_expect_not(looks_now(), "whose log it is comes first");
    instance.log_unsure = false;
    cr_expect(looks_now());
    lane.looking = false;
    cr_expect_not(looks_now(), "it was looked for");
}

Test(parts, only_what_a_store_says_makes_the_next_look_come_later)
{
    struct ls_err away = {0};
    lack_leader();
    cr_expect_eq(lane.look_attempt, 0);
    ls_err_set(&away, LS_ERR_RETRY, 0, "away");
    ls_looks_put_off(&lane, &away);
    cr_expect_eq(lane.look_attempt, 1);
}

Test(parts, a_partition_that_stands_still_for_want_of_a_leader_is_said_to_lack_one)
{
    struct ls_report *report = instance.report;
    options.stuck_ms = 1000;
    for (int32_t i = 0; i < FAKE_PARTITIONS; i++)
        report->seen[i] =
            (struct ls_seen){.low = 1, .asked_end = 2, .moved_ms = ls_mono_ms() - (i == 1) * 10000};
    report->view.progress_ms = ls_mono_ms();
    ls_report_state(&instance, LS_STATE_RUNNING, NULL);
    cr_expect_eq(instance.state, LS_STATE_STUCK);
    cr_expect(strstr(instance.reason, "partition 1 stands still at offset 1"), "%s",
              instance.reason);
    partitions[1].leaderless = true;
    ls_report_state(&instance, LS_STATE_RUNNING, NULL);
    cr_expect_eq(instance.state, LS_STATE_STUCK);
    cr_expect(strstr(instance.reason, STATE "/1 has no leader"), "%s", instance.reason);
    cr_expect(strstr(instance.reason, "start one"), "what to do: %s", instance.reason);
}

static atomic_int requests;
static int64_t before_ms; /* when the loop had turned last */
static atomic_bool turned;

static rd_kafka_resp_err_t no_answer(rd_kafka_t *client, rd_kafka_topic_partition_list_t *list,
                                     int timeout_ms)
{
    (void)client;
    (void)list;
    (void)timeout_ms;
    requests++;
    turned = ls_stats_turned_ms(options.stats) > before_ms;
    return RD_KAFKA_RESP_ERR__TIMED_OUT;
}

static atomic_int beaten; /* heartbeats that fell due at one request and were sent by the next */

static rd_kafka_resp_err_t second_later(rd_kafka_t *client, rd_kafka_topic_partition_list_t *list,
                                        int timeout_ms)
{
    (void)client;
    (void)list;
    (void)timeout_ms;
    beaten += requests++ > 0 && instance.report->next_beat_ms != 0;
    instance.report->next_beat_ms = 0;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

Test(parts, a_sink_is_heard_of_between_two_waits_for_the_log)
{
    struct ls_batch batch = {0};
    struct ls_err err = {0};
    for (int32_t i = 0; i < FAKE_PARTITIONS; i++)
        genesis[i].at_ms = 1;
    mock_kafka_hook_offsets(second_later);
    requests = beaten = 0;
    cr_expect_eq(ls_log_watch(&instance, &batch, &err), 0, "%s", err.text);
    cr_expect_eq(requests, 2, "where it has read to, and the beginning");
    cr_expect_eq(beaten, 1);
}

Test(parts, a_log_that_does_not_answer_for_one_lane_is_not_asked_for_the_next_in_the_same_round)
{
    struct ls_mark mark = {.partition = 0, .version = ls_version(1, 1), .genesis = UUID};
    struct ls_err err = {0};
    partitions[0].state = partitions[1].state = LS_PART_GIVEN;
    mock_kafka_hook_offsets(no_answer);
    requests = 0;
    before_ms = ls_mono_ms();
    ls_stats_turn_at(options.stats, before_ms);
    WAIT_FOR(ls_mono_ms() > before_ms);
    cr_expect_eq(ls_startup_begin(&instance, &mark, 1, &err), -1);
    cr_expect_eq(err.class, LS_ERR_RETRY);
    cr_expect_eq(requests, 1);
    cr_expect(turned, "the loop has turned before it waits");
    err = (struct ls_err){0};
    mark.partition = 1;
    cr_expect_eq(ls_startup_begin(&instance, &mark, 1, &err), -1);
    cr_expect_eq(err.class, LS_ERR_RETRY);
    cr_expect_eq(requests, 1);
    instance.begin_err = (struct ls_err){0}; /* the next round */
    cr_expect_eq(ls_startup_begin(&instance, &mark, 1, &err), -1);
    cr_expect_eq(requests, 2);
}
