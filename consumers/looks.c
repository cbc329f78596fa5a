/*
 * Looks (law 6): what the stores hold decides where partitions begin, and whether what this
 * instance believes of them still is true.
 *
 * Every lane looks at its own servers: at the start, before a partition begins, every few seconds
 * (a store that was emptied breaks no connection), and at once when it was unsure or a mark was not
 * as expected. So a server that is away keeps only its own partitions waiting. A mark that is older
 * than this instance saw or wrote it means that the store went back in time: the lane's partitions
 * are read again from their marks. Reading the marks in this thread was rejected: a server that
 * hangs would hold up all the others.
 *
 * A store without data gets marks at zero before its first record, so data without any mark can
 * only be somebody else's, and halts the sink. Not so where this instance had its marks before: a
 * store that was emptied under load holds what was on its way meanwhile, and is filled again.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "consumers/instance_impl.h"
#include "pipeline/leaders.h"
#include "schema/key.h"

enum { LEADER_MS = 2000 }; /* between two looks for partitions that wait for a leader alone */

static int64_t look_interval(const struct ls_instance *instance)
{
    uint32_t interval_ms = instance->options->look_interval_ms;
    return interval_ms ? interval_ms : LS_LOOK_MS;
}

static bool is_live(const struct ls_instance *instance)
{
    return instance->options->position == LS_POSITION_MARKS;
}

static struct ls_mark *lane_marks(struct ls_instance *instance, unsigned lane, uint32_t *ret_n)
{
    struct ls_mark *marks = ls_calloc((size_t)instance->n_partitions, sizeof(*marks));
    uint32_t n = 0;
    for (int32_t i = 0; i < instance->n_partitions; i++)
        if (instance->ops->lane_of(instance->sink, i) == lane)
            marks[n++].partition = i;
    *ret_n = n;
    return marks;
}

static void give_out(struct ls_instance *instance, unsigned number)
{
    struct ls_lane_state *lane = &instance->lanes[number];
    uint32_t n;
    struct ls_mark *marks = lane_marks(instance, number, &n);
    struct ls_look *look = ls_calloc(1, sizeof(*look));
    look->setup = !lane->seen;
    /* What the look is compared with is what was written before it was given out. */
    for (uint32_t i = 0; i < n; i++) {
        struct ls_partition *partition = &instance->partitions[marks[i].partition];
        partition->stored_at_look = partition->stored;
        partition->in_look = partition->state == LS_PART_GIVEN;
    }
    lane->looking = true;
    lane->doubted = false;
    ls_send_marks(instance, number, marks, n, look);
}

/* Whether partitions of the lane are to be begun; `unseen`: that no look was given out for yet. */
static bool has_given(const struct ls_instance *instance, unsigned lane, bool unseen)
{
    for (int32_t i = 0; i < instance->n_partitions && !instance->log_unsure; i++) {
        const struct ls_partition *partition = &instance->partitions[i];
        if (partition->state == LS_PART_GIVEN && !(unseen && partition->in_look) &&
            instance->ops->lane_of(instance->sink, i) == lane)
            return true;
    }
    return false;
}

static bool is_due(const struct ls_instance *instance, unsigned number, int64_t now_ms)
{
    const struct ls_lane_state *lane = &instance->lanes[number];
    if (lane->looking || lane->rewinding || lane->marks_out > 0 || lane->n_partitions == 0)
        return false;
    bool up = instance->phase == LS_INSTANCE_UP;
    /* What was put off was so for others, and what is in doubt may be wrong each moment. */
    if (up && (lane->doubted || has_given(instance, number, true)))
        return true;
    if (lane->look_err.class != LS_ERR_NONE) /* the store is away, or a leader */
        return now_ms >= lane->next_look_ms;
    if (!up)
        return !lane->seen;
    if (has_given(instance, number, false))
        return true;
    /* A store that is being retried is away; its next answer says more than a look. */
    return is_live(instance) && !ls_send_is_away(lane) && now_ms >= lane->next_look_ms;
}

/* Says that a lane is read again, and why. */
static void say_rewind(struct ls_instance *instance, const char *why)
{
    char rewinds[24];
    snprintf(rewinds, sizeof(rewinds), "%" PRIu64, instance->rewinds);
    ls_log(LS_LOG_WARN, "reads again from the store's marks", "sink", instance->sink_config->name,
           "why", why, "rewinds", rewinds, NULL);
}

void ls_looks_serve(struct ls_instance *instance)
{
    int64_t now_ms = ls_mono_ms();
    for (unsigned i = 0; i < instance->n_lanes; i++) {
        struct ls_lane_state *lane = &instance->lanes[i];
        if (lane->incarnation != ls_lane_incarnation(lane->lane) && !lane->rewinding) {
            char why[256];
            ls_lane_doubt(lane->lane, why, sizeof(why));
            ls_rewind_lane(instance, i);
            say_rewind(instance, why);
        }
        if (is_due(instance, i, now_ms))
            give_out(instance, i);
    }
}

/*
 * Data without any mark on the servers of one lane: whose is it? This sink's, where the lane had
 * its marks before, or where another lane's servers follow this log: then these lost their marks.
 * -1 FATAL where nothing speaks for it, RETRY as long as other lanes have not been looked at.
 */
static int check_whose(const struct ls_instance *instance, unsigned number, struct ls_err *err)
{
    const struct ls_lane_state *lane = &instance->lanes[number];
    bool ours = lane->ours || instance->options->adopt, waits = false;
    for (unsigned i = 0; i < instance->n_lanes; i++) {
        const struct ls_lane_state *other = &instance->lanes[i];
        ours |= other->follows;
        waits |= other != lane && other->n_partitions > 0 && !other->looked;
    }
    if (ours)
        return 0;
    if (waits)
        return ls_err_set(
            err, LS_ERR_RETRY, 0,
            "a server has data but no mark: whether it is this log's is seen when the "
            "others have been looked at");
    return ls_err_set(err, LS_ERR_FATAL, 0,
                      "the store has data but no mark: nobody can say how far it got, or whose "
                      "it is. If it belongs to this log, `lockstep resync --sink %s` reads all "
                      "of the log into it (nothing newer is overwritten)",
                      instance->sink_config->name);
}

/*
 * Whether a mark at zero is to be written before any record of the partition: there is none, or it
 * has no time, as where a part of the store lost it (a master of a Redis Cluster). A part without
 * one could lose records that it gets now, and take a mark that covers them after.
 */
static bool lacks_first(const struct ls_instance *instance, const struct ls_mark *mark)
{
    uint32_t generation = instance->sink_config->entity->generation;
    bool at_zero = mark->version == 0 || ls_version_generation(mark->version) < generation;
    return mark->genesis[0] == '\0' ||
           (at_zero && mark->at_ms == 0 && is_live(instance) &&
            instance->partitions[mark->partition].state == LS_PART_GIVEN);
}

/* Marks at zero where they are lacking: the store of a lane is new, or was emptied in part. */
static int write_first(struct ls_instance *instance, struct ls_work *work, uint32_t n_missing,
                       uint32_t n_lacking, struct ls_err *err)
{
    const struct ls_unit *unit = &work->unit;
    if (n_missing == unit->n_marks && unit->look->has_data &&
        check_whose(instance, work->lane, err) < 0)
        return -1;
    if (!is_live(instance))
        return 0;
    struct ls_mark *first = ls_calloc(n_lacking, sizeof(*first));
    uint32_t n = 0;
    for (uint32_t i = 0; i < unit->n_marks; i++) {
        if (!lacks_first(instance, &unit->marks[i]))
            continue;
        int32_t partition = unit->marks[i].partition;
        first[n].partition = partition;
        first[n].at_ms = ls_wall_us() / 1000;
        snprintf(first[n].genesis, sizeof(first[n].genesis), "%s",
                 instance->genesis[partition].uuid);
        n++;
    }
    ls_send_marks(instance, work->lane, first, n, NULL);
    return 0;
}

/*
 * What a look says of a partition that this instance works on. Returns whether the store went back.
 */
static bool went_back(struct ls_instance *instance, const struct ls_mark *mark, char *why,
                      size_t size)
{
    struct ls_partition *partition = &instance->partitions[mark->partition];
    if (partition->state != LS_PART_BEGUN)
        return false;
    if (mark->genesis[0] == '\0' || mark->version < partition->stored_at_look) {
        snprintf(why, size,
                 "the store went back: its mark of partition %d was at offset %" PRId64
                 ", and now is %s%" PRId64,
                 mark->partition, ls_version_offset(partition->stored_at_look),
                 mark->genesis[0] == '\0' ? "gone: " : "at ", ls_version_offset(mark->version));
        return true;
    }
    if (mark->version == 0 && partition->stored_at_look == 0 &&
        mark->at_ms != partition->first_ms) {
        snprintf(why, size, "the store went back: the first mark of partition %d was made again",
                 mark->partition);
        return true;
    }
    /* Somebody else moved it on: the group will say so soon, and nothing is to be done here. */
    if (mark->version > partition->stored)
        partition->stored = mark->version;
    return false;
}

/* One that was given since may have been moved on by its last owner: the next look. */
static int begin_waiting(struct ls_instance *instance, const struct ls_unit *unit,
                         struct ls_err *err)
{
    LS_CLEANUP_FREE struct ls_mark *waiting = ls_calloc(unit->n_marks + 1, sizeof(*waiting));
    size_t n = 0;
    for (uint32_t i = 0; i < unit->n_marks && !instance->log_unsure; i++) {
        const struct ls_partition *partition = &instance->partitions[unit->marks[i].partition];
        if (partition->state == LS_PART_GIVEN && partition->in_look)
            waiting[n++] = unit->marks[i];
    }
    return ls_startup_begin(instance, waiting, n, err);
}

/*
 * -1 with err: FATAL when the marks forbid it, RETRY when the log cannot be asked, or not of some
 * partitions: the others are begun.
 */
static int use_marks(struct ls_instance *instance, struct ls_work *work, struct ls_err *err)
{
    const struct ls_unit *unit = &work->unit;
    char why[256];
    for (uint32_t i = 0; i < unit->n_marks && is_live(instance); i++) {
        if (went_back(instance, &unit->marks[i], why, sizeof(why))) {
            ls_rewind_lane(instance, work->lane);
            say_rewind(instance, why);
            return 0;
        }
    }
    struct ls_lane_state *lane = &instance->lanes[work->lane];
    uint32_t n_missing = 0, n_lacking = 0;
    lane->looked = true;
    for (uint32_t i = 0; i < unit->n_marks; i++) {
        n_lacking += lacks_first(instance, &unit->marks[i]);
        if (unit->marks[i].genesis[0] == '\0') {
            n_missing++;
            continue;
        }
        if (ls_startup_check_mark(instance, &unit->marks[i], err) < 0)
            return -1;
        lane->follows |= unit->marks[i].version != 0;
    }
    if (n_lacking > 0) {
        if (write_first(instance, work, n_missing, n_lacking, err) < 0)
            return -1;
        if (is_live(instance))
            return 0; /* looked at again once they are written */
    }
    lane->seen = lane->ours = true;
    return begin_waiting(instance, unit, err);
}

void ls_looks_put_off(struct ls_lane_state *lane, const struct ls_err *why)
{
    int64_t wait_ms = LEADER_MS;
    if (!ls_leaders_is_lack(why)) /* that says nothing of the store */
        wait_ms = ls_backoff_ms(lane->look_attempt++, LS_START_RETRY_MS / 4, LS_START_RETRY_MS * 4);
    lane->look_err = *why;
    lane->next_look_ms = ls_mono_ms() + wait_ms;
}

int ls_looks_answered(struct ls_instance *instance, struct ls_work *work, struct ls_err *err)
{
    struct ls_lane_state *lane = &instance->lanes[work->lane];
    lane->looking = false;
    if (lane->rewinding) {
        ls_rewind_unit(instance, work);
        return 0;
    }
    struct ls_err why = work->unit.err;
    lane->look_err = (struct ls_err){0};
    lane->next_look_ms = ls_mono_ms() + look_interval(instance);
    /* What was seen in another incarnation is in doubt already: serve rewinds, and looks again. */
    if (work->unit.incarnation == ls_lane_incarnation(lane->lane) && why.class == LS_ERR_NONE)
        use_marks(instance, work, &why);
    ls_send_free_work(work);
    if (why.class == LS_ERR_NONE) {
        ls_report_look(instance);
        if (lane->seen) /* else its first marks are on their way, and may be refused */
            lane->look_attempt = 0;
        return 0;
    }
    ls_looks_put_off(lane, &why);
    if (why.class != LS_ERR_FATAL) {
        ls_report_error(instance, &why);
        return 0;
    }
    *err = why; /* said by the one who halts */
    return -1;
}

bool ls_looks_complete(const struct ls_instance *instance)
{
    for (unsigned i = 0; i < instance->n_lanes; i++) {
        const struct ls_lane_state *lane = &instance->lanes[i];
        if (lane->n_partitions > 0 && !lane->seen && lane->look_err.class == LS_ERR_NONE)
            return false;
    }
    return true;
}
