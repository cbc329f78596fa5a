#include "fake_sink.h"

#include <stdio.h>
#include <string.h>

#include "schema/key.h"

struct fake_store fake = {.lock = PTHREAD_MUTEX_INITIALIZER};

static pthread_mutex_t *take_lock(void)
{
    pthread_mutex_lock(&fake.lock);
    return &fake.lock;
}

static void give_lock_back(pthread_mutex_t **lock)
{
    pthread_mutex_unlock(*lock);
}

/* The store's lock until the end of the block. */
#define LOCKED __attribute__((cleanup(give_lock_back), unused)) pthread_mutex_t *held = take_lock()

void fake_reset(void)
{
    LOCKED;
    fake.n_entries = 0;
    memset(fake.entries, 0, sizeof(fake.entries));
    memset(fake.marks, 0, sizeof(fake.marks));
    memset(fake.seen, 0, sizeof(fake.seen));
    fake.looks = 0;
    fake.unsure = NULL;
    fake.has_data = fake.no_reads = fake.no_marks = false;
    fake.unit_max = 0;
    fake.units_refused = 0;
    fake.decide = NULL;
}

void fake_decide(enum ls_verdict (*decide)(const struct ls_record *record, struct ls_err *err))
{
    LOCKED;
    fake.decide = decide;
}

/* With the lock held. */
static struct fake_entry *find(const char *key, size_t len)
{
    for (size_t i = 0; i < fake.n_entries; i++)
        if (strlen(fake.entries[i].key) == len && memcmp(fake.entries[i].key, key, len) == 0)
            return &fake.entries[i];
    return NULL;
}

struct fake_entry fake_get(const char *key)
{
    LOCKED;
    const struct fake_entry *entry = find(key, strlen(key));
    return entry ? *entry : (struct fake_entry){0};
}

unsigned fake_tries(const char *key)
{
    const struct fake_entry *entry = find(key, strlen(key));
    return entry ? entry->tries : 0;
}

void fake_no_reads(bool no_reads)
{
    LOCKED;
    fake.no_reads = no_reads;
}

void fake_no_marks(bool no_marks)
{
    LOCKED;
    fake.no_marks = no_marks;
}

unsigned fake_looks(void)
{
    LOCKED;
    return fake.looks;
}

void fake_take_at_most(uint32_t n_records)
{
    LOCKED;
    fake.unit_max = n_records;
}

unsigned fake_units_refused(void)
{
    LOCKED;
    return fake.units_refused;
}

struct ls_mark fake_mark(int32_t partition)
{
    LOCKED;
    return fake.marks[partition];
}

bool fake_all_marked(int64_t offset)
{
    for (int32_t i = 0; i < FAKE_PARTITIONS; i++)
        if (fake_mark(i).version < ls_version(1, offset))
            return false;
    return true;
}

unsigned fake_tries_of(const char *prefix)
{
    LOCKED;
    unsigned n = 0;
    for (size_t i = 0; i < fake.n_entries; i++)
        if (strncmp(fake.entries[i].key, prefix, strlen(prefix)) == 0)
            n += fake.entries[i].tries;
    return n;
}

static void copy_data(struct fake_store *to, const struct fake_store *from)
{
    memcpy(to->entries, from->entries, sizeof(to->entries));
    to->n_entries = from->n_entries;
    memcpy(to->marks, from->marks, sizeof(to->marks));
}

void fake_save(struct fake_store *ret)
{
    LOCKED;
    copy_data(ret, &fake);
}

void fake_restore(const struct fake_store *saved)
{
    LOCKED;
    copy_data(&fake, saved);
}

void fake_empty(void)
{
    static const struct fake_store nothing;
    fake_restore(&nothing);
}

void fake_lose_unmarked(const char *why)
{
    LOCKED;
    size_t kept = 0;
    for (size_t i = 0; i < fake.n_entries; i++) {
        const char *key = fake.entries[i].key;
        int32_t partition = ls_partition_of(ls_shard_of(key, strlen(key)), FAKE_PARTITIONS);
        if (fake.entries[i].version <= fake.marks[partition].version)
            fake.entries[kept++] = fake.entries[i];
    }
    fake.n_entries = kept;
    fake.unsure = why;
}

static void apply_record(struct ls_unit *unit, struct ls_record *record)
{
    struct fake_entry *entry = find(record->key, record->key_len);
    if (entry == NULL) {
        entry = &fake.entries[fake.n_entries++];
        snprintf(entry->key, sizeof(entry->key), "%.*s", (int)record->key_len, record->key);
    }
    entry->tries++;
    struct ls_err err = {0};
    enum ls_verdict verdict = fake.decide ? fake.decide(record, &err) : LS_APPLIED;
    if (verdict == LS_POISON) {
        ls_unit_poison(unit, record, err.code, err.text);
        return;
    }
    if (err.class != LS_ERR_NONE)
        ls_unit_note(unit, &err);
    if (verdict == LS_APPLIED && record->version <= entry->version)
        verdict = LS_STALE;
    if (verdict == LS_APPLIED)
        entry->version = record->version;
    record->verdict = (uint8_t)verdict;
}

/* With the lock held, as all that follows. */
static bool refuse_unit(struct ls_unit *unit)
{
    if (fake.unit_max == 0 || unit->n_records <= fake.unit_max)
        return false;
    struct ls_err err;
    ls_err_set(&err, LS_ERR_RETRY, 429, "too much at once");
    err.overload = true;
    ls_unit_fail(unit, &err);
    fake.units_refused++;
    return true;
}

static void look(struct ls_unit *unit)
{
    struct ls_err err = {0};
    if (fake.no_reads) {
        ls_err_set(&err, LS_ERR_RETRY, 0, "no reads now");
        ls_unit_note(unit, &err);
        return;
    }
    fake.looks++;
    unit->look->has_data = fake.has_data || fake.n_entries > 0;
    for (uint32_t i = 0; i < unit->n_marks; i++) {
        int32_t partition = unit->marks[i].partition;
        unit->marks[i] = fake.marks[partition];
        unit->marks[i].partition = partition;
        fake.seen[partition] = unit->marks[i];
    }
}

static void write_marks(struct ls_lane *lane, struct ls_unit *unit)
{
    if (!ls_lane_may_mark(lane, unit))
        return;
    if (fake.no_marks && unit->n_marks > 0) {
        struct ls_err err;
        ls_err_set(&err, LS_ERR_RETRY, 0, "read-only");
        ls_unit_note(unit, &err);
        return;
    }
    for (uint32_t i = 0; i < unit->n_marks; i++) {
        int32_t partition = unit->marks[i].partition;
        const struct ls_mark *seen = &fake.seen[partition], *now = &fake.marks[partition];
        if (seen->version != now->version || seen->at_ms != now->at_ms ||
            strcmp(seen->genesis, now->genesis) != 0) {
            unit->marks_unexpected = true;
            return;
        }
        fake.marks[partition] = fake.seen[partition] = unit->marks[i];
    }
    unit->marks_written = true;
}

static void serve(struct ls_lane *lane, struct ls_unit *unit)
{
    LOCKED;
    if (fake.unsure != NULL)
        ls_lane_unsure(lane, fake.unsure);
    fake.unsure = NULL;
    bool refused = refuse_unit(unit);
    for (uint32_t i = 0; !refused && i < unit->n_records; i++)
        if (unit->records[i]->verdict == LS_PENDING)
            apply_record(unit, unit->records[i]);
    if (unit->look != NULL)
        look(unit);
    else
        write_marks(lane, unit);
}

static void run_lane(struct ls_sink *sink, unsigned index, struct ls_lane *lane)
{
    (void)sink;
    (void)index;
    while (!ls_lane_closing(lane)) {
        struct ls_unit *unit = ls_lane_take(lane, -1);
        if (unit == NULL)
            continue;
        serve(lane, unit);
        ls_lane_complete(lane, unit);
    }
}

static int open_sink(const struct ls_sink_config *config, struct ls_sink **ret, struct ls_err *err)
{
    (void)config;
    (void)err;
    *ret = (struct ls_sink *)&fake;
    return 0;
}

static void close_sink(struct ls_sink *sink)
{
    (void)sink;
}

static unsigned n_lanes(const struct ls_sink *sink)
{
    (void)sink;
    return 1;
}

static unsigned lane_of(const struct ls_sink *sink, int32_t partition)
{
    (void)sink;
    (void)partition;
    return 0;
}

static uint32_t unit_limit(const struct ls_sink *sink)
{
    (void)sink;
    return 7; /* several units a batch */
}

static uint32_t no_limit(const struct ls_sink *sink)
{
    (void)sink;
    return UINT32_MAX;
}

static bool server(const struct ls_sink_config *config, unsigned lane, size_t i, struct ls_buf *buf)
{
    if (i == 0)
        ls_buf_printf(buf, "fake:%u", lane + 1);
    return i == 0;
}

const struct ls_sink_ops fake_sink_ops = {
    .kind = LS_SINK_REDIS,
    .open = open_sink,
    .close = close_sink,
    .n_lanes = n_lanes,
    .lane_of = lane_of,
    .server = server,
    .unit_records = unit_limit,
    .unit_bytes = no_limit,
    .run_lane = run_lane,
};
