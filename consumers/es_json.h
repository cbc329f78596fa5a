/*
 * A pull reader over the JSON that Elasticsearch answers: replies are large and regular, so they
 * are read in place, a token at a time, without a tree. Pure; allocates only from the arena given.
 *
 * After the first error every call fails, so a reader is checked once, at the end. Integers keep
 * all 64 bits. jansson was rejected for this: a tree costs ten times the reading, and one number
 * beyond 64 bits in one document would refuse the page that holds it.
 */
#ifndef LS_CONSUMERS_ES_JSON_H
#define LS_CONSUMERS_ES_JSON_H

#include "base/mem.h"
#include "schema/value.h"

enum { LS_JSON_DEPTH_MAX = 64 };

enum ls_json_kind {
    LS_JSON_END, /* nothing more, or failed */
    LS_JSON_OBJECT,
    LS_JSON_ARRAY,
    LS_JSON_STRING,
    LS_JSON_NUMBER,
    LS_JSON_TRUE,
    LS_JSON_FALSE,
    LS_JSON_NULL,
};

struct ls_json {
    const char *at;
    const char *end;
    bool failed;
    bool first; /* the next key or item is its container's first */
};

/* Borrows the text (NULL is an empty one) for as long as what was read from it is used. */
struct ls_json ls_json_begin(const char *text, size_t len);

/* Kind of the next value; consumes only white space. */
enum ls_json_kind ls_json_peek(struct ls_json *json);

/*
 * Containers. Usage:
 *     for (ls_json_open(json, '{'); ls_json_key(json, &key);) { read or skip one value }
 *     for (ls_json_open(json, '['); ls_json_item(json);) { read or skip one value }
 * The loop ends after the closing bracket, or on an error. Keys are raw: escapes are left alone.
 */
void ls_json_open(struct ls_json *json, char bracket);
bool ls_json_key(struct ls_json *json, struct ls_span *ret_key);
bool ls_json_item(struct ls_json *json);

/* Whether a key is this text. */
bool ls_json_is(struct ls_span key, const char *text);

/*
 * A string. Without escapes it is a view into the text, else it is unescaped into the arena (or,
 * with arena NULL, left as it stands). Half a surrogate pair becomes U+FFFD.
 */
bool ls_json_string(struct ls_json *json, struct ls_arena *arena, struct ls_span *ret);

/* A number's text, as it stands. */
bool ls_json_number(struct ls_json *json, struct ls_span *ret);

/* A number as int64; fails on a fraction, an exponent or more than 64 bits. */
bool ls_json_i64(struct ls_json *json, int64_t *ret);

/* Any value, passed over; its text if ret is not NULL. */
bool ls_json_skip(struct ls_json *json, struct ls_span *ret);

/* Number texts as values. False when the text is not one or does not fit. */
bool ls_json_parse_i64(struct ls_span text, int64_t *ret);
bool ls_json_parse_real(struct ls_span text, double *ret);

#endif
