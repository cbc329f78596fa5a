/*
 * A thread for each sink: a thousand tables on one server shall not wait for those of another. The
 * caller's thread tells of each that ends. A job's results are its thread's own until it has ended.
 *
 * A crash leaves what was created; the next apply creates the rest.
 */
#include "cli/schema_jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/progress.h"
#include "cli/cli.h"
#include "consumers/store.h"
#include "pipeline/kafka.h"

enum { LOOK_MS = 250 };

/* Which jobs have ended: the one thing that the threads share. */
struct board {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
};

static void on_line(void *opaque, const char *line)
{
    struct ls_schema_job *job = opaque;
    job->lines = ls_realloc(job->lines, (job->n_lines + 1) * sizeof(*job->lines));
    job->lines[job->n_lines++] = ls_strdup(line);
}

/*
 * Whether there is no place for records at all. Only Elasticsearch has one place for all of them,
 * so that its absence says that nothing was ever written there.
 */
static bool is_missing(const struct ls_store_ops *ops, struct ls_store *store)
{
    struct ls_err err = {0};
    bool has_data;
    return ops->kind == LS_SINK_ES && ops->has_data(store, &has_data, &err) < 0 &&
           err.class == LS_ERR_FATAL;
}

/*
 * The first marks of an index that was made just now, at zero. Workers would write them too, but a
 * bulk that was under way when the index before it was deleted may arrive sooner, and then the
 * index would look like somebody else's. Without a log there are no such workers.
 */
static int write_first_marks(const struct ls_schema_job *job, const struct ls_store_ops *ops,
                             struct ls_store *store, struct ls_err *err)
{
    size_t n = (size_t)job->sink->entity->partitions;
    LS_CLEANUP_FREE struct ls_genesis *genesis = ls_calloc(n, sizeof(*genesis));
    LS_CLEANUP_FREE struct ls_mark *marks = ls_calloc(n, sizeof(*marks));
    struct ls_err no_log = {0};
    if (ls_kafka_genesis(job->config, job->sink->entity, genesis, &no_log) < 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        marks[i].partition = (int32_t)i;
        snprintf(marks[i].genesis, sizeof(marks[i].genesis), "%s", genesis[i].uuid);
    }
    return ops->reset_marks(store, marks, n, err);
}

static int apply(struct ls_schema_job *job, const struct ls_store_ops *ops, struct ls_store *store)
{
    bool anew = is_missing(ops, store);
    if (ops->apply(store, on_line, job, &job->err) < 0)
        return -1;
    return anew ? write_first_marks(job, ops, store, &job->err) : 0;
}

static void *run_job(void *opaque)
{
    struct ls_schema_job *job = opaque;
    const struct ls_store_ops *ops = ls_store_ops_for(job->sink->kind);
    int64_t start_us = ls_mono_us();
    struct ls_store *store = NULL;
    job->rc = ops->open(job->sink, &store, &job->err);
    if (job->rc == 0 && job->work == LS_SCHEMA_APPLY)
        job->rc = apply(job, ops, store);
    else if (job->rc == 0)
        job->rc = ops->diff(store, on_line, job, &job->differences, &job->err);
    if (store)
        ops->close(store);
    job->seconds = (double)(ls_mono_us() - start_us) / 1e6;
    pthread_mutex_lock(&job->board->mutex);
    job->ended = true;
    pthread_cond_signal(&job->board->changed);
    pthread_mutex_unlock(&job->board->mutex);
    return NULL;
}

static void tell(const struct ls_schema_job *job)
{
    if (job->rc < 0)
        ls_cli_error("%s: failed after %.1f s: %s", job->sink->name, job->seconds, job->err.text);
    else if (job->work == LS_SCHEMA_APPLY)
        ls_cli_error("%s: done in %.1f s, %zu thing%s made", job->sink->name, job->seconds,
                     job->n_lines, job->n_lines == 1 ? "" : "s");
    else
        ls_cli_error("%s: compared in %.1f s", job->sink->name, job->seconds);
}

/* Waits a moment for another job to end; returns the first that ended and was not told, or NULL. */
static struct ls_schema_job *next_ended(struct board *board, struct ls_schema_job *jobs, size_t n)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += LOOK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    struct ls_schema_job *found = NULL;
    pthread_mutex_lock(&board->mutex);
    for (int look = 0; look < 2 && found == NULL; look++) {
        if (look == 1)
            pthread_cond_timedwait(&board->changed, &board->mutex, &until);
        for (size_t i = 0; i < n && found == NULL; i++)
            if (jobs[i].ended && !jobs[i].told)
                found = &jobs[i];
    }
    pthread_mutex_unlock(&board->mutex);
    return found;
}

static void watch(struct board *board, struct ls_schema_job *jobs, size_t n, bool live)
{
    struct ls_progress progress;
    ls_progress_start(&progress, "stores", n, false);
    for (size_t told = 0; told < n;) {
        struct ls_schema_job *job = next_ended(board, jobs, n);
        if (job) {
            job->told = true;
            told++;
        }
        if (job && live) {
            ls_progress_end(&progress);
            tell(job);
        }
        ls_progress_update(&progress, told);
    }
    ls_progress_end(&progress);
}

struct ls_schema_job *ls_schema_jobs_run(const struct ls_config *config,
                                         const struct ls_sink_config *const *sinks, size_t n,
                                         enum ls_schema_work work, bool live)
{
    struct board board = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER};
    struct ls_schema_job *jobs = ls_calloc(n, sizeof(*jobs));
    for (size_t i = 0; i < n; i++) {
        jobs[i].config = config;
        jobs[i].sink = sinks[i];
        jobs[i].work = work;
        jobs[i].board = &board;
        jobs[i].started = pthread_create(&jobs[i].thread, NULL, run_job, &jobs[i]) == 0;
        if (!jobs[i].started)
            run_job(&jobs[i]); /* no more threads: then one after the other */
    }
    watch(&board, jobs, n, live);
    for (size_t i = 0; i < n; i++)
        if (jobs[i].started)
            pthread_join(jobs[i].thread, NULL);
    pthread_cond_destroy(&board.changed);
    pthread_mutex_destroy(&board.mutex);
    return jobs;
}

void ls_schema_jobs_free(struct ls_schema_job *jobs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < jobs[i].n_lines; j++)
            free(jobs[i].lines[j]);
        free(jobs[i].lines);
    }
    free(jobs);
}
