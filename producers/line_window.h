/*
 * Which lines of a file are done (published, rejected or empty), when they get done in another
 * order than they stand in: the low watermark is the line to go on from. Bounded: at most
 * LS_LINE_WINDOW lines after the low one. Thread-safe: the reader adds, the deliveries finish.
 */
#ifndef LS_PRODUCERS_LINE_WINDOW_H
#define LS_PRODUCERS_LINE_WINDOW_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { LS_LINE_WINDOW = 1 << 20 };

struct ls_line_window {
    pthread_mutex_t lock;
    uint64_t low;                        /* every line before this one is done */
    uint64_t words[LS_LINE_WINDOW / 64]; /* ring of bits: 1 is done */
};

/* first_line: where reading begins. The caller frees with ls_line_window_free. */
struct ls_line_window *ls_line_window_new(uint64_t first_line);
void ls_line_window_free(struct ls_line_window *window);

/* Whether the line can be followed now; if not, older ones must be done first. */
bool ls_line_window_has_room(struct ls_line_window *window, uint64_t line);

/* The lines first..last are done. All within the window. */
void ls_line_window_done(struct ls_line_window *window, uint64_t first, uint64_t last);

/* The first line that is not done. */
uint64_t ls_line_window_low(struct ls_line_window *window);

#endif
