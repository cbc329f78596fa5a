/*
 * A file or pipe as records of text, in bounded memory: lines for NDJSON; for CSV, lines that may
 * go on inside quotes. One thread.
 */
#ifndef LS_PRODUCERS_LINES_H
#define LS_PRODUCERS_LINES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    LS_LINE_MAX = 8 << 20,  /* bytes of a record */
    LS_LINE_EXCERPT = 4096, /* bytes kept of a longer one */
};

struct ls_lines {
    int fd;                 /* borrowed */
    bool csv;               /* a line break inside quotes does not end the record */
    const atomic_int *stop; /* NULL, or: reading ends when this becomes true */
    char *data;
    size_t cap;
    size_t begin, end; /* unread part of data */
    size_t scanned;    /* from begin: searched already, so each byte is looked at once */
    int quoting;       /* CSV: state of the search at begin + scanned */
    uint64_t breaks;   /* CSV: line breaks inside quotes before it */
    bool eof;
    bool skipping;      /* inside the rest of a line that was too long */
    uint64_t next_line; /* number of the line at begin, from 1 */
    uint64_t bytes;     /* read from fd so far */
};

enum ls_line_kind {
    LS_LINE_END,     /* no more */
    LS_LINE_STOPPED, /* *stop became true */
    LS_LINE_TEXT,
    LS_LINE_TOO_LONG,   /* data has its first LS_LINE_EXCERPT bytes; the rest was skipped */
    LS_LINE_BAD_QUOTES, /* CSV: quotes are not closed, or text follows a closing one; the first line
                           alone was taken */
};

struct ls_line {
    enum ls_line_kind kind;
    char *data; /* in the reader's memory until the next call; without its line break */
    size_t len;
    uint64_t number; /* of its first line, from 1 */
};

void ls_lines_open(struct ls_lines *lines, int fd, bool csv, const atomic_int *stop);
void ls_lines_free(struct ls_lines *lines);

/* The next record, blank lines included. -1 only when reading fails (class FATAL). */
int ls_lines_next(struct ls_lines *lines, struct ls_line *ret, struct ls_err *err);

#endif
