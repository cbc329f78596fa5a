/* `lockstep quarantine`: arguments; the work is in quarantine_*.c. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/quarantine_jobs.h"

enum {
    OPT_CLASS = 0x100,
    OPT_KEY,
    OPT_SINCE,
    OPT_UNTIL,
    OPT_PII,
    OPT_REASON,
    OPT_YES,
};

enum verb { VERB_LIST, VERB_SHOW, VERB_REQUEUE, VERB_DISCARD, VERBS };

static const char *const verbs[VERBS] = {"list", "show", "requeue", "discard"};

struct arguments {
    const char *config_path;
    struct ls_cli_choice choice;
    int verb; /* -1: none yet */
    struct ls_quarantine_job job;
};

static const struct argp_option options[] = {
    {NULL, 0, NULL, 0, "Which entries (all that are given must hold):", 1},
    {"class", OPT_CLASS, "CLASS", 0,
     "store, undecodable, newer-format, newer-schema, schema, null-value, bad-key or misrouted", 1},
    {"key", OPT_KEY, "KEY", 0, "Of the record with this key", 1},
    {"since", OPT_SINCE, "TIME", 0,
     "Quarantined at TIME (UTC) or later: 2026-03-01, '2026-03-01 08:30', or ago: 90s 15m 2h 7d",
     1},
    {"until", OPT_UNTIL, "TIME", 0, "Quarantined before TIME", 1},
    {"partition", 'p', "N", 0, "Of this partition of the log", 1},
    {"offset", 'o', "N", 0, "Of this offset of the log", 1},
    {NULL, 0, NULL, 0, "How:", 2},
    {"dry-run", 'n', NULL, 0, "requeue, discard: only say what would come of it", 2},
    {"reason", OPT_REASON, "TEXT", 0, "discard: why, for those who look later (required)", 2},
    {"yes", OPT_YES, NULL, 0, "discard: do not ask", 2},
    {"show-pii", OPT_PII, NULL, 0, "Show what the schema says is personal", 2},
    {0},
};

static const char doc[] =
    "Shows the records that a sink could not apply and why, applies them after all, or gives them "
    "up.\v"
    "list     a table of the open entries\n"
    "show     entries in full, with the record's fields\n"
    "requeue  writes them to the store once more, guarded; closes those that it took (applied) or "
    "has something newer of (stale), keeps the others with what it says now\n"
    "discard  closes them unapplied; who, when and why is written to lockstep.control\n\n"
    "list takes any number of sinks (all unless named), the others one. JSON is an object a line "
    "(list, show), or one with the counts. A position is PARTITION/OFFSET of the log, as list prints it. An entry is also closed by a "
    "worker when a later record of its key is applied. Personal fields, and what a store may quote "
    "of them, are masked unless --show-pii; the topic itself holds the raw records.\n\n"
    "Examples:\n"
    "  lockstep quarantine list --since 2h\n"
    "  lockstep quarantine show --sink mysql 3/1042\n"
    "  lockstep quarantine requeue --sink mysql --class store\n"
    "  lockstep quarantine discard --sink mysql 3/1042 --reason 'published anew'\n\n"
    "Exit codes: 0 done, 1 show: no such entry, requeue: some are still open, discard: not agreed "
    "to, 2 failed, 64 wrong arguments, 78 wrong configuration, 130 interrupted.";

static int64_t time_of(const char *name, const char *text, struct argp_state *state)
{
    int64_t ms = 0;
    if (!ls_quarantine_parse_time(text, ls_wall_us() / 1000, &ms))
        argp_error(state,
                   "--%s '%s': expected a time in UTC such as '2026-03-01 08:30', or how long ago: "
                   "15m, 2h, 7d",
                   name, text);
    return ms;
}

static void take_word(struct arguments *args, const char *word, struct argp_state *state)
{
    struct ls_quarantine_filter *filter = &args->job.filter;
    if (args->verb >= 0) {
        if (!ls_quarantine_parse_position(word, &filter->partition, &filter->offset))
            argp_error(state, "'%s': expected a position such as 3/1042", word);
        return;
    }
    for (int verb = 0; verb < VERBS; verb++)
        if (strcmp(word, verbs[verb]) == 0)
            args->verb = verb;
    if (args->verb < 0)
        argp_error(state, "'%s': expected list, show, requeue or discard", word);
}

static void check(struct arguments *args, struct argp_state *state)
{
    const struct ls_quarantine_job *job = &args->job;
    if (args->verb < 0)
        argp_error(state, "say what to do: list, show, requeue or discard");
    if (args->verb != VERB_LIST && args->choice.n_names != 1)
        argp_error(state, "%s: name one sink with --sink NAME", verbs[args->verb]);
    if (args->verb == VERB_SHOW && ls_quarantine_filter_is_empty(&job->filter))
        argp_error(state, "show: name a position such as 3/1042, or a filter such as --key KEY");
    if (args->verb == VERB_DISCARD && (job->reason == NULL || *job->reason == '\0'))
        argp_error(state, "discard: say why with --reason TEXT");
    if (args->verb != VERB_DISCARD && (job->reason != NULL || job->yes))
        argp_error(state, "--reason and --yes are for discard");
    if (args->verb < VERB_REQUEUE && job->dry_run)
        argp_error(state, "--dry-run is for requeue and discard");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *args = state->input;
    struct ls_quarantine_filter *filter = &args->job.filter;
    switch (key) {
    case ARGP_KEY_INIT:
        ls_cli_inputs(state, 3, &args->choice, &args->config_path);
        return 0;
    case OPT_CLASS:
        if (!ls_quarantine_is_class(arg))
            argp_error(state, "--class %s: no such class; see --help", arg);
        filter->class = arg;
        return 0;
    case OPT_KEY:
        if (*arg == '\0')
            argp_error(state, "--key: expected a key, found nothing; records without a key are of "
                              "--class bad-key");
        filter->key = arg;
        return 0;
    case OPT_SINCE:
        filter->since_ms = time_of("since", arg, state);
        return 0;
    case OPT_UNTIL:
        filter->until_ms = time_of("until", arg, state);
        return 0;
    case 'p':
        filter->partition = (int32_t)ls_cli_number("--partition", arg, 0, LS_SHARDS - 1, state);
        return 0;
    case 'o':
        filter->offset = ls_cli_number("--offset", arg, 0, ((int64_t)1 << 48) - 2, state);
        return 0;
    case 'n':
        args->job.dry_run = true;
        return 0;
    case OPT_REASON:
        args->job.reason = arg;
        return 0;
    case OPT_YES:
        args->job.yes = true;
        return 0;
    case OPT_PII:
        args->job.show_pii = true;
        return 0;
    case ARGP_KEY_ARG:
        take_word(args, arg, state);
        return 0;
    case ARGP_KEY_END:
        check(args, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int run(struct arguments *args, const struct ls_config *config)
{
    static int (*const jobs[VERBS])(const struct ls_quarantine_job *) = {
        ls_quarantine_list, ls_quarantine_show, ls_quarantine_requeue, ls_quarantine_discard};
    struct ls_quarantine_job *job = &args->job;
    job->config = config;
    job->json = args->choice.json;
    if (ls_cli_sinks(config, &args->choice, &job->sinks, &job->n_sinks) < 0)
        return LS_EXIT_USAGE;
    ls_cli_catch_signals();
    int code = jobs[args->verb](job);
    free(job->sinks);
    return code;
}

int ls_cmd_quarantine(int argc, char **argv)
{
    static const struct argp_child children[] = {{&ls_sink_argp, 0, NULL, 0},
                                                 {&ls_all_argp, 0, NULL, 0},
                                                 {&ls_json_argp, 0, NULL, 0},
                                                 {&ls_config_argp, 0, NULL, 0},
                                                 {0}};
    static const struct argp argp = {
        options, parse, "list|show|requeue|discard [POSITION]", doc, children, NULL, NULL};
    struct arguments args = {.verb = -1, .job.filter = {.partition = -1, .offset = -1}};
    argp_parse(&argp, argc, argv, 0, NULL, &args);
    struct ls_config *config = ls_cli_config(args.config_path);
    int code = config != NULL ? run(&args, config) : LS_EXIT_CONFIG;
    ls_config_free(config);
    ls_cli_choice_free(&args.choice);
    return code;
}
