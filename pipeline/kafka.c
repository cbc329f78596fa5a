/*
 * Kafka clients made from the configuration, and what librdkafka's errors mean.
 *
 * Threads: any; librdkafka's clients lock for themselves. A crash leaves nothing behind.
 */
#include "pipeline/kafka.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "pipeline/kafka_property.h"
#include "pipeline/kafka_refusal.h"
#include "pipeline/leaders.h"

enum { TROUBLE_LOG_MS = 10000, END_S = 5, WAKE_MS = 500 };

/*
 * librdkafka tells of every attempt to reach every broker; while Kafka is down one line in a while
 * says as much, and the callers' own errors say what waits for it.
 */
static bool is_repeated_trouble(const char *facility)
{
    static _Atomic int64_t logged_ms = INT64_MIN / 2;
    if (strcmp(facility, "FAIL") != 0 && strcmp(facility, "ERROR") != 0 &&
        strcmp(facility, "REQTMOUT") != 0)
        return false;
    int64_t now = ls_mono_ms();
    int64_t last = atomic_load(&logged_ms);
    return now - last < TROUBLE_LOG_MS || !atomic_compare_exchange_strong(&logged_ms, &last, now);
}

static void on_log(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
    static const enum ls_log_level levels[] = {
        LS_LOG_WARN, LS_LOG_WARN, LS_LOG_WARN, LS_LOG_WARN,
        LS_LOG_WARN, LS_LOG_INFO, LS_LOG_INFO, LS_LOG_DEBUG,
    };
    ls_kafka_refusal_note(text);
    if (level < 0 || level >= (int)LS_COUNT(levels) || is_repeated_trouble(facility))
        return;
    /* A new broker loads its coordinator for some seconds; librdkafka waits for it by itself. */
    bool passing = strcmp(facility, "GETPID") == 0 && strstr(text, "retrying") != NULL;
    ls_log(passing ? LS_LOG_DEBUG : levels[level], "kafka client", "client",
           client ? rd_kafka_name(client) : NULL, "facility", facility, "text", text, NULL);
}

/* Sets one property; the value is not shown, as it may be a secret. */
static int set_property(rd_kafka_conf_t *conf, const char *name, const char *value,
                        struct ls_err *err)
{
    char text[256];
    rd_kafka_conf_res_t rc = rd_kafka_conf_set(conf, name, value, text, sizeof(text));
    if (rc == RD_KAFKA_CONF_OK)
        return 0;
    return ls_err_set(err, LS_ERR_FATAL, 0, "kafka: librdkafka %s '%s'",
                      rc == RD_KAFKA_CONF_UNKNOWN ? "has no property" : "refuses the value of",
                      name);
}

static int set_pairs(rd_kafka_conf_t *conf, const char *const *pairs, struct ls_err *err)
{
    for (; pairs && pairs[0]; pairs += 2)
        if (set_property(conf, pairs[0], pairs[1], err) < 0)
            return -1;
    return 0;
}

/* What the laws ask of every client of the type. */
static int set_laws(rd_kafka_conf_t *conf, rd_kafka_type_t type, struct ls_err *err)
{
    static const char *const producer[] = {"acks",
                                           "all",
                                           "enable.idempotence",
                                           "true",
                                           "partitioner",
                                           "murmur2_random",
                                           "allow.auto.create.topics",
                                           "false",
                                           NULL};
    static const char *const consumer[] = {"enable.auto.commit",
                                           "false",
                                           "enable.auto.offset.store",
                                           "false",
                                           "auto.offset.reset",
                                           "earliest",
                                           "isolation.level",
                                           "read_committed",
                                           "allow.auto.create.topics",
                                           "false",
                                           NULL};
    if (type == RD_KAFKA_CONSUMER)
        return set_pairs(conf, consumer, err);
    char bytes[24];
    snprintf(bytes, sizeof(bytes), "%d", LS_KAFKA_MESSAGE_BYTES_MAX);
    if (set_property(conf, "message.max.bytes", bytes, err) < 0)
        return -1;
    return set_pairs(conf, producer, err);
}

static int set_all(rd_kafka_conf_t *conf, const struct ls_config *config, rd_kafka_type_t type,
                   const char *role, const char *const *extra, struct ls_err *err)
{
    char id[80];
    snprintf(id, sizeof(id), "lockstep-%s", role);
    rd_kafka_conf_set_log_cb(conf, on_log);
    if (set_property(conf, "bootstrap.servers", config->brokers, err) < 0 ||
        set_property(conf, "client.id", id, err) < 0 || set_laws(conf, type, err) < 0)
        return -1;
    for (size_t i = 0; i < config->n_properties; i++) {
        const struct ls_property *property = &config->properties[i];
        if (ls_kafka_property_is_for(property->name, type) &&
            set_property(conf, property->name, property->value, err) < 0)
            return -1;
    }
    return set_pairs(conf, extra, err);
}

rd_kafka_t *ls_kafka_client(const struct ls_config *config, rd_kafka_type_t type, const char *role,
                            rd_kafka_conf_t *conf, const char *const *extra, struct ls_err *err)
{
    if (conf == NULL)
        conf = rd_kafka_conf_new();
    if (set_all(conf, config, type, role, extra, err) < 0) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    char text[256];
    rd_kafka_t *client = rd_kafka_new(type, conf, text, sizeof(text));
    if (client == NULL) {
        rd_kafka_conf_destroy(conf);
        ls_err_set(err, LS_ERR_FATAL, 0, "%s: kafka: %s", config->path, text);
    }
    return client;
}

enum ls_err_class ls_kafka_class(rd_kafka_resp_err_t code)
{
    switch (code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return LS_ERR_NONE;

    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
    case RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE:
    case RD_KAFKA_RESP_ERR_SECURITY_DISABLED:
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
    case RD_KAFKA_RESP_ERR__STATE:
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
        return LS_ERR_FATAL;

    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
        return LS_ERR_POISON;

    default:
        return LS_ERR_RETRY;
    }
}

/* Whether a call found no broker to talk to: none answers, or all refuse. */
static bool seems_away(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__TRANSPORT || code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
           code == RD_KAFKA_RESP_ERR__RESOLVE || code == RD_KAFKA_RESP_ERR__TIMED_OUT;
}

/* What to do about an error, where it is not plain from librdkafka's own text. */
static const char *advice(rd_kafka_resp_err_t code)
{
    if (code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        return "; `lockstep topics create` makes the topics, and a state topic that was there before "
               "needs the next generation";
    return seems_away(code) ? "; no broker of kafka.brokers answers" : "";
}

int ls_kafka_err(struct ls_err *err, rd_kafka_resp_err_t code, const char *format, ...)
{
    char what[256];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    char refusal[LS_KAFKA_REFUSAL_MAX];
    if (seems_away(code) && ls_kafka_refusal(refusal, sizeof(refusal)))
        ls_err_set(err, LS_ERR_FATAL, (int)code,
                   "%s: a broker refuses the connection: %s; check kafka.properties", what,
                   refusal);
    else
        ls_err_set(err, ls_kafka_class(code), (int)code, "%s: %s%s", what, rd_kafka_err2str(code),
                   advice(code));
    const char *name = rd_kafka_err2name(code);
    ls_err_name(err, name, strlen(name));
    return -1;
}

int ls_kafka_answers(const struct ls_config *config, int timeout_ms, struct ls_err *err)
{
    rd_kafka_t *client = ls_kafka_client(config, RD_KAFKA_PRODUCER, "probe", NULL, NULL, err);
    if (client == NULL)
        return -1;
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(client, 0, NULL, &metadata, timeout_ms);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_metadata_destroy(metadata);
    rd_kafka_destroy(client);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    return ls_kafka_err(err, code, "Kafka at %s", config->brokers);
}

static void *destroy_main(void *client)
{
    rd_kafka_destroy(client);
    return NULL;
}

bool ls_kafka_end(rd_kafka_t *client)
{
    pthread_t thread;
    struct timespec until;
    if (client == NULL)
        return true;
    if (pthread_create(&thread, NULL, destroy_main, client) != 0) {
        rd_kafka_destroy(client);
        return true;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += END_S;
    if (pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &until) == 0)
        return true;
    pthread_detach(thread);
    return false;
}

/*
 * Rejected: rd_kafka_query_watermark_offsets, which waits for as long as the broker is away,
 * whatever the timeout (librdkafka before 2.3).
 */
int ls_kafka_wake(rd_kafka_t *client, const char *topic, int32_t partition)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = RD_KAFKA_OFFSET_END;
    rd_kafka_resp_err_t code = ls_leaders_offsets(client, list, WAKE_MS);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        code = list->elems[0].err;
    rd_kafka_topic_partition_list_destroy(list);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? 0 : -1;
}

int ls_kafka_partitions(rd_kafka_t *client, const char *topic, int32_t *ret, struct ls_err *err)
{
    struct ls_leaders leaders;
    if (ls_leaders_ask(client, topic, LS_KAFKA_TIMEOUT_MS, &leaders, err) < 0)
        return -1;
    *ret = leaders.n;
    ls_leaders_free(&leaders);
    return 0;
}
