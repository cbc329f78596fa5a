/*
 * `lockstep verify`: brings the ledger up to date, compares every chosen sink with it, and says
 * what is not equal. Reads only. The work is in consumers/verify*.c; here are arguments, the log's
 * side, progress and the exit code.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/progress.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "consumers/verify.h"
#include "pipeline/ends.h"
#include "pipeline/kafka.h"
#include "pipeline/quarantined.h"
#include "pipeline/topics.h"

enum { OPT_EXAMPLES = 0x100, OPT_PII, OPT_WAIT };

struct arguments {
    const char *config_path;
    struct ls_cli_choice choice;
    int64_t wait_ms;
    uint32_t examples;
    bool show_pii;
};

static const struct argp_option options[] = {
    {"examples", OPT_EXAMPLES, "N", 0, "Show at most N keys of each difference (default 3)", 0},
    {"wait", OPT_WAIT, "SECONDS", 0,
     "Wait at most this long for what a sink has not come to yet (default 10)", 0},
    {"show-pii", OPT_PII, NULL, 0, "Show keys though the schema says that they are personal", 0},
    {0},
};

static const char doc[] =
    "Compares what every store (or those of --sink) really holds with the log, in full.\v"
    "The model is the ledger, an index of the log under state_dir, which is brought up to date "
    "first. Each key is compared by version and by a hash recomputed from the store's own content. "
    "A difference is reported only when the sink had passed that record and both sides were read "
    "again, so it may run beside live traffic.\n\n"
    "Differences: lagging (on its way), quarantined, ahead (newer than the log), diverged (other "
    "content, or older though passed), missing, extra, resurrected (deleted in the log, there in "
    "the store), undecodable.\n\n"
    "Examples:\n"
    "  lockstep verify\n"
    "  lockstep verify --sink es-primary --examples 20\n"
    "  lockstep verify --json > report.json\n\n"
    "Exit codes: 0 all equal, 1 something differs, 2 could not tell (a store cannot be read, or a "
    "sink is still lagging after the wait).";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        ls_cli_inputs(state, 3, &args->choice, &args->config_path);
        return 0;
    case OPT_EXAMPLES:
        args->examples =
            (uint32_t)ls_cli_number("--examples", arg, 0, LS_VERIFY_EXAMPLES_MAX, state);
        return 0;
    case OPT_WAIT:
        args->wait_ms = ls_cli_number("--wait", arg, 0, 86400, state) * 1000;
        return 0;
    case OPT_PII:
        args->show_pii = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'; name a sink with --sink", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* One per sink: what stands outside of its store. */
struct side {
    const struct ls_config *config;
    const struct ls_sink_config *sink;
    struct ls_ledger *ledger; /* shared by the sinks of its entity */
    struct ls_quarantined quarantined;
    rd_kafka_t *client;     /* looks whether the quarantine grew; made when it is first asked */
    int64_t quarantine_end; /* sum of its partitions' ends as of the newest reading, or -1 */
};

static int update_ledger(void *opaque, struct ls_err *err)
{
    struct side *side = opaque;
    struct ls_ledger_progress quiet = {.stop = &ls_cli_stop};
    return ls_ledger_update(side->ledger, &quiet, err);
}

static int quarantine_end(struct side *side, int64_t *ret, struct ls_err *err)
{
    char topic[LS_TOPIC_NAME_MAX];
    int32_t partitions;
    ls_topic_quarantine(side->sink, topic);
    if (side->client == NULL)
        side->client = ls_kafka_client(side->config, RD_KAFKA_PRODUCER, "verify", NULL, NULL, err);
    if (side->client == NULL || ls_kafka_partitions(side->client, topic, &partitions, err) < 0)
        return -1;
    int64_t sum = 0;
    LS_CLEANUP_FREE int64_t *ends = ls_calloc((size_t)partitions + 1, sizeof(*ends));
    if (ls_kafka_ranges(side->client, topic, NULL, (size_t)partitions, LS_KAFKA_TIMEOUT_MS, NULL,
                        ends, err) < 0)
        return -1;
    for (int32_t p = 0; p < partitions; p++)
        sum += ends[p];
    *ret = sum;
    return 0;
}

static int ask_quarantine(void *opaque, const int32_t *partitions, const int64_t *offsets, size_t n,
                          bool *ret, struct ls_err *err)
{
    struct side *side = opaque;
    int64_t end;
    if (quarantine_end(side, &end, err) < 0)
        return -1;
    if (end != side->quarantine_end) {
        const struct ls_entity_config *entity = side->sink->entity;
        LS_CLEANUP_FREE struct ls_genesis *genesis =
            ls_calloc((size_t)entity->partitions, sizeof(*genesis));
        if (ls_kafka_genesis(side->config, entity, genesis, err) < 0 ||
            ls_quarantined_read(side->config, side->sink, genesis, &side->quarantined, err) < 0)
            return -1;
        side->quarantine_end = end;
    }
    for (size_t i = 0; i < n; i++) {
        ret[i] = ls_quarantined_has(&side->quarantined, partitions[i], offsets[i]);
        if (!ret[i] && side->quarantined.more)
            return ls_err_set(err, LS_ERR_FATAL, 0,
                              "its quarantine has more than %d entries, so what is missing cannot "
                              "be told from what is quarantined; look into it first",
                              LS_QUARANTINED_MAX);
    }
    return 0;
}

/* A line per sink on a terminal, redrawn in place. */
struct board {
    const struct ls_verify_job *jobs;
    size_t n;
    bool terminal;
    size_t drawn; /* lines on the screen */
    int64_t started_ms;
};

static void erase(struct board *board)
{
    if (board->drawn > 0)
        fprintf(stderr, "\033[%zuA\033[J", board->drawn);
    board->drawn = 0;
}

static void draw(void *opaque)
{
    enum { BAR = 24 };
    struct board *board = opaque;
    if (!board->terminal)
        return;
    erase(board);
    double seconds = (double)(ls_mono_ms() - board->started_ms) / 1e3;
    for (size_t i = 0; i < board->n; i++) {
        const struct ls_verify_report *report = &board->jobs[i].report;
        uint64_t done = __atomic_load_n(&report->done, __ATOMIC_RELAXED);
        uint64_t total = __atomic_load_n(&report->total, __ATOMIC_RELAXED);
        bool finished = __atomic_load_n(&report->finished, __ATOMIC_ACQUIRE);
        double part = total > 0 ? (double)done / (double)total : finished;
        char bar[BAR + 1], rate[32];
        for (int b = 0; b < BAR; b++)
            bar[b] = b < (int)(part * BAR) ? '#' : '.';
        bar[BAR] = '\0';
        fprintf(stderr, "%-16s [%s] %3.0f %%  %s\n", report->sink->name, bar,
                part > 1 ? 100 : part * 100,
                finished ? "done" : ls_human_rate((double)done / (seconds + 0.001), rate, 32));
    }
    board->drawn = board->n;
    fflush(stderr);
}

static void note_ledger(void *opaque, uint64_t done, uint64_t total)
{
    struct ls_progress *progress = opaque;
    progress->total = total;
    ls_progress_update(progress, done);
}

/* Opens the ledger of an entity and brings it to the end of the log, with a bar. */
static struct ls_ledger *open_ledger(const struct ls_config *config,
                                     const struct ls_entity_config *entity)
{
    struct ls_ledger *ledger = NULL;
    struct ls_err err = {0};
    struct ls_progress progress;
    LS_CLEANUP_FREE char *what = ls_asprintf("reading the log of %s", entity->name);
    ls_progress_start(&progress, what, 0, false);
    struct ls_ledger_progress each = {note_ledger, &progress, &ls_cli_stop};
    int rc = ls_ledger_open(config, entity, 0, &ledger, &err);
    if (rc == 0)
        rc = ls_ledger_update(ledger, &each, &err);
    ls_progress_end(&progress);
    if (rc < 0) {
        ls_cli_error("%s", err.text);
        ls_ledger_close(ledger);
        return NULL;
    }
    if (ls_ledger_rebuilt(ledger) != NULL)
        ls_cli_error("the ledger of %s was built again: %s", entity->name,
                     ls_ledger_rebuilt(ledger));
    return ledger;
}

/* The ledger of each sink's entity, opened once; 0 or the exit code. */
static int open_sides(const struct ls_config *config, const struct ls_sink_config **sinks, size_t n,
                      struct side *sides)
{
    for (size_t i = 0; i < n; i++) {
        sides[i] = (struct side){.config = config, .sink = sinks[i], .quarantine_end = -1};
        for (size_t j = 0; j < i && sides[i].ledger == NULL; j++)
            if (sinks[j]->entity == sinks[i]->entity)
                sides[i].ledger = sides[j].ledger;
        if (sides[i].ledger == NULL)
            sides[i].ledger = open_ledger(config, sinks[i]->entity);
        if (sides[i].ledger == NULL)
            return ls_cli_stop ? LS_EXIT_INTERRUPTED : LS_EXIT_FAILED;
    }
    return 0;
}

static void close_sides(struct side *sides, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool last = true;
        for (size_t j = i + 1; j < n; j++)
            last &= sides[j].ledger != sides[i].ledger;
        if (last)
            ls_ledger_close(sides[i].ledger);
        if (sides[i].client != NULL)
            rd_kafka_destroy(sides[i].client);
        ls_quarantined_free(&sides[i].quarantined);
    }
}

/* Records of the log that are none: no store can be missing them. */
static void note_poison(const struct side *sides, size_t n, struct ls_buf *buf)
{
    for (size_t i = 0; i < n; i++) {
        struct ls_ledger_counts counts;
        bool first = true;
        for (size_t j = 0; j < i; j++)
            first &= sides[j].ledger != sides[i].ledger;
        if (!first || ls_ledger_count(sides[i].ledger, &counts, NULL) < 0 || counts.poison == 0)
            continue;
        ls_buf_printf(buf,
                      "The log of %s also has %llu records that are poison by themselves; "
                      "every sink quarantines them, no store shall hold them.\n",
                      sides[i].sink->entity->name, (unsigned long long)counts.poison);
    }
}

static int report(const struct ls_verify_job *jobs, const struct side *sides, size_t n,
                  const struct arguments *args)
{
    const struct ls_verify_report **reports = ls_calloc(n, sizeof(*reports));
    struct ls_verify_format format = {.show_pii = args->show_pii};
    struct ls_buf buf = {0};
    int code = LS_EXIT_OK;
    for (size_t i = 0; i < n; i++) {
        reports[i] = &jobs[i].report;
        if (ls_verify_different(reports[i]))
            code = LS_EXIT_DIFFERENT;
        else if (!ls_verify_equal(reports[i]) && code == LS_EXIT_OK)
            code = LS_EXIT_FAILED;
    }
    if (args->choice.json) {
        ls_verify_json(reports, n, &format, &buf);
    } else {
        ls_verify_table(reports, n, &format, &buf);
        note_poison(sides, n, &buf);
    }
    fwrite(buf.data, 1, buf.len, stdout);
    ls_buf_free(&buf);
    free(reports);
    if (fflush(stdout) != 0) {
        ls_cli_error("cannot write the report: %s", strerror(errno));
        return LS_EXIT_FAILED;
    }
    return ls_cli_stop ? LS_EXIT_INTERRUPTED : code;
}

static int compare(const struct ls_config *config, const struct ls_sink_config **sinks, size_t n,
                   const struct arguments *args)
{
    LS_CLEANUP_FREE struct side *sides = ls_calloc(n, sizeof(*sides));
    LS_CLEANUP_FREE struct ls_verify_job *jobs = ls_calloc(n, sizeof(*jobs));
    int code = open_sides(config, sinks, n, sides);
    if (code == 0) {
        for (size_t i = 0; i < n; i++) {
            jobs[i].model = (struct ls_verify_model){
                .ledger = sides[i].ledger,
                .update = update_ledger,
                .quarantined = ask_quarantine,
                .opaque = &sides[i],
                .wait_ms = args->wait_ms,
                .examples = args->examples,
                .stop = &ls_cli_stop,
            };
            jobs[i].ops = ls_store_ops_for(sinks[i]->kind);
            jobs[i].report.sink = sinks[i];
        }
        struct board board = {
            .jobs = jobs, .n = n, .terminal = isatty(STDERR_FILENO), .started_ms = ls_mono_ms()};
        ls_verify_run(jobs, n, draw, &board);
        erase(&board);
        code = report(jobs, sides, n, args);
    }
    for (size_t i = 0; i < n; i++)
        ls_verify_report_free(&jobs[i].report);
    close_sides(sides, n);
    return code;
}

int ls_cmd_verify(int argc, char **argv)
{
    static const struct argp_child children[] = {{&ls_sink_argp, 0, NULL, 0},
                                                 {&ls_all_argp, 0, NULL, 0},
                                                 {&ls_json_argp, 0, NULL, 0},
                                                 {&ls_config_argp, 0, NULL, 0},
                                                 {0}};
    static const struct argp argp = {options, parse, NULL, doc, children, NULL, NULL};
    struct arguments args = {.wait_ms = 10 * 1000, .examples = 3};
    argp_parse(&argp, argc, argv, 0, NULL, &args);
    struct ls_config *config = ls_cli_config(args.config_path);
    int code = LS_EXIT_CONFIG;
    if (config != NULL) {
        const struct ls_sink_config **sinks = NULL;
        size_t n = 0;
        ls_cli_catch_signals();
        code = LS_EXIT_USAGE;
        if (ls_cli_sinks(config, &args.choice, &sinks, &n) == 0) {
            ls_cli_ask_kafka(config);
            code = compare(config, sinks, n, &args);
        }
        free(sinks);
    }
    ls_config_free(config);
    ls_cli_choice_free(&args.choice);
    return code;
}
