/*
 * The positions in a quarantine topic, in a hash set with linear probing and removal by shifting
 * back, so that it holds no graves. A tombstone (null value) closes an entry.
 */
#include "pipeline/quarantined.h"

#include <string.h>

#include "base/mem.h"
#include "pipeline/kafka.h"
#include "pipeline/quarantine_entry.h"
#include "pipeline/topics.h"

enum { FIRST_CAP = 64 };

uint64_t ls_quarantined_pack(int32_t partition, int64_t offset)
{
    return (uint64_t)partition << 48 | (uint64_t)(offset + 1);
}

uint64_t ls_quarantined_mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

static size_t home_of(const struct ls_quarantined *set, uint64_t value)
{
    return (size_t)ls_quarantined_mix(value) & (set->cap - 1);
}

/* Where the value stands, or the free slot where it would. */
static size_t find(const struct ls_quarantined *set, uint64_t value)
{
    size_t slot = home_of(set, value);
    while (set->slots[slot] != 0 && set->slots[slot] != value)
        slot = (slot + 1) & (set->cap - 1);
    return slot;
}

static void grow(struct ls_quarantined *set)
{
    struct ls_quarantined larger = {.cap = set->cap ? set->cap * 2 : FIRST_CAP, .n = set->n};
    larger.slots = ls_calloc(larger.cap, sizeof(*larger.slots));
    for (size_t i = 0; i < set->cap; i++)
        if (set->slots[i] != 0)
            larger.slots[find(&larger, set->slots[i])] = set->slots[i];
    larger.more = set->more;
    free(set->slots);
    *set = larger;
}

void ls_quarantined_free(struct ls_quarantined *set)
{
    free(set->slots);
    *set = (struct ls_quarantined){0};
}

bool ls_quarantined_has(const struct ls_quarantined *set, int32_t partition, int64_t offset)
{
    if (set->cap == 0)
        return false;
    return set->slots[find(set, ls_quarantined_pack(partition, offset))] != 0;
}

void ls_quarantined_add(struct ls_quarantined *set, int32_t partition, int64_t offset)
{
    if (ls_quarantined_has(set, partition, offset))
        return;
    if (set->n == LS_QUARANTINED_MAX) {
        set->more = true;
        return;
    }
    if (set->n * 2 >= set->cap)
        grow(set);
    uint64_t value = ls_quarantined_pack(partition, offset);
    set->slots[find(set, value)] = value;
    set->n++;
}

void ls_quarantined_remove(struct ls_quarantined *set, int32_t partition, int64_t offset)
{
    if (!ls_quarantined_has(set, partition, offset))
        return;
    size_t mask = set->cap - 1, gap = find(set, ls_quarantined_pack(partition, offset));
    for (size_t slot = (gap + 1) & mask; set->slots[slot] != 0; slot = (slot + 1) & mask) {
        /* What does not stand between its home and the gap would no longer be found: it moves. */
        size_t home = home_of(set, set->slots[slot]);
        if (((slot - home) & mask) < ((slot - gap) & mask))
            continue;
        set->slots[gap] = set->slots[slot];
        gap = slot;
    }
    set->slots[gap] = 0;
    set->n--;
}

/* Digits up to the end; false when there are none, others, or too many. */
static bool parse_number(const char *text, const char *end, int64_t max, int64_t *ret)
{
    int64_t number = 0;
    if (text == end)
        return false;
    for (; text < end; text++) {
        if (*text < '0' || *text > '9')
            return false;
        number = number * 10 + (*text - '0');
        if (number > max)
            return false;
    }
    *ret = number;
    return true;
}

bool ls_quarantined_parse(const char *key, size_t len, const char *topic, int32_t *ret_partition,
                          int64_t *ret_offset)
{
    size_t topic_len = strlen(topic);
    if (len <= topic_len + 1 || memcmp(key, topic, topic_len) != 0 || key[topic_len] != '/')
        return false;
    const char *first = key + topic_len + 1, *end = key + len;
    const char *slash = memchr(first, '/', (size_t)(end - first));
    int64_t partition, offset;
    if (slash == NULL || !parse_number(first, slash, LS_SHARDS - 1, &partition) ||
        !parse_number(slash + 1, end, ((int64_t)1 << 48) - 2, &offset))
        return false;
    *ret_partition = (int32_t)partition;
    *ret_offset = offset;
    return true;
}

struct reading {
    struct ls_quarantined set;
    const struct ls_entity_config *entity;
    const struct ls_genesis *genesis;
};

static void take_message(void *opaque, const rd_kafka_message_t *message)
{
    struct reading *reading = opaque;
    struct ls_quarantine_entry entry;
    if (!ls_quarantine_entry_read(reading->entity, message, &entry))
        return;
    if (entry.body.data == NULL)
        ls_quarantined_remove(&reading->set, entry.partition, entry.offset);
    else if (ls_quarantine_entry_is_of(&entry, reading->genesis, reading->entity->partitions))
        ls_quarantined_add(&reading->set, entry.partition, entry.offset);
}

int ls_quarantined_read(const struct ls_config *config, const struct ls_sink_config *sink,
                        const struct ls_genesis *genesis, struct ls_quarantined *set,
                        struct ls_err *err)
{
    struct reading reading = {.entity = sink->entity, .genesis = genesis};
    char topic[LS_TOPIC_NAME_MAX];
    ls_topic_quarantine(sink, topic);
    struct ls_err failure = {0};
    if (ls_kafka_read_all(config, topic, LS_KAFKA_TIMEOUT_MS, take_message, &reading, &failure) <
            0 &&
        failure.code != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
        ls_quarantined_free(&reading.set);
        return ls_err_set(err, failure.class, failure.code, "%s", failure.text);
    }
    ls_quarantined_free(set);
    *set = reading.set;
    return 0;
}
