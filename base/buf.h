/*
 * A growing byte buffer. Growth is by doubling, so appending is amortised O(1) and a buffer that is
 * reused stops allocating. Running out of memory aborts the program: nothing sensible can follow,
 * and the log has everything.
 */
#ifndef LS_BASE_BUF_H
#define LS_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct ls_buf {
    char *data; /* NULL while empty and never grown */
    size_t len;
    size_t cap;
};

/* Frees the memory and makes the buffer empty. Safe on a zeroed or freed buffer. */
void ls_buf_free(struct ls_buf *buf);

/* Makes room for `extra` more bytes after len and returns the address where they go. */
char *ls_buf_reserve(struct ls_buf *buf, size_t extra);

/* Appends bytes. */
void ls_buf_append(struct ls_buf *buf, const void *data, size_t len);

/* Appends formatted text (without its NUL). */
void ls_buf_printf(struct ls_buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Appends the decimal digits of a number: the fast path of every encoder. */
void ls_buf_append_u64(struct ls_buf *buf, uint64_t number);
void ls_buf_append_i64(struct ls_buf *buf, int64_t number);

/* Makes sure that data[len] is NUL (not counted) and returns data; "" for an empty buffer. */
const char *ls_buf_cstr(struct ls_buf *buf);

static inline void ls_buf_clear(struct ls_buf *buf)
{
    buf->len = 0;
}

static inline void ls_buf_append_char(struct ls_buf *buf, char c)
{
    *ls_buf_reserve(buf, 1) = c;
    buf->len++;
}

static inline void ls_buf_append_str(struct ls_buf *buf, const char *text)
{
    ls_buf_append(buf, text, strlen(text));
}

#endif
