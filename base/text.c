#include "base/text.h"

#include <stdbool.h>

#include "base/mem.h"
#include "base/utf8.h"

/* Sorted. What Unicode calls Cc, Cf, Zl and Zp, but for signs that are seen (of Arabic numbers). */
static const struct {
    uint32_t first, last;
} unsafe[] = {
    {0x0000, 0x001f},   {0x007f, 0x009f},   {0x00ad, 0x00ad},   {0x061c, 0x061c}, {0x180e, 0x180e},
    {0x200b, 0x200f},   {0x2028, 0x202e},   {0x2060, 0x206f},   {0xfeff, 0xfeff}, {0xfff9, 0xfffb},
    {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe007f},
};

/* Whether a terminal may get the character. */
static bool is_safe(uint32_t code)
{
    for (size_t i = 0; i < LS_COUNT(unsafe) && code >= unsafe[i].first; i++)
        if (code <= unsafe[i].last)
            return false;
    return true;
}

/* Bytes that need no look: most of them. */
static size_t plain_bytes(const char *text, size_t len)
{
    size_t n = 0;
    while (n < len && text[n] >= 0x20 && text[n] < 0x7f)
        n++;
    return n;
}

/* Appends what stands for the character (or byte) at text; returns how many bytes that was. */
static size_t show_one(struct ls_buf *buf, const char *text, size_t left)
{
    uint32_t code;
    size_t size = ls_utf8_character(text, left, &code);
    if (size == 0)
        ls_buf_append_char(buf, '?');
    else if (is_safe(code))
        ls_buf_append(buf, text, size);
    else
        ls_buf_printf(buf, size == 1 ? "\\x%02x" : "\\u%04x", code);
    return size ? size : 1;
}

void ls_text_show(struct ls_buf *buf, const char *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        size_t plain = plain_bytes(text + at, len - at);
        ls_buf_append(buf, text + at, plain);
        at += plain;
        if (at < len)
            at += show_one(buf, text + at, len - at);
    }
}

void ls_text_tidy(char *text, size_t size)
{
    size_t len = strnlen(text, size - 1);
    if (plain_bytes(text, len) == len) {
        text[len] = '\0';
        return;
    }
    struct ls_buf buf = {0};
    LS_CLEANUP_FREE char *copy = ls_strndup(text, len);
    size_t kept = 0; /* up to the last character that fits */
    for (size_t at = 0; at < len; kept = buf.len) {
        uint32_t code;
        bool cut = ls_utf8_character(copy + at, len - at, &code) == 0 && len - at < 4 &&
                   len == size - 1; /* what bounded the text went through a character */
        if (cut)
            break;
        at += show_one(&buf, copy + at, len - at);
        if (buf.len >= size)
            break;
    }
    if (kept > 0)
        memcpy(text, buf.data, kept);
    text[kept] = '\0';
    ls_buf_free(&buf);
}

void ls_text_show_json(struct ls_buf *buf, const char *json, size_t len)
{
    for (size_t at = 0; at < len;) {
        uint32_t code;
        size_t plain = plain_bytes(json + at, len - at);
        ls_buf_append(buf, json + at, plain);
        at += plain;
        if (at == len)
            return;
        size_t size = ls_utf8_character(json + at, len - at, &code);
        if (size == 0)
            ls_buf_append_char(buf, '?');
        else if (code == '\n' || is_safe(code))
            ls_buf_append(buf, json + at, size);
        else if (code < 0x10000)
            ls_buf_printf(buf, "\\u%04x", code);
        else
            ls_buf_printf(buf, "\\u%04x\\u%04x", 0xd7c0 + (code >> 10), 0xdc00 + (code & 0x3ff));
        at += size ? size : 1;
    }
}
