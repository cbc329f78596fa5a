/*
 * A partition whose brokers are all away has no leader: it waits by itself, the others go on, and
 * nothing of it is lost once it has one again.
 */
#include <stdatomic.h>

#include "base/clock.h"
#include "base/mem.h"
#include "instance_fixture.h"
#include "pipeline/ends.h"
#include "pipeline/leaders.h"
#include "pipeline/schema_release.h"
#include "pipeline/status.h"

static atomic_int refused_of; /* the partition */
static atomic_int refusals;   /* so many requests find that its leader has moved */
static atomic_int refused;    /* so many have that asked of others, too */

static mock_offsets_fn refuse_one;

static void start(void)
{
    instance_start();
    refusals = refused = 0;
    mock_kafka_hook_offsets(refuse_one);
}

TestSuite(leaders, .init = start, .fini = instance_stop, .timeout = 120);

/* Longer than a test may take: who waits in vain is caught by the suite's limit. */
enum { AWAY = 2, TIMEOUT_MS = 300000 };

static void set_leader(const char *topic, int32_t partition, bool led)
{
    cr_assert_eq(rd_kafka_mock_partition_set_leader(mock.cluster, topic, partition, led ? 1 : -1),
                 RD_KAFKA_RESP_ERR_NO_ERROR);
}

/* A leader moves between the answer that names it and the question that it gets. */
static rd_kafka_resp_err_t refuse_one(rd_kafka_t *client, rd_kafka_topic_partition_list_t *list,
                                      int timeout_ms)
{
    bool refuse =
        refusals > 0 && rd_kafka_topic_partition_list_find(list, STATE, refused_of) != NULL;
    if (refuse)
        set_leader(STATE, refused_of, false);
    rd_kafka_resp_err_t code = mock_kafka_offsets(client, list, timeout_ms);
    if (refuse) {
        refusals--;
        refused += list->cnt > 1;
        set_leader(STATE, refused_of, true);
    }
    return code;
}

static void refuse(int32_t partition, int times)
{
    refused_of = partition;
    refused = 0;
    refusals = times;
}

enum { ALWAYS = 1000 };

static rd_kafka_t *open_client(void)
{
    struct ls_err err = {0};
    rd_kafka_t *client = ls_kafka_client(&mock.config, RD_KAFKA_PRODUCER, "test", NULL, NULL, &err);
    cr_assert_not_null(client, "%s", err.text);
    return client;
}

Test(leaders, who_has_one_is_told_for_each_partition)
{
    struct ls_leaders leaders = {0};
    struct ls_err err = {0};
    rd_kafka_t *client = open_client();
    set_leader(STATE, AWAY, false);
    cr_assert_eq(ls_leaders_ask(client, STATE, TIMEOUT_MS, &leaders, &err), 0, "%s", err.text);
    cr_expect_eq(leaders.n, FAKE_PARTITIONS);
    for (int32_t p = -1; p <= FAKE_PARTITIONS; p++)
        cr_expect_eq(ls_leaders_has(&leaders, p), p >= 0 && p < FAKE_PARTITIONS && p != AWAY);
    ls_leaders_free(&leaders);
    rd_kafka_destroy(client);
}

Test(leaders, one_that_has_none_is_no_partition_that_is_not_there)
{
    rd_kafka_t *client = open_client();
    int64_t first, end;
    struct ls_err err = {0};
    set_leader(STATE, AWAY, false);
    cr_expect_eq(ls_kafka_ranges(client, STATE, &(int32_t){AWAY}, 1, LS_KAFKA_TIMEOUT_MS, &first,
                                 &end, &err),
                 -1);
    cr_expect_eq(err.class, LS_ERR_RETRY, "%s", err.text);
    err = (struct ls_err){0};
    cr_expect_eq(ls_kafka_ranges(client, STATE, &(int32_t){FAKE_PARTITIONS}, 1, LS_KAFKA_TIMEOUT_MS,
                                 &first, &end, &err),
                 -1);
    cr_expect_eq(err.class, LS_ERR_FATAL, "%s", err.text);
    rd_kafka_destroy(client);
}

Test(leaders, a_broker_that_went_away_is_not_waited_for_until_it_is_back)
{
    rd_kafka_t *client = open_client();
    int64_t first, end;
    struct ls_err err = {0};
    cr_assert_eq(ls_kafka_wake(client, STATE, 0), 0);
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    for (int i = 0; i < 5; i++) /* also by a request that was on its way */
        cr_expect_eq(ls_kafka_wake(client, STATE, 0), -1);
    cr_expect_eq(
        ls_kafka_ranges(client, STATE, &(int32_t){0}, 1, LS_KAFKA_TIMEOUT_MS, &first, &end, &err),
        -1);
    cr_expect_eq(err.class, LS_ERR_RETRY, "%s", err.text);
    rd_kafka_mock_broker_set_up(mock.cluster, 1);
    while (ls_kafka_wake(client, STATE, 0) < 0)
        ;
    rd_kafka_destroy(client);
}

/* What the leaders say of each partition. */
struct answers {
    int64_t firsts[FAKE_PARTITIONS], ends[FAKE_PARTITIONS];
    struct ls_log_position positions[FAKE_PARTITIONS];
};

static void ask_ends(rd_kafka_t *client, struct answers *ret)
{
    static const int32_t numbers[FAKE_PARTITIONS] = {0, 1, 2, 3};
    struct ls_err err = {0};
    cr_assert_eq(ls_kafka_ends(client, STATE, numbers, FAKE_PARTITIONS, TIMEOUT_MS, ret->firsts,
                               ret->ends, &err),
                 0, "%s", err.text);
}

static void ask_log(rd_kafka_t *client, struct answers *ret)
{
    const struct ls_log_position *wrong = NULL;
    struct ls_err err = {0};
    for (int32_t p = 0; p < FAKE_PARTITIONS; p++)
        ret->positions[p] =
            (struct ls_log_position){.partition = p, .offset = 5, .at_ms = 1700000000000};
    cr_assert_eq(ls_kafka_check_log(&mock.config, client, STATE, ret->positions, FAKE_PARTITIONS,
                                    TIMEOUT_MS, &wrong, &err),
                 0, "%s", err.text);
    cr_expect_null(wrong);
}

static void expect_all_but(const struct answers *answers, int32_t without)
{
    for (int32_t p = 0; p < FAKE_PARTITIONS; p++) {
        cr_expect_eq(answers->positions[p].asked, p != without, "%d", p);
        cr_expect_eq(answers->firsts[p], p == without ? -1 : 0);
        cr_expect_eq(answers->ends[p], p == without ? -1 : 1);
    }
}

Test(leaders, the_others_are_asked_and_soon_answered)
{
    struct answers answers;
    rd_kafka_t *client = open_client();
    set_leader(STATE, AWAY, false);
    ask_ends(client, &answers);
    ask_log(client, &answers);
    expect_all_but(&answers, AWAY);
    rd_kafka_destroy(client);
}

Test(leaders, where_none_is_there_that_is_what_the_failure_says)
{
    static const int32_t number = AWAY;
    int64_t end = 0;
    struct ls_err err = {0};
    rd_kafka_t *client = open_client();
    set_leader(STATE, AWAY, false);
    cr_expect_eq(ls_kafka_ends(client, STATE, &number, 1, TIMEOUT_MS, NULL, &end, &err), -1);
    cr_expect_eq(err.class, LS_ERR_RETRY);
    cr_expect_eq(err.code, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE);
    cr_expect(strstr(err.text, STATE "/2 has no leader"), "%s", err.text);
    rd_kafka_destroy(client);
}

static void expect_answers(int times, int32_t without)
{
    struct answers answers;
    rd_kafka_t *client = open_client();
    refuse(AWAY, times);
    ask_ends(client, &answers);
    cr_expect_gt(refused, 0);
    refuse(AWAY, times);
    ask_log(client, &answers);
    cr_expect_gt(refused, 0);
    refuse(AWAY, 0);
    expect_all_but(&answers, without);
    rd_kafka_destroy(client);
}

Test(leaders, one_that_moved_is_asked_where_it_is_now)
{
    expect_answers(1, -1);
}

Test(leaders, one_that_no_broker_owns_up_to_is_left_out_alone)
{
    expect_answers(ALWAYS, AWAY);
}

static rd_kafka_resp_err_t refuse_all(rd_kafka_t *client, rd_kafka_topic_partition_list_t *list,
                                      int timeout_ms)
{
    (void)client;
    (void)list;
    (void)timeout_ms;
    refused++;
    return RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
}

Test(leaders, brokers_that_own_up_to_none_are_not_asked_for_each)
{
    enum { MANY = 256 };
    static int32_t numbers[MANY];
    static int64_t ends[MANY];
    struct ls_err err = {0};
    rd_kafka_t *client = open_client();
    mock_kafka_topic(&mock, "wide", MANY);
    for (int32_t p = 0; p < MANY; p++)
        numbers[p] = p;
    mock_kafka_hook_offsets(refuse_all);
    cr_expect_eq(ls_kafka_ends(client, "wide", numbers, MANY, TIMEOUT_MS, NULL, ends, &err), -1);
    cr_expect_eq(err.class, LS_ERR_RETRY, "%s", err.text);
    cr_expect_lt(refused, MANY / 2, "%d", refused);
    rd_kafka_destroy(client);
}

Test(leaders, the_genesis_of_the_others_stands_for_the_log)
{
    struct ls_genesis genesis[FAKE_PARTITIONS];
    bool asked[FAKE_PARTITIONS];
    struct ls_err err = {0};
    set_leader(STATE, 0, false);
    cr_assert_eq(
        ls_kafka_genesis_asked(&mock.config, &mock.entity, TIMEOUT_MS, genesis, asked, &err), 0,
        "%s", err.text);
    for (int32_t p = 0; p < FAKE_PARTITIONS; p++) {
        cr_expect_eq(asked[p], p != 0);
        cr_expect_eq(genesis[p].partition, p);
        cr_expect_str_eq(genesis[p].uuid, UUID);
        cr_expect_eq(genesis[p].at_ms == 0, p == 0);
    }
    cr_expect_eq(ls_kafka_genesis(&mock.config, &mock.entity, genesis, &err), -1,
                 "who needs all of them is told which one is away");
    cr_expect(strstr(err.text, STATE "/0 has no leader"), "%s", err.text);
}

Test(leaders, a_call_takes_no_longer_than_its_timeout_whatever_it_asks)
{
    enum { RTT_MS = 250, AT_ONCE_MS = 4 * RTT_MS }; /* longer than any one of its requests takes */
    struct ls_genesis genesis[FAKE_PARTITIONS];
    bool asked[FAKE_PARTITIONS];
    uint32_t version;
    struct ls_err err = {0};
    rd_kafka_mock_broker_set_rtt(mock.cluster, 1, RTT_MS);
    cr_assert_eq(
        ls_kafka_genesis_asked(&mock.config, &mock.entity, TIMEOUT_MS, genesis, asked, &err), 0,
        "%s", err.text);
    cr_expect_eq(
        ls_kafka_genesis_asked(&mock.config, &mock.entity, AT_ONCE_MS, genesis, asked, &err), -1);
    cr_expect_eq(err.class, LS_ERR_RETRY);
    err = (struct ls_err){0};
    cr_expect_eq(ls_schema_released(&mock.config, "member", AT_ONCE_MS, &version, NULL, &err), -1);
    cr_expect_eq(err.class, LS_ERR_RETRY);
}

static bool stop_at_first(void *opaque, const rd_kafka_message_t *message)
{
    (void)message;
    ++*(int *)opaque;
    return true;
}

Test(leaders, spans_are_read_until_it_is_enough)
{
    struct ls_log_span spans[FAKE_PARTITIONS];
    struct ls_err err = {0};
    int seen = 0;
    for (int i = 0; i < 5; i++)
        put_everywhere("k-");
    for (int32_t p = 0; p < FAKE_PARTITIONS; p++)
        spans[p] = (struct ls_log_span){p, 0, 6};
    cr_assert_eq(ls_kafka_read_spans(&mock.config, STATE, spans, FAKE_PARTITIONS, TIMEOUT_MS,
                                     stop_at_first, &seen, &err),
                 0, "%s", err.text);
    cr_expect_eq(seen, 1);
}

/* A key of that partition. */
static const char *key_of(int32_t partition, const char *prefix)
{
    static char key[32];
    for (int i = 0;; i++) {
        snprintf(key, sizeof(key), "%s%d", prefix, i);
        if (ls_partition_of(ls_shard_of(key, strlen(key)), FAKE_PARTITIONS) == partition)
            return key;
    }
}

/* A key of each partition but the one that is away. */
static void put_elsewhere(const char *prefix, int32_t away)
{
    for (int32_t p = 0; p < FAKE_PARTITIONS; p++)
        if (p != away)
            put(key_of(p, prefix), p);
}

static void expect_only_that_one_waits(int32_t away)
{
    struct run run;
    put_everywhere("early-");
    set_leader(STATE, away, false);
    run_live(&run);
    WAIT_FOR(reached("early-") == FAKE_PARTITIONS - 1);
    wait_until_it_says(":0", "has no leader");
    put_elsewhere("late-", away);
    WAIT_FOR(reached("late-") == FAKE_PARTITIONS - 1);
    cr_expect_eq(reached("early-"), FAKE_PARTITIONS - 1);
    set_leader(STATE, away, true);
    WAIT_FOR(reached("early-") == FAKE_PARTITIONS);
    put(key_of(away, "last-"), 1);
    WAIT_FOR(reached("last-") == 1 && fake_all_marked(2));
    end_live(&run);
    cr_expect_eq(settled(&run), run.totals.consumed);
    cr_expect_eq(run.totals.consumed, 2 * FAKE_PARTITIONS, "each record once");
}

Test(leaders, a_sink_that_starts_without_one_begins_the_other_partitions)
{
    expect_only_that_one_waits(AWAY);
}

Test(leaders, a_sink_that_starts_without_the_first_one_begins_the_other_partitions)
{
    expect_only_that_one_waits(0);
}

Test(leaders, a_partition_that_is_another_log_once_it_is_back_halts_the_sink)
{
    struct ls_genesis genesis = {
        .partitions = FAKE_PARTITIONS, .generation = 2, .topic = "member.state.2"};
    struct run run;
    mock_kafka_topic(&mock, "member.state.2", FAKE_PARTITIONS);
    mock.entity.generation = 2;
    for (int32_t p = 0; p < FAKE_PARTITIONS; p++) {
        genesis.partition = p;
        snprintf(genesis.uuid, sizeof(genesis.uuid), "%s",
                 p == AWAY ? "77777777-7777-4777-8777-777777777777" : UUID);
        mock_kafka_put_genesis(&mock, "member.state.2", &genesis);
    }
    set_leader("member.state.2", AWAY, false);
    run_live(&run);
    wait_until_it_says(":0", "has no leader");
    set_leader("member.state.2", AWAY, true);
    wait_until_it_says(":0", "have different genesis records");
    end_live(&run);
    cr_expect_eq(fake_mark(AWAY).version, 0);
}

Test(leaders, a_partition_that_loses_its_leader_stops_alone_and_goes_on_when_it_has_one)
{
    enum { WATCHED_MS = 2500 }; /* longer than two watches of the log are apart */
    struct run run;
    put_everywhere("early-");
    run_live(&run);
    WAIT_FOR(reached("early-") == FAKE_PARTITIONS);
    put(key_of(AWAY, "kept-"), 1);
    WAIT_FOR(reached("kept-") == 1 && fake_mark(AWAY).version == ls_version(1, 2));
    set_leader(STATE, AWAY, false);
    unsigned looks = fake_looks();
    int64_t since_ms = ls_mono_ms();
    int rounds = 0;
    while (ls_mono_ms() - since_ms < WATCHED_MS) {
        char prefix[24];
        snprintf(prefix, sizeof(prefix), "r%d-", rounds++);
        put_elsewhere(prefix, AWAY);
        WAIT_FOR(reached(prefix) == FAKE_PARTITIONS - 1);
        poll(NULL, 0, 100);
    }
    cr_expect_gt(fake_looks(), looks);
    set_leader(STATE, AWAY, true);
    put(key_of(AWAY, "back-"), 1);
    WAIT_FOR(reached("back-") == 1);
    end_live(&run);
    cr_expect_eq(settled(&run), run.totals.consumed);
    cr_expect_eq(run.totals.consumed, FAKE_PARTITIONS + 2 + rounds * (FAKE_PARTITIONS - 1),
                 "nothing was begun again");
}

Test(leaders, one_that_no_broker_owns_up_to_does_not_disturb_a_sinks_other_partitions)
{
    enum { SOME_WATCHES = 12 }; /* of the log, which is asked in halves each time */
    struct run run;
    int rounds = 0;
    put_everywhere("early-");
    run_live(&run);
    WAIT_FOR(reached("early-") == FAKE_PARTITIONS);
    refuse(AWAY, ALWAYS);
    while (refused < SOME_WATCHES) {
        char prefix[24];
        snprintf(prefix, sizeof(prefix), "r%d-", rounds++);
        put_elsewhere(prefix, AWAY);
        WAIT_FOR(reached(prefix) == FAKE_PARTITIONS - 1);
    }
    refuse(AWAY, 0);
    put(key_of(AWAY, "back-"), 1);
    WAIT_FOR(reached("back-") == 1);
    end_live(&run);
    cr_expect_eq(settled(&run), run.totals.consumed);
    cr_expect_eq(run.totals.consumed, FAKE_PARTITIONS + 1 + rounds * (FAKE_PARTITIONS - 1),
                 "nothing was begun again");
}

/* A record of a schema that nobody has released, appended at that time. */
static void put_newer(const char *key, int64_t at_ms)
{
    struct ls_envelope envelope = {.schema_version = 2};
    struct ls_value value = {.present = true, .number = 1};
    struct ls_buf wire = {0};
    int32_t partition = ls_partition_of(ls_shard_of(key, strlen(key)), FAKE_PARTITIONS);
    ls_wire_encode(mock.entity.schema, &envelope, &value, &wire);
    cr_assert_eq(
        rd_kafka_producev(mock.owner, RD_KAFKA_V_TOPIC(STATE), RD_KAFKA_V_PARTITION(partition),
                          RD_KAFKA_V_KEY(key, strlen(key)), RD_KAFKA_V_VALUE(wire.data, wire.len),
                          RD_KAFKA_V_TIMESTAMP(at_ms), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                          RD_KAFKA_V_END),
        RD_KAFKA_RESP_ERR_NO_ERROR);
    cr_assert_eq(rd_kafka_flush(mock.owner, TIMEOUT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
    ls_buf_free(&wire);
}

/* Failures that the instance has told of. */
static uint64_t failures(struct ls_stats *stats, enum ls_err_class class)
{
    struct ls_stats_view view = {0};
    ls_stats_read(stats, &view);
    uint64_t n = view.failures[class];
    ls_stats_view_free(&view);
    return n;
}

Test(leaders, a_released_version_is_asked_for_once_for_records_that_are_older_and_again_for_others)
{
    enum { LONG_AGO_MS = 3600 * 1000 };
    struct run run;
    put_newer("old-1", ls_wall_us() / 1000 - LONG_AGO_MS);
    set_options(&run, LS_POSITION_MARKS);
    run.options.stats = ls_stats_new(&sink);
    start_live(&run);
    WAIT_FOR(quarantined() == 1);
    set_leader(LS_TOPIC_CONTROL, 0, false);
    put_newer("old-2", ls_wall_us() / 1000 - LONG_AGO_MS);
    WAIT_FOR(quarantined() == 2 || failures(run.options.stats, LS_ERR_RETRY) > 0);
    cr_expect_eq(failures(run.options.stats, LS_ERR_RETRY), 0, "the answer was asked for again");
    put_newer("new", ls_wall_us() / 1000);
    put("after", 1); /* its batch comes after that of the one before, or is the same */
    WAIT_FOR(failures(run.options.stats, LS_ERR_RETRY) > 0 || quarantined() > 2);
    cr_expect_eq(quarantined(), 2, "what is younger than the answer is not judged by it");
    set_leader(LS_TOPIC_CONTROL, 0, true);
    WAIT_FOR(quarantined() == 3 && reached("after") == 1);
    cr_expect_eq(failures(run.options.stats, LS_ERR_FATAL), 0);
    end_live(&run);
    ls_stats_free(run.options.stats);
}

Test(leaders, status_names_the_partition_and_counts_the_others)
{
    const struct ls_sink_config *sinks[] = {&sink};
    struct ls_status_sink found;
    struct ls_err err = {0};
    struct ls_buf text = {0};
    put_everywhere("k-");
    set_leader(STATE, AWAY, false);
    struct ls_status *status = ls_status_open(&mock.config, sinks, 1, &err);
    cr_assert_not_null(status, "%s", err.text);
    cr_assert_eq(ls_status_gather(status, &found, &err), 0, "%s", err.text);
    cr_assert_eq(found.n_leaderless, 1);
    cr_expect_eq(found.leaderless[0], AWAY);
    cr_expect_eq(found.lag, 2 * (FAKE_PARTITIONS - 1));
    cr_expect_not(ls_status_fine(&found));
    ls_status_table(&found, 1, 0, &text);
    cr_expect(strstr(ls_buf_cstr(&text), "partition 2 of " STATE " has no leader"), "%s",
              ls_buf_cstr(&text));
    ls_buf_free(&text);
    ls_status_close(status);
}
