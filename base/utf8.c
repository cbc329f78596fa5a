/*
 * Strict UTF-8. Most of a membership system's texts are ASCII, which is seen eight bytes at a time;
 * the others are checked a character at a time against RFC 3629's table. Pure.
 */
#include "base/utf8.h"

#include <stdbool.h>
#include <string.h>

#define HIGH_BITS UINT64_C(0x8080808080808080)

/* Bytes of the character at text (left bytes are there), or 0 if it is none. */
static size_t character_bytes(const unsigned char *text, size_t left)
{
    unsigned char lead = text[0];
    /* The second byte's range is what rules out overlong forms, surrogates and above U+10FFFF. */
    unsigned char low = 0x80, high = 0xbf;
    size_t bytes;
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2)
        return 0;
    if (lead < 0xe0) {
        bytes = 2;
    } else if (lead < 0xf0) {
        bytes = 3;
        if (lead == 0xe0)
            low = 0xa0;
        if (lead == 0xed)
            high = 0x9f;
    } else if (lead < 0xf5) {
        bytes = 4;
        if (lead == 0xf0)
            low = 0x90;
        if (lead == 0xf4)
            high = 0x8f;
    } else {
        return 0;
    }
    if (left < bytes || text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i < bytes; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    return bytes;
}

static inline uint64_t load_8(const unsigned char *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
    return word;
}

/* Eight bytes at a time; the last, incomplete step looks at some bytes twice. */
static inline bool is_ascii(const unsigned char *bytes, size_t len)
{
    uint64_t any = 0;
    if (len >= 8) {
        for (size_t at = 0; at + 8 <= len; at += 8)
            any |= load_8(bytes + at);
        any |= load_8(bytes + len - 8);
    } else {
        for (size_t at = 0; at < len; at++)
            any |= bytes[at];
    }
    return (any & HIGH_BITS) == 0;
}

int64_t ls_utf8_length(const char *text, size_t len)
{
    const unsigned char *bytes = (const unsigned char *)text;
    if (is_ascii(bytes, len))
        return (int64_t)len;
    int64_t characters = 0;
    for (size_t at = 0; at < len; characters++) {
        size_t size = character_bytes(bytes + at, len - at);
        if (size == 0)
            return -1;
        at += size;
    }
    return characters;
}

size_t ls_utf8_character(const char *text, size_t left, uint32_t *ret)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t size = left > 0 ? character_bytes(bytes, left) : 0;
    if (size == 0)
        return 0;
    uint32_t code = size == 1 ? bytes[0] : bytes[0] & (0x7fu >> size);
    for (size_t i = 1; i < size; i++)
        code = code << 6 | (bytes[i] & 0x3f);
    *ret = code;
    return size;
}

char *ls_utf8_put(char *out, uint32_t code)
{
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *out++ = (char)(0xe0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    } else {
        *out++ = (char)(0xf0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 0x3f));
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    }
    return out;
}
