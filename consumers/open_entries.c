#include "consumers/open_entries.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/mem.h"
#include "pipeline/quarantine_read.h"
#include "pipeline/quarantined.h"
#include "schema/key.h"

enum { FIRST_CAP = 64, RETRY_MS = 10000 };

/* In slots: position 0 is free. In `after`, where the version is not known: the time, and this. */
#define BY_TIME (UINT64_C(1) << 63)

struct slot {
    uint64_t hash;     /* of the key */
    uint64_t after;    /* version that closes it, or one above; or BY_TIME and LogAppendTime */
    uint64_t position; /* ls_quarantined_pack */
};

struct recent {
    uint64_t hash, version;
    int64_t at_ms;
};

/* The reading thread's; the instance's again once done is set. */
struct reader {
    pthread_t thread;
    const struct ls_config *config;
    const struct ls_sink_config *sink;
    struct ls_genesis *genesis; /* by partition, as it was known when the reading began */
    int64_t *next; /* by partition of the quarantine topic: where the next reading begins */
    int32_t n_next;
    struct slot *found;
    size_t n_found, cap_found;
    bool failed;
    atomic_int stop;
    atomic_bool done;
};

struct ls_open_entries {
    struct slot *slots;
    size_t cap, n;
    const struct ls_genesis *genesis; /* the instance's */
    struct reader reader;
    bool reading;
    int64_t next_read_ms;  /* 0: nothing is to be read */
    struct recent *recent; /* a ring, while reading */
    size_t n_recent;
};

struct ls_open_entries *ls_open_entries_new(const struct ls_config *config,
                                            const struct ls_sink_config *sink,
                                            const struct ls_genesis *genesis)
{
    struct ls_open_entries *open = ls_calloc(1, sizeof(*open));
    open->genesis = genesis;
    open->reader.genesis =
        ls_calloc((size_t)sink->entity->partitions, sizeof(*open->reader.genesis));
    open->reader.config = config;
    open->reader.sink = sink;
    open->next_read_ms = 1;
    return open;
}

void ls_open_entries_free(struct ls_open_entries *open)
{
    if (open == NULL)
        return;
    if (open->reading) {
        atomic_store(&open->reader.stop, 1);
        pthread_join(open->reader.thread, NULL);
    }
    free(open->reader.found);
    free(open->reader.next);
    free(open->reader.genesis);
    free(open->recent);
    free(open->slots);
    free(open);
}

void ls_open_entries_look(struct ls_open_entries *open)
{
    open->next_read_ms = 1;
}

bool ls_open_entries_wants(const struct ls_open_entries *open)
{
    return open->n > 0 || open->reading;
}

size_t ls_open_entries_count(const struct ls_open_entries *open)
{
    return open->n;
}

/* What closes an entry: its version, its own place where it stands at home, else a later time. */
static struct slot make_slot(const struct ls_entity_config *entity, struct ls_span key,
                             int32_t partition, int64_t offset, uint64_t version, int64_t at_ms)
{
    struct slot slot = {
        .hash = XXH3_64bits(key.data, key.len),
        .after = version,
        .position = ls_quarantined_pack(partition, offset),
    };
    bool home = ls_partition_of(ls_shard_of(key.data, key.len), entity->partitions) == partition;
    if (version == 0)
        slot.after = home ? ls_version(entity->generation, offset) : BY_TIME | (uint64_t)at_ms;
    return slot;
}

static bool is_closed_by(const struct slot *slot, uint64_t version, int64_t at_ms)
{
    if (slot->after & BY_TIME)
        return at_ms > (int64_t)(slot->after & ~BY_TIME);
    return version >= slot->after;
}

static void insert(struct ls_open_entries *open, const struct slot *slot)
{
    size_t at = (size_t)slot->hash & (open->cap - 1);
    while (open->slots[at].position != 0 &&
           (open->slots[at].position != slot->position || open->slots[at].hash != slot->hash))
        at = (at + 1) & (open->cap - 1);
    open->n += open->slots[at].position == 0;
    open->slots[at] = *slot;
}

static void add_slot(struct ls_open_entries *open, const struct slot *slot)
{
    if (open->n >= LS_OPEN_ENTRIES_MAX)
        return;
    if (open->n * 2 >= open->cap) {
        struct slot *old = open->slots;
        size_t old_cap = open->cap;
        open->cap = old_cap ? old_cap * 2 : FIRST_CAP;
        open->slots = ls_calloc(open->cap, sizeof(*open->slots));
        open->n = 0;
        for (size_t i = 0; i < old_cap; i++)
            if (old[i].position != 0)
                insert(open, &old[i]);
        free(old);
    }
    insert(open, slot);
}

void ls_open_entries_add(struct ls_open_entries *open, const struct ls_record *record)
{
    if (record->key == NULL)
        return;
    struct slot slot =
        make_slot(open->reader.sink->entity, (struct ls_span){record->key, record->key_len},
                  record->partition, record->offset, record->version, record->at_ms);
    add_slot(open, &slot);
}

/* Frees a slot; those behind it that would no longer be found move up. */
static void remove_slot(struct ls_open_entries *open, size_t gap)
{
    size_t mask = open->cap - 1;
    for (size_t at = (gap + 1) & mask; open->slots[at].position != 0; at = (at + 1) & mask) {
        size_t home = (size_t)open->slots[at].hash & mask;
        if (((at - home) & mask) < ((at - gap) & mask))
            continue;
        open->slots[gap] = open->slots[at];
        gap = at;
    }
    open->slots[gap] = (struct slot){0};
    open->n--;
}

static void close_entries(struct ls_open_entries *open, const struct recent *settled,
                          ls_close_entry_fn *close, void *opaque)
{
    if (open->n == 0)
        return;
    for (size_t at = (size_t)settled->hash & (open->cap - 1); open->slots[at].position != 0;) {
        const struct slot *slot = &open->slots[at];
        int32_t partition = (int32_t)(slot->position >> 48);
        int64_t offset = (int64_t)(slot->position & 0xffffffffffffu) - 1;
        if (slot->hash == settled->hash && is_closed_by(slot, settled->version, settled->at_ms) &&
            close(opaque, partition, offset))
            remove_slot(open, at); /* another one may stand there now */
        else
            at = (at + 1) & (open->cap - 1);
    }
}

void ls_open_entries_settled(struct ls_open_entries *open, const struct ls_record *record,
                             ls_close_entry_fn *close, void *opaque)
{
    struct recent settled = {
        .hash = XXH3_64bits(record->key, record->key_len),
        .version = record->version,
        .at_ms = record->at_ms,
    };
    close_entries(open, &settled, close, opaque);
    if (!open->reading)
        return;
    if (open->recent == NULL)
        open->recent = ls_malloc(LS_OPEN_RECENT_MAX * sizeof(*open->recent));
    open->recent[open->n_recent++ % LS_OPEN_RECENT_MAX] = settled;
}

static bool find_entry(void *opaque, const struct ls_quarantine_entry *entry)
{
    struct reader *reader = opaque;
    if (entry->key.data == NULL ||
        !ls_quarantine_entry_is_of(entry, reader->genesis, reader->sink->entity->partitions))
        return true;
    if (reader->n_found == reader->cap_found) {
        reader->cap_found = reader->cap_found ? reader->cap_found * 2 : FIRST_CAP;
        reader->found = ls_realloc(reader->found, reader->cap_found * sizeof(*reader->found));
    }
    reader->found[reader->n_found++] = make_slot(reader->sink->entity, entry->key, entry->partition,
                                                 entry->offset, entry->version, entry->at_ms);
    return reader->n_found < LS_OPEN_ENTRIES_MAX;
}

static void read_topic(struct reader *reader)
{
    struct ls_quarantine_scan scan;
    struct ls_err ignored = {0}; /* whatever is wrong with Kafka, the instance says it */
    reader->failed = true;
    if (ls_quarantine_scan_open(reader->config, reader->sink, &scan, &ignored) < 0)
        return;
    bool known = reader->n_next == scan.n;
    for (int32_t p = 0; known && p < scan.n; p++)
        known = reader->next[p] <= scan.end[p]; /* else it is another topic by now */
    int rc =
        ls_quarantine_scan_open_entries(&scan, reader->sink->entity, known ? reader->next : NULL,
                                        find_entry, reader, &reader->stop, &ignored);
    if (rc == 0) {
        free(reader->next);
        reader->next = scan.end;
        reader->n_next = scan.n;
        scan.end = NULL;
        reader->failed = false;
    }
    ls_quarantine_scan_close(&scan);
}

static void *reader_main(void *opaque)
{
    struct reader *reader = opaque;
    read_topic(reader);
    atomic_store(&reader->done, true);
    return NULL;
}

static void start_reading(struct ls_open_entries *open)
{
    atomic_store(&open->reader.done, false);
    open->next_read_ms = 0;
    memcpy(open->reader.genesis, open->genesis,
           (size_t)open->reader.sink->entity->partitions * sizeof(*open->genesis));
    open->reading = pthread_create(&open->reader.thread, NULL, reader_main, &open->reader) == 0;
    if (!open->reading)
        open->next_read_ms = ls_mono_ms() + RETRY_MS;
}

static void take_over(struct ls_open_entries *open, ls_close_entry_fn *close, void *opaque)
{
    struct reader *reader = &open->reader;
    pthread_join(reader->thread, NULL);
    open->reading = false;
    for (size_t i = 0; i < reader->n_found; i++)
        add_slot(open, &reader->found[i]);
    size_t n = open->n_recent < LS_OPEN_RECENT_MAX ? open->n_recent : LS_OPEN_RECENT_MAX;
    for (size_t i = 0; i < n; i++)
        close_entries(open, &open->recent[i], close, opaque);
    free(reader->found);
    free(open->recent);
    reader->found = NULL;
    reader->n_found = reader->cap_found = 0;
    open->recent = NULL;
    open->n_recent = 0;
    if (reader->failed && open->next_read_ms == 0)
        open->next_read_ms = ls_mono_ms() + RETRY_MS;
}

void ls_open_entries_serve(struct ls_open_entries *open, ls_close_entry_fn *close, void *opaque)
{
    if (open->reading && atomic_load(&open->reader.done))
        take_over(open, close, opaque);
    if (!open->reading && open->next_read_ms != 0 && ls_mono_ms() >= open->next_read_ms)
        start_reading(open);
}
