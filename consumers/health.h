/*
 * The pages that a process shows of its sink instances: numbers for Prometheus, and two answers for
 * whoever starts and restarts processes.
 *
 *   /metrics  Prometheus's text format.
 *   /healthz  200 while every instance's loop turns; 503 when one has not turned for 30 s. Whatever
 *             is wrong with stores or log is no reason to restart a process, so it does not show.
 *   /readyz   200 while every sink is RUNNING, or stands by because others have all partitions;
 *             else 503, and a line for each sink with its state and why. RUNNING does not mean
 *             caught up: lag is for alerts, and a worker with lag is exactly what must not be taken
 *             away.
 *
 * One thread at a time: the listener's.
 */
#ifndef LS_CONSUMERS_HEALTH_H
#define LS_CONSUMERS_HEALTH_H

#include "consumers/stats.h"
#include "pipeline/metrics_http.h"

enum { LS_LOOP_STALLED_MS = 30 * 1000 };

struct ls_health {
    struct ls_stats *const *stats; /* of each instance, borrowed */
    size_t n;
    const char *version;         /* of the program */
    struct ls_stats_view *views; /* the listener's, made by the first page; see ls_health_free */
};

/* The three pages; their opaque is a struct ls_health. */
enum { LS_HEALTH_PAGES = 3 };
extern const struct ls_page ls_health_pages[LS_HEALTH_PAGES];

/* Frees what the pages allocated. */
void ls_health_free(struct ls_health *health);

#endif
