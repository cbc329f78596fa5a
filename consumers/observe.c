/*
 * The view of an instance: how far it is behind, what it has in hand, and whether anything moves.
 *
 * The ends of the log are asked of the broker every few seconds, since those that come with fetched
 * records stand still for a sink that fetches nothing, which is the very one to be looked at. That
 * is two short requests, for who leads and to each broker, and seldom while none answers; so the
 * loop may wait for it.
 *
 * How old the oldest record without a verdict is, is known while it is in hand. When it no longer
 * is (the sink halted and let go), what was known is kept while the position stays; where nothing
 * was known, the time since the partition was first seen to lag stands for it, which is less than
 * the truth and grows with it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "consumers/report_impl.h"
#include "pipeline/ends.h"
#include "pipeline/leaders.h"
#include "pipeline/topics.h"

enum { ASK_MS = 5000, ASK_AWAY_MS = 10000, ASK_TIMEOUT_MS = 800 };

uint64_t ls_observe_settled(const struct ls_instance *instance)
{
    const uint64_t *counts = instance->totals.counts;
    return counts[LS_APPLIED] + counts[LS_STALE] + counts[LS_SUPERSEDED] + counts[LS_POISON];
}

static bool is_owned(const struct ls_instance *instance, int32_t number)
{
    return instance->partitions[number].state != LS_PART_NONE;
}

static void ask_ends(struct ls_instance *instance, int64_t now_ms)
{
    struct ls_report *report = instance->report;
    if (instance->source == NULL || now_ms < report->next_ask_ms)
        return;
    size_t n = 0, max = (size_t)instance->n_partitions;
    LS_CLEANUP_FREE int32_t *numbers = ls_calloc(max, sizeof(*numbers));
    LS_CLEANUP_FREE int64_t *ends = ls_calloc(max, sizeof(*ends));
    for (int32_t i = 0; i < instance->n_partitions; i++)
        if (is_owned(instance, i))
            numbers[n++] = i;
    if (n == 0)
        numbers[n++] = 0; /* any, to know whether it answers */
    char topic[LS_TOPIC_NAME_MAX];
    struct ls_err err = {0};
    ls_topic_state(instance->sink_config->entity, topic);
    int rc = ls_kafka_ends(ls_source_client(instance->source), topic, numbers, n, ASK_TIMEOUT_MS,
                           NULL, ends, &err);
    bool unled = rc < 0 && err.code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
    for (size_t i = 0; i < n && (rc == 0 || unled); i++)
        instance->partitions[numbers[i]].leaderless = unled || ends[i] < 0;
    if (rc < 0) {
        report->next_ask_ms = ls_mono_ms() + ASK_AWAY_MS;
        report->away_ms = report->away_ms != 0 ? report->away_ms : now_ms;
        snprintf(report->away, sizeof(report->away), "%s%.200s",
                 unled ? "" : "Kafka does not answer: ", err.text);
        return;
    }
    report->next_ask_ms = ls_mono_ms() + ASK_MS;
    report->away_ms = 0;
    for (size_t i = 0; i < n; i++)
        if (ends[i] >= 0)
            report->seen[numbers[i]].asked_end = ends[i];
}

/* LogAppendTime of the oldest record in hand of each partition, into times[]; 0 where none is. */
static void find_oldest(const struct ls_instance *instance, int64_t *times)
{
    for (unsigned l = 0; l < instance->n_lanes; l++) {
        for (const struct ls_batch *batch = instance->lanes[l].oldest; batch; batch = batch->next) {
            uint32_t left = batch->n_reach;
            for (uint32_t i = 0; i < batch->n_records && left > 0; i++) {
                const struct ls_record *record = &batch->records[i];
                if (times[record->partition] != 0 ||
                    record->offset < instance->partitions[record->partition].low)
                    continue;
                times[record->partition] = record->at_ms;
                left--;
            }
        }
    }
}

/* Whether the partition has something left to do. */
static bool observe_partition(struct ls_instance *instance, int32_t number, int64_t now_ms,
                              int64_t in_hand_ms)
{
    const struct ls_partition *partition = &instance->partitions[number];
    struct ls_seen *seen = &instance->report->seen[number];
    struct ls_partition_stats *ret = &instance->report->view.partitions[number];
    *ret = (struct ls_partition_stats){.owned = is_owned(instance, number), .lag = -1};
    if (!ret->owned) {
        *seen = (struct ls_seen){.low = -1, .asked_end = -1, .moved_ms = now_ms};
        return false;
    }
    int64_t before = seen->low;
    if (partition->state == LS_PART_BEGUN)
        seen->low = partition->low;
    if (seen->low != before)
        seen->moved_ms = now_ms;
    int64_t end = instance->source ? ls_source_cached_end(instance->source, number) : -1;
    if (seen->asked_end > end)
        end = seen->asked_end;
    if (seen->low < 0 || end < 0)
        return true; /* nobody knows yet */
    ret->lag = end > seen->low ? end - seen->low : 0;
    if (ret->lag == 0)
        seen->moved_ms = now_ms;
    if (in_hand_ms != 0)
        seen->oldest_ms = in_hand_ms;
    else if (ret->lag == 0)
        seen->oldest_ms = 0;
    else if (seen->low != before || seen->oldest_ms == 0)
        seen->oldest_ms = ls_wall_us() / 1000;
    ret->oldest_ms = seen->oldest_ms;
    return ret->lag > 0;
}

static void observe_lanes(const struct ls_instance *instance, struct ls_stats_view *view)
{
    if (view->n_lanes != instance->n_lanes)
        view->lanes = ls_realloc(view->lanes, instance->n_lanes * sizeof(*view->lanes));
    view->n_lanes = instance->n_lanes;
    view->memory_bytes = ls_memory_held(instance);
    for (unsigned i = 0; i < instance->n_lanes; i++) {
        const struct ls_lane_state *lane = &instance->lanes[i];
        view->lanes[i] = (struct ls_lane_stats){
            .batches = lane->n_batches,
            .units = lane->units_out,
            .records = lane->flow.out,
            .breaker = lane->breaker.state,
            .openings = lane->breaker.openings,
            .flow_limit = (uint32_t)lane->flow.limit,
            .flow_max = lane->flow.max,
        };
        for (const struct ls_unit *unit = lane->ready; unit; unit = unit->next)
            view->lanes[i].records += unit->n_records;
    }
}

/* What lanes warn of, told when it is new; the first one's stands for all. */
static void observe_warnings(const struct ls_instance *instance, struct ls_stats_view *view)
{
    char text[LS_LANE_WARNING_MAX] = "";
    view->wrong = false;
    for (unsigned i = 0; i < instance->n_lanes && text[0] == '\0'; i++)
        view->wrong = ls_lane_warning(instance->lanes[i].lane, text, sizeof(text));
    if (strcmp(text, view->warning) != 0 && text[0] != '\0')
        ls_log(LS_LOG_WARN, "store", "sink", instance->sink_config->name, "text", text, NULL);
    snprintf(view->warning, sizeof(view->warning), "%s", text);
}

/* Others have all partitions, and it has been so for a while since this one joined the group. */
static bool is_standby(struct ls_instance *instance, int64_t now_ms)
{
    struct ls_report *report = instance->report;
    bool bare = instance->phase == LS_INSTANCE_UP && instance->stop_at == NULL;
    for (int32_t i = 0; bare && i < instance->n_partitions; i++)
        bare = !is_owned(instance, i);
    char *member = bare ? rd_kafka_memberid(ls_source_client(instance->source)) : NULL;
    if (member == NULL || *member == '\0')
        report->bare_ms = 0;
    else if (report->bare_ms == 0)
        report->bare_ms = now_ms;
    if (member != NULL)
        rd_kafka_mem_free(ls_source_client(instance->source), member);
    return report->bare_ms != 0 && now_ms - report->bare_ms >= LS_STANDBY_MS;
}

void ls_observe(struct ls_instance *instance)
{
    struct ls_report *report = instance->report;
    struct ls_stats_view *view = &report->view;
    int64_t now_ms = ls_mono_ms();
    ask_ends(instance, now_ms);
    LS_CLEANUP_FREE int64_t *times = ls_calloc((size_t)instance->n_partitions, sizeof(*times));
    find_oldest(instance, times);
    bool left = false;
    for (int32_t i = 0; i < instance->n_partitions; i++)
        left |= observe_partition(instance, i, now_ms, times[i]);
    observe_lanes(instance, view);
    observe_warnings(instance, view);
    for (unsigned i = 0; i < instance->n_lanes; i++)
        left |= instance->lanes[i].n_batches > 0;
    uint64_t settled = ls_observe_settled(instance);
    if (settled != report->settled || !left)
        view->progress_ms = now_ms;
    report->settled = settled;
    view->state = instance->state;
    snprintf(view->reason, sizeof(view->reason), "%s", instance->reason);
    for (int v = 0; v < LS_VERDICTS; v++)
        view->counts[v] = instance->totals.counts[v];
    view->consumed = instance->totals.consumed;
    view->rewinds = instance->rewinds;
    view->quarantined = ls_quarantine_known(instance->quarantine);
    view->heartbeat_ms = report->beaten_ms;
    view->unconfirmed = ls_quarantine_unconfirmed(instance->quarantine);
    view->standby = instance->state == LS_STATE_WAITING && is_standby(instance, now_ms);
}

bool ls_observe_lane_wait(const struct ls_instance *instance, unsigned number, char *ret,
                          size_t size)
{
    const struct ls_lane_state *lane = &instance->lanes[number];
    if (lane->units_out == 0 && lane->n_batches == 0)
        return false;
    struct ls_buf server = {0};
    ls_sink_servers(instance->ops, instance->sink_config, number, &server);
    if (lane->units_out > 0)
        snprintf(ret, size, "waits for the store at %s to answer %" PRIu32 " request%s",
                 ls_buf_cstr(&server), lane->units_out, lane->units_out == 1 ? "" : "s");
    else
        snprintf(ret, size, "waits with %" PRIu32 " batch%s in hand for the store at %s",
                 lane->n_batches, lane->n_batches == 1 ? "" : "es", ls_buf_cstr(&server));
    ls_buf_free(&server);
    return true;
}

void ls_observe_lack(const struct ls_instance *instance, int32_t partition, char *ret, size_t size)
{
    char topic[LS_TOPIC_NAME_MAX];
    struct ls_err lack = {0};
    ls_topic_state(instance->sink_config->entity, topic);
    ls_leaders_lack(topic, partition, &lack);
    snprintf(ret, size, "%s", lack.text);
}

void ls_observe_wait(const struct ls_instance *instance, char *ret, size_t size)
{
    uint64_t unconfirmed = ls_quarantine_unconfirmed(instance->quarantine);
    if (unconfirmed > 0) {
        snprintf(ret, size, "waits for Kafka to confirm %" PRIu64 " quarantined records",
                 unconfirmed);
        return;
    }
    for (unsigned i = 0; i < instance->n_lanes; i++)
        if (ls_observe_lane_wait(instance, i, ret, size))
            return;
    for (int32_t i = 0; i < instance->n_partitions; i++) {
        if (instance->partitions[i].leaderless && (instance->partitions[i].state == LS_PART_GIVEN ||
                                                   instance->report->view.partitions[i].lag > 0)) {
            ls_observe_lack(instance, i, ret, size);
            return;
        }
        if (instance->partitions[i].state == LS_PART_GIVEN) {
            snprintf(ret, size, "waits for the store's mark of partition %d", i);
            return;
        }
        if (instance->report->view.partitions[i].lag > 0) {
            snprintf(ret, size, "waits for Kafka to give partition %d from offset %" PRId64 " on",
                     i, instance->partitions[i].low);
            return;
        }
    }
    snprintf(ret, size, "waits for the group to assign partitions");
}
