/*
 * What `lockstep quarantine` does, once its arguments are known: list, show, requeue, discard.
 * Results go to stdout, messages and progress to stderr; each returns the exit code. All of them
 * stream: memory does not grow with the topic. Ctrl-C ends them between two chunks; what was done
 * until then is done, and the same command goes on from there.
 */
#ifndef LS_CLI_QUARANTINE_JOBS_H
#define LS_CLI_QUARANTINE_JOBS_H

#include "cli/quarantine_filter.h"

struct ls_quarantine_job {
    const struct ls_config *config;
    const struct ls_sink_config **sinks; /* one, but for list */
    size_t n_sinks;
    struct ls_quarantine_filter filter;
    bool show_pii;
    bool json;
    bool dry_run;
    bool yes;           /* discard: do not ask */
    const char *reason; /* discard */
};

int ls_quarantine_list(const struct ls_quarantine_job *job);
int ls_quarantine_show(const struct ls_quarantine_job *job);
int ls_quarantine_requeue(const struct ls_quarantine_job *job);
int ls_quarantine_discard(const struct ls_quarantine_job *job);

#endif
