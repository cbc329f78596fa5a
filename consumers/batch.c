#include "consumers/batch.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"

enum { FETCH_CHUNK = 1024, REACH_MAX = 1024 };

struct ls_batch *ls_batch_new(void)
{
    return ls_calloc(1, sizeof(struct ls_batch));
}

void ls_batch_reset(struct ls_batch *batch)
{
    for (uint32_t i = 0; i < batch->n_messages; i++)
        rd_kafka_message_destroy(batch->messages[i]);
    struct ls_batch empty = {
        .arena = batch->arena,
        .messages = batch->messages,
        .cap_messages = batch->cap_messages,
    };
    *batch = empty;
    ls_arena_reset(&batch->arena);
}

uint64_t ls_batch_footprint(const struct ls_batch *batch)
{
    return batch->bytes + (uint64_t)batch->n_messages * LS_MESSAGE_BYTES +
           batch->cap_messages * sizeof(*batch->messages) + ls_arena_footprint(&batch->arena);
}

void ls_batch_free(struct ls_batch *batch)
{
    if (batch == NULL)
        return;
    ls_batch_reset(batch);
    ls_arena_free(&batch->arena);
    free(batch->messages);
    free(batch);
}

uint32_t ls_batch_fetch(struct ls_batch *batch, rd_kafka_queue_t *queue, uint32_t max_records,
                        uint32_t max_bytes)
{
    while (batch->n_messages < max_records && batch->bytes < max_bytes) {
        uint32_t want = max_records - batch->n_messages;
        if (want > FETCH_CHUNK)
            want = FETCH_CHUNK;
        if (batch->cap_messages < batch->n_messages + want) {
            batch->cap_messages = batch->n_messages + want;
            batch->messages =
                ls_realloc(batch->messages, batch->cap_messages * sizeof(rd_kafka_message_t *));
        }
        rd_kafka_message_t **into = batch->messages + batch->n_messages;
        ssize_t got = rd_kafka_consume_batch_queue(queue, 0, into, want);
        if (got <= 0)
            break;
        for (ssize_t i = 0; i < got; i++)
            batch->bytes += into[i]->len + into[i]->key_len;
        batch->n_messages += (uint32_t)got;
        if ((uint32_t)got < want)
            break;
    }
    return batch->n_messages;
}

/* Notes how far the batch reaches; messages of a partition come in the order of their offsets. */
static struct ls_reach *note_reach(struct ls_batch *batch, int32_t partition, int64_t next_offset,
                                   int64_t at_ms)
{
    uint32_t i = batch->n_reach;
    while (i > 0 && batch->reach[i - 1].partition != partition)
        i--;
    if (i == 0) {
        batch->reach[batch->n_reach] = (struct ls_reach){.partition = partition};
        i = ++batch->n_reach;
    }
    struct ls_reach *reach = &batch->reach[i - 1];
    if (next_offset > reach->next_offset)
        reach->next_offset = next_offset;
    if (at_ms > reach->at_ms) /* brokers' clocks differ: a new leader's may be behind */
        reach->at_ms = at_ms;
    reach->at_end = false;
    return reach;
}

/* Reads one message into batch->records; notes poison. */
static void read_message(struct ls_batch *batch, struct ls_intake *intake,
                         const rd_kafka_message_t *message)
{
    struct ls_record *record = &batch->records[batch->n_records];
    struct ls_err err = {0};
    enum ls_intake_kind kind = ls_intake(intake, message, &batch->arena, record, &err);
    note_reach(batch, message->partition, message->offset + 1, record->at_ms);
    if (kind == LS_INTAKE_LOG)
        return;
    batch->n_records++;
    if (kind == LS_INTAKE_RECORD)
        return;
    struct ls_log_poison *poison = ls_arena_alloc(&batch->arena, sizeof(*poison));
    poison->next = batch->poison;
    poison->record = record;
    batch->poison = poison;
    snprintf(poison->text, sizeof(poison->text), "%.*s", (int)sizeof(poison->text) - 1, err.text);
    if (kind == LS_INTAKE_NEWER && batch->newer == NULL) {
        batch->newer = record;
        batch->newer_err = err;
    }
}

/* Puts an older record into the chain of the newest, which is sorted, newest first. */
static void displace(struct ls_record *newest, struct ls_record *older)
{
    older->verdict = LS_SUPERSEDED;
    struct ls_record **link = &newest->displaced;
    while (*link != NULL && (*link)->version > older->version)
        link = &(*link)->displaced;
    older->displaced = *link;
    *link = older;
}

/*
 * Newest record of each key: an open-addressing table of record numbers + 1, in the arena. The
 * higher version wins, whatever the order of offsets (law 2).
 */
static void find_newest(struct ls_batch *batch)
{
    uint32_t size = 64;
    while (size < batch->n_records * 2)
        size *= 2;
    uint32_t *table = ls_arena_alloc(&batch->arena, size * sizeof(*table));
    memset(table, 0, size * sizeof(*table));
    batch->newest = ls_arena_alloc(&batch->arena, batch->n_records * sizeof(struct ls_record *));
    for (uint32_t i = 0; i < batch->n_records; i++) {
        struct ls_record *record = &batch->records[i];
        if (record->verdict != LS_PENDING)
            continue;
        uint32_t slot = (uint32_t)XXH3_64bits(record->key, record->key_len) & (size - 1);
        struct ls_record **held = NULL;
        for (; table[slot] != 0; slot = (slot + 1) & (size - 1)) {
            held = &batch->newest[table[slot] - 1];
            if ((*held)->key_len == record->key_len &&
                memcmp((*held)->key, record->key, record->key_len) == 0)
                break;
        }
        if (table[slot] == 0) {
            batch->newest[batch->n_newest++] = record;
            table[slot] = batch->n_newest;
        } else if (record->version > (*held)->version) {
            (*held)->verdict = LS_SUPERSEDED;
            record->displaced = *held;
            *held = record;
        } else {
            displace(*held, record);
        }
    }
}

void ls_batch_read(struct ls_batch *batch, struct ls_intake *intake, const int64_t *stop_at)
{
    size_t n = batch->n_messages;
    batch->records = ls_arena_alloc(&batch->arena, n * sizeof(*batch->records));
    batch->reach =
        ls_arena_alloc(&batch->arena, (n < REACH_MAX ? n : REACH_MAX) * sizeof(*batch->reach));
    for (uint32_t i = 0; i < batch->n_messages; i++) {
        const rd_kafka_message_t *message = batch->messages[i];
        if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            note_reach(batch, message->partition, message->offset, 0)->at_end = true;
            continue;
        }
        if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            ls_err_set(&batch->log_err, LS_ERR_RETRY, message->err, "partition %d: %s",
                       message->partition, rd_kafka_message_errstr(message));
            continue;
        }
        if (stop_at != NULL && message->offset >= stop_at[message->partition]) {
            note_reach(batch, message->partition, message->offset, 0);
            continue;
        }
        read_message(batch, intake, message);
    }
    find_newest(batch);
}
