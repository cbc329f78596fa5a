#include "pipeline/source.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "pipeline/kafka.h"
#include "pipeline/topics.h"

struct ls_source {
    rd_kafka_t *client;
    bool in_group;
    bool *begun; /* by partition */
    int32_t n_partitions;
    char topic[LS_TOPIC_NAME_MAX];
    rd_kafka_queue_t *events_queue; /* the consumer's own: callbacks only */
    rd_kafka_queue_t **queues;      /* the lanes' */
    size_t n_queues;
    const struct ls_source_events *events;
    void *opaque;
    int fd;
};

/* librdkafka writes this to the eventfd when a queue stops being empty. */
static const uint64_t wake_payload = 1;

static bool is_begun(const struct ls_source *source, int32_t partition)
{
    return partition >= 0 && partition < source->n_partitions && source->begun[partition];
}

/* Changes the assignment by a list and logs a refusal, which only a bug or a lost session causes.
 */
static void change_assignment(struct ls_source *source, rd_kafka_topic_partition_list_t *list,
                              bool add)
{
    rd_kafka_error_t *error = add ? rd_kafka_incremental_assign(source->client, list)
                                  : rd_kafka_incremental_unassign(source->client, list);
    if (error == NULL)
        return;
    ls_log(LS_LOG_WARN, "the assignment could not be changed", "topic", source->topic, "error",
           rd_kafka_error_string(error), NULL);
    rd_kafka_error_destroy(error);
}

static void on_given(struct ls_source *source, const rd_kafka_topic_partition_list_t *list,
                     const int32_t *partitions)
{
    /* Acknowledged with nothing: each partition is begun when its mark is known. */
    rd_kafka_topic_partition_list_t *none = rd_kafka_topic_partition_list_new(1);
    change_assignment(source, none, true);
    rd_kafka_topic_partition_list_destroy(none);
    source->events->given(source->opaque, partitions, (size_t)list->cnt);
}

static void on_taken(struct ls_source *source, const rd_kafka_topic_partition_list_t *list,
                     const int32_t *partitions)
{
    bool lost = rd_kafka_assignment_lost(source->client);
    source->events->taken(source->opaque, partitions, (size_t)list->cnt, lost);
    rd_kafka_topic_partition_list_t *begun = rd_kafka_topic_partition_list_new(list->cnt);
    for (int i = 0; i < list->cnt; i++) {
        if (!is_begun(source, partitions[i]))
            continue;
        rd_kafka_topic_partition_list_add(begun, source->topic, partitions[i]);
        source->begun[partitions[i]] = false;
    }
    change_assignment(source, begun, false);
    rd_kafka_topic_partition_list_destroy(begun);
}

static void on_rebalance(rd_kafka_t *client, rd_kafka_resp_err_t code,
                         rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct ls_source *source = opaque;
    (void)client;
    LS_CLEANUP_FREE int32_t *partitions = ls_calloc((size_t)list->cnt, sizeof(*partitions));
    for (int i = 0; i < list->cnt; i++)
        partitions[i] = list->elems[i].partition;
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
        on_given(source, list, partitions);
    else
        on_taken(source, list, partitions);
}

static struct ls_source *new_source(const struct ls_config *config,
                                    const struct ls_entity_config *entity, const char *role,
                                    const char *const *extra, struct ls_err *err)
{
    struct ls_source *source = ls_calloc(1, sizeof(*source));
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_opaque(conf, source);
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    source->client = ls_kafka_client(config, RD_KAFKA_CONSUMER, role, conf, extra, err);
    if (source->client == NULL) {
        free(source);
        return NULL;
    }
    ls_topic_state(entity, source->topic);
    source->n_partitions = entity->partitions;
    source->begun = ls_calloc((size_t)entity->partitions, sizeof(*source->begun));
    source->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rd_kafka_poll_set_consumer(source->client);
    source->events_queue = rd_kafka_queue_get_consumer(source->client);
    rd_kafka_queue_io_event_enable(source->events_queue, source->fd, &wake_payload,
                                   sizeof(wake_payload));
    return source;
}

/*
 * What both kinds of source rest on: the marks are the position, an end of a partition is told,
 * only committed records are read, and no offset is ever chosen by the client itself.
 */
#define SOURCE_PROPERTIES                                                                    \
    "enable.auto.commit", "false", "enable.auto.offset.store", "false", "auto.offset.reset", \
        "error", "enable.partition.eof", "true", "isolation.level", "read_committed",        \
        "fetch.wait.max.ms", "100", "queued.max.messages.kbytes", texts.queue_kib,           \
        "fetch.message.max.bytes", texts.partition_bytes, "fetch.max.bytes", texts.fetch_bytes

/* Limits as librdkafka's properties. */
struct limit_texts {
    char queue_kib[24], partition_bytes[24], fetch_bytes[24];
};

static struct limit_texts limit_texts(const struct ls_source_limits *limits)
{
    static const struct ls_source_limits usual = {4 << 20, 32 << 20, 1 << 20};
    if (limits == NULL)
        limits = &usual;
    struct limit_texts texts;
    snprintf(texts.queue_kib, sizeof(texts.queue_kib), "%" PRIu64, limits->queue_bytes >> 10);
    snprintf(texts.partition_bytes, sizeof(texts.partition_bytes), "%" PRIu64,
             limits->partition_bytes);
    snprintf(texts.fetch_bytes, sizeof(texts.fetch_bytes), "%" PRIu64, limits->fetch_bytes);
    return texts;
}

struct ls_source *ls_source_group(const struct ls_config *config, const struct ls_sink_config *sink,
                                  const struct ls_source_limits *limits,
                                  const struct ls_source_events *events, void *opaque,
                                  struct ls_err *err)
{
    char group[LS_TOPIC_NAME_MAX];
    ls_group_name(sink, group);
    const struct limit_texts texts = limit_texts(limits);
    const char *const extra[] = {
        SOURCE_PROPERTIES,
        "group.id",
        group,
        "partition.assignment.strategy",
        "cooperative-sticky",
        "session.timeout.ms",
        "10000",
        "heartbeat.interval.ms",
        "2000",
        "topic.metadata.refresh.interval.ms", /* how soon more partitions are noticed */
        "30000",
        NULL,
    };
    struct ls_source *source = new_source(config, sink->entity, sink->name, extra, err);
    if (source == NULL)
        return NULL;
    source->in_group = true;
    source->events = events;
    source->opaque = opaque;
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, source->topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(source->client, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        ls_kafka_err(err, code, "cannot join group %s", group);
        ls_source_close(source);
        return NULL;
    }
    return source;
}

struct ls_source *ls_source_range(const struct ls_config *config,
                                  const struct ls_entity_config *entity,
                                  const struct ls_source_limits *limits, struct ls_err *err)
{
    const struct limit_texts texts = limit_texts(limits);
    /* The group's name is needed by the client and never used: nothing subscribes or commits. */
    const char *const extra[] = {SOURCE_PROPERTIES, "group.id", "lockstep.range", NULL};
    return new_source(config, entity, "range", extra, err);
}

void ls_source_close(struct ls_source *source)
{
    if (source == NULL)
        return;
    if (source->in_group)
        rd_kafka_consumer_close(source->client); /* runs the last rebalance callback */
    for (size_t i = 0; i < source->n_queues; i++)
        rd_kafka_queue_destroy(source->queues[i]);
    free(source->queues);
    rd_kafka_queue_destroy(source->events_queue);
    if (!ls_kafka_end(source->client))
        return; /* it may still write to the descriptor */
    close(source->fd);
    free(source->begun);
    free(source);
}

rd_kafka_queue_t *ls_source_queue(struct ls_source *source)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(source->client);
    rd_kafka_queue_io_event_enable(queue, source->fd, &wake_payload, sizeof(wake_payload));
    source->queues =
        ls_realloc(source->queues, (source->n_queues + 1) * sizeof(rd_kafka_queue_t *));
    source->queues[source->n_queues++] = queue;
    return queue;
}

int ls_source_begin(struct ls_source *source, int32_t partition, int64_t offset,
                    rd_kafka_queue_t *queue, struct ls_err *err)
{
    /* Forwarded first: no message can take another way. */
    rd_kafka_queue_t *own = rd_kafka_queue_get_partition(source->client, source->topic, partition);
    if (own == NULL)
        return ls_err_set(err, LS_ERR_RETRY, 0, "no queue for %s/%d", source->topic, partition);
    rd_kafka_queue_forward(own, queue);
    rd_kafka_queue_destroy(own);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, source->topic, partition)->offset = offset;
    rd_kafka_error_t *error = rd_kafka_incremental_assign(source->client, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (error != NULL) {
        ls_kafka_err(err, rd_kafka_error_code(error), "cannot begin %s/%d at %lld: %s",
                     source->topic, partition, (long long)offset, rd_kafka_error_string(error));
        rd_kafka_error_destroy(error);
        return -1;
    }
    source->begun[partition] = true;
    return 0;
}

void ls_source_end(struct ls_source *source, int32_t partition)
{
    if (!is_begun(source, partition))
        return;
    source->begun[partition] = false;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, source->topic, partition);
    change_assignment(source, list, false);
    rd_kafka_topic_partition_list_destroy(list);
}

void ls_source_serve(struct ls_source *source)
{
    /* Only callbacks and client-wide errors come this way; a message here would be a bug. */
    rd_kafka_message_t *message;
    while ((message = rd_kafka_consumer_poll(source->client, 0)) != NULL) {
        if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            ls_log(LS_LOG_WARN, "the broker reports a problem", "topic", source->topic, "error",
                   rd_kafka_message_errstr(message), NULL);
        else
            ls_log(LS_LOG_ERROR, "a message came outside of its lane", "topic", source->topic,
                   NULL);
        rd_kafka_message_destroy(message);
    }
}

int ls_source_fd(const struct ls_source *source)
{
    return source->fd;
}

void ls_source_clear_fd(struct ls_source *source)
{
    uint64_t count;
    ssize_t got = read(source->fd, &count, sizeof(count));
    (void)got; /* non-blocking: nothing to read is fine */
}

void ls_source_commit(struct ls_source *source, const int32_t *partitions, const int64_t *offsets,
                      size_t n)
{
    if (!source->in_group || n == 0)
        return;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)n);
    for (size_t i = 0; i < n; i++)
        rd_kafka_topic_partition_list_add(list, source->topic, partitions[i])->offset = offsets[i];
    /* Not waited for: group offsets only show lag, and a lost commit is made good by the next. */
    rd_kafka_commit(source->client, list, 1);
    rd_kafka_topic_partition_list_destroy(list);
}

int ls_source_wake(struct ls_source *source, int32_t partition)
{
    return ls_kafka_wake(source->client, source->topic, partition);
}

int64_t ls_source_cached_end(struct ls_source *source, int32_t partition)
{
    int64_t first, end;
    if (rd_kafka_get_watermark_offsets(source->client, source->topic, partition, &first, &end) !=
            RD_KAFKA_RESP_ERR_NO_ERROR ||
        end < 0)
        return -1;
    return end;
}

rd_kafka_t *ls_source_client(struct ls_source *source)
{
    return source->client;
}
