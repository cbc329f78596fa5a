/*
 * Log lines for people and machines: one line an event on stderr, `time level message key=value…`.
 * Only programs and the worker loop log; libraries return errors. Thread-safe: a line is one
 * write(2). Values are quoted where they need it; control characters are escaped, so that no record
 * can forge a line.
 */
#ifndef LS_BASE_LOG_H
#define LS_BASE_LOG_H

enum ls_log_level { LS_LOG_DEBUG, LS_LOG_INFO, LS_LOG_WARN, LS_LOG_ERROR };

/* Lines below this level are dropped; LS_LOG_INFO unless set. Set before threads start. */
void ls_log_set_level(enum ls_log_level level);

/*
 * Logs a message and key/value pairs, ended by NULL, each a `const char *`:
 *     ls_log(LS_LOG_WARN, "store refused the connection", "sink", name, "error", err.text, NULL);
 * A pair whose value is NULL is left out.
 */
void ls_log(enum ls_log_level level, const char *message, ...) __attribute__((sentinel));

#endif
