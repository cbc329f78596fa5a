/* For live tests with topics of their own on the local stack's broker. */
#ifndef LS_TESTS_LIVE_C_KAFKA_FIXTURE_H
#define LS_TESTS_LIVE_C_KAFKA_FIXTURE_H

#include <librdkafka/rdkafka.h>

/*
 * `<prefix>_<pid>_<time>`: an entity that no other run has, on a broker that outlives them all and
 * whose processes' ids come again. The caller frees.
 */
char *kafka_own_entity(const char *prefix);

/* Deletes the topics that are there, and waits until the broker no longer lists them. */
void kafka_delete_topics(rd_kafka_t *client, const char *const *names, size_t n);

#endif
