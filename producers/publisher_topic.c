/*
 * Whether the topic of an entity is what the publisher may write to: it exists, and its number of
 * partitions is what its genesis record and the options say. Writing to another number of
 * partitions would put keys where no sink expects them, so nothing is sent before this is known.
 *
 * Threads: all of this runs on the topic thread, which looks until every topic is ready: soon again
 * while Kafka does not answer, slowly while a topic is not as it should be (somebody may mend it).
 * A consumer reads the genesis record, and asks for the topic: a producer that asked for a missing
 * one would make the broker create it where that is allowed.
 * Rejected: checking in open, since a service must be able to start while Kafka is down.
 */

#include "base/clock.h"
#include "producers/publisher.h"
#include "schema/key.h"

enum {
    CALL_MS = 1000, /* of one request: also how long close may have to wait */
    BACKOFF_BASE_MS = 100,
    BACKOFF_CAP_MS = 2000,
    REFUSED_AGAIN_MS = 5000,
    GENESIS_CALLS_MAX = 5,
};

/* RETRY for what may heal by itself, FATAL for login and rights. */
static int kafka_err(struct ls_err *err, rd_kafka_resp_err_t code, const char *topic)
{
    switch (code) {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        return ls_err_set(err, LS_ERR_FATAL, code, "topic %s: %s: check the Kafka properties",
                          topic, rd_kafka_err2str(code));
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        return ls_err_set(err, LS_ERR_FATAL, code,
                          "topic %s is not there: make it with `lockstep topics create`", topic);
    default:
        return ls_err_set(err, LS_ERR_RETRY, code, "%s", rd_kafka_err2str(code));
    }
}

static int count_partitions(rd_kafka_t *consumer, rd_kafka_topic_t *handle, int32_t *ret,
                            struct ls_err *err)
{
    const char *topic = rd_kafka_topic_name(handle);
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t code = rd_kafka_metadata(consumer, 0, handle, &metadata, CALL_MS);
    if (code)
        return kafka_err(err, code, topic);
    int result = -1;
    if (metadata->topic_cnt != 1)
        kafka_err(err, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, topic);
    else if (metadata->topics[0].err)
        kafka_err(err, metadata->topics[0].err, topic);
    else if (metadata->topics[0].partition_cnt == 0)
        kafka_err(err, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, topic);
    else {
        *ret = metadata->topics[0].partition_cnt;
        result = 0;
    }
    rd_kafka_metadata_destroy(metadata);
    return result;
}

/* Judges the first record of partition 0. */
static int judge_genesis(const rd_kafka_message_t *message, const char *topic,
                         struct ls_genesis *ret, struct ls_err *err)
{
    if (message->err && message->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
        return kafka_err(err, message->err, topic);
    if (message->err || message->key_len != strlen(LS_GENESIS_KEY) ||
        memcmp(message->key, LS_GENESIS_KEY, message->key_len) != 0)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "topic %s does not begin with a genesis record, so it is not a log of "
                          "lockstep: make topics with `lockstep topics create`",
                          topic);
    if (ls_genesis_decode(message->payload, message->len, ret, err) < 0) {
        err->class = LS_ERR_FATAL;
        return ls_err_prefix(err, "topic %s, genesis record", topic);
    }
    return 0;
}

/* Compaction never removes the genesis record (its key is never written again), so it is the first.
 */
static int read_genesis(lockstep_publisher *publisher, rd_kafka_topic_t *handle,
                        struct ls_genesis *ret, struct ls_err *err)
{
    const char *topic = rd_kafka_topic_name(handle);
    if (rd_kafka_consume_start(handle, 0, RD_KAFKA_OFFSET_BEGINNING) < 0)
        return kafka_err(err, rd_kafka_last_error(), topic);
    int result = ls_err_set(err, LS_ERR_RETRY, 0, "its first record could not be read in time");
    for (int i = 0; i < GENESIS_CALLS_MAX && !atomic_load(&publisher->closing); i++) {
        rd_kafka_message_t *message = rd_kafka_consume(handle, 0, CALL_MS);
        if (message == NULL)
            continue;
        result = judge_genesis(message, topic, ret, err);
        rd_kafka_message_destroy(message);
        break;
    }
    rd_kafka_consume_stop(handle, 0);
    return result;
}

static int judge_topic(const struct ls_publisher_entity *entity, int32_t partitions,
                       const struct ls_genesis *genesis, struct ls_err *err)
{
    if (genesis->partitions != partitions)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "topic %s has %d partitions, its genesis record says %d: keys would go "
                          "astray; partitions must not be added, go to a new generation instead",
                          entity->topic, partitions, genesis->partitions);
    if (entity->partitions_expected != 0 && entity->partitions_expected != partitions)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "topic %s has %d partitions, the configuration says %d: correct the "
                          "configuration",
                          entity->topic, partitions, entity->partitions_expected);
    if (!ls_partitions_valid(partitions))
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "topic %s has %d partitions: it must be a power of two up to 1024",
                          entity->topic, partitions);
    if (strcmp(genesis->topic, entity->topic) != 0 || genesis->generation != entity->generation)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "topic %s begins with the genesis record of topic %s generation %u: it "
                          "was copied, versions would lie",
                          entity->topic, genesis->topic, genesis->generation);
    return 0;
}

static int check_with(lockstep_publisher *publisher, struct ls_publisher_entity *entity,
                      rd_kafka_t *consumer, struct ls_err *err)
{
    rd_kafka_topic_t *handle = rd_kafka_topic_new(consumer, entity->topic, NULL);
    if (handle == NULL)
        return ls_err_set(err, LS_ERR_FATAL, 0, "topic %s: %s", entity->topic,
                          rd_kafka_err2str(rd_kafka_last_error()));
    int32_t partitions = 0;
    struct ls_genesis genesis;
    int result = count_partitions(consumer, handle, &partitions, err);
    if (result == 0)
        result = read_genesis(publisher, handle, &genesis, err);
    if (result == 0)
        result = judge_topic(entity, partitions, &genesis, err);
    if (result == 0)
        entity->partitions = partitions;
    rd_kafka_topic_destroy(handle);
    return result;
}

static rd_kafka_t *new_consumer(lockstep_publisher *publisher, struct ls_err *err)
{
    rd_kafka_conf_t *conf = ls_publisher_conf(publisher, RD_KAFKA_CONSUMER, err);
    if (conf == NULL)
        return NULL;
    char text[256];
    if (rd_kafka_conf_set(conf, "enable.partition.eof", "true", text, sizeof(text)) ||
        rd_kafka_conf_set(conf, "allow.auto.create.topics", "false", text, sizeof(text)) ||
        rd_kafka_conf_set(conf, "check.crcs", "true", text, sizeof(text))) {
        rd_kafka_conf_destroy(conf);
        ls_err_set(err, LS_ERR_FATAL, 0, "Kafka client: %s", text);
        return NULL;
    }
    rd_kafka_t *consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    if (consumer == NULL) {
        rd_kafka_conf_destroy(conf);
        ls_err_set(err, LS_ERR_FATAL, 0, "Kafka client: %s", text);
    }
    return consumer;
}

/* Makes the verdict on one topic visible to those who publish. */
static void settle(lockstep_publisher *publisher, struct ls_publisher_entity *entity, bool ready,
                   const struct ls_err *err)
{
    int state = ready                        ? LS_TOPIC_READY
                : err->class == LS_ERR_RETRY ? atomic_load(&entity->state)
                                             : LS_TOPIC_REFUSED;
    if (ready) {
        rd_kafka_topic_conf_t *conf = rd_kafka_default_topic_conf_dup(publisher->producer);
        rd_kafka_topic_conf_set_opaque(conf, entity); /* deliveries find their entity by it */
        entity->handle = rd_kafka_topic_new(publisher->producer, entity->topic, conf);
        if (entity->handle == NULL) {
            rd_kafka_topic_conf_destroy(conf);
            state = LS_TOPIC_UNCHECKED;
        }
    }
    pthread_mutex_lock(&publisher->lock);
    if (!ready && (err->class != LS_ERR_RETRY || state != LS_TOPIC_REFUSED))
        entity->problem = *err;
    atomic_store_explicit(&entity->state, state, memory_order_release);
    pthread_cond_broadcast(&publisher->changed);
    pthread_mutex_unlock(&publisher->lock);
}

/* librdkafka ends a call that was refused like one that nobody answered: its log tells them apart.
 */
static void tell_refusal(lockstep_publisher *publisher, struct ls_err *err)
{
    pthread_mutex_lock(&publisher->lock);
    if (publisher->refusal[0] != '\0' && ls_mono_ms() - publisher->refusal_ms < LS_KAFKA_REFUSAL_MS)
        ls_err_set(err, LS_ERR_FATAL, 0,
                   "Kafka at %s refuses the connection: %s; check the Kafka properties",
                   publisher->brokers, publisher->refusal);
    pthread_mutex_unlock(&publisher->lock);
}

/* One look at every topic that is not ready. Returns how many are refused and how many unreached.
 */
static void look(lockstep_publisher *publisher, unsigned *ret_refused, unsigned *ret_unreached)
{
    *ret_refused = *ret_unreached = 0;
    struct ls_err err = {0};
    rd_kafka_t *consumer = new_consumer(publisher, &err);
    for (size_t i = 0; i < publisher->n_entities; i++) {
        struct ls_publisher_entity *entity = &publisher->entities[i];
        if (atomic_load(&entity->state) == LS_TOPIC_READY || atomic_load(&publisher->closing))
            continue;
        bool ready = consumer != NULL && check_with(publisher, entity, consumer, &err) == 0;
        if (!ready && err.class == LS_ERR_RETRY)
            tell_refusal(publisher, &err);
        settle(publisher, entity, ready, &err);
        if (!ready)
            ++*(err.class == LS_ERR_RETRY ? ret_unreached : ret_refused);
    }
    if (consumer != NULL)
        rd_kafka_destroy(consumer);
}

void *ls_publisher_topic_thread(void *argument)
{
    lockstep_publisher *publisher = argument;
    for (unsigned attempt = 0; !atomic_load(&publisher->closing); attempt++) {
        unsigned refused, unreached;
        look(publisher, &refused, &unreached);
        if (refused + unreached == 0)
            break;
        int64_t pause_ms = REFUSED_AGAIN_MS;
        if (unreached > 0)
            pause_ms = BACKOFF_BASE_MS + ls_backoff_ms(attempt, BACKOFF_BASE_MS, BACKOFF_CAP_MS);
        int64_t until_ms = ls_mono_ms() + pause_ms;
        pthread_mutex_lock(&publisher->lock);
        while (!atomic_load(&publisher->closing) &&
               ls_publisher_wait(publisher, until_ms, pause_ms))
            ;
        pthread_mutex_unlock(&publisher->lock);
    }
    return NULL;
}
