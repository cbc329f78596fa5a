/*
 * The genesis record's value: which log this is (law 7). A msgpack map with text keys, so that any
 * tool shows what it is. Keys that this program does not know are stepped over: a later one may add
 * some, and a log's identity must not depend on who reads it. Pure.
 */
#include <msgpack.h>

#include "schema/key.h"
#include "schema/msgpack_read.h"
#include "schema/wire.h"

enum { GENESIS_BYTES_MAX = 4096 };

enum member { UUID, TOPIC, PARTITION, PARTITIONS, GENERATION, CREATED, MEMBERS };
static const char *const member_names[MEMBERS] = {"genesis",    "topic",      "partition",
                                                  "partitions", "generation", "created_us"};

static int append(void *opaque, const char *data, size_t len)
{
    ls_buf_append(opaque, data, len);
    return 0;
}

static void pack_text(msgpack_packer *packer, const char *text)
{
    size_t len = strlen(text);
    msgpack_pack_str(packer, len);
    msgpack_pack_str_body(packer, text, len);
}

void ls_genesis_encode(const struct ls_genesis *genesis, struct ls_buf *buf)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, buf, append);
    msgpack_pack_map(&packer, MEMBERS);
    pack_text(&packer, member_names[UUID]);
    pack_text(&packer, genesis->uuid);
    pack_text(&packer, member_names[TOPIC]);
    pack_text(&packer, genesis->topic);
    pack_text(&packer, member_names[PARTITION]);
    msgpack_pack_int32(&packer, genesis->partition);
    pack_text(&packer, member_names[PARTITIONS]);
    msgpack_pack_int32(&packer, genesis->partitions);
    pack_text(&packer, member_names[GENERATION]);
    msgpack_pack_uint32(&packer, genesis->generation);
    pack_text(&packer, member_names[CREATED]);
    msgpack_pack_int64(&packer, genesis->created_us);
}

static int bad_genesis(struct ls_err *err, const char *what)
{
    return ls_err_set(err, LS_ERR_POISON, LS_REJECT_UNDECODABLE,
                      "genesis record: %s; was it written by `lockstep topics create`?", what);
}

/* A text of exactly min to max bytes without NUL into a C string of max + 1 bytes. */
static int read_text(struct ls_mp *in, size_t min, size_t max, char *ret)
{
    struct ls_span text;
    if (ls_mp_str(in, &text) != LS_MP_OK || text.len < min || text.len > max ||
        memchr(text.data, '\0', text.len) != NULL)
        return -1;
    memcpy(ret, text.data, text.len);
    ret[text.len] = '\0';
    return 0;
}

static int read_number(struct ls_mp *in, int64_t min, int64_t max, int64_t *ret)
{
    int64_t number;
    if (ls_mp_i64(in, &number) != LS_MP_OK || number < min || number > max)
        return -1;
    *ret = number;
    return 0;
}

/* The 8-4-4-4-12 text form, lower-case or not. */
static bool is_uuid(const char *text)
{
    static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    for (size_t i = 0; i < sizeof(form) - 1; i++) {
        bool hex = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f') ||
                   (text[i] >= 'A' && text[i] <= 'F');
        if (form[i] == '-' ? text[i] != '-' : !hex)
            return false;
    }
    return text[sizeof(form) - 1] == '\0';
}

static int read_member(struct ls_mp *in, enum member member, struct ls_genesis *genesis)
{
    int64_t number = 0;
    int rc = 0;
    switch (member) {
    case UUID:
        rc = read_text(in, 36, 36, genesis->uuid);
        return rc == 0 && is_uuid(genesis->uuid) ? 0 : -1;
    case TOPIC:
        return read_text(in, 1, sizeof(genesis->topic) - 1, genesis->topic);
    case PARTITION:
        rc = read_number(in, 0, LS_SHARDS - 1, &number);
        genesis->partition = (int32_t)number;
        return rc;
    case PARTITIONS:
        rc = read_number(in, 1, LS_SHARDS, &number);
        genesis->partitions = (int32_t)number;
        return rc;
    case GENERATION:
        rc = read_number(in, 1, 0x7fff, &number); /* a version has 63 bits, 48 of them offset */
        genesis->generation = (uint32_t)number;
        return rc;
    case CREATED:
        return read_number(in, INT64_MIN, INT64_MAX, &genesis->created_us);
    case MEMBERS:
        break;
    }
    return -1;
}

static enum member member_of(struct ls_span name)
{
    for (int i = 0; i < MEMBERS; i++)
        if (name.len == strlen(member_names[i]) &&
            memcmp(name.data, member_names[i], name.len) == 0)
            return (enum member)i;
    return MEMBERS;
}

int ls_genesis_decode(const void *data, size_t len, struct ls_genesis *ret, struct ls_err *err)
{
    struct ls_mp in = {data, data ? (const uint8_t *)data + len : data};
    struct ls_genesis genesis = {0};
    unsigned seen = 0;
    uint32_t count;
    if (data == NULL || len > GENESIS_BYTES_MAX || ls_mp_map(&in, &count) != LS_MP_OK)
        return bad_genesis(err, "not a small msgpack map");
    for (uint32_t i = 0; i < count; i++) {
        struct ls_span name;
        if (ls_mp_str(&in, &name) != LS_MP_OK)
            return bad_genesis(err, "a key is not a string");
        enum member member = member_of(name);
        if (member == MEMBERS) {
            if (ls_mp_skip(&in) != LS_MP_OK)
                return bad_genesis(err, "cut short");
            continue;
        }
        if (seen & 1u << member || read_member(&in, member, &genesis) < 0)
            return ls_err_set(err, LS_ERR_POISON, LS_REJECT_UNDECODABLE,
                              "genesis record: '%s' is wrong or there twice", member_names[member]);
        seen |= 1u << member;
    }
    if (seen != (1u << MEMBERS) - 1)
        return bad_genesis(err, "a key is missing");
    if (ls_mp_left(&in) > 0)
        return bad_genesis(err, "bytes follow it");
    if (!ls_partitions_valid(genesis.partitions) || genesis.partition >= genesis.partitions)
        return bad_genesis(err, "its partition or number of partitions cannot be");
    *ret = genesis;
    return 0;
}
