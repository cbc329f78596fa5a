/*
 * Intake: a Kafka message of a state topic becomes a checked record, or is named for what it is.
 * The one place that decides what the log holds; the sink instance and the ledger both use it, so
 * the model and the stores can never disagree on it. Pure: no I/O, no waiting.
 */
#ifndef LS_PIPELINE_INTAKE_H
#define LS_PIPELINE_INTAKE_H

#include <librdkafka/rdkafka.h>

#include "base/buf.h"
#include "pipeline/config.h"
#include "pipeline/record.h"

/* Header with the version of a record that was copied onward, 8 bytes big-endian (law 1). */
#define LS_HEADER_VERSION "v"
/* Header of the null value that a purge writes last of all. */
#define LS_HEADER_PURGE "purge"

struct ls_intake {
    const struct ls_entity_config *entity;
    bool wants_hash;       /* fill in record->hash */
    struct ls_buf scratch; /* the hash's canonical bytes, reused */
};

enum ls_intake_kind {
    LS_INTAKE_RECORD, /* a state record: *ret is whole, verdict PENDING */
    LS_INTAKE_LOG,    /* the log's own: genesis, purge marker; counts for the watermark only */
    LS_INTAKE_POISON, /* *ret has what could be read, verdict POISON and its reject; err says why */
    LS_INTAKE_NEWER,  /* of a newer schema: FATAL if that is released, else poison; err says it */
};

/*
 * Reads one message (never one with message->err set). ret points into the message and the arena.
 * Sets everything in ret; err is written for POISON and NEWER only.
 */
enum ls_intake_kind ls_intake(struct ls_intake *intake, const rd_kafka_message_t *message,
                              struct ls_arena *arena, struct ls_record *ret, struct ls_err *err);

void ls_intake_free(struct ls_intake *intake);

#endif
