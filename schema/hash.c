/*
 * The content hash `_h` (schema/WIRE.md, "Canonical bytes"): laid out in one buffer, then hashed in
 * one call. A streaming hash was rejected: its many small updates cost more than the copy. Pure.
 */
#include <endian.h>
#include <xxhash.h>

#include "schema/wire.h"

static inline char *put_u32(char *to, uint32_t number)
{
    number = htole32(number);
    memcpy(to, &number, sizeof(number));
    return to + sizeof(number);
}

static inline char *put_u64(char *to, uint64_t number)
{
    number = htole64(number);
    memcpy(to, &number, sizeof(number));
    return to + sizeof(number);
}

static inline char *put_bytes(char *to, const char *data, uint32_t len)
{
    to = put_u32(to, len);
    if (len > 0)
        memcpy(to, data, len);
    return to + len;
}

/* Room that a value needs at most: number, type, and the value. */
static size_t value_bytes(enum ls_type type, const struct ls_value *value)
{
    size_t bytes = 3 + 8;
    if (type == LS_TYPE_STRING)
        bytes += value->text.len;
    if (type == LS_TYPE_STRINGS)
        for (uint32_t i = 0; i < value->count; i++)
            bytes += sizeof(uint32_t) + value->list[i].len;
    return bytes;
}

static char *put_value(char *to, const struct ls_field *field, const struct ls_value *value)
{
    uint16_t number = htole16((uint16_t)field->number);
    memcpy(to, &number, sizeof(number));
    to += sizeof(number);
    *to++ = (char)field->type;
    uint64_t bits;
    double real;
    switch (field->type) {
    case LS_TYPE_STRING:
        return put_bytes(to, value->text.data, value->text.len);
    case LS_TYPE_INT:
    case LS_TYPE_TIME:
        return put_u64(to, (uint64_t)value->number);
    case LS_TYPE_FLOAT:
        real = value->real == 0 ? 0 : value->real; /* -0.0 is 0.0 */
        memcpy(&bits, &real, sizeof(bits));
        return put_u64(to, bits);
    case LS_TYPE_BOOL:
        *to++ = value->number != 0;
        return to;
    case LS_TYPE_STRINGS:
        to = put_u32(to, value->count);
        for (uint32_t i = 0; i < value->count; i++)
            to = put_bytes(to, value->list[i].data, value->list[i].len);
        return to;
    }
    return to;
}

uint64_t ls_hash(const struct ls_schema *schema, const char *key, size_t key_len, bool deleted,
                 const struct ls_value *values, struct ls_buf *scratch)
{
    size_t fields = deleted || values == NULL ? 0 : schema->n_fields;
    size_t room = sizeof(uint32_t) + key_len + 1;
    for (size_t i = 0; i < fields; i++)
        if (values[i].present)
            room += value_bytes(schema->fields[i].type, &values[i]);
    ls_buf_clear(scratch);
    char *start = ls_buf_reserve(scratch, room);
    char *to = put_bytes(start, key, (uint32_t)key_len);
    *to++ = deleted;
    for (size_t i = 0; i < fields; i++)
        if (values[i].present)
            to = put_value(to, &schema->fields[i], &values[i]);
    scratch->len = (size_t)(to - start); /* tests read the canonical bytes here */
    return XXH3_64bits(start, scratch->len);
}
