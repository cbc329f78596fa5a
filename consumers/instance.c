/*
 * The instance's loop. One thread does it all but the stores' I/O: it serves the group, reads,
 * decodes, hands units to lanes, takes verdicts back, writes marks, reports. It never waits for a
 * store, so membership in the group survives any outage.
 *
 * A crash at any point loses nothing: positions are marks in the stores, written after their data.
 */
#include "consumers/instance.h"

#include <poll.h>

#include "base/clock.h"
#include "base/mem.h"
#include "consumers/instance_impl.h"
#include "pipeline/kafka.h"

enum { TICK_MS = 100, PROGRESS_MS = 250, RETRYING_AFTER = 3 };

void ls_instance_given(void *opaque, const int32_t *partitions, size_t n)
{
    struct ls_instance *instance = opaque;
    instance->log_unsure = true;
    ls_quarantine_look(instance->quarantine);
    for (size_t i = 0; i < n; i++)
        if (partitions[i] < instance->n_partitions)
            instance->partitions[partitions[i]] =
                (struct ls_partition){.state = LS_PART_GIVEN, .marking = -1};
}

void ls_instance_taken(void *opaque, const int32_t *partitions, size_t n, bool lost)
{
    struct ls_instance *instance = opaque;
    if (!lost && !instance->dropping)
        ls_dispatch_drain(instance, LS_TAKEN_DRAIN_MS);
    for (size_t i = 0; i < n; i++) {
        if (partitions[i] >= instance->n_partitions)
            continue;
        ls_dispatch_forget(instance, partitions[i]);
        instance->partitions[partitions[i]] = (struct ls_partition){.marking = -1};
    }
}

/* Waits until something happens or the next tick. */
static void wait_for_work(struct ls_instance *instance)
{
    int64_t now_us = ls_mono_us();
    int64_t timeout_ms = TICK_MS;
    for (unsigned i = 0; i < instance->n_lanes; i++) {
        const struct ls_lane_state *lane = &instance->lanes[i];
        int64_t wait_ms = ls_send_wait_ms(lane, now_us);
        if (wait_ms < timeout_ms)
            timeout_ms = wait_ms;
        if (ls_dispatch_can_fetch(instance, lane) && rd_kafka_queue_length(lane->queue) > 0)
            timeout_ms = 0;
    }
    struct pollfd waits[2] = {
        {.fd = ls_returns_fd(instance->returns), .events = POLLIN},
        {.fd = instance->source ? ls_source_fd(instance->source) : -1, .events = POLLIN},
    };
    poll(waits, 2, (int)timeout_ms);
    if (waits[1].revents != 0)
        ls_source_clear_fd(instance->source);
}

/* The sink cannot go on as it is: lets go of everything and says when to try again. */
static void start_again(struct ls_instance *instance, const struct ls_err *err)
{
    bool halt = err->class == LS_ERR_FATAL;
    ls_report_error(instance, err);
    ls_report_state(instance, halt ? LS_STATE_HALTED : LS_STATE_WAITING, err->text);
    ls_marks_write(instance, true); /* what is known by position alone must still be known then */
    ls_startup_undo(instance);
    instance->next_start_ms =
        ls_mono_ms() +
        (halt ? LS_HALT_RECHECK_MS : ls_backoff_ms(0, LS_START_RETRY_MS, LS_START_RETRY_MS));
}

/* Whether partitions wait for a store that cannot be looked at. */
static bool has_waiting(const struct ls_instance *instance)
{
    for (int32_t i = 0; i < instance->n_partitions; i++) {
        unsigned lane = instance->ops->lane_of(instance->sink, i);
        if (instance->partitions[i].state == LS_PART_GIVEN &&
            instance->lanes[lane].look_err.class != LS_ERR_NONE)
            return true;
    }
    return false;
}

/* One failure is no outage, but it is what explains that nothing was settled since. */
static bool is_retrying(const struct ls_instance *instance, const struct ls_lane_state *lane)
{
    const struct ls_breaker *breaker = &lane->breaker;
    return breaker->state != LS_BREAKER_CLOSED || breaker->failures >= RETRYING_AFTER ||
           (breaker->failures > 0 && ls_report_is_silent(instance, lane));
}

static void show_running(struct ls_instance *instance)
{
    for (unsigned i = 0; i < instance->n_lanes; i++) {
        if (is_retrying(instance, &instance->lanes[i])) {
            ls_report_state(instance, LS_STATE_RETRYING, instance->last_error);
            return;
        }
    }
    if (instance->next_log_ms != 0 || has_waiting(instance)) {
        ls_report_state(instance, LS_STATE_RETRYING, instance->last_error);
        return;
    }
    int owned = 0, given = 0;
    for (int32_t i = 0; i < instance->n_partitions; i++) {
        owned += instance->partitions[i].state == LS_PART_BEGUN;
        given += instance->partitions[i].state == LS_PART_GIVEN;
    }
    if (owned > 0)
        ls_report_state(instance, LS_STATE_RUNNING, NULL);
    else
        ls_report_state(instance, LS_STATE_WAITING,
                        given > 0 ? "partitions begin when the store's marks are read"
                                  : "no partition is assigned to this process");
}

/* One round of a sink that is up. -1: it must start again. */
static int work(struct ls_instance *instance, struct ls_err *err)
{
    if (ls_dispatch_returns(instance, err) < 0 ||
        ls_quarantine_serve(instance->quarantine, err) < 0 ||
        ls_startup_check_log(instance, err) < 0)
        return -1;
    ls_marks_write(instance, false); /* before looks, which would put it off for ever */
    ls_looks_serve(instance);
    if (ls_dispatch_fetch(instance, err) < 0)
        return -1;
    show_running(instance);
    return 0;
}

/* One round of a sink whose stores are being looked at. -1 likewise. */
static int look(struct ls_instance *instance, struct ls_err *err)
{
    if (ls_dispatch_returns(instance, err) < 0)
        return -1;
    ls_looks_serve(instance);
    return ls_startup_join(instance, err);
}

/* One round of the loop; err is set when the sink had to let go. */
static void step(struct ls_instance *instance, struct ls_err *err)
{
    int rc = 0;
    instance->begin_err = (struct ls_err){0};
    if (instance->source != NULL)
        ls_source_serve(instance->source);
    switch (instance->phase) {
    case LS_INSTANCE_DOWN:
        if (ls_mono_ms() >= instance->next_start_ms)
            rc = ls_startup(instance, err);
        break;
    case LS_INSTANCE_LOOKING:
        rc = look(instance, err);
        break;
    case LS_INSTANCE_UP:
        rc = work(instance, err);
    }
    if (rc < 0)
        start_again(instance, err);
    rd_kafka_poll(instance->producer, 0);
    ls_report_beat(instance, false);
    wait_for_work(instance);
}

/* RANGE: offsets not yet settled; 0 when done. */
static uint64_t offsets_left(const struct ls_instance *instance)
{
    uint64_t left = 0;
    for (int32_t i = 0; instance->stop_at != NULL && i < instance->n_partitions; i++) {
        const struct ls_range *range = &instance->options->ranges[i];
        const struct ls_partition *partition = &instance->partitions[i];
        int64_t low = partition->state == LS_PART_BEGUN ? partition->low : range->from;
        if (range->from < range->to && low < range->to)
            left += (uint64_t)(range->to - low);
    }
    return left;
}

static int open_instance(struct ls_instance *instance, struct ls_err *err)
{
    const struct ls_entity_config *entity = instance->sink_config->entity;
    size_t n = (size_t)entity->partitions;
    instance->n_partitions = entity->partitions;
    instance->partitions = ls_calloc(n, sizeof(*instance->partitions));
    for (size_t i = 0; i < n; i++)
        instance->partitions[i].marking = -1;
    instance->genesis = ls_calloc(n, sizeof(*instance->genesis));
    instance->asked = ls_calloc(n, sizeof(*instance->asked));
    if (instance->options->position == LS_POSITION_RANGE)
        instance->stop_at = ls_calloc(n, sizeof(*instance->stop_at));
    instance->intake.entity = entity;
    instance->intake.wants_hash = instance->ops->wants_hash;
    ls_memory_init(instance);
    instance->returns = ls_returns_new();
    instance->report = ls_report_open(instance);
    instance->quarantine = ls_quarantine_open(instance);
    instance->producer = ls_quarantine_producer(instance, err);
    if (instance->producer == NULL ||
        instance->ops->open(instance->sink_config, &instance->sink, err) < 0)
        return -1;
    unsigned n_lanes = instance->ops->n_lanes(instance->sink);
    instance->lanes = ls_calloc(n_lanes, sizeof(*instance->lanes));
    for (unsigned i = 0; i < n_lanes; i++) {
        struct ls_lane_state *lane = &instance->lanes[i];
        lane->newest = &lane->oldest;
        ls_send_init(instance, lane);
        lane->lane = ls_lane_start(instance->ops, instance->sink, i, instance->returns, err);
        if (lane->lane == NULL)
            return -1;
        instance->n_lanes++;
    }
    for (int32_t i = 0; i < instance->n_partitions; i++)
        instance->lanes[instance->ops->lane_of(instance->sink, i)].n_partitions++;
    return 0;
}

static void close_instance(struct ls_instance *instance)
{
    /* Leaving the group calls taken(), which must find nothing left to wait for. */
    if (instance->lanes != NULL)
        ls_rewind_all(instance);
    instance->dropping = true;
    ls_source_close(instance->source);
    for (unsigned i = 0; i < instance->n_lanes; i++)
        ls_lane_stop(instance->lanes[i].lane);
    if (instance->sink != NULL)
        instance->ops->close(instance->sink);
    if (instance->producer != NULL) {
        rd_kafka_flush(instance->producer, 2000);
        ls_kafka_end(instance->producer);
    }
    ls_quarantine_close(instance->quarantine);
    ls_report_close(instance->report);
    ls_batch_free(instance->spare);
    ls_returns_free(instance->returns);
    ls_intake_free(&instance->intake);
    free(instance->lanes);
    free(instance->partitions);
    free(instance->genesis);
    free(instance->asked);
    free(instance->stop_at);
}

int ls_instance_run(const struct ls_instance_options *options, const atomic_int *stop,
                    ls_instance_progress_fn *progress, void *opaque,
                    struct ls_instance_totals *ret_totals, struct ls_err *err)
{
    struct ls_instance instance = {
        .options = options,
        .config = options->config,
        .sink_config = options->sink,
        .ops = options->sink_ops ? options->sink_ops : ls_sink_ops_for(options->sink->kind),
        .state = LS_STATE_STARTING,
    };
    bool range = options->position == LS_POSITION_RANGE;
    int rc = open_instance(&instance, err);
    int64_t next_progress_ms = 0;
    while (rc == 0 && !*stop) {
        struct ls_err failure = {0};
        step(&instance, &failure);
        if (progress != NULL && ls_mono_ms() >= next_progress_ms) {
            next_progress_ms = ls_mono_ms() + PROGRESS_MS;
            progress(opaque, &instance.totals, offsets_left(&instance));
        }
        if (range && failure.class == LS_ERR_FATAL) {
            *err = failure;
            rc = -1;
        }
        if (range && instance.phase == LS_INSTANCE_UP && offsets_left(&instance) == 0 &&
            ls_dispatch_idle(&instance))
            break;
    }
    if (rc == 0 && instance.phase == LS_INSTANCE_UP)
        ls_dispatch_drain(&instance, LS_DRAIN_MS);
    if (instance.producer != NULL)
        ls_report_state(&instance, LS_STATE_STOPPED, NULL);
    for (int32_t i = 0; options->ret_low_at_ms != NULL && i < instance.n_partitions; i++)
        options->ret_low_at_ms[i] = instance.partitions[i].low_at_ms;
    *ret_totals = instance.totals;
    close_instance(&instance);
    return rc;
}
