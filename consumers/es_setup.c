/* Comparing an index's set-up with what the schema needs. Pure; see es_setup.h. */
#include "consumers/es_setup.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "schema/es_mapping.h"

#define APPLY "`lockstep schema apply`"

void ls_es_say(struct ls_es_report *report, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    report->n_lines++;
    if (report->line != NULL)
        report->line(report->opaque, text);
}

char *ls_es_setup_index_path(const struct ls_sink_config *config)
{
    return ls_asprintf("/%s?include_defaults=true&ignore_unavailable=true", config->index);
}

json_t *ls_es_own_json(char *text)
{
    json_t *json = json_loads(text, 0, NULL);
    free(text);
    return json;
}

int ls_es_setup_index(struct ls_es_setup *setup, const struct ls_sink_config *config,
                      const json_t *reply, struct ls_err *err)
{
    json_t *live = json_object_get(reply, config->index);
    if (live == NULL && json_object_size(reply) > 0)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "sink %s: `index: %s` is an alias; name the index behind it, workers "
                          "write to that",
                          config->name, config->index);
    setup->config = config;
    setup->live = json_incref(live);
    setup->expected = ls_es_own_json(
        ls_es_index_body(config->entity->schema, config->data_nodes, config->replicas));
    return 0;
}

void ls_es_setup_free(struct ls_es_setup *setup)
{
    json_decref(setup->expected);
    json_decref(setup->live);
    *setup = (struct ls_es_setup){0};
}

/* A scalar as Elasticsearch writes settings: all of them are strings there. buf holds numbers. */
static const char *scalar(const json_t *json, char *buf, size_t size)
{
    if (json_is_string(json))
        return json_string_value(json);
    if (json_is_integer(json)) {
        snprintf(buf, size, "%lld", (long long)json_integer_value(json));
        return buf;
    }
    if (json_is_boolean(json))
        return json_is_true(json) ? "true" : "false";
    return json == NULL ? "(not set)" : "(not a scalar)";
}

/* One property against another: its type, whether it is searched by, whether it is kept by column.
 */
static bool same_property(const json_t *expected, const json_t *live)
{
    static const char *const switches[] = {"index", "doc_values"};
    char buf[32], other[32];
    if (strcmp(scalar(json_object_get(expected, "type"), buf, sizeof(buf)),
               scalar(json_object_get(live, "type"), other, sizeof(other))) != 0)
        return false;
    for (size_t i = 0; i < LS_COUNT(switches); i++) {
        bool expected_on = !json_is_false(json_object_get(expected, switches[i]));
        bool live_on = !json_is_false(json_object_get(live, switches[i]));
        if (expected_on != live_on)
            return false;
    }
    return true;
}

static void describe_property(const json_t *property, char *buf, size_t size)
{
    char type[32];
    snprintf(buf, size, "%s%s%s", scalar(json_object_get(property, "type"), type, sizeof(type)),
             json_is_false(json_object_get(property, "index")) ? ", not indexed" : "",
             json_is_false(json_object_get(property, "doc_values")) ? ", no doc_values" : "");
}

static void diff_mapping(const struct ls_es_setup *setup, struct ls_es_report *report)
{
    const char *index = setup->config->index;
    json_t *expected_mapping = json_object_get(setup->expected, "mappings");
    json_t *live_mapping = json_object_get(setup->live, "mappings");
    json_t *expected = json_object_get(expected_mapping, "properties");
    json_t *live = json_object_get(live_mapping, "properties");
    char buf[32];
    const char *dynamic = scalar(json_object_get(live_mapping, "dynamic"), buf, sizeof(buf));
    if (strcmp(dynamic, "strict") != 0)
        ls_es_say(report, "index %s: dynamic is %s, expected strict", index, dynamic);
    if (!json_is_true(json_object_get(json_object_get(live_mapping, "_routing"), "required")))
        ls_es_say(report, "index %s: routing is not required", index);

    const char *name;
    json_t *property;
    json_object_foreach(expected, name, property)
    {
        char want[96], have[96];
        json_t *found = json_object_get(live, name);
        describe_property(property, want, sizeof(want));
        describe_property(found, have, sizeof(have));
        if (found == NULL)
            ls_es_say(report, "index %s: field %s is missing, expected %s; " APPLY " adds it",
                      index, name, want);
        else if (!same_property(property, found))
            ls_es_say(report, "index %s: field %s is %s, expected %s", index, name, have, want);
    }
}

/*
 * Fields beyond the schema harm no write: a newer schema was applied before its workers came, or a
 * field was retired, which Elasticsearch cannot drop. So they are told, and no reason to halt.
 */
static void diff_extra_fields(const struct ls_es_setup *setup, struct ls_es_report *report)
{
    json_t *expected = json_object_get(json_object_get(setup->expected, "mappings"), "properties");
    json_t *live = json_object_get(json_object_get(setup->live, "mappings"), "properties");
    const char *name;
    json_t *property;
    json_object_foreach(live, name, property)
    {
        if (json_object_get(expected, name) == NULL)
            ls_es_say(report,
                      "index %s: field %s is not in the schema (version %u); it does no harm",
                      setup->config->index, name, setup->config->entity->schema->version);
    }
}

/* Settings of the body against live settings, or Elasticsearch's defaults where none is set. */
static void diff_settings(const struct ls_es_setup *setup, const char *path, json_t *expected,
                          json_t *live, json_t *defaults, struct ls_es_report *report)
{
    const char *name;
    json_t *value;
    json_object_foreach(expected, name, value)
    {
        json_t *set = json_object_get(live, name);
        json_t *unset = json_object_get(defaults, name);
        LS_CLEANUP_FREE char *full = ls_asprintf("%s.%s", path, name);
        if (strcmp(name, "number_of_routing_shards") == 0)
            continue; /* fixed when the index is made, and not shown afterwards */
        if (json_is_object(value)) {
            diff_settings(setup, full, value, set, unset, report);
            continue;
        }
        char buf[32], other[32];
        const char *want = scalar(value, buf, sizeof(buf));
        const char *have = scalar(set != NULL ? set : unset, other, sizeof(other));
        if (strcmp(want, have) != 0)
            ls_es_say(report, "index %s: %s is %s, expected %s", setup->config->index, full, have,
                      want);
    }
}

static void diff_alias(const struct ls_es_setup *setup, struct ls_es_report *report)
{
    const struct ls_sink_config *config = setup->config;
    json_t *alias = json_object_get(json_object_get(setup->live, "aliases"), config->alias);
    json_t *filter = ls_es_own_json(ls_es_alias_filter(setup->config->entity->schema));
    if (alias == NULL)
        ls_es_say(report, "index %s: alias %s is not on it", config->index, config->alias);
    else if (!json_equal(json_object_get(alias, "filter"), filter))
        ls_es_say(report,
                  "alias %s on index %s: its filter does not hide deleted documents and marks",
                  config->alias, config->index);
    json_decref(filter);
}

char *ls_es_setup_readers_path(const struct ls_sink_config *config)
{
    return ls_asprintf("/_alias/%s", config->alias);
}

bool ls_es_setup_readers(const struct ls_sink_config *config, const json_t *reply, char *text,
                         size_t size)
{
    json_t *ours = NULL;
    const char *index, *other = NULL;
    json_t *entry;
    text[0] = '\0';
    json_object_foreach((json_t *)(uintptr_t)reply, index, entry)
    {
        json_t *alias = json_object_get(json_object_get(entry, "aliases"), config->alias);
        if (alias == NULL)
            continue;
        if (strcmp(index, config->index) == 0)
            ours = alias;
        else
            other = index;
    }
    if (ours == NULL && other == NULL) {
        snprintf(text, size,
                 "no index has the alias %s: readers find nothing; " APPLY " puts it on index %s",
                 config->alias, config->index);
        return true;
    }
    if (ours == NULL) {
        snprintf(text, size,
                 "the alias %s is on index %s: readers do not see index %s; if nobody switched "
                 "them, move it back",
                 config->alias, other, config->index);
        return false;
    }
    if (other != NULL) {
        snprintf(text, size,
                 "the alias %s is on index %s and on index %s: readers see members twice; remove "
                 "it from one",
                 config->alias, config->index, other);
        return true;
    }
    json_t *filter = ls_es_own_json(ls_es_alias_filter(config->entity->schema));
    bool hides = json_equal(json_object_get(ours, "filter"), filter) == 1;
    json_decref(filter);
    if (!hides)
        snprintf(text, size,
                 "the alias %s on index %s does not hide deleted documents and marks from "
                 "readers; put it on again with the filter that `lockstep schema show --es` prints",
                 config->alias, config->index);
    return !hides;
}

/* Whether action.auto_create_index as set would create our index: "false", "true", or +a*,-b*. */
static bool creates_index(const char *setting, const char *index)
{
    if (strcmp(setting, "false") == 0)
        return false;
    if (strcmp(setting, "true") == 0)
        return true;
    LS_CLEANUP_FREE char *copy = ls_strdup(setting);
    char *save = NULL;
    for (char *part = strtok_r(copy, ", ", &save); part != NULL;
         part = strtok_r(NULL, ", ", &save)) {
        bool deny = *part == '-';
        if (*part == '-' || *part == '+')
            part++;
        if (fnmatch(part, index, FNM_NOESCAPE) == 0)
            return !deny;
    }
    return false;
}

void ls_es_setup_settings(struct ls_es_setup *setup, const struct ls_sink_config *config,
                          const json_t *reply)
{
    static const char *const levels[] = {"transient", "persistent", "defaults"};
    const char *setting = NULL;
    for (size_t i = 0; i < LS_COUNT(levels) && setting == NULL; i++) {
        json_t *action = json_object_get(json_object_get(reply, levels[i]), "action");
        setting = json_string_value(json_object_get(action, "auto_create_index"));
    }
    setup->auto_creates = creates_index(setting != NULL ? setting : "true", config->index);
}

static const char auto_create_text[] =
    "action.auto_create_index lets a write create the index without its mapping; set it to "
    "false (`lockstep schema show` prints the node file)";

/* The first line of a report becomes the error. */
struct first_line {
    char text[400];
};

static void keep_first(void *opaque, const char *line)
{
    struct first_line *first = opaque;
    if (first->text[0] == '\0')
        snprintf(first->text, sizeof(first->text), "%s", line);
}

/* What correctness rests on; settings that only cost speed are diff's. */
static void check_index(const struct ls_es_setup *setup, struct ls_es_report *report)
{
    char buf[32];
    json_t *live = json_object_get(json_object_get(setup->live, "settings"), "index");
    const json_t *durability = json_object_get(json_object_get(live, "translog"), "durability");
    const char *text = scalar(durability, buf, sizeof(buf));
    diff_mapping(setup, report);
    if (durability != NULL && strcmp(text, "request") != 0)
        ls_es_say(report, "index %s: index.translog.durability is %s, expected request",
                  setup->config->index, text);
}

int ls_es_setup_check(const struct ls_es_setup *setup, struct ls_err *err)
{
    struct first_line first = {""};
    struct ls_es_report report = {keep_first, &first, 0};
    if (setup->live == NULL)
        return ls_err_set(err, LS_ERR_FATAL, 0, "index %s does not exist; " APPLY " creates it",
                          setup->config->index);
    if (setup->auto_creates)
        return ls_err_set(err, LS_ERR_FATAL, 0, "%s", auto_create_text);
    check_index(setup, &report);
    if (report.n_lines > 0)
        return ls_err_set(err, LS_ERR_FATAL, 0, "%s; `lockstep schema diff` shows all", first.text);
    return 0;
}

void ls_es_setup_diff(const struct ls_es_setup *setup, struct ls_es_report *report)
{
    if (setup->live == NULL) {
        ls_es_say(report, "index %s does not exist; " APPLY " creates it", setup->config->index);
    } else {
        json_t *live = json_object_get(setup->live, "settings");
        json_t *defaults = json_object_get(setup->live, "defaults");
        json_t *expected = json_object_get(setup->expected, "settings");
        diff_mapping(setup, report);
        diff_extra_fields(setup, report);
        diff_settings(setup, "index", json_object_get(expected, "index"),
                      json_object_get(live, "index"), json_object_get(defaults, "index"), report);
        diff_alias(setup, report);
    }
    if (setup->auto_creates)
        ls_es_say(report, "%s", auto_create_text);
}
