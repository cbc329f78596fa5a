/* The pull reader. Pure; see es_json.h. */
#include "consumers/es_json.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "consumers/json_escape.h"

enum { NUMBER_CHARS_MAX = 400 }; /* a double written out in full has 325 digits */

static bool fail(struct ls_json *json)
{
    json->failed = true;
    json->at = json->end;
    return false;
}

static void skip_space(struct ls_json *json)
{
    while (json->at < json->end &&
           (*json->at == ' ' || *json->at == '\n' || *json->at == '\r' || *json->at == '\t'))
        json->at++;
}

struct ls_json ls_json_begin(const char *text, size_t len)
{
    if (text == NULL)
        text = "";
    return (struct ls_json){.at = text, .end = text + len};
}

enum ls_json_kind ls_json_peek(struct ls_json *json)
{
    skip_space(json);
    if (json->failed || json->at == json->end)
        return LS_JSON_END;
    switch (*json->at) {
    case '{':
        return LS_JSON_OBJECT;
    case '[':
        return LS_JSON_ARRAY;
    case '"':
        return LS_JSON_STRING;
    case 't':
        return LS_JSON_TRUE;
    case 'f':
        return LS_JSON_FALSE;
    case 'n':
        return LS_JSON_NULL;
    default:
        return LS_JSON_NUMBER;
    }
}

static bool take(struct ls_json *json, char c)
{
    skip_space(json);
    if (json->at == json->end || *json->at != c)
        return fail(json);
    json->at++;
    return true;
}

void ls_json_open(struct ls_json *json, char bracket)
{
    take(json, bracket);
    json->first = true;
}

/* Before the next member of a container: its comma, or its end. */
static bool next_member(struct ls_json *json, char closing)
{
    skip_space(json);
    if (json->failed || json->at == json->end)
        return fail(json);
    bool first = json->first;
    json->first = false;
    if (*json->at == closing) {
        json->at++;
        return false;
    }
    return first || take(json, ',');
}

bool ls_json_key(struct ls_json *json, struct ls_span *ret_key)
{
    return next_member(json, '}') && ls_json_string(json, NULL, ret_key) && take(json, ':');
}

bool ls_json_item(struct ls_json *json)
{
    return next_member(json, ']');
}

bool ls_json_is(struct ls_span key, const char *text)
{
    size_t len = strlen(text);
    return key.len == len && memcmp(key.data, text, len) == 0;
}

static bool unescape(struct ls_span raw, struct ls_arena *arena, struct ls_span *ret)
{
    char *text = ls_arena_alloc(arena, raw.len + 1); /* unescaping never makes it longer */
    char *out = text;
    const char *in = raw.data, *end = raw.data + raw.len;
    while (in < end) {
        if (*in != '\\') {
            *out++ = *in++;
            continue;
        }
        uint32_t code;
        in = ls_json_escape(in + 1, end, &code);
        if (in == NULL)
            return false;
        out = ls_utf8_put(out, ls_json_is_half(code) ? 0xfffd : code);
    }
    *ret = (struct ls_span){text, (uint32_t)(out - text)};
    return true;
}

bool ls_json_string(struct ls_json *json, struct ls_arena *arena, struct ls_span *ret)
{
    if (!take(json, '"'))
        return false;
    const char *start = json->at;
    bool escaped = false;
    while (json->at < json->end && *json->at != '"') {
        if ((unsigned char)*json->at < 0x20)
            return fail(json);
        if (*json->at == '\\') {
            escaped = true;
            json->at++;
            if (json->at == json->end)
                return fail(json);
        }
        json->at++;
    }
    if (json->at == json->end)
        return fail(json);
    struct ls_span raw = {start, (uint32_t)(json->at - start)};
    json->at++;
    if (!escaped || arena == NULL) {
        *ret = raw;
        return true;
    }
    return unescape(raw, arena, ret) || fail(json);
}

bool ls_json_number(struct ls_json *json, struct ls_span *ret)
{
    skip_space(json);
    const char *start = json->at;
    while (json->at < json->end &&
           ((*json->at >= '0' && *json->at <= '9') || *json->at == '-' || *json->at == '+' ||
            *json->at == '.' || *json->at == 'e' || *json->at == 'E'))
        json->at++;
    if (json->at == start)
        return fail(json);
    *ret = (struct ls_span){start, (uint32_t)(json->at - start)};
    return true;
}

bool ls_json_parse_i64(struct ls_span text, int64_t *ret)
{
    bool negative = text.len > 0 && text.data[0] == '-';
    uint64_t limit = (uint64_t)INT64_MAX + negative;
    uint64_t value = 0;
    if (text.len == (uint32_t)negative)
        return false;
    for (uint32_t i = negative; i < text.len; i++) {
        unsigned digit = (unsigned)(text.data[i] - '0');
        if (digit > 9 || value > (limit - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *ret = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

bool ls_json_parse_real(struct ls_span text, double *ret)
{
    char copy[NUMBER_CHARS_MAX + 1];
    if (text.len == 0 || text.len > NUMBER_CHARS_MAX)
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    char *end;
    double value = strtod(copy, &end);
    if (end != copy + text.len || !isfinite(value))
        return false;
    *ret = value;
    return true;
}

bool ls_json_i64(struct ls_json *json, int64_t *ret)
{
    struct ls_span text;
    return ls_json_number(json, &text) && (ls_json_parse_i64(text, ret) || fail(json));
}

static bool skip_word(struct ls_json *json, const char *word)
{
    size_t len = strlen(word);
    if ((size_t)(json->end - json->at) < len || memcmp(json->at, word, len) != 0)
        return fail(json);
    json->at += len;
    return true;
}

static bool skip_value(struct ls_json *json, unsigned depth)
{
    struct ls_span ignored;
    if (depth > LS_JSON_DEPTH_MAX)
        return fail(json);
    switch (ls_json_peek(json)) {
    case LS_JSON_OBJECT:
        for (ls_json_open(json, '{'); ls_json_key(json, &ignored);)
            if (!skip_value(json, depth + 1))
                return false;
        return !json->failed;
    case LS_JSON_ARRAY:
        for (ls_json_open(json, '['); ls_json_item(json);)
            if (!skip_value(json, depth + 1))
                return false;
        return !json->failed;
    case LS_JSON_STRING:
        return ls_json_string(json, NULL, &ignored);
    case LS_JSON_NUMBER:
        return ls_json_number(json, &ignored);
    case LS_JSON_TRUE:
        return skip_word(json, "true");
    case LS_JSON_FALSE:
        return skip_word(json, "false");
    case LS_JSON_NULL:
        return skip_word(json, "null");
    case LS_JSON_END:
        break;
    }
    return fail(json);
}

bool ls_json_skip(struct ls_json *json, struct ls_span *ret)
{
    skip_space(json);
    const char *start = json->at;
    if (!skip_value(json, 0))
        return false;
    if (ret != NULL)
        *ret = (struct ls_span){start, (uint32_t)(json->at - start)};
    return true;
}
