/* `lockstep config`: reads the configuration and says what it found, or prints its document. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

struct arguments {
    const char *config;
    const char *action;
};

static const char doc[] =
    "Reads the configuration, its schemas and its secrets, and says what it found; or prints the "
    "document of all options. Asks no server anything."
    "\v"
    "  check      every mistake names file, line and what was expected\n"
    "  document   docs/CONFIGURATION.md, on stdout\n\n"
    "Examples:\n"
    "  lockstep config check --config lockstep.yaml\n"
    "  lockstep config document | less\n\n"
    "Exit codes: 0 all is well, 78 the configuration is wrong, 64 wrong arguments.";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &arguments->config;
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->action)
            argp_error(state, "one action at a time: check or document");
        if (strcmp(arg, "check") != 0 && strcmp(arg, "document") != 0)
            argp_error(state, "there is no action '%s'; check or document", arg);
        arguments->action = arg;
        return 0;
    case ARGP_KEY_END:
        if (arguments->action == NULL)
            argp_error(state, "name an action: check or document");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_sink(const struct ls_sink_config *sink)
{
    struct ls_buf buf = {0};
    switch (sink->kind) {
    case LS_SINK_MYSQL:
        for (size_t i = 0; i < sink->n_servers; i++)
            ls_buf_printf(&buf, "%s%s:%u partitions %d-%d", i ? "; " : "", sink->servers[i].host,
                          sink->servers[i].port, sink->servers[i].partition_first,
                          sink->servers[i].partition_last);
        break;
    case LS_SINK_REDIS:
        for (size_t i = 0; i < sink->n_nodes; i++)
            ls_buf_printf(&buf, "%s%s:%u", i ? ", " : "", sink->nodes[i].host, sink->nodes[i].port);
        break;
    case LS_SINK_ES:
        for (size_t i = 0; i < sink->n_urls; i++)
            ls_buf_printf(&buf, "%s%s", i ? ", " : "", sink->urls[i]);
        ls_buf_printf(&buf, " index %s, alias %s", sink->index, sink->alias);
        break;
    }
    ls_cli_say("sink %s: %s of %s, %s%s", sink->name, ls_sink_kind_name(sink->kind),
               sink->entity->name, ls_buf_cstr(&buf), sink->tls.on ? ", TLS" : "");
    ls_buf_free(&buf);
}

static int check(const char *path)
{
    struct ls_config *config = ls_cli_config(path);
    if (config == NULL)
        return LS_EXIT_CONFIG;
    ls_cli_say("%s: brokers %s, %zu librdkafka properties, state in %s", config->path,
               config->brokers, config->n_properties, config->state_dir);
    for (size_t i = 0; i < config->n_entities; i++) {
        const struct ls_entity_config *entity = &config->entities[i];
        ls_cli_say("entity %s: generation %" PRIu32 ", %d partitions, %d replicas, schema version "
                   "%" PRIu32 " with %zu fields (%s)",
                   entity->name, entity->generation, entity->partitions, entity->replication,
                   entity->schema->version, entity->schema->n_fields + 1, entity->schema->path);
    }
    for (size_t i = 0; i < config->n_sinks; i++)
        print_sink(&config->sinks[i]);
    for (size_t i = 0; i < config->n_warnings; i++)
        ls_cli_error("warning: %s", config->warnings[i]);
    ls_config_free(config);
    return LS_EXIT_OK;
}

int ls_cmd_config(int argc, char **argv)
{
    const struct argp_child children[] = {{&ls_config_argp, 0, NULL, 0}, {0}};
    const struct argp argp = {
        .parser = parse, .args_doc = "check|document", .doc = doc, .children = children};
    struct arguments arguments = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    if (strcmp(arguments.action, "check") == 0)
        return check(arguments.config);
    struct ls_buf buf = {0};
    ls_config_document(&buf);
    fwrite(buf.data, 1, buf.len, stdout);
    ls_buf_free(&buf);
    return LS_EXIT_OK;
}
