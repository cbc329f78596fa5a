/*
 * Letting go of what was read and is not settled: of one lane whose store is in doubt while the
 * others go on, or of everything before the sink starts again. Nothing is lost by it: what was
 * applied is found STALE when it is read again from the marks.
 *
 * A unit that a lane has taken points into its batch, so a batch is freed only when all of its
 * units are back. One lane's are awaited by the loop as it goes on; all lanes' are awaited here,
 * each bounded by its request timeout, while the group is served.
 */
#include <poll.h>

#include "base/clock.h"
#include "consumers/instance_impl.h"

static void free_batches(struct ls_instance *instance, struct ls_lane_state *lane)
{
    for (struct ls_batch *batch = lane->oldest, *next; batch; batch = next) {
        next = batch->next;
        ls_quarantine_forget(instance->quarantine, batch);
        ls_dispatch_release(instance, batch);
    }
    lane->oldest = NULL;
    lane->newest = &lane->oldest;
    lane->n_batches = 0;
}

static void end_partition(struct ls_instance *instance, int32_t number)
{
    struct ls_partition *partition = &instance->partitions[number];
    if (partition->state != LS_PART_BEGUN)
        return;
    ls_source_end(instance->source, number);
    *partition = (struct ls_partition){
        .state = LS_PART_GIVEN,
        .low = instance->options->ranges ? instance->options->ranges[number].from : 0,
        .marking = -1,
    };
}

/* All of it is back: the lane may look, and begin again. */
static void finish(struct ls_instance *instance, struct ls_lane_state *lane)
{
    free_batches(instance, lane);
    lane->rewinding = false;
    lane->next_look_ms = 0;
}

void ls_rewind_lane(struct ls_instance *instance, unsigned number)
{
    struct ls_lane_state *lane = &instance->lanes[number];
    lane->incarnation = ls_lane_incarnation(lane->lane);
    lane->seen = lane->doubted = false;
    instance->rewinds++;
    instance->rewound_ms = ls_wall_us() / 1000;
    for (int32_t i = 0; i < instance->n_partitions; i++)
        if (instance->ops->lane_of(instance->sink, i) == number)
            end_partition(instance, i);
    ls_send_forget(lane);
    lane->rewinding = true;
    if (lane->units_out == 0)
        finish(instance, lane);
}

void ls_rewind_unit(struct ls_instance *instance, struct ls_work *work)
{
    struct ls_lane_state *lane = &instance->lanes[work->lane];
    ls_send_dropped(instance, work);
    ls_send_free_work(work);
    if (lane->units_out == 0)
        finish(instance, lane);
}

/* Takes back what the lanes still hold; each completes what it took within its request timeout. */
static void recall_units(struct ls_instance *instance)
{
    for (;;) {
        for (struct ls_unit *unit = ls_returns_take(instance->returns), *next; unit; unit = next) {
            next = unit->next;
            struct ls_work *work = unit->owner;
            instance->lanes[work->lane].units_out--;
            if (unit->n_marks > 0 && unit->look == NULL)
                ls_marks_written(instance, work->lane, unit);
            ls_send_dropped(instance, work);
            ls_send_free_work(work);
        }
        uint32_t out = 0;
        for (unsigned i = 0; i < instance->n_lanes; i++)
            out += instance->lanes[i].units_out;
        if (out == 0)
            return;
        struct pollfd wait = {.fd = ls_returns_fd(instance->returns), .events = POLLIN};
        poll(&wait, 1, 1000);
        ls_report_turn(instance);
        if (instance->source != NULL)
            ls_source_serve(instance->source);
    }
}

void ls_rewind_all(struct ls_instance *instance)
{
    instance->dropping = true;
    recall_units(instance);
    ls_quarantine_forget(instance->quarantine, NULL);
    for (unsigned i = 0; i < instance->n_lanes; i++) {
        struct ls_lane_state *lane = &instance->lanes[i];
        ls_send_forget(lane);
        free_batches(instance, lane);
        lane->looking = lane->seen = lane->doubted = false;
        lane->rewinding = false;
        lane->incarnation = ls_lane_incarnation(lane->lane);
        lane->next_look_ms = 0;
        lane->look_attempt = 0;
        lane->look_err = (struct ls_err){0};
    }
    instance->dropping = false;
}
