/*
 * How far each sink is behind: in records, from the log's ends and the sink's position, and in
 * seconds, from the LogAppendTime of the record that it has to apply next. The position is what an
 * instance that is alive says, else the group's offset: the heartbeat is right even where a store
 * went back in time and the group's offset did not. Where only genesis and control records follow
 * the position, nothing is left to apply, so that partition has no lag. What a partition without a
 * leader holds is not known; it is named, and adds nothing.
 */
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "pipeline/ends.h"
#include "pipeline/kafka.h"
#include "pipeline/status_internal.h"
#include "pipeline/topics.h"
#include "schema/key.h"

enum { REQUEST_MS = 10 * 1000, PEEK_MS = 3000, POLL_MS = 20, MOVING_MS = 200 };

const struct ls_status_log *ls_status_log_of(const struct ls_status *status,
                                             const struct ls_entity_config *entity)
{
    for (size_t i = 0; i < status->n_logs; i++)
        if (status->logs[i].entity == entity)
            return &status->logs[i];
    return NULL;
}

int ls_status_range(struct ls_status *status, const char *topic, int32_t n, int64_t *first,
                    int64_t *end, struct ls_err *err)
{
    LS_CLEANUP_FREE int32_t *numbers = ls_calloc((size_t)n + 1, sizeof(*numbers));
    struct ls_err why = {0};
    for (int32_t p = 0; p < n; p++)
        numbers[p] = p;
    int rc = ls_kafka_ends(status->client, topic, numbers, (size_t)n, LS_KAFKA_TIMEOUT_MS, first,
                           end, &why);
    if (rc < 0 && why.code != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) {
        *err = why;
        return -1;
    }
    for (int32_t p = 0; p < n; p++)
        if (rc < 0 || first[p] < 0 || end[p] < 0)
            first[p] = end[p] = -1;
    return 0;
}

int ls_status_ends(struct ls_status *status, struct ls_err *err)
{
    for (size_t i = 0; i < status->n_logs; i++) {
        struct ls_status_log *log = &status->logs[i];
        char topic[LS_TOPIC_NAME_MAX];
        int32_t partitions;
        ls_topic_state(log->entity, topic);
        if (ls_kafka_partitions(status->client, topic, &partitions, err) < 0)
            return -1;
        if (partitions == 0)
            return ls_kafka_err(err, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "topic %s", topic);
        if (partitions != log->entity->partitions)
            return ls_err_set(err, LS_ERR_FATAL, 0, "%s has %d partitions, %s says %d", topic,
                              partitions, status->config->path, log->entity->partitions);
        if (ls_status_range(status, topic, partitions, log->first, log->end, err) < 0)
            return -1;
        log->n_leaderless = 0;
        for (int32_t p = 0; p < partitions; p++)
            if (log->end[p] < 0)
                log->leaderless[log->n_leaderless++] = p;
    }
    return 0;
}

/* Reads the answer into low[]; what the group has not committed is left alone. */
static int read_answer(rd_kafka_event_t *event, const char *group, int64_t *low, int32_t n,
                       struct ls_err *err)
{
    const rd_kafka_ListConsumerGroupOffsets_result_t *result =
        rd_kafka_event_ListConsumerGroupOffsets_result(event);
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    size_t n_groups = 0;
    const rd_kafka_group_result_t **groups = NULL;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && result != NULL)
        groups = rd_kafka_ListConsumerGroupOffsets_result_groups(result, &n_groups);
    if (n_groups > 0 && rd_kafka_group_result_error(groups[0]) != NULL)
        code = rd_kafka_error_code(rd_kafka_group_result_error(groups[0]));
    if (code == RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND)
        return 0; /* it never ran */
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return ls_kafka_err(err, code, "offsets of group %s", group);
    const rd_kafka_topic_partition_list_t *list =
        n_groups > 0 ? rd_kafka_group_result_partitions(groups[0]) : NULL;
    for (int i = 0; list != NULL && i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *part = &list->elems[i];
        if (part->partition >= 0 && part->partition < n && part->offset >= 0)
            low[part->partition] = part->offset;
    }
    return 0;
}

static rd_kafka_t *peeker_of(struct ls_status *status, struct ls_err *err)
{
    static const char *const extra[] = {"group.id",
                                        "lockstep.reader",
                                        "enable.partition.eof",
                                        "true",
                                        "queued.min.messages",
                                        "1",
                                        "fetch.wait.max.ms",
                                        "10",
                                        NULL};
    if (status->peeker == NULL) {
        status->peeker =
            ls_kafka_client(status->config, RD_KAFKA_CONSUMER, "status", NULL, extra, err);
        if (status->peeker != NULL)
            rd_kafka_poll_set_consumer(status->peeker);
    }
    return status->peeker;
}

/* low[] as the group has committed it, from one request. */
static int ask_group(rd_kafka_t *client, const struct ls_sink_config *sink, int64_t *low,
                     struct ls_err *err)
{
    char group[LS_TOPIC_NAME_MAX], topic[LS_TOPIC_NAME_MAX];
    int32_t n = sink->entity->partitions;
    ls_group_name(sink, group);
    ls_topic_state(sink->entity, topic);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(n);
    for (int32_t p = 0; p < n; p++)
        rd_kafka_topic_partition_list_add(list, topic, p);
    rd_kafka_ListConsumerGroupOffsets_t *request =
        rd_kafka_ListConsumerGroupOffsets_new(group, list);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    rd_kafka_AdminOptions_set_request_timeout(options, REQUEST_MS, NULL, 0);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_ListConsumerGroupOffsets(client, &request, 1, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, REQUEST_MS + 1000);
    int rc = event != NULL
                 ? read_answer(event, group, low, n, err)
                 : ls_kafka_err(err, RD_KAFKA_RESP_ERR__TIMED_OUT, "offsets of group %s", group);
    if (event != NULL)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ListConsumerGroupOffsets_destroy(request);
    return rc;
}

/* Whether the group has no coordinator for now, or another one than the broker that was asked. */
static bool is_moving(const struct ls_err *err)
{
    return err->code == RD_KAFKA_RESP_ERR_NOT_COORDINATOR ||
           err->code == RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE ||
           err->code == RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
}

/*
 * The peeker asks, as it is a consumer: librdkafka (2.0.2 to 2.12 at least) crashes when a client
 * without a group is told NOT_COORDINATOR. It also goes on asking the broker that was coordinator
 * for as long as it is asked itself, so after that answer a new client asks.
 */
static int group_offsets(struct ls_status *status, const struct ls_sink_config *sink, int64_t *low,
                         struct ls_err *err)
{
    int64_t until_ms = ls_mono_ms() + REQUEST_MS;
    for (;;) {
        rd_kafka_t *peeker = peeker_of(status, err);
        if (peeker == NULL)
            return -1;
        if (ask_group(peeker, sink, low, err) == 0)
            return 0;
        if (!is_moving(err) || ls_mono_ms() >= until_ms)
            return -1;
        ls_status_end_consumer(&status->peeker);
        poll(NULL, 0, MOVING_MS);
    }
}

static void wake_broker(rd_kafka_t *peeker, const char *topic, const struct ls_status_log *log,
                        const bool *seen)
{
    for (int32_t p = 0; p < log->entity->partitions; p++) {
        if (seen[p])
            continue;
        ls_kafka_wake(peeker, topic, p);
        return;
    }
}

/* The earlier of two times; 0 is none. */
static int64_t older(int64_t a_ms, int64_t b_ms)
{
    return a_ms == 0 || (b_ms > 0 && b_ms < a_ms) ? b_ms : a_ms;
}

/* The log's own first record, which no store waits for. */
static bool is_genesis(const rd_kafka_message_t *message)
{
    return message->key_len == strlen(LS_GENESIS_KEY) &&
           memcmp(message->key, LS_GENESIS_KEY, message->key_len) == 0;
}

/* What is known of a partition's record at low[p] from an earlier look; NULL when nothing is. */
static const struct ls_status_peeked *known(const struct ls_status_kept *kept,
                                            const struct ls_status_log *log, int32_t p)
{
    const struct ls_status_peeked *peeked = &log->peeked[p];
    bool still =
        peeked->offset == kept->low[p] && (peeked->at_ms != 0 || peeked->end >= log->end[p]);
    return still ? peeked : NULL;
}

/* Begins to read every partition that lags and is not known; returns how many, or -1. */
static int start_peeking(struct ls_status *status, const struct ls_status_kept *kept,
                         const struct ls_status_log *log, const char *topic, struct ls_err *err)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(log->entity->partitions);
    for (int32_t p = 0; p < log->entity->partitions; p++)
        if (kept->low[p] < log->end[p] && known(kept, log, p) == NULL)
            rd_kafka_topic_partition_list_add(list, topic, p)->offset = kept->low[p];
    int n = list->cnt;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (n > 0 && peeker_of(status, err) == NULL)
        n = -1;
    else if (n > 0)
        code = rd_kafka_assign(status->peeker, list);
    rd_kafka_topic_partition_list_destroy(list);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? n : ls_kafka_err(err, code, "reading %s", topic);
}

/*
 * Notes the first record at or after low[p] of every partition that lags in log->peeked, as far as
 * the broker gives them in time.
 */
static int peek(struct ls_status *status, const struct ls_status_kept *kept,
                const struct ls_status_log *log, struct ls_err *err)
{
    char topic[LS_TOPIC_NAME_MAX];
    int64_t deadline_ms = ls_mono_ms() + PEEK_MS;
    ls_topic_state(log->entity, topic);
    int left = start_peeking(status, kept, log, topic, err);
    if (left <= 0)
        return left;
    LS_CLEANUP_FREE bool *seen = ls_calloc((size_t)log->entity->partitions, sizeof(*seen));
    for (int32_t p = 0; p < log->entity->partitions; p++)
        seen[p] = kept->low[p] >= log->end[p] || known(kept, log, p) != NULL;
    while (left > 0 && ls_mono_ms() < deadline_ms) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(status->peeker, POLL_MS);
        if (message == NULL) {
            wake_broker(status->peeker, topic, log, seen);
            continue;
        }
        int32_t p = message->partition;
        bool end = message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
        bool record = message->err == RD_KAFKA_RESP_ERR_NO_ERROR && !is_genesis(message);
        if ((end || record) && !seen[p]) {
            seen[p] = true;
            left--;
            log->peeked[p] = (struct ls_status_peeked){
                .offset = kept->low[p],
                .at_ms = end ? 0 : rd_kafka_message_timestamp(message, NULL),
                .end = end ? message->offset : 0,
            };
        }
        rd_kafka_message_destroy(message);
    }
    rd_kafka_assign(status->peeker, NULL);
    return 0;
}

/* Sums up what lags; partitions without anything to apply move to their end. */
static int measure(struct ls_status *status, struct ls_status_kept *kept,
                   const struct ls_status_log *log, struct ls_status_sink *ret, struct ls_err *err)
{
    int64_t oldest_ms = 0;
    bool all_known = true;
    ret->lag = 0;
    ret->behind_s = 0;
    if (peek(status, kept, log, err) < 0)
        return -1;
    for (int32_t p = 0; p < log->entity->partitions; p++) {
        if (kept->low[p] >= log->end[p])
            continue;
        const struct ls_status_peeked *peeked = known(kept, log, p);
        if (peeked != NULL && peeked->at_ms == 0) {
            kept->low[p] = log->end[p];
            continue;
        }
        ret->lag += log->end[p] - kept->low[p];
        all_known &= peeked != NULL;
        oldest_ms = older(oldest_ms, peeked != NULL ? peeked->at_ms : 0);
    }
    int64_t age_ms = ls_wall_us() / 1000 - oldest_ms;
    if (!all_known)
        ret->behind_s = -1;
    else if (oldest_ms > 0 && age_ms > 0)
        ret->behind_s = (double)age_ms / 1e3;
    return 0;
}

int ls_status_lag(struct ls_status *status, struct ls_status_kept *kept, struct ls_status_sink *ret,
                  struct ls_err *err)
{
    const struct ls_status_log *log = ls_status_log_of(status, kept->sink->entity);
    int32_t n = log->entity->partitions;
    LS_CLEANUP_FREE bool *owned = ls_calloc((size_t)n, sizeof(*owned));
    memcpy(kept->low, log->first, (size_t)n * sizeof(*kept->low));
    if (group_offsets(status, kept->sink, kept->low, err) < 0)
        return -1;
    for (size_t i = 0; i < ret->n_instances; i++) {
        const struct ls_heartbeat *beat = &ret->instances[i];
        for (size_t j = 0; j < beat->n_partitions; j++) {
            const struct ls_heartbeat_partition *part = &beat->partitions[j];
            if (part->partition >= n)
                continue;
            kept->low[part->partition] = part->low;
            owned[part->partition] = true;
        }
    }
    for (int32_t p = 0; p < n; p++) {
        ret->unowned += ret->n_instances > 0 && !owned[p];
        if (kept->low[p] < log->first[p])
            kept->low[p] = log->first[p];
    }
    ret->leaderless = log->leaderless;
    ret->n_leaderless = log->n_leaderless;
    ret->unheard = status->unheard;
    return measure(status, kept, log, ret, err);
}
