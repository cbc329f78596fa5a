/*
 * A thread for each sink: a thousand tables on one server shall not wait for those of another. A
 * job's results are its own until its thread is joined, so nothing is locked.
 *
 * A crash leaves what was created; the next apply creates the rest.
 */
#include "cli/schema_jobs.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "consumers/store.h"

static void on_line(void *opaque, const char *line)
{
    struct ls_schema_job *job = opaque;
    job->lines = ls_realloc(job->lines, (job->n_lines + 1) * sizeof(*job->lines));
    job->lines[job->n_lines++] = ls_strdup(line);
}

static void *run_job(void *opaque)
{
    struct ls_schema_job *job = opaque;
    const struct ls_store_ops *ops = ls_store_ops_for(job->sink->kind);
    int64_t start_us = ls_mono_us();
    struct ls_store *store = NULL;
    job->rc = ops->open(job->sink, &store, &job->err);
    if (job->rc == 0 && job->work == LS_SCHEMA_APPLY)
        job->rc = ops->apply(store, on_line, job, &job->err);
    else if (job->rc == 0)
        job->rc = ops->diff(store, on_line, job, &job->differences, &job->err);
    if (store)
        ops->close(store);
    job->seconds = (double)(ls_mono_us() - start_us) / 1e6;
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

struct ls_schema_job *ls_schema_jobs_run(const struct ls_sink_config *const *sinks, size_t n,
                                         enum ls_schema_work work, bool live)
{
    struct ls_schema_job *jobs = ls_calloc(n, sizeof(*jobs));
    for (size_t i = 0; i < n; i++) {
        jobs[i].sink = sinks[i];
        jobs[i].work = work;
        jobs[i].started = pthread_create(&jobs[i].thread, NULL, run_job, &jobs[i]) == 0;
        if (!jobs[i].started)
            run_job(&jobs[i]); /* no more threads: then one after the other */
    }
    for (size_t i = 0; i < n; i++) {
        if (jobs[i].started)
            pthread_join(jobs[i].thread, NULL);
        if (live)
            tell(&jobs[i]);
    }
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
