/* `lockstep topics`: creates, lists and checks the topics that the configuration needs. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "pipeline/topics_admin.h"

enum { OPT_NEW_LOG = 0x100 };

struct arguments {
    const char *config;
    const char *action;
    const char **new_logs; /* entities, NULL-ended; NULL: none */
    size_t n_new_logs;
    bool json;
};

static const char doc[] =
    "Creates, lists or checks the topics of every entity and sink of the configuration."
    "\v"
    "  create   make what is missing, with a genesis record in each partition of a\n"
    "           state topic; what exists is never altered; safe to repeat; a log that\n"
    "           was deleted is not made again under its name unless --new-log says so\n"
    "  list     what the configuration needs and what is there\n"
    "  check    everything on the broker that would break a law, and what mends it\n\n"
    "Examples:\n"
    "  lockstep topics create\n"
    "  lockstep topics check --json | jq '.findings[] | select(.law)'\n\n"
    "Exit codes: 0 done, 1 check found what breaks a law (list: a topic is missing), 2 Kafka "
    "could not be asked or refused, 64 wrong arguments, 78 wrong configuration.";

static const struct argp_option options[] = {
    {"json", 'j', NULL, 0, "Results as JSON on stdout", 0},
    {"new-log", OPT_NEW_LOG, "ENTITY", 0,
     "create: this entity's log may be another one than what was there under its name; only where "
     "all its stores are emptied too, else its sinks halt; may be given several times, once for "
     "each such entity",
     0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &arguments->config;
        return 0;
    case 'j':
        arguments->json = true;
        return 0;
    case OPT_NEW_LOG:
        arguments->new_logs = ls_realloc(arguments->new_logs, (arguments->n_new_logs + 2) *
                                                                  sizeof(*arguments->new_logs));
        arguments->new_logs[arguments->n_new_logs++] = arg;
        arguments->new_logs[arguments->n_new_logs] = NULL;
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->action)
            argp_error(state, "one action at a time: create, list or check");
        if (strcmp(arg, "create") != 0 && strcmp(arg, "list") != 0 && strcmp(arg, "check") != 0)
            argp_error(state, "there is no action '%s'; create, list or check", arg);
        arguments->action = arg;
        return 0;
    case ARGP_KEY_END:
        if (arguments->action == NULL)
            argp_error(state, "name an action: create, list or check");
        else if (arguments->new_logs && strcmp(arguments->action, "create") != 0)
            argp_error(state, "--new-log is for create");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int failed(const struct ls_err *err)
{
    ls_cli_error("%s", err->text);
    return LS_EXIT_FAILED;
}

static void on_made(void *opaque, const char *topic, bool made, const char *line)
{
    json_t *steps = opaque;
    if (steps == NULL)
        ls_cli_say("%-32s  %s", topic, line);
    else
        json_array_append_new(
            steps, json_pack("{s:s, s:b, s:s}", "topic", topic, "made", (int)made, "text", line));
    fflush(stdout);
}

static bool has_entity(const struct ls_config *config, const char *name)
{
    for (size_t i = 0; i < config->n_entities; i++)
        if (strcmp(config->entities[i].name, name) == 0)
            return true;
    return false;
}

static int create(const struct ls_config *config, const char *const *new_logs, bool json)
{
    struct ls_err err = {0};
    for (size_t i = 0; new_logs && new_logs[i]; i++)
        if (!has_entity(config, new_logs[i])) {
            ls_cli_error("--new-log: %s has no entity '%s'", config->path, new_logs[i]);
            return LS_EXIT_USAGE;
        }
    json_t *steps = json ? json_array() : NULL;
    int rc = ls_topics_create(config, new_logs, on_made, steps, &err);
    if (json)
        ls_cli_print_json(json_pack("{s:b, s:o}", "ok", rc == 0, "steps", steps), JSON_INDENT(2));
    return rc < 0 ? failed(&err) : LS_EXIT_OK;
}

static void print_topic(const struct ls_topic_spec *spec, const struct ls_topic_info *info)
{
    if (info->exists)
        printf("%-32s  %-10s  %10d  %8d  %12" PRId64 "  %s\n", spec->name,
               ls_topic_role_name(spec->role), info->partitions, info->replicas, info->records,
               info->genesis[0]                    ? info->genesis
               : spec->role == LS_TOPIC_ROLE_STATE ? "none: lockstep topics create"
                                                   : "-");
    else
        printf("%-32s  %-10s  missing: lockstep topics create\n", spec->name,
               ls_topic_role_name(spec->role));
}

static json_t *topic_json(const struct ls_topic_spec *spec, const struct ls_topic_info *info)
{
    json_t *json = json_pack("{s:s, s:s, s:b}", "topic", spec->name, "role",
                             ls_topic_role_name(spec->role), "exists", (int)info->exists);
    if (!info->exists)
        return json;
    json_object_set_new(json, "partitions", json_integer(info->partitions));
    json_object_set_new(json, "replicas", json_integer(info->replicas));
    json_object_set_new(json, "offsets", json_integer(info->records));
    if (spec->role == LS_TOPIC_ROLE_STATE)
        json_object_set_new(json, "genesis",
                            info->genesis[0] ? json_string(info->genesis) : json_null());
    return json;
}

static int list(const struct ls_config *config, bool json)
{
    struct ls_topic_spec *specs = NULL;
    size_t n = 0;
    ls_topics_plan(config, &specs, &n);
    struct ls_topic_info *infos = ls_calloc(n, sizeof(*infos));
    struct ls_err err = {0};
    int rc = ls_topics_list(config, specs, n, infos, &err);
    bool missing = false;
    json_t *topics = json_array();
    if (rc == 0 && !json)
        printf("%-32s  %-10s  %10s  %8s  %12s  %s\n", "topic", "role", "partitions", "replicas",
               "offsets", "genesis");
    for (size_t i = 0; i < n && rc == 0; i++) {
        missing |= !infos[i].exists;
        if (json)
            json_array_append_new(topics, topic_json(&specs[i], &infos[i]));
        else
            print_topic(&specs[i], &infos[i]);
    }
    free(infos);
    free(specs);
    if (rc == 0 && json)
        ls_cli_print_json(json_pack("{s:O}", "topics", topics), JSON_INDENT(2));
    json_decref(topics);
    if (rc < 0)
        return failed(&err);
    return missing ? LS_EXIT_DIFFERENT : LS_EXIT_OK;
}

static void on_finding(void *opaque, const struct ls_topic_finding *finding)
{
    json_t *findings = opaque;
    if (findings)
        json_array_append_new(findings, json_pack("{s:s, s:b, s:s, s:s}", "topic", finding->topic,
                                                  "law", (int)finding->law, "what", finding->what,
                                                  "mend", finding->mend));
    else
        ls_cli_say("%-5s  %s %s", finding->law ? "WRONG" : "note", finding->topic, finding->what);
    ls_cli_say("       to mend: %s", finding->mend);
}

static int check(const struct ls_config *config, bool json)
{
    struct ls_err err = {0};
    size_t broken = 0;
    json_t *findings = json ? json_array() : NULL;
    if (ls_topics_check(config, on_finding, findings, &broken, &err) < 0) {
        json_decref(findings);
        return failed(&err);
    }
    if (json)
        ls_cli_print_json(json_pack("{s:b, s:o}", "ok", broken == 0, "findings", findings),
                          JSON_INDENT(2));
    else if (broken == 0)
        printf("ok: the topics keep the laws\n");
    else
        printf("%zu thing%s that would break a law\n", broken, broken == 1 ? "" : "s");
    return broken ? LS_EXIT_DIFFERENT : LS_EXIT_OK;
}

int ls_cmd_topics(int argc, char **argv)
{
    const struct argp_child children[] = {{&ls_config_argp, 0, NULL, 0}, {0}};
    const struct argp argp = {.options = options,
                              .parser = parse,
                              .args_doc = "create|list|check",
                              .doc = doc,
                              .children = children};
    struct arguments arguments = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    struct ls_config *config = ls_cli_config(arguments.config);
    if (config == NULL)
        return LS_EXIT_CONFIG;
    ls_cli_ask_kafka(config);
    int code;
    if (strcmp(arguments.action, "create") == 0)
        code = create(config, arguments.new_logs, arguments.json);
    else if (strcmp(arguments.action, "list") == 0)
        code = list(config, arguments.json);
    else
        code = check(config, arguments.json);
    free(arguments.new_logs);
    ls_config_free(config);
    return code;
}
