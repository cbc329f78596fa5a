/*
 * Sending: records that wait for a lane become units, cut to what the store's limits and the lane's
 * flow allow, when the lane's breaker lets them go; and the answers move both.
 *
 * What a store refused for now goes to the end of what waits, so one record that is locked does not
 * hold up the others of its lane. While anything waits, nothing more is read for the lane: that is
 * how its partitions pause while the group is polled as ever.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "consumers/instance_impl.h"

enum { PROBE_RECORDS = 16 };

static struct ls_work *new_work(unsigned lane, struct ls_batch *batch)
{
    struct ls_work *work = ls_calloc(1, sizeof(*work));
    work->unit.owner = work;
    work->batch = batch;
    work->lane = lane;
    return work;
}

void ls_send_free_work(struct ls_work *work)
{
    free(work->unit.refusals);
    free(work->unit.marks);
    free(work->unit.look);
    free(work);
}

void ls_send_init(struct ls_instance *instance, struct ls_lane_state *lane)
{
    const struct ls_sink_config *config = instance->sink_config;
    uint32_t cap_ms = instance->options->backoff_cap_ms;
    lane->ready_end = &lane->ready;
    ls_breaker_init(&lane->breaker, LS_BACKOFF_BASE_MS, cap_ms ? cap_ms : LS_BACKOFF_CAP_MS);
    ls_flow_init(&lane->flow, config->batch_records * config->batches_in_flight);
}

static void submit(struct ls_lane_state *lane, struct ls_work *work)
{
    lane->units_out++;
    /* Not the lane's own, which may have changed since it was asked whether this may be sent. */
    ls_lane_submit_as(lane->lane, &work->unit, lane->incarnation);
}

void ls_send_marks(struct ls_instance *instance, unsigned lane, struct ls_mark *marks,
                   uint32_t n_marks, struct ls_look *look)
{
    struct ls_work *work = new_work(lane, NULL);
    work->unit.marks = marks;
    work->unit.n_marks = n_marks;
    work->unit.look = look;
    instance->lanes[lane].marks_out += look == NULL;
    submit(&instance->lanes[lane], work);
}

/* How many records from the start of a piece of work fit into one unit of this store. */
static uint32_t unit_size(const struct ls_instance *instance, const struct ls_work *work)
{
    uint32_t max_records = instance->ops->unit_records(instance->sink);
    uint32_t max_bytes = instance->ops->unit_bytes(instance->sink);
    uint32_t n = 0;
    uint64_t bytes = 0;
    while (n < work->unit.n_records && n < max_records && (n == 0 || bytes < max_bytes))
        bytes += work->unit.records[n++]->body_len;
    return n;
}

/* The first n records that wait, as work of their own. */
static struct ls_work *take_ready(struct ls_lane_state *lane, uint32_t n)
{
    struct ls_unit *first = lane->ready;
    struct ls_work *work = first->owner;
    if (n == first->n_records) {
        lane->ready = first->next;
        if (lane->ready == NULL)
            lane->ready_end = &lane->ready;
        first->next = NULL;
        return work;
    }
    struct ls_work *piece = new_work(work->lane, work->batch);
    piece->unknown = work->unknown;
    piece->unit.repair = first->repair;
    piece->unit.records = first->records;
    piece->unit.n_records = n;
    piece->batch->open++;
    first->records += n;
    first->n_records -= n;
    return piece;
}

void ls_send_lane(struct ls_instance *instance, struct ls_lane_state *lane)
{
    int64_t now_us = ls_mono_us();
    ls_flow_rest(&lane->flow, now_us);
    while (lane->ready != NULL && !lane->rewinding && ls_breaker_may_send(&lane->breaker, now_us)) {
        uint32_t n = unit_size(instance, lane->ready->owner);
        if (lane->breaker.state != LS_BREAKER_CLOSED && n > PROBE_RECORDS)
            n = PROBE_RECORDS;
        n = ls_flow_room(&lane->flow, n);
        if (n == 0)
            return;
        struct ls_work *work = take_ready(lane, n);
        ls_flow_sent(&lane->flow, n, now_us, &work->ticket);
        ls_breaker_sent(&lane->breaker);
        submit(lane, work);
    }
}

void ls_send_later(struct ls_lane_state *lane, struct ls_work *work)
{
    work->unit.next = NULL;
    *lane->ready_end = &work->unit;
    lane->ready_end = &work->unit.next;
}

void ls_send_batch(struct ls_instance *instance, unsigned lane, struct ls_batch *batch)
{
    if (batch->n_newest == 0)
        return;
    struct ls_lane_state *state = &instance->lanes[lane];
    if (state->flow.out == 0 && state->ready == NULL)
        state->settled_ms = ls_mono_ms();
    struct ls_work *work = new_work(lane, batch);
    work->unit.records = batch->newest;
    work->unit.n_records = batch->n_newest;
    work->unit.repair = instance->options->repair;
    batch->open++;
    ls_send_later(state, work);
    ls_send_lane(instance, state);
}

/* The breaker opened or closed: once each, since what fails while it is open is one story. */
static void say_breaker(const struct ls_instance *instance, const struct ls_lane_state *lane,
                        int64_t open_ms)
{
    char openings[24], seconds[24];
    struct ls_buf server = {0};
    bool open = lane->breaker.state != LS_BREAKER_CLOSED;
    ls_sink_servers(instance->ops, instance->sink_config, (unsigned)(lane - instance->lanes),
                    &server);
    snprintf(openings, sizeof(openings), "%" PRIu64, lane->breaker.openings);
    snprintf(seconds, sizeof(seconds), "%.1f", (double)open_ms / 1000);
    ls_log(open ? LS_LOG_WARN : LS_LOG_INFO, open ? "breaker opens" : "breaker closes", "sink",
           instance->sink_config->name, "server", ls_buf_cstr(&server), "openings", openings,
           "cause", lane->breaker.cause, "open_s", open ? NULL : seconds, NULL);
    ls_buf_free(&server);
}

static enum ls_flow_outcome outcome_of(const struct ls_err *err)
{
    switch (err->class) {
    case LS_ERR_NONE:
    case LS_ERR_POISON:
        return LS_FLOW_OK;
    case LS_ERR_RETRY:
    case LS_ERR_UNKNOWN:
        return err->overload ? LS_FLOW_REJECTED : LS_FLOW_FAILED;
    case LS_ERR_FATAL:
        break;
    }
    return LS_FLOW_DROPPED;
}

void ls_send_answered(struct ls_instance *instance, struct ls_work *work, bool settled)
{
    struct ls_lane_state *lane = &instance->lanes[work->lane];
    const struct ls_err *err = &work->unit.err;
    if (work->unit.n_records == 0 || work->batch == NULL)
        return;
    struct ls_breaker *breaker = &lane->breaker;
    int64_t now_us = ls_mono_us(), sent_us = work->ticket.sent_us;
    bool was_open = breaker->state != LS_BREAKER_CLOSED;
    int64_t open_ms = ls_breaker_open_ms(breaker, now_us);
    bool unknown = err->class == LS_ERR_UNKNOWN;
    char cause[sizeof(breaker->cause)] = "";
    if (err->class != LS_ERR_NONE)
        ls_report_text(instance, err, cause, sizeof(cause));
    enum ls_flow_outcome outcome = outcome_of(err);
    ls_flow_back(&lane->flow, &work->ticket, outcome, now_us);
    if (settled)
        lane->settled_ms = now_us / 1000;
    work->unknown = unknown ? work->unknown + 1 : 0;
    if (outcome == LS_FLOW_OK)
        ls_breaker_ok(breaker, sent_us);
    else if (outcome != LS_FLOW_DROPPED && settled)
        ls_breaker_partly(breaker, sent_us, now_us, cause);
    else if (outcome != LS_FLOW_DROPPED && ls_breaker_failed(breaker, sent_us, now_us, cause))
        lane->unknown += unknown; /* each probe has other records: the lane counts, too */
    if (settled || !unknown)
        lane->unknown = 0;
    if (was_open != (breaker->state != LS_BREAKER_CLOSED))
        say_breaker(instance, lane, open_ms);
}

void ls_send_dropped(struct ls_instance *instance, struct ls_work *work)
{
    ls_flow_back(&instance->lanes[work->lane].flow, &work->ticket, LS_FLOW_DROPPED, 0);
}

void ls_send_forget(struct ls_lane_state *lane)
{
    for (struct ls_unit *unit = lane->ready, *next; unit; unit = next) {
        next = unit->next;
        ls_send_free_work(unit->owner);
    }
    lane->ready = NULL;
    lane->ready_end = &lane->ready;
    lane->unknown = 0;
    ls_breaker_reset(&lane->breaker);
}

bool ls_send_is_away(const struct ls_lane_state *lane)
{
    return lane->breaker.state != LS_BREAKER_CLOSED || lane->breaker.failures > 0;
}

int64_t ls_send_wait_ms(const struct ls_lane_state *lane, int64_t now_us)
{
    int64_t wait_us = lane->breaker.resume_us - now_us;
    if (lane->ready == NULL || lane->rewinding || wait_us <= 0 ||
        lane->breaker.state == LS_BREAKER_HALF_OPEN)
        return INT64_MAX;
    return (wait_us + 999) / 1000;
}
