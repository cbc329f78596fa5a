#include "kafka_fixture.h"

#include <criterion/criterion.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

enum { TOPICS_MAX = 8, WAIT_MS = 30000 };

char *kafka_own_entity(const char *prefix)
{
    return ls_asprintf("%s_%d_%x", prefix, (int)getpid(), (unsigned)time(NULL));
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
}
