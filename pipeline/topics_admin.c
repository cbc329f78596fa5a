/*
 * Creates topics and describes them as the broker has them.
 *
 * Threads: any, each call by itself. A crash while topics are created leaves some of them, each
 * whole; the next call creates the rest.
 */
#include "pipeline/topics_admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "pipeline/ends.h"

enum { WAIT_STEP_MS = 50, LOOKS = 4, LOOK_STEP_MS = 250 };

static rd_kafka_t *open_client(const struct ls_config *config, struct ls_err *err)
{
    return ls_kafka_client(config, RD_KAFKA_PRODUCER, "topics", NULL, NULL, err);
}

static void describe_topic(const struct rd_kafka_metadata_topic *topic, struct ls_topic_info *info)
{
    info->exists = topic->err != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART &&
                   topic->err != RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC &&
                   topic->err != RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    info->partitions = topic->partition_cnt;
    for (int p = 0; p < topic->partition_cnt; p++) {
        const struct rd_kafka_metadata_partition *partition = &topic->partitions[p];
        if (p == 0 || partition->replica_cnt < info->replicas)
            info->replicas = partition->replica_cnt;
        info->leaderless += partition->leader < 0;
    }
}

int ls_topics_describe(rd_kafka_t *client, const struct ls_topic_spec *specs, size_t n,
                       struct ls_topic_info *infos, struct ls_err *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(client, 1, NULL, &metadata, LS_KAFKA_TIMEOUT_MS);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return ls_kafka_err(err, code, "asking Kafka for its topics");
    memset(infos, 0, n * sizeof(*infos));
    for (size_t i = 0; i < n; i++)
        for (int t = 0; t < metadata->topic_cnt; t++)
            if (strcmp(metadata->topics[t].topic, specs[i].name) == 0)
                describe_topic(&metadata->topics[t], &infos[i]);
    rd_kafka_metadata_destroy(metadata);
    return 0;
}

static int count_records(rd_kafka_t *client, const char *topic, struct ls_topic_info *info,
                         struct ls_err *err)
{
    size_t n = (size_t)info->partitions;
    LS_CLEANUP_FREE int64_t *firsts = ls_calloc(n + 1, sizeof(*firsts));
    LS_CLEANUP_FREE int64_t *ends = ls_calloc(n + 1, sizeof(*ends));
    if (ls_kafka_ranges(client, topic, NULL, n, LS_KAFKA_TIMEOUT_MS, firsts, ends, err) < 0)
        return -1;
    for (size_t p = 0; p < n; p++)
        info->records += ends[p] - firsts[p];
    return 0;
}

/* The UUID that all partitions share, or "" where any has none or another. */
static int find_uuid(const struct ls_config *config, const struct ls_topic_spec *spec,
                     struct ls_topic_info *info, struct ls_err *err)
{
    size_t n = (size_t)info->partitions;
    LS_CLEANUP_FREE struct ls_genesis *genesis = ls_calloc(n, sizeof(*genesis));
    LS_CLEANUP_FREE bool *found = ls_calloc(n, sizeof(*found));
    if (ls_kafka_find_genesis(config, spec->name, info->partitions, genesis, found, err) < 0)
        return -1;
    for (size_t p = 0; p < n; p++)
        if (!found[p] || strcmp(genesis[p].uuid, genesis[0].uuid) != 0)
            return 0;
    memcpy(info->genesis, genesis[0].uuid, sizeof(info->genesis));
    return 0;
}

int ls_topics_list(const struct ls_config *config, const struct ls_topic_spec *specs, size_t n,
                   struct ls_topic_info *infos, struct ls_err *err)
{
    rd_kafka_t *client = open_client(config, err);
    if (client == NULL)
        return -1;
    int rc = ls_topics_describe(client, specs, n, infos, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (!infos[i].exists)
            continue;
        rc = count_records(client, specs[i].name, &infos[i], err);
        if (rc == 0 && specs[i].role == LS_TOPIC_ROLE_STATE)
            rc = find_uuid(config, &specs[i], &infos[i], err);
    }
    rd_kafka_destroy(client);
    return rc;
}

/* Waits for the answer of one admin request. NULL and err when there is none. */
static rd_kafka_event_t *wait_event(rd_kafka_queue_t *queue, const char *what, struct ls_err *err)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 2 * LS_KAFKA_TIMEOUT_MS);
    if (event == NULL) {
        ls_kafka_err(err, RD_KAFKA_RESP_ERR__TIMED_OUT, "%s", what);
        return NULL;
    }
    if (rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR)
        return event;
    ls_kafka_err(err, rd_kafka_event_error(event), "%s", what);
    rd_kafka_event_destroy(event);
    return NULL;
}

static rd_kafka_NewTopic_t *new_topic(const struct ls_topic_spec *spec)
{
    char text[256];
    rd_kafka_NewTopic_t *topic =
        rd_kafka_NewTopic_new(spec->name, spec->partitions, spec->replication, text, sizeof(text));
    if (topic == NULL)
        return NULL;
    struct ls_topic_setting settings[LS_TOPIC_SETTINGS_MAX];
    size_t n = ls_topic_settings(spec, settings);
    for (size_t i = 0; i < n; i++)
        rd_kafka_NewTopic_set_config(topic, settings[i].name, settings[i].value);
    return topic;
}

/* Tells what became of each topic of the request. */
static int take_results(rd_kafka_event_t *event, const struct ls_topic_spec *specs, size_t n,
                        ls_topic_made_fn *made, void *opaque, struct ls_err *err)
{
    size_t n_results = 0;
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &n_results);
    int rc = 0;
    for (size_t r = 0; r < n_results; r++) {
        const char *name = rd_kafka_topic_result_name(results[r]);
        rd_kafka_resp_err_t code = rd_kafka_topic_result_error(results[r]);
        const struct ls_topic_spec *spec = NULL;
        for (size_t i = 0; i < n; i++)
            if (strcmp(specs[i].name, name) == 0)
                spec = &specs[i];
        char line[160];
        if (code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
            made(opaque, name, false, "is there already");
        } else if (code == RD_KAFKA_RESP_ERR_NO_ERROR && spec) {
            snprintf(line, sizeof(line), "created: %d partition%s, %d replica%s", spec->partitions,
                     spec->partitions == 1 ? "" : "s", spec->replication,
                     spec->replication == 1 ? "" : "s");
            made(opaque, name, true, line);
        } else if (rc == 0) {
            const char *text = rd_kafka_topic_result_error_string(results[r]);
            rc = ls_err_set(err, ls_kafka_class(code), (int)code, "creating %s: %s%s", name,
                            text ? text : rd_kafka_err2str(code),
                            code == RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR
                                ? "; entities.<name>.replication says how many brokers it needs"
                                : "");
        }
    }
    return rc;
}

static int create_missing(rd_kafka_t *client, const struct ls_topic_spec *specs,
                          const struct ls_topic_info *infos, size_t n, ls_topic_made_fn *made,
                          void *opaque, struct ls_err *err)
{
    LS_CLEANUP_FREE rd_kafka_NewTopic_t **topics = ls_calloc(n, sizeof(rd_kafka_NewTopic_t *));
    size_t n_topics = 0;
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (infos[i].exists) {
            made(opaque, specs[i].name, false, "is there already");
            continue;
        }
        topics[n_topics] = new_topic(&specs[i]);
        if (topics[n_topics] == NULL)
            rc = ls_err_set(err, LS_ERR_FATAL, 0, "%s is no name that Kafka takes for a topic",
                            specs[i].name);
        else
            n_topics++;
    }
    if (rc == 0 && n_topics > 0) {
        rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
        rd_kafka_AdminOptions_t *options =
            rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_CREATETOPICS);
        /* So that the answer comes when every broker knows the topics. */
        rd_kafka_AdminOptions_set_operation_timeout(options, LS_KAFKA_TIMEOUT_MS, NULL, 0);
        rd_kafka_CreateTopics(client, topics, n_topics, options, queue);
        rd_kafka_event_t *event = wait_event(queue, "creating topics", err);
        rc = event ? take_results(event, specs, n, made, opaque, err) : -1;
        if (event)
            rd_kafka_event_destroy(event);
        rd_kafka_AdminOptions_destroy(options);
        rd_kafka_queue_destroy(queue);
    }
    rd_kafka_NewTopic_destroy_array(topics, n_topics);
    return rc;
}

/* Waits until all topics are there and have leaders, as far as this client's broker knows. */
static int wait_ready(rd_kafka_t *client, const struct ls_topic_spec *specs, size_t n,
                      struct ls_topic_info *infos, struct ls_err *err)
{
    int64_t until_ms = ls_mono_ms() + LS_KAFKA_TIMEOUT_MS;
    for (;;) {
        if (ls_topics_describe(client, specs, n, infos, err) < 0)
            return -1;
        size_t missing = n;
        for (size_t i = 0; i < n; i++)
            if (!infos[i].exists || infos[i].leaderless > 0 || infos[i].partitions == 0)
                missing = i;
        if (missing == n)
            return 0;
        if (ls_mono_ms() > until_ms)
            return ls_err_set(err, LS_ERR_RETRY, 0,
                              "%s was created but has no leader for all its partitions; see "
                              "whether all brokers are up, then repeat the command",
                              specs[missing].name);
        nanosleep(&(struct timespec){.tv_nsec = WAIT_STEP_MS * 1000000L}, NULL);
    }
}

static int write_genesis(const struct ls_config *config, const struct ls_topic_spec *spec,
                         const struct ls_topic_info *info, const struct ls_known_log *known,
                         ls_topic_made_fn *made, void *opaque, struct ls_err *err)
{
    if (info->partitions != spec->partitions)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "%s has %d partitions, and %s says %d; a log never changes their number: "
                          "correct entities.%s.partitions, or take the next generation",
                          spec->name, info->partitions, config->path, spec->partitions,
                          spec->entity->name);
    int32_t written = 0;
    char uuid[37];
    if (known->genesis[0] && ls_topics_check_known(config, spec, known, err) < 0)
        return -1;
    if (ls_topics_write_genesis(config, spec->entity, &written, uuid, err) < 0)
        return -1;
    if (strcmp(known->genesis, uuid) != 0 && ls_topics_note_log(config, spec->name, uuid, err) < 0)
        return -1;
    char line[160];
    if (written > 0)
        snprintf(line, sizeof(line), "genesis %s written to %d partition%s", uuid, written,
                 written == 1 ? "" : "s");
    else
        snprintf(line, sizeof(line), "genesis is %s", uuid);
    made(opaque, spec->name, written > 0, line);
    return 0;
}

/*
 * A list of all topics lacks those that access rules hide from this user; asked for by its name, a
 * topic that is hidden is told from one that is gone. -1 unless it is gone.
 */
static int confirm_gone(rd_kafka_t *client, const char *name, struct ls_err *err)
{
    int32_t partitions = 0;
    struct ls_err why = {0};
    if (ls_kafka_partitions(client, name, &partitions, &why) == 0 && partitions == 0)
        return 0;
    if (why.class == LS_ERR_NONE)
        return ls_err_set(err, LS_ERR_RETRY, 0,
                          "%s is there when asked for, and missing in the list of all topics; "
                          "nothing was created. See whether all brokers are up, then repeat the "
                          "command",
                          name);
    if (why.code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
        return ls_err_set(err, LS_ERR_FATAL, why.code,
                          "%s is hidden from this user by Kafka's access rules, so nobody can tell "
                          "whether it is there; nothing was created. Give the user Describe and "
                          "Read on it (kafka-acls.sh), then repeat the command",
                          name);
    if (err)
        *err = why;
    return -1;
}

static bool may_be_new(const struct ls_topic_spec *spec, const char *const *new_logs)
{
    for (; new_logs && spec->entity && *new_logs; new_logs++)
        if (strcmp(spec->entity->name, *new_logs) == 0)
            return true;
    return false;
}

static int refuse_gone(rd_kafka_t *client, const struct ls_topic_spec *specs,
                       const struct ls_known_log *known, const bool *gone, size_t n,
                       struct ls_err *err)
{
    for (size_t i = 0; i < n; i++)
        if (gone[i] && confirm_gone(client, specs[i].name, err) < 0)
            return -1;
    return ls_topics_refuse_gone(specs, known, gone, n, err);
}

/*
 * What is known of logs, and then what is there: in this order, so that a log which another creator
 * makes meanwhile is not taken for one that is gone.
 */
static int look_back(const struct ls_config *config, rd_kafka_t *client,
                     const struct ls_topic_spec *specs, struct ls_topic_info *infos,
                     struct ls_known_log *known, size_t n, const char *const *new_logs,
                     struct ls_err *err)
{
    if (ls_topics_describe(client, specs, n, infos, err) < 0)
        return -1;
    if (!infos[n - 1].exists) /* control: nothing is known */
        return 0;
    if (ls_topics_known(config, specs, n, known, err) < 0)
        return -1;
    LS_CLEANUP_FREE bool *gone = ls_calloc(n, sizeof(*gone));
    for (int look = 0; look < LOOKS; look++) {
        bool refused = false;
        if (ls_topics_describe(client, specs, n, infos, err) < 0)
            return -1;
        for (size_t i = 0; i < n; i++) {
            gone[i] = known[i].genesis[0] && !infos[i].exists;
            refused |= gone[i] && !may_be_new(&specs[i], new_logs);
        }
        if (!refused)
            break;
        if (look + 1 == LOOKS)
            return refuse_gone(client, specs, known, gone, n, err);
        /* Or the broker that was asked has not heard of it yet. */
        nanosleep(&(struct timespec){.tv_nsec = LOOK_STEP_MS * 1000000L}, NULL);
    }
    for (size_t i = 0; i < n; i++)
        if (may_be_new(&specs[i], new_logs))
            known[i].genesis[0] = '\0';
    return 0;
}

int ls_topics_create(const struct ls_config *config, const char *const *new_logs,
                     ls_topic_made_fn *made, void *opaque, struct ls_err *err)
{
    rd_kafka_t *client = open_client(config, err);
    if (client == NULL)
        return -1;
    struct ls_topic_spec *specs = NULL;
    size_t n = 0;
    ls_topics_plan(config, &specs, &n);
    struct ls_topic_info *infos = ls_calloc(n, sizeof(*infos));
    struct ls_known_log *known = ls_calloc(n, sizeof(*known));
    int rc = look_back(config, client, specs, infos, known, n, new_logs, err);
    if (rc == 0)
        rc = create_missing(client, specs, infos, n, made, opaque, err);
    if (rc == 0)
        rc = wait_ready(client, specs, n, infos, err);
    for (size_t i = 0; i < n && rc == 0; i++)
        if (specs[i].role == LS_TOPIC_ROLE_STATE)
            rc = write_genesis(config, &specs[i], &infos[i], &known[i], made, opaque, err);
    rd_kafka_destroy(client);
    free(known);
    free(infos);
    free(specs);
    return rc;
}

static int take_settings(rd_kafka_event_t *event, ls_setting_fn *each, void *opaque,
                         struct ls_err *err)
{
    size_t n_resources = 0;
    const rd_kafka_ConfigResource_t **resources = rd_kafka_DescribeConfigs_result_resources(
        rd_kafka_event_DescribeConfigs_result(event), &n_resources);
    for (size_t r = 0; r < n_resources; r++) {
        const char *topic = rd_kafka_ConfigResource_name(resources[r]);
        rd_kafka_resp_err_t code = rd_kafka_ConfigResource_error(resources[r]);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            return ls_kafka_err(err, code, "settings of %s", topic);
        size_t n = 0;
        const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resources[r], &n);
        for (size_t i = 0; i < n; i++) {
            const char *value = rd_kafka_ConfigEntry_value(entries[i]);
            each(opaque, topic, rd_kafka_ConfigEntry_name(entries[i]), value ? value : "");
        }
    }
    return 0;
}

int ls_topics_settings_of(rd_kafka_t *client, const char *const *topics, size_t n,
                          ls_setting_fn *each, void *opaque, struct ls_err *err)
{
    LS_CLEANUP_FREE rd_kafka_ConfigResource_t **resources =
        ls_calloc(n, sizeof(rd_kafka_ConfigResource_t *));
    for (size_t i = 0; i < n; i++)
        resources[i] = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topics[i]);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_DescribeConfigs(client, resources, n, NULL, queue);
    rd_kafka_event_t *event = wait_event(queue, "asking Kafka for the settings of topics", err);
    int rc = event ? take_settings(event, each, opaque, err) : -1;
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_ConfigResource_destroy_array(resources, n);
    return rc;
}
