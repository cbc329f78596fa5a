/* Escapes in JSON strings. Pure; see json_escape.h. */
#include "consumers/json_escape.h"

#include <string.h>

/* The four digits of \uXXXX, or -1. */
static int32_t hex4(const char *in, const char *end)
{
    int32_t code = 0;
    if (end - in < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = in[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        code = code << 4 | digit;
    }
    return code;
}

const char *ls_json_escape(const char *in, const char *end, uint32_t *ret)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = in < end ? *in++ : '\0';
    const char *found = c != '\0' ? strchr(from, c) : NULL;
    if (found != NULL) {
        *ret = (unsigned char)to[found - from];
        return in;
    }
    int32_t code = c == 'u' ? hex4(in, end) : -1;
    if (code < 0)
        return NULL;
    in += 4;
    *ret = (uint32_t)code;
    if (code >= 0xd800 && code < 0xdc00 && end - in >= 2 && in[0] == '\\' && in[1] == 'u') {
        int32_t low = hex4(in + 2, end);
        if (low >= 0xdc00 && low < 0xe000) {
            *ret = 0x10000 + ((uint32_t)(code - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
            in += 6;
        }
    }
    return in;
}
