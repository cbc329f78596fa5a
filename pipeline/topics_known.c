/*
 * Which logs there were: record `log/<topic>` of lockstep.control names the genesis of each log
 * that `topics create` made or met. A topic that somebody deleted can be made again under its name,
 * by that command as well as by anybody; the new log would give the old one's versions out a second
 * time. These records tell the two apart before a genesis is written, where the sinks could only
 * halt after.
 *
 * They are witnesses and never the source of an identity (see topics_genesis.c). A crash between a
 * genesis and its record leaves none, and the next `topics create` writes it; without
 * lockstep.control nothing is known, and the sinks' marks are what is left to notice.
 *
 * Threads: any, each call by itself.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "pipeline/topics_admin.h"

#define PREFIX "log/"

struct reading {
    const struct ls_topic_spec *specs;
    size_t n;
    struct ls_known_log *logs;
};

/* What is no such record, or is broken, tells nothing. */
static void take(void *opaque, const rd_kafka_message_t *message)
{
    const struct reading *reading = opaque;
    size_t prefix = strlen(PREFIX);
    if (message->key_len <= prefix || memcmp(message->key, PREFIX, prefix) != 0)
        return;
    const char *topic = (const char *)message->key + prefix;
    json_t *json = message->payload ? json_loadb(message->payload, message->len, 0, NULL) : NULL;
    const char *uuid = json_string_value(json_object_get(json, "genesis"));
    for (size_t i = 0; i < reading->n; i++) {
        struct ls_known_log *log = &reading->logs[i];
        if (strlen(reading->specs[i].name) != message->key_len - prefix ||
            memcmp(reading->specs[i].name, topic, message->key_len - prefix) != 0)
            continue;
        bool sound = uuid != NULL && strlen(uuid) == sizeof(log->genesis) - 1;
        snprintf(log->genesis, sizeof(log->genesis), "%s", sound ? uuid : "");
    }
    json_decref(json);
}

int ls_topics_known(const struct ls_config *config, const struct ls_topic_spec *specs, size_t n,
                    struct ls_known_log *logs, struct ls_err *err)
{
    struct reading reading = {specs, n, logs};
    return ls_kafka_read_all(config, LS_TOPIC_CONTROL, LS_KAFKA_TIMEOUT_MS, take, &reading, err);
}

/*
 * `what` is the matter with the topic; what goes on is what a sink that halted for it says too.
 * new_logs are the options that let all of them be new.
 */
static int refuse(const struct ls_topic_spec *spec, const char *what, const char *new_logs,
                  struct ls_err *err)
{
    return ls_err_set(err, LS_ERR_FATAL, 0,
                      "%s %s. Its versions would be given out twice, and sinks that know the old "
                      "log halt. Set entities.%s.generation to %u, repeat the command and restart "
                      "workers and publishers: what the stores hold stays. Only where all stores "
                      "are emptied too: `lockstep topics create%s`, with one --new-log for each "
                      "entity whose log is gone",
                      spec->name, what, spec->entity->name, spec->entity->generation + 1, new_logs);
}

int ls_topics_refuse_gone(const struct ls_topic_spec *specs, const struct ls_known_log *logs,
                          const bool *gone, size_t n, struct ls_err *err)
{
    struct ls_buf options = {0};
    size_t first = n;
    for (size_t i = 0; i < n; i++) {
        if (!gone[i])
            continue;
        if (first == n)
            first = i;
        ls_buf_append_str(&options, " --new-log ");
        ls_buf_append_str(&options, specs[i].entity->name);
    }
    LS_CLEANUP_FREE char *what = ls_asprintf("was deleted: %s knows its log (genesis %.8s...)",
                                             LS_TOPIC_CONTROL, logs[first].genesis);
    refuse(&specs[first], what, ls_buf_cstr(&options), err);
    ls_buf_free(&options);
    return -1;
}

int ls_topics_check_known(const struct ls_config *config, const struct ls_topic_spec *spec,
                          const struct ls_known_log *log, struct ls_err *err)
{
    size_t n = (size_t)spec->partitions;
    LS_CLEANUP_FREE struct ls_genesis *genesis = ls_calloc(n, sizeof(*genesis));
    LS_CLEANUP_FREE bool *found = ls_calloc(n, sizeof(*found));
    if (ls_kafka_find_genesis(config, spec->name, spec->partitions, genesis, found, err) < 0)
        return -1;
    const char *uuid = NULL;
    for (size_t p = 0; p < n; p++) {
        if (found[p] && strcmp(genesis[p].uuid, log->genesis) == 0)
            return 0; /* it is the log, whatever the other partitions lack */
        if (found[p])
            uuid = genesis[p].uuid;
    }
    LS_CLEANUP_FREE char *what =
        ls_asprintf("was made again: it has %s%.8s%s, and %s knows its log with genesis %.8s...",
                    uuid ? "genesis " : "no genesis record", uuid ? uuid : "", uuid ? "..." : "",
                    LS_TOPIC_CONTROL, log->genesis);
    LS_CLEANUP_FREE char *option = ls_asprintf(" --new-log %s", spec->entity->name);
    return refuse(spec, what, option, err);
}

static void on_delivery(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
    (void)client;
    *(rd_kafka_resp_err_t *)opaque = message->err;
}

int ls_topics_note_log(const struct ls_config *config, const char *topic, const char *uuid,
                       struct ls_err *err)
{
    static const char *const extra[] = {"message.timeout.ms", "10000", "linger.ms", "0", NULL};
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR__TIMED_OUT;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_opaque(conf, &code);
    rd_kafka_t *client = ls_kafka_client(config, RD_KAFKA_PRODUCER, "topics", conf, extra, err);
    if (client == NULL)
        return -1;
    LS_CLEANUP_FREE char *key = ls_asprintf(PREFIX "%s", topic);
    LS_CLEANUP_FREE char *json = ls_asprintf("{\"genesis\":\"%s\",\"time_ms\":%lld}", uuid,
                                             (long long)(ls_wall_us() / 1000));
    rd_kafka_resp_err_t sent =
        rd_kafka_producev(client, RD_KAFKA_V_TOPIC(LS_TOPIC_CONTROL),
                          RD_KAFKA_V_KEY(key, strlen(key)), RD_KAFKA_V_VALUE(json, strlen(json)),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    if (sent == RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_flush(client, LS_KAFKA_TIMEOUT_MS);
    else
        code = sent;
    rd_kafka_destroy(client);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return ls_kafka_err(err, code, "noting the log %s in %s", topic, LS_TOPIC_CONTROL);
    return 0;
}
