/*
 * Log lines for people and machines: one line an event on stderr, as `time level message
 * key=value…` or as a JSON object a line. Only programs and the worker loop log; libraries return
 * errors. Thread-safe: a line is one write(2). Values are quoted where they need it; what is not
 * safe to show (base/text.h) is escaped and bytes that are not UTF-8 replaced, so that no record
 * can forge or break a line.
 *
 * Whoever reads stderr may be gone or stand still; a worker must not wait for it. A line that
 * stderr does not take within a moment is dropped and counted, and the next line that gets through
 * is preceded by one that says how many were dropped. Rejected: a thread with a queue, which loses
 * the newest lines, the ones that matter, in a crash.
 */
#ifndef LS_BASE_LOG_H
#define LS_BASE_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum ls_log_level { LS_LOG_DEBUG, LS_LOG_INFO, LS_LOG_WARN, LS_LOG_ERROR };

enum ls_log_format {
    LS_LOG_TEXT, /* time level message key=value… */
    LS_LOG_JSON, /* {"time":…,"level":…,"message":…,"key":"value",…}: all values are strings */
};

/* Lines below this level are left out; LS_LOG_INFO unless set. Set before threads start. */
void ls_log_set_level(enum ls_log_level level);
/* LS_LOG_TEXT unless set. Set before threads start. */
void ls_log_set_format(enum ls_log_format format);

/*
 * Logs a message and key/value pairs, ended by NULL, each a `const char *`:
 *     ls_log(LS_LOG_WARN, "store refused the connection", "sink", name, "error", err.text, NULL);
 * A pair whose value is NULL is left out.
 */
void ls_log(enum ls_log_level level, const char *message, ...) __attribute__((sentinel));

/* Lines that stderr did not take since the start of the program. Any thread. */
uint64_t ls_log_dropped(void);

struct ls_log_pair {
    const char *key;
    const char *value; /* NULL: left out */
};

/* Appends one line, with its newline, as ls_log writes it. Pure; any thread. */
void ls_log_line(struct ls_buf *line, enum ls_log_format format, int64_t wall_us,
                 enum ls_log_level level, const char *message, const struct ls_log_pair *pairs,
                 size_t n);

#endif
