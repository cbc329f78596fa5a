/*
 * `lockstep status`: one page that says what is behind and why, from Kafka alone. The work is in
 * pipeline/status*.c; here are arguments, the screen of --watch and the exit code.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/progress.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "pipeline/status.h"

enum {
    OPT_UNTIL = 0x100,
    LOOK_MS = 1000,
    PIPED_LOOK_MS = 2000, /* a table each for a file or a log, not for eyes */
    UNTIL_DEFAULT_S = 600,
};

struct arguments {
    const char *config_path;
    struct ls_cli_choice choice;
    bool watch;
    bool until; /* caught up */
    int64_t until_ms;
};

static const struct argp_option options[] = {
    {"watch", 'w', NULL, 0,
     "Look again every second, until Ctrl-C (a table every 2 s where stdout is no terminal)", 0},
    {"until-caught-up", OPT_UNTIL, "S", OPTION_ARG_OPTIONAL,
     "Look again until every chosen sink is RUNNING or STOPPED with lag 0, for at most S seconds "
     "(default 600); without --watch only the last look is printed",
     0},
    {0},
};

static const char doc[] =
    "Shows where every sink (or those of --sink) stands: its state, how far it is behind, what it did.\v"
    "Everything comes from Kafka: no store and no worker is asked. LAG is in records, BEHIND is "
    "the age of the oldest one that is not final, ETA the time until nothing lags, if the lag goes "
    "on to shrink as it did over the last looks (so none on the first one); counts are since the "
    "workers' start; QUARANTINED is what stands in the sink's quarantine topic.\n\n"
    "States: STARTING, RUNNING, WAITING (for what the reason says), RETRYING (work is sent again), "
    "HALTED (a person has to act), STUCK (something is left to do and nothing of it was done for a "
    "minute; the reason says what it waits for), STOPPED (left cleanly), LOST (fell silent more "
    "than 10 s ago), NEVER RUN. Below the table stands what is not the ordinary: reasons, a "
    "breaker that is open, a store that takes less at once than is configured.\n\n"
    "Examples:\n"
    "  lockstep status\n"
    "  lockstep status --watch --sink es-primary\n"
    "  lockstep status --until-caught-up=60 && lockstep verify\n"
    "  lockstep status --json | python3 -m json.tool\n\n"
    "Exit codes: 0 every sink is RUNNING, or is not running and has nothing left to do; 1 some "
    "sink is in another state or stopped with records left; 2 Kafka could not be asked. With "
    "--until-caught-up: 0 all are caught up, 2 some are not in time (stderr says which), 130 "
    "interrupted.";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        ls_cli_inputs(state, 3, &args->choice, &args->config_path);
        return 0;
    case 'w':
        args->watch = true;
        return 0;
    case OPT_UNTIL:
        args->until = true;
        args->until_ms =
            1000 * (arg != NULL ? ls_cli_number("--until-caught-up", arg, 0, 86400, state)
                                : UNTIL_DEFAULT_S);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state,
                   "unexpected argument '%s'; name a sink with --sink NAME, seconds with "
                   "--until-caught-up=SECONDS",
                   arg);
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
    if (args->choice.json)
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

/* All looks of one call. */
struct view {
    const struct arguments *args;
    struct ls_status *status;
    struct ls_status_sink *sinks;
    size_t n;
    bool screen; /* the terminal's other one */
    bool shown;  /* something, already */
    bool ok;     /* the newest look succeeded, so sinks is filled */
    struct ls_err err;
};

static bool all_sinks(const struct view *view, bool (*is)(const struct ls_status_sink *sink))
{
    bool all = view->ok;
    for (size_t i = 0; all && i < view->n; i++)
        all = is(&view->sinks[i]);
    return all;
}

/* "redis-a (RUNNING, lag 1,234), mysql (HALTED, lag 0)" */
static void say_who_lags(const struct view *view)
{
    struct ls_buf buf = {0};
    char lag[32];
    for (size_t i = 0; view->ok && i < view->n; i++) {
        const struct ls_status_sink *sink = &view->sinks[i];
        if (!ls_status_caught_up(sink))
            ls_buf_printf(&buf, "%s%s (%s, lag %s)", buf.len > 0 ? ", " : "", sink->sink->name,
                          ls_sink_state_name(sink->state),
                          ls_human_count((uint64_t)sink->lag, lag, sizeof(lag)));
    }
    ls_cli_error("not caught up after %" PRId64 " s: %s", view->args->until_ms / 1000,
                 view->ok ? ls_buf_cstr(&buf) : view->err.text);
    ls_buf_free(&buf);
}

static void show_look(struct view *view)
{
    if (!view->ok)
        draw_failure(&view->err, view->screen);
    else if (!view->screen && !view->args->choice.json && view->shown)
        putchar('\n'); /* between two tables */
    if (view->ok)
        draw(view->sinks, view->n, view->args, view->screen);
    view->shown = true;
}

/* Looks once, or again and again; while watching, a broker that is away is shown and waited for. */
static void look(struct view *view)
{
    const struct arguments *args = view->args;
    int64_t every_ms = args->watch && !view->screen ? PIPED_LOOK_MS : LOOK_MS;
    int64_t deadline_ms = ls_mono_ms() + args->until_ms;
    for (;;) {
        int64_t now_ms = ls_mono_ms(), next_ms = now_ms + every_ms;
        view->err = (struct ls_err){0};
        view->ok = ls_status_gather(view->status, view->sinks, &view->err) == 0;
        bool last =
            (!args->watch && !args->until) || ls_cli_stop ||
            (args->until && (now_ms >= deadline_ms || all_sinks(view, ls_status_caught_up)));
        if (args->watch || (last && (view->ok || !args->until)))
            show_look(view);
        if (last || ferror(stdout)) /* nobody reads any more */
            return;
        pause_until(args->until && next_ms > deadline_ms ? deadline_ms : next_ms);
        if (ls_cli_stop)
            return;
    }
}

static int exit_code(const struct view *view)
{
    if (view->args->until) {
        if (all_sinks(view, ls_status_caught_up))
            return LS_EXIT_OK;
        if (ls_cli_stop)
            return LS_EXIT_INTERRUPTED;
        say_who_lags(view);
        return LS_EXIT_FAILED;
    }
    if (!view->ok)
        return LS_EXIT_FAILED;
    return all_sinks(view, ls_status_fine) ? LS_EXIT_OK : LS_EXIT_DIFFERENT;
}

static int show(const struct ls_config *config, const struct ls_sink_config **sinks, size_t n,
                const struct arguments *args)
{
    struct view view = {.args = args, .n = n};
    view.status = ls_status_open(config, sinks, n, &view.err);
    if (view.status == NULL) {
        ls_cli_error("%s", view.err.text);
        return LS_EXIT_FAILED;
    }
    view.sinks = ls_calloc(n, sizeof(*view.sinks));
    view.screen = args->watch && !args->choice.json && isatty(STDOUT_FILENO);
    if (view.screen)
        enter_screen();
    look(&view);
    if (view.screen)
        leave_screen();
    if (view.screen && args->until && view.ok)
        draw(view.sinks, n, args, false); /* how it ended stays to be read */
    int code = exit_code(&view);
    ls_status_close(view.status);
    free(view.sinks);
    return code;
}

int ls_cmd_status(int argc, char **argv)
{
    static const struct argp_child children[] = {{&ls_sink_argp, 0, NULL, 0},
                                                 {&ls_all_argp, 0, NULL, 0},
                                                 {&ls_json_argp, 0, NULL, 0},
                                                 {&ls_config_argp, 0, NULL, 0},
                                                 {0}};
    static const struct argp argp = {options, parse, NULL, doc, children, NULL, NULL};
    struct arguments args = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &args);
    struct ls_config *config = ls_cli_config(args.config_path);
    int code = LS_EXIT_CONFIG;
    if (config != NULL) {
        const struct ls_sink_config **sinks = NULL;
        size_t n = 0;
        ls_cli_catch_signals();
        code = ls_cli_sinks(config, &args.choice, &sinks, &n) < 0 ? LS_EXIT_USAGE
                                                                  : show(config, sinks, n, &args);
        free(sinks);
    }
    ls_config_free(config);
    ls_cli_choice_free(&args.choice);
    return code;
}
