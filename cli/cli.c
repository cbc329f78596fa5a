#include "cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "pipeline/kafka.h"

enum { KAFKA_PATIENCE_MS = 1000 };

atomic_int ls_cli_stop;

/* One line, with what is not safe to show escaped, whole, so that threads do not mix theirs. */
static void put_line(FILE *out, const char *prefix, const char *format, va_list args)
{
    LS_CLEANUP_FREE char *text = NULL;
    int len = vasprintf(&text, format, args);
    if (len < 0)
        abort(); /* no memory */
    struct ls_buf line = {0};
    ls_buf_append_str(&line, prefix);
    ls_text_show(&line, text, (size_t)len);
    ls_buf_append_char(&line, '\n');
    fwrite(line.data, 1, line.len, out);
    ls_buf_free(&line);
}

void ls_cli_error(const char *format, ...)
{
    LS_CLEANUP_FREE char *prefix = ls_asprintf("%s: ", program_invocation_name);
    va_list args;
    va_start(args, format);
    put_line(stderr, prefix, format, args);
    va_end(args);
}

void ls_cli_say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    put_line(stdout, "", format, args);
    va_end(args);
}

void ls_cli_print_json(json_t *json, size_t flags)
{
    struct ls_buf buf = {0};
    LS_CLEANUP_FREE char *text = json_dumps(json, flags);
    if (text != NULL)
        ls_text_show_json(&buf, text, strlen(text));
    ls_buf_append_char(&buf, '\n');
    fwrite(buf.data, 1, buf.len, stdout);
    ls_buf_free(&buf);
    json_decref(json);
}

static const struct argp_option config_options[] = {
    {"config", 'c', "FILE", 0, "Configuration (default: $LOCKSTEP_CONFIG, else ./lockstep.yaml)",
     90},
    {0},
};

static error_t parse_config(int key, char *arg, struct argp_state *state)
{
    const char **path = state->input;
    switch (key) {
    case 'c':
        if (*arg == '\0')
            argp_error(state, "--config: expected a file, found nothing");
        *path = arg;
        return 0;
    case ARGP_KEY_INIT:
        if (*path == NULL)
            *path = getenv("LOCKSTEP_CONFIG");
        if (*path == NULL || **path == '\0')
            *path = "lockstep.yaml";
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp ls_config_argp = {config_options, parse_config, NULL, NULL, NULL, NULL, NULL};

struct ls_config *ls_cli_config(const char *path)
{
    struct ls_config *config = NULL;
    struct ls_err err = {0};
    if (ls_config_read(path, &config, &err) < 0) {
        ls_cli_error("%s", err.text);
        if (err.code == ENOENT)
            ls_cli_error("name a configuration with --config FILE or $LOCKSTEP_CONFIG");
        return NULL;
    }
    return config;
}

void ls_cli_ask_kafka(const struct ls_config *config)
{
    struct ls_err err = {0};
    if (ls_kafka_answers(config, KAFKA_PATIENCE_MS, &err) < 0 && err.class == LS_ERR_RETRY)
        ls_cli_error("%s; waiting for it up to %d s", err.text, LS_KAFKA_TIMEOUT_MS / 1000);
}

static void on_signal(int number)
{
    if (ls_cli_stop && number == SIGINT)
        _exit(LS_EXIT_INTERRUPTED);
    ls_cli_stop = 1;
}

void ls_cli_catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}
