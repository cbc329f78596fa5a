/*
 * Keys: their rules, their place (shard and partition), and the version of a record.
 * shard = murmur2(key) % 1024, partition = shard % partitions; partitions divide 1024, so this is
 * the partition that every client with partitioner murmur2_random (the Java client's default)
 * chooses, and a partition holds a fixed set of shards.
 */
#ifndef LS_SCHEMA_KEY_H
#define LS_SCHEMA_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Rules (law 10): 1-255 bytes of UTF-8, no control characters (C0, DEL, C1), no braces. */
int ls_key_check(const char *key, size_t len, struct ls_err *err);

uint16_t ls_shard_of(const char *key, size_t len);
static inline int32_t ls_partition_of(uint16_t shard, int32_t partitions)
{
    return (int32_t)shard % partitions;
}

/* Whether a topic may have this many partitions: a power of two from 1 to 1024. */
bool ls_partitions_valid(int64_t partitions);

/* Version = generation << 48 | (offset + 1), 63 bits (law 1). */
static inline uint64_t ls_version(uint32_t generation, int64_t offset)
{
    return (uint64_t)generation << 48 | (uint64_t)(offset + 1);
}
static inline uint32_t ls_version_generation(uint64_t version)
{
    return (uint32_t)(version >> 48);
}
static inline int64_t ls_version_offset(uint64_t version)
{
    return (int64_t)(version & 0xffffffffffffu) - 1;
}

/* The reserved key of the genesis record; no entity's key can have braces. */
#define LS_GENESIS_KEY "{genesis}"

#endif
