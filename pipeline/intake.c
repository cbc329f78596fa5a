#include "pipeline/intake.h"

#include <string.h>

#include "schema/key.h"

static enum ls_intake_kind poison(struct ls_record *record, enum ls_reject reject)
{
    record->verdict = LS_POISON;
    record->reject = (uint8_t)reject;
    return LS_INTAKE_POISON;
}

/* Law 1: a copied record keeps its original version in header `v`. */
static int read_version(const struct ls_intake *intake, const rd_kafka_message_t *message,
                        uint64_t *ret, struct ls_err *err)
{
    rd_kafka_headers_t *headers;
    const void *value;
    size_t size;
    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        rd_kafka_header_get_last(headers, LS_HEADER_VERSION, &value, &size) !=
            RD_KAFKA_RESP_ERR_NO_ERROR) {
        *ret = ls_version(intake->entity->generation, message->offset);
        return 0;
    }
    if (size != sizeof(uint64_t))
        return ls_err_set(err, LS_ERR_POISON, LS_REJECT_UNDECODABLE,
                          "header v: %zu bytes, expected 8", size);
    uint64_t version = 0;
    for (size_t i = 0; i < size; i++)
        version = version << 8 | ((const uint8_t *)value)[i];
    uint32_t generation = ls_version_generation(version);
    if (generation == 0 || generation > intake->entity->generation ||
        (version & 0xffffffffffffu) == 0)
        return ls_err_set(err, LS_ERR_POISON, LS_REJECT_UNDECODABLE,
                          "header v: generation %u offset %lld is not of this log or one before it",
                          generation, (long long)ls_version_offset(version));
    *ret = version;
    return 0;
}

static bool has_header(const rd_kafka_message_t *message, const char *name)
{
    rd_kafka_headers_t *headers;
    const void *value;
    size_t size;
    return rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR &&
           rd_kafka_header_get_last(headers, name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* Key and place. The shard is set where the key is any good. */
static enum ls_reject check_place(const struct ls_intake *intake, const rd_kafka_message_t *message,
                                  struct ls_record *record, struct ls_err *err)
{
    if (message->key == NULL) {
        ls_err_set(err, LS_ERR_POISON, LS_REJECT_BAD_KEY, "the record has no key");
        return LS_REJECT_BAD_KEY;
    }
    if (ls_key_check(message->key, message->key_len, err) < 0)
        return LS_REJECT_BAD_KEY;
    record->key = message->key;
    record->key_len = (uint16_t)message->key_len;
    record->shard = ls_shard_of(record->key, record->key_len);
    int32_t home = ls_partition_of(record->shard, intake->entity->partitions);
    if (home != message->partition) {
        ls_err_set(err, LS_ERR_POISON, LS_REJECT_MISROUTED,
                   "the key belongs on partition %d: publish with partitioner=murmur2_random",
                   home);
        return LS_REJECT_MISROUTED;
    }
    if (message->payload == NULL) {
        ls_err_set(err, LS_ERR_POISON, LS_REJECT_NULL_VALUE,
                   "null value: a delete is a record with operation 1");
        return LS_REJECT_NULL_VALUE;
    }
    return LS_REJECT_NONE;
}

enum ls_intake_kind ls_intake(struct ls_intake *intake, const rd_kafka_message_t *message,
                              struct ls_arena *arena, struct ls_record *ret, struct ls_err *err)
{
    *ret = (struct ls_record){
        .body = message->payload,
        .body_len = (uint32_t)message->len,
        .at_ms = rd_kafka_message_timestamp(message, NULL),
        .offset = message->offset,
        .partition = message->partition,
    };
    if (message->key_len == strlen(LS_GENESIS_KEY) &&
        memcmp(message->key, LS_GENESIS_KEY, message->key_len) == 0)
        return LS_INTAKE_LOG;
    if (message->payload == NULL && has_header(message, LS_HEADER_PURGE))
        return LS_INTAKE_LOG;
    enum ls_reject reject = check_place(intake, message, ret, err);
    if (reject != LS_REJECT_NONE)
        return poison(ret, reject);
    if (read_version(intake, message, &ret->version, err) < 0)
        return poison(ret, LS_REJECT_UNDECODABLE);

    struct ls_envelope envelope;
    struct ls_value *values = NULL;
    const struct ls_schema *schema = intake->entity->schema;
    if (ls_wire_decode(schema, message->payload, message->len, arena, &envelope, &values, err) <
        0) {
        poison(ret, (enum ls_reject)err->code);
        return err->code == LS_REJECT_NEWER_SCHEMA ? LS_INTAKE_NEWER : LS_INTAKE_POISON;
    }
    ret->values = values;
    ret->deleted = envelope.op == LS_OP_DELETE;
    if (intake->wants_hash)
        ret->hash = ls_hash(schema, ret->key, ret->key_len, ret->deleted, values, &intake->scratch);
    return LS_INTAKE_RECORD;
}

void ls_intake_free(struct ls_intake *intake)
{
    ls_buf_free(&intake->scratch);
}
