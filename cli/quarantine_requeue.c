/*
 * requeue: entries go to their store once more, and those that it took, or has something newer of,
 * are closed. The others stay, with what the store says now. A crash between a write and its
 * closing leaves an entry open that is stale when it is requeued again.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/progress.h"
#include "cli/cli.h"
#include "cli/quarantine_chunk.h"
#include "cli/quarantine_jobs.h"
#include "cli/quarantine_view.h"
#include "consumers/requeue.h"
#include "pipeline/quarantine_write.h"

enum { EXAMPLES = 5 }; /* of entries that stay, printed with their reason */

struct requeue {
    const struct ls_quarantine_job *job;
    const struct ls_sink_config *sink;
    struct ls_requeue *lanes;
    struct ls_quarantine_writer *writer;
    struct ls_progress progress;
    struct ls_requeue_item items[LS_QUARANTINE_CHUNK];
    uint64_t counts[LS_REQUEUE_OUTCOMES];
    uint64_t done;
    struct ls_buf examples;
    unsigned n_examples;
};

static const char *const names[LS_REQUEUE_OUTCOMES] = {
    [LS_REQUEUE_PENDING] = "not done", [LS_REQUEUE_APPLIED] = "applied",
    [LS_REQUEUE_STALE] = "stale",      [LS_REQUEUE_REFUSED] = "refused",
    [LS_REQUEUE_UNFIT] = "unfit",
};

/* The entry with what the store says now. */
static struct ls_quarantine_entry renewed(const struct ls_requeue_item *item)
{
    struct ls_quarantine_entry entry = *item->entry;
    const char *class = ls_reject_name(item->reject);
    entry.attempts += entry.attempts < UINT32_MAX;
    entry.code = item->code;
    entry.class = (struct ls_span){class, (uint32_t)strlen(class)};
    entry.text = (struct ls_span){item->text, (uint32_t)strlen(item->text)};
    return entry;
}

static void note_example(struct requeue *requeue, const struct ls_requeue_item *item)
{
    if (requeue->n_examples == EXAMPLES)
        return;
    requeue->n_examples++;
    ls_buf_printf(&requeue->examples, "  %d/%" PRId64 " %s: ", item->entry->partition,
                  item->entry->offset, names[item->outcome]);
    ls_quarantine_print_reason(requeue->sink->entity->schema,
                               (struct ls_span){item->text, (uint32_t)strlen(item->text)},
                               requeue->job->show_pii, &requeue->examples);
    ls_buf_append_char(&requeue->examples, '\n');
}

/* Closes or renews the entries of a chunk by their outcomes; confirmed when it returns 0. */
static int write_outcomes(struct requeue *requeue, size_t n, struct ls_err *err)
{
    for (size_t i = 0; i < n; i++) {
        const struct ls_requeue_item *item = &requeue->items[i];
        struct ls_quarantine_entry entry = renewed(item);
        if (item->outcome == LS_REQUEUE_APPLIED || item->outcome == LS_REQUEUE_STALE)
            entry.body = (struct ls_span){0};
        else if (item->outcome != LS_REQUEUE_REFUSED)
            continue;
        if (ls_quarantine_writer_put(requeue->writer, &entry, err) < 0)
            return -1;
    }
    return ls_quarantine_writer_flush(requeue->writer, err);
}

static int requeue_chunk(void *opaque, const struct ls_quarantine_entry *entries, size_t n,
                         struct ls_err *err)
{
    struct requeue *requeue = opaque;
    struct ls_err failure = {0};
    for (size_t i = 0; i < n; i++)
        requeue->items[i] = (struct ls_requeue_item){.entry = &entries[i]};
    int rc = requeue->job->dry_run
                 ? ls_requeue_preview(requeue->job->config, requeue->sink, requeue->items, n, err)
                 : ls_requeue_apply(requeue->lanes, requeue->items, n, err);
    /* What was done is written down even where the rest failed. */
    if (!requeue->job->dry_run && write_outcomes(requeue, n, &failure) < 0) {
        *err = failure;
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        const struct ls_requeue_item *item = &requeue->items[i];
        requeue->counts[item->outcome]++;
        if (item->outcome == LS_REQUEUE_REFUSED || item->outcome == LS_REQUEUE_UNFIT ||
            item->text[0] != '\0')
            note_example(requeue, item);
    }
    requeue->done += n;
    ls_progress_update(&requeue->progress, requeue->done);
    return rc;
}

static void print_json(const struct requeue *requeue)
{
    const uint64_t *counts = requeue->counts;
    json_t *object = json_pack(
        "{s:s, s:b, s:I, s:I, s:I, s:I, s:I}", "sink", requeue->sink->name, "dry_run",
        (int)requeue->job->dry_run, "applied", (json_int_t)counts[LS_REQUEUE_APPLIED], "stale",
        (json_int_t)counts[LS_REQUEUE_STALE], "refused", (json_int_t)counts[LS_REQUEUE_REFUSED],
        "unfit", (json_int_t)counts[LS_REQUEUE_UNFIT],
        requeue->job->dry_run ? "would_try" : "not_done", (json_int_t)counts[LS_REQUEUE_PENDING]);
    ls_cli_print_json(object, JSON_COMPACT);
}

static void print_text(struct requeue *requeue)
{
    const char *comma = "";
    char count[32];
    printf("%s: ", requeue->sink->name);
    for (int outcome = LS_REQUEUE_APPLIED; outcome <= LS_REQUEUE_OUTCOMES; outcome++) {
        int shown = outcome % LS_REQUEUE_OUTCOMES; /* PENDING last */
        if (requeue->counts[shown] == 0)
            continue;
        bool would = shown == LS_REQUEUE_PENDING && requeue->job->dry_run;
        printf("%s%s %s", comma, ls_human_count(requeue->counts[shown], count, sizeof(count)),
               would ? "would be tried" : names[shown]);
        comma = ", ";
    }
    puts(requeue->done == 0 ? "no open entry is like that" : "");
    if (requeue->n_examples > 0)
        printf("Still open:\n%s", ls_buf_cstr(&requeue->examples));
}

static int open_all(struct requeue *requeue, struct ls_err *err)
{
    const struct ls_quarantine_job *job = requeue->job;
    if (job->dry_run)
        return 0;
    requeue->writer = ls_quarantine_writer_open(job->config, requeue->sink, err);
    if (requeue->writer == NULL)
        return -1;
    requeue->lanes = ls_requeue_open(job->config, requeue->sink, &ls_cli_stop, err);
    return requeue->lanes != NULL ? 0 : -1;
}

static int exit_code(const struct requeue *requeue, int rc)
{
    if (rc < 0)
        return LS_EXIT_FAILED;
    if (ls_cli_stop)
        return LS_EXIT_INTERRUPTED;
    if (!requeue->job->dry_run && requeue->counts[LS_REQUEUE_PENDING] > 0)
        return LS_EXIT_FAILED;
    return requeue->n_examples > 0 ? LS_EXIT_DIFFERENT : LS_EXIT_OK;
}

int ls_quarantine_requeue(const struct ls_quarantine_job *job)
{
    struct requeue *requeue = ls_calloc(1, sizeof(*requeue));
    struct ls_err err = {0};
    requeue->job = job;
    requeue->sink = job->sinks[0];
    int rc = open_all(requeue, &err);
    if (rc == 0) {
        ls_progress_start(&requeue->progress, "requeue", 0, true);
        rc = ls_quarantine_chunks(job->config, requeue->sink, &job->filter, requeue_chunk, requeue,
                                  &err);
        ls_progress_end(&requeue->progress);
        if (job->json)
            print_json(requeue);
        else
            print_text(requeue);
    }
    if (rc < 0)
        ls_cli_error("%s", err.text);
    int code = exit_code(requeue, rc);
    ls_requeue_close(requeue->lanes);
    ls_quarantine_writer_close(requeue->writer);
    ls_buf_free(&requeue->examples);
    free(requeue);
    return code;
}
