/*
 * The breaker of a lane: it decides when nothing more is sent to a store that does not answer, and
 * when to try again.
 *
 * CLOSED → OPEN after a number of failures in a row, or when most units of a window failed. OPEN
 * waits for a back-off with full jitter, then one small unit is sent as a probe (HALF_OPEN): it
 * closes the breaker or opens it for longer. Failures before it opens wait for a back-off, too, so
 * that there is one place that says when a lane may send.
 *
 * Units that were under way together fail together: that is one failure, not several, so that one
 * cut connection does not open the breaker. What was sent before the failure that was counted last
 * is such an echo; the window of the error rate counts every unit.
 *
 * Pure: the time is passed in (monotonic, microseconds). One thread: the instance's. A crash
 * forgets it; the next start finds out again.
 *
 * Rejected: opening by average response time. A slow store still takes records; that is the flow's
 * to judge (flow.h), which makes requests smaller instead of ending them.
 */
#ifndef LS_CONSUMERS_BREAKER_H
#define LS_CONSUMERS_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

enum {
    LS_BREAKER_FAILURES = 5,      /* in a row: they open it */
    LS_BREAKER_WINDOW = 20,       /* units that the error rate is taken over */
    LS_BREAKER_WINDOW_FAILED = 10 /* failures among them: they open it */
};

enum ls_breaker_state {
    LS_BREAKER_CLOSED,
    LS_BREAKER_OPEN,      /* nothing is sent */
    LS_BREAKER_HALF_OPEN, /* a probe is under way */
};

struct ls_breaker {
    enum ls_breaker_state state;
    uint32_t base_ms, cap_ms; /* of the back-off */
    unsigned failures;        /* in a row, probes included */
    uint32_t window;          /* a bit for each unit, newest lowest: it failed */
    unsigned n_window;
    int64_t resume_us;  /* nothing is sent before */
    int64_t counted_us; /* when the last failure was counted */
    int64_t opened_us;  /* not CLOSED: since when */
    uint64_t openings;  /* ever */
    uint64_t probes;
    char cause[240]; /* the newest failure; stays after it closed */
};

/* Back-off between base_ms << failures and cap_ms at most. */
void ls_breaker_init(struct ls_breaker *breaker, uint32_t base_ms, uint32_t cap_ms);

/* Whether a unit may be sent now; while not CLOSED it is the probe. */
bool ls_breaker_may_send(const struct ls_breaker *breaker, int64_t now_us);
/* A unit is sent: OPEN becomes HALF_OPEN. */
void ls_breaker_sent(struct ls_breaker *breaker);

/* A unit that was sent at sent_us came back and all of it was answered. */
void ls_breaker_ok(struct ls_breaker *breaker, int64_t sent_us);
/* ... some of it was answered, the rest has to go again: the store lives, after a short wait. */
void ls_breaker_partly(struct ls_breaker *breaker, int64_t sent_us, int64_t now_us,
                       const char *cause);
/* ... nothing of it was settled. Returns whether that counts as another failure in a row. */
bool ls_breaker_failed(struct ls_breaker *breaker, int64_t sent_us, int64_t now_us,
                       const char *cause);

/* Forgets what it waits for, not what it counted: the sink starts again. */
void ls_breaker_reset(struct ls_breaker *breaker);

/* Milliseconds since it opened; 0 while CLOSED. */
int64_t ls_breaker_open_ms(const struct ls_breaker *breaker, int64_t now_us);

/* "closed", "open", "half-open": in heartbeats, metrics and logs. */
const char *ls_breaker_state_name(enum ls_breaker_state state);

#endif
