/*
 * Redis names and values of a schema. The slot is the Redis Cluster specification's: CRC16 (XMODEM)
 * of the hash tag, modulo 16384. Its table and the tags of marks are computed once. Any thread.
 */
#include "schema/redis_layout.h"

#include <endian.h>
#include <pthread.h>
#include <stdio.h>

enum { SLOTS_PER_TAG = LS_REDIS_SLOTS / LS_REDIS_MARK_TAGS, CRC_POLYNOMIAL = 0x1021 };

static uint16_t crc_table[256];
static uint16_t mark_tag[LS_REDIS_MARK_TAGS]; /* the number that stands in the braces */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill_crc_table(void)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        unsigned crc = byte << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 0x8000 ? crc << 1 ^ CRC_POLYNOMIAL : crc << 1;
        crc_table[byte] = (uint16_t)crc;
    }
}

static uint16_t slot_of_tag(const char *tag, size_t len)
{
    uint16_t crc = 0;
    for (size_t i = 0; i < len; i++)
        crc = (uint16_t)(crc << 8) ^ crc_table[(crc >> 8 ^ (unsigned char)tag[i]) & 0xff];
    return crc % LS_REDIS_SLOTS;
}

static uint16_t slot_of_number(unsigned number)
{
    char digits[8];
    int len = snprintf(digits, sizeof(digits), "%u", number);
    return slot_of_tag(digits, (size_t)len);
}

/* For each range of slots the first number that hashes into it. */
static void fill_tables(void)
{
    fill_crc_table();
    bool found[LS_REDIS_MARK_TAGS] = {false};
    unsigned left = LS_REDIS_MARK_TAGS;
    for (unsigned number = 0; left > 0; number++) {
        unsigned range = slot_of_number(number) / SLOTS_PER_TAG;
        if (found[range])
            continue;
        found[range] = true;
        mark_tag[range] = (uint16_t)number;
        left--;
    }
}

uint16_t ls_redis_slot(const char *key, size_t len)
{
    pthread_once(&once, fill_tables);
    const char *open = memchr(key, '{', len);
    if (open != NULL) {
        const char *tag = open + 1;
        const char *close = memchr(tag, '}', len - (size_t)(tag - key));
        if (close != NULL && close > tag)
            return slot_of_tag(tag, (size_t)(close - tag));
    }
    return slot_of_tag(key, len);
}

size_t ls_redis_entry_key(const struct ls_schema *schema, const char *key, size_t len, char *name)
{
    size_t prefix = strlen(schema->redis_prefix);
    char *to = name;
    memcpy(to, schema->redis_prefix, prefix);
    to += prefix;
    *to++ = ':';
    *to++ = '{';
    memcpy(to, key, len);
    to += len;
    *to++ = '}';
    return (size_t)(to - name);
}

void ls_redis_entry_pattern(const struct ls_schema *schema, char *name)
{
    /* A brace means nothing in SCAN's patterns, and no mark and no guard ends with one after {. */
    snprintf(name, LS_REDIS_KEY_MAX, "%s:{*}", schema->redis_prefix);
}

size_t ls_redis_mark_key(const struct ls_schema *schema, int32_t partition, unsigned tag,
                         char *name)
{
    pthread_once(&once, fill_tables);
    return (size_t)snprintf(name, LS_REDIS_KEY_MAX, "%s:mark:%d:{%u}", schema->redis_prefix,
                            (int)partition, (unsigned)mark_tag[tag]);
}

uint16_t ls_redis_mark_slot(unsigned tag)
{
    pthread_once(&once, fill_tables);
    return slot_of_number(mark_tag[tag]);
}

void ls_redis_put_version(uint64_t version, char bytes[LS_REDIS_VERSION_BYTES])
{
    version = htobe64(version);
    memcpy(bytes, &version, sizeof(version));
}

uint64_t ls_redis_get_version(const char *bytes)
{
    uint64_t version;
    memcpy(&version, bytes, sizeof(version));
    return be64toh(version);
}
