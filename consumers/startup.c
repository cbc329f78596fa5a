/*
 * Start: who the log is, and where each partition begins.
 *
 * The store decides (law 6): a partition begins at its mark in the store, which a look has read
 * (looks.c), whatever the group's offsets say. The log must be the one that the marks name (law 7):
 * another genesis, a mark beyond the end of the log, or a record before the mark that is younger
 * than the mark, halts before anything is applied.
 *
 * A partition without a leader cannot be asked any of that. It waits, and the others begin: the
 * genesis of those stands for the log until it has a leader, and then its own is read first. All
 * partitions that can begin are asked about together, as a request for each would keep the loop
 * from turning for as long as there are many.
 */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "consumers/instance_impl.h"
#include "pipeline/ends.h"
#include "pipeline/kafka.h"
#include "pipeline/leaders.h"
#include "schema/key.h"

enum {
    ASK_MS = 5000,     /* what the loop asks of the log's leaders at once */
    BEGIN_MS = 1000,   /* of the loop's time for the partitions that are begun together */
    LEADERS_MS = 2000, /* between two times of asking who leads while partitions wait for that */
};

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

/* Where a partition begins by its mark in a log of [first, end), or why it must not. */
static int start_offset(const struct ls_instance *instance, const struct ls_mark *mark,
                        int64_t first, int64_t end, int64_t *ret, struct ls_err *err)
{
    const char *topic = instance->genesis[mark->partition].topic;
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
    *ret = next;
    return 0;
}

/* Partitions about to begin, and where; offset -1: that one cannot begin now. */
struct beginning {
    const struct ls_mark *marks;
    int64_t *offsets;
    size_t n;
};

/* The first one stands for all. */
static void note_lack(const char *topic, int32_t partition, struct ls_err *ret_why)
{
    if (ret_why->class == LS_ERR_NONE)
        ls_leaders_lack(topic, partition, ret_why);
}

/* Where each begins by its mark. -1 FATAL; RETRY, in ret_why alone, of those that cannot be asked.
 */
static int find_offsets(struct ls_instance *instance, struct beginning *beginning,
                        struct ls_err *ret_why, struct ls_err *err)
{
    size_t n = beginning->n;
    const char *topic = instance->genesis[0].topic;
    bool any = false;
    for (size_t i = 0; i < n; i++)
        any |= beginning->offsets[i] >= 0;
    if (!any)
        return 0;
    LS_CLEANUP_FREE int32_t *numbers = ls_calloc(n, sizeof(*numbers));
    LS_CLEANUP_FREE int64_t *firsts = ls_calloc(n, sizeof(*firsts));
    LS_CLEANUP_FREE int64_t *ends = ls_calloc(n, sizeof(*ends));
    for (size_t i = 0; i < n; i++)
        numbers[i] = beginning->marks[i].partition;
    if (ls_kafka_ends(instance->producer, topic, numbers, n, ASK_MS, firsts, ends, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (beginning->offsets[i] < 0)
            continue;
        beginning->offsets[i] = -1;
        if (firsts[i] < 0 || ends[i] < 0)
            note_lack(topic, numbers[i], ret_why);
        else if (start_offset(instance, &beginning->marks[i], firsts[i], ends[i],
                              &beginning->offsets[i], err) < 0)
            return -1;
    }
    return 0;
}

/* Whether all that the log holds before the marks was there when they were made. -1 likewise. */
static int check_before_marks(struct ls_instance *instance, struct beginning *beginning,
                              struct ls_err *ret_why, struct ls_err *err)
{
    const char *topic = instance->genesis[0].topic;
    LS_CLEANUP_FREE struct ls_log_position *positions = ls_calloc(beginning->n, sizeof(*positions));
    LS_CLEANUP_FREE size_t *of = ls_calloc(beginning->n, sizeof(*of));
    size_t n = 0;
    for (size_t i = 0; i < beginning->n; i++) {
        const struct ls_mark *mark = &beginning->marks[i];
        /* One of an older generation says nothing of this log. */
        if (beginning->offsets[i] < 0 || mark->version == 0 ||
            ls_version_generation(mark->version) < instance->sink_config->entity->generation)
            continue;
        of[n] = i;
        positions[n++] = (struct ls_log_position){
            .partition = mark->partition,
            .offset = ls_version_offset(mark->version),
            .at_ms = mark->at_ms,
        };
    }
    const struct ls_log_position *wrong = NULL;
    if (n > 0 && ls_kafka_check_log(instance->config, instance->producer, topic, positions, n,
                                    ASK_MS, &wrong, err) < 0)
        return -1;
    if (wrong != NULL)
        return ls_startup_refuse_log(instance, wrong, err);
    for (size_t i = 0; i < n; i++) {
        if (positions[i].asked)
            continue;
        beginning->offsets[of[i]] = -1;
        note_lack(topic, positions[i].partition, ret_why);
    }
    return 0;
}

static int begin_one(struct ls_instance *instance, const struct ls_mark *mark, int64_t offset,
                     struct ls_err *err)
{
    int32_t number = mark->partition;
    struct ls_partition *partition = &instance->partitions[number];
    unsigned lane = instance->ops->lane_of(instance->sink, number);
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

/* Where each may begin: what the log says to the marks. -1 as ls_startup_begin, for all of them. */
static int ask_where(struct ls_instance *instance, struct beginning *beginning,
                     struct ls_err *ret_why, struct ls_err *err)
{
    if (instance->begin_err.class != LS_ERR_NONE) {
        *err = instance->begin_err;
        return -1;
    }
    ls_report_beat(instance, false);
    int rc = find_offsets(instance, beginning, ret_why, err);
    ls_report_beat(instance, false);
    if (rc == 0)
        rc = check_before_marks(instance, beginning, ret_why, err);
    if (rc < 0 && !ls_leaders_is_lack(err))
        instance->begin_err = *err;
    return rc;
}

int ls_startup_begin(struct ls_instance *instance, const struct ls_mark *marks, size_t n,
                     struct ls_err *err)
{
    struct ls_err why = {0};
    LS_CLEANUP_FREE int64_t *offsets = ls_calloc(n + 1, sizeof(*offsets));
    struct beginning beginning = {marks, offsets, n};
    if (n == 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        offsets[i] = -1; /* its own genesis comes before all else */
        if (instance->asked[marks[i].partition])
            offsets[i] = instance->partitions[marks[i].partition].low;
        else
            note_lack(instance->genesis[0].topic, marks[i].partition, &why);
    }
    if (instance->options->position == LS_POSITION_MARKS &&
        ask_where(instance, &beginning, &why, err) < 0)
        return -1;
    int64_t until_ms = ls_mono_ms() + BEGIN_MS;
    for (size_t i = 0; i < n && ls_mono_ms() < until_ms; i++) {
        ls_report_turn(instance);
        if (offsets[i] >= 0 && begin_one(instance, &marks[i], offsets[i], &why) < 0 &&
            why.class == LS_ERR_FATAL)
            break;
    }
    if (why.class == LS_ERR_NONE)
        return 0;
    *err = why;
    return -1;
}

/*
 * A rebalance may come from a change of the topic itself: more partitions, or another log under its
 * name. Both are found by asking again who the log is.
 */
static int ask_log(struct ls_instance *instance, struct ls_err *err)
{
    size_t n = (size_t)instance->n_partitions;
    LS_CLEANUP_FREE struct ls_genesis *genesis = ls_calloc(n, sizeof(*genesis));
    LS_CLEANUP_FREE bool *asked = ls_calloc(n, sizeof(*asked));
    ls_report_beat(instance, false);
    if (ls_kafka_genesis_asked(instance->config, instance->sink_config->entity, LS_ASK_LOG_MS,
                               genesis, asked, err) < 0)
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
    for (size_t i = 0; i < n; i++)
        if (asked[i] && instance->genesis[i].at_ms == 0) /* what is known is watched */
            instance->genesis[i] = genesis[i];
    memcpy(instance->asked, asked, n * sizeof(*asked));
    return 0;
}

/*
 * Whether a partition that was given while it had no leader has one again. The others are not
 * disturbed meanwhile, and the log is not asked before.
 */
static bool is_led_again(struct ls_instance *instance)
{
    struct ls_leaders leaders = {0};
    int32_t waits = -1;
    for (int32_t i = 0; i < instance->n_partitions && waits < 0; i++)
        if (instance->partitions[i].state == LS_PART_GIVEN && !instance->asked[i])
            waits = i;
    if (waits < 0 || ls_mono_ms() < instance->next_leaders_ms)
        return false;
    bool led = false;
    struct ls_err ignored; /* it is asked again soon */
    ls_report_beat(instance, false);
    if (ls_leaders_ask(instance->producer, instance->genesis[0].topic, ASK_MS, &leaders,
                       &ignored) == 0)
        for (int32_t i = waits; i < instance->n_partitions && !led; i++)
            led = instance->partitions[i].state == LS_PART_GIVEN && !instance->asked[i] &&
                  ls_leaders_has(&leaders, i);
    ls_leaders_free(&leaders);
    instance->next_leaders_ms = ls_mono_ms() + LEADERS_MS;
    return led;
}

int ls_startup_refuse_log(struct ls_instance *instance, const struct ls_log_position *what,
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
    if (ls_mono_ms() < instance->next_log_ms || (!instance->log_unsure && !is_led_again(instance)))
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
    if (ls_kafka_genesis_asked(instance->config, instance->sink_config->entity, LS_ASK_LOG_MS,
                               instance->genesis, instance->asked, err) < 0)
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
