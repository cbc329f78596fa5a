#include "kafka_fixture.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

enum { TOPICS_MAX = 8, WAIT_MS = 30000, AGAIN_MS = 20 };

char *kafka_own_entity(const char *prefix)
{
    return ls_asprintf("%s_%d_%x", prefix, (int)getpid(), (unsigned)time(NULL));
}

static bool is_listed(rd_kafka_t *client, const char *name)
{
    const struct rd_kafka_metadata *metadata = NULL;
    bool found = false;
    cr_assert_eq(rd_kafka_metadata(client, 1, NULL, &metadata, WAIT_MS),
                 RD_KAFKA_RESP_ERR_NO_ERROR);
    for (int i = 0; i < metadata->topic_cnt && !found; i++)
        found = strcmp(metadata->topics[i].topic, name) == 0;
    rd_kafka_metadata_destroy(metadata);
    return found;
}

void kafka_delete_topics(rd_kafka_t *client, const char *const *names, size_t n)
{
    rd_kafka_DeleteTopic_t *topics[TOPICS_MAX];
    cr_assert_leq(n, TOPICS_MAX);
    for (size_t i = 0; i < n; i++)
        topics[i] = rd_kafka_DeleteTopic_new(names[i]);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_DELETETOPICS);
    rd_kafka_AdminOptions_set_operation_timeout(options, WAIT_MS, NULL, 0);
    rd_kafka_DeleteTopics(client, topics, n, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    cr_assert_not_null(event);
    rd_kafka_event_destroy(event);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    rd_kafka_DeleteTopic_destroy_array(topics, n);
    /* The broker lists a topic for a moment after its controller has deleted it. */
    for (size_t i = 0; i < n; i++)
        for (int tries = 0; is_listed(client, names[i]) && tries < WAIT_MS / AGAIN_MS; tries++)
            poll(NULL, 0, AGAIN_MS);
}
