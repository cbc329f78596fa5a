/*
 * The ends of the log's partitions, with one request to each broker that leads any of them:
 * librdkafka's own request takes a round trip for each partition.
 */
#ifndef LS_PIPELINE_ENDS_H
#define LS_PIPELINE_ENDS_H

#include "pipeline/kafka.h"

/*
 * Fills ends[i] with the end (of what is committed) of partitions[i], or -1 where its leader gave
 * none. Waits at most timeout_ms. -1: RETRY when no partition has an answer.
 */
int ls_kafka_ends(rd_kafka_t *client, const char *topic, const int32_t *partitions, size_t n,
                  int timeout_ms, int64_t *ends, struct ls_err *err);

#endif
