/*
 * First and end offsets of the log's partitions, with one request to each broker that leads any of
 * them: librdkafka's own request takes a round trip for each partition.
 */
#ifndef LS_PIPELINE_ENDS_H
#define LS_PIPELINE_ENDS_H

#include "pipeline/kafka.h"

/*
 * Fills ends[i] with the end (of what is committed) of partitions[i], and firsts[i], where firsts
 * is not NULL, with its first offset; -1 where it has no leader, or that gave no answer. Takes
 * timeout_ms at most. -1 when no partition has an answer: RETRY, code LEADER_NOT_AVAILABLE where
 * none of them has a leader; FATAL where the broker refuses.
 */
int ls_kafka_ends(rd_kafka_t *client, const char *topic, const int32_t *partitions, size_t n,
                  int timeout_ms, int64_t *firsts, int64_t *ends, struct ls_err *err);

/*
 * The same of partitions that must all answer; partitions NULL: 0 to n.
 * Waits a few seconds for leaders where there are none. -1 also where one has no answer: RETRY,
 * with code LEADER_NOT_AVAILABLE where it has no leader; FATAL where it is not there.
 */
int ls_kafka_ranges(rd_kafka_t *client, const char *topic, const int32_t *partitions, size_t n,
                    int timeout_ms, int64_t *firsts, int64_t *ends, struct ls_err *err);

#endif
