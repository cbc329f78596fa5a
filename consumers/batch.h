/*
 * A batch: messages of one lane, read and decoded together, with the newest record of each key
 * picked out (law 3). It owns the Kafka messages and an arena, which live exactly as long as it, so
 * records copy nothing. Batches of a lane form a queue in the order in which they were read; the
 * low watermark moves only over the oldest ones that are whole. One thread: the instance's.
 */
#ifndef LS_CONSUMERS_BATCH_H
#define LS_CONSUMERS_BATCH_H

#include "pipeline/intake.h"

/* How far a batch reaches in one partition. */
struct ls_reach {
    int32_t partition;   /* -1: forgotten, it was taken away since */
    int64_t next_offset; /* the next one after the batch */
    int64_t at_ms;       /* the latest LogAppendTime, 0 if none (only an end was seen) */
    bool at_end;         /* the last that was read is the end of the log */
};

/* A record that is poison by itself, and why; found while reading, for the quarantine. */
struct ls_log_poison {
    struct ls_log_poison *next;
    struct ls_record *record;
    char text[256];
};

struct ls_batch {
    struct ls_batch *next; /* the lane's queue, oldest first */
    struct ls_arena arena;
    rd_kafka_message_t **messages;
    uint32_t n_messages, cap_messages;
    struct ls_record *records; /* in the arena; one per state record and poison, as read */
    uint32_t n_records;
    struct ls_record **newest; /* in the arena: newest of each key, in the order read */
    uint32_t n_newest;
    struct ls_log_poison *poison; /* in the arena, linked, newest first */
    struct ls_reach *reach;       /* in the arena */
    uint32_t n_reach;
    uint64_t bytes; /* of keys and values, as they are in the log */
    uint64_t held;  /* the instance's: its footprint when it was read */
    uint32_t open;  /* units and quarantine writes that are not finished: whole when 0 */
    /* The first record of a newer schema, if any: the instance decides between FATAL and poison. */
    struct ls_record *newer;
    struct ls_err newer_err;
    /*
     * A partition that can no longer be read from where it stands (the topic is gone, offsets are
     * out of range): the sink has to start again from its marks, and its checks will say what is
     * wrong.
     */
    struct ls_err log_err;
};

enum { LS_MESSAGE_BYTES = 400 }; /* of librdkafka's message, beside its payload; about */

struct ls_batch *ls_batch_new(void);
void ls_batch_free(struct ls_batch *batch);
/* Bytes of memory that it holds: messages with their payload, and the arena. */
uint64_t ls_batch_footprint(const struct ls_batch *batch);
/* Gives messages and arena back for reuse; the batch is empty then. */
void ls_batch_reset(struct ls_batch *batch);

/* Takes the messages that the queue has, up to the limits; returns how many (records and ends). */
uint32_t ls_batch_fetch(struct ls_batch *batch, rd_kafka_queue_t *queue, uint32_t max_records,
                        uint32_t max_bytes);
/*
 * Decodes and checks what was fetched, finds the newest of each key; the others get SUPERSEDED and
 * stand in the `displaced` chain of the newest, newest first. stop_at[partition] (NULL: none) is an
 * exclusive upper bound of offsets: what is beyond is passed over. A record of a newer schema
 * stands among the poison, and the first one in newer.
 */
void ls_batch_read(struct ls_batch *batch, struct ls_intake *intake, const int64_t *stop_at);

#endif
