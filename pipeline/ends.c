#include "pipeline/ends.h"

#include "pipeline/leaders.h"

/*
 * Fills offsets[i] with what stands at that end of each partition that is led, -1 of the others.
 * Returns how many have an answer; ret_code says why others have none.
 */
static size_t ask(rd_kafka_t *client, const char *topic, const struct ls_leaders *leaders,
                  const int32_t *partitions, size_t n, int64_t end, int timeout_ms,
                  int64_t *offsets, rd_kafka_resp_err_t *ret_code)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)n);
    /* The protocol's word for that end stands where the time would. */
    for (size_t i = 0; i < n; i++)
        if (ls_leaders_has(leaders, partitions[i]))
            rd_kafka_topic_partition_list_add(list, topic, partitions[i])->offset = end;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
    if (list->cnt > 0)
        code = ls_leaders_offsets(client, list, timeout_ms);
    if (list->cnt > 0 && code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
        code = RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; /* one refused for all: they have some */
    bool all_failed = code != RD_KAFKA_RESP_ERR_NO_ERROR;
    size_t known = 0;
    for (size_t i = 0; i < n; i++) {
        const rd_kafka_topic_partition_t *part =
            all_failed ? NULL : rd_kafka_topic_partition_list_find(list, topic, partitions[i]);
        offsets[i] = -1;
        if (part == NULL)
            continue;
        if (part->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            code = part->err;
        else if (part->offset >= 0)
            offsets[i] = part->offset;
        known += offsets[i] >= 0;
    }
    rd_kafka_topic_partition_list_destroy(list);
    *ret_code = code != RD_KAFKA_RESP_ERR_NO_ERROR ? code : RD_KAFKA_RESP_ERR__TIMED_OUT;
    return known;
}

int ls_kafka_ends(rd_kafka_t *client, const char *topic, const int32_t *partitions, size_t n,
                  int timeout_ms, int64_t *firsts, int64_t *ends, struct ls_err *err)
{
    struct ls_leaders leaders;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (n == 0)
        return 0;
    if (ls_leaders_ask(client, topic, timeout_ms, &leaders, err) < 0)
        return -1;
    size_t known = n;
    if (firsts != NULL)
        known = ask(client, topic, &leaders, partitions, n, RD_KAFKA_OFFSET_BEGINNING, timeout_ms,
                    firsts, &code);
    if (known > 0)
        known = ask(client, topic, &leaders, partitions, n, RD_KAFKA_OFFSET_END, timeout_ms, ends,
                    &code);
    ls_leaders_free(&leaders);
    if (known > 0)
        return 0;
    if (code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
        return ls_leaders_lack(topic, partitions[0], err);
    return ls_kafka_err(err, code, "the ends of %s", topic);
}
