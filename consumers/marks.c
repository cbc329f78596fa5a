/*
 * Marks: the low watermark of each partition goes into the store itself, after the data that it
 * covers, and then to the group's offsets.
 *
 * A mark covers whole batches only, so it may travel to the store together with newer records, in
 * any order. It is written once an interval and when things come to rest, not with every batch: a
 * mark that is a second old costs a second of STALE records at the next start, nothing else. Marks
 * in each data transaction were rejected: the mark of a batch is known only when its poison is in
 * the quarantine, which is later than its transaction.
 */
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "consumers/instance_impl.h"
#include "schema/key.h"

enum { MARK_INTERVAL_MS = 1000 };

static uint64_t low_version(const struct ls_instance *instance, int32_t number)
{
    return ls_version(instance->sink_config->entity->generation,
                      instance->partitions[number].low - 1);
}

static bool is_due(const struct ls_instance *instance, int32_t number)
{
    const struct ls_partition *partition = &instance->partitions[number];
    return partition->state == LS_PART_BEGUN && partition->marking < 0 &&
           partition->low > partition->marked && low_version(instance, number) > partition->stored;
}

static struct ls_mark make_mark(const struct ls_instance *instance, int32_t number)
{
    const struct ls_partition *partition = &instance->partitions[number];
    struct ls_mark mark = {
        .partition = number,
        .version = low_version(instance, number),
        .at_ms = partition->low_at_ms,
    };
    snprintf(mark.genesis, sizeof(mark.genesis), "%s", instance->genesis[number].uuid);
    return mark;
}

/* All marks that are due on one lane, as one unit. */
static void write_lane(struct ls_instance *instance, unsigned lane)
{
    struct ls_mark *marks = NULL;
    uint32_t n = 0;
    for (int32_t i = 0; i < instance->n_partitions; i++) {
        struct ls_partition *partition = &instance->partitions[i];
        if (!is_due(instance, i) || instance->ops->lane_of(instance->sink, i) != lane)
            continue;
        if (marks == NULL)
            marks = ls_calloc((size_t)instance->n_partitions, sizeof(*marks));
        marks[n++] = make_mark(instance, i);
        partition->marking = partition->low;
    }
    if (n > 0)
        ls_send_marks(instance, lane, marks, n, NULL);
}

/* Not while the store is away, and not while it is unsure what it holds. */
static bool is_sure(const struct ls_lane_state *lane)
{
    return !ls_send_is_away(lane) && !lane->rewinding && !lane->doubted &&
           lane->incarnation == ls_lane_incarnation(lane->lane);
}

static bool may_write(const struct ls_lane_state *lane)
{
    return is_sure(lane) && !lane->looking;
}

bool ls_marks_pending(const struct ls_instance *instance)
{
    if (instance->options->position != LS_POSITION_MARKS)
        return false;
    for (int32_t i = 0; i < instance->n_partitions; i++) {
        unsigned lane = instance->ops->lane_of(instance->sink, i);
        if (instance->partitions[i].marking >= 0 ||
            (is_due(instance, i) && is_sure(&instance->lanes[lane])))
            return true;
    }
    return false;
}

void ls_marks_write(struct ls_instance *instance, bool now)
{
    if (instance->options->position != LS_POSITION_MARKS)
        return;
    int64_t now_ms = ls_mono_ms();
    if (!now && now_ms < instance->next_marks_ms)
        return;
    uint32_t interval_ms = instance->options->mark_interval_ms;
    instance->next_marks_ms = now_ms + (interval_ms ? interval_ms : MARK_INTERVAL_MS);
    for (unsigned i = 0; i < instance->n_lanes; i++)
        if (may_write(&instance->lanes[i]))
            write_lane(instance, i);
}

void ls_marks_written(struct ls_instance *instance, unsigned lane, const struct ls_unit *unit)
{
    instance->lanes[lane].marks_out--;
    if (unit->marks_unexpected)
        instance->lanes[lane].doubted = true;
    /* A store that can be read and not written would be looked at again and again. */
    if (unit->err.class != LS_ERR_NONE && !instance->lanes[lane].seen)
        ls_looks_put_off(&instance->lanes[lane], &unit->err);
    int32_t *numbers = ls_calloc(unit->n_marks, sizeof(*numbers));
    int64_t *offsets = ls_calloc(unit->n_marks, sizeof(*offsets));
    uint32_t n = 0;
    for (uint32_t i = 0; i < unit->n_marks; i++) {
        struct ls_partition *partition = &instance->partitions[unit->marks[i].partition];
        int64_t low = partition->marking;
        partition->marking = -1;
        if (!unit->marks_written || low < 0 || partition->state != LS_PART_BEGUN)
            continue;
        partition->marked = low;
        partition->stored = unit->marks[i].version;
        numbers[n] = unit->marks[i].partition;
        offsets[n++] = low;
    }
    if (n > 0)
        ls_source_commit(instance->source, numbers, offsets, n);
    free(numbers);
    free(offsets);
}
