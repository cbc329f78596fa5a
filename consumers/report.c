/*
 * What an instance says of itself: log lines, its state, and heartbeats in lockstep.control. The
 * loop is the only one that logs. A failure that repeats is counted and told again once in a while,
 * with its count; nothing that may be personal data leaves by any of these ways (mask.h).
 *
 * A crash loses what was counted and not told; the newest heartbeat stays in the topic, and readers
 * see by its time that the instance is gone.
 */
#include "consumers/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "consumers/mask.h"
#include "consumers/report_impl.h"
#include "pipeline/topics.h"

enum { BEAT_MS = 1000, REASON_AGAIN_MS = 10000 };

struct ls_report *ls_report_open(const struct ls_instance *instance)
{
    struct ls_report *report = ls_calloc(1, sizeof(*report));
    struct ls_heartbeat *beat = &report->beat;
    size_t n = (size_t)instance->n_partitions;
    const char *entity = instance->sink_config->entity->name;
    char host[48] = "localhost";
    gethostname(host, sizeof(host) - 1);
    snprintf(beat->entity, sizeof(beat->entity), "%s", entity);
    snprintf(beat->sink, sizeof(beat->sink), "%s", instance->sink_config->name);
    snprintf(beat->instance, sizeof(beat->instance), "%s:%d:%u", host, (int)getpid(),
             instance->options->number);
    snprintf(report->key, sizeof(report->key), "heartbeat/%s/%s/%s", entity, beat->sink,
             beat->instance);
    beat->started_ms = ls_wall_us() / 1000;
    beat->partitions = ls_calloc(n, sizeof(*beat->partitions));
    report->opened_ms = report->beaten_ms = ls_mono_ms();
    report->stats = instance->options->stats;
    ls_stats_view_init(&report->view, instance->n_partitions, 0);
    report->seen = ls_calloc(n, sizeof(*report->seen));
    for (size_t i = 0; i < n; i++)
        report->seen[i] = (struct ls_seen){.low = -1, .asked_end = -1, .moved_ms = ls_mono_ms()};
    return report;
}

/* Where the record of a failure stands in the log, as pairs of a log line. */
struct place {
    char partition[16], offset[24], records[16], key[LS_MASKED_KEY_MAX];
    const char *topic, *key_name, *reject;
};

static void log_failure(const char *sink, const struct ls_failure *failure,
                        const struct place *place)
{
    static const struct place nowhere = {.key_name = "key"};
    const struct ls_err *err = &failure->err;
    char number[16], repeats[24];
    /* What the store itself calls it: by its number, else by its name. */
    const char *name = err->name[0] != '\0' ? err->name : NULL;
    const char *code = err->code != 0 ? number : name;
    if (place == NULL)
        place = &nowhere;
    snprintf(number, sizeof(number), "%d", err->code);
    snprintf(repeats, sizeof(repeats), "%" PRIu64, failure->unsaid);
    ls_log(err->class == LS_ERR_FATAL ? LS_LOG_ERROR : LS_LOG_WARN, "failure", "sink", sink,
           "class", ls_err_class_name(err->class), "code", code, "error",
           err->code != 0 ? name : NULL, "reject", place->reject, "topic", place->topic,
           "partition", place->partition[0] ? place->partition : NULL, "offset",
           place->offset[0] ? place->offset : NULL, place->key_name,
           place->key[0] ? place->key : NULL, "records", place->records[0] ? place->records : NULL,
           "text", err->text, "repeats", failure->unsaid ? repeats : NULL, NULL);
}

/* Tells the repeats of failures that were not met again since, when they are due or all. */
static void say_repeats(struct ls_report *report, bool all)
{
    int64_t now_ms = ls_mono_ms();
    for (struct ls_failure *failure;;) {
        failure =
            all ? ls_failures_left(&report->failures) : ls_failures_due(&report->failures, now_ms);
        if (failure == NULL)
            return;
        log_failure(report->beat.sink, failure, NULL);
        ls_failures_said(failure, now_ms);
    }
}

void ls_report_close(struct ls_report *report)
{
    if (report == NULL)
        return;
    say_repeats(report, true);
    ls_stats_view_free(&report->view);
    ls_buf_free(&report->json);
    free(report->seen);
    free(report->beat.partitions);
    free(report);
}

/*
 * Records settled a second, over the last few heartbeats: batches are settled whole, so that a
 * single second may see none or two.
 */
static double measure_rate(struct ls_report *report, int64_t now_ms, uint64_t now_settled)
{
    size_t oldest = report->n_samples < LS_RATE_SAMPLES ? 0 : report->n_samples % LS_RATE_SAMPLES;
    size_t newest = (report->n_samples + LS_RATE_SAMPLES - 1) % LS_RATE_SAMPLES;
    double rate = 0;
    if (report->n_samples > 0 && now_ms > report->samples[oldest].at_ms)
        rate = (double)(now_settled - report->samples[oldest].settled) * 1000.0 /
               (double)(now_ms - report->samples[oldest].at_ms);
    if (report->n_samples == 0 || now_ms - report->samples[newest].at_ms >= BEAT_MS / 2) {
        size_t next = report->n_samples++ % LS_RATE_SAMPLES;
        report->samples[next].at_ms = now_ms;
        report->samples[next].settled = now_settled;
    }
    return rate;
}

static void fill_partitions(struct ls_instance *instance, struct ls_heartbeat *beat)
{
    beat->n_partitions = 0;
    for (int32_t i = 0; i < instance->n_partitions; i++) {
        const struct ls_partition *partition = &instance->partitions[i];
        int64_t lag = instance->report->view.partitions[i].lag;
        if (partition->state != LS_PART_BEGUN)
            continue;
        beat->partitions[beat->n_partitions++] = (struct ls_heartbeat_partition){
            .partition = i,
            .low = partition->low,
            .end = lag < 0 ? -1 : partition->low + lag,
            .low_at_ms = partition->low_at_ms,
        };
    }
}

/* Breaker and flow of the lane that stands worst. */
static void fill_pressure(const struct ls_stats_view *view, struct ls_heartbeat *beat)
{
    enum ls_breaker_state worst = LS_BREAKER_CLOSED;
    beat->openings = 0;
    beat->flow_limit = beat->flow_max = 0;
    for (unsigned i = 0; i < view->n_lanes; i++) {
        const struct ls_lane_stats *lane = &view->lanes[i];
        if (worst == LS_BREAKER_CLOSED || lane->breaker == LS_BREAKER_OPEN)
            worst = lane->breaker;
        beat->openings += lane->openings;
        if (beat->flow_max == 0 ||
            (double)lane->flow_limit / lane->flow_max < (double)beat->flow_limit / beat->flow_max) {
            beat->flow_limit = lane->flow_limit;
            beat->flow_max = lane->flow_max;
        }
    }
    snprintf(beat->breaker, sizeof(beat->breaker), "%s", ls_breaker_state_name(worst));
}

static void send_beat(struct ls_instance *instance, int64_t now_ms)
{
    struct ls_report *report = instance->report;
    struct ls_heartbeat *beat = &report->beat;
    beat->state = instance->state;
    snprintf(beat->reason, sizeof(beat->reason), "%s", instance->reason);
    snprintf(beat->last_error, sizeof(beat->last_error), "%s", instance->last_error);
    beat->last_error_ms = instance->last_error_ms;
    beat->time_ms = ls_wall_us() / 1000;
    memcpy(beat->counts, instance->totals.counts, sizeof(beat->counts));
    beat->consumed = instance->totals.consumed;
    beat->rewinds = instance->rewinds;
    beat->rewound_ms = instance->rewound_ms;
    fill_pressure(&report->view, beat);
    beat->rate = measure_rate(report, now_ms, ls_observe_settled(instance));
    fill_partitions(instance, beat);
    ls_buf_clear(&report->json);
    ls_heartbeat_encode(beat, &report->json);
    /* A heartbeat that cannot be sent is not worth waiting for: the next one says it again. */
    rd_kafka_resp_err_t code =
        rd_kafka_producev(instance->producer, RD_KAFKA_V_TOPIC(LS_TOPIC_CONTROL),
                          RD_KAFKA_V_KEY(report->key, strlen(report->key)),
                          RD_KAFKA_V_VALUE(report->json.data, report->json.len),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    report->view.heartbeats_failed += code != RD_KAFKA_RESP_ERR_NO_ERROR;
}

void ls_report_turn(struct ls_instance *instance)
{
    if (instance->report->stats != NULL)
        ls_stats_turn(instance->report->stats);
}

static int64_t stuck_after(const struct ls_instance *instance)
{
    return instance->options->stuck_ms ? instance->options->stuck_ms : LS_STUCK_MS;
}

bool ls_report_is_silent(const struct ls_instance *instance, const struct ls_lane_state *lane)
{
    return (lane->flow.out > 0 || lane->ready != NULL) &&
           ls_mono_ms() - lane->settled_ms >= stuck_after(instance) / LS_SILENT_PARTS;
}

/* A start that takes so long is explained by nothing that this instance could say of itself. */
static bool starts_too_long(const struct ls_instance *instance)
{
    int64_t age_ms = ls_mono_ms() - instance->report->opened_ms;
    return instance->state == LS_STATE_STARTING && age_ms >= stuck_after(instance);
}

void ls_report_beat(struct ls_instance *instance, bool now)
{
    struct ls_report *report = instance->report;
    int64_t now_ms = ls_mono_ms();
    ls_report_turn(instance);
    if (!now && now_ms < report->next_beat_ms)
        return;
    report->next_beat_ms = now_ms + BEAT_MS;
    ls_observe(instance);
    if (starts_too_long(instance)) {
        char wait[LS_HEARTBEAT_TEXT_MAX];
        ls_observe_wait(instance, wait, sizeof(wait));
        ls_report_state(instance, LS_STATE_STUCK, wait); /* beats, too */
        return;
    }
    say_repeats(report, false);
    if (instance->options->position == LS_POSITION_MARKS)
        send_beat(instance, now_ms);
    if (report->stats != NULL)
        ls_stats_publish(report->stats, &report->view);
}

/*
 * Whether the log has not answered for a while: then nothing else is known. Where the group took
 * all partitions with it, there is nothing to wait for before it is said.
 */
static bool is_log_away(const struct ls_instance *instance, enum ls_state state, int64_t now_ms)
{
    const struct ls_report *report = instance->report;
    int64_t patience_ms = state == LS_STATE_WAITING ? 0 : LS_LOG_AWAY_MS;
    return instance->phase == LS_INSTANCE_UP && report->away_ms != 0 &&
           now_ms - report->away_ms >= patience_ms;
}

/* Whether one partition stands still for long while others move; says which. */
static bool is_part_stuck(const struct ls_instance *instance, int64_t now_ms, char *wait,
                          size_t size)
{
    const struct ls_report *report = instance->report;
    int64_t long_ms = stuck_after(instance) * LS_STUCK_PART_TIMES;
    for (int32_t i = 0; i < instance->n_partitions; i++) {
        const struct ls_seen *seen = &report->seen[i];
        int64_t since_ms =
            seen->moved_ms > report->explained_ms ? seen->moved_ms : report->explained_ms;
        if (instance->partitions[i].state == LS_PART_NONE || now_ms - since_ms < long_ms)
            continue;
        if (instance->partitions[i].leaderless)
            ls_observe_lack(instance, i, wait, size);
        else
            snprintf(wait, size,
                     "partition %d stands still at offset %" PRId64 " while others move", i,
                     seen->low);
        return true;
    }
    return false;
}

/* Whether a store was given something a while ago and has not said a word since; says which. */
static bool is_any_silent(const struct ls_instance *instance, char *wait, size_t size)
{
    for (unsigned i = 0; i < instance->n_lanes; i++) {
        if (!ls_report_is_silent(instance, &instance->lanes[i]))
            continue;
        ls_observe_lane_wait(instance, i, wait, size);
        return true;
    }
    return false;
}

/* What RUNNING really is; may fill in wait. WAITING explains nothing here: it may become STUCK. */
static enum ls_state look_into(struct ls_instance *instance, int64_t now_ms, char *wait,
                               size_t size)
{
    const struct ls_report *report = instance->report;
    int64_t since_ms = report->view.progress_ms;
    if (report->explained_ms > since_ms)
        since_ms = report->explained_ms;
    if (now_ms - since_ms < stuck_after(instance)) {
        if (is_part_stuck(instance, now_ms, wait, size))
            return LS_STATE_STUCK;
        return is_any_silent(instance, wait, size) ? LS_STATE_WAITING : LS_STATE_RUNNING;
    }
    ls_observe_wait(instance, wait, size);
    return LS_STATE_STUCK;
}

void ls_report_state(struct ls_instance *instance, enum ls_state state, const char *reason)
{
    struct ls_report *report = instance->report;
    int64_t now_ms = ls_mono_ms();
    char text[LS_HEARTBEAT_TEXT_MAX] = "";
    if ((state == LS_STATE_RUNNING || state == LS_STATE_WAITING) &&
        is_log_away(instance, state, now_ms)) {
        state = LS_STATE_WAITING;
        snprintf(text, sizeof(text), "%s", report->away);
    }
    if (state == LS_STATE_RUNNING)
        state = look_into(instance, now_ms, text, sizeof(text));
    else if (state != LS_STATE_STUCK)
        report->explained_ms = now_ms;
    if (state == LS_STATE_RUNNING) /* what stops nothing is no state, but to be known */
        snprintf(text, sizeof(text), "%s", report->view.warning);
    /* The failure that was reported last is known by its text: as it may be seen. */
    if (reason != NULL && strcmp(reason, report->raw) == 0)
        reason = instance->last_error;
    if (reason != NULL && text[0] == '\0')
        ls_mask_text(instance->sink_config->entity->schema, false, reason, text, sizeof(text));
    bool changed = instance->state != state;
    if (!changed && strcmp(instance->reason, text) == 0)
        return;
    bool say = changed || now_ms - report->said_ms >= REASON_AGAIN_MS;
    instance->state = state;
    snprintf(instance->reason, sizeof(instance->reason), "%s", text);
    if (!say) /* the next heartbeat tells it */
        return;
    report->said_ms = now_ms;
    /* What a sink waits for or retries was logged as the failure that it is. */
    enum ls_log_level level = state == LS_STATE_HALTED || state == LS_STATE_STUCK ? LS_LOG_ERROR
                              : state == LS_STATE_RETRYING                        ? LS_LOG_WARN
                                                                                  : LS_LOG_INFO;
    ls_log(level, "sink state", "sink", instance->sink_config->name, "state", ls_state_name(state),
           "reason", *text ? text : NULL, NULL);
    ls_report_beat(instance, true);
}

static void fill_place(const struct ls_instance *instance, const struct ls_record *record,
                       uint32_t records, char topic[LS_TOPIC_NAME_MAX], struct place *ret)
{
    const struct ls_entity_config *entity = instance->sink_config->entity;
    *ret = (struct place){.topic = topic, .key_name = "key"};
    ls_topic_state(entity, topic);
    snprintf(ret->partition, sizeof(ret->partition), "%d", record->partition);
    snprintf(ret->offset, sizeof(ret->offset), "%" PRId64, record->offset);
    if (records > 1)
        snprintf(ret->records, sizeof(ret->records), "%" PRIu32, records);
    if (record->key != NULL)
        ls_mask_key(entity->schema, record->key, record->key_len, &ret->key_name, ret->key);
    if (record->reject != 0 && record->verdict == LS_POISON)
        ret->reject = ls_reject_name((enum ls_reject)record->reject);
}

void ls_report_text(const struct ls_instance *instance, const struct ls_err *err, char *ret,
                    size_t size)
{
    bool quotes = err->class == LS_ERR_POISON || err->class == LS_ERR_UNKNOWN ||
                  ls_failures_unknown(&instance->report->failures, err->code);
    ls_mask_text(instance->sink_config->entity->schema, quotes, err->text, ret, size);
}

void ls_report_failure(struct ls_instance *instance, const struct ls_err *err,
                       const struct ls_record *record, uint32_t records)
{
    struct ls_report *report = instance->report;
    int64_t now_ms = ls_mono_ms();
    struct ls_err masked = *err;
    ls_report_text(instance, err, masked.text, sizeof(masked.text));
    snprintf(report->raw, sizeof(report->raw), "%s", err->text);
    instance->last_error_ms = ls_wall_us() / 1000;
    report->view.failures[err->class]++;
    if (err->class == LS_ERR_POISON && record != NULL)
        snprintf(instance->last_error, sizeof(instance->last_error),
                 "partition %d offset %" PRId64 ": %.400s", record->partition, record->offset,
                 masked.text);
    else
        snprintf(instance->last_error, sizeof(instance->last_error), "%s", masked.text);
    struct ls_failure *failure = ls_failures_note(&report->failures, &masked, now_ms);
    if (failure == NULL)
        return;
    char topic[LS_TOPIC_NAME_MAX];
    struct place place;
    if (record != NULL)
        fill_place(instance, record, records, topic, &place);
    log_failure(report->beat.sink, failure, record != NULL ? &place : NULL);
    ls_failures_said(failure, now_ms);
}

void ls_report_error(struct ls_instance *instance, const struct ls_err *err)
{
    ls_report_failure(instance, err, NULL, 0);
}

void ls_report_batch(struct ls_instance *instance, uint32_t records)
{
    ls_histogram_add(&instance->report->view.batch_records, records, 1);
}

void ls_report_request(struct ls_instance *instance, int64_t us)
{
    ls_histogram_add(&instance->report->view.request_s, (double)us / 1e6, 1);
}

void ls_report_applied(struct ls_instance *instance, int64_t at_ms, int64_t wall_ms)
{
    if (at_ms > 0)
        ls_histogram_add(&instance->report->view.delay_s,
                         wall_ms > at_ms ? (double)(wall_ms - at_ms) / 1e3 : 0, 1);
}

void ls_report_beaten(struct ls_instance *instance, bool confirmed)
{
    if (confirmed)
        instance->report->beaten_ms = ls_mono_ms();
    else
        instance->report->view.heartbeats_failed++;
}

void ls_report_look(struct ls_instance *instance)
{
    instance->report->view.looks++;
}
