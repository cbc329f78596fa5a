/*
 * Which topics a configuration needs and how they are set: one table that both creation and check
 * come from. Pure.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/topics_admin.h"

#define DAY_MS INT64_C(86400000)

const char *ls_topic_role_name(enum ls_topic_role role)
{
    switch (role) {
    case LS_TOPIC_ROLE_STATE:
        return "state";
    case LS_TOPIC_ROLE_QUARANTINE:
        return "quarantine";
    case LS_TOPIC_ROLE_CONTROL:
        return "control";
    }
    return "unknown";
}

void ls_topics_plan(const struct ls_config *config, struct ls_topic_spec **ret, size_t *ret_n)
{
    size_t n = 0;
    struct ls_topic_spec *specs =
        ls_calloc(config->n_entities + config->n_sinks + 1, sizeof(*specs));
    int16_t replication = 1;
    for (size_t i = 0; i < config->n_entities; i++) {
        const struct ls_entity_config *entity = &config->entities[i];
        specs[n] = (struct ls_topic_spec){.role = LS_TOPIC_ROLE_STATE,
                                          .entity = entity,
                                          .partitions = entity->partitions,
                                          .replication = entity->replication};
        ls_topic_state(entity, specs[n++].name);
        if (entity->replication > replication)
            replication = entity->replication;
    }
    for (size_t i = 0; i < config->n_sinks; i++) {
        const struct ls_sink_config *sink = &config->sinks[i];
        specs[n] = (struct ls_topic_spec){.role = LS_TOPIC_ROLE_QUARANTINE,
                                          .entity = sink->entity,
                                          .partitions = 1,
                                          .replication = sink->entity->replication};
        ls_topic_quarantine(sink, specs[n++].name);
    }
    specs[n] = (struct ls_topic_spec){
        .role = LS_TOPIC_ROLE_CONTROL, .partitions = 1, .replication = replication};
    snprintf(specs[n++].name, sizeof(specs->name), "%s", LS_TOPIC_CONTROL);
    *ret = specs;
    *ret_n = n;
}

#define STATE      (1u << LS_TOPIC_ROLE_STATE)
#define QUARANTINE (1u << LS_TOPIC_ROLE_QUARANTINE)
#define CONTROL    (1u << LS_TOPIC_ROLE_CONTROL)
#define ALL        (STATE | QUARANTINE | CONTROL)

struct rule {
    unsigned roles;
    const char *name;
    enum ls_setting_rule rule;
    bool law;
    const char *text; /* the value, or NULL: number */
    int64_t number;
    const char *why;
};

static const struct rule rules[] = {
    {ALL, "cleanup.policy", LS_SETTING_EQUALS, true, "compact", 0,
     "otherwise the newest record of a key is deleted with its time"},
    {ALL, "unclean.leader.election.enable", LS_SETTING_EQUALS, true, "false", 0,
     "otherwise a failover can lose records that were acknowledged, and use their offsets again"},
    {STATE, "message.timestamp.type", LS_SETTING_EQUALS, true, "LogAppendTime", 0,
     "otherwise marks compare times of publishers' clocks"},
    {STATE, "min.compaction.lag.ms", LS_SETTING_AT_LEAST, true, NULL, 7 * DAY_MS,
     "otherwise older images are gone before anyone can restore them"},
    {STATE, "delete.retention.ms", LS_SETTING_AT_LEAST, true, NULL, 30 * DAY_MS,
     "otherwise a sink that was down for long misses what was purged"},
    /* Above the largest body, with room for key, headers and the batch around them. */
    {STATE, "max.message.bytes", LS_SETTING_AT_LEAST, true, NULL, 2 * LS_BODY_BYTES_MAX,
     "otherwise the largest records can't be published"},
    {QUARANTINE | CONTROL, "max.message.bytes", LS_SETTING_AT_LEAST, true, NULL,
     LS_KAFKA_MESSAGE_BYTES_MAX, "otherwise a poisoned record may not fit into the quarantine"},
    /* Heartbeats are many and only the newest count: whoever reads it all shall read little. */
    {CONTROL, "segment.bytes", LS_SETTING_AT_MOST, false, NULL, 8 << 20,
     "otherwise old heartbeats stay, and every command that reads the topic takes longer"},
    {CONTROL, "segment.ms", LS_SETTING_AT_MOST, false, NULL, 600000,
     "otherwise old heartbeats stay, and every command that reads the topic takes longer"},
    {CONTROL, "min.cleanable.dirty.ratio", LS_SETTING_AT_MOST, false, "0.1", 0,
     "otherwise old heartbeats stay, and every command that reads the topic takes longer"},
};

size_t ls_topic_settings(const struct ls_topic_spec *spec,
                         struct ls_topic_setting settings[LS_TOPIC_SETTINGS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < LS_COUNT(rules); i++) {
        const struct rule *rule = &rules[i];
        if ((rule->roles & (1u << spec->role)) == 0)
            continue;
        settings[n] = (struct ls_topic_setting){
            .name = rule->name, .rule = rule->rule, .law = rule->law, .why = rule->why};
        if (rule->text)
            snprintf(settings[n].value, sizeof(settings[n].value), "%s", rule->text);
        else
            snprintf(settings[n].value, sizeof(settings[n].value), "%" PRId64, rule->number);
        n++;
    }
    settings[n] = (struct ls_topic_setting){
        .name = "min.insync.replicas",
        .rule = LS_SETTING_AT_LEAST,
        .law = true,
        .why = "otherwise a record is acknowledged while only one broker has it"};
    snprintf(settings[n].value, sizeof(settings[n].value), "%d", spec->replication >= 3 ? 2 : 1);
    return n + 1;
}

bool ls_topic_setting_kept(const struct ls_topic_setting *setting, const char *value)
{
    if (setting->rule == LS_SETTING_EQUALS)
        return strcmp(setting->value, value) == 0;
    char *end;
    long double number = strtold(value, &end);
    if (*value == '\0' || *end != '\0')
        return false;
    long double limit = strtold(setting->value, NULL);
    return setting->rule == LS_SETTING_AT_LEAST ? number >= limit : number <= limit;
}
