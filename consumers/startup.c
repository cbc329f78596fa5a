/*
 * Start: who the log is, what the store's marks say, and where each partition begins.
 *
 * The store decides (law 6): a partition begins at its mark in the store, whatever the group's
 * offsets say. A store that is empty gets marks at zero first, then data; a store with data and no
 * mark at all is somebody else's, or older than this log, and halts the sink. The log must be the
 * one that the marks name (law 7): another genesis, or a mark beyond the end of the log, halts
 * before anything is applied.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "consumers/instance_impl.h"
#include "pipeline/kafka.h"
#include "schema/key.h"

/*
 * The mark of every partition. A store that follows the log and lacks some marks (it was emptied in
 * part) or all marks and data (it is new) gets them at zero, so that it is filled from the start.
 */
static int read_marks(struct ls_instance *instance, struct ls_mark *marks, struct ls_err *err)
{
    size_t n = (size_t)instance->n_partitions;
    for (size_t i = 0; i < n; i++)
        marks[i] = (struct ls_mark){.partition = (int32_t)i};
    /*
     * Data first, marks second: another worker that starts at the same time writes marks before
     * data, so seeing its data here means that its marks are seen too.
     */
    bool has_data = false;
    if (instance->store_ops->has_data(instance->store, &has_data, err) < 0 ||
        instance->store_ops->read_marks(instance->store, marks, n, err) < 0)
        return -1;
    LS_CLEANUP_FREE struct ls_mark *missing = ls_calloc(n, sizeof(*missing));
    size_t n_missing = 0;
    for (size_t i = 0; i < n; i++) {
        if (marks[i].genesis[0] != '\0')
            continue;
        snprintf(marks[i].genesis, sizeof(marks[i].genesis), "%s", instance->genesis[i].uuid);
        missing[n_missing++] = marks[i];
    }
    if (n_missing == n && has_data && !instance->options->adopt)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "the store has data but no mark: nobody can say how far it got, or whose "
                          "it is. If it belongs to this log, `lockstep resync --sink %s` reads all "
                          "of the log into it (nothing newer is overwritten)",
                          instance->sink_config->name);
    if (n_missing == 0 || instance->options->position != LS_POSITION_MARKS)
        return 0;
    return instance->store_ops->reset_marks(instance->store, missing, n_missing, err);
}

/* Law 7: the log must be the one that the store's mark names. */
static int check_identity(const struct ls_instance *instance, const struct ls_mark *mark,
                          struct ls_err *err)
{
    const struct ls_entity_config *entity = instance->sink_config->entity;
    const struct ls_genesis *genesis = &instance->genesis[mark->partition];
    uint32_t generation = ls_version_generation(mark->version);
    if (generation > entity->generation)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "partition %d: the store's mark is of generation %u, but the "
                          "configuration reads generation %u: correct entities.%s.generation",
                          mark->partition, generation, entity->generation, entity->name);
    bool older = mark->version != 0 && generation < entity->generation;
    if (!older && strcmp(mark->genesis, genesis->uuid) != 0)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "partition %d: the store follows the log with genesis %s, but %s has "
                          "genesis %s: it was made again, so its offsets are other records. Make "
                          "it the next generation, or correct the configuration",
                          mark->partition, mark->genesis, genesis->topic, genesis->uuid);
    return 0;
}

/* Where a partition begins by its mark, or why it must not. */
static int start_offset(struct ls_instance *instance, const struct ls_mark *mark, int64_t *ret,
                        struct ls_err *err)
{
    const char *topic = instance->genesis[mark->partition].topic;
    int64_t first, end;
    if (ls_kafka_range(ls_source_client(instance->source), topic, mark->partition, &first, &end,
                       err) < 0)
        return -1;
    uint32_t generation = ls_version_generation(mark->version);
    if (mark->version == 0 || generation < instance->sink_config->entity->generation) {
        *ret = first;
        return 0;
    }
    int64_t next = ls_version_offset(mark->version) + 1;
    if (next > end)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "partition %d: the store's mark stands at %" PRId64 ", beyond the end of "
                          "%s (%" PRId64 "): the log went back, so offsets would be used again",
                          mark->partition, next, topic, end);
    if (next < first)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "partition %d: the log starts at %" PRId64 ", behind the store's mark "
                          "(%" PRId64 "): records in between were deleted before this store had "
                          "them. `lockstep resync --sink %s` reads what the log still has",
                          mark->partition, first, next, instance->sink_config->name);
    *ret = next;
    return 0;
}

static int begin(struct ls_instance *instance, int32_t number, int64_t offset, struct ls_err *err)
{
    struct ls_partition *partition = &instance->partitions[number];
    unsigned lane = instance->ops->lane_of(instance->sink, number);
    *partition = (struct ls_partition){
        .state = LS_PART_BEGUN,
        .read = offset,
        .low = offset,
        .marked = offset,
        .marking = -1,
    };
    if (ls_source_begin(instance->source, number, offset, instance->lanes[lane].queue, err) < 0) {
        partition->state = LS_PART_GIVEN;
        return -1;
    }
    return 0;
}

/*
 * A rebalance may come from a change of the topic itself: more partitions, or another log under its
 * name. Both are found by asking again who the log is.
 */
static int check_log(struct ls_instance *instance, struct ls_err *err)
{
    if (!instance->log_unsure)
        return 0;
    size_t n = (size_t)instance->n_partitions;
    LS_CLEANUP_FREE struct ls_genesis *genesis = ls_calloc(n, sizeof(*genesis));
    if (ls_kafka_genesis(instance->config, instance->sink_config->entity, genesis, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (strcmp(genesis[i].uuid, instance->genesis[i].uuid) != 0)
            return ls_err_set(err, LS_ERR_FATAL, 0,
                              "%s was made again while this worker ran: genesis %s was %s",
                              genesis[i].topic, genesis[i].uuid, instance->genesis[i].uuid);
    instance->log_unsure = false;
    return 0;
}

static int begin_given(struct ls_instance *instance, struct ls_err *err)
{
    LS_CLEANUP_FREE struct ls_mark *marks =
        ls_calloc((size_t)instance->n_partitions, sizeof(*marks));
    if (read_marks(instance, marks, err) < 0)
        return -1;
    for (int32_t i = 0; i < instance->n_partitions; i++) {
        if (instance->partitions[i].state != LS_PART_GIVEN)
            continue;
        if (check_identity(instance, &marks[i], err) < 0)
            return -1;
        int64_t offset = instance->partitions[i].low;
        if (instance->options->position == LS_POSITION_MARKS &&
            start_offset(instance, &marks[i], &offset, err) < 0)
            return -1;
        if (begin(instance, i, offset, err) < 0)
            return -1;
        instance->partitions[i].low_at_ms = marks[i].at_ms;
    }
    return 0;
}

static int32_t count_partitions(const struct ls_instance *instance, int state)
{
    int32_t n = 0;
    for (int32_t i = 0; i < instance->n_partitions; i++)
        n += (int)instance->partitions[i].state == state;
    return n;
}

int ls_startup_begin_given(struct ls_instance *instance, struct ls_err *err)
{
    bool any = count_partitions(instance, LS_PART_GIVEN) > 0;
    if ((!any && !instance->log_unsure) || ls_mono_ms() < instance->next_begin_ms)
        return 0;
    instance->next_begin_ms = 0;
    if (check_log(instance, err) == 0 && (!any || begin_given(instance, err) == 0))
        return 0;
    if (err->class == LS_ERR_FATAL || count_partitions(instance, LS_PART_BEGUN) == 0)
        return -1;
    ls_report_error(instance, err);
    *err = (struct ls_err){0};
    instance->next_begin_ms = ls_mono_ms() + LS_BACKOFF_CAP_MS;
    return 0;
}

/* A range is given by its options; it begins like any other partition, at its own start. */
static void give_ranges(struct ls_instance *instance)
{
    const struct ls_range *ranges = instance->options->ranges;
    for (int32_t i = 0; i < instance->n_partitions; i++) {
        instance->stop_at[i] = ranges[i].to;
        if (ranges[i].from < ranges[i].to)
            instance->partitions[i] =
                (struct ls_partition){.state = LS_PART_GIVEN, .low = ranges[i].from, .marking = -1};
    }
}

/* Joins the group, or opens the range; lanes get their queues. */
static int open_source(struct ls_instance *instance, struct ls_err *err)
{
    static const struct ls_source_events events = {
        .given = ls_instance_given,
        .taken = ls_instance_taken,
    };
    if (instance->options->position == LS_POSITION_MARKS)
        instance->source =
            ls_source_group(instance->config, instance->sink_config, &events, instance, err);
    else
        instance->source = ls_source_range(instance->config, instance->sink_config->entity, err);
    if (instance->source == NULL)
        return -1;
    for (unsigned i = 0; i < instance->n_lanes; i++)
        instance->lanes[i].queue = ls_source_queue(instance->source);
    if (instance->stop_at != NULL)
        give_ranges(instance);
    return 0;
}

int ls_startup(struct ls_instance *instance, struct ls_err *err)
{
    if (ls_kafka_genesis(instance->config, instance->sink_config->entity, instance->genesis, err) <
        0)
        return -1;
    if (instance->store == NULL &&
        instance->store_ops->open(instance->sink_config, &instance->store, err) < 0)
        return -1;
    if (instance->store_ops->check(instance->store, err) < 0)
        return -1;
    /* Before joining: partitions are not taken from others for a store that cannot be used. */
    LS_CLEANUP_FREE struct ls_mark *marks =
        ls_calloc((size_t)instance->n_partitions, sizeof(*marks));
    if (read_marks(instance, marks, err) < 0)
        return -1;
    for (int32_t i = 0; i < instance->n_partitions; i++)
        if (check_identity(instance, &marks[i], err) < 0)
            return -1;
    instance->log_unsure = false;
    instance->next_begin_ms = 0;
    return instance->source == NULL ? open_source(instance, err) : 0;
}

void ls_startup_undo(struct ls_instance *instance)
{
    for (int32_t i = 0; i < instance->n_partitions; i++) {
        if (instance->partitions[i].state != LS_PART_BEGUN)
            continue;
        ls_source_end(instance->source, i);
        instance->partitions[i].state = LS_PART_GIVEN;
        instance->partitions[i].marking = -1;
    }
    ls_dispatch_drop(instance);
    if (instance->store != NULL)
        instance->store_ops->close(instance->store);
    instance->store = NULL;
}
