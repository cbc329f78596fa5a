/*
 * `lockstep status`: one page that says what is behind and why, from Kafka alone. The work is in
 * pipeline/status*.c; here are arguments, the screen of --watch and the exit code.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "pipeline/status.h"

enum { OPT_JSON = 0x100, WATCH_MS = 1000 };

struct arguments {
    const char *config_path;
    char **names;
    size_t n_names;
    bool watch;
    bool json;
};

static const struct argp_option options[] = {
    {"sink", 's', "NAME", 0, "Show this sink (any number; default: all)", 0},
    {"all", 'a', NULL, 0, "Show all sinks (the default)", 0},
    {"watch", 'w', NULL, 0, "Look again every second, until Ctrl-C", 0},
    {"json", OPT_JSON, NULL, 0, "Print one JSON object (with --watch one a line)", 0},
    {0},
};

static const char doc[] =
    "Shows where every sink stands: its state, how far it is behind, what it did.\v"
    "Everything comes from Kafka: no store and no worker is asked. LAG is in records, BEHIND is the "
    "age of the oldest one that is not final; counts are since the workers' start; QUARANTINED is "
    "what stands in the sink's quarantine topic.\n\n"
    "States: STARTING, RUNNING, WAITING (for what the reason says), RETRYING (work is sent again), "
    "HALTED (a person has to act), STOPPED (left cleanly), LOST (fell silent more than 10 s ago), "
    "NEVER RUN.\n\n"
    "Examples:\n"
    "  lockstep status\n"
    "  lockstep status --watch --sink es-primary\n"
    "  lockstep status --json | python3 -m json.tool\n\n"
    "Exit codes: 0 every sink is RUNNING, or is not running and has nothing left to do; 1 some sink "
    "is in another state or stopped with records left; 2 Kafka could not be asked.";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->config_path;
        return 0;
    case 's':
        args->names = ls_realloc(args->names, (args->n_names + 1) * sizeof(char *));
        args->names[args->n_names++] = arg;
        return 0;
    case 'a':
        args->n_names = 0;
        return 0;
    case 'w':
        args->watch = true;
        return 0;
    case OPT_JSON:
        args->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'; name a sink with --sink", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The terminal's other screen, so that what was there comes back. */
static void enter_screen(void)
{
    fputs("\033[?1049h\033[?25l", stdout);
}

static void leave_screen(void)
{
    fputs("\033[?25h\033[?1049l", stdout);
    fflush(stdout);
}

static void print(const struct ls_buf *buf, bool screen)
{
    if (screen)
        fputs("\033[H", stdout);
    for (size_t from = 0; from < buf->len;) {
        const char *end = memchr(buf->data + from, '\n', buf->len - from);
        size_t len = end ? (size_t)(end - buf->data) - from : buf->len - from;
        fwrite(buf->data + from, 1, len, stdout);
        /* Written over what is there, so that nothing flickers. */
        fputs(screen ? "\033[K\n" : "\n", stdout);
        from += len + 1;
    }
    if (screen)
        fputs("\033[J", stdout);
    fflush(stdout);
}

static void draw(const struct ls_status_sink *sinks, size_t n, const struct arguments *args,
                 bool screen)
{
    struct ls_buf buf = {0};
    int64_t now_ms = ls_wall_us() / 1000;
    if (args->json)
        ls_status_json(sinks, n, now_ms, &buf);
    else
        ls_status_table(sinks, n, now_ms, &buf);
    print(&buf, screen);
    ls_buf_free(&buf);
}

static void draw_failure(const struct ls_err *err, bool screen)
{
    struct ls_buf buf = {0};
    ls_buf_printf(&buf, "%s", err->text);
    if (screen)
        print(&buf, true);
    else
        ls_cli_error("%s", err->text);
    ls_buf_free(&buf);
}

static void pause_until(int64_t next_ms)
{
    int64_t left_ms = next_ms - ls_mono_ms();
    if (left_ms > 0 && !ls_cli_stop)
        poll(NULL, 0, (int)left_ms); /* a signal ends it */
}

/* Looks once, or again and again; while watching, a broker that is away is shown and waited for. */
static int look(struct ls_status *status, size_t n, const struct arguments *args, bool screen)
{
    LS_CLEANUP_FREE struct ls_status_sink *sinks = ls_calloc(n, sizeof(*sinks));
    int code = LS_EXIT_OK;
    do {
        struct ls_err err = {0};
        int64_t next_ms = ls_mono_ms() + WATCH_MS;
        code = LS_EXIT_OK;
        if (ls_status_gather(status, sinks, &err) < 0) {
            draw_failure(&err, screen);
            code = LS_EXIT_FAILED;
        } else {
            draw(sinks, n, args, screen);
            for (size_t i = 0; i < n; i++)
                if (!ls_status_fine(&sinks[i]))
                    code = LS_EXIT_DIFFERENT;
        }
        if (ferror(stdout))
            break; /* nobody reads any more */
        if (args->watch)
            pause_until(next_ms);
    } while (args->watch && !ls_cli_stop);
    return code;
}

static int show(const struct ls_config *config, const struct ls_sink_config **sinks, size_t n,
                const struct arguments *args)
{
    struct ls_err err = {0};
    struct ls_status *status = ls_status_open(config, sinks, n, &err);
    if (status == NULL) {
        ls_cli_error("%s", err.text);
        return LS_EXIT_FAILED;
    }
    bool screen = args->watch && !args->json && isatty(STDOUT_FILENO);
    if (screen)
        enter_screen();
    int code = look(status, n, args, screen);
    if (screen)
        leave_screen();
    ls_status_close(status);
    return code;
}

int ls_cmd_status(int argc, char **argv)
{
    static const struct argp_child children[] = {{&ls_config_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {options, parse, NULL, doc, children, NULL, NULL};
    struct arguments args = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &args);
    struct ls_config *config = ls_cli_config(args.config_path);
    int code = LS_EXIT_CONFIG;
    if (config != NULL) {
        const struct ls_sink_config **sinks = NULL;
        size_t n = 0;
        ls_cli_catch_signals();
        code = ls_cli_sinks(config, args.names, args.n_names, true, &sinks, &n) < 0
                   ? LS_EXIT_USAGE
                   : show(config, sinks, n, &args);
        free(sinks);
    }
    ls_config_free(config);
    free(args.names);
    return code;
}
