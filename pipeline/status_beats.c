/*
 * Heartbeats: following lockstep.control, and folding what a sink's instances say into one state.
 *
 * The control topic is compacted into small segments, so reading it from the start is cheap;
 * between two looks only what is new is read. Instances that are gone stay in the topic until they
 * are compacted away, so only the newest of a sink are remembered.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "pipeline/kafka.h"
#include "pipeline/status_internal.h"
#include "pipeline/topics.h"

enum { POLL_MS = 20, STALL_MS = 10 * 1000 };

static const char *const names[] = {
    [LS_SINK_STARTING] = "STARTING", [LS_SINK_RUNNING] = "RUNNING", [LS_SINK_WAITING] = "WAITING",
    [LS_SINK_RETRYING] = "RETRYING", [LS_SINK_HALTED] = "HALTED",   [LS_SINK_STUCK] = "STUCK",
    [LS_SINK_STOPPED] = "STOPPED",   [LS_SINK_LOST] = "LOST",       [LS_SINK_NEVER] = "NEVER RUN",
};

const char *ls_sink_state_name(enum ls_sink_state state)
{
    return (size_t)state < LS_COUNT(names) ? names[state] : "UNKNOWN";
}

bool ls_status_caught_up(const struct ls_status_sink *sink)
{
    return (sink->state == LS_SINK_RUNNING || sink->state == LS_SINK_STOPPED) && sink->lag == 0 &&
           sink->n_leaderless == 0;
}

bool ls_status_fine(const struct ls_status_sink *sink)
{
    if (sink->n_leaderless > 0)
        return false;
    if (sink->state == LS_SINK_RUNNING)
        return true;
    return (sink->state == LS_SINK_STOPPED || sink->state == LS_SINK_NEVER) && sink->lag == 0;
}

void ls_status_keep(struct ls_status_kept *kept, struct ls_heartbeat *beat)
{
    struct ls_heartbeat *place = NULL, *oldest = NULL;
    for (size_t i = 0; i < kept->n_beats && place == NULL; i++) {
        if (strcmp(kept->beats[i].instance, beat->instance) == 0)
            place = &kept->beats[i];
        if (oldest == NULL || kept->beats[i].time_ms < oldest->time_ms)
            oldest = &kept->beats[i];
    }
    if (place == NULL && kept->n_beats == LS_STATUS_INSTANCES_MAX)
        place = oldest;
    if (place != NULL && place->time_ms > beat->time_ms) {
        free(beat->partitions);
        return;
    }
    if (place != NULL) {
        free(place->partitions);
    } else {
        kept->beats = ls_realloc(kept->beats, (kept->n_beats + 1) * sizeof(*kept->beats));
        place = &kept->beats[kept->n_beats++];
    }
    *place = *beat;
}

static void take(struct ls_status *status, const rd_kafka_message_t *message)
{
    static const char prefix[] = "heartbeat/";
    struct ls_heartbeat beat;
    struct ls_err ignored = {0};
    if (message->partition >= 0 && message->partition < status->control_partitions)
        status->control_next[message->partition] = message->offset + 1;
    /* What is no heartbeat is somebody else's; a broken one tells as much as none. */
    if (message->payload == NULL || message->key_len < sizeof(prefix) - 1 ||
        memcmp(message->key, prefix, sizeof(prefix) - 1) != 0 ||
        ls_heartbeat_decode(message->payload, message->len, &beat, &ignored) < 0)
        return;
    for (size_t i = 0; i < status->n; i++) {
        struct ls_status_kept *kept = &status->kept[i];
        if (strcmp(kept->sink->name, beat.sink) != 0 ||
            strcmp(kept->sink->entity->name, beat.entity) != 0)
            continue;
        ls_status_keep(kept, &beat);
        return;
    }
    free(beat.partitions);
}

static int open_follower(struct ls_status *status, struct ls_err *err)
{
    static const char *const extra[] = {"group.id", "lockstep.reader", "enable.partition.eof",
                                        "true", NULL};
    int32_t n;
    if (ls_kafka_partitions(status->client, LS_TOPIC_CONTROL, &n, err) < 0)
        return -1;
    if (n == 0)
        return ls_kafka_err(err, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "topic %s",
                            LS_TOPIC_CONTROL);
    rd_kafka_t *follower =
        ls_kafka_client(status->config, RD_KAFKA_CONSUMER, "status", NULL, extra, err);
    if (follower == NULL)
        return -1;
    rd_kafka_poll_set_consumer(follower);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(n);
    for (int32_t p = 0; p < n; p++)
        rd_kafka_topic_partition_list_add(list, LS_TOPIC_CONTROL, p)->offset =
            RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_resp_err_t code = rd_kafka_assign(follower, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_destroy(follower);
        return ls_kafka_err(err, code, "reading %s", LS_TOPIC_CONTROL);
    }
    status->follower = follower;
    status->control_partitions = n;
    status->control_next = ls_calloc((size_t)n, sizeof(*status->control_next));
    return 0;
}

static bool followed(const struct ls_status *status, const int64_t *ends)
{
    for (int32_t p = 0; p < status->control_partitions; p++)
        if (status->control_next[p] < ends[p])
            return false;
    return true;
}

int ls_status_follow(struct ls_status *status, struct ls_err *err)
{
    if (status->follower == NULL && open_follower(status, err) < 0)
        return -1;
    size_t n = (size_t)status->control_partitions;
    LS_CLEANUP_FREE int64_t *ends = ls_calloc(n, sizeof(*ends));
    LS_CLEANUP_FREE int64_t *firsts = ls_calloc(n, sizeof(*firsts));
    if (ls_status_range(status, LS_TOPIC_CONTROL, status->control_partitions, firsts, ends, err) <
        0)
        return -1;
    status->unheard = false;
    for (size_t p = 0; p < n; p++)
        status->unheard |= ends[p] < 0;
    int64_t heard_ms = ls_mono_ms();
    while (!followed(status, ends)) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(status->follower, POLL_MS);
        if (message == NULL) {
            if (ls_mono_ms() - heard_ms > STALL_MS)
                return ls_kafka_err(err, RD_KAFKA_RESP_ERR__TIMED_OUT, "reading %s",
                                    LS_TOPIC_CONTROL);
            ls_kafka_wake(status->follower, LS_TOPIC_CONTROL, 0);
            continue;
        }
        if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            heard_ms = ls_mono_ms();
            take(status, message);
        } else if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && message->partition >= 0 &&
                   message->partition < status->control_partitions) {
            status->control_next[message->partition] = message->offset;
        }
        rd_kafka_message_destroy(message);
    }
    return 0;
}

/* The one that a person should look at first. */
static int severity(enum ls_state state)
{
    switch (state) {
    case LS_STATE_HALTED:
        return 6;
    case LS_STATE_STUCK:
        return 5;
    case LS_STATE_RETRYING:
        return 4;
    case LS_STATE_WAITING:
        return 3;
    case LS_STATE_STARTING:
        return 2;
    default:
        return 1;
    }
}

static enum ls_sink_state sink_state(enum ls_state state)
{
    static const enum ls_sink_state states[] = {
        [LS_STATE_STARTING] = LS_SINK_STARTING, [LS_STATE_RUNNING] = LS_SINK_RUNNING,
        [LS_STATE_WAITING] = LS_SINK_WAITING,   [LS_STATE_RETRYING] = LS_SINK_RETRYING,
        [LS_STATE_HALTED] = LS_SINK_HALTED,     [LS_STATE_STOPPED] = LS_SINK_STOPPED,
        [LS_STATE_STUCK] = LS_SINK_STUCK,
    };
    return states[state];
}

static bool is_alive(const struct ls_heartbeat *beat, int64_t now_ms)
{
    return beat->state != LS_STATE_STOPPED && now_ms - beat->time_ms < LS_STATUS_ALIVE_MS;
}

static void add_counts(const struct ls_heartbeat *beat, struct ls_status_sink *ret)
{
    for (int v = 0; v < LS_VERDICTS; v++)
        ret->counts[v] += beat->counts[v];
    ret->consumed += beat->consumed;
}

/* Breaker and limit of the instance that stands worst. */
static void fold_pressure(const struct ls_heartbeat *beat, struct ls_status_sink *ret)
{
    bool worse = ret->breaker[0] == '\0' || strcmp(ret->breaker, "closed") == 0;
    if (worse && beat->breaker[0] != '\0')
        snprintf(ret->breaker, sizeof(ret->breaker), "%s", beat->breaker);
    ret->openings += beat->openings;
    ret->rewinds += beat->rewinds;
    if (beat->rewound_ms > ret->rewound_ms)
        ret->rewound_ms = beat->rewound_ms;
    if (beat->flow_max > 0 && (ret->flow_max == 0 || (double)beat->flow_limit / beat->flow_max <
                                                         (double)ret->flow_limit / ret->flow_max)) {
        ret->flow_limit = beat->flow_limit;
        ret->flow_max = beat->flow_max;
    }
}

/* Older workers do not tell when an error was met. */
static bool is_later_error(const struct ls_heartbeat *beat, const struct ls_heartbeat *than)
{
    if (beat->last_error_ms != than->last_error_ms)
        return beat->last_error_ms > than->last_error_ms;
    return beat->time_ms > than->time_ms;
}

void ls_status_fold(const struct ls_heartbeat *beats, size_t n, int64_t now_ms,
                    struct ls_heartbeat *alive, struct ls_status_sink *ret)
{
    const struct ls_heartbeat *newest = NULL, *worst = NULL, *erring = NULL;
    ret->instances = alive;
    for (size_t i = 0; i < n; i++) {
        const struct ls_heartbeat *beat = &beats[i];
        if (newest == NULL || beat->time_ms > newest->time_ms)
            newest = beat;
        if (!is_alive(beat, now_ms))
            continue;
        alive[ret->n_instances++] = *beat;
        add_counts(beat, ret);
        fold_pressure(beat, ret);
        ret->rate += beat->rate;
        if (worst == NULL || severity(beat->state) > severity(worst->state))
            worst = beat;
        if (beat->last_error[0] != '\0' && (erring == NULL || is_later_error(beat, erring)))
            erring = beat;
    }
    ret->heard_ms = newest != NULL ? newest->time_ms : 0;
    if (newest == NULL) {
        ret->state = LS_SINK_NEVER;
        return;
    }
    if (worst == NULL) {
        add_counts(newest, ret);
        erring = newest;
    }
    ret->state = worst != NULL                       ? sink_state(worst->state)
                 : newest->state == LS_STATE_STOPPED ? LS_SINK_STOPPED
                                                     : LS_SINK_LOST;
    snprintf(ret->reason, sizeof(ret->reason), "%s", worst != NULL ? worst->reason : "");
    if (erring != NULL) {
        snprintf(ret->last_error, sizeof(ret->last_error), "%s", erring->last_error);
        ret->last_error_ms = erring->last_error_ms;
    }
}
