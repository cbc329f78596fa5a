/*
 * SQL literals and JSON lists. mysql_real_escape_string was rejected: it takes the connection,
 * copies byte by byte through the character set's tables, and escapes more than the parser needs;
 * in utf8mb4 no byte of a multi-byte character is an ASCII byte, so three bytes are all there is to
 * escape. Pure, any thread.
 */
#include "consumers/mysql_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "consumers/json_escape.h"

/* Non-zero where any of the eight bytes is NUL, a quote or a backslash. */
static uint64_t special_bytes(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    uint64_t quote = word ^ (ones * '\''), slash = word ^ (ones * '\\');
    return (((word - ones) & ~word) | ((quote - ones) & ~quote) | ((slash - ones) & ~slash)) &
           highs;
}

void ls_mysql_escape(struct ls_buf *buf, const char *text, size_t len)
{
    char *start = ls_buf_reserve(buf, 2 * len + 8), *out = start;
    size_t i = 0;
    while (i < len) {
        uint64_t word;
        if (i + sizeof(word) <= len) {
            memcpy(&word, text + i, sizeof(word));
            if (special_bytes(word) == 0) {
                memcpy(out, &word, sizeof(word));
                out += sizeof(word);
                i += sizeof(word);
                continue;
            }
        }
        char c = text[i++];
        if (c == '\0' || c == '\'' || c == '\\')
            *out++ = '\\';
        *out++ = c == '\0' ? '0' : c;
    }
    buf->len += (size_t)(out - start);
}

void ls_mysql_quote(struct ls_buf *buf, const char *text, size_t len)
{
    ls_buf_append_char(buf, '\'');
    ls_mysql_escape(buf, text, len);
    ls_buf_append_char(buf, '\'');
}

void ls_mysql_double(struct ls_buf *buf, double number)
{
    if (number == 0.0) {
        ls_buf_append(buf, "0e0", 3);
        return;
    }
    /*
     * Most numbers that people store have few decimals. k / 10^4 is rounded once and correctly, as
     * the server rounds the literal "ke-4", so where it is the number, that literal is exact: a
     * tenth of what printf takes.
     */
    double scaled = rint(number * 1e4);
    if (fabs(scaled) < 1e15 && scaled / 1e4 == number) {
        ls_buf_append_i64(buf, (int64_t)scaled);
        ls_buf_append(buf, "e-4", 3);
        return;
    }
    char text[40];
    int len = snprintf(text, sizeof(text), "%.17g", number);
    ls_buf_append(buf, text, (size_t)len);
    /* Without an exponent the literal is a DECIMAL, which the server would have to convert. */
    if (memchr(text, 'e', (size_t)len) == NULL)
        ls_buf_append(buf, "e0", 2);
}

/* JSON's escapes; each backslash of them is doubled for SQL. */
static void append_json_string(struct ls_buf *buf, const char *text, size_t len)
{
    ls_buf_append_char(buf, '"');
    size_t plain = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        ls_mysql_escape(buf, text + plain, i - plain);
        plain = i + 1;
        if (c == '"')
            ls_buf_append(buf, "\\\\\"", 3);
        else if (c == '\\')
            ls_buf_append(buf, "\\\\\\\\", 4);
        else
            ls_buf_printf(buf, "\\\\u%04x", c);
    }
    ls_mysql_escape(buf, text + plain, len - plain);
    ls_buf_append_char(buf, '"');
}

void ls_mysql_list(struct ls_buf *buf, const struct ls_span *items, uint32_t count)
{
    ls_buf_append(buf, "'[", 2);
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            ls_buf_append_char(buf, ',');
        append_json_string(buf, items[i].data, items[i].len);
    }
    ls_buf_append(buf, "]'", 2);
}

struct reader {
    const char *at, *end;
    struct ls_arena *arena;
    const char *why;
};

static void skip_blanks(struct reader *reader)
{
    while (reader->at < reader->end && strchr(" \t\r\n", *reader->at) != NULL &&
           *reader->at != '\0')
        reader->at++;
}

static bool take(struct reader *reader, char c)
{
    skip_blanks(reader);
    if (reader->at >= reader->end || *reader->at != c)
        return false;
    reader->at++;
    return true;
}

/* A string, its opening quote already read: a view where it has no escapes, else a copy. */
static int read_string(struct reader *reader, struct ls_span *ret)
{
    const char *start = reader->at, *scan = start;
    bool escaped = false;
    reader->why = "a string of the JSON array is malformed";
    while (scan < reader->end && *scan != '"' && (unsigned char)*scan >= 0x20) {
        escaped = escaped || *scan == '\\';
        scan += *scan == '\\' ? 2 : 1;
    }
    if (scan >= reader->end || *scan != '"')
        return -1;
    const char *data = start;
    size_t len = (size_t)(scan - start);
    if (escaped) {
        char *copy = ls_arena_alloc(reader->arena, len), *out = copy;
        while (reader->at < scan) {
            uint32_t code;
            if (*reader->at != '\\') {
                *out++ = *reader->at++;
                continue;
            }
            const char *after = ls_json_escape(reader->at + 1, reader->end, &code);
            if (after == NULL || ls_json_is_half(code))
                return -1;
            reader->at = after;
            out = ls_utf8_put(out, code);
        }
        data = copy;
        len = (size_t)(out - copy);
    }
    *ret = (struct ls_span){data, (uint32_t)len};
    reader->at = scan + 1;
    return 0;
}

/* No more items than pairs of quotes. */
static size_t items_at_most(const char *text, size_t len)
{
    size_t quotes = 0;
    for (size_t i = 0; i < len; i++)
        quotes += text[i] == '"';
    return quotes / 2 + 1;
}

int ls_mysql_list_read(const char *text, size_t len, struct ls_arena *arena,
                       struct ls_span **ret_items, uint32_t *ret_count, const char **ret_why)
{
    struct reader reader = {text, text + len, arena, "not a JSON array"};
    size_t room = items_at_most(text, len);
    struct ls_span *items = ls_arena_alloc(arena, room * sizeof(*items));
    uint32_t count = 0;
    bool more = take(&reader, '[');
    if (more && take(&reader, ']')) {
        more = false;
        reader.why = NULL;
    }
    while (more) {
        reader.why = "an item of the JSON array is no string";
        if (count == room || !take(&reader, '"') || read_string(&reader, &items[count]) != 0)
            break;
        count++;
        more = take(&reader, ',');
        reader.why = more || take(&reader, ']') ? NULL : "the JSON array does not end";
    }
    skip_blanks(&reader);
    if (reader.why == NULL && reader.at != reader.end)
        reader.why = "something follows the JSON array";
    if (reader.why != NULL) {
        *ret_why = reader.why;
        return -1;
    }
    *ret_items = items;
    *ret_count = count;
    return 0;
}
