/*
 * Whether a log is still the one that was read (law 7), by what can be asked of it cheaply: the
 * first record that is younger than a position says. A log that was cut, or made again under its
 * name, has such a record before the position, however far it has grown since.
 *
 * Rejected: the topic's id, which librdkafka 2.0 does not tell; reading the genesis records again
 * each time, which needs a consumer of its own and does not notice a log that lost only its tail;
 * the record at the position itself, which compaction may have removed.
 *
 * Threads: any, each call by itself. A crash leaves nothing behind.
 */

#include "base/mem.h"
#include "pipeline/kafka.h"

static bool is_known(const struct ls_log_position *position)
{
    return position->at_ms > 0 && position->offset >= 0;
}

/*
 * Asks where the first record is that is younger than each position: the list comes back with those
 * offsets, in the order of the known positions.
 */
static int ask_younger(rd_kafka_t *client, rd_kafka_topic_partition_list_t *list, int timeout_ms,
                       struct ls_err *err)
{
    const char *topic = list->elems[0].topic;
    rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(client, list, timeout_ms);
    for (int i = 0; i < list->cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
        code = list->elems[i].err;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    return ls_kafka_err(err, code, "looking whether %s is still the same log", topic);
}

/*
 * Who leads the topic's partitions now. librdkafka asks that once when a broker goes, when the
 * others still take it for the leader; for a topic that the client neither writes nor reads it asks
 * no more for a quarter of an hour, and would go on asking the broker that is gone.
 */
static void learn_leaders(rd_kafka_t *client, const char *topic, int timeout_ms)
{
    rd_kafka_topic_t *handle = rd_kafka_topic_new(client, topic, NULL);
    if (handle == NULL)
        return;
    const struct rd_kafka_metadata *metadata = NULL;
    if (rd_kafka_metadata(client, 0, handle, &metadata, timeout_ms) == RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(handle);
}

struct confirming {
    const struct ls_log_position *positions;
    size_t n;
    const struct ls_log_position *wrong;
};

static void look_at_younger(void *opaque, const rd_kafka_message_t *message)
{
    struct confirming *confirming = opaque;
    int64_t at_ms = rd_kafka_message_timestamp(message, NULL);
    for (size_t i = 0; i < confirming->n && confirming->wrong == NULL; i++) {
        const struct ls_log_position *position = &confirming->positions[i];
        if (position->partition == message->partition && is_known(position) &&
            message->offset <= position->offset && at_ms > position->at_ms)
            confirming->wrong = position;
    }
}

int ls_kafka_check_log(const struct ls_config *config, rd_kafka_t *client, const char *topic,
                       const struct ls_log_position *positions, size_t n, int timeout_ms,
                       const struct ls_log_position **ret_wrong, struct ls_err *err)
{
    struct confirming confirming = {.positions = positions, .n = n};
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)n);
    for (size_t i = 0; i < n; i++)
        if (is_known(&positions[i]))
            rd_kafka_topic_partition_list_add(list, topic, positions[i].partition)->offset =
                positions[i].at_ms + 1;
    int rc = list->cnt > 0 ? ask_younger(client, list, timeout_ms, err) : 0;
    if (rc < 0)
        learn_leaders(client, topic, timeout_ms);
    LS_CLEANUP_FREE struct ls_log_span *spans = ls_calloc(n + 1, sizeof(*spans));
    size_t n_spans = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (!is_known(&positions[i]))
            continue;
        const rd_kafka_topic_partition_t *answer =
            rd_kafka_topic_partition_list_find(list, topic, positions[i].partition);
        if (answer->offset >= 0 && answer->offset <= positions[i].offset)
            spans[n_spans++] = (struct ls_log_span){positions[i].partition, answer->offset,
                                                    positions[i].offset + 1};
    }
    rd_kafka_topic_partition_list_destroy(list);
    if (n_spans > 0)
        rc = ls_kafka_read_spans(config, topic, spans, n_spans, look_at_younger, &confirming, err);
    if (rc == 0)
        *ret_wrong = confirming.wrong;
    return rc;
}
