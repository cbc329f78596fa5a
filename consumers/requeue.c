#include "consumers/requeue.h"

#include <poll.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "consumers/lane.h"
#include "consumers/store.h"
#include "pipeline/kafka.h"
#include "schema/key.h"

enum { PATIENCE_MS = 30000, BACKOFF_BASE_MS = 50, BACKOFF_CAP_MS = 2000, TICK_MS = 100 };

struct ls_requeue {
    const struct ls_sink_config *config;
    struct ls_genesis *genesis; /* by partition */
    const struct ls_sink_ops *ops;
    const atomic_int *stop;
    struct ls_sink *sink;
    struct ls_returns *returns;
    struct ls_lane **lanes;
    unsigned n_lanes;
    struct ls_err *away;   /* by lane: why its store cannot be reached; NONE: it can */
    struct ls_arena arena; /* of one apply */
    struct ls_buf scratch; /* the hash's */
};

/* An item with its record. */
struct work {
    struct ls_requeue_item *item;
    struct ls_record record;
};

static void settle(struct ls_requeue_item *item, enum ls_requeue_outcome outcome,
                   enum ls_reject reject, int code, const char *text)
{
    item->outcome = outcome;
    item->reject = reject;
    item->code = code;
    snprintf(item->text, sizeof(item->text), "%.*s", (int)sizeof(item->text) - 1, text);
}

/* Whether there is anything to be tried; if not, the item gets its outcome. */
static bool is_fit(const struct ls_entity_config *entity, const struct ls_genesis *genesis,
                   struct ls_requeue_item *item)
{
    const struct ls_quarantine_entry *entry = item->entry;
    const char *why = NULL;
    if (entry->key.data == NULL || ls_key_check(entry->key.data, entry->key.len, NULL) < 0)
        why = "it has no key that a store can have";
    else if (ls_partition_of(ls_shard_of(entry->key.data, entry->key.len), entity->partitions) !=
             entry->partition)
        why = "it stands on another partition than its key's, so its version compares with none";
    else if (entry->reject == LS_REJECT_NULL_VALUE)
        why = "it is a null value, which holds no record";
    else if (!ls_quarantine_entry_is_of(entry, genesis, entity->partitions))
        why = "it is of a log that was there before this one, so its version compares with none";
    else if (entry->version == 0)
        why = "its version could not be read";
    if (why == NULL)
        return true;
    char text[256];
    snprintf(text, sizeof(text), "%s: publish the record anew, then discard it", why);
    settle(item, LS_REQUEUE_UNFIT, entry->reject, 0, text);
    return false;
}

/* Decodes the entry again, by the schema as it is now. */
static bool read_record(const struct ls_entity_config *entity, const struct ls_genesis *genesis,
                        bool wants_hash, struct ls_arena *arena, struct ls_buf *scratch,
                        struct ls_requeue_item *item, struct ls_record *ret)
{
    const struct ls_quarantine_entry *entry = item->entry;
    struct ls_envelope envelope;
    struct ls_value *values = NULL;
    struct ls_err err = {0};
    if (!is_fit(entity, genesis, item))
        return false;
    if (ls_wire_decode(entity->schema, entry->body.data, entry->body.len, arena, &envelope, &values,
                       &err) < 0) {
        settle(item, LS_REQUEUE_REFUSED, (enum ls_reject)err.code, 0, err.text);
        return false;
    }
    *ret = (struct ls_record){
        .key = entry->key.data,
        .key_len = (uint16_t)entry->key.len,
        .body = entry->body.data,
        .body_len = entry->body.len,
        .values = values,
        .version = entry->version,
        .at_ms = entry->at_ms,
        .offset = entry->offset,
        .partition = entry->partition,
        .shard = ls_shard_of(entry->key.data, entry->key.len),
        .deleted = envelope.op == LS_OP_DELETE,
    };
    if (wants_hash)
        ret->hash = ls_hash(entity->schema, ret->key, ret->key_len, ret->deleted, values, scratch);
    return true;
}

/* Gives units to their lanes and waits for all of them: lanes bound their own requests. */
static void run_units(struct ls_requeue *requeue, struct ls_unit *units, const unsigned *lanes,
                      unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        ls_lane_submit(requeue->lanes[lanes[i]], &units[i]);
    while (n > 0) {
        for (struct ls_unit *unit = ls_returns_take(requeue->returns); unit; unit = unit->next)
            n--;
        struct pollfd wait = {.fd = ls_returns_fd(requeue->returns), .events = POLLIN};
        if (n > 0)
            poll(&wait, 1, TICK_MS);
    }
}

/* Marks of all partitions that a lane serves. */
static struct ls_mark *lane_marks(const struct ls_requeue *requeue, unsigned lane, uint32_t *ret_n)
{
    int32_t partitions = requeue->config->entity->partitions;
    struct ls_mark *marks = ls_calloc((size_t)partitions, sizeof(*marks));
    uint32_t n = 0;
    for (int32_t p = 0; p < partitions; p++)
        if (requeue->ops->lane_of(requeue->sink, p) == lane)
            marks[n++].partition = p;
    *ret_n = n;
    return marks;
}

/* As a worker judges it: the store follows this log. */
static int check_look(const struct ls_requeue *requeue, const struct ls_unit *look,
                      struct ls_err *err)
{
    const struct ls_genesis *genesis = requeue->genesis;
    if (look->err.class != LS_ERR_NONE) {
        *err = look->err;
        return -1;
    }
    for (uint32_t i = 0; i < look->n_marks; i++) {
        const struct ls_mark *mark = &look->marks[i];
        if (mark->genesis[0] == '\0')
            return ls_err_set(err, LS_ERR_FATAL, 0,
                              "partition %d: the store has no mark, so it does not follow this log "
                              "yet: `lockstep run --sink %s` first",
                              mark->partition, requeue->config->name);
        bool older = ls_version_generation(mark->version) < requeue->config->entity->generation &&
                     mark->version != 0;
        if (!older && strcmp(mark->genesis, genesis[mark->partition].uuid) != 0)
            return ls_err_set(err, LS_ERR_FATAL, 0,
                              "partition %d: the store follows the log with genesis %s, and %s has "
                              "genesis %s: what is quarantined is not of its log",
                              mark->partition, mark->genesis, genesis[mark->partition].topic,
                              genesis[mark->partition].uuid);
    }
    return 0;
}

static int look_at_stores(struct ls_requeue *requeue, struct ls_err *err)
{
    unsigned n = requeue->n_lanes;
    LS_CLEANUP_FREE struct ls_unit *units = ls_calloc(n, sizeof(*units));
    LS_CLEANUP_FREE struct ls_look *looks = ls_calloc(n, sizeof(*looks));
    LS_CLEANUP_FREE unsigned *lanes = ls_calloc(n, sizeof(*lanes));
    for (unsigned i = 0; i < n; i++) {
        looks[i].setup = true;
        units[i].look = &looks[i];
        units[i].marks = lane_marks(requeue, i, &units[i].n_marks);
        lanes[i] = i;
    }
    run_units(requeue, units, lanes, n);
    int rc = 0;
    unsigned n_away = 0;
    for (unsigned i = 0; i < n; i++) {
        bool away = units[i].err.class == LS_ERR_RETRY || units[i].err.class == LS_ERR_UNKNOWN;
        n_away += away;
        if (away)
            requeue->away[i] = units[i].err;
        /* One server that is down keeps only its own partitions' entries waiting. */
        if (rc == 0 && (!away || n_away == n))
            rc = check_look(requeue, &units[i], err);
        free(units[i].marks);
        free(units[i].refusals);
    }
    return rc;
}

static int start_lanes(struct ls_requeue *requeue, struct ls_err *err)
{
    if (requeue->ops->open(requeue->config, &requeue->sink, err) < 0)
        return -1;
    unsigned n = requeue->ops->n_lanes(requeue->sink);
    requeue->lanes = ls_calloc(n, sizeof(struct ls_lane *));
    requeue->away = ls_calloc(n, sizeof(*requeue->away));
    for (; requeue->n_lanes < n; requeue->n_lanes++) {
        struct ls_lane *lane =
            ls_lane_start(requeue->ops, requeue->sink, requeue->n_lanes, requeue->returns, err);
        if (lane == NULL)
            return -1;
        requeue->lanes[requeue->n_lanes] = lane;
    }
    return 0;
}

struct ls_requeue *ls_requeue_open(const struct ls_config *config,
                                   const struct ls_sink_config *sink, const atomic_int *stop,
                                   struct ls_err *err)
{
    struct ls_genesis *genesis = ls_calloc((size_t)sink->entity->partitions, sizeof(*genesis));
    if (ls_kafka_genesis(config, sink->entity, genesis, err) < 0) {
        free(genesis);
        return NULL;
    }
    struct ls_requeue *requeue = ls_calloc(1, sizeof(*requeue));
    requeue->config = sink;
    requeue->genesis = genesis;
    requeue->ops = ls_sink_ops_for(sink->kind);
    requeue->stop = stop;
    requeue->returns = ls_returns_new();
    if (start_lanes(requeue, err) == 0 && look_at_stores(requeue, err) == 0)
        return requeue;
    ls_requeue_close(requeue);
    return NULL;
}

void ls_requeue_close(struct ls_requeue *requeue)
{
    if (requeue == NULL)
        return;
    for (unsigned i = 0; i < requeue->n_lanes; i++)
        ls_lane_stop(requeue->lanes[i]);
    if (requeue->sink != NULL)
        requeue->ops->close(requeue->sink);
    ls_returns_free(requeue->returns);
    ls_arena_free(&requeue->arena);
    ls_buf_free(&requeue->scratch);
    free(requeue->genesis);
    free(requeue->lanes);
    free(requeue->away);
    free(requeue);
}

static bool same_key(const struct ls_record *a, const struct ls_record *b)
{
    return a->key_len == b->key_len && memcmp(a->key, b->key, a->key_len) == 0;
}

static bool is_pending(const struct work *work)
{
    return work->item->outcome == LS_REQUEUE_PENDING;
}

/* Whether no other pending item of its key is newer: only those go out together. */
static bool is_newest(const struct work *works, size_t n, size_t index)
{
    for (size_t i = 0; i < n; i++)
        if (i != index && is_pending(&works[i]) &&
            same_key(&works[i].record, &works[index].record) &&
            (works[i].record.version > works[index].record.version ||
             (works[i].record.version == works[index].record.version && i < index)))
            return false;
    return true;
}

/* Verdicts become outcomes; what may heal stays pending. Returns whether any item was settled. */
static bool take_verdicts(struct work *works, size_t n, const struct ls_unit *unit)
{
    bool settled = false;
    for (size_t i = 0; i < n; i++) {
        struct ls_requeue_item *item = works[i].item;
        const struct ls_refusal *refusal;
        if (!is_pending(&works[i]))
            continue;
        switch (works[i].record.verdict) {
        case LS_APPLIED:
            settle(item, LS_REQUEUE_APPLIED, LS_REJECT_NONE, 0, "");
            break;
        case LS_STALE:
            settle(item, LS_REQUEUE_STALE, LS_REJECT_NONE, 0, "");
            break;
        case LS_POISON:
            refusal = ls_unit_refusal(unit, &works[i].record);
            if (refusal == NULL)
                continue; /* of another unit */
            settle(item, LS_REQUEUE_REFUSED, LS_REJECT_STORE, refusal->code, refusal->text);
            break;
        default:
            continue;
        }
        settled = true;
    }
    return settled;
}

/* Older images of a key whose newer one is in are stale. */
static void settle_displaced(struct work *works, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            enum ls_requeue_outcome newer = works[j].item->outcome;
            if (is_pending(&works[i]) &&
                (newer == LS_REQUEUE_APPLIED || newer == LS_REQUEUE_STALE) &&
                works[j].record.version >= works[i].record.version &&
                same_key(&works[i].record, &works[j].record))
                settle(works[i].item, LS_REQUEUE_STALE, LS_REJECT_NONE, 0, "");
        }
}

/* Fills a unit for each lane, up to its limit, with what is pending; returns how many units. */
static unsigned fill_units(struct ls_requeue *requeue, struct work *works, size_t n,
                           struct ls_unit *units, unsigned *lanes)
{
    uint32_t max_records = requeue->ops->unit_records(requeue->sink);
    uint32_t max_bytes = requeue->ops->unit_bytes(requeue->sink);
    unsigned n_units = 0;
    for (unsigned lane = 0; lane < requeue->n_lanes; lane++) {
        struct ls_unit *unit = &units[n_units];
        uint64_t bytes = 0;
        *unit = (struct ls_unit){0};
        for (size_t i = 0; i < n; i++) {
            struct ls_record *record = &works[i].record;
            if (!is_pending(&works[i]) || !is_newest(works, n, i) ||
                requeue->ops->lane_of(requeue->sink, record->partition) != lane ||
                unit->n_records >= max_records || (bytes > 0 && bytes >= max_bytes))
                continue;
            if (unit->records == NULL)
                unit->records = ls_arena_alloc(&requeue->arena, n * sizeof(struct ls_record *));
            record->verdict = LS_PENDING;
            unit->records[unit->n_records++] = record;
            bytes += record->body_len;
        }
        if (unit->n_records > 0)
            lanes[n_units++] = lane;
    }
    return n_units;
}

/* One round: every lane gets what it can take of the newest. -1 when a store is set up wrong. */
static int run_round(struct ls_requeue *requeue, struct work *works, size_t n, bool *ret_settled,
                     struct ls_err *ret_failure, struct ls_err *err)
{
    LS_CLEANUP_FREE struct ls_unit *units = ls_calloc(requeue->n_lanes, sizeof(*units));
    LS_CLEANUP_FREE unsigned *lanes = ls_calloc(requeue->n_lanes, sizeof(*lanes));
    unsigned n_units = fill_units(requeue, works, n, units, lanes);
    run_units(requeue, units, lanes, n_units);
    int rc = 0;
    *ret_settled = false;
    for (unsigned i = 0; i < n_units; i++) {
        *ret_settled |= take_verdicts(works, n, &units[i]);
        if (units[i].err.class == LS_ERR_FATAL && rc == 0) {
            *err = units[i].err;
            rc = -1;
        }
        if (units[i].err.class == LS_ERR_RETRY || units[i].err.class == LS_ERR_UNKNOWN)
            *ret_failure = units[i].err;
        free(units[i].refusals);
    }
    settle_displaced(works, n);
    return rc;
}

static bool any_pending(const struct work *works, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (is_pending(&works[i]))
            return true;
    return false;
}

/* Whether the record's server cannot be reached; its item says so. */
static bool is_away(const struct ls_requeue *requeue, const struct work *work)
{
    const struct ls_err *err =
        &requeue->away[requeue->ops->lane_of(requeue->sink, work->record.partition)];
    if (err->class == LS_ERR_NONE)
        return false;
    settle(work->item, LS_REQUEUE_PENDING, LS_REJECT_NONE, err->code, err->text);
    return true;
}

int ls_requeue_apply(struct ls_requeue *requeue, struct ls_requeue_item *items, size_t n,
                     struct ls_err *err)
{
    ls_arena_reset(&requeue->arena);
    LS_CLEANUP_FREE struct work *works = ls_calloc(n + 1, sizeof(*works));
    size_t n_works = 0;
    for (size_t i = 0; i < n; i++) {
        works[n_works].item = &items[i];
        items[i].outcome = LS_REQUEUE_PENDING;
        if (read_record(requeue->config->entity, requeue->genesis, requeue->ops->wants_hash,
                        &requeue->arena, &requeue->scratch, &items[i], &works[n_works].record) &&
            !is_away(requeue, &works[n_works]))
            n_works++;
    }
    int64_t moved_ms = ls_mono_ms();
    unsigned attempt = 0;
    while (any_pending(works, n_works) && !*requeue->stop) {
        bool settled;
        struct ls_err failure = {0};
        if (run_round(requeue, works, n_works, &settled, &failure, err) < 0)
            return -1;
        attempt = settled ? 0 : attempt + 1;
        if (settled)
            moved_ms = ls_mono_ms();
        if (settled && failure.class == LS_ERR_NONE)
            continue;
        if (failure.class == LS_ERR_NONE)
            ls_err_set(&failure, LS_ERR_UNKNOWN, 0, "the store gave no verdict");
        if (ls_mono_ms() - moved_ms > PATIENCE_MS) {
            *err = failure;
            return -1;
        }
        poll(NULL, 0, (int)ls_backoff_ms(attempt, BACKOFF_BASE_MS, BACKOFF_CAP_MS));
    }
    return 0;
}

/* Asks the store what it has for those that can be read. */
static int preview_works(const struct ls_sink_config *sink, struct work *works, size_t n,
                         struct ls_arena *arena, struct ls_err *err)
{
    const struct ls_store_ops *ops = ls_store_ops_for(sink->kind);
    struct ls_store *store = NULL;
    if (ops->open(sink, &store, err) < 0)
        return -1;
    LS_CLEANUP_FREE struct ls_span *keys = ls_calloc(n + 1, sizeof(*keys));
    LS_CLEANUP_FREE struct ls_image *images = ls_calloc(n + 1, sizeof(*images));
    for (size_t i = 0; i < n; i++)
        keys[i] = works[i].item->entry->key;
    int rc = ops->fetch(store, keys, n, arena, images, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (images[i].found && images[i].version >= works[i].record.version)
            settle(works[i].item, LS_REQUEUE_STALE, LS_REJECT_NONE, 0, "");
    ops->close(store);
    return rc;
}

int ls_requeue_preview(const struct ls_config *config, const struct ls_sink_config *sink,
                       struct ls_requeue_item *items, size_t n, struct ls_err *err)
{
    LS_CLEANUP_FREE struct ls_genesis *genesis =
        ls_calloc((size_t)sink->entity->partitions, sizeof(*genesis));
    if (ls_kafka_genesis(config, sink->entity, genesis, err) < 0)
        return -1;
    struct ls_arena arena = {0};
    LS_CLEANUP_FREE struct work *works = ls_calloc(n + 1, sizeof(*works));
    size_t n_works = 0;
    for (size_t i = 0; i < n; i++) {
        works[n_works].item = &items[i];
        items[i].outcome = LS_REQUEUE_PENDING;
        if (read_record(sink->entity, genesis, false, &arena, NULL, &items[i],
                        &works[n_works].record))
            n_works++;
    }
    int rc = n_works > 0 ? preview_works(sink, works, n_works, &arena, err) : 0;
    ls_arena_free(&arena);
    return rc;
}
