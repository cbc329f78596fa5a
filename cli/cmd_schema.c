/* `lockstep schema`: checks, shows, applies and compares the schemas of entities. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/schema_jobs.h"
#include "cli/schema_show.h"
#include "pipeline/schema_release.h"
#include "schema/es_mapping.h"

enum { KEY_AGAINST = 256, KEY_MYSQL, KEY_ES, KEY_ES_NODE, KEY_REDIS, LINES_SHOWN = 8 };

struct arguments {
    const char *config;
    const char *action;
    const char *file; /* of check and show, instead of the configuration's */
    const char *against;
    struct ls_cli_choice choice; /* apply, diff: which stores */
    uint32_t cores;
    bool mysql, es, redis, verbose;
};

static const char doc[] =
    "Checks, shows, applies and compares the schemas of the configuration's entities."
    "\v"
    "  check [FILE]  whether the configuration's schema files are right, and may\n"
    "                follow the released ones; a FILE is compared with the one that\n"
    "                --against names, or with none\n"
    "  show [FILE]   the fields, or what a kind of store makes of them\n"
    "  apply         create what is missing in each store, then, when all stores of\n"
    "                the configuration have it (no --sink), release the schema;\n"
    "                never alters or drops\n"
    "  diff          what differs between each store and the schema\n\n"
    "Examples:\n"
    "  lockstep schema apply\n"
    "  lockstep schema diff --sink es-primary --sink es-backup\n"
    "  lockstep schema show member.yaml --mysql\n"
    "  lockstep schema check member.yaml --against member-released.yaml\n"
    "  lockstep schema show --es-node 16 >> elasticsearch.yml\n\n"
    "Exit codes: 0 done, 1 diff found something, 2 a store or Kafka could not be asked, 64 wrong "
    "arguments, 78 wrong configuration or schema, or one that may not follow the released one.";

static const struct argp_option options[] = {
    {"against", KEY_AGAINST, "FILE", 0, "check: compare with this schema file", 0},
    {"mysql", KEY_MYSQL, NULL, 0, "show: MySQL tables", 0},
    {"es", KEY_ES, NULL, 0, "show: Elasticsearch index and alias filter", 0},
    {"es-node", KEY_ES_NODE, "CORES", 0, "show: elasticsearch.yml lines for a node of CORES", 0},
    {"redis", KEY_REDIS, NULL, 0, "show: Redis keys and values", 0},
    {"verbose", 'v', NULL, 0, "apply, diff: every line, however many", 0},
    {0},
};

static void parse_operand(struct arguments *arguments, char *arg, struct argp_state *state)
{
    if (arguments->action == NULL) {
        static const char *const actions[] = {"check", "show", "apply", "diff"};
        for (size_t i = 0; i < LS_COUNT(actions); i++)
            if (strcmp(arg, actions[i]) == 0)
                arguments->action = arg;
        if (arguments->action == NULL)
            argp_error(state, "there is no action '%s'; check, show, apply or diff", arg);
    } else if (arguments->file || arguments->action[0] == 'a' || arguments->action[0] == 'd') {
        argp_error(state, "one argument too many: '%s'", arg);
    } else {
        arguments->file = arg;
    }
}

/* An option of another action is not ignored: `apply --mysql` would apply to all stores. */
static void check_options(const struct arguments *arguments, struct argp_state *state)
{
    char action = arguments->action ? arguments->action[0] : '\0';
    bool stores = action == 'a' || action == 'd';
    if (!stores && (arguments->choice.n_names > 0 || arguments->choice.all || arguments->verbose))
        argp_error(state, "--sink, --all and --verbose are for apply and diff");
    if (action != 's' &&
        (arguments->mysql || arguments->es || arguments->redis || arguments->cores > 0))
        argp_error(state, "--mysql, --es, --redis and --es-node are for show; stores are chosen "
                          "with --sink NAME");
    if (action != 'c' && arguments->against)
        argp_error(state, "--against is for check");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        ls_cli_inputs(state, 3, &arguments->choice, &arguments->config);
        return 0;
    case KEY_AGAINST:
        arguments->against = arg;
        return 0;
    case KEY_MYSQL:
        arguments->mysql = true;
        return 0;
    case KEY_ES:
        arguments->es = true;
        return 0;
    case KEY_REDIS:
        arguments->redis = true;
        return 0;
    case KEY_ES_NODE:
        arguments->cores = (uint32_t)ls_cli_number("--es-node", arg, 1, 1024, state);
        return 0;
    case 'v':
        arguments->verbose = true;
        return 0;
    case ARGP_KEY_ARG:
        parse_operand(arguments, arg, state);
        return 0;
    case ARGP_KEY_END:
        if (arguments->action == NULL)
            argp_error(state, "name an action: check, show, apply or diff");
        check_options(arguments, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static struct ls_schema *read_file(const char *path)
{
    struct ls_schema *schema = NULL;
    struct ls_err err = {0};
    if (ls_schema_read(path, &schema, &err) < 0)
        ls_cli_error("%s", err.text);
    return schema;
}

/* One schema against another file, against the released one, or (config NULL) by itself. */
static int check_one(const struct arguments *arguments, const struct ls_config *config,
                     const struct ls_schema *schema, json_t *results)
{
    struct ls_err err = {0};
    uint32_t released = 0;
    int code = LS_EXIT_OK;
    char text[sizeof(err.text) + 80];
    snprintf(text, sizeof(text), "is right");
    if (arguments->against) {
        struct ls_schema *previous = read_file(arguments->against);
        if (previous == NULL)
            return LS_EXIT_CONFIG;
        if (ls_schema_compatible(previous, schema, &err) < 0)
            code = LS_EXIT_CONFIG;
        else
            snprintf(text, sizeof(text), "may follow %s", arguments->against);
        ls_schema_free(previous);
    } else if (config && ls_schema_check_released(config, schema, &released, &err) < 0) {
        if (err.code == LS_SCHEMA_INCOMPATIBLE)
            code = LS_EXIT_CONFIG;
        else
            snprintf(text, sizeof(text), "is right; not compared with the released one: %s",
                     err.text);
    } else if (config && released > 0) {
        snprintf(text, sizeof(text),
                 released == schema->version ? "is released"
                                             : "may follow released version %" PRIu32,
                 released);
    } else if (config) {
        snprintf(text, sizeof(text), "is right; none is released");
    } else {
        snprintf(text, sizeof(text), "is right; compared with no other (--against, or no FILE)");
    }
    if (code != LS_EXIT_OK)
        ls_cli_error("%s", err.text);
    if (arguments->choice.json)
        json_array_append_new(results,
                              json_pack("{s:s, s:s, s:i, s:b, s:s}", "entity", schema->entity,
                                        "file", schema->path, "version", (int)schema->version, "ok",
                                        (int)(code == LS_EXIT_OK), "text",
                                        code == LS_EXIT_OK ? text : err.text));
    else if (code == LS_EXIT_OK)
        ls_cli_say("%s: %s version %" PRIu32 " %s", schema->path, schema->entity, schema->version,
                   text);
    return code;
}

/* How many data nodes and replicas the entity's first Elasticsearch sink has. */
static void es_shape(const struct ls_config *config, const struct ls_schema *schema,
                     uint32_t *ret_nodes, uint32_t *ret_replicas)
{
    *ret_nodes = 1;
    *ret_replicas = 0;
    for (size_t i = 0; config && i < config->n_sinks; i++) {
        const struct ls_sink_config *sink = &config->sinks[i];
        if (sink->kind != LS_SINK_ES || sink->entity->schema != schema)
            continue;
        *ret_nodes = sink->data_nodes;
        *ret_replicas = sink->replicas;
        return;
    }
}

static void show_one(const struct arguments *arguments, const struct ls_config *config,
                     const struct ls_schema *schema)
{
    if (arguments->mysql)
        ls_schema_show_mysql(schema);
    if (arguments->es) {
        uint32_t nodes, replicas;
        es_shape(config, schema, &nodes, &replicas);
        ls_schema_show_es(schema, nodes, replicas);
    }
    if (arguments->redis)
        ls_schema_show_redis(schema);
    if (arguments->choice.json)
        ls_schema_show_json(schema);
    else if (!arguments->mysql && !arguments->es && !arguments->redis)
        ls_schema_show_fields(schema);
}

/* check and show: the given file, or all of the configuration. */
static int check_or_show(const struct arguments *arguments)
{
    bool check = arguments->action[0] == 'c';
    json_t *results = json_array();
    int code = LS_EXIT_OK;
    if (arguments->file) {
        struct ls_schema *schema = read_file(arguments->file);
        if (schema == NULL)
            code = LS_EXIT_CONFIG;
        else if (check)
            code = check_one(arguments, NULL, schema, results);
        else
            show_one(arguments, NULL, schema);
        ls_schema_free(schema);
    } else {
        struct ls_config *config = ls_cli_config(arguments->config);
        if (config == NULL)
            code = LS_EXIT_CONFIG;
        else if (check)
            ls_cli_ask_kafka(config);
        for (size_t i = 0; config && i < config->n_entities; i++) {
            const struct ls_schema *schema = config->entities[i].schema;
            int one = LS_EXIT_OK;
            if (check)
                one = check_one(arguments, config, schema, results);
            else
                show_one(arguments, config, schema);
            code = one != LS_EXIT_OK ? one : code;
        }
        ls_config_free(config);
    }
    if (check && arguments->choice.json)
        ls_cli_print_json(json_pack("{s:b, s:O}", "ok", code == LS_EXIT_OK, "schemas", results),
                          JSON_INDENT(2));
    json_decref(results);
    return code;
}

static json_t *job_json(const struct ls_schema_job *job)
{
    json_t *lines = json_array();
    for (size_t i = 0; i < job->n_lines; i++)
        json_array_append_new(lines, json_string(job->lines[i]));
    json_t *json = json_pack("{s:s, s:b, s:f, s:o}", "sink", job->sink->name, "ok",
                             (int)(job->rc == 0), "seconds", job->seconds,
                             job->work == LS_SCHEMA_APPLY ? "made" : "differences", lines);
    if (job->rc < 0)
        json_object_set_new(json, "error", json_string(job->err.text));
    return json;
}

static void print_job(const struct ls_schema_job *job, bool verbose)
{
    size_t shown = verbose || job->n_lines <= LINES_SHOWN ? job->n_lines : LINES_SHOWN - 1;
    for (size_t i = 0; i < shown; i++)
        ls_cli_say("%-16s  %s", job->sink->name, job->lines[i]);
    if (shown < job->n_lines)
        printf("%-16s  ... and %zu more (--verbose shows them)\n", job->sink->name,
               job->n_lines - shown);
    if (job->rc == 0 && job->n_lines == 0)
        printf("%-16s  %s\n", job->sink->name,
               job->work == LS_SCHEMA_APPLY ? "nothing was missing" : "nothing differs");
}

/* Whether any of the chosen sinks is of the entity. */
static size_t count_chosen(const struct ls_entity_config *entity,
                           const struct ls_sink_config *const *sinks, size_t n)
{
    size_t chosen = 0;
    for (size_t i = 0; i < n; i++)
        chosen += sinks[i]->entity == entity;
    return chosen;
}

/* Refuses an incompatible schema before any store is touched. */
static int check_entities(const struct ls_config *config, const struct ls_sink_config *const *sinks,
                          size_t n)
{
    for (size_t i = 0; i < config->n_entities; i++) {
        uint32_t released = 0;
        struct ls_err err = {0};
        if (count_chosen(&config->entities[i], sinks, n) == 0 ||
            ls_schema_check_released(config, config->entities[i].schema, &released, &err) == 0)
            continue;
        ls_cli_error("%s", err.text);
        return err.code == LS_SCHEMA_INCOMPATIBLE ? LS_EXIT_CONFIG : LS_EXIT_FAILED;
    }
    return LS_EXIT_OK;
}

static size_t count_sinks(const struct ls_config *config, const struct ls_entity_config *entity)
{
    size_t n = 0;
    for (size_t i = 0; i < config->n_sinks; i++)
        n += config->sinks[i].entity == entity;
    return n;
}

/*
 * A schema is released when every store of the configuration has it, not only those of --sink: says
 * what is so, and what releases it. 0, or the exit code where Kafka could not tell.
 */
static int say_unreleased(const struct ls_config *config, const struct ls_schema *schema,
                          size_t chosen, size_t n)
{
    uint32_t released = 0;
    struct ls_err err = {0};
    if (ls_schema_check_released(config, schema, &released, &err) < 0) {
        ls_cli_error("%s", err.text);
        return err.code == LS_SCHEMA_INCOMPATIBLE ? LS_EXIT_CONFIG : LS_EXIT_FAILED;
    }
    if (released >= schema->version)
        ls_cli_error("%s: schema version %" PRIu32 " was released already", schema->entity,
                     schema->version);
    else
        ls_cli_error(
            "%s: schema version %" PRIu32 " was applied to %zu of %zu stores, so it is "
            "not released yet: records of it would halt the sinks of the others. `lockstep "
            "schema apply` without --sink applies it to those too and releases it",
            schema->entity, schema->version, chosen, n);
    return LS_EXIT_OK;
}

static int release_entities(const struct ls_config *config,
                            const struct ls_sink_config *const *sinks, size_t n, json_t *released)
{
    for (size_t i = 0; i < config->n_entities; i++) {
        const struct ls_schema *schema = config->entities[i].schema;
        size_t chosen = count_chosen(&config->entities[i], sinks, n);
        if (chosen == 0)
            continue;
        size_t n_sinks = count_sinks(config, &config->entities[i]);
        if (chosen < n_sinks) {
            int code = say_unreleased(config, schema, chosen, n_sinks);
            if (code != LS_EXIT_OK)
                return code;
            continue;
        }
        bool fresh = false;
        struct ls_err err = {0};
        if (ls_schema_release(config, schema, &fresh, &err) < 0) {
            ls_cli_error("%s", err.text);
            return err.code == LS_SCHEMA_INCOMPATIBLE ? LS_EXIT_CONFIG : LS_EXIT_FAILED;
        }
        if (released)
            json_object_set_new(released, schema->entity, json_integer(schema->version));
        else
            printf("%-16s  schema version %" PRIu32 " %s\n", schema->entity, schema->version,
                   fresh ? "released" : "was released already");
    }
    return LS_EXIT_OK;
}

static int apply_or_diff(const struct arguments *arguments, const struct ls_config *config,
                         const struct ls_sink_config *const *sinks, size_t n)
{
    enum ls_schema_work work = arguments->action[0] == 'a' ? LS_SCHEMA_APPLY : LS_SCHEMA_DIFF;
    int code = work == LS_SCHEMA_APPLY ? check_entities(config, sinks, n) : LS_EXIT_OK;
    if (code != LS_EXIT_OK)
        return code;
    struct ls_schema_job *jobs = ls_schema_jobs_run(config, sinks, n, work, true);
    json_t *results = json_array();
    for (size_t i = 0; i < n; i++) {
        if (arguments->choice.json)
            json_array_append_new(results, job_json(&jobs[i]));
        else
            print_job(&jobs[i], arguments->verbose);
        if (jobs[i].rc < 0)
            code = LS_EXIT_FAILED;
        else if (jobs[i].differences > 0 && code == LS_EXIT_OK)
            code = LS_EXIT_DIFFERENT;
    }
    ls_schema_jobs_free(jobs, n);
    json_t *released = arguments->choice.json ? json_object() : NULL;
    if (work == LS_SCHEMA_APPLY && code == LS_EXIT_OK)
        code = release_entities(config, sinks, n, released);
    else if (work == LS_SCHEMA_APPLY)
        ls_cli_error("the schema is not released, as not all stores have it; mend the cause and "
                     "repeat the command");
    if (arguments->choice.json)
        ls_cli_print_json(json_pack("{s:b, s:O, s:O}", "ok", code == LS_EXIT_OK, "sinks", results,
                                    "released", released),
                          JSON_INDENT(2));
    json_decref(results);
    json_decref(released);
    return code;
}

int ls_cmd_schema(int argc, char **argv)
{
    const struct argp_child children[] = {{&ls_sink_argp, 0, NULL, 0},
                                          {&ls_all_argp, 0, NULL, 0},
                                          {&ls_json_argp, 0, NULL, 0},
                                          {&ls_config_argp, 0, NULL, 0},
                                          {0}};
    const struct argp argp = {.options = options,
                              .parser = parse,
                              .args_doc = "check|show [FILE]\napply|diff",
                              .doc = doc,
                              .children = children};
    struct arguments arguments = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    if (arguments.cores > 0) {
        LS_CLEANUP_FREE char *text = ls_es_node_file(arguments.cores);
        fputs(text, stdout);
        return LS_EXIT_OK;
    }
    if (arguments.action[0] == 'c' || arguments.action[0] == 's')
        return check_or_show(&arguments);
    struct ls_config *config = ls_cli_config(arguments.config);
    if (config == NULL)
        return LS_EXIT_CONFIG;
    const struct ls_sink_config **sinks = NULL;
    size_t n = 0;
    int code = LS_EXIT_USAGE;
    if (ls_cli_sinks(config, &arguments.choice, &sinks, &n) == 0) {
        if (arguments.action[0] == 'a')
            ls_cli_ask_kafka(config);
        code = apply_or_diff(&arguments, config, sinks, n);
    }
    free(sinks);
    ls_cli_choice_free(&arguments.choice);
    ls_config_free(config);
    return code;
}
