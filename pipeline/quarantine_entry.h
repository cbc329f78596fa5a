/*
 * One entry of a quarantine topic, as a Kafka message: key `<topic>/<partition>/<offset>` of the
 * record that it is about, the record's value as it came, and what is known of it in headers. A
 * null value closes the entry. The topic holds records raw, personal fields too: whoever shows an
 * entry masks it.
 *
 * Entries of other topics (a generation before this one) are not read: their records were copied
 * into this generation, and are quarantined there if they still have to be. A log that was made
 * anew under its topic's name has the same positions as the one before it: its entries are told
 * apart by their records' time. Any thread.
 */
#ifndef LS_PIPELINE_QUARANTINE_ENTRY_H
#define LS_PIPELINE_QUARANTINE_ENTRY_H

#include <librdkafka/rdkafka.h>

#include "pipeline/config.h"
#include "pipeline/topics.h"
#include "schema/wire.h"

enum { LS_QUARANTINE_KEY_MAX = LS_TOPIC_NAME_MAX + 40 };

/* Views into the message, valid as long as it. */
struct ls_quarantine_entry {
    int32_t partition; /* of the log, where the record stands */
    int64_t offset;
    uint64_t version;      /* 0: the record does not tell */
    int64_t at_ms;         /* LogAppendTime of the record */
    int64_t since_ms;      /* when it was quarantined first */
    struct ls_span key;    /* the record's; data NULL: it has none */
    enum ls_reject reject; /* NONE: a class that is not known here */
    struct ls_span class;
    struct ls_span text; /* why; may quote the record */
    int32_t code;        /* the store's own, or 0 */
    uint32_t attempts;
    struct ls_span body; /* the record's value; data NULL: the entry is closed */
};

/* Reads a message; false when it is no entry of that entity's log. */
bool ls_quarantine_entry_read(const struct ls_entity_config *entity,
                              const rd_kafka_message_t *message, struct ls_quarantine_entry *ret);

/*
 * Whether the entry's record may stand in the log with these genesis records (by partition, n of
 * them): false where it was appended before the genesis of its partition, to another log. What has
 * no time, or no such partition, may.
 */
bool ls_quarantine_entry_is_of(const struct ls_quarantine_entry *entry,
                               const struct ls_genesis *genesis, int32_t n);

/* The key of an entry's message, NUL-terminated; returns its length. */
size_t ls_quarantine_entry_key(const struct ls_entity_config *entity, int32_t partition,
                               int64_t offset, char key[LS_QUARANTINE_KEY_MAX]);

/*
 * Puts an entry's message, or (body NULL) what closes it, into a producer's queue without waiting;
 * copies what it needs. opaque reaches the delivery callback.
 */
rd_kafka_resp_err_t ls_quarantine_entry_send(rd_kafka_t *producer,
                                             const struct ls_sink_config *sink,
                                             const struct ls_quarantine_entry *entry, void *opaque);

#endif
