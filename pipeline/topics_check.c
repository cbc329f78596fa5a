/*
 * What on the broker would break a law, compared with the configuration. Reads only.
 *
 * Threads: any, each call by itself. A crash leaves nothing behind.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/topics_admin.h"

struct check {
    const struct ls_config *config;
    const struct ls_topic_spec *specs;
    struct ls_topic_info *infos;
    size_t n;
    ls_topic_finding_fn *found;
    void *opaque;
    size_t broken;
};

static void report(struct check *check, bool law, const char *topic, const char *mend,
                   const char *format, ...) __attribute__((format(printf, 5, 6)));

static void report(struct check *check, bool law, const char *topic, const char *mend,
                   const char *format, ...)
{
    char what[512];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    struct ls_topic_finding finding = {.law = law, .topic = topic, .what = what, .mend = mend};
    check->broken += law;
    check->found(check->opaque, &finding);
}

/* Partitions, replicas, leaders. Returns whether the topic is there with the right partitions. */
static bool check_shape(struct check *check, size_t i)
{
    const struct ls_topic_spec *spec = &check->specs[i];
    const struct ls_topic_info *info = &check->infos[i];
    if (!info->exists) {
        report(check, true, spec->name, "lockstep topics create", "is missing");
        return false;
    }
    bool fits = info->partitions == spec->partitions;
    if (!fits && spec->role == LS_TOPIC_ROLE_STATE)
        report(check, true, spec->name,
               "correct `partitions` in the configuration, or take the next generation",
               "has %d partitions, the configuration says %d; a log never changes their number",
               info->partitions, spec->partitions);
    else if (!fits)
        report(
            check, true, spec->name, "delete it when it holds nothing, then lockstep topics create",
            "has %d partitions instead of 1, so its records have no one order", info->partitions);
    if (info->replicas < spec->replication)
        report(check, true, spec->name,
               "move its partitions to more brokers with kafka-reassign-partitions.sh",
               "has %d replica%s, the configuration says %d", info->replicas,
               info->replicas == 1 ? "" : "s", spec->replication);
    else if (info->replicas < 3 && spec->role == LS_TOPIC_ROLE_STATE)
        report(check, false, spec->name, "on a real cluster use replication: 3",
               "has %d replica%s: this log is lost with %s", info->replicas,
               info->replicas == 1 ? "" : "s",
               info->replicas == 1 ? "its broker's disk" : "two brokers' disks");
    if (info->leaderless > 0)
        report(check, false, spec->name, "see which brokers are down",
               "%d of its partitions have no leader now", info->leaderless);
    return fits;
}

static void on_setting(void *opaque, const char *topic, const char *name, const char *value)
{
    struct check *check = opaque;
    for (size_t i = 0; i < check->n; i++) {
        if (strcmp(check->specs[i].name, topic) != 0)
            continue;
        struct ls_topic_setting settings[LS_TOPIC_SETTINGS_MAX];
        size_t n = ls_topic_settings(&check->specs[i], settings);
        for (size_t s = 0; s < n; s++) {
            const struct ls_topic_setting *setting = &settings[s];
            if (strcmp(setting->name, name) != 0 || ls_topic_setting_kept(setting, value))
                continue;
            static const char *const words[] = {"", "at least ", "at most "};
            char mend[400];
            snprintf(mend, sizeof(mend),
                     "kafka-configs.sh --bootstrap-server %.100s --alter --topic %s --add-config "
                     "%s=%s",
                     check->config->brokers, topic, name, setting->value);
            report(check, setting->law, topic, mend, "%s is %s, expected %s%s; %s", name, value,
                   words[setting->rule], setting->value, setting->why);
        }
    }
}

/* Every partition has its own genesis, of this topic and generation, and all have one UUID. */
static void check_records(struct check *check, const struct ls_topic_spec *spec,
                          const struct ls_genesis *genesis, const bool *found)
{
    static const char *const way_out =
        "offsets of two logs are mixed: stop the sinks and take the next generation";
    int32_t missing = 0;
    const char *uuid = NULL;
    for (int32_t p = 0; p < spec->partitions; p++) {
        if (!found[p]) {
            missing++;
            continue;
        }
        if (uuid == NULL)
            uuid = genesis[p].uuid;
        if (strcmp(genesis[p].topic, spec->name) != 0 ||
            genesis[p].generation != spec->entity->generation || genesis[p].partition != p ||
            genesis[p].partitions != spec->partitions)
            report(check, true, spec->name, way_out,
                   "partition %d has the genesis of %.100s/%d, generation %u, %d partitions", p,
                   genesis[p].topic, genesis[p].partition, genesis[p].generation,
                   genesis[p].partitions);
        else if (strcmp(genesis[p].uuid, uuid) != 0)
            report(check, true, spec->name, way_out,
                   "partition %d has genesis %s, an earlier one has %s", p, genesis[p].uuid, uuid);
    }
    if (missing > 0)
        report(check, true, spec->name, "lockstep topics create",
               "%d of %d partitions have no genesis record", missing, spec->partitions);
}

static int check_genesis(struct check *check, const struct ls_topic_spec *spec, struct ls_err *err)
{
    size_t n = (size_t)spec->partitions;
    struct ls_genesis *genesis = ls_calloc(n, sizeof(*genesis));
    bool *found = ls_calloc(n, sizeof(*found));
    struct ls_err why = {0};
    int rc =
        ls_kafka_find_genesis(check->config, spec->name, spec->partitions, genesis, found, &why);
    if (rc == 0) {
        check_records(check, spec, genesis, found);
    } else if (why.class == LS_ERR_FATAL) {
        report(check, true, spec->name, "take the next generation", "%s", why.text);
        rc = 0;
    } else if (err) {
        *err = why;
    }
    free(genesis);
    free(found);
    return rc;
}

/* The generation that ends a state topic's name of this entity, or 0. */
static uint32_t generation_of(const char *topic, const struct ls_entity_config *entity)
{
    size_t len = strlen(entity->name);
    if (strncmp(topic, entity->name, len) != 0 || strncmp(topic + len, ".state.", 7) != 0)
        return 0;
    char *end;
    unsigned long number = strtoul(topic + len + 7, &end, 10);
    return *end == '\0' && number > 0 && number <= INT16_MAX ? (uint32_t)number : 0;
}

/* State topics of other generations: a newer one means that this configuration is behind. */
static int check_generations(struct check *check, rd_kafka_t *client, struct ls_err *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(client, 1, NULL, &metadata, LS_KAFKA_TIMEOUT_MS);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return ls_kafka_err(err, code, "asking Kafka for its topics");
    for (int t = 0; t < metadata->topic_cnt; t++) {
        const char *topic = metadata->topics[t].topic;
        for (size_t e = 0; e < check->config->n_entities; e++) {
            const struct ls_entity_config *entity = &check->config->entities[e];
            uint32_t generation = generation_of(topic, entity);
            if (generation > entity->generation)
                report(check, true, topic,
                       "set `generation` in every configuration, or delete the topic if nothing "
                       "uses it",
                       "is a newer generation than %u, which the configuration names",
                       entity->generation);
            else if (generation > 0 && generation < entity->generation)
                report(check, false, topic, "delete it once nothing needs to go back to it",
                       "is of an older generation than %u, which the configuration names",
                       entity->generation);
        }
    }
    rd_kafka_metadata_destroy(metadata);
    return 0;
}

static int check_all(struct check *check, rd_kafka_t *client, struct ls_err *err)
{
    LS_CLEANUP_FREE const char **topics = ls_calloc(check->n, sizeof(*topics));
    size_t n_topics = 0;
    for (size_t i = 0; i < check->n; i++) {
        const struct ls_topic_spec *spec = &check->specs[i];
        bool fits = check_shape(check, i);
        if (check->infos[i].exists)
            topics[n_topics++] = spec->name;
        if (fits && spec->role == LS_TOPIC_ROLE_STATE && check_genesis(check, spec, err) < 0)
            return -1;
    }
    if (n_topics > 0 && ls_topics_settings_of(client, topics, n_topics, on_setting, check, err) < 0)
        return -1;
    return check_generations(check, client, err);
}

int ls_topics_check(const struct ls_config *config, ls_topic_finding_fn *found, void *opaque,
                    size_t *ret_broken, struct ls_err *err)
{
    struct ls_topic_spec *specs = NULL;
    size_t n = 0;
    ls_topics_plan(config, &specs, &n);
    struct check check = {.config = config,
                          .specs = specs,
                          .infos = ls_calloc(n, sizeof(*check.infos)),
                          .n = n,
                          .found = found,
                          .opaque = opaque};
    rd_kafka_t *client = ls_kafka_client(config, RD_KAFKA_PRODUCER, "topics", NULL, NULL, err);
    int rc = client ? ls_topics_describe(client, specs, n, check.infos, err) : -1;
    if (rc == 0)
        rc = check_all(&check, client, err);
    if (client)
        rd_kafka_destroy(client);
    if (rc == 0)
        *ret_broken = check.broken;
    free(check.infos);
    free(specs);
    return rc;
}
