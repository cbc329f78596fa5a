/* Which line to go on from, whatever order lines get done in. */
#include <criterion/criterion.h>

#include "producers/line_window.h"

Test(line_window, holds_at_the_first_line_that_is_not_done)
{
    struct ls_line_window *window = ls_line_window_new(10);
    cr_assert_eq(ls_line_window_low(window), 10);
    ls_line_window_done(window, 12, 12);
    ls_line_window_done(window, 11, 11);
    cr_assert_eq(ls_line_window_low(window), 10);
    ls_line_window_done(window, 10, 10);
    cr_assert_eq(ls_line_window_low(window), 13);
    ls_line_window_free(window);
}

Test(line_window, goes_round_its_ring)
{
    struct ls_line_window *window = ls_line_window_new(1);
    ls_line_window_done(window, 1, 3 * (uint64_t)LS_LINE_WINDOW);
    uint64_t low = 3 * (uint64_t)LS_LINE_WINDOW + 1;
    cr_assert_eq(ls_line_window_low(window), low);
    cr_assert(ls_line_window_has_room(window, low + LS_LINE_WINDOW - 1));
    cr_assert_not(ls_line_window_has_room(window, low + LS_LINE_WINDOW));
    ls_line_window_done(window, low + LS_LINE_WINDOW - 1, low + LS_LINE_WINDOW - 1);
    cr_assert_eq(ls_line_window_low(window), low);
    ls_line_window_done(window, low, low + LS_LINE_WINDOW - 2);
    cr_assert_eq(ls_line_window_low(window), low + LS_LINE_WINDOW);
    ls_line_window_free(window);
}
