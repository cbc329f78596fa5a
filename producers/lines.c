/*
 * Splitting input into records. The buffer grows up to LS_LINE_MAX and no further; what is longer
 * is skipped to its end.
 *
 * One thread. A crash loses nothing: the input is only read.
 * Rejected: getline(3), which takes as much memory as a line is long; mmap(2), which pipes have
 * not.
 */
#include "producers/lines.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

enum { READ_BYTES = 256 << 10 };

void ls_lines_open(struct ls_lines *lines, int fd, bool csv, const atomic_int *stop)
{
    *lines = (struct ls_lines){.fd = fd, .csv = csv, .stop = stop, .next_line = 1};
}

void ls_lines_free(struct ls_lines *lines)
{
    free(lines->data);
    *lines = (struct ls_lines){.fd = -1};
}

static bool stopped(const struct ls_lines *lines)
{
    return lines->stop != NULL && *lines->stop;
}

/* Reads more behind what is there. 1: read something, 0: end or stopped, -1: failed. */
static int read_more(struct ls_lines *lines, struct ls_err *err)
{
    size_t have = lines->end - lines->begin;
    if (lines->begin > 0 && lines->cap - lines->end < READ_BYTES) {
        memmove(lines->data, lines->data + lines->begin, have);
        lines->begin = 0;
        lines->end = have;
    }
    if (lines->cap - lines->end < READ_BYTES) {
        size_t cap = lines->cap ? lines->cap * 2 : 4 * READ_BYTES;
        lines->data = ls_realloc(lines->data, cap);
        lines->cap = cap;
    }
    while (!stopped(lines)) {
        ssize_t got = read(lines->fd, lines->data + lines->end, READ_BYTES);
        if (got > 0) {
            lines->end += (size_t)got;
            lines->bytes += (uint64_t)got;
            return 1;
        }
        if (got == 0) {
            lines->eof = true;
            return 0;
        }
        if (errno != EINTR)
            return ls_err_set(err, LS_ERR_FATAL, errno, "reading line %llu: %s",
                              (unsigned long long)lines->next_line, strerror(errno));
    }
    return 0;
}

enum { FIELD_START, PLAIN, QUOTED, QUOTE }; /* quoting */
enum { NEED_MORE = -1, BROKEN = -2 };

/* Goes to the next quote, counting line breaks on the way. */
static size_t skip_quoted(struct ls_lines *lines, const char *data, size_t at, size_t len)
{
    const char *quote = memchr(data + at, '"', len - at);
    size_t stop = quote ? (size_t)(quote - data) : len;
    const char *newline;
    while ((newline = memchr(data + at, '\n', stop - at)) != NULL) {
        lines->breaks++;
        at = (size_t)(newline - data) + 1;
    }
    if (quote != NULL)
        lines->quoting = QUOTE;
    return quote ? stop + 1 : len;
}

/*
 * Where the CSV record that starts at data ends, with quotes as RFC 4180 has them: one opens only
 * at the start of a field. Its length without the line break, or one of the above.
 */
static ssize_t csv_end(struct ls_lines *lines, const char *data, size_t len)
{
    size_t at = lines->scanned;
    while (at < len) {
        if (lines->quoting == QUOTED) {
            at = skip_quoted(lines, data, at, len);
            continue;
        }
        char c = data[at];
        if (c == '\n')
            return (ssize_t)at;
        if (c == ',')
            lines->quoting = FIELD_START;
        else if (c == '"' && lines->quoting != PLAIN)
            lines->quoting = QUOTED; /* opens the field, or is the second of a pair */
        else if (lines->quoting != QUOTE)
            lines->quoting = PLAIN;
        else if (c != '\r') {
            lines->scanned = at; /* found again here, should the line not be complete yet */
            return BROKEN;
        }
        at++;
    }
    lines->scanned = len;
    if (!lines->eof)
        return NEED_MORE;
    return lines->quoting == QUOTED ? BROKEN : (ssize_t)len;
}

static void take(struct ls_lines *lines, enum ls_line_kind kind, size_t len, bool has_break,
                 struct ls_line *ret)
{
    ret->kind = kind;
    ret->data = lines->data + lines->begin;
    ret->len = len;
    ret->number = lines->next_line;
    lines->begin += len + has_break;
    lines->scanned = 0;
    lines->quoting = FIELD_START;
    lines->next_line++;
    if (ret->len > 0 && ret->data[ret->len - 1] == '\r')
        ret->len--;
}

/* Takes the physical line at begin whatever its quotes; it is complete, or the input has ended. */
static void take_first_line(struct ls_lines *lines, enum ls_line_kind kind, struct ls_line *ret)
{
    char *data = lines->data + lines->begin;
    size_t have = lines->end - lines->begin;
    const char *newline = memchr(data, '\n', have);
    take(lines, kind, newline ? (size_t)(newline - data) : have, newline != NULL, ret);
}

/* Hands out the excerpt of a line that does not fit; the next call skips what is left of it. */
static void take_excerpt(struct ls_lines *lines, struct ls_line *ret)
{
    *ret = (struct ls_line){
        .kind = LS_LINE_TOO_LONG,
        .data = lines->data + lines->begin,
        .len = LS_LINE_EXCERPT,
        .number = lines->next_line++,
    };
    lines->skipping = true;
    lines->scanned = 0;
    lines->quoting = FIELD_START;
    lines->breaks = 0;
}

/* Skips to behind the next line break, in constant memory. */
static int skip_rest(struct ls_lines *lines, struct ls_err *err)
{
    lines->skipping = false;
    for (;;) {
        char *data = lines->data + lines->begin;
        const char *newline = memchr(data, '\n', lines->end - lines->begin);
        if (newline != NULL) {
            lines->begin += (size_t)(newline - data) + 1;
            return 0;
        }
        lines->begin = lines->end = 0;
        int got = read_more(lines, err);
        if (got <= 0)
            return got;
    }
}

/* Looks for the end of the record in what has been read. False when more is needed. */
static bool find(struct ls_lines *lines, struct ls_line *ret)
{
    char *data = lines->data + lines->begin;
    size_t have = lines->end - lines->begin;
    if (!lines->csv) {
        const char *newline = memchr(data + lines->scanned, '\n', have - lines->scanned);
        lines->scanned = have;
        if (newline == NULL && !lines->eof)
            return false;
        take(lines, LS_LINE_TEXT, newline ? (size_t)(newline - data) : have, newline != NULL, ret);
        return true;
    }
    ssize_t end = csv_end(lines, data, have);
    if (end == NEED_MORE)
        return false;
    if (end == BROKEN && !lines->eof && memchr(data, '\n', have) == NULL)
        return false;
    uint64_t breaks = lines->breaks;
    lines->breaks = 0;
    if (end == BROKEN) {
        take_first_line(lines, LS_LINE_BAD_QUOTES, ret);
        return true;
    }
    take(lines, LS_LINE_TEXT, (size_t)end, (size_t)end < have, ret);
    lines->next_line += breaks;
    return true;
}

int ls_lines_next(struct ls_lines *lines, struct ls_line *ret, struct ls_err *err)
{
    *ret = (struct ls_line){.kind = LS_LINE_END, .number = lines->next_line};
    if (lines->skipping && skip_rest(lines, err) < 0)
        return -1;
    for (;;) {
        if (stopped(lines)) {
            ret->kind = LS_LINE_STOPPED;
            return 0;
        }
        size_t have = lines->end - lines->begin;
        if (have == 0 && lines->eof)
            return 0;
        if (have > 0 && find(lines, ret)) {
            if (ret->len > LS_LINE_MAX) {
                ret->kind = LS_LINE_TOO_LONG;
                ret->len = LS_LINE_EXCERPT;
            }
            return 0;
        }
        if (have > LS_LINE_MAX) {
            if (lines->csv && memchr(lines->data + lines->begin, '\n', have) != NULL) {
                lines->breaks = 0;
                take_first_line(lines, LS_LINE_BAD_QUOTES, ret);
            } else
                take_excerpt(lines, ret);
            return 0;
        }
        if (!lines->eof && read_more(lines, err) < 0)
            return -1;
    }
}
