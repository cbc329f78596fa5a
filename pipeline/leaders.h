/*
 * Which partitions of a topic can be asked now: those with a leader. A partition whose brokers are
 * all away has none. It delivers nothing and takes nothing until one of them is back, and a request
 * for many partitions fails as a whole for it. So whoever asks many partitions asks this first, and
 * leaves the others out.
 */
#ifndef LS_PIPELINE_LEADERS_H
#define LS_PIPELINE_LEADERS_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#include "base/err.h"

struct ls_leaders {
    int32_t n; /* partitions of the topic; 0: there is no such topic */
    bool *has; /* by partition */
};

/*
 * One request to any broker that answers; librdkafka's own view of who leads is brought up to date
 * with it. Waits at most timeout_ms. The caller frees *ret; -1 leaves it alone (RETRY, FATAL).
 */
int ls_leaders_ask(rd_kafka_t *client, const char *topic, int timeout_ms, struct ls_leaders *ret,
                   struct ls_err *err);
void ls_leaders_free(struct ls_leaders *leaders); /* empty afterwards */

bool ls_leaders_has(const struct ls_leaders *leaders, int32_t partition);

/* Says that the partition has none: RETRY. Returns -1. */
int ls_leaders_lack(const char *topic, int32_t partition, struct ls_err *err);
/* Whether err says that a partition has none. */
bool ls_leaders_is_lack(const struct ls_err *err);

/*
 * rd_kafka_offsets_for_times. Where it knows a leader of none of the partitions, it answers at once
 * that there is no such partition, and the truth stands with them (librdkafka 2.0.2): that.
 */
rd_kafka_resp_err_t ls_leaders_offsets(rd_kafka_t *client, rd_kafka_topic_partition_list_t *list,
                                       int timeout_ms);

/* Whether a broker says so of a partition that it does not lead, or cannot answer for yet. */
bool ls_leaders_is_refusal(rd_kafka_resp_err_t code);

/* A question to a partition's leader, and what it said. */
struct ls_offset_question {
    int32_t partition;
    int64_t at; /* a time in ms, RD_KAFKA_OFFSET_BEGINNING or RD_KAFKA_OFFSET_END */
    /*
     * NO_ERROR with an answer; LEADER_NOT_AVAILABLE where the partition has no leader; what the
     * broker said that is taken for its leader, and says of itself that it is not.
     */
    rd_kafka_resp_err_t code;
    int64_t offset; /* the answer: of a time, the first record's at or after it, -1 for none */
};

/*
 * Asks all of them, with one request to each broker that leads any of the partitions. Where one of
 * these says that it no longer does, `leaders` is asked for anew, once, and what has no answer yet
 * is asked again: a leader that moved costs nothing, and one that is nowhere only its partition.
 * Takes until `until_ms` (ls_mono_ms) at most. NO_ERROR says that questions[] tell the rest, even
 * if none has an answer; else nothing is known of any.
 */
rd_kafka_resp_err_t ls_leaders_put(rd_kafka_t *client, const char *topic,
                                   struct ls_leaders *leaders, struct ls_offset_question *questions,
                                   size_t n, int64_t until_ms);

#endif
