#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

enum { PAIRS_MAX = 32, WAIT_MS = 100 };

static enum ls_log_level lowest = LS_LOG_INFO;
static enum ls_log_format chosen = LS_LOG_TEXT;
static atomic_uint_fast64_t dropped; /* ever */

static struct {
    pthread_mutex_t lock; /* one line at a time, and of what follows */
    uint64_t told;        /* of `dropped`, by a line */
} out = {.lock = PTHREAD_MUTEX_INITIALIZER};

void ls_log_set_level(enum ls_log_level level)
{
    lowest = level;
}

void ls_log_set_format(enum ls_log_format format)
{
    chosen = format;
}

uint64_t ls_log_dropped(void)
{
    return atomic_load(&dropped);
}

/* The text between quotes, escaped as the format has it. */
static void append_escaped(struct ls_buf *line, enum ls_log_format format, const char *text)
{
    struct ls_buf quoted = {0};
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\')
            ls_buf_append_char(&quoted, '\\');
        if (format == LS_LOG_JSON && *p == '\n') /* which a document may have between values */
            ls_buf_append_str(&quoted, "\\n");
        else
            ls_buf_append_char(&quoted, *p);
    }
    if (format == LS_LOG_JSON)
        ls_text_show_json(line, quoted.data, quoted.len);
    else
        ls_text_show(line, quoted.data, quoted.len);
    ls_buf_free(&quoted);
}

static void append_value(struct ls_buf *line, const char *value)
{
    bool quote = *value == '\0';
    for (const char *p = value; *p && !quote; p++)
        quote = *p == ' ' || *p == '"' || *p == '=' || (unsigned char)*p < 0x20;
    if (quote)
        ls_buf_append_char(line, '"');
    append_escaped(line, LS_LOG_TEXT, value);
    if (quote)
        ls_buf_append_char(line, '"');
}

static void append_member(struct ls_buf *line, const char *key, const char *value)
{
    ls_buf_append_str(line, line->data[line->len - 1] == '{' ? "\"" : ",\"");
    append_escaped(line, LS_LOG_JSON, key);
    ls_buf_append_str(line, "\":\"");
    append_escaped(line, LS_LOG_JSON, value);
    ls_buf_append_char(line, '"');
}

static void append_json(struct ls_buf *line, const char *stamp, const char *level,
                        const char *message, const struct ls_log_pair *pairs, size_t n)
{
    ls_buf_append_char(line, '{');
    append_member(line, "time", stamp);
    append_member(line, "level", level);
    append_member(line, "message", message);
    for (size_t i = 0; i < n; i++)
        if (pairs[i].value != NULL)
            append_member(line, pairs[i].key, pairs[i].value);
    ls_buf_append_str(line, "}\n");
}

static void append_text(struct ls_buf *line, const char *stamp, const char *level,
                        const char *message, const struct ls_log_pair *pairs, size_t n)
{
    ls_buf_printf(line, "%s %s %s", stamp, level, message);
    for (size_t i = 0; i < n; i++) {
        if (pairs[i].value == NULL)
            continue;
        ls_buf_printf(line, " %s=", pairs[i].key);
        append_value(line, pairs[i].value);
    }
    ls_buf_append_char(line, '\n');
}

void ls_log_line(struct ls_buf *line, enum ls_log_format format, int64_t wall_us,
                 enum ls_log_level level, const char *message, const struct ls_log_pair *pairs,
                 size_t n)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    char second[32], stamp[40];
    strftime(second, sizeof(second), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(stamp, sizeof(stamp), "%s.%03dZ", second, (int)(wall_us / 1000 % 1000));
    if (format == LS_LOG_JSON)
        append_json(line, stamp, names[level], message, pairs, n);
    else
        append_text(line, stamp, names[level], message, pairs, n);
}

/*
 * Whether stderr takes all of it, within wait_ms. A pipe is writable only where PIPE_BUF bytes fit,
 * so that a line of that size is never cut and never blocks; longer ones wait for their reader.
 */
static bool write_line(const struct ls_buf *line, int wait_ms)
{
    for (size_t at = 0; at < line->len;) {
        struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
        int n = poll(&ready, 1, wait_ms);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || (ready.revents & POLLOUT) == 0)
            return false;
        ssize_t written = write(STDERR_FILENO, line->data + at, line->len - at);
        if (written <= 0 && (written == 0 || (errno != EINTR && errno != EAGAIN)))
            return false;
        at += written > 0 ? (size_t)written : 0;
    }
    return true;
}

/* Writes the line, after one that says what was dropped before it. Call with the lock held. */
static void put_line(const struct ls_buf *line, int64_t wall_us)
{
    uint64_t lost = atomic_load(&dropped) - out.told;
    bool through = true;
    if (lost > 0) {
        char count[24];
        snprintf(count, sizeof(count), "%llu", (unsigned long long)lost);
        struct ls_log_pair pair = {"lines", count};
        struct ls_buf said = {0};
        ls_log_line(&said, chosen, wall_us, LS_LOG_WARN, "log lines were dropped", &pair, 1);
        through = write_line(&said, 0); /* nobody has read for long: no use to wait again */
        out.told += through ? lost : 0;
        ls_buf_free(&said);
    }
    if (!through || !write_line(line, WAIT_MS))
        atomic_fetch_add(&dropped, 1);
}

void ls_log(enum ls_log_level level, const char *message, ...)
{
    if (level < lowest)
        return;
    struct ls_log_pair pairs[PAIRS_MAX];
    size_t n = 0;
    va_list args;
    va_start(args, message);
    for (const char *key; n < PAIRS_MAX && (key = va_arg(args, const char *)) != NULL; n++)
        pairs[n] = (struct ls_log_pair){key, va_arg(args, const char *)};
    va_end(args);
    struct ls_buf line = {0};
    if (isatty(STDERR_FILENO)) /* a progress bar may stand there; it is drawn again below */
        ls_buf_append_str(&line, "\r\033[K");
    int64_t wall_us = ls_wall_us();
    ls_log_line(&line, chosen, wall_us, level, message, pairs, n);
    pthread_mutex_lock(&out.lock);
    put_line(&line, wall_us);
    pthread_mutex_unlock(&out.lock);
    ls_buf_free(&line);
}
