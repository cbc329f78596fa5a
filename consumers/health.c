#include "consumers/health.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "consumers/sink.h"

/* What the pages of one moment are made of. */
struct page {
    struct ls_buf *body;
    const struct ls_health *health;
    int64_t now_ms, wall_ms;
};

static void read_views(struct ls_health *health)
{
    if (health->views == NULL)
        health->views = ls_calloc(health->n, sizeof(*health->views));
    for (size_t i = 0; i < health->n; i++)
        ls_stats_read(health->stats[i], &health->views[i]);
}

void ls_health_free(struct ls_health *health)
{
    for (size_t i = 0; health->views != NULL && i < health->n; i++)
        ls_stats_view_free(&health->views[i]);
    free(health->views);
    health->views = NULL;
}

static struct ls_labels sink_labels(const struct page *page, size_t i)
{
    const struct ls_sink_config *sink = ls_stats_sink(page->health->stats[i]);
    return (struct ls_labels){{{"entity", sink->entity->name}, {"sink", sink->name}}};
}

/* The labels of the sink and one more. */
static struct ls_labels with(struct ls_labels labels, const char *name, const char *value)
{
    size_t n = 0;
    while (labels.label[n].name != NULL)
        n++;
    labels.label[n] = (struct ls_label){name, value};
    return labels;
}

/* One number a sink. */
struct per_sink {
    const char *name;
    enum ls_metric_type type;
    const char *help;
    double (*value)(const struct page *page, size_t i, const struct ls_stats_view *view);
};

static double owned(const struct page *page, size_t i, const struct ls_stats_view *view)
{
    double n = 0;
    for (int32_t p = 0; p < view->n_partitions; p++)
        n += view->partitions[p].owned;
    return n;
}

static double partitions(const struct page *page, size_t i, const struct ls_stats_view *view)
{
    return view->n_partitions;
}

static double consumed(const struct page *page, size_t i, const struct ls_stats_view *view)
{
    return (double)view->consumed;
}

static double retried(const struct page *page, size_t i, const struct ls_stats_view *view)
{
    return (double)view->counts[LS_RETRY];
}

static double quarantined(const struct page *page, size_t i, const struct ls_stats_view *view)
{
    return (double)view->quarantined;
}

static double unconfirmed(const struct page *page, size_t i, const struct ls_stats_view *view)
{
    return (double)view->unconfirmed;
}

static double memory(const struct page *page, size_t i, const struct ls_stats_view *view)
{
    return (double)view->memory_bytes;
}

static double looks(const struct page *page, size_t i, const struct ls_stats_view *view)
{
    return (double)view->looks;
}

static double rewinds(const struct page *page, size_t i, const struct ls_stats_view *view)
{
    return (double)view->rewinds;
}

static double warned(const struct page *page, size_t i, const struct ls_stats_view *view)
{
    return view->wrong;
}

static double heartbeats_failed(const struct page *page, size_t i, const struct ls_stats_view *view)
{
    return (double)view->heartbeats_failed;
}

static double progress_age(const struct page *page, size_t i, const struct ls_stats_view *view)
{
    return page->now_ms > view->progress_ms ? (double)(page->now_ms - view->progress_ms) / 1e3 : 0;
}

static double heartbeat_age(const struct page *page, size_t i, const struct ls_stats_view *view)
{
    return page->now_ms > view->heartbeat_ms ? (double)(page->now_ms - view->heartbeat_ms) / 1e3
                                             : 0;
}

static double loop_age(const struct page *page, size_t i, const struct ls_stats_view *view)
{
    int64_t turned_ms = ls_stats_turned_ms(page->health->stats[i]);
    return page->now_ms > turned_ms ? (double)(page->now_ms - turned_ms) / 1e3 : 0;
}

static const struct per_sink per_sink[] = {
    {"lockstep_records_consumed_total", LS_METRIC_COUNTER,
     "Records read from the log that have their final verdict.", consumed},
    {"lockstep_records_retried_total", LS_METRIC_COUNTER,
     "Records sent to the store again (verdict RETRY, which is not final).", retried},
    {"lockstep_partitions", LS_METRIC_GAUGE, "Partitions of the log.", partitions},
    {"lockstep_partitions_owned", LS_METRIC_GAUGE, "Partitions that this worker was given.", owned},
    {"lockstep_quarantine_open_records", LS_METRIC_GAUGE,
     "Open entries of the quarantine that this worker knows of; of several workers take the "
     "greatest.",
     quarantined},
    {"lockstep_quarantine_unconfirmed_records", LS_METRIC_GAUGE,
     "Poison whose quarantine entry the broker has not confirmed.", unconfirmed},
    {"lockstep_memory_bytes", LS_METRIC_GAUGE,
     "Memory of the messages and batches that the sink has in hand.", memory},
    {"lockstep_progress_age_seconds", LS_METRIC_GAUGE,
     "Time since a record got its final verdict; about 0 while nothing is left to do.",
     progress_age},
    {"lockstep_loop_age_seconds", LS_METRIC_GAUGE,
     "Time since the sink's loop turned; beyond 30 the process is not healthy.", loop_age},
    {"lockstep_store_warning", LS_METRIC_GAUGE,
     "1 while something about the store is wrong that stops no writes, as readers that do not see "
     "them; /readyz and `lockstep status` say what.",
     warned},
    {"lockstep_looks_total", LS_METRIC_COUNTER,
     "Times that the marks in the store were read to see whether it went back.", looks},
    {"lockstep_rewinds_total", LS_METRIC_COUNTER,
     "Times that partitions were read again from their marks, since the store went back.", rewinds},
    {"lockstep_heartbeat_age_seconds", LS_METRIC_GAUGE,
     "Time since Kafka confirmed a heartbeat: without them `lockstep status` does not see the worker.",
     heartbeat_age},
    {"lockstep_heartbeats_failed_total", LS_METRIC_COUNTER,
     "Heartbeats that Kafka will never take.", heartbeats_failed},
};

static void write_per_sink(const struct page *page)
{
    for (size_t m = 0; m < LS_COUNT(per_sink); m++) {
        ls_metric_family(page->body, per_sink[m].name, per_sink[m].type, per_sink[m].help);
        for (size_t i = 0; i < page->health->n; i++) {
            struct ls_labels labels = sink_labels(page, i);
            ls_metric_value(page->body, per_sink[m].name, &labels,
                            per_sink[m].value(page, i, &page->health->views[i]));
        }
    }
}

static void write_states(const struct page *page)
{
    static const char *const names[] = {
        [LS_STATE_STARTING] = "starting", [LS_STATE_RUNNING] = "running",
        [LS_STATE_WAITING] = "waiting",   [LS_STATE_RETRYING] = "retrying",
        [LS_STATE_HALTED] = "halted",     [LS_STATE_STOPPED] = "stopped",
        [LS_STATE_STUCK] = "stuck",
    };
    ls_metric_family(page->body, "lockstep_sink_state", LS_METRIC_GAUGE,
                     "State of the sink in this worker: 1 for the one that it is in.");
    for (size_t i = 0; i < page->health->n; i++) {
        for (size_t s = 0; s < LS_COUNT(names); s++) {
            struct ls_labels labels = with(sink_labels(page, i), "state", names[s]);
            ls_metric_count(page->body, "lockstep_sink_state", &labels,
                            page->health->views[i].state == (enum ls_state)s);
        }
    }
}

static void write_verdicts(const struct page *page)
{
    static const enum ls_verdict verdicts[] = {LS_APPLIED, LS_STALE, LS_SUPERSEDED, LS_POISON};
    ls_metric_family(page->body, "lockstep_records_total", LS_METRIC_COUNTER,
                     "Records by their final verdict; they add up to "
                     "lockstep_records_consumed_total.");
    for (size_t i = 0; i < page->health->n; i++) {
        for (size_t v = 0; v < LS_COUNT(verdicts); v++) {
            struct ls_labels labels =
                with(sink_labels(page, i), "verdict", ls_verdict_name(verdicts[v]));
            ls_metric_count(page->body, "lockstep_records_total", &labels,
                            page->health->views[i].counts[verdicts[v]]);
        }
    }
}

static void write_failures(const struct page *page)
{
    ls_metric_family(page->body, "lockstep_failures_total", LS_METRIC_COUNTER,
                     "Failures that stores and log answered with, by class.");
    for (size_t i = 0; i < page->health->n; i++) {
        for (int class = LS_ERR_RETRY; class < LS_ERR_CLASSES; class ++) {
            struct ls_labels labels =
                with(sink_labels(page, i), "class", ls_err_class_name((enum ls_err_class) class));
            ls_metric_count(page->body, "lockstep_failures_total", &labels,
                            page->health->views[i].failures[class]);
        }
    }
}

static void write_histogram(const struct page *page, const char *name, const char *help,
                            size_t offset)
{
    ls_metric_family(page->body, name, LS_METRIC_HISTOGRAM, help);
    for (size_t i = 0; i < page->health->n; i++) {
        struct ls_labels labels = sink_labels(page, i);
        const char *view = (const char *)&page->health->views[i];
        ls_metric_histogram(page->body, name, &labels,
                            (const struct ls_histogram *)(view + offset));
    }
}

/* Only of partitions that this worker has: the others' are their owners' to tell. */
static void write_partitions(const struct page *page)
{
    char number[16];
    ls_metric_family(page->body, "lockstep_lag_records", LS_METRIC_GAUGE,
                     "Offsets of the log without a final verdict, by partition that this worker "
                     "has; none while that is not known.");
    for (size_t i = 0; i < page->health->n; i++) {
        const struct ls_stats_view *view = &page->health->views[i];
        for (int32_t p = 0; p < view->n_partitions; p++) {
            if (!view->partitions[p].owned || view->partitions[p].lag < 0)
                continue;
            snprintf(number, sizeof(number), "%d", p);
            struct ls_labels labels = with(sink_labels(page, i), "partition", number);
            ls_metric_count(page->body, "lockstep_lag_records", &labels,
                            (uint64_t)view->partitions[p].lag);
        }
    }
    ls_metric_family(page->body, "lockstep_behind_seconds", LS_METRIC_GAUGE,
                     "Age of the oldest record without a final verdict, by partition that this "
                     "worker has; 0 where there is none.");
    for (size_t i = 0; i < page->health->n; i++) {
        const struct ls_stats_view *view = &page->health->views[i];
        for (int32_t p = 0; p < view->n_partitions; p++) {
            const struct ls_partition_stats *part = &view->partitions[p];
            if (!part->owned || part->lag < 0)
                continue;
            int64_t age_ms =
                part->lag > 0 && part->oldest_ms > 0 ? page->wall_ms - part->oldest_ms : 0;
            snprintf(number, sizeof(number), "%d", p);
            struct ls_labels labels = with(sink_labels(page, i), "partition", number);
            ls_metric_value(page->body, "lockstep_behind_seconds", &labels,
                            age_ms > 0 ? (double)age_ms / 1e3 : 0);
        }
    }
}

/*
 * What the samples of a lane are labelled with: its number, and where its servers are, so that an
 * alert names what is dead.
 */
struct lane_name {
    char number[16];
    struct ls_buf server;
};

static struct ls_labels lane_labels(const struct page *page, size_t i, unsigned lane,
                                    struct lane_name *name)
{
    const struct ls_sink_config *sink = ls_stats_sink(page->health->stats[i]);
    ls_buf_clear(&name->server);
    ls_sink_servers(ls_sink_ops_for(sink->kind), sink, lane, &name->server);
    snprintf(name->number, sizeof(name->number), "%u", lane);
    struct ls_labels labels = with(sink_labels(page, i), "lane", name->number);
    return with(labels, "server", ls_buf_cstr(&name->server));
}

static double lane_batches(const struct ls_lane_stats *lane)
{
    return lane->batches;
}

static double lane_units(const struct ls_lane_stats *lane)
{
    return lane->units;
}

static double lane_records(const struct ls_lane_stats *lane)
{
    return lane->records;
}

static double lane_openings(const struct ls_lane_stats *lane)
{
    return (double)lane->openings;
}

static double lane_limit(const struct ls_lane_stats *lane)
{
    return lane->flow_limit;
}

static double lane_max(const struct ls_lane_stats *lane)
{
    return lane->flow_max;
}

/* One number a lane: what goes to one server or cluster. */
static const struct per_lane {
    const char *name;
    enum ls_metric_type type;
    const char *help;
    double (*value)(const struct ls_lane_stats *lane);
} per_lane[] = {
    {"lockstep_batches_in_flight", LS_METRIC_GAUGE, "Batches in hand.", lane_batches},
    {"lockstep_units_in_flight", LS_METRIC_GAUGE, "Units of work that the store has not answered.",
     lane_units},
    {"lockstep_records_in_flight", LS_METRIC_GAUGE,
     "Records that are with the store, or wait to go there again.", lane_records},
    {"lockstep_flow_limit_records", LS_METRIC_GAUGE,
     "Records that may be out at once, as the store's answers allow now.", lane_limit},
    {"lockstep_flow_max_records", LS_METRIC_GAUGE,
     "Records that may be out at once, as configured.", lane_max},
    {"lockstep_breaker_openings_total", LS_METRIC_COUNTER, "Times that the breaker opened.",
     lane_openings},
};

static void write_lanes(const struct page *page)
{
    struct lane_name name = {0};
    for (size_t m = 0; m < LS_COUNT(per_lane); m++) {
        ls_metric_family(page->body, per_lane[m].name, per_lane[m].type, per_lane[m].help);
        for (size_t i = 0; i < page->health->n; i++) {
            const struct ls_stats_view *view = &page->health->views[i];
            for (unsigned l = 0; l < view->n_lanes; l++) {
                struct ls_labels labels = lane_labels(page, i, l, &name);
                ls_metric_value(page->body, per_lane[m].name, &labels,
                                per_lane[m].value(&view->lanes[l]));
            }
        }
    }
    ls_buf_free(&name.server);
}

static void write_breakers(const struct page *page)
{
    struct lane_name name = {0};
    ls_metric_family(page->body, "lockstep_breaker_state", LS_METRIC_GAUGE,
                     "State of the breaker of a lane: 1 for the one that it is in.");
    for (size_t i = 0; i < page->health->n; i++) {
        const struct ls_stats_view *view = &page->health->views[i];
        for (unsigned l = 0; l < view->n_lanes; l++) {
            for (size_t s = 0; s <= LS_BREAKER_HALF_OPEN; s++) {
                enum ls_breaker_state state = (enum ls_breaker_state)s;
                struct ls_labels labels =
                    with(lane_labels(page, i, l, &name), "state", ls_breaker_state_name(state));
                ls_metric_count(page->body, "lockstep_breaker_state", &labels,
                                view->lanes[l].breaker == state);
            }
        }
    }
    ls_buf_free(&name.server);
}

static void write_build(const struct page *page)
{
    struct ls_labels labels = {{{"version", page->health->version}}};
    ls_metric_family(page->body, "lockstep_build_info", LS_METRIC_GAUGE,
                     "The program's version; always 1.");
    ls_metric_count(page->body, "lockstep_build_info", &labels, 1);
    ls_metric_family(page->body, "lockstep_log_lines_dropped_total", LS_METRIC_COUNTER,
                     "Log lines that standard error did not take.");
    ls_metric_count(page->body, "lockstep_log_lines_dropped_total", NULL, ls_log_dropped());
}

static unsigned metrics_page(void *opaque, struct ls_buf *body)
{
    struct ls_health *health = opaque;
    read_views(health);
    struct page page = {
        .body = body,
        .health = health,
        .now_ms = ls_mono_ms(),
        .wall_ms = ls_wall_us() / 1000,
    };
    write_build(&page);
    write_states(&page);
    write_verdicts(&page);
    write_per_sink(&page);
    write_partitions(&page);
    write_failures(&page);
    write_lanes(&page);
    write_breakers(&page);
    write_histogram(&page, "lockstep_batch_records", "Records of a batch that was read.",
                    offsetof(struct ls_stats_view, batch_records));
    write_histogram(&page, "lockstep_store_request_seconds",
                    "Time from giving a unit of work to the store's client to its verdicts.",
                    offsetof(struct ls_stats_view, request_s));
    write_histogram(&page, "lockstep_publish_to_applied_seconds",
                    "Time from a record's LogAppendTime to its verdict APPLIED.",
                    offsetof(struct ls_stats_view, delay_s));
    ls_metric_process(body);
    return 200;
}

static unsigned health_page(void *opaque, struct ls_buf *body)
{
    const struct ls_health *health = opaque;
    int64_t now_ms = ls_mono_ms();
    for (size_t i = 0; i < health->n; i++) {
        int64_t age_ms = now_ms - ls_stats_turned_ms(health->stats[i]);
        if (age_ms > LS_LOOP_STALLED_MS)
            ls_buf_printf(body, "%s: its loop has not turned for %" PRId64 " s\n",
                          ls_stats_sink(health->stats[i])->name, age_ms / 1000);
    }
    if (body->len > 0)
        return 503;
    ls_buf_append_str(body, "ok\n");
    return 200;
}

static unsigned ready_page(void *opaque, struct ls_buf *body)
{
    struct ls_health *health = opaque;
    read_views(health);
    bool ready = true;
    for (size_t i = 0; i < health->n; i++) {
        const struct ls_stats_view *view = &health->views[i];
        ready &= view->state == LS_STATE_RUNNING || view->standby;
        ls_buf_printf(body, "%s: %s%s%s\n", ls_stats_sink(health->stats[i])->name,
                      ls_state_name(view->state), view->reason[0] != '\0' ? ": " : "",
                      view->reason);
    }
    return ready ? 200 : 503;
}

const struct ls_page ls_health_pages[LS_HEALTH_PAGES] = {
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", metrics_page},
    {"/healthz", "text/plain; charset=utf-8", health_page},
    {"/readyz", "text/plain; charset=utf-8", ready_page},
};
