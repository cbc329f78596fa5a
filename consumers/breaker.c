#include "consumers/breaker.h"

#include <stdio.h>

#include "base/clock.h"

void ls_breaker_init(struct ls_breaker *breaker, uint32_t base_ms, uint32_t cap_ms)
{
    *breaker = (struct ls_breaker){.base_ms = base_ms, .cap_ms = cap_ms};
}

bool ls_breaker_may_send(const struct ls_breaker *breaker, int64_t now_us)
{
    return breaker->state != LS_BREAKER_HALF_OPEN && now_us >= breaker->resume_us;
}

void ls_breaker_sent(struct ls_breaker *breaker)
{
    if (breaker->state != LS_BREAKER_OPEN)
        return;
    breaker->state = LS_BREAKER_HALF_OPEN;
    breaker->probes++;
}

/* What was sent before the failure that was counted last tells nothing that is not known. */
static bool is_echo(const struct ls_breaker *breaker, int64_t sent_us)
{
    return sent_us < breaker->counted_us;
}

static void wait_for(struct ls_breaker *breaker, unsigned attempt, int64_t now_us)
{
    breaker->resume_us =
        now_us + 1000 * ls_backoff_ms(attempt, (int64_t)breaker->base_ms, (int64_t)breaker->cap_ms);
}

static void note_window(struct ls_breaker *breaker, bool failed)
{
    breaker->window = breaker->window << 1 | (failed ? 1 : 0);
    if (breaker->n_window < LS_BREAKER_WINDOW)
        breaker->n_window++;
}

static bool is_rate_high(const struct ls_breaker *breaker)
{
    uint32_t mask = (1u << LS_BREAKER_WINDOW) - 1;
    return breaker->n_window == LS_BREAKER_WINDOW &&
           __builtin_popcount(breaker->window & mask) >= LS_BREAKER_WINDOW_FAILED;
}

static void note_cause(struct ls_breaker *breaker, const char *cause)
{
    snprintf(breaker->cause, sizeof(breaker->cause), "%s", cause);
}

static void close_breaker(struct ls_breaker *breaker)
{
    breaker->state = LS_BREAKER_CLOSED;
    breaker->failures = 0;
    breaker->window = 0;
    breaker->n_window = 0;
    breaker->opened_us = 0;
}

void ls_breaker_ok(struct ls_breaker *breaker, int64_t sent_us)
{
    note_window(breaker, false);
    if (is_echo(breaker, sent_us))
        return;
    if (breaker->state != LS_BREAKER_CLOSED)
        close_breaker(breaker);
    breaker->failures = 0;
    breaker->resume_us = 0;
}

void ls_breaker_partly(struct ls_breaker *breaker, int64_t sent_us, int64_t now_us,
                       const char *cause)
{
    note_cause(breaker, cause);
    bool echo = is_echo(breaker, sent_us);
    ls_breaker_ok(breaker, sent_us);
    if (!echo) {
        wait_for(breaker, 1, now_us);
        breaker->counted_us = now_us;
    }
}

bool ls_breaker_failed(struct ls_breaker *breaker, int64_t sent_us, int64_t now_us,
                       const char *cause)
{
    note_cause(breaker, cause);
    note_window(breaker, true);
    bool counts = !is_echo(breaker, sent_us);
    if (counts) {
        breaker->failures++;
        breaker->counted_us = now_us;
        wait_for(breaker, breaker->failures, now_us);
    }
    if (breaker->state == LS_BREAKER_HALF_OPEN && counts)
        breaker->state = LS_BREAKER_OPEN;
    if (breaker->state == LS_BREAKER_CLOSED &&
        (breaker->failures >= LS_BREAKER_FAILURES || is_rate_high(breaker))) {
        breaker->state = LS_BREAKER_OPEN;
        breaker->opened_us = now_us;
        breaker->openings++;
    }
    return counts;
}

void ls_breaker_reset(struct ls_breaker *breaker)
{
    close_breaker(breaker);
    breaker->resume_us = 0;
    breaker->counted_us = 0;
}

int64_t ls_breaker_open_ms(const struct ls_breaker *breaker, int64_t now_us)
{
    return breaker->state == LS_BREAKER_CLOSED ? 0 : (now_us - breaker->opened_us) / 1000;
}

const char *ls_breaker_state_name(enum ls_breaker_state state)
{
    static const char *const names[] = {
        [LS_BREAKER_CLOSED] = "closed",
        [LS_BREAKER_OPEN] = "open",
        [LS_BREAKER_HALF_OPEN] = "half-open",
    };
    return names[state];
}
