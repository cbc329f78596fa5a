/*
 * Bringing the ledger up to date: reads the log from where the ledger stands to its end as of the
 * call, with a range source (no group), decides with ls_intake what each message is, and writes in
 * big sorted transactions that hold records and position together.
 *
 * The source stays open between updates, so that the small updates of verify cost a round trip or
 * two. Another process may have moved the ledger on meanwhile: what lies before the position is
 * passed over. Memory: one batch of entries and keys, and librdkafka's bounded queue.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "pipeline/ends.h"
#include "pipeline/intake.h"
#include "pipeline/kafka.h"
#include "pipeline/leaders.h"
#include "pipeline/ledger_internal.h"
#include "pipeline/schema_release.h"
#include "pipeline/source.h"
#include "pipeline/topics.h"
#include "schema/key.h"

enum {
    FETCH_MESSAGES = 1024,
    KEY_BYTES_MAX = 16 << 20, /* of the keys of one transaction */
    POLL_MS = 20,
    STALL_MS = 30 * 1000, /* without a message or an end: the brokers do not answer */
    TIMES_TIMEOUT_MS = 10 * 1000,
};

static const char why_new[] = "new";

struct ls_ledger_reader {
    struct ls_source *source;
    rd_kafka_queue_t *queue; /* the source's */
    struct ls_intake intake;
    struct ls_arena decoded; /* of one message */
    struct ls_arena keys;    /* of the entries in hand */
    struct ls_ledger_entry *entries;
    size_t n_entries;
    size_t key_bytes;
    struct ls_ledger_position *positions; /* by partition */
    int64_t *ends;                        /* by partition: this update's goal */
    bool *begun;
    char genesis[37];
    bool checked_times;
};

struct update { /* one call */
    struct ls_ledger *ledger;
    struct ls_ledger_reader *reader;
    const struct ls_ledger_progress *progress;
    uint64_t total;
    bool asked_released;
    uint32_t released; /* schema version, when asked_released */
};

void ls_ledger_reader_close(struct ls_ledger_reader *reader)
{
    if (reader == NULL)
        return;
    ls_source_close(reader->source);
    ls_intake_free(&reader->intake);
    ls_arena_free(&reader->decoded);
    ls_arena_free(&reader->keys);
    free(reader->entries);
    free(reader->positions);
    free(reader->ends);
    free(reader->begun);
    free(reader);
}

static int reader_open(struct ls_ledger *ledger, struct ls_err *err)
{
    size_t n = (size_t)ledger->entity->partitions;
    LS_CLEANUP_FREE struct ls_genesis *genesis = ls_calloc(n, sizeof(*genesis));
    if (ls_kafka_genesis(ledger->config, ledger->entity, genesis, err) < 0)
        return -1;
    struct ls_source *source = ls_source_range(ledger->config, ledger->entity, NULL, err);
    if (source == NULL)
        return -1;
    struct ls_ledger_reader *reader = ls_calloc(1, sizeof(*reader));
    reader->source = source;
    reader->queue = ls_source_queue(source);
    reader->intake = (struct ls_intake){.entity = ledger->entity, .wants_hash = true};
    reader->entries = ls_calloc(LS_LEDGER_BATCH_RECORDS, sizeof(*reader->entries));
    reader->positions = ls_calloc(n, sizeof(*reader->positions));
    reader->ends = ls_calloc(n, sizeof(*reader->ends));
    reader->begun = ls_calloc(n, sizeof(*reader->begun));
    snprintf(reader->genesis, sizeof(reader->genesis), "%s", genesis[0].uuid);
    ledger->reader = reader;
    return 0;
}

/* Whether what we read is still what stands there (law 7); sets why when it is not. */
static int check_read(struct update *update, const char *topic, char *why, size_t size,
                      struct ls_err *err)
{
    struct ls_ledger_reader *reader = update->reader;
    size_t n = (size_t)update->ledger->entity->partitions;
    LS_CLEANUP_FREE struct ls_log_position *read = ls_calloc(n, sizeof(*read));
    for (size_t p = 0; p < n; p++)
        read[p] = (struct ls_log_position){.partition = (int32_t)p,
                                           .offset = reader->positions[p].next - 1,
                                           .at_ms = reader->positions[p].max_at_ms};
    const struct ls_log_position *wrong = NULL;
    if (ls_kafka_check_log(update->ledger->config, ls_source_client(reader->source), topic, read, n,
                           TIMES_TIMEOUT_MS, &wrong, err) < 0)
        return -1;
    for (size_t p = 0; p < n; p++)
        if (!read[p].asked)
            return ls_leaders_lack(topic, (int32_t)p, err);
    if (wrong != NULL)
        snprintf(why, size, "offsets of %s/%d were reused", topic, wrong->partition);
    return 0;
}

/* Asks for the ends and decides whether the ledger is of this log; why is "" when it is. */
static int look_at_log(struct update *update, char *why, size_t size, struct ls_err *err)
{
    struct ls_ledger_reader *reader = update->reader;
    char topic[LS_TOPIC_NAME_MAX], genesis[37];
    ls_topic_state(update->ledger->entity, topic);
    *why = '\0';
    size_t n = (size_t)update->ledger->entity->partitions;
    LS_CLEANUP_FREE int64_t *firsts = ls_calloc(n, sizeof(*firsts));
    if (ls_kafka_ranges(ls_source_client(reader->source), topic, NULL, n, LS_KAFKA_TIMEOUT_MS,
                        firsts, reader->ends, err) < 0)
        return -1;
    for (int32_t p = 0; p < update->ledger->entity->partitions; p++) {
        int64_t first = firsts[p], next = reader->positions[p].next;
        if (next == 0)
            reader->positions[p].next = first; /* what was deleted before is not there to be read */
        else if (next > reader->ends[p])
            snprintf(why, size, "it had read %s/%d to %" PRId64 ", beyond the log's end %" PRId64,
                     topic, p, next, reader->ends[p]);
        else if (next < first)
            snprintf(why, size,
                     "it had read %s/%d to %" PRId64 ", and the log now starts at %" PRId64, topic,
                     p, next, first);
    }
    if (ls_ledger_genesis(update->ledger, genesis, err) < 0)
        return -1;
    if (*genesis == '\0')
        snprintf(why, size, "%s", why_new);
    else if (strcmp(genesis, "unknown") == 0)
        snprintf(why, size, "it was made for other partitions or another schema");
    else if (strcmp(genesis, reader->genesis) != 0)
        snprintf(why, size, "it was of another log (genesis %s)", genesis);
    if (*why != '\0' || reader->checked_times)
        return 0;
    reader->checked_times = true;
    return check_read(update, topic, why, size, err);
}

static void note_progress(const struct update *update)
{
    const struct ls_ledger_reader *reader = update->reader;
    uint64_t left = 0;
    if (update->progress == NULL || update->progress->each == NULL)
        return;
    for (int32_t p = 0; p < update->ledger->entity->partitions; p++)
        if (reader->positions[p].next < reader->ends[p])
            left += (uint64_t)(reader->ends[p] - reader->positions[p].next);
    update->progress->each(update->progress->opaque,
                           update->total > left ? update->total - left : 0, update->total);
}

static int flush(struct update *update, struct ls_err *err)
{
    struct ls_ledger_reader *reader = update->reader;
    int rc =
        ls_ledger_write(update->ledger, reader->entries, reader->n_entries, reader->positions, err);
    reader->n_entries = 0;
    reader->key_bytes = 0;
    ls_arena_reset(&reader->keys);
    note_progress(update);
    return rc;
}

static void add_entry(struct ls_ledger_reader *reader, struct ls_ledger_entry entry)
{
    char *key = ls_arena_alloc(&reader->keys, entry.key_len);
    memcpy(key, entry.key, entry.key_len);
    entry.key = key;
    reader->entries[reader->n_entries++] = entry;
    reader->key_bytes += entry.key_len;
}

/* The purge's null value: the key leaves the log, so it leaves the ledger. */
static void take_purge(struct update *update, const rd_kafka_message_t *message)
{
    const struct ls_entity_config *entity = update->ledger->entity;
    if (message->payload != NULL || message->key == NULL ||
        ls_key_check(message->key, message->key_len, NULL) < 0)
        return;
    uint16_t shard = ls_shard_of(message->key, message->key_len);
    if (ls_partition_of(shard, entity->partitions) != message->partition)
        return;
    add_entry(update->reader, (struct ls_ledger_entry){
                                  .key = message->key,
                                  .key_len = (uint16_t)message->key_len,
                                  .shard = shard,
                                  .version = ls_version(entity->generation, message->offset),
                                  .offset = message->offset,
                                  .purged = true,
                              });
}

/*
 * The released schema as of a record's writing or later. Asked once for all that was in the log
 * when the update began, or a flood of such records would have the control topic read for each.
 */
static int ask_released(struct update *update, const rd_kafka_message_t *message,
                        struct ls_err *err)
{
    bool was_there = message->offset < update->reader->ends[message->partition];
    if (was_there && update->asked_released)
        return 0;
    if (ls_schema_released(update->ledger->config, update->ledger->entity->name,
                           LS_KAFKA_TIMEOUT_MS, &update->released, NULL, err) < 0)
        return -1;
    update->asked_released = true;
    return 0;
}

/* A record of a newer schema: of a released one we must not guess; of any other it is poison. */
static int take_newer(struct update *update, const rd_kafka_message_t *message,
                      struct ls_ledger_position *position, const struct ls_err *why,
                      struct ls_err *err)
{
    const struct ls_entity_config *entity = update->ledger->entity;
    if (ask_released(update, message, err) < 0)
        return -1;
    if (update->released > entity->schema->version)
        return ls_err_set(err, LS_ERR_FATAL, why->code,
                          "the log has records of %s schema %u, ours (%s) is %u: upgrade it first",
                          entity->name, update->released, entity->schema->path,
                          entity->schema->version);
    position->poison++;
    return 0;
}

static int take(struct update *update, const rd_kafka_message_t *message, struct ls_err *err)
{
    struct ls_ledger_reader *reader = update->reader;
    struct ls_ledger_position *position = &reader->positions[message->partition];
    if (message->offset < position->next)
        return 0;
    struct ls_record record;
    struct ls_err why = {0};
    ls_arena_reset(&reader->decoded);
    switch (ls_intake(&reader->intake, message, &reader->decoded, &record, &why)) {
    case LS_INTAKE_RECORD:
        add_entry(reader, (struct ls_ledger_entry){
                              .key = record.key,
                              .key_len = record.key_len,
                              .shard = record.shard,
                              .version = record.version,
                              .hash = record.hash,
                              .offset = record.offset,
                              .at_ms = record.at_ms,
                              .deleted = record.deleted,
                          });
        break;
    case LS_INTAKE_LOG:
        take_purge(update, message);
        break;
    case LS_INTAKE_POISON:
        position->poison++;
        break;
    case LS_INTAKE_NEWER:
        if (take_newer(update, message, position, &why, err) < 0)
            return -1;
        break;
    }
    position->next = message->offset + 1;
    int64_t at_ms = rd_kafka_message_timestamp(message, NULL);
    if (at_ms > position->max_at_ms)
        position->max_at_ms = at_ms;
    return 0;
}

static int take_event(struct update *update, const rd_kafka_message_t *message, struct ls_err *err)
{
    struct ls_ledger_reader *reader = update->reader;
    if (message->partition < 0 || message->partition >= update->ledger->entity->partitions)
        return 0;
    struct ls_ledger_position *position = &reader->positions[message->partition];
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
        return take(update, message, err);
    if (message->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
        return ls_kafka_err(err, message->err, "ledger: cannot read partition %d: %s",
                            message->partition, rd_kafka_message_errstr(message));
    if (message->offset > position->next)
        position->next = message->offset; /* transactions' control records lie between */
    return 0;
}

static bool at_end(const struct update *update)
{
    for (int32_t p = 0; p < update->ledger->entity->partitions; p++)
        if (update->reader->positions[p].next < update->reader->ends[p])
            return false;
    return true;
}

/* The queue ran empty before the end: see ls_source_wake. */
static void wake_broker(const struct update *update)
{
    const struct ls_ledger_reader *reader = update->reader;
    for (int32_t p = 0; p < update->ledger->entity->partitions; p++) {
        if (reader->positions[p].next >= reader->ends[p])
            continue;
        ls_source_wake(reader->source, p);
        return;
    }
}

/* Takes what is there, waiting a moment when nothing is; returns how many events came, or -1. */
static ssize_t take_some(struct update *update, struct ls_err *err)
{
    struct ls_ledger_reader *reader = update->reader;
    rd_kafka_message_t *messages[FETCH_MESSAGES];
    ls_source_clear_fd(reader->source);
    ls_source_serve(reader->source);
    ssize_t n = rd_kafka_consume_batch_queue(reader->queue, 0, messages, FETCH_MESSAGES);
    if (n < 0)
        return ls_kafka_err(err, rd_kafka_last_error(), "ledger: cannot read the log");
    int rc = 0;
    for (ssize_t i = 0; i < n; i++) {
        if (rc == 0)
            rc = take_event(update, messages[i], err);
        rd_kafka_message_destroy(messages[i]);
    }
    if (n == 0) {
        struct pollfd waiting = {.fd = ls_source_fd(reader->source), .events = POLLIN};
        if (poll(&waiting, 1, POLL_MS) == 0)
            wake_broker(update);
    }
    return rc < 0 ? -1 : n;
}

static int read_to_end(struct update *update, struct ls_err *err)
{
    struct ls_ledger_reader *reader = update->reader;
    int64_t heard_ms = ls_mono_ms();
    int rc = 0;
    while (rc == 0 && !at_end(update)) {
        if (update->progress != NULL && update->progress->stop != NULL && *update->progress->stop) {
            rc = ls_err_set(err, LS_ERR_RETRY, 0, "interrupted");
            break;
        }
        ssize_t n = take_some(update, err);
        if (n < 0)
            rc = -1;
        else if (n > 0)
            heard_ms = ls_mono_ms();
        else if (ls_mono_ms() - heard_ms > STALL_MS)
            rc = ls_err_set(err, LS_ERR_RETRY, 0,
                            "ledger: nothing came from the brokers for %d s; check that they run",
                            STALL_MS / 1000);
        if (rc == 0 && (reader->n_entries > LS_LEDGER_BATCH_RECORDS - FETCH_MESSAGES ||
                        reader->key_bytes > KEY_BYTES_MAX))
            rc = flush(update, err);
        else if (n > 0)
            note_progress(update);
    }
    /* What came before a failure counts too. */
    struct ls_err second = {0};
    if (flush(update, rc < 0 ? &second : err) < 0)
        rc = -1;
    return rc;
}

static int begin_partitions(struct update *update, struct ls_err *err)
{
    struct ls_ledger_reader *reader = update->reader;
    for (int32_t p = 0; p < update->ledger->entity->partitions; p++) {
        if (reader->begun[p])
            continue;
        if (ls_source_begin(reader->source, p, reader->positions[p].next, reader->queue, err) < 0)
            return -1;
        reader->begun[p] = true;
    }
    return 0;
}

/* Makes the ledger one of this log, with a reader that stands where it stands. */
static int prepare(struct update *update, struct ls_err *err)
{
    struct ls_ledger *ledger = update->ledger;
    char why[sizeof(ledger->rebuilt)];
    for (;;) {
        if (ledger->reader == NULL && reader_open(ledger, err) < 0)
            return -1;
        update->reader = ledger->reader;
        if (ls_ledger_positions(ledger, ledger->reader->positions, err) < 0 ||
            look_at_log(update, why, sizeof(why), err) < 0)
            return -1;
        if (*why == '\0')
            return 0;
        if (ls_ledger_reset(ledger, ledger->reader->genesis, strcmp(why, why_new) == 0 ? NULL : why,
                            err) < 0)
            return -1;
        /* What its queue holds was read from the old position, perhaps of the old log. */
        ls_ledger_reader_close(ledger->reader);
        ledger->reader = NULL;
    }
}

static int bring_up(struct update *update, struct ls_err *err)
{
    if (prepare(update, err) < 0)
        return -1;
    const struct ls_ledger_reader *reader = update->reader;
    for (int32_t p = 0; p < update->ledger->entity->partitions; p++)
        update->total += (uint64_t)(reader->ends[p] - reader->positions[p].next);
    if (update->total == 0)
        return 0;
    if (begin_partitions(update, err) < 0)
        return -1;
    note_progress(update);
    return read_to_end(update, err);
}

int ls_ledger_update(struct ls_ledger *ledger, const struct ls_ledger_progress *progress,
                     struct ls_err *err)
{
    uint64_t ticket = __atomic_add_fetch(&ledger->asked, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&ledger->updating);
    int rc = 0;
    if (ledger->served < ticket) {
        uint64_t covers = __atomic_load_n(&ledger->asked, __ATOMIC_SEQ_CST);
        rc = ls_ledger_begin(ledger, err);
        if (rc == 0) {
            struct update update = {.ledger = ledger, .progress = progress};
            struct ls_err second = {0};
            rc = bring_up(&update, err);
            if (ls_ledger_end(ledger, rc < 0 ? &second : err) < 0)
                rc = -1;
        }
        if (rc == 0)
            ledger->served = covers;
        else {
            /* A fresh start next time: what stands in the queue may have been dropped. */
            ls_ledger_reader_close(ledger->reader);
            ledger->reader = NULL;
        }
    }
    pthread_mutex_unlock(&ledger->updating);
    return rc;
}
