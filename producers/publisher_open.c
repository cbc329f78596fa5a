/*
 * Opening and closing a publisher: options, schemas, the Kafka client and its callbacks, threads.
 *
 * Threads: open and close run alone (the contract says so); the callbacks run on the poll thread,
 * log and error lines on librdkafka's.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "pipeline/kafka_property.h"
#include "pipeline/topics.h"
#include "producers/publisher.h"
#include "schema/key.h"

enum { POLL_MS = 100, GENERATION_MAX = 0x7fff };

/* The contract rests on these; the last ones are options of their own. */
static const char *const kept[] = {
    "enable.idempotence",
    "acks",
    "request.required.acks",
    "partitioner",
    "transactional.id",
    "bootstrap.servers",
    "metadata.broker.list",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "message.max.bytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "enable.gapless.guarantee",
    "retries",
    "message.send.max.retries",
    "queuing.strategy",
};

/* Refuses properties that the contract rests on. */
static int check_property(const char *name, struct ls_err *err)
{
    for (size_t i = 0; i < LS_COUNT(kept); i++) {
        if (strcmp(name, kept[i]) == 0)
            return ls_err_set(err, LS_ERR_FATAL, 0,
                              "property %s is set by the publisher, its guarantees rest on it: "
                              "leave it out",
                              name);
    }
    return 0;
}

static void on_error(rd_kafka_t *client, int code, const char *reason, void *opaque)
{
    lockstep_publisher *publisher = opaque;
    if (code == RD_KAFKA_RESP_ERR__FATAL)
        atomic_store(&publisher->failed, true);
    pthread_mutex_lock(&publisher->lock);
    ls_err_set(&publisher->last_error, LS_ERR_RETRY, code, "%s", reason);
    pthread_mutex_unlock(&publisher->lock);
}

static void on_log(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
    lockstep_publisher *publisher = rd_kafka_opaque(client);
    char refusal[LS_KAFKA_REFUSAL_MAX];
    if (ls_kafka_refusal_text(text, refusal, sizeof(refusal))) {
        pthread_mutex_lock(&publisher->lock);
        memcpy(publisher->refusal, refusal, sizeof(refusal));
        publisher->refusal_ms = ls_mono_ms();
        pthread_mutex_unlock(&publisher->lock);
    }
    if (publisher->on_log != NULL)
        publisher->on_log(publisher->log_opaque, level, text);
}

rd_kafka_conf_t *ls_publisher_conf(lockstep_publisher *publisher, rd_kafka_type_t type,
                                   struct ls_err *err)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    bool good =
        rd_kafka_conf_set(conf, "bootstrap.servers", publisher->brokers, text, sizeof(text)) == 0 &&
        rd_kafka_conf_set(conf, "client.id", "lockstep-publisher", text, sizeof(text)) == 0;
    for (size_t i = 0; good && i < publisher->n_properties; i++)
        good = !ls_kafka_property_is_for(publisher->properties[i].name, type) ||
               rd_kafka_conf_set(conf, publisher->properties[i].name,
                                 publisher->properties[i].value, text, sizeof(text)) == 0;
    if (!good) {
        /* librdkafka's text may quote the value, which may be a secret: only names are told */
        ls_err_set(err, LS_ERR_FATAL, EINVAL, "Kafka property refused");
        for (size_t i = 0; i < publisher->n_properties; i++) {
            rd_kafka_conf_t *probe = rd_kafka_conf_new();
            if (rd_kafka_conf_set(probe, publisher->properties[i].name,
                                  publisher->properties[i].value, text, sizeof(text)) != 0)
                ls_err_set(err, LS_ERR_FATAL, EINVAL,
                           "Kafka property %s: no such property, or not a value it takes",
                           publisher->properties[i].name);
            rd_kafka_conf_destroy(probe);
        }
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    rd_kafka_conf_set_opaque(conf, publisher);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_error_cb(conf, on_error);
    return conf;
}

static void on_message(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
    lockstep_publisher *publisher = opaque;
    const struct ls_publisher_entity *entity = rd_kafka_topic_opaque(message->rkt);
    struct lockstep_delivery delivery = {
        .outcome = LOCKSTEP_PUBLISHED,
        .entity = entity->schema->entity,
        .key = message->key,
        .key_len = message->key_len,
        .record_opaque = message->_private,
        .partition = message->partition,
        .offset = message->offset >= 0 ? message->offset : -1,
        /* not rd_kafka_message_errstr: of a producer's message that is the payload */
        .reason = message->err ? rd_kafka_err2str(message->err) : "",
    };
    if (delivery.offset >= 0)
        delivery.version = ls_version(entity->generation, delivery.offset);
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        bool never = rd_kafka_message_status(message) == RD_KAFKA_MSG_STATUS_NOT_PERSISTED;
        delivery.outcome = never ? LOCKSTEP_NOT_PUBLISHED : LOCKSTEP_UNKNOWN;
        delivery.partition = -1;
        delivery.offset = -1;
        delivery.version = 0;
        if (message->err == RD_KAFKA_RESP_ERR__FATAL)
            atomic_store(&publisher->failed, true);
    }
    if (publisher->on_delivery != NULL)
        publisher->on_delivery(publisher->delivery_opaque, &delivery);
    ls_publisher_release(publisher, ls_publisher_bytes_of(message->len, message->key_len));
}

static void *poll_thread(void *argument)
{
    lockstep_publisher *publisher = argument;
    /* After closing, until close has seen every record reported. */
    while (!atomic_load(&publisher->stop_polling))
        rd_kafka_poll(publisher->producer, POLL_MS);
    return NULL;
}

static int add_entity(lockstep_publisher *publisher, const struct ls_schema *schema,
                      uint32_t generation, int32_t partitions, struct ls_err *err)
{
    if (generation < 1 || generation > GENERATION_MAX)
        return ls_err_set(err, LS_ERR_FATAL, EINVAL,
                          "entity %s: generation %u is not within 1 to %d", schema->entity,
                          generation, GENERATION_MAX);
    if (partitions != 0 && !ls_partitions_valid(partitions))
        return ls_err_set(err, LS_ERR_FATAL, EINVAL,
                          "entity %s: %d partitions: it must be a power of two up to 1024",
                          schema->entity, partitions);
    for (size_t i = 0; i < publisher->n_entities; i++) {
        if (strcmp(publisher->entities[i].schema->entity, schema->entity) == 0)
            return ls_err_set(err, LS_ERR_FATAL, EINVAL, "entity %s is given twice",
                              schema->entity);
    }
    struct ls_publisher_entity *entity = &publisher->entities[publisher->n_entities++];
    entity->schema = schema;
    entity->generation = generation;
    entity->partitions_expected = partitions;
    struct ls_entity_config named = {.name = schema->entity, .generation = generation};
    ls_topic_state(&named, entity->topic);
    return 0;
}

static int take_config(lockstep_publisher *publisher, const struct lockstep_options *options,
                       struct ls_err *err)
{
    if (ls_config_read(options->config_file, &publisher->config, err) < 0)
        return -1;
    const struct ls_config *config = publisher->config;
    publisher->brokers = ls_strdup(config->brokers);
    publisher->entities = ls_calloc(config->n_entities, sizeof(*publisher->entities));
    for (size_t i = 0; i < config->n_entities; i++) {
        const struct ls_entity_config *entity = &config->entities[i];
        if (add_entity(publisher, entity->schema, entity->generation, entity->partitions, err) < 0)
            return -1;
    }
    return 0;
}

static int take_entities(lockstep_publisher *publisher, const struct lockstep_options *options,
                         struct ls_err *err)
{
    if (options->brokers == NULL || *options->brokers == '\0' || options->n_entities == 0)
        return ls_err_set(err, LS_ERR_FATAL, EINVAL,
                          "options: give either config_file, or brokers and entities");
    publisher->brokers = ls_strdup(options->brokers);
    publisher->entities = ls_calloc(options->n_entities, sizeof(*publisher->entities));
    for (size_t i = 0; i < options->n_entities; i++) {
        const struct lockstep_entity *given = &options->entities[i];
        if (given->schema_file == NULL)
            return ls_err_set(err, LS_ERR_FATAL, EINVAL, "options: entity %zu has no schema_file",
                              i);
        struct ls_schema *schema;
        if (ls_schema_read(given->schema_file, &schema, err) < 0)
            return -1;
        uint32_t generation = given->generation ? given->generation : 1;
        if (add_entity(publisher, schema, generation, given->partitions, err) < 0) {
            ls_schema_free(schema);
            return -1;
        }
        publisher->entities[i].own_schema = schema;
    }
    return 0;
}

static void add_property(lockstep_publisher *publisher, const char *name, const char *value)
{
    publisher->properties[publisher->n_properties++] = (struct ls_property){
        .name = ls_strdup(name),
        .value = ls_strdup(value),
    };
}

/* The configuration's properties, then the options' own, which win. */
static int take_properties(lockstep_publisher *publisher, const struct lockstep_options *options,
                           struct ls_err *err)
{
    size_t n_config = publisher->config ? publisher->config->n_properties : 0;
    publisher->properties =
        ls_calloc(n_config + options->n_properties + 1, sizeof(*publisher->properties));
    for (size_t i = 0; i < n_config; i++) {
        const struct ls_property *property = &publisher->config->properties[i];
        if (check_property(property->name, err) < 0)
            return ls_err_prefix(err, "%s", options->config_file);
        add_property(publisher, property->name, property->value);
    }
    for (size_t i = 0; i < options->n_properties; i++) {
        const struct lockstep_property *property = &options->properties[i];
        if (property->name == NULL || property->value == NULL)
            return ls_err_set(err, LS_ERR_FATAL, EINVAL,
                              "options: property %zu has no name or no value", i);
        if (check_property(property->name, err) < 0)
            return ls_err_prefix(err, "options");
        add_property(publisher, property->name, property->value);
    }
    return 0;
}

static int take_limits(lockstep_publisher *publisher, const struct lockstep_options *options,
                       struct ls_err *err)
{
    size_t origin_len = options->origin ? strlen(options->origin) : 0;
    if (origin_len == 0 || origin_len > LS_ORIGIN_MAX ||
        ls_utf8_length(options->origin, origin_len) < 0)
        return ls_err_set(err, LS_ERR_FATAL, EINVAL,
                          "options: origin names who publishes, 1 to %d bytes of UTF-8",
                          LS_ORIGIN_MAX);
    memcpy(publisher->origin, options->origin, origin_len);
    publisher->max_bytes =
        options->max_bytes_in_flight ? options->max_bytes_in_flight : LS_PUBLISHER_BYTES_DEFAULT;
    if (publisher->max_bytes < LS_PUBLISHER_BYTES_MIN || publisher->max_bytes > INT32_MAX)
        return ls_err_set(err, LS_ERR_FATAL, EINVAL,
                          "options: max_bytes_in_flight %zu is not within %d and %d",
                          publisher->max_bytes, LS_PUBLISHER_BYTES_MIN, INT32_MAX);
    publisher->delivery_timeout_ms = options->delivery_timeout_ms
                                         ? options->delivery_timeout_ms
                                         : LS_PUBLISHER_DELIVERY_TIMEOUT_MS;
    if (publisher->delivery_timeout_ms < 0)
        return ls_err_set(err, LS_ERR_FATAL, EINVAL, "options: delivery_timeout_ms is negative");
    publisher->on_delivery = options->on_delivery;
    publisher->delivery_opaque = options->delivery_opaque;
    publisher->on_log = options->on_log;
    publisher->log_opaque = options->log_opaque;
    return 0;
}

static bool has_property(const lockstep_publisher *publisher, const char *name)
{
    for (size_t i = 0; i < publisher->n_properties; i++) {
        if (strcmp(publisher->properties[i].name, name) == 0)
            return true;
    }
    return false;
}

static int start_producer(lockstep_publisher *publisher, struct ls_err *err)
{
    rd_kafka_conf_t *conf = ls_publisher_conf(publisher, RD_KAFKA_PRODUCER, err);
    if (conf == NULL)
        return -1;
    char timeout[16], text[256];
    snprintf(timeout, sizeof(timeout), "%d", publisher->delivery_timeout_ms);
    char largest[16];
    snprintf(largest, sizeof(largest), "%d", LS_PUBLISHER_MESSAGE_MAX);
    const struct lockstep_property wanted[] = {
        {"enable.idempotence", "true"},
        {"acks", "all"},
        {"partitioner", "murmur2_random"},
        {"message.timeout.ms", timeout},
        {"message.max.bytes", largest},
        /* Bytes in flight are the publisher's own limit: librdkafka's must not come first. */
        {"queue.buffering.max.messages", "10000000"},
        {"queue.buffering.max.kbytes", "2097151"},
    };
    bool good = true;
    for (size_t i = 0; good && i < LS_COUNT(wanted); i++)
        good = rd_kafka_conf_set(conf, wanted[i].name, wanted[i].value, text, sizeof(text)) == 0;
    if (good && !has_property(publisher, "compression.codec") &&
        !has_property(publisher, "compression.type"))
        good = rd_kafka_conf_set(conf, "compression.codec", "lz4", text, sizeof(text)) == 0;
    rd_kafka_conf_set_dr_msg_cb(conf, on_message);
    if (good)
        publisher->producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (publisher->producer == NULL) {
        rd_kafka_conf_destroy(conf);
        return ls_err_set(err, LS_ERR_FATAL, EINVAL, "Kafka client: %s", text);
    }
    return 0;
}

/* The threads take no signals: they are for the program's own threads, whose calls they interrupt.
 */
static int start_threads(lockstep_publisher *publisher, struct ls_err *err)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&publisher->poll_thread, NULL, poll_thread, publisher);
    if (code == 0) {
        publisher->threads_started++;
        code = pthread_create(&publisher->topic_thread, NULL, ls_publisher_topic_thread, publisher);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0)
        return ls_err_set(err, LS_ERR_FATAL, code, "no thread could be started: %s",
                          strerror(code));
    publisher->threads_started++;
    return 0;
}

static void free_publisher(lockstep_publisher *publisher)
{
    for (size_t i = 0; i < publisher->n_entities; i++) {
        if (publisher->entities[i].handle != NULL)
            rd_kafka_topic_destroy(publisher->entities[i].handle);
    }
    if (publisher->producer != NULL)
        rd_kafka_destroy(publisher->producer);
    for (size_t i = 0; i < publisher->n_entities; i++)
        ls_schema_free(publisher->entities[i].own_schema);
    for (size_t i = 0; i < publisher->n_properties; i++) {
        free(publisher->properties[i].name);
        free(publisher->properties[i].value);
    }
    free(publisher->properties);
    free(publisher->entities);
    free(publisher->brokers);
    ls_config_free(publisher->config);
    pthread_cond_destroy(&publisher->changed);
    pthread_mutex_destroy(&publisher->lock);
    free(publisher);
}

enum lockstep_code lockstep_publisher_open(const struct lockstep_options *options,
                                           lockstep_publisher **ret, struct lockstep_error *error)
{
    if (options == NULL || options->size != sizeof(*options))
        return ls_publisher_error(
            error, LOCKSTEP_SETUP,
            "options: start from LOCKSTEP_OPTIONS_INIT, and build against the "
            "header of the library that is installed");
    lockstep_publisher *publisher = ls_calloc(1, sizeof(*publisher));
    pthread_mutex_init(&publisher->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&publisher->changed, &attributes);
    pthread_condattr_destroy(&attributes);

    struct ls_err err = {0};
    int result = options->config_file != NULL ? take_config(publisher, options, &err)
                                              : take_entities(publisher, options, &err);
    if (result == 0)
        result = take_properties(publisher, options, &err);
    if (result == 0)
        result = take_limits(publisher, options, &err);
    if (result == 0)
        result = start_producer(publisher, &err);
    if (result == 0)
        result = start_threads(publisher, &err);
    if (result < 0) {
        lockstep_publisher_close(publisher, 0);
        return ls_publisher_error(error, LOCKSTEP_SETUP, "%s", err.text);
    }
    *ret = publisher;
    return LOCKSTEP_OK;
}

size_t lockstep_publisher_close(lockstep_publisher *publisher, int timeout_ms)
{
    if (publisher == NULL)
        return 0;
    size_t left = 0;
    if (publisher->threads_started > 0) {
        lockstep_publisher_flush(publisher, timeout_ms, &left, NULL);
        atomic_store(&publisher->closing, true);
        if (left > 0) {
            rd_kafka_purge(publisher->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
            /* every purged record is reported by the poll thread, without Kafka's help */
            lockstep_publisher_flush(publisher, -1, NULL, NULL);
        }
        if (publisher->threads_started > 1)
            pthread_join(publisher->topic_thread, NULL);
        atomic_store(&publisher->stop_polling, true);
        pthread_join(publisher->poll_thread, NULL);
    }
    free_publisher(publisher);
    return left;
}
