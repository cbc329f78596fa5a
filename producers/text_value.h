/* Values written as text: numbers, times, truth. Pure; any thread. */
#ifndef LS_PRODUCERS_TEXT_VALUE_H
#define LS_PRODUCERS_TEXT_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A whole decimal number within int64, nothing around it. False if it is not one. */
bool ls_text_int(const char *text, size_t len, int64_t *ret);

/* A finite decimal number as JSON writes it (no hexadecimal, no inf or nan); -0 becomes 0. */
bool ls_text_float(const char *text, size_t len, double *ret);

/* `true` or `false`. */
bool ls_text_bool(const char *text, size_t len, bool *ret);

/*
 * RFC 3339 (2024-05-01T12:34:56.123456Z, or an offset like +09:00) as microseconds since 1970. At
 * most six digits of a second's fraction: more could not be kept. Years 0000 to 9999.
 */
bool ls_text_time(const char *text, size_t len, int64_t *ret_us);

#endif
