#include "mock_kafka.h"

#include <criterion/criterion.h>
#include <string.h>

#include "schema/key.h"

enum { TIMEOUT_MS = 10000 };

static _Atomic(mock_offsets_fn *) offsets_hook;

mock_offsets_fn __real_rd_kafka_offsets_for_times;
mock_offsets_fn __wrap_rd_kafka_offsets_for_times;
rd_kafka_resp_err_t __wrap_rd_kafka_offsets_for_times(rd_kafka_t *client,
                                                      rd_kafka_topic_partition_list_t *list,
                                                      int timeout_ms)
{
    mock_offsets_fn *hook = offsets_hook;
    return (hook != NULL ? hook : __real_rd_kafka_offsets_for_times)(client, list, timeout_ms);
}

void mock_kafka_hook_offsets(mock_offsets_fn *hook)
{
    offsets_hook = hook;
}

rd_kafka_resp_err_t mock_kafka_offsets(rd_kafka_t *client, rd_kafka_topic_partition_list_t *list,
                                       int timeout_ms)
{
    return __real_rd_kafka_offsets_for_times(client, list, timeout_ms);
}

void mock_kafka_start(struct mock_kafka *mock)
{
    memset(mock, 0, sizeof(*mock));
    mock_kafka_hook_offsets(NULL);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char text[256];
    cr_assert_eq(rd_kafka_conf_set(conf, "test.mock.num.brokers", "1", text, sizeof(text)),
                 RD_KAFKA_CONF_OK, "%s", text);
    mock->owner = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    cr_assert_not_null(mock->owner, "%s", text);
    mock->cluster = rd_kafka_handle_mock_cluster(mock->owner);
    cr_assert_not_null(mock->cluster);
    mock->entity = (struct ls_entity_config){
        .name = (char *)(uintptr_t) "member", .generation = 1, .partitions = 4, .replication = 1};
    mock->config = (struct ls_config){
        .path = (char *)(uintptr_t) "lockstep.yaml",
        .brokers = (char *)(uintptr_t)rd_kafka_mock_cluster_bootstraps(mock->cluster),
        .entities = &mock->entity,
        .n_entities = 1};
}

void mock_kafka_stop(struct mock_kafka *mock)
{
    rd_kafka_destroy(mock->owner);
}

void mock_kafka_topic(struct mock_kafka *mock, const char *topic, int partitions)
{
    cr_assert_eq(rd_kafka_mock_topic_create(mock->cluster, topic, partitions, 1),
                 RD_KAFKA_RESP_ERR_NO_ERROR);
}

void mock_kafka_put(struct mock_kafka *mock, const char *topic, int32_t partition, const char *key,
                    const char *value, size_t value_len)
{
    rd_kafka_resp_err_t code =
        rd_kafka_producev(mock->owner, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
                          RD_KAFKA_V_KEY(key, key ? strlen(key) : 0),
                          RD_KAFKA_V_VALUE((void *)(uintptr_t)value, value_len),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    cr_assert_eq(code, RD_KAFKA_RESP_ERR_NO_ERROR, "%s", rd_kafka_err2str(code));
    cr_assert_eq(rd_kafka_flush(mock->owner, TIMEOUT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
}

void mock_kafka_put_text(struct mock_kafka *mock, const char *topic, int32_t partition,
                         const char *key, const char *value)
{
    mock_kafka_put(mock, topic, partition, key, value, strlen(value));
}

void mock_kafka_put_genesis(struct mock_kafka *mock, const char *topic,
                            const struct ls_genesis *genesis)
{
    struct ls_buf value = {0};
    ls_genesis_encode(genesis, &value);
    mock_kafka_put(mock, topic, genesis->partition, LS_GENESIS_KEY, value.data, value.len);
    ls_buf_free(&value);
}
