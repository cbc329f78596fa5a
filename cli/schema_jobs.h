/*
 * Work on the stores of several sinks at a time, a thread for each: what `lockstep schema apply`
 * and `diff` do.
 */
#ifndef LS_CLI_SCHEMA_JOBS_H
#define LS_CLI_SCHEMA_JOBS_H

#include <pthread.h>
#include <stdbool.h>

#include "pipeline/config.h"

enum ls_schema_work { LS_SCHEMA_APPLY, LS_SCHEMA_DIFF };

struct board;
struct ls_schema_job {
    const struct ls_config *config;
    const struct ls_sink_config *sink;
    enum ls_schema_work work;
    /* Results */
    int rc; /* 0, or -1 and err */
    struct ls_err err;
    char **lines; /* what was made, or what differs; owned */
    size_t n_lines;
    size_t differences;
    double seconds;
    /* The runner's own */
    struct board *board;
    pthread_t thread;
    bool started, ended, told;
};

/*
 * Does the work for all sinks and returns a job for each in the same order, freed with
 * ls_schema_jobs_free. `live` prints each sink's end to stderr as it comes.
 */
struct ls_schema_job *ls_schema_jobs_run(const struct ls_config *config,
                                         const struct ls_sink_config *const *sinks, size_t n,
                                         enum ls_schema_work work, bool live);
void ls_schema_jobs_free(struct ls_schema_job *jobs, size_t n);

#endif
