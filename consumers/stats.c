#include "consumers/stats.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

struct ls_stats {
    const struct ls_sink_config *sink;
    _Atomic int64_t turned_ms;
    pthread_mutex_t lock; /* of what follows */
    struct ls_stats_view view;
};

void ls_stats_view_init(struct ls_stats_view *view, int32_t n_partitions, unsigned n_lanes)
{
    view->progress_ms = view->heartbeat_ms = ls_mono_ms();
    view->batch_records.buckets = &ls_buckets_records;
    view->request_s.buckets = &ls_buckets_request_s;
    view->delay_s.buckets = &ls_buckets_delay_s;
    view->n_partitions = n_partitions;
    view->partitions = ls_calloc((size_t)n_partitions, sizeof(*view->partitions));
    view->n_lanes = n_lanes;
    view->lanes = ls_calloc(n_lanes, sizeof(*view->lanes));
}

void ls_stats_view_free(struct ls_stats_view *view)
{
    free(view->partitions);
    free(view->lanes);
    *view = (struct ls_stats_view){0};
}

struct ls_stats *ls_stats_new(const struct ls_sink_config *sink)
{
    struct ls_stats *stats = ls_calloc(1, sizeof(*stats));
    stats->sink = sink;
    pthread_mutex_init(&stats->lock, NULL);
    ls_stats_view_init(&stats->view, sink->entity->partitions, 0);
    ls_stats_turn(stats);
    return stats;
}

void ls_stats_free(struct ls_stats *stats)
{
    if (stats == NULL)
        return;
    ls_stats_view_free(&stats->view);
    pthread_mutex_destroy(&stats->lock);
    free(stats);
}

const struct ls_sink_config *ls_stats_sink(const struct ls_stats *stats)
{
    return stats->sink;
}

void ls_stats_turn_at(struct ls_stats *stats, int64_t mono_ms)
{
    atomic_store_explicit(&stats->turned_ms, mono_ms, memory_order_relaxed);
}

void ls_stats_turn(struct ls_stats *stats)
{
    ls_stats_turn_at(stats, ls_mono_ms());
}

int64_t ls_stats_turned_ms(const struct ls_stats *stats)
{
    return atomic_load_explicit(&stats->turned_ms, memory_order_relaxed);
}

/* Arrays are kept where they fit, so that nothing is allocated again and again. */
static void copy_view(struct ls_stats_view *to, const struct ls_stats_view *from)
{
    struct ls_partition_stats *partitions = to->partitions;
    struct ls_lane_stats *lanes = to->lanes;
    size_t partition_bytes = (size_t)from->n_partitions * sizeof(*partitions);
    size_t lane_bytes = from->n_lanes * sizeof(*lanes);
    if (to->n_partitions != from->n_partitions)
        partitions = ls_realloc(partitions, partition_bytes);
    if (to->n_lanes != from->n_lanes)
        lanes = ls_realloc(lanes, lane_bytes);
    *to = *from;
    to->partitions = partitions;
    to->lanes = lanes;
    if (from->n_partitions > 0)
        memcpy(partitions, from->partitions, partition_bytes);
    if (from->n_lanes > 0)
        memcpy(lanes, from->lanes, lane_bytes);
}

void ls_stats_publish(struct ls_stats *stats, const struct ls_stats_view *view)
{
    pthread_mutex_lock(&stats->lock);
    copy_view(&stats->view, view);
    pthread_mutex_unlock(&stats->lock);
}

void ls_stats_read(struct ls_stats *stats, struct ls_stats_view *ret)
{
    pthread_mutex_lock(&stats->lock);
    copy_view(ret, &stats->view);
    pthread_mutex_unlock(&stats->lock);
}
