/*
 * One sink's comparison from start to end, and all sinks in threads of their own: a slow or dead
 * store holds up no other. A thread touches its own job only; the one who draws progress reads its
 * counters while they grow.
 */
#include "consumers/verify.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "consumers/verify_internal.h"

enum { TICK_MS = 200 };

static const char *const names[LS_DIFFS] = {
    [LS_DIFF_EQUAL] = "equal",
    [LS_DIFF_LAGGING] = "lagging",
    [LS_DIFF_QUARANTINED] = "quarantined",
    [LS_DIFF_AHEAD] = "ahead",
    [LS_DIFF_DIVERGED] = "diverged",
    [LS_DIFF_MISSING] = "missing",
    [LS_DIFF_EXTRA] = "extra",
    [LS_DIFF_RESURRECTED] = "resurrected",
    [LS_DIFF_UNDECODABLE] = "undecodable",
};

const char *ls_difference_name(enum ls_difference difference)
{
    return (size_t)difference < LS_DIFFS ? names[difference] : "unknown";
}

void ls_verify_report_free(struct ls_verify_report *report)
{
    free(report->examples);
    report->examples = NULL;
    report->n_examples = 0;
}

bool ls_verify_different(const struct ls_verify_report *report)
{
    for (int d = 0; d < LS_DIFFS; d++)
        if (d != LS_DIFF_EQUAL && d != LS_DIFF_LAGGING && report->counts[d] > 0)
            return true;
    return false;
}

bool ls_verify_equal(const struct ls_verify_report *report)
{
    return report->finished && report->err.class == LS_ERR_NONE &&
           report->counts[LS_DIFF_LAGGING] == 0 && !ls_verify_different(report);
}

bool ls_verify_stopped(const struct ls_verify *verify)
{
    return verify->model->stop != NULL && *verify->model->stop;
}

void ls_verify_note(struct ls_verify *verify, enum ls_difference difference,
                    const struct ls_ledger_entry *entry, const struct ls_image *image,
                    const char *why)
{
    struct ls_verify_report *report = verify->report;
    uint64_t count = __atomic_add_fetch(&report->counts[difference], 1, __ATOMIC_RELAXED);
    if (difference == LS_DIFF_EQUAL || count > verify->model->examples)
        return;
    struct ls_verify_example *example = &report->examples[report->n_examples++];
    *example = (struct ls_verify_example){
        .difference = difference,
        .shard = entry->shard,
        .offset = entry->found ? entry->offset : -1,
        .log = {entry->found, entry->deleted, entry->version, entry->hash},
        .store = {image->found, image->deleted, image->version, image->hash},
    };
    size_t len = entry->key_len < sizeof(example->key) ? entry->key_len : sizeof(example->key) - 1;
    memcpy(example->key, entry->key, len);
    snprintf(example->why, sizeof(example->why), "%s", why);
}

static int open_handles(struct ls_verify *verify, struct ls_err *err)
{
    const struct ls_sink_config *sink = verify->report->sink;
    if (verify->ops->open(sink, &verify->walker, err) < 0)
        return -1;
    return verify->ops->open(sink, &verify->confirmer, err);
}

static int compare(struct ls_verify *verify, struct ls_err *err)
{
    struct ls_ledger_counts counts;
    if (open_handles(verify, err) < 0 || ls_verify_read_marks(verify, err) < 0 ||
        verify->ops->refresh(verify->walker, err) < 0 ||
        ls_ledger_count(verify->model->ledger, &counts, err) < 0)
        return -1;
    __atomic_store_n(&verify->report->total, counts.live + counts.deleted, __ATOMIC_RELAXED);
    return ls_verify_walk(verify, err);
}

/* A set-up that is wrong shows as some failed request; the store's own check says what to do. */
static void explain(struct ls_verify *verify, struct ls_err *err)
{
    struct ls_err better = {0};
    if (err->class == LS_ERR_FATAL && verify->walker != NULL &&
        verify->ops->check(verify->walker, &better) < 0 && better.class == LS_ERR_FATAL)
        *err = better;
}

/* Compares one sink; failures stand in the report. */
static void *run_job(void *opaque)
{
    struct ls_verify_job *job = opaque;
    int64_t started_us = ls_mono_us();
    struct ls_verify verify = {.model = &job->model, .ops = job->ops, .report = &job->report};
    size_t partitions = (size_t)ls_ledger_entity(job->model.ledger)->partitions;
    verify.marks = ls_calloc(partitions, sizeof(*verify.marks));
    verify.candidates = ls_calloc(LS_VERIFY_CANDIDATES, sizeof(*verify.candidates));
    verify.entries = ls_calloc(LS_VERIFY_CANDIDATES, sizeof(*verify.entries));
    verify.images = ls_calloc(LS_VERIFY_CANDIDATES, sizeof(*verify.images));
    job->report.examples =
        ls_calloc((size_t)job->model.examples * LS_DIFFS, sizeof(*job->report.examples));
    ls_ledger_cursor_init(&verify.cursor, job->model.ledger);
    struct ls_err err = {0};
    if (compare(&verify, &err) < 0) {
        explain(&verify, &err);
        job->report.err = err;
    }
    ls_ledger_cursor_free(&verify.cursor);
    if (verify.walker != NULL)
        job->ops->close(verify.walker);
    if (verify.confirmer != NULL)
        job->ops->close(verify.confirmer);
    ls_arena_free(&verify.arena);
    ls_arena_free(&verify.keys);
    free(verify.marks);
    free(verify.candidates);
    free(verify.entries);
    free(verify.images);
    job->report.seconds = (double)(ls_mono_us() - started_us) / 1e6;
    __atomic_store_n(&job->report.finished, true, __ATOMIC_RELEASE);
    return NULL;
}

static bool all_finished(const struct ls_verify_job *jobs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!__atomic_load_n(&jobs[i].report.finished, __ATOMIC_ACQUIRE))
            return false;
    return true;
}

void ls_verify_run(struct ls_verify_job *jobs, size_t n, void (*tick)(void *opaque), void *opaque)
{
    LS_CLEANUP_FREE pthread_t *threads = ls_calloc(n, sizeof(*threads));
    LS_CLEANUP_FREE bool *started = ls_calloc(n, sizeof(*started));
    for (size_t i = 0; i < n; i++) {
        int code = pthread_create(&threads[i], NULL, run_job, &jobs[i]);
        started[i] = code == 0;
        if (code == 0)
            continue;
        ls_err_set(&jobs[i].report.err, LS_ERR_RETRY, code, "cannot start a thread: %s",
                   strerror(code));
        jobs[i].report.finished = true;
    }
    while (!all_finished(jobs, n)) {
        nanosleep(&(struct timespec){.tv_nsec = TICK_MS * 1000 * 1000}, NULL);
        if (tick != NULL)
            tick(opaque);
    }
    for (size_t i = 0; i < n; i++)
        if (started[i])
            pthread_join(threads[i], NULL);
}
