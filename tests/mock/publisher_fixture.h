/*
 * A publisher against librdkafka's cluster in this process: a topic `thing.state.1` with genesis
 * records, and counts of what was delivered. Deliveries come on the publisher's thread; read them
 * after a flush or close.
 */
#ifndef LS_TESTS_MOCK_PUBLISHER_FIXTURE_H
#define LS_TESTS_MOCK_PUBLISHER_FIXTURE_H

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdatomic.h>

#include "producers/lockstep/publisher.h"

enum { FIXTURE_PARTITIONS = 4, FIXTURE_SEEN_MAX = 4096, FIXTURE_BROKER = 1 };

#define FIXTURE_TOPIC "thing.state.1"

struct fixture_delivery {
    enum lockstep_outcome outcome;
    int32_t partition;
    int64_t offset;
    uint64_t version;
    size_t number; /* the record's opaque */
    char key[32];
    char reason[128];
};

struct fixture {
    rd_kafka_t *client; /* owns the cluster, and writes the genesis records */
    rd_kafka_mock_cluster_t *cluster;
    char schema_path[64];
    lockstep_publisher *publisher;
    const char *linger_ms; /* set before fixture_open; NULL: librdkafka's own */
    struct fixture_delivery seen[FIXTURE_SEEN_MAX];
    atomic_size_t n_seen;
    atomic_size_t outcomes[3];
};

/* A fresh cluster with one broker, without the topic. */
void fixture_start(struct fixture *fixture);
void fixture_stop(struct fixture *fixture);

/* Makes the topic; genesis records say genesis_partitions (0: none are written). */
void fixture_topic(struct fixture *fixture, int partitions, int genesis_partitions);

/* Opens fixture->publisher with the smallest memory there is. expected_partitions as in the
 * options. */
void fixture_open(struct fixture *fixture, int32_t expected_partitions, int delivery_timeout_ms);

/* Takes the broker down or up. */
void fixture_down(struct fixture *fixture);
void fixture_up(struct fixture *fixture);

/* Publishes a put of the key with s = `bytes` characters; number is its opaque. */
enum lockstep_code fixture_put(struct fixture *fixture, const char *key, size_t number,
                               size_t bytes, int timeout_ms, struct lockstep_error *error);

#endif
