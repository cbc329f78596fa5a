/*
 * What an instance says of itself: log lines, its state, and heartbeats in lockstep.control. The
 * loop is the only one that logs; a failure that repeats is counted and said again once in a while.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "consumers/instance_impl.h"
#include "pipeline/topics.h"

enum { BEAT_MS = 1000, SAY_AGAIN_MS = 10000, RATE_SAMPLES = 5 };

struct ls_report {
    struct ls_heartbeat beat;
    struct ls_buf json;
    char key[200];
    int64_t next_beat_ms;
    struct rate_sample {
        int64_t at_ms;
        uint64_t settled;
    } samples[RATE_SAMPLES]; /* a ring: the rate is that since the oldest */
    unsigned n_samples;
    char said[480]; /* the failure that was logged last */
    int64_t said_ms;
    uint64_t unsaid; /* repeats since */
};

struct ls_report *ls_report_open(const struct ls_instance *instance)
{
    struct ls_report *report = ls_calloc(1, sizeof(*report));
    struct ls_heartbeat *beat = &report->beat;
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
    beat->partitions = ls_calloc((size_t)instance->n_partitions, sizeof(*beat->partitions));
    return report;
}

void ls_report_close(struct ls_report *report)
{
    if (report == NULL)
        return;
    ls_buf_free(&report->json);
    free(report->beat.partitions);
    free(report);
}

static uint64_t settled(const struct ls_instance *instance)
{
    const uint64_t *counts = instance->totals.counts;
    return counts[LS_APPLIED] + counts[LS_STALE] + counts[LS_SUPERSEDED] + counts[LS_POISON];
}

/*
 * Records settled a second, over the last few heartbeats: batches are settled whole, so that a
 * single second may see none or two.
 */
static double measure_rate(struct ls_report *report, int64_t now_ms, uint64_t now_settled)
{
    struct rate_sample *oldest = &report->samples[report->n_samples % RATE_SAMPLES];
    if (report->n_samples < RATE_SAMPLES)
        oldest = &report->samples[0];
    double rate = 0;
    if (report->n_samples > 0 && now_ms > oldest->at_ms)
        rate = (double)(now_settled - oldest->settled) * 1000.0 / (double)(now_ms - oldest->at_ms);
    const struct rate_sample *newest =
        &report->samples[(report->n_samples + RATE_SAMPLES - 1) % RATE_SAMPLES];
    if (report->n_samples == 0 || now_ms - newest->at_ms >= BEAT_MS / 2) {
        report->samples[report->n_samples % RATE_SAMPLES] =
            (struct rate_sample){.at_ms = now_ms, .settled = now_settled};
        report->n_samples++;
    }
    return rate;
}

static void fill_partitions(struct ls_instance *instance, struct ls_heartbeat *beat)
{
    beat->n_partitions = 0;
    for (int32_t i = 0; i < instance->n_partitions; i++) {
        const struct ls_partition *partition = &instance->partitions[i];
        if (partition->state != LS_PART_BEGUN)
            continue;
        beat->partitions[beat->n_partitions++] = (struct ls_heartbeat_partition){
            .partition = i,
            .low = partition->low,
            .end = ls_source_cached_end(instance->source, i),
            .low_at_ms = partition->low_at_ms,
        };
    }
}

void ls_report_beat(struct ls_instance *instance, bool now)
{
    struct ls_report *report = instance->report;
    int64_t now_ms = ls_mono_ms();
    if (instance->options->position != LS_POSITION_MARKS || (!now && now_ms < report->next_beat_ms))
        return;
    report->next_beat_ms = now_ms + BEAT_MS;
    struct ls_heartbeat *beat = &report->beat;
    beat->state = instance->state;
    snprintf(beat->reason, sizeof(beat->reason), "%s", instance->reason);
    snprintf(beat->last_error, sizeof(beat->last_error), "%s", instance->last_error);
    beat->time_ms = ls_wall_us() / 1000;
    memcpy(beat->counts, instance->totals.counts, sizeof(beat->counts));
    beat->consumed = instance->totals.consumed;
    beat->rate = measure_rate(report, now_ms, settled(instance));
    fill_partitions(instance, beat);
    ls_buf_clear(&report->json);
    ls_heartbeat_encode(beat, &report->json);
    /* A heartbeat that cannot be sent is not worth waiting for: the next one says it again. */
    rd_kafka_producev(instance->producer, RD_KAFKA_V_TOPIC(LS_TOPIC_CONTROL),
                      RD_KAFKA_V_KEY(report->key, strlen(report->key)),
                      RD_KAFKA_V_VALUE(report->json.data, report->json.len),
                      RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
}

void ls_report_state(struct ls_instance *instance, enum ls_state state, const char *reason)
{
    if (reason == NULL)
        reason = "";
    bool changed = instance->state != state;
    if (!changed && strncmp(instance->reason, reason, sizeof(instance->reason) - 1) == 0)
        return;
    instance->state = state;
    snprintf(instance->reason, sizeof(instance->reason), "%.*s", (int)sizeof(instance->reason) - 1,
             reason);
    /* What a sink waits for or retries was logged as the failure that it is. */
    enum ls_log_level level = state == LS_STATE_HALTED     ? LS_LOG_ERROR
                              : state == LS_STATE_RETRYING ? LS_LOG_WARN
                                                           : LS_LOG_INFO;
    ls_log(level, "sink state", "sink", instance->sink_config->name, "state", ls_state_name(state),
           "reason", *reason ? reason : NULL, NULL);
    ls_report_beat(instance, true);
}

void ls_report_error(struct ls_instance *instance, const struct ls_err *err)
{
    struct ls_report *report = instance->report;
    snprintf(instance->last_error, sizeof(instance->last_error), "%s", err->text);
    int64_t now_ms = ls_mono_ms();
    bool same = strcmp(report->said, err->text) == 0;
    /* Poison differs in each line (offsets), so it is limited by time alone. */
    if ((same || err->class == LS_ERR_POISON) && report->said_ms != 0 &&
        now_ms - report->said_ms < SAY_AGAIN_MS) {
        report->unsaid++;
        return;
    }
    char code[16], repeats[24];
    snprintf(code, sizeof(code), "%d", err->code);
    snprintf(repeats, sizeof(repeats), "%" PRIu64, report->unsaid);
    ls_log(err->class == LS_ERR_FATAL ? LS_LOG_ERROR : LS_LOG_WARN, "failure", "sink",
           instance->sink_config->name, "class", ls_err_class_name(err->class), "code",
           err->code ? code : NULL, "text", err->text, "unsaid", report->unsaid ? repeats : NULL,
           NULL);
    snprintf(report->said, sizeof(report->said), "%s", err->text);
    report->said_ms = now_ms;
    report->unsaid = 0;
}
