#include "consumers/mask.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/buf.h"
#include "base/mem.h"

enum {
    DIGITS_MAX = 4, /* longer numbers may be somebody's */
    LENGTH_DIGITS_MAX = 8,
};

/* Words of stores that are no values: types of fields. */
static const char *const types[] = {
    "keyword",
    "long",
    "double",
    "boolean",
    "date",
    "integer",
    "text",
    "object",
    "VALUE_STRING",
    "PRIMARY",
    "strict_date_time",
    "epoch_millis",
    "strict_date_optional_time",
};

/* What stores put before a value that they quote. */
static const char *const before_values[] = {
    "Preview of field's value",
    "Duplicate entry",
    "Incorrect ",
    "For input string",
    "immense term",
    " near '",
    "parse field",
    "parse date",
    "Truncated incorrect",
    "Newest refusal",
};

bool ls_mask_needed(const struct ls_schema *schema)
{
    bool any = schema->key.pii;
    for (size_t i = 0; i < schema->n_fields; i++)
        any |= schema->fields[i].pii;
    return any;
}

/* `member_0123`, `member-000001`: the entity and digits. */
static bool is_table(const struct ls_schema *schema, const char *word, size_t len)
{
    size_t n = strlen(schema->entity);
    if (len < n || memcmp(word, schema->entity, n) != 0)
        return false;
    if (len == n)
        return true;
    if ((word[n] != '_' && word[n] != '-') || len == n + 1 || len > n + 7)
        return false;
    for (size_t i = n + 1; i < len; i++)
        if (!isdigit((unsigned char)word[i]))
            return false;
    return true;
}

/* `1:57`: line and column, as JSON parsers put them. */
static bool is_position(const char *word, size_t len)
{
    size_t line = strspn(word, "0123456789");
    if (line == 0 || line > DIGITS_MAX || word[line] != ':')
        return false;
    size_t column = strspn(word + line + 1, "0123456789");
    return column > 0 && column <= DIGITS_MAX + 2 && line + 1 + column == len;
}

static bool is_name(const struct ls_schema *schema, const char *word, size_t len)
{
    if (len == strlen(schema->key.name) && memcmp(word, schema->key.name, len) == 0)
        return true;
    if (ls_schema_field_by_name(schema, word, len) >= 0 || is_table(schema, word, len))
        return true;
    for (size_t i = 0; i < LS_COUNT(types); i++)
        if (len == strlen(types[i]) && memcmp(word, types[i], len) == 0)
            return true;
    return is_position(word, len);
}

/* The character that ends what this one begins, or 0. An apostrophe in a word begins nothing. */
static char closing(const char *text, size_t at)
{
    bool in_word =
        at > 0 && isalnum((unsigned char)text[at - 1]) && isalnum((unsigned char)text[at + 1]);
    switch (text[at]) {
    case '\'':
        return in_word ? 0 : '\'';
    case '"':
        return '"';
    case '[':
        return ']';
    default:
        return 0;
    }
}

/*
 * Appends what begins with a quote or bracket at text[at] and returns the place after it. A value
 * may hold the character that ends it, so an unknown one reaches to the last of them; one that was
 * cut has none, and reaches to the end.
 */
static size_t append_quoted(const struct ls_schema *schema, const char *text, size_t at, char close,
                            struct ls_buf *ret)
{
    const char *begin = text + at + 1, *end = strchr(begin, close);
    if (end != NULL && is_name(schema, begin, (size_t)(end - begin))) {
        ls_buf_append(ret, text + at, (size_t)(end - begin) + 2);
        return (size_t)(end - text) + 1;
    }
    end = strrchr(begin, close);
    ls_buf_printf(ret, "%c***", text[at]);
    if (end == NULL)
        return at + strlen(text + at);
    ls_buf_append_char(ret, close);
    return (size_t)(end - text) + 1;
}

/* The digits at text[at] as a port: behind a colon and a host with dots, which says where. */
static bool is_port(const char *text, size_t at, size_t digits)
{
    if (digits > 5 || at < 2 || text[at - 1] != ':' || strtol(text + at, NULL, 10) > UINT16_MAX)
        return false;
    for (size_t i = at - 1;
         i > 0 && (isalnum((unsigned char)text[i - 1]) || text[i - 1] == '-' || text[i - 1] == '.');
         i--)
        if (text[i - 1] == '.')
            return true;
    return false;
}

/* The digits at text[at] as a length, which says nothing of whom it is about: `70000 bytes`. */
static bool is_length(const char *text, size_t at, size_t digits)
{
    const char *after = text + at + digits;
    return digits <= LENGTH_DIGITS_MAX &&
           (strncmp(after, " bytes", 6) == 0 || strncmp(after, " characters", 11) == 0);
}

static void mask_all(const struct ls_schema *schema, const char *text, size_t at,
                     struct ls_buf *ret)
{
    while (text[at] != '\0') {
        char close = closing(text, at);
        size_t digits = strspn(text + at, "0123456789");
        if (close != 0) {
            at = append_quoted(schema, text, at, close, ret);
        } else if (digits > DIGITS_MAX && !is_port(text, at, digits) &&
                   !is_length(text, at, digits)) {
            ls_buf_append_str(ret, "***");
            at += digits;
        } else {
            ls_buf_append(ret, text + at, digits ? digits : 1);
            at += digits ? digits : 1;
        }
    }
}

void ls_mask_text(const struct ls_schema *schema, bool all, const char *text, char *ret,
                  size_t size)
{
    size_t from = strlen(text);
    for (size_t i = 0; i < LS_COUNT(before_values); i++) {
        const char *found = strstr(text, before_values[i]);
        if (found != NULL && (size_t)(found - text) < from)
            from = (size_t)(found - text);
    }
    if (all)
        from = 0;
    if (!ls_mask_needed(schema))
        from = strlen(text);
    struct ls_buf buf = {0};
    ls_buf_append(&buf, text, from);
    mask_all(schema, text, from, &buf);
    snprintf(ret, size, "%s", ls_buf_cstr(&buf));
    ls_buf_free(&buf);
}

void ls_mask_key(const struct ls_schema *schema, const char *key, size_t len, const char **ret_name,
                 char ret[LS_MASKED_KEY_MAX])
{
    *ret_name = schema->key.pii ? "key_hash" : "key";
    if (schema->key.pii)
        snprintf(ret, LS_MASKED_KEY_MAX, "%012" PRIx64, (uint64_t)(XXH3_64bits(key, len) >> 16));
    else
        snprintf(ret, LS_MASKED_KEY_MAX, "%.*s", (int)len, key);
}
