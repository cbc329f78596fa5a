/* The cold half of the msgpack reader: stepping over a value, and naming its type. Pure. */
#include "schema/msgpack_read.h"

enum { CONTAINER_NONE, CONTAINER_ARRAY, CONTAINER_MAP };

/* Bytes of the value's head and payload, without what a container holds; 0 for the unused tag. */
static size_t head_bytes(uint8_t tag, const struct ls_mp *in, int *ret_container)
{
    static const uint8_t fixed[32] = {
        /* c0 nil, unused, false, true; bin 8 16 32, ext 8 16 32: see below */
        1, 0, 1, 1, 0, 0, 0, 0, 0, 0,
        /* float 32 64, uint 8 16 32 64, int 8 16 32 64, fixext 1 2 4 8 16 */
        5, 9, 2, 3, 5, 9, 2, 3, 5, 9, 3, 4, 6, 10, 18,
        /* str 8 16 32: see below; array 16 32, map 16 32 */
        0, 0, 0, 3, 5, 3, 5};
    *ret_container = CONTAINER_NONE;
    if (tag < 0x80 || tag >= 0xe0)
        return 1;
    if (tag < 0xa0) {
        *ret_container = tag < 0x90 ? CONTAINER_MAP : CONTAINER_ARRAY;
        return 1;
    }
    if (tag < 0xc0)
        return 1 + (size_t)(tag & 0x1f);
    if (tag >= 0xdc)
        *ret_container = tag < 0xde ? CONTAINER_ARRAY : CONTAINER_MAP;
    if (fixed[tag - 0xc0] != 0 || tag == 0xc1)
        return fixed[tag - 0xc0];
    bool ext = tag >= 0xc7 && tag <= 0xc9;
    unsigned width = tag >= 0xd9 ? 1u << (tag - 0xd9) : 1u << (ext ? tag - 0xc7 : tag - 0xc4);
    if (ls_mp_left(in) < 1 + (size_t)width)
        return 1 + (size_t)width; /* more than there is: the caller sees that */
    return 1 + width + (ext ? 1 : 0) + (size_t)ls_mp_load(in->at + 1, width);
}

enum ls_mp_status ls_mp_skip(struct ls_mp *in)
{
    const uint8_t *start = in->at;
    enum ls_mp_status status = LS_MP_OK;
    for (uint64_t values = 1; values > 0 && status == LS_MP_OK; values--) {
        if (in->at == in->end) {
            status = LS_MP_SHORT;
            break;
        }
        int container;
        uint32_t count = 0;
        size_t bytes = head_bytes(*in->at, in, &container);
        if (container == CONTAINER_ARRAY)
            status = ls_mp_array(in, &count);
        else if (container == CONTAINER_MAP)
            status = ls_mp_map(in, &count);
        else if (bytes == 0)
            status = LS_MP_TYPE;
        else if (ls_mp_left(in) < bytes)
            status = LS_MP_SHORT;
        else
            in->at += bytes;
        values += container == CONTAINER_MAP ? 2 * (uint64_t)count : count;
    }
    if (status != LS_MP_OK)
        in->at = start;
    return status;
}

const char *ls_mp_describe(const struct ls_mp *in)
{
    static const char *const names[32] = {"nil",        "an unused byte",
                                          "a bool",     "a bool",
                                          "bin",        "bin",
                                          "bin",        "ext",
                                          "ext",        "ext",
                                          "a float",    "a float",
                                          "an integer", "an integer",
                                          "an integer", "an integer",
                                          "an integer", "an integer",
                                          "an integer", "an integer",
                                          "ext",        "ext",
                                          "ext",        "ext",
                                          "ext",        "a string",
                                          "a string",   "a string",
                                          "a list",     "a list",
                                          "a map",      "a map"};
    if (in->at == in->end)
        return "the end";
    uint8_t tag = *in->at;
    if (tag < 0x80 || tag >= 0xe0)
        return "an integer";
    if (tag < 0x90)
        return "a map";
    if (tag < 0xa0)
        return "a list";
    return tag < 0xc0 ? "a string" : names[tag - 0xc0];
}
