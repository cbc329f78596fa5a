#include "pipeline/ends.h"

int ls_kafka_ends(rd_kafka_t *client, const char *topic, const int32_t *partitions, size_t n,
                  int timeout_ms, int64_t *ends, struct ls_err *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)n);
    /* The protocol's word for "the newest" stands where the time would. */
    for (size_t i = 0; i < n; i++)
        rd_kafka_topic_partition_list_add(list, topic, partitions[i])->offset = RD_KAFKA_OFFSET_END;
    rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(client, list, timeout_ms);
    bool all_failed = code != RD_KAFKA_RESP_ERR_NO_ERROR, any = n == 0;
    for (size_t i = 0; i < n; i++) {
        const rd_kafka_topic_partition_t *part =
            rd_kafka_topic_partition_list_find(list, topic, partitions[i]);
        bool known = !all_failed && part->err == RD_KAFKA_RESP_ERR_NO_ERROR && part->offset >= 0;
        ends[i] = known ? part->offset : -1;
        any |= known;
        if (!all_failed && part->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            code = part->err;
    }
    rd_kafka_topic_partition_list_destroy(list);
    if (any)
        return 0;
    ls_kafka_err(err, code != RD_KAFKA_RESP_ERR_NO_ERROR ? code : RD_KAFKA_RESP_ERR__TIMED_OUT,
                 "the ends of %s", topic);
    if (err != NULL)
        err->class = LS_ERR_RETRY;
    return -1;
}
