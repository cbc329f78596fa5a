/* The Redis side of a schema: key names and the value's layout. Pure bytes. */
#ifndef LS_SCHEMA_REDIS_LAYOUT_H
#define LS_SCHEMA_REDIS_LAYOUT_H

#include "base/buf.h"
#include "schema/schema.h"

enum {
    LS_REDIS_SLOTS = 16384,
    /* Marks are written under this many hash tags, one in each of as many equal slot ranges, so
     * that every master of a cluster holds some and a flushed master loses some. */
    LS_REDIS_MARK_TAGS = 128,
    LS_REDIS_KEY_MAX = 320, /* bytes of any key that these functions make */
};

/* CRC16 (XMODEM) of the hash tag (or whole key) % 16384: the Redis Cluster specification. */
uint16_t ls_redis_slot(const char *key, size_t len);

/* `m:{id}` into name (LS_REDIS_KEY_MAX bytes); returns its length. */
size_t ls_redis_entry_key(const struct ls_schema *schema, const char *key, size_t len, char *name);

/* SCAN's pattern that all entries match and no mark, into name. */
void ls_redis_entry_pattern(const struct ls_schema *schema, char *name);

/*
 * Key of the mark of a partition under tag number 0..LS_REDIS_MARK_TAGS-1; returns its length. No
 * entry's key can be the same: it has another prefix. `m:mark:<partition>:{<tag>}`, where <tag> is
 * the first number n for which slot("n") falls in that tag's range (fixed for ever, computed once).
 */
size_t ls_redis_mark_key(const struct ls_schema *schema, int32_t partition, unsigned tag,
                         char *name);
/* The slot that this tag's keys hash to. */
uint16_t ls_redis_mark_slot(unsigned tag);

/* An entry's value is the version, 8 bytes big-endian, then the wire value. */
enum { LS_REDIS_VERSION_BYTES = 8 };
void ls_redis_put_version(uint64_t version, char bytes[LS_REDIS_VERSION_BYTES]);
uint64_t ls_redis_get_version(const char *bytes);

/* A mark's value: version as above, LogAppendTime ms as 8 bytes big-endian, 36 bytes of UUID. */
enum { LS_REDIS_MARK_BYTES = 52 };

#endif
