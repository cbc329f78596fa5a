/* A Kafka cluster inside the test's process, and a configuration that names it. */
#ifndef LS_TESTS_MOCK_KAFKA_H
#define LS_TESTS_MOCK_KAFKA_H

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "pipeline/config.h"
#include "schema/wire.h"

struct mock_kafka {
    rd_kafka_t *owner; /* of the cluster; the tests' producer too */
    rd_kafka_mock_cluster_t *cluster;
    struct ls_config config;        /* path and brokers are set */
    struct ls_entity_config entity; /* "member", generation 1, 4 partitions: config's only one */
};

/* One broker, no topics. */
void mock_kafka_start(struct mock_kafka *mock);
void mock_kafka_stop(struct mock_kafka *mock);

void mock_kafka_topic(struct mock_kafka *mock, const char *topic, int partitions);
/* Writes a record and waits until the broker has it. key and value may be NULL. */
void mock_kafka_put(struct mock_kafka *mock, const char *topic, int32_t partition, const char *key,
                    const char *value, size_t value_len);

/* The same of a text, and of the genesis record of genesis->partition. */
void mock_kafka_put_text(struct mock_kafka *mock, const char *topic, int32_t partition,
                         const char *key, const char *value);
void mock_kafka_put_genesis(struct mock_kafka *mock, const char *topic,
                            const struct ls_genesis *genesis);

/*
 * What any part of the program gets when it calls rd_kafka_offsets_for_times, until the test ends;
 * the hook calls mock_kafka_offsets for what that really does. Any thread.
 */
typedef rd_kafka_resp_err_t mock_offsets_fn(rd_kafka_t *client,
                                            rd_kafka_topic_partition_list_t *list, int timeout_ms);
void mock_kafka_hook_offsets(mock_offsets_fn *hook);
mock_offsets_fn mock_kafka_offsets;

#endif
