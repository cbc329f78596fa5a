/*
 * The work of `lockstep publish`: reads records, hands them to the publisher, and knows at any time
 * which line to go on from. One thread runs it; deliveries are counted from the publisher's thread.
 */
#ifndef LS_CLI_PUBLISH_JOB_H
#define LS_CLI_PUBLISH_JOB_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/progress.h"
#include "cli/rejects.h"
#include "producers/csv.h"
#include "producers/line_window.h"
#include "producers/lines.h"
#include "producers/ndjson.h"
#include "producers/publisher.h"

enum ls_publish_end {
    LS_PUBLISH_DONE,        /* the input has ended and everything is reported */
    LS_PUBLISH_REFUSED,     /* --strict and a line was rejected */
    LS_PUBLISH_FAILED,      /* Kafka, the input or the rejects file: err says which */
    LS_PUBLISH_INTERRUPTED, /* by a signal */
};

struct ls_publish_job {
    /* Set by the caller before the job starts. */
    lockstep_publisher *publisher;
    struct ls_publisher_entity *entity;
    int fd;
    bool csv;
    bool strict;
    uint64_t from_line; /* 1 or more */
    uint64_t rate;      /* records a second at most; 0: no limit */
    uint64_t size;      /* bytes of the input, 0 where it is not known: for the ETA */
    struct ls_rejects rejects;

    /* Inside. */
    struct ls_lines lines;
    struct ls_ndjson ndjson;
    struct ls_csv table;
    struct ls_line_window *window;
    struct ls_buf wire;
    struct ls_progress progress;
    int64_t start_us;
    atomic_bool failed; /* a delivery was not published */
    pthread_mutex_t lock;
    struct ls_err delivery_err; /* under lock: of the first such delivery */

    /* Results. */
    uint64_t taken;
    atomic_uint_fast64_t published;
    atomic_uint_fast64_t not_published; /* known not to be in the log */
    atomic_uint_fast64_t unknown;
    uint64_t resume_line; /* every line before it is published or rejected */
    uint64_t lines_read;
    struct ls_err err;
};

/* To be called before the publisher is opened, whose callback the next one is. */
void ls_publish_job_init(struct ls_publish_job *job);
void ls_publish_job_delivery(void *job, const struct lockstep_delivery *delivery);

/* Does the work, flushes and closes the publisher. Frees the inside; results stay. */
enum ls_publish_end ls_publish_job_run(struct ls_publish_job *job);

#endif
