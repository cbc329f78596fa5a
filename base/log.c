#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"

static enum ls_log_level lowest = LS_LOG_INFO;

void ls_log_set_level(enum ls_log_level level)
{
    lowest = level;
}

static void append_value(struct ls_buf *line, const char *value)
{
    bool quote = *value == '\0';
    for (const char *p = value; *p && !quote; p++)
        quote = *p == ' ' || *p == '"' || *p == '=' || (unsigned char)*p < 0x20;
    if (quote)
        ls_buf_append_char(line, '"');
    for (const char *p = value; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            ls_buf_printf(line, "\\x%02x", (unsigned char)*p);
        else if (*p == '"' || *p == '\\')
            ls_buf_printf(line, "\\%c", *p);
        else
            ls_buf_append_char(line, *p);
    }
    if (quote)
        ls_buf_append_char(line, '"');
}

void ls_log(enum ls_log_level level, const char *message, ...)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if (level < lowest)
        return;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm utc;
    gmtime_r(&now.tv_sec, &utc);
    char stamp[32];
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);

    struct ls_buf line = {0};
    if (isatty(STDERR_FILENO)) /* a progress bar may stand there; it is drawn again below */
        ls_buf_append_str(&line, "\r\033[K");
    ls_buf_printf(&line, "%s.%03ldZ %s ", stamp, now.tv_nsec / 1000000, names[level]);
    ls_buf_append_str(&line, message);
    va_list args;
    va_start(args, message);
    for (const char *key; (key = va_arg(args, const char *)) != NULL;) {
        const char *value = va_arg(args, const char *);
        if (value == NULL)
            continue;
        ls_buf_printf(&line, " %s=", key);
        append_value(&line, value);
    }
    va_end(args);
    ls_buf_append_char(&line, '\n');
    ssize_t written = write(STDERR_FILENO, line.data, line.len);
    (void)written; /* nowhere left to say that the log is gone */
    ls_buf_free(&line);
}
