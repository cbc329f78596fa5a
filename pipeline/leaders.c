/*
 * Leaders of a topic's partitions, asked anew each time.
 *
 * Rejected: to ask only after a request has failed, since that takes the whole timeout, in loops
 * that must turn; to trust librdkafka's own view, which it renews for a topic that the client
 * neither writes nor reads once when a broker goes, while the others may still take that broker for
 * the leader, and then not for a quarter of an hour.
 *
 * Threads: any, each call by itself. A crash leaves nothing behind.
 */
#include "pipeline/leaders.h"

#include <stdlib.h>

#include "base/mem.h"
#include "pipeline/kafka.h"

static void take(const rd_kafka_metadata_topic_t *topic, struct ls_leaders *ret)
{
    *ret = (struct ls_leaders){.n = topic->partition_cnt};
    ret->has = ls_calloc((size_t)ret->n + 1, sizeof(*ret->has));
    for (int i = 0; i < topic->partition_cnt; i++) {
        const rd_kafka_metadata_partition_t *partition = &topic->partitions[i];
        if (partition->id >= 0 && partition->id < ret->n)
            ret->has[partition->id] = partition->leader >= 0;
    }
}

int ls_leaders_ask(rd_kafka_t *client, const char *topic, int timeout_ms, struct ls_leaders *ret,
                   struct ls_err *err)
{
    rd_kafka_topic_t *handle = rd_kafka_topic_new(client, topic, NULL);
    if (handle == NULL)
        return ls_kafka_err(err, rd_kafka_last_error(), "topic %s", topic);
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(client, 0, handle, &metadata, timeout_ms);
    rd_kafka_topic_destroy(handle);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return ls_kafka_err(err, code, "leaders of %s", topic);
    const rd_kafka_metadata_topic_t *found = metadata->topic_cnt == 1 ? metadata->topics : NULL;
    code = found != NULL ? found->err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    int rc = 0;
    if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC)
        *ret = (struct ls_leaders){0};
    /* A broker may say of the whole topic that some partition has none, or knows none of it yet. */
    else if (code == RD_KAFKA_RESP_ERR_NO_ERROR ||
             (code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE && found->partition_cnt > 0))
        take(found, ret);
    else
        rc = ls_kafka_err(err, code, "leaders of %s", topic);
    rd_kafka_metadata_destroy(metadata);
    return rc;
}

void ls_leaders_free(struct ls_leaders *leaders)
{
    free(leaders->has);
    *leaders = (struct ls_leaders){0};
}

bool ls_leaders_has(const struct ls_leaders *leaders, int32_t partition)
{
    return partition >= 0 && partition < leaders->n && leaders->has[partition];
}

int ls_leaders_lack(const char *topic, int32_t partition, struct ls_err *err)
{
    return ls_err_set(err, LS_ERR_RETRY, (int)RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
                      "%s/%d has no leader: no broker that holds it is there; it goes on when one "
                      "is back",
                      topic, partition);
}

rd_kafka_resp_err_t ls_leaders_offsets(rd_kafka_t *client, rd_kafka_topic_partition_list_t *list,
                                       int timeout_ms)
{
    rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(client, list, timeout_ms);
    for (int i = 0; i < list->cnt && code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION; i++)
        if (list->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR)
            code = list->elems[i].err;
    return code;
}
