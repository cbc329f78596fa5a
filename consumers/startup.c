/*
 * Start: who the log is, and where each partition begins.
 *
 * The store decides (law 6): a partition begins at its mark in the store, which a look has read
 * (looks.c), whatever the group's offsets say. The log must be the one that the marks name (law 7):
 * another genesis, a mark beyond the end of the log, or a record before the mark that is younger
 * than the mark, halts before anything is applied.
 */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "consumers/instance_impl.h"
#include "pipeline/kafka.h"
#include "schema/key.h"

int ls_startup_check_mark(const struct ls_instance *instance, const struct ls_mark *mark,
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
                          "the next generation (entities.%s.generation %u, `lockstep topics "
                          "create`, then restart workers and publishers), or correct the "
                          "configuration",
                          mark->partition, mark->genesis, genesis->topic, genesis->uuid,
                          entity->name, entity->generation + 1);
    return 0;
}

/* Whether all that the log holds before the mark was there when the mark was made. */
static int check_before_mark(const struct ls_instance *instance, const struct ls_mark *mark,
                             struct ls_err *err)
{
    const struct ls_log_position position = {mark->partition, ls_version_offset(mark->version),
                                             mark->at_ms};
    const struct ls_log_position *wrong = NULL;
    if (ls_kafka_check_log(instance->config, instance->producer,
                           instance->genesis[mark->partition].topic, &position, 1,
                           LS_KAFKA_TIMEOUT_MS, &wrong, err) < 0)
        return -1;
    return wrong ? ls_startup_refuse_log(instance, wrong, err) : 0;
}

/* Where a partition begins by its mark, or why it must not. */
static int start_offset(struct ls_instance *instance, const struct ls_mark *mark, int64_t *ret,
                        struct ls_err *err)
{
    const char *topic = instance->genesis[mark->partition].topic;
    int64_t first, end;
    if (ls_kafka_range(instance->producer, topic, mark->partition, &first, &end, err) < 0)
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
                          "%s (%" PRId64 "): the log went back, so offsets would be used again. "
                          "Make the next generation: entities.%s.generation %u, `lockstep topics "
                          "create`, then restart workers and publishers",
                          mark->partition, next, topic, end, instance->sink_config->entity->name,
                          generation + 1);
    if (next < first)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "partition %d: the log starts at %" PRId64 ", behind the store's mark "
                          "(%" PRId64 "): records in between were deleted before this store had "
                          "them. `lockstep resync --sink %s` reads what the log still has",
                          mark->partition, first, next, instance->sink_config->name);
    if (check_before_mark(instance, mark, err) < 0)
        return -1;
    *ret = next;
    return 0;
}

int ls_startup_begin(struct ls_instance *instance, const struct ls_mark *mark, struct ls_err *err)
{
    int32_t number = mark->partition;
    struct ls_partition *partition = &instance->partitions[number];
    unsigned lane = instance->ops->lane_of(instance->sink, number);
    int64_t offset = partition->low;
    if (instance->options->position == LS_POSITION_MARKS &&
        start_offset(instance, mark, &offset, err) < 0)
        return -1;
    *partition = (struct ls_partition){
        .state = LS_PART_BEGUN,
        .read = offset,
        .low = offset,
        .low_at_ms = mark->version != 0 ? mark->at_ms : 0,
        .marked = offset,
        .marking = -1,
        .stored = mark->version,
        .stored_at_look = mark->version,
        .first_ms = mark->version == 0 ? mark->at_ms : 0,
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
static int ask_log(const struct ls_instance *instance, struct ls_err *err)
{
    size_t n = (size_t)instance->n_partitions;
    LS_CLEANUP_FREE struct ls_genesis *genesis = ls_calloc(n, sizeof(*genesis));
    if (ls_kafka_genesis(instance->config, instance->sink_config->entity, genesis, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (strcmp(genesis[i].uuid, instance->genesis[i].uuid) != 0)
            return ls_err_set(err, LS_ERR_FATAL, 0,
                              "%s was made again while this worker ran: genesis %s was %s. Its "
                              "offsets are other records: make the next generation "
                              "(entities.%s.generation %u, `lockstep topics create`, then restart "
                              "workers and publishers)",
                              genesis[i].topic, genesis[i].uuid, instance->genesis[i].uuid,
                              instance->sink_config->entity->name,
                              instance->sink_config->entity->generation + 1);
    return 0;
}

int ls_startup_refuse_log(const struct ls_instance *instance, const struct ls_log_position *what,
                          struct ls_err *err)
{
    const struct ls_entity_config *entity = instance->sink_config->entity;
    if (ask_log(instance, err) < 0)
        return -1;
    return ls_err_set(err, LS_ERR_FATAL, 0,
                      "partition %d: before offset %" PRId64
                      " %s has records that are younger than "
                      "what this sink read there: the log went back, and offsets were used again. "
                      "Make the next generation: entities.%s.generation %u, `lockstep topics "
                      "create`, then restart workers and publishers",
                      what->partition, what->offset + 1, instance->genesis[what->partition].topic,
                      entity->name, entity->generation + 1);
}

int ls_startup_check_log(struct ls_instance *instance, struct ls_err *err)
{
    if (!instance->log_unsure || ls_mono_ms() < instance->next_log_ms)
        return 0;
    instance->next_log_ms = 0;
    if (ask_log(instance, err) == 0) {
        instance->log_unsure = false;
        return 0;
    }
    if (err->class == LS_ERR_FATAL)
        return -1;
    /* The partitions that are begun already are not disturbed; those that were given wait. */
    ls_report_error(instance, err);
    *err = (struct ls_err){0};
    instance->next_log_ms = ls_mono_ms() + LS_BACKOFF_CAP_MS;
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
    const struct ls_source_limits limits = ls_memory_source_limits(instance);
    if (instance->options->position == LS_POSITION_MARKS)
        instance->source = ls_source_group(instance->config, instance->sink_config, &limits,
                                           &events, instance, err);
    else
        instance->source =
            ls_source_range(instance->config, instance->sink_config->entity, &limits, err);
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
    instance->log_unsure = false;
    instance->next_log_ms = 0;
    instance->phase = LS_INSTANCE_LOOKING;
    return 0;
}

int ls_startup_join(struct ls_instance *instance, struct ls_err *err)
{
    if (!ls_looks_complete(instance))
        return 0;
    const struct ls_err *why = NULL;
    bool any = false;
    for (unsigned i = 0; i < instance->n_lanes; i++) {
        any |= instance->lanes[i].seen;
        if (instance->lanes[i].look_err.class != LS_ERR_NONE)
            why = &instance->lanes[i].look_err;
    }
    /* Partitions are not taken from others for a store that cannot be used. */
    if (!any && why != NULL)
        return ls_err_set(err, why->class, why->code, "%s", why->text);
    if (instance->source == NULL && open_source(instance, err) < 0)
        return -1;
    instance->phase = LS_INSTANCE_UP;
    return 0;
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
    ls_rewind_all(instance);
    instance->phase = LS_INSTANCE_DOWN;
}
