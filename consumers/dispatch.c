/*
 * Dispatch: batches are read and sent, units come back with verdicts, and whole batches move the
 * low watermark.
 *
 * A record that the store refused for now goes again, alone with others like it (send.c). A record
 * that the store refused for good goes to the quarantine, and the older one of its key that it
 * displaced is applied in its place (law 3). The watermark moves only over
 * the oldest batches of a lane that are whole, so every earlier record has its final verdict (law
 * 5). A crash forgets all of this; the next start reads again from the marks, and the guards make
 * what was applied already STALE.
 */
#include <poll.h>

#include "base/clock.h"
#include "base/mem.h"
#include "consumers/instance_impl.h"
#include "pipeline/kafka.h"
#include "pipeline/schema_release.h"

enum {
    RELEASED_MS = 10 * 1000, /* an answer is good for so long ... */
    CLOCKS_MS = 60 * 1000,   /* ... of records that are older by what clocks may differ */
};

/*
 * The released version, as it was asked for after every record of the batch was appended: a record
 * is not to be quarantined by what was known before it came. The control topic is read in this
 * thread, so not for each batch of a log that was flooded long ago.
 */
static int ask_released(struct ls_instance *instance, const struct ls_batch *batch,
                        struct ls_err *err)
{
    int64_t newest_ms = 0, mono_ms = ls_mono_ms(), wall_ms = ls_wall_us() / 1000;
    for (uint32_t i = 0; i < batch->n_reach; i++)
        if (batch->reach[i].at_ms > newest_ms)
            newest_ms = batch->reach[i].at_ms;
    if (instance->released.wall_ms != 0 && mono_ms - instance->released.mono_ms < RELEASED_MS &&
        newest_ms < instance->released.wall_ms - CLOCKS_MS)
        return 0;
    uint32_t version = 0;
    ls_report_beat(instance, false);
    if (ls_schema_released(instance->config, instance->sink_config->entity->schema->entity,
                           LS_ASK_LOG_MS, &version, NULL, err) < 0)
        return -1;
    instance->released.version = version;
    instance->released.wall_ms = wall_ms;
    instance->released.mono_ms = mono_ms;
    return 0;
}

/* A record of a newer schema: if that schema is released, this worker has to be upgraded first. */
static int check_newer(struct ls_instance *instance, const struct ls_batch *batch,
                       struct ls_err *err)
{
    const struct ls_schema *schema = instance->sink_config->entity->schema;
    if (ask_released(instance, batch, err) < 0)
        return -1;
    uint32_t released = instance->released.version;
    if (released <= schema->version)
        return 0;
    return ls_err_set(err, LS_ERR_FATAL, LS_REJECT_NEWER_SCHEMA,
                      "partition %d offset %lld: %.160s; version %u is released: upgrade this "
                      "worker's schema file (it has version %u), then start it again",
                      batch->newer->partition, (long long)batch->newer->offset,
                      batch->newer_err.text, released, schema->version);
}

void ls_dispatch_release(struct ls_instance *instance, struct ls_batch *batch)
{
    ls_memory_gave(instance, batch);
    if (instance->spare != NULL) {
        ls_batch_free(batch);
        return;
    }
    ls_batch_reset(batch);
    instance->spare = batch;
}

static void note_read(struct ls_instance *instance, const struct ls_batch *batch)
{
    for (uint32_t i = 0; i < batch->n_reach; i++) {
        struct ls_partition *partition = &instance->partitions[batch->reach[i].partition];
        if (batch->reach[i].next_offset > partition->read)
            partition->read = batch->reach[i].next_offset;
        partition->heard = true;
        partition->at_end = batch->reach[i].at_end;
    }
}

/*
 * A lane that could take more than its queue has, while its partitions are not at their ends: one
 * of their brokers may be asleep. Each time the next such partition's broker is woken.
 */
static void wake_brokers(struct ls_instance *instance, unsigned index)
{
    struct ls_lane_state *lane = &instance->lanes[index];
    int64_t now_ms = ls_mono_ms();
    if (now_ms - lane->woken_ms < LS_WAKE_MS ||
        rd_kafka_queue_length(lane->queue) > instance->sink_config->batch_records / 2)
        return;
    for (int32_t i = 1; i <= instance->n_partitions; i++) {
        int32_t number = (lane->woken + i) % instance->n_partitions;
        const struct ls_partition *partition = &instance->partitions[number];
        if (partition->state != LS_PART_BEGUN || partition->leaderless ||
            instance->ops->lane_of(instance->sink, number) != index)
            continue;
        if (partition->heard && (partition->at_end ||
                                 partition->read >= ls_source_cached_end(instance->source, number)))
            continue;
        bool away = ls_source_wake(instance->source, number) < 0;
        lane->woken = number;
        lane->woken_ms = ls_mono_ms() + (away ? LS_AWAY_MS : 0);
        ls_report_beat(instance, false);
        return;
    }
}

/* Reads one batch for a lane. Returns 0 also when there was nothing. */
static int fetch_lane(struct ls_instance *instance, unsigned index, struct ls_err *err)
{
    struct ls_lane_state *lane = &instance->lanes[index];
    struct ls_batch *batch = instance->spare ? instance->spare : ls_batch_new();
    instance->spare = NULL;
    if (ls_batch_fetch(batch, lane->queue, ls_memory_batch_records(instance),
                       ls_memory_batch_bytes(instance)) == 0) {
        ls_dispatch_release(instance, batch);
        return 0;
    }
    ls_batch_read(batch, &instance->intake, instance->stop_at);
    ls_memory_took(instance, batch);
    if (batch->log_err.class != LS_ERR_NONE) {
        *err = batch->log_err;
        ls_dispatch_release(instance, batch);
        return -1;
    }
    if ((batch->n_records > 0 && ls_log_watch(instance, batch, err) < 0) ||
        (batch->newer != NULL && check_newer(instance, batch, err) < 0)) {
        ls_dispatch_release(instance, batch);
        return -1;
    }
    note_read(instance, batch);
    ls_report_batch(instance, batch->n_records);
    *lane->newest = batch;
    lane->newest = &batch->next;
    lane->n_batches++;
    for (struct ls_log_poison *poison = batch->poison; poison; poison = poison->next)
        ls_quarantine_put(instance->quarantine, batch, poison->record, 0, poison->text);
    ls_send_batch(instance, index, batch);
    return 0;
}

/* The oldest batches that are whole: counts their verdicts and moves the low watermarks. */
static void settle_batches(struct ls_instance *instance, struct ls_lane_state *lane)
{
    while (!lane->rewinding && lane->oldest != NULL && lane->oldest->open == 0) {
        struct ls_batch *batch = lane->oldest;
        lane->oldest = batch->next;
        if (lane->oldest == NULL)
            lane->newest = &lane->oldest;
        lane->n_batches--;
        instance->totals.consumed += batch->n_records;
        for (uint32_t i = 0; i < batch->n_records; i++)
            instance->totals.counts[batch->records[i].verdict]++;
        ls_quarantine_settled(instance->quarantine, batch);
        for (uint32_t i = 0; i < batch->n_reach; i++) {
            const struct ls_reach *reach = &batch->reach[i];
            if (reach->partition < 0)
                continue;
            struct ls_partition *partition = &instance->partitions[reach->partition];
            if (reach->next_offset > partition->low)
                partition->low = reach->next_offset;
            if (reach->at_ms > partition->low_at_ms)
                partition->low_at_ms = reach->at_ms;
        }
        ls_dispatch_release(instance, batch);
    }
}

bool ls_dispatch_can_fetch(const struct ls_instance *instance, const struct ls_lane_state *lane)
{
    return lane->queue != NULL && lane->ready == NULL && !lane->rewinding &&
           lane->breaker.state == LS_BREAKER_CLOSED && instance->phase == LS_INSTANCE_UP &&
           lane->n_batches < instance->sink_config->batches_in_flight &&
           ls_memory_has_room(instance, lane);
}

int ls_dispatch_fetch(struct ls_instance *instance, struct ls_err *err)
{
    for (unsigned i = 0; i < instance->n_lanes; i++) {
        struct ls_lane_state *lane = &instance->lanes[i];
        if (!ls_dispatch_can_fetch(instance, lane))
            continue;
        if (fetch_lane(instance, i, err) < 0)
            return -1;
        settle_batches(instance, lane);
        wake_brokers(instance, i);
    }
    return 0;
}

/* To the quarantine with it; returns the displaced record that is applied in its place, or NULL. */
static struct ls_record *settle_poison(struct ls_instance *instance, struct ls_work *work,
                                       struct ls_record *record)
{
    const struct ls_refusal *refusal = ls_unit_refusal(&work->unit, record);
    ls_quarantine_put(instance->quarantine, work->batch, record, refusal ? refusal->code : 0,
                      refusal ? refusal->text : "refused by the store");
    struct ls_record *displaced = record->displaced;
    if (displaced != NULL)
        displaced->verdict = LS_PENDING;
    return displaced;
}

/*
 * Goes through the verdicts of a unit that came back; what has to go again stays in it, pending.
 * Returns how many those are; ret_settled says whether any record got a final verdict.
 */
static uint32_t settle_records(struct ls_instance *instance, struct ls_work *work,
                               bool *ret_settled, bool *ret_fatal)
{
    struct ls_unit *unit = &work->unit;
    int64_t wall_ms = ls_wall_us() / 1000;
    uint32_t again = 0;
    for (uint32_t i = 0; i < unit->n_records; i++) {
        struct ls_record *record = unit->records[i];
        switch (record->verdict) {
        case LS_APPLIED:
            ls_report_applied(instance, record->at_ms, wall_ms);
            *ret_settled = true;
            continue;
        case LS_STALE:
            *ret_settled = true;
            continue;
        case LS_POISON:
            *ret_settled = true;
            record = settle_poison(instance, work, record);
            if (record == NULL)
                continue;
            break;
        case LS_FATAL:
            *ret_fatal = true;
            record->verdict = LS_PENDING;
            break;
        default: /* RETRY */
            if (record->attempts < UINT16_MAX)
                record->attempts++;
            record->verdict = LS_PENDING;
            instance->totals.counts[LS_RETRY]++;
        }
        unit->records[again++] = record;
    }
    return again;
}

/* What is left of the unit goes again: pending records, and nothing of what the lane said. */
static void send_again(struct ls_lane_state *lane, struct ls_work *work, uint32_t n_again)
{
    struct ls_unit *unit = &work->unit;
    unit->n_records = n_again;
    free(unit->refusals);
    unit->refusals = NULL;
    unit->n_refusals = 0;
    unit->err = (struct ls_err){0};
    ls_send_later(lane, work);
}

static int settle_unit(struct ls_instance *instance, struct ls_work *work, struct ls_err *err)
{
    struct ls_unit *unit = &work->unit;
    struct ls_lane_state *lane = &instance->lanes[work->lane];
    lane->units_out--;
    if (unit->look != NULL)
        return ls_looks_answered(instance, work, err);
    if (unit->n_marks > 0)
        ls_marks_written(instance, work->lane, unit);
    if (lane->rewinding) {
        ls_rewind_unit(instance, work);
        return 0;
    }
    ls_quarantine_weigh(instance->quarantine, unit);
    bool settled = false, fatal = unit->err.class == LS_ERR_FATAL;
    uint32_t again = settle_records(instance, work, &settled, &fatal);
    ls_send_answered(instance, work, settled);
    fatal |= work->unknown > LS_UNKNOWN_ATTEMPTS_MAX || lane->unknown > LS_UNKNOWN_ATTEMPTS_MAX;
    if (work->batch != NULL)
        ls_report_request(instance, ls_mono_us() - work->ticket.sent_us);
    /* What was refused for good was reported one by one, when it was quarantined. */
    if (unit->err.class != LS_ERR_NONE && unit->err.class != LS_ERR_POISON)
        ls_report_failure(instance, &unit->err, again > 0 ? unit->records[0] : NULL, again);
    if (fatal) {
        *err = unit->err;
        err->class = LS_ERR_FATAL;
    }
    if (again > 0) {
        send_again(lane, work, again);
    } else {
        if (work->batch != NULL)
            work->batch->open--;
        ls_send_free_work(work);
    }
    settle_batches(instance, lane);
    return fatal ? -1 : 0;
}

int ls_dispatch_returns(struct ls_instance *instance, struct ls_err *err)
{
    int rc = 0;
    for (struct ls_unit *unit = ls_returns_take(instance->returns), *next; unit; unit = next) {
        next = unit->next;
        if (settle_unit(instance, unit->owner, err) < 0)
            rc = -1;
    }
    for (unsigned i = 0; rc == 0 && i < instance->n_lanes; i++)
        ls_send_lane(instance, &instance->lanes[i]);
    return rc;
}

void ls_dispatch_quarantined(struct ls_instance *instance, struct ls_batch *batch)
{
    batch->open--;
    for (unsigned i = 0; i < instance->n_lanes; i++)
        settle_batches(instance, &instance->lanes[i]);
}

bool ls_dispatch_idle(const struct ls_instance *instance)
{
    for (unsigned i = 0; i < instance->n_lanes; i++)
        if (instance->lanes[i].units_out > 0 || instance->lanes[i].n_batches > 0)
            return false;
    return true;
}

void ls_dispatch_forget(struct ls_instance *instance, int32_t partition)
{
    for (unsigned i = 0; i < instance->n_lanes; i++)
        for (struct ls_batch *batch = instance->lanes[i].oldest; batch; batch = batch->next)
            for (uint32_t j = 0; j < batch->n_reach; j++)
                if (batch->reach[j].partition == partition)
                    batch->reach[j].partition = -1;
}

/* Whether waiting may bring anything: what is in hand for a store that is away has no end. */
static bool can_settle(const struct ls_instance *instance)
{
    for (unsigned i = 0; i < instance->n_lanes; i++) {
        const struct ls_lane_state *lane = &instance->lanes[i];
        if ((lane->units_out > 0 || lane->n_batches > 0) &&
            lane->breaker.state == LS_BREAKER_CLOSED)
            return true;
    }
    return false;
}

void ls_dispatch_drain(struct ls_instance *instance, int64_t timeout_ms)
{
    int64_t deadline_ms = ls_mono_ms() + timeout_ms;
    struct ls_err err = {0};
    for (;;) {
        int rc = ls_dispatch_returns(instance, &err);
        ls_quarantine_serve(instance->quarantine, &err);
        ls_marks_write(instance, true);
        if (rc < 0 || ls_mono_ms() >= deadline_ms)
            return;
        if (!can_settle(instance) && !ls_marks_pending(instance))
            return;
        struct pollfd wait = {.fd = ls_returns_fd(instance->returns), .events = POLLIN};
        poll(&wait, 1, 20);
    }
}
