#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

void ls_buf_free(struct ls_buf *buf)
{
    free(buf->data);
    *buf = (struct ls_buf){0};
}

char *ls_buf_reserve(struct ls_buf *buf, size_t extra)
{
    size_t need = buf->len + extra;
    if (need > buf->cap) {
        size_t cap = buf->cap ? buf->cap : 64;
        while (cap < need)
            cap *= 2;
        buf->data = ls_realloc(buf->data, cap);
        buf->cap = cap;
    }
    return buf->data + buf->len;
}

void ls_buf_append(struct ls_buf *buf, const void *data, size_t len)
{
    if (len == 0)
        return;
    memcpy(ls_buf_reserve(buf, len), data, len);
    buf->len += len;
}

void ls_buf_printf(struct ls_buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int need = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (need > 0) {
        vsnprintf(ls_buf_reserve(buf, (size_t)need + 1), (size_t)need + 1, format, again);
        buf->len += (size_t)need;
    }
    va_end(again);
}

void ls_buf_append_u64(struct ls_buf *buf, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    ls_buf_append(buf, digits + at, sizeof(digits) - at);
}

void ls_buf_append_i64(struct ls_buf *buf, int64_t number)
{
    uint64_t magnitude = (uint64_t)number;
    if (number < 0) {
        ls_buf_append_char(buf, '-');
        magnitude = 0 - magnitude;
    }
    ls_buf_append_u64(buf, magnitude);
}

const char *ls_buf_cstr(struct ls_buf *buf)
{
    *ls_buf_reserve(buf, 1) = '\0';
    return buf->data;
}
