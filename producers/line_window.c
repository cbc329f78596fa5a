/* A ring of bits behind a low watermark. A crash forgets it: the caller then starts over, which is
 * safe. */
#include "producers/line_window.h"

#include <assert.h>

#include "base/mem.h"

struct ls_line_window *ls_line_window_new(uint64_t first_line)
{
    struct ls_line_window *window = ls_calloc(1, sizeof(*window));
    pthread_mutex_init(&window->lock, NULL);
    window->low = first_line;
    return window;
}

void ls_line_window_free(struct ls_line_window *window)
{
    if (window == NULL)
        return;
    pthread_mutex_destroy(&window->lock);
    free(window);
}

bool ls_line_window_has_room(struct ls_line_window *window, uint64_t line)
{
    pthread_mutex_lock(&window->lock);
    bool room = line - window->low < LS_LINE_WINDOW;
    pthread_mutex_unlock(&window->lock);
    return room;
}

static uint64_t *word_of(struct ls_line_window *window, uint64_t line, uint64_t *ret_bit)
{
    *ret_bit = UINT64_C(1) << (line % 64);
    return &window->words[line % LS_LINE_WINDOW / 64];
}

void ls_line_window_done(struct ls_line_window *window, uint64_t first, uint64_t last)
{
    uint64_t bit;
    pthread_mutex_lock(&window->lock);
    for (uint64_t line = first; line <= last; line++) {
        assert(line >= window->low && line - window->low < LS_LINE_WINDOW);
        uint64_t *word = word_of(window, line, &bit);
        *word |= bit;
        while (*(word = word_of(window, window->low, &bit)) & bit) {
            *word &= ~bit;
            window->low++;
        }
    }
    pthread_mutex_unlock(&window->lock);
}

uint64_t ls_line_window_low(struct ls_line_window *window)
{
    pthread_mutex_lock(&window->lock);
    uint64_t low = window->low;
    pthread_mutex_unlock(&window->lock);
    return low;
}
