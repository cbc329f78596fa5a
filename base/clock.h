/* Time: wall clock for what people and records see, monotonic for waiting and measuring. */
#ifndef LS_BASE_CLOCK_H
#define LS_BASE_CLOCK_H

#include <stdint.h>

/* Wall clock, microseconds since 1970-01-01 UTC. */
int64_t ls_wall_us(void);

/* Monotonic clock, milliseconds and microseconds since an arbitrary start. */
int64_t ls_mono_ms(void);
int64_t ls_mono_us(void);

/* Milliseconds from now until ls_mono_ms() is until_ms, as a timeout: 1 where that is past. */
int ls_left_ms(int64_t until_ms);

/*
 * Full jitter back-off: a random number of milliseconds in [0, min(cap_ms, base_ms << attempt)].
 * Source: AWS Architecture Blog, "Exponential Backoff And Jitter" (2015). Thread-safe.
 */
int64_t ls_backoff_ms(unsigned attempt, int64_t base_ms, int64_t cap_ms);

#endif
