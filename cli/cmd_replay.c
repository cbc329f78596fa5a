/*
 * lockstep replay and lockstep resync: the log again, into stores. They share everything but what
 * they do to a store that has data and no mark: replay refuses it, resync makes it a sink's store.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/progress.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "consumers/replay.h"

struct replay_options {
    const char *config_path;
    struct ls_cli_choice choice;
    bool resync;
    int32_t *partitions;
    size_t n_partitions;
};

static const struct argp_option replay_option_table[] = {
    {"partition", 'p', "N", 0, "Only this partition (may be given several times)", 0},
    {0},
};

static void add_partition(struct replay_options *options, const char *arg, struct argp_state *state)
{
    int64_t number = ls_cli_number("--partition", arg, 0, LS_SHARDS - 1, state);
    options->partitions =
        ls_realloc(options->partitions, (options->n_partitions + 1) * sizeof(int32_t));
    options->partitions[options->n_partitions++] = (int32_t)number;
}

static error_t parse_replay(int key, char *arg, struct argp_state *state)
{
    struct replay_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        ls_cli_inputs(state, options->resync ? 2 : 3, &options->choice, &options->config_path);
        return 0;
    case 'p':
        add_partition(options, arg, state);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'", arg);
        return 0;
    case ARGP_KEY_END:
        if (options->resync && options->choice.n_names == 0)
            argp_error(state, "name each store that is to be filled, with --sink NAME");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

#define EXIT_CODES                                                                              \
    "Exit codes: 0 done (poison is counted and quarantined), 2 failed for some sink, 64 wrong " \
    "arguments, 78 wrong configuration, 130 interrupted."

static const struct argp_child replay_children[] = {{&ls_sink_argp, 0, NULL, 0},
                                                    {&ls_all_argp, 0, NULL, 0},
                                                    {&ls_json_argp, 0, NULL, 0},
                                                    {&ls_config_argp, 0, NULL, 0},
                                                    {0}};
static const struct argp replay_argp = {
    replay_option_table,
    parse_replay,
    NULL,
    "Reads the log from its start to its end as of now into stores again, beside live workers. What "
    "a store has already is left alone (stale), what it lacks is mended (applied).\v"
    "Ctrl-C stops it; running it again is always safe.\n\n"
    "Examples:\n"
    "  lockstep replay --all                         everything into every store\n"
    "  lockstep replay --sink redis-b --partition 3  one partition into one store\n\n" EXIT_CODES,
    replay_children,
    NULL,
    NULL,
};
static const struct argp_child resync_children[] = {
    {&ls_sink_argp, 0, NULL, 0}, {&ls_json_argp, 0, NULL, 0}, {&ls_config_argp, 0, NULL, 0}, {0}};
static const struct argp resync_argp = {
    NULL,
    parse_replay,
    NULL,
    "Reads the whole log into a store, writes what it has at the same version again, and gives it "
    "marks where it has none, so that `lockstep run` goes on from there: for a store that halted with "
    "data and no mark, or whose content `lockstep verify` found diverged.\v"
    "Nothing newer is overwritten, and it may run beside live workers. Afterwards `lockstep verify` says whether the store holds "
    "anything that the log does not know.\n\n"
    "Example:\n"
    "  lockstep resync --sink es-backup\n\n" EXIT_CODES,
    resync_children,
    NULL,
    NULL,
};

static const char *outcome(const struct ls_replay_sink *sink)
{
    if (sink->err.class != LS_ERR_NONE)
        return "failed";
    return sink->interrupted ? "interrupted" : "done";
}

static void print_table(const struct ls_replay_sink *sinks, size_t n)
{
    static const enum ls_verdict shown[] = {LS_APPLIED, LS_STALE, LS_SUPERSEDED, LS_POISON};
    printf("%-14s %-12s %11s %11s %11s %11s %7s %10s\n", "SINK", "OUTCOME", "RECORDS", "APPLIED",
           "STALE", "SUPERSEDED", "POISON", "RATE");
    for (size_t i = 0; i < n; i++) {
        const struct ls_instance_totals *totals = &sinks[i].totals;
        char rate[32], count[32];
        double seconds = sinks[i].seconds > 0 ? sinks[i].seconds : 1;
        ls_human_rate((double)totals->consumed / seconds, rate, sizeof(rate));
        printf("%-14s %-12s %11s", sinks[i].sink->name, outcome(&sinks[i]),
               ls_human_count(totals->consumed, count, sizeof(count)));
        for (size_t v = 0; v < LS_COUNT(shown); v++)
            printf(" %*s", shown[v] == LS_POISON ? 7 : 11,
                   ls_human_count(totals->counts[shown[v]], count, sizeof(count)));
        printf(" %10s\n", rate);
    }
}

static void print_json(const struct ls_replay_sink *sinks, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        const struct ls_instance_totals *totals = &sinks[i].totals;
        json_t *item = json_object();
        json_object_set_new(item, "sink", json_string(sinks[i].sink->name));
        json_object_set_new(item, "outcome", json_string(outcome(&sinks[i])));
        json_object_set_new(item, "records", json_integer((json_int_t)totals->consumed));
        for (enum ls_verdict v = LS_APPLIED; v <= LS_POISON; v++)
            json_object_set_new(item, ls_verdict_name(v),
                                json_integer((json_int_t)totals->counts[v]));
        json_object_set_new(item, "seconds", json_real(sinks[i].seconds));
        if (sinks[i].err.class != LS_ERR_NONE)
            json_object_set_new(item, "error", json_string(sinks[i].err.text));
        json_array_append_new(list, item);
    }
    ls_cli_print_json(json_pack("{so}", "sinks", list), JSON_INDENT(2));
}

static int replay_sinks(const struct ls_config *config, const struct replay_options *options,
                        struct ls_replay_sink *sinks, size_t n)
{
    struct ls_err err = {0};
    struct ls_range *ranges;
    if (ls_replay_ranges(config, sinks[0].sink->entity, options->partitions, options->n_partitions,
                         &ranges, &err) < 0) {
        ls_cli_error("%s", err.text);
        return LS_EXIT_FAILED;
    }
    ls_cli_catch_signals();
    size_t failed = ls_replay_run(config, sinks, n, ranges, options->resync, &ls_cli_stop);
    for (size_t i = 0; i < n; i++) {
        struct ls_replay_sink *sink = &sinks[i];
        if (options->resync && sink->err.class == LS_ERR_NONE && !sink->interrupted &&
            ls_replay_adopt(config, sink, ranges) < 0)
            failed++;
        if (sink->err.class != LS_ERR_NONE)
            ls_cli_error("%s: %s", sink->sink->name, sink->err.text);
    }
    free(ranges);
    if (options->choice.json)
        print_json(sinks, n);
    else
        print_table(sinks, n);
    if (ls_cli_stop) {
        ls_cli_error("interrupted; it is safe to run the same command again, from the beginning");
        return LS_EXIT_INTERRUPTED;
    }
    return failed ? LS_EXIT_FAILED : LS_EXIT_OK;
}

static bool partitions_exist(const struct replay_options *options,
                             const struct ls_entity_config *entity)
{
    for (size_t i = 0; i < options->n_partitions; i++) {
        if (options->partitions[i] < entity->partitions)
            continue;
        ls_cli_error("--partition %d: %s has partitions 0 to %d", options->partitions[i],
                     entity->name, entity->partitions - 1);
        return false;
    }
    return true;
}

static int run_command(int argc, char **argv, bool resync)
{
    struct replay_options options = {.resync = resync, .choice.required = !resync};
    argp_parse(resync ? &resync_argp : &replay_argp, argc, argv, 0, NULL, &options);
    struct ls_config *config = ls_cli_config(options.config_path);
    if (config == NULL)
        return LS_EXIT_CONFIG;
    const struct ls_sink_config **chosen;
    size_t n;
    int code = LS_EXIT_USAGE;
    if (ls_cli_sinks(config, &options.choice, &chosen, &n) == 0) {
        struct ls_replay_sink *sinks = ls_calloc(n, sizeof(*sinks));
        for (size_t i = 0; i < n; i++)
            sinks[i].sink = chosen[i];
        if (partitions_exist(&options, sinks[0].sink->entity)) {
            ls_cli_ask_kafka(config);
            code = replay_sinks(config, &options, sinks, n);
        }
        ls_replay_free(sinks, n);
        free(chosen);
    }
    ls_cli_choice_free(&options.choice);
    free(options.partitions);
    ls_config_free(config);
    return code;
}

int ls_cmd_replay(int argc, char **argv)
{
    return run_command(argc, argv, false);
}

int ls_cmd_resync(int argc, char **argv)
{
    return run_command(argc, argv, true);
}
