#include "base/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

enum { REDRAW_US = 250 * 1000, LINE_US = 10 * 1000 * 1000, BAR_WIDTH = 24 };

const char *ls_human_count(uint64_t count, char *buf, unsigned size)
{
    char digits[24];
    unsigned len = (unsigned)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)count);
    unsigned out = 0;
    for (unsigned i = 0; i < len && out + 2 < size; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            buf[out++] = ',';
        buf[out++] = digits[i];
    }
    buf[out] = '\0';
    return buf;
}

const char *ls_human_rate(double per_s, char *buf, unsigned size)
{
    if (per_s >= 1e6)
        snprintf(buf, size, "%.2f M/s", per_s / 1e6);
    else if (per_s >= 1e3)
        snprintf(buf, size, "%.1f k/s", per_s / 1e3);
    else
        snprintf(buf, size, "%.0f /s", per_s);
    return buf;
}

const char *ls_human_duration(double seconds, char *buf, unsigned size)
{
    long whole = seconds < 0 ? 0 : (long)(seconds + 0.5);
    if (whole >= 3600)
        snprintf(buf, size, "%ld h %ld min", whole / 3600, whole / 60 % 60);
    else if (whole >= 60)
        snprintf(buf, size, "%ld min %ld s", whole / 60, whole % 60);
    else
        snprintf(buf, size, "%ld s", whole);
    return buf;
}

void ls_progress_start(struct ls_progress *progress, const char *what, uint64_t total, bool lines)
{
    *progress = (struct ls_progress){
        .what = what,
        .total = total,
        .start_us = ls_mono_us(),
        .terminal = isatty(STDERR_FILENO),
        .lines = lines,
    };
    progress->drawn_us = progress->start_us;
}

static void draw(struct ls_progress *progress, int64_t now_us)
{
    double seconds = (double)(now_us - progress->start_us) / 1e6;
    double rate = seconds > 0 ? (double)progress->done / seconds : 0;
    char rate_text[32], eta[32] = "";
    ls_human_rate(rate, rate_text, sizeof(rate_text));
    double part = progress->total ? (double)progress->done / (double)progress->total : 0;
    if (part > 1)
        part = 1;
    if (progress->total && rate > 0)
        ls_human_duration((double)(progress->total - progress->done) / rate, eta, sizeof(eta));
    if (!progress->terminal) {
        fprintf(stderr, "%s: %llu of %llu, %s, %s left\n", progress->what,
                (unsigned long long)progress->done, (unsigned long long)progress->total, rate_text,
                *eta ? eta : "unknown time");
        return;
    }
    char bar[BAR_WIDTH + 1];
    for (int i = 0; i < BAR_WIDTH; i++)
        bar[i] = (double)i < part * BAR_WIDTH ? '#' : '.';
    bar[BAR_WIDTH] = '\0';
    if (progress->total)
        fprintf(stderr, "\r\033[K%s [%s] %3.0f %% %s, %s left", progress->what, bar, part * 100,
                rate_text, *eta ? eta : "?");
    else
        fprintf(stderr, "\r\033[K%s %llu, %s", progress->what, (unsigned long long)progress->done,
                rate_text);
    fflush(stderr);
}

void ls_progress_update(struct ls_progress *progress, uint64_t done)
{
    progress->done = done;
    if (!progress->terminal && !progress->lines)
        return;
    int64_t now_us = ls_mono_us();
    if (now_us - progress->drawn_us < (progress->terminal ? REDRAW_US : LINE_US))
        return;
    progress->drawn_us = now_us;
    draw(progress, now_us);
}

void ls_progress_end(struct ls_progress *progress)
{
    if (progress->terminal)
        fputs("\r\033[K", stderr);
}
