/*
 * A bounded reader of msgpack, for this folder only: the decoders of records and of genesis. Any
 * width that the msgpack specification allows for a value is read, because encoders of other
 * languages choose differently. Nothing is copied and nothing allocated; a value that is refused
 * leaves the position on its first byte, so that the caller can name it. Rejected: msgpack-c's
 * unpacker, which builds a tree of objects for each record.
 */
#ifndef LS_SCHEMA_MSGPACK_READ_H
#define LS_SCHEMA_MSGPACK_READ_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "schema/value.h"

struct ls_mp {
    const uint8_t *at;
    const uint8_t *end;
};

enum ls_mp_status {
    LS_MP_OK = 0,
    LS_MP_SHORT, /* the input ends within the value */
    LS_MP_TYPE,  /* another type */
    LS_MP_RANGE, /* a number that the wanted type cannot hold exactly */
};

static inline size_t ls_mp_left(const struct ls_mp *in)
{
    return (size_t)(in->end - in->at);
}

/* Big-endian number of 1, 2, 4 or 8 bytes. */
static inline uint64_t ls_mp_load(const uint8_t *bytes, unsigned width)
{
    uint16_t two;
    uint32_t four;
    uint64_t eight;
    switch (width) {
    case 1:
        return bytes[0];
    case 2:
        memcpy(&two, bytes, sizeof(two));
        return be16toh(two);
    case 4:
        memcpy(&four, bytes, sizeof(four));
        return be32toh(four);
    default:
        memcpy(&eight, bytes, sizeof(eight));
        return be64toh(eight);
    }
}

/* Any integer that an int64 holds; one above it is LS_MP_RANGE. */
static inline enum ls_mp_status ls_mp_i64(struct ls_mp *in, int64_t *ret)
{
    if (in->at == in->end)
        return LS_MP_SHORT;
    uint8_t tag = *in->at;
    if (tag < 0x80 || tag >= 0xe0) { /* fixint */
        *ret = (int8_t)tag;
        in->at++;
        return LS_MP_OK;
    }
    if (tag < 0xcc || tag > 0xd3) /* uint 8 16 32 64, int 8 16 32 64 */
        return LS_MP_TYPE;
    unsigned width = 1u << (tag & 3);
    if (ls_mp_left(in) < 1 + (size_t)width)
        return LS_MP_SHORT;
    uint64_t raw = ls_mp_load(in->at + 1, width);
    if (tag >= 0xd0) {
        unsigned shift = 64 - 8 * width;
        *ret = (int64_t)(raw << shift) >> shift;
    } else if (raw > INT64_MAX) {
        return LS_MP_RANGE;
    } else {
        *ret = (int64_t)raw;
    }
    in->at += 1 + width;
    return LS_MP_OK;
}

/* A float of 32 or 64 bits, or an integer that a double holds exactly (JavaScript writes 3.0 as 3).
 */
static inline enum ls_mp_status ls_mp_real(struct ls_mp *in, double *ret)
{
    if (in->at == in->end)
        return LS_MP_SHORT;
    uint8_t tag = *in->at;
    if (tag == 0xcb || tag == 0xca) {
        unsigned width = tag == 0xcb ? 8 : 4;
        if (ls_mp_left(in) < 1 + (size_t)width)
            return LS_MP_SHORT;
        uint64_t raw = ls_mp_load(in->at + 1, width);
        if (tag == 0xcb) {
            memcpy(ret, &raw, sizeof(*ret));
        } else {
            uint32_t narrow = (uint32_t)raw;
            float real;
            memcpy(&real, &narrow, sizeof(real));
            *ret = (double)real;
        }
        in->at += 1 + width;
        return LS_MP_OK;
    }
    const uint8_t *start = in->at;
    int64_t number;
    enum ls_mp_status status = ls_mp_i64(in, &number);
    if (status != LS_MP_OK)
        return status;
    if (number < -(INT64_C(1) << 53) || number > INT64_C(1) << 53) {
        in->at = start;
        return LS_MP_RANGE;
    }
    *ret = (double)number;
    return LS_MP_OK;
}

static inline enum ls_mp_status ls_mp_bool(struct ls_mp *in, bool *ret)
{
    if (in->at == in->end)
        return LS_MP_SHORT;
    if (*in->at != 0xc2 && *in->at != 0xc3)
        return LS_MP_TYPE;
    *ret = *in->at++ == 0xc3;
    return LS_MP_OK;
}

/* A str; bin is another type. The bytes are not checked. */
static inline enum ls_mp_status ls_mp_str(struct ls_mp *in, struct ls_span *ret)
{
    if (in->at == in->end)
        return LS_MP_SHORT;
    uint8_t tag = *in->at;
    size_t header = 1;
    uint64_t len;
    if ((tag & 0xe0) == 0xa0) { /* fixstr */
        len = tag & 0x1f;
    } else if (tag >= 0xd9 && tag <= 0xdb) { /* str 8 16 32 */
        unsigned width = 1u << (tag - 0xd9);
        header += width;
        if (ls_mp_left(in) < header)
            return LS_MP_SHORT;
        len = ls_mp_load(in->at + 1, width);
    } else {
        return LS_MP_TYPE;
    }
    if (ls_mp_left(in) - header < len)
        return LS_MP_SHORT;
    *ret = (struct ls_span){(const char *)in->at + header, (uint32_t)len};
    in->at += header + len;
    return LS_MP_OK;
}

/*
 * The count of a container: `fix` is the tag of its smallest form, `wide` of its 16-bit form. A
 * count that the rest of the input cannot hold, at a byte an item, is LS_MP_SHORT: no caller
 * reserves memory for a count that is a lie.
 */
static inline enum ls_mp_status ls_mp_count(struct ls_mp *in, uint8_t fix, uint8_t wide,
                                            unsigned bytes_per_item, uint32_t *ret)
{
    if (in->at == in->end)
        return LS_MP_SHORT;
    uint8_t tag = *in->at;
    size_t header = 1;
    uint64_t count;
    if ((tag & 0xf0) == fix) {
        count = tag & 0x0f;
    } else if (tag == wide || tag == wide + 1) {
        unsigned width = tag == wide ? 2 : 4;
        header += width;
        if (ls_mp_left(in) < header)
            return LS_MP_SHORT;
        count = ls_mp_load(in->at + 1, width);
    } else {
        return LS_MP_TYPE;
    }
    if (ls_mp_left(in) - header < count * bytes_per_item)
        return LS_MP_SHORT;
    *ret = (uint32_t)count;
    in->at += header;
    return LS_MP_OK;
}

static inline enum ls_mp_status ls_mp_array(struct ls_mp *in, uint32_t *ret)
{
    return ls_mp_count(in, 0x90, 0xdc, 1, ret);
}

static inline enum ls_mp_status ls_mp_map(struct ls_mp *in, uint32_t *ret)
{
    return ls_mp_count(in, 0x80, 0xde, 2, ret);
}

/* Steps over one value of any type. Nesting costs a counter and no stack. */
enum ls_mp_status ls_mp_skip(struct ls_mp *in);

/* "a string", "nil", "a map", ...: the type of the value at the position, for messages. */
const char *ls_mp_describe(const struct ls_mp *in);

#endif
