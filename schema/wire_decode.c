/*
 * Decoding and checking of a record's value: schema/WIRE.md. Bytes from outside, on the hot path of
 * every sink: nothing is allocated but the values (from the arena), nothing formatted unless the
 * record is refused. Pure; any thread with its own arena.
 */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "schema/msgpack_read.h"
#include "schema/wire.h"

enum { ENVELOPE_ITEMS = 7, ENVELOPE_TEXT_MAX = 64 };

struct decoder {
    struct ls_mp in;
    const uint8_t *start;
    const struct ls_schema *schema;
    struct ls_arena *arena;
    struct ls_err *err;
};

const char *ls_reject_name(enum ls_reject reject)
{
    switch (reject) {
    case LS_REJECT_NONE:
        return "none";
    case LS_REJECT_UNDECODABLE:
        return "undecodable";
    case LS_REJECT_NEWER_FORMAT:
        return "newer-format";
    case LS_REJECT_NEWER_SCHEMA:
        return "newer-schema";
    case LS_REJECT_SCHEMA:
        return "schema";
    case LS_REJECT_NULL_VALUE:
        return "null-value";
    case LS_REJECT_BAD_KEY:
        return "bad-key";
    case LS_REJECT_MISROUTED:
        return "misrouted";
    case LS_REJECT_STORE:
        return "store";
    }
    return "unknown";
}

/* Refuses the record at the byte where the reader stands. */
__attribute__((cold, noinline, format(printf, 3, 4))) static int
refuse(const struct decoder *decoder, enum ls_reject reject, const char *format, ...)
{
    char text[300];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    enum ls_err_class class = reject == LS_REJECT_NEWER_SCHEMA ? LS_ERR_FATAL : LS_ERR_POISON;
    return ls_err_set(decoder->err, class, (int)reject, "byte %zu: %s",
                      (size_t)(decoder->in.at - decoder->start), text);
}

/* Refuses for what a reading function answered; `wanted` and `what` make the text. */
__attribute__((cold, noinline)) static int refuse_status(const struct decoder *decoder,
                                                         enum ls_mp_status status,
                                                         enum ls_reject wrong, const char *what,
                                                         const char *wanted)
{
    if (status == LS_MP_SHORT)
        return refuse(decoder, LS_REJECT_UNDECODABLE, "%s: the record ends here, too early", what);
    if (status == LS_MP_RANGE)
        return refuse(decoder, wrong, "%s: number out of range for %s", what, wanted);
    return refuse(decoder, wrong, "%s: expected %s, found %s", what, wanted,
                  ls_mp_describe(&decoder->in));
}

__attribute__((cold, noinline)) static int
refuse_field(const struct decoder *decoder, enum ls_mp_status status, const struct ls_field *field)
{
    static const char *const wanted[] = {"a string", "an integer", "a float",
                                         "a bool",   "an integer", "a list of strings"};
    char what[80];
    snprintf(what, sizeof(what), "field %" PRIu32 " (%s)", field->number, field->name);
    bool unused = status == LS_MP_TYPE && *decoder->in.at == 0xc1; /* no msgpack at all */
    return refuse_status(decoder, status, unused ? LS_REJECT_UNDECODABLE : LS_REJECT_SCHEMA, what,
                         wanted[field->type]);
}

/* Lets ls_value_check say what is wrong with the value that begins at `at`, and adds the byte. */
__attribute__((cold, noinline)) static int refuse_value(const struct decoder *decoder,
                                                        const struct ls_field *field,
                                                        const struct ls_value *value,
                                                        const uint8_t *at)
{
    ls_value_check(field, value, decoder->err);
    return ls_err_prefix(decoder->err, "byte %zu", (size_t)(at - decoder->start));
}

static inline bool text_fits(const struct ls_field *field, struct ls_span text)
{
    int64_t characters = ls_utf8_length(text.data, text.len);
    return characters >= 0 && characters <= (int64_t)field->length;
}

static int decode_list(struct decoder *decoder, const struct ls_field *field,
                       struct ls_value *value)
{
    const uint8_t *start = decoder->in.at;
    uint32_t count;
    enum ls_mp_status status = ls_mp_array(&decoder->in, &count);
    if (status != LS_MP_OK)
        return refuse_field(decoder, status, field);
    if (count > field->max_items) {
        decoder->in.at = start;
        return refuse(decoder, LS_REJECT_SCHEMA,
                      "field %" PRIu32 " (%s): %" PRIu32 " items, more than the %" PRIu32
                      " that the schema allows",
                      field->number, field->name, count, field->max_items);
    }
    value->count = count;
    value->list = ls_arena_alloc(decoder->arena, (count + 1) * sizeof(*value->list));
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *at = decoder->in.at;
        status = ls_mp_str(&decoder->in, &value->list[i]);
        if (status != LS_MP_OK)
            return refuse_field(decoder, status, field);
        if (!text_fits(field, value->list[i])) {
            value->count = i + 1; /* the rest is not there yet */
            return refuse_value(decoder, field, value, at);
        }
    }
    return 0;
}

static inline int decode_value(struct decoder *decoder, const struct ls_field *field,
                               struct ls_value *value)
{
    const uint8_t *at = decoder->in.at;
    enum ls_mp_status status = LS_MP_TYPE;
    bool truth;
    switch (field->type) {
    case LS_TYPE_STRING:
        status = ls_mp_str(&decoder->in, &value->text);
        if (status == LS_MP_OK && !text_fits(field, value->text))
            return refuse_value(decoder, field, value, at);
        break;
    case LS_TYPE_INT:
    case LS_TYPE_TIME:
        status = ls_mp_i64(&decoder->in, &value->number);
        break;
    case LS_TYPE_FLOAT:
        status = ls_mp_real(&decoder->in, &value->real);
        if (status == LS_MP_OK && !isfinite(value->real))
            return refuse_value(decoder, field, value, at);
        if (status == LS_MP_OK && value->real == 0)
            value->real = 0; /* -0.0 is 0.0 */
        break;
    case LS_TYPE_BOOL:
        status = ls_mp_bool(&decoder->in, &truth);
        if (status == LS_MP_OK)
            value->number = truth;
        break;
    case LS_TYPE_STRINGS:
        value->present = true;
        return decode_list(decoder, field, value);
    }
    if (status != LS_MP_OK)
        return refuse_field(decoder, status, field);
    value->present = true;
    return 0;
}

static bool is_reserved(const struct ls_schema *schema, int64_t number)
{
    for (size_t i = 0; i < schema->n_reserved; i++)
        if (schema->reserved[i] == number)
            return true;
    return false;
}

/*
 * A number that is no field. One that was removed since the record was written is stepped over:
 * the older images in the log stay readable. All else violates the schema. `at` is its first byte.
 */
__attribute__((noinline)) static int other_number(struct decoder *decoder, const uint8_t *at,
                                                  int64_t number, uint32_t version)
{
    const struct ls_schema *schema = decoder->schema;
    if (version < schema->version && is_reserved(schema, number)) {
        enum ls_mp_status status = ls_mp_skip(&decoder->in);
        if (status != LS_MP_OK)
            return refuse_status(decoder, status, LS_REJECT_UNDECODABLE, "removed field",
                                 "a value");
        return 0;
    }
    decoder->in.at = at;
    if (number == schema->key.number)
        return refuse(decoder, LS_REJECT_SCHEMA,
                      "field %" PRId64 " (%s) is the key's: it is never in the body", number,
                      schema->key.name);
    return refuse(decoder, LS_REJECT_SCHEMA,
                  "field %" PRId64 " is not in schema version %" PRIu32 " of %s", number,
                  schema->version, schema->entity);
}

static int decode_fields(struct decoder *decoder, uint32_t version, struct ls_value **ret)
{
    const struct ls_schema *schema = decoder->schema;
    uint32_t count;
    enum ls_mp_status status = ls_mp_map(&decoder->in, &count);
    if (status != LS_MP_OK)
        return refuse_status(decoder, status, LS_REJECT_UNDECODABLE, "fields", "a map");
    size_t bytes = schema->n_fields * sizeof(struct ls_value);
    struct ls_value *values = memset(ls_arena_alloc(decoder->arena, bytes), 0, bytes);
    size_t next = 0; /* most encoders write fields in order: then no search is needed */
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *at = decoder->in.at;
        int64_t number;
        status = ls_mp_i64(&decoder->in, &number);
        if (status != LS_MP_OK)
            return refuse_status(decoder, status, LS_REJECT_UNDECODABLE, "field number",
                                 "an integer");
        while (next < schema->n_fields && schema->fields[next].number < number)
            next++;
        int64_t index = (int64_t)next;
        if (next == schema->n_fields || schema->fields[next].number != number)
            index = number > 0 && number <= UINT16_MAX
                        ? ls_schema_field_by_number(schema, (uint32_t)number)
                        : -1;
        if (index < 0) {
            if (other_number(decoder, at, number, version) < 0)
                return -1;
            continue;
        }
        if (values[index].present) {
            decoder->in.at = at;
            return refuse(decoder, LS_REJECT_UNDECODABLE, "field %" PRId64 " is there twice",
                          number);
        }
        if (decode_value(decoder, &schema->fields[index], &values[index]) < 0)
            return -1;
    }
    *ret = values;
    return 0;
}

/* An envelope's text: at most 64 bytes of UTF-8. */
static inline int decode_text(struct decoder *decoder, const char *what, struct ls_span *ret)
{
    const uint8_t *at = decoder->in.at;
    enum ls_mp_status status = ls_mp_str(&decoder->in, ret);
    if (status != LS_MP_OK)
        return refuse_status(decoder, status, LS_REJECT_UNDECODABLE, what, "a string");
    if (ret->len <= ENVELOPE_TEXT_MAX && ls_utf8_length(ret->data, ret->len) >= 0)
        return 0;
    decoder->in.at = at;
    return refuse(decoder, LS_REJECT_UNDECODABLE, "%s: %s", what,
                  ret->len > ENVELOPE_TEXT_MAX ? "longer than 64 bytes" : "not valid UTF-8");
}

/* An envelope's number within [min, max]. */
static inline int decode_number(struct decoder *decoder, const char *what, int64_t min, int64_t max,
                                int64_t *ret)
{
    const uint8_t *at = decoder->in.at;
    int64_t number;
    enum ls_mp_status status = ls_mp_i64(&decoder->in, &number);
    if (status != LS_MP_OK)
        return refuse_status(decoder, status, LS_REJECT_UNDECODABLE, what, "an integer");
    if (number < min || number > max) {
        decoder->in.at = at;
        return refuse(decoder, LS_REJECT_UNDECODABLE,
                      "%s: %" PRId64 " is not from %" PRId64 " to %" PRId64, what, number, min,
                      max);
    }
    *ret = number;
    return 0;
}

/* Format and schema version: what decides whether the rest can be read at all. */
static int decode_versions(struct decoder *decoder, uint32_t *ret_version)
{
    uint32_t items;
    enum ls_mp_status status = ls_mp_array(&decoder->in, &items);
    if (status != LS_MP_OK)
        return refuse_status(decoder, status, LS_REJECT_UNDECODABLE, "record", "a list");
    int64_t format = 0, version = 0;
    if (items == 0)
        return refuse(decoder, LS_REJECT_UNDECODABLE, "record: an empty list");
    if (decode_number(decoder, "format", 1, UINT32_MAX, &format) < 0)
        return -1;
    if (format > LS_WIRE_FORMAT)
        return refuse(decoder, LS_REJECT_NEWER_FORMAT,
                      "format %" PRId64 ", and this program reads up to %d: upgrade it", format,
                      LS_WIRE_FORMAT);
    if (items != ENVELOPE_ITEMS)
        return refuse(decoder, LS_REJECT_UNDECODABLE,
                      "record: a list of %" PRIu32 " items, expected %d", items, ENVELOPE_ITEMS);
    if (decode_number(decoder, "schema version", 1, UINT32_MAX, &version) < 0)
        return -1;
    *ret_version = (uint32_t)version;
    return 0;
}

static int decode_envelope(struct decoder *decoder, struct ls_envelope *envelope)
{
    int64_t op = 0;
    if (decode_number(decoder, "operation", LS_OP_PUT, LS_OP_DELETE, &op) < 0 ||
        decode_number(decoder, "time", INT64_MIN, INT64_MAX, &envelope->time_us) < 0 ||
        decode_text(decoder, "origin", &envelope->origin) < 0 ||
        decode_text(decoder, "trace id", &envelope->trace) < 0)
        return -1;
    envelope->op = (enum ls_op)op;
    return 0;
}

/* What follows the envelope: the fields of a put, nil for a delete. */
static int decode_body(struct decoder *decoder, const struct ls_envelope *envelope,
                       struct ls_value **ret)
{
    if (envelope->op == LS_OP_PUT)
        return decode_fields(decoder, envelope->schema_version, ret);
    if (ls_mp_left(&decoder->in) == 0)
        return refuse_status(decoder, LS_MP_SHORT, LS_REJECT_UNDECODABLE, "fields", "nil");
    if (*decoder->in.at != 0xc0)
        return refuse_status(decoder, LS_MP_TYPE, LS_REJECT_UNDECODABLE, "fields of a delete",
                             "nil");
    decoder->in.at++;
    *ret = NULL;
    return 0;
}

int ls_wire_decode(const struct ls_schema *schema, const void *data, size_t len,
                   struct ls_arena *arena, struct ls_envelope *ret_envelope,
                   struct ls_value **ret_values, struct ls_err *err)
{
    if (data == NULL)
        return ls_err_set(err, LS_ERR_POISON, LS_REJECT_NULL_VALUE,
                          "no value: a delete is a record of its own, never a null value");
    struct decoder decoder = {
        .in = {data, (const uint8_t *)data + len},
        .start = data,
        .schema = schema,
        .arena = arena,
        .err = err,
    };
    if (len > LS_BODY_BYTES_MAX)
        return refuse(&decoder, LS_REJECT_UNDECODABLE, "record: %zu bytes, more than %d", len,
                      LS_BODY_BYTES_MAX);
    struct ls_envelope envelope;
    struct ls_value *values = NULL;
    if (decode_versions(&decoder, &envelope.schema_version) < 0)
        return -1;
    if (envelope.schema_version > schema->version) {
        ret_envelope->schema_version = envelope.schema_version;
        return refuse(&decoder, LS_REJECT_NEWER_SCHEMA,
                      "schema version %" PRIu32 " of %s, and this program has version %" PRIu32,
                      envelope.schema_version, schema->entity, schema->version);
    }
    if (decode_envelope(&decoder, &envelope) < 0 || decode_body(&decoder, &envelope, &values) < 0)
        return -1;
    if (ls_mp_left(&decoder.in) > 0)
        return refuse(&decoder, LS_REJECT_UNDECODABLE, "bytes follow the record (%zu)",
                      ls_mp_left(&decoder.in));
    *ret_envelope = envelope;
    *ret_values = values;
    return 0;
}
