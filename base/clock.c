#include "base/clock.h"

#include <limits.h>
#include <sys/random.h>
#include <time.h>

static int64_t now_us(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t ls_wall_us(void)
{
    return now_us(CLOCK_REALTIME);
}

int64_t ls_mono_us(void)
{
    return now_us(CLOCK_MONOTONIC);
}

int64_t ls_mono_ms(void)
{
    return ls_mono_us() / 1000;
}

int ls_left_ms(int64_t until_ms)
{
    int64_t left_ms = until_ms - ls_mono_ms();
    if (left_ms < 1)
        return 1;
    return left_ms < INT_MAX ? (int)left_ms : INT_MAX;
}

int64_t ls_backoff_ms(unsigned attempt, int64_t base_ms, int64_t cap_ms)
{
    int64_t bound = cap_ms;
    if (attempt < 32 && base_ms << attempt < cap_ms)
        bound = base_ms << attempt;
    uint64_t random = 0;
    if (bound <= 0 || getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return bound > 0 ? bound : 0;
    return (int64_t)(random % ((uint64_t)bound + 1));
}
