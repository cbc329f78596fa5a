/*
 * The one error object. Every function that can fail takes a `struct ls_err *` and returns 0 or -1;
 * on -1 the object says what kind of failure it is, the store's own code, and a message that names
 * what is wrong, where, and what to do. Libraries fill it and never log; programs and the worker
 * loop log it, once.
 */
#ifndef LS_BASE_ERR_H
#define LS_BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* What a failure means for the one who met it (docs/ARCHITECTURE.md, "Verdicts"). */
enum ls_err_class {
    LS_ERR_NONE = 0,
    LS_ERR_RETRY,   /* may heal by itself: outage, overload, lock, failover */
    LS_ERR_UNKNOWN, /* in no table: retried a bounded number of times, then it counts as FATAL */
    LS_ERR_POISON,  /* this record (or line, or value) can never be accepted */
    LS_ERR_FATAL,   /* the set-up is wrong: a person has to act */
};

enum { LS_ERR_NAME_MAX = 64 };

struct ls_err {
    enum ls_err_class class;
    int code; /* the store's or library's own code (errno, MySQL error, HTTP status), or 0 */
    /*
     * RETRY: who answered is there and refuses for its load, so that less at a time may pass. Unset
     * by ls_err_set; the tables of the stores' errors set it.
     */
    bool overload;
    /*
     * The store's own name of the failure, where it has one: an Elasticsearch type, the first word
     * of a Redis error (MOVED, OOM), librdkafka's name of a code; "" where not. Set by ls_err_name.
     */
    char name[LS_ERR_NAME_MAX];
    /*
     * One line, bounded, never empty when class is set. What it quotes from outside is safe to show
     * (base/text.h), and it is UTF-8 to its last character, as JSON needs it.
     */
    char text[480];
};

/* Fills err (which may be NULL) and returns -1, so that callers can `return ls_err_set(...)`. */
int ls_err_set(struct ls_err *err, enum ls_err_class class, int code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/*
 * Takes the word that text[0..len) begins with (letters, digits, `_` and `-`) as the name; none
 * where that is not a word. After ls_err_set, which forgets the name. No-op on NULL.
 */
void ls_err_name(struct ls_err *err, const char *text, size_t len);

/* Puts `prefix: ` (formatted) before the text of err and returns -1. No-op on NULL. */
int ls_err_prefix(struct ls_err *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* "retry", "unknown", "poison", "fatal", "none": used in headers, logs and reports. */
const char *ls_err_class_name(enum ls_err_class class);

#endif
