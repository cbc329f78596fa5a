/*
 * The wire format of a state record's value (schema/WIRE.md): a msgpack array
 *     [format, schema version, operation, time, origin, trace id, fields]
 * with fields a map of field number to value, or nil for a delete. The key is the Kafka key.
 *
 * Decoding reads bytes from outside: it is bounded in depth (the format has none beyond lists),
 * size and count, copies nothing (values are views into the input), allocates only from the arena,
 * and says what is wrong and at which byte. Its reader is our own because msgpack-c's builds an
 * object tree per record; encoding uses msgpack-c.
 */
#ifndef LS_SCHEMA_WIRE_H
#define LS_SCHEMA_WIRE_H

#include "base/buf.h"
#include "base/mem.h"
#include "schema/schema.h"

enum { LS_WIRE_FORMAT = 1 };

enum ls_op { LS_OP_PUT = 0, LS_OP_DELETE = 1 };

/* Why a record is poison or cannot be read yet: the `class` of a quarantined record. */
enum ls_reject {
    LS_REJECT_NONE = 0,
    LS_REJECT_UNDECODABLE,  /* not the wire format */
    LS_REJECT_NEWER_FORMAT, /* format above LS_WIRE_FORMAT */
    LS_REJECT_NEWER_SCHEMA, /* schema version above ours: released -> FATAL, else poison */
    LS_REJECT_SCHEMA,       /* decodable, but violates the schema */
    LS_REJECT_NULL_VALUE,   /* a null Kafka value without the purge's header */
    LS_REJECT_BAD_KEY,      /* violates the rules of keys */
    LS_REJECT_MISROUTED,    /* on another partition than its key's */
    LS_REJECT_STORE,        /* the store refuses it for good */
};
/* "undecodable", "newer-format", ... */
const char *ls_reject_name(enum ls_reject reject);

struct ls_envelope {
    uint32_t schema_version;
    enum ls_op op;
    int64_t time_us;       /* when the service made the change, its own clock: information only */
    struct ls_span origin; /* who published, at most 64 bytes */
    struct ls_span trace;  /* trace id, at most 64 bytes, may be empty */
};

/*
 * Decodes and checks one value. `ret_values` gets schema->n_fields values from the arena, in the
 * schema's order (NULL for a delete). Values point into data. On -1 err has class POISON (FATAL for
 * LS_REJECT_NEWER_SCHEMA), err->code is the ls_reject and the text names field and byte offset,
 * never a value. With LS_REJECT_NEWER_SCHEMA, and only then, ret_envelope->schema_version is
 * written all the same: the caller asks whether that version is released. data NULL is
 * LS_REJECT_NULL_VALUE.
 */
int ls_wire_decode(const struct ls_schema *schema, const void *data, size_t len,
                   struct ls_arena *arena, struct ls_envelope *ret_envelope,
                   struct ls_value **ret_values, struct ls_err *err);

/*
 * Appends the encoding to buf. values (n_fields, schema's order) is NULL for a delete. Checks
 * nothing: ls_value_check first.
 */
void ls_wire_encode(const struct ls_schema *schema, const struct ls_envelope *envelope,
                    const struct ls_value *values, struct ls_buf *buf);

/*
 * The hash `_h`: XXH3-64 over the canonical bytes of (key, deleted, then number, type and value of
 * each present field, sorted by number): schema/WIRE.md. Never over wire bytes. scratch is reused
 * memory of the caller.
 */
uint64_t ls_hash(const struct ls_schema *schema, const char *key, size_t key_len, bool deleted,
                 const struct ls_value *values, struct ls_buf *scratch);

/*
 * The genesis record's value: a msgpack map {"genesis": uuid, "topic", "partition", "partitions",
 * "generation", "created_us"}.
 */
struct ls_genesis {
    char uuid[37]; /* text form, NUL-terminated; the same in all partitions of a topic */
    int32_t partition;
    int32_t partitions;
    uint32_t generation;
    int64_t created_us;
    char topic[250];
    /* Where it was read and its LogAppendTime there; 0 unless a reader set them. */
    int64_t offset;
    int64_t at_ms;
};
void ls_genesis_encode(const struct ls_genesis *genesis, struct ls_buf *buf);
int ls_genesis_decode(const void *data, size_t len, struct ls_genesis *ret, struct ls_err *err);

#endif
