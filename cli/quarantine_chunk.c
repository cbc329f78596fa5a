#include "cli/quarantine_chunk.h"

#include "base/mem.h"
#include "cli/cli.h"
#include "pipeline/quarantine_read.h"

enum { BYTES_MAX = 8 << 20 };

struct reading {
    const struct ls_quarantine_filter *filter;
    ls_quarantine_chunk_fn *each;
    void *opaque;
    struct ls_err *err;
    struct ls_arena arena;
    struct ls_quarantine_entry entries[LS_QUARANTINE_CHUNK];
    size_t n;
    size_t bytes;
    int rc;
};

static struct ls_span copy_span(struct reading *reading, struct ls_span span)
{
    if (span.data == NULL)
        return span;
    char *copy = ls_arena_alloc(&reading->arena, (size_t)span.len + 1);
    memcpy(copy, span.data, span.len);
    copy[span.len] = '\0';
    reading->bytes += span.len;
    return (struct ls_span){copy, span.len};
}

static void flush(struct reading *reading)
{
    if (reading->n > 0 && reading->rc == 0)
        reading->rc = reading->each(reading->opaque, reading->entries, reading->n, reading->err);
    reading->n = 0;
    reading->bytes = 0;
    ls_arena_reset(&reading->arena);
}

static bool take_entry(void *opaque, const struct ls_quarantine_entry *entry)
{
    struct reading *reading = opaque;
    if (!ls_quarantine_filter_takes(reading->filter, entry))
        return true;
    struct ls_quarantine_entry *copy = &reading->entries[reading->n++];
    *copy = *entry;
    copy->key = copy_span(reading, entry->key);
    copy->class = copy_span(reading, entry->class);
    copy->text = copy_span(reading, entry->text);
    copy->body = copy_span(reading, entry->body);
    if (reading->n == LS_QUARANTINE_CHUNK || reading->bytes >= BYTES_MAX)
        flush(reading);
    return reading->rc == 0;
}

int ls_quarantine_chunks(const struct ls_config *config, const struct ls_sink_config *sink,
                         const struct ls_quarantine_filter *filter, ls_quarantine_chunk_fn *each,
                         void *opaque, struct ls_err *err)
{
    struct reading *reading = ls_calloc(1, sizeof(*reading));
    reading->filter = filter;
    reading->each = each;
    reading->opaque = opaque;
    reading->err = err;
    int rc = ls_quarantine_read(config, sink, take_entry, reading, &ls_cli_stop, err);
    if (rc == 0 && !ls_cli_stop)
        flush(reading);
    if (rc == 0)
        rc = reading->rc;
    ls_arena_free(&reading->arena);
    free(reading);
    return rc;
}

struct counting {
    const struct ls_quarantine_filter *filter;
    uint64_t n;
};

static bool count_entry(void *opaque, const struct ls_quarantine_entry *entry)
{
    struct counting *counting = opaque;
    counting->n += ls_quarantine_filter_takes(counting->filter, entry);
    return true;
}

int ls_quarantine_count(const struct ls_config *config, const struct ls_sink_config *sink,
                        const struct ls_quarantine_filter *filter, uint64_t *ret,
                        struct ls_err *err)
{
    struct counting counting = {.filter = filter};
    if (ls_quarantine_read(config, sink, count_entry, &counting, &ls_cli_stop, err) < 0)
        return -1;
    *ret = counting.n;
    return 0;
}
