/*
 * Progress of long work, on stderr: a bar with rate and ETA redrawn in place on a terminal, nothing
 * when stderr is no terminal unless asked for a line every 10 s. One thread.
 */
#ifndef LS_BASE_PROGRESS_H
#define LS_BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct ls_progress {
    const char *what; /* "publish", "verify es-primary" */
    uint64_t total;   /* 0: unknown, so no ETA */
    uint64_t done;
    int64_t start_us;
    int64_t drawn_us;
    bool terminal;
    bool lines; /* a line every 10 s where it is no terminal */
};

void ls_progress_start(struct ls_progress *progress, const char *what, uint64_t total, bool lines);
/* Redraws at most four times a second. */
void ls_progress_update(struct ls_progress *progress, uint64_t done);
/* Erases the bar, so that results follow on a clean line. */
void ls_progress_end(struct ls_progress *progress);

/* 1234567 as "1,234,567"; buf (27 bytes hold any number) holds the text, which is returned. */
const char *ls_human_count(uint64_t count, char *buf, unsigned size);
/* "12.3 k/s", "1 min 20 s" for people; buf holds the text, which is returned. */
const char *ls_human_rate(double per_s, char *buf, unsigned size);
const char *ls_human_duration(double seconds, char *buf, unsigned size);

#endif
