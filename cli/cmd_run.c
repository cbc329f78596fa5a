/* lockstep run: sink instances, a thread each, until a signal; and a listener beside them. */
#include <pthread.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "consumers/health.h"
#include "consumers/instance.h"

enum { OPT_LISTEN = 0x100, OPT_LOG_FORMAT };

struct run_options {
    const char *config_path;
    struct ls_cli_choice choice;
    bool verbose;
    const char *listen; /* NULL: as the configuration says */
};

struct worker {
    pthread_t thread;
    struct ls_instance_options options;
    struct ls_instance_totals totals;
    struct ls_err err;
    int rc;
};

static const struct argp_option run_option_table[] = {
    {"listen", OPT_LISTEN, "ADDR:PORT", 0,
     "Serve /metrics, /healthz and /readyz there (PORT alone: on loopback; 'none': nowhere; "
     "default: the configuration's listen)",
     0},
    {"log-format", OPT_LOG_FORMAT, "FORMAT", 0, "text (default) or json, an object a line", 0},
    {"verbose", 'v', NULL, 0, "Log debug lines too", 0},
    {0},
};

static void parse_log_format(const char *name, struct argp_state *state)
{
    if (strcmp(name, "json") == 0)
        ls_log_set_format(LS_LOG_JSON);
    else if (strcmp(name, "text") != 0)
        argp_error(state, "--log-format: expected text or json, found '%s'", name);
}

static error_t parse_run(int key, char *arg, struct argp_state *state)
{
    struct run_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        ls_cli_inputs(state, 2, &options->choice, &options->config_path);
        return 0;
    case OPT_LISTEN:
        options->listen = arg;
        return 0;
    case OPT_LOG_FORMAT:
        parse_log_format(arg, state);
        return 0;
    case 'v':
        options->verbose = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child run_children[] = {
    {&ls_sink_argp, 0, NULL, 0}, {&ls_all_argp, 0, NULL, 0}, {&ls_config_argp, 0, NULL, 0}, {0}};
static const struct argp run_argp = {
    run_option_table,
    parse_run,
    NULL,
    "Applies the log to stores: one consumer group per sink, started at the marks in the store. "
    "Several processes may run the same sink; they share its partitions.\v"
    "SIGTERM or Ctrl-C finishes what is in flight, writes marks, commits and leaves. A second "
    "Ctrl-C ends at once; nothing is lost by that either.\n\n"
    "With --listen, GET /metrics answers in Prometheus's text format; /healthz with 200 while "
    "every sink's loop turns, with 503 when one has not for 30 s (then restart the process); "
    "/readyz with 200 while every sink is RUNNING or stands by, else with 503; both say why. A "
    "store that is away is no reason to restart a worker.\n\n"
    "Examples:\n"
    "  lockstep run --all                          every sink in one process\n"
    "  lockstep run --sink mysql --sink redis-a    two of them\n"
    "  lockstep run --all --listen 127.0.0.1:9464 --log-format json\n\n"
    "Exit codes: 0 stopped by a signal, 2 some sink could not run or the address is taken, 64 "
    "wrong arguments, 78 wrong configuration. A halted sink ends nothing: see `lockstep status`.",
    run_children,
    NULL,
    NULL,
};

static void *worker_main(void *opaque)
{
    struct worker *worker = opaque;
    worker->rc =
        ls_instance_run(&worker->options, &ls_cli_stop, NULL, NULL, &worker->totals, &worker->err);
    if (worker->rc < 0)
        ls_log(LS_LOG_ERROR, "sink could not run", "sink", worker->options.sink->name, "error",
               worker->err.text, NULL);
    return NULL;
}

static int run_workers(struct worker *workers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int rc = pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]);
        if (rc != 0) {
            ls_cli_error("cannot start a thread: %s", strerror(rc));
            ls_cli_stop = 1;
            n = i;
            workers[i].rc = -1;
        }
    }
    int failed = 0;
    for (size_t i = 0; i < n; i++) {
        pthread_join(workers[i].thread, NULL);
        failed += workers[i].rc < 0;
    }
    return failed ? LS_EXIT_FAILED : LS_EXIT_OK;
}

/*
 * Opens the listener that was asked for; *ret stays NULL where there is none. Before the sinks
 * start, so that a port that is taken ends the program and leaves nothing half done.
 */
static int open_listener(const char *where, struct ls_health *health, struct ls_http **ret)
{
    struct ls_listen listen;
    struct ls_err err = {0};
    if (where == NULL || strcmp(where, "none") == 0)
        return LS_EXIT_OK;
    if (ls_listen_parse(where, &listen, &err) < 0) {
        ls_cli_error("--listen: %s", err.text);
        return LS_EXIT_USAGE;
    }
    *ret = ls_http_open(&listen, ls_health_pages, LS_HEALTH_PAGES, health, &err);
    if (*ret == NULL) {
        ls_cli_error("%s", err.text);
        return LS_EXIT_FAILED;
    }
    ls_log(LS_LOG_INFO, "serves metrics and health", "listen", ls_http_address(*ret), NULL);
    return LS_EXIT_OK;
}

static int run_sinks(const struct ls_config *config, const struct ls_sink_config *const *sinks,
                     size_t n, const char *listen)
{
    struct worker *workers = ls_calloc(n, sizeof(*workers));
    struct ls_stats **stats = ls_calloc(n, sizeof(struct ls_stats *));
    for (size_t i = 0; i < n; i++) {
        stats[i] = ls_stats_new(sinks[i]);
        workers[i].options = (struct ls_instance_options){
            .config = config,
            .sink = sinks[i],
            .position = LS_POSITION_MARKS,
            .number = (unsigned)i,
            .stats = stats[i],
        };
    }
    struct ls_health health = {.stats = stats, .n = n, .version = LS_VERSION};
    struct ls_http *http = NULL;
    int code = open_listener(listen, &health, &http);
    if (code == LS_EXIT_OK)
        code = run_workers(workers, n);
    ls_http_close(http);
    ls_health_free(&health);
    for (size_t i = 0; i < n; i++)
        ls_stats_free(stats[i]);
    free(stats);
    free(workers);
    return code;
}

int ls_cmd_run(int argc, char **argv)
{
    struct run_options options = {.choice.required = true};
    argp_parse(&run_argp, argc, argv, 0, NULL, &options);
    if (options.verbose)
        ls_log_set_level(LS_LOG_DEBUG);
    struct ls_config *config = ls_cli_config(options.config_path);
    if (config == NULL)
        return LS_EXIT_CONFIG;
    const struct ls_sink_config **sinks;
    size_t n;
    int code = LS_EXIT_USAGE;
    if (ls_cli_sinks(config, &options.choice, &sinks, &n) == 0) {
        ls_cli_catch_signals();
        code = run_sinks(config, sinks, n, options.listen ? options.listen : config->listen);
        free(sinks);
    }
    ls_cli_choice_free(&options.choice);
    ls_config_free(config);
    return code;
}
