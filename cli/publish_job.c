/*
 * The reading loop of `lockstep publish`.
 *
 * Threads: the loop is the main thread; ls_publish_job_delivery runs on the publisher's thread.
 * A crash leaves what was published in the log; a run from the beginning, or from any line before
 * the crash, publishes some images again, which changes nothing.
 * Rejected: stopping at the first failed delivery without waiting for the others, which would leave
 * the line to go on from far behind what is in the log.
 */
#include "cli/publish_job.h"

#include <time.h>

#include "base/clock.h"
#include "cli/cli.h"

enum {
    SLICE_MS = 100, /* how long to wait before looking for a signal again */
    STOP_FLUSH_MS = 10 * 1000,
    FAILED_FLUSH_MS = 5 * 1000,
    RECORD_LINES_MAX = 64 << 10, /* far below the window, and above what a schema can allow */
};

/* What one line came to. */
enum step { STEP_ON, STEP_END };

void ls_publish_job_init(struct ls_publish_job *job)
{
    pthread_mutex_init(&job->lock, NULL);
}

void ls_publish_job_delivery(void *opaque, const struct lockstep_delivery *delivery)
{
    struct ls_publish_job *job = opaque;
    uint64_t line = (uint64_t)(uintptr_t)delivery->record_opaque;
    if (delivery->outcome == LOCKSTEP_PUBLISHED) {
        atomic_fetch_add(&job->published, 1);
        ls_line_window_done(job->window, line, line);
        return;
    }
    atomic_fetch_add(delivery->outcome == LOCKSTEP_UNKNOWN ? &job->unknown : &job->not_published,
                     1);
    pthread_mutex_lock(&job->lock);
    if (job->delivery_err.class == LS_ERR_NONE)
        ls_err_set(&job->delivery_err, LS_ERR_RETRY, 0, "line %llu was not confirmed: %s",
                   (unsigned long long)line, delivery->reason);
    pthread_mutex_unlock(&job->lock);
    atomic_store(&job->failed, true);
}

static bool must_stop(struct ls_publish_job *job)
{
    return ls_cli_stop || atomic_load(&job->failed);
}

/* Redraws the bar; a file's number of records is guessed from the bytes of those read. */
static void show_progress(struct ls_publish_job *job, bool waiting)
{
    if (!waiting && job->taken % 256 != 0)
        return;
    uint64_t done = atomic_load(&job->published) + job->rejects.count;
    uint64_t handled = job->taken + job->rejects.count;
    uint64_t consumed = job->lines.bytes - (job->lines.end - job->lines.begin);
    if (job->size > 0 && consumed > 0 && handled > 0) {
        double total = (double)handled * ((double)job->size / (double)consumed);
        job->progress.total = total > (double)done ? (uint64_t)total : done + 1;
    }
    ls_progress_update(&job->progress, done);
}

static void sleep_us(int64_t us)
{
    struct timespec pause = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};
    nanosleep(&pause, NULL);
}

/* Keeps to the rate: the n-th record is due at start + n / rate. */
static void keep_pace(struct ls_publish_job *job)
{
    if (job->rate == 0)
        return;
    int64_t due_us = job->start_us + (int64_t)((double)job->taken * 1e6 / (double)job->rate);
    int64_t left_us;
    while (!must_stop(job) && (left_us = due_us - ls_mono_us()) > 0) {
        sleep_us(left_us < SLICE_MS * 1000 ? left_us : SLICE_MS * 1000);
        show_progress(job, true);
    }
}

static enum step reject(struct ls_publish_job *job, const struct ls_line *line, const char *reason)
{
    bool truncated = line->kind == LS_LINE_TOO_LONG;
    if (job->strict) {
        ls_err_set(&job->err, LS_ERR_POISON, 0, "line %llu: %s", (unsigned long long)line->number,
                   reason);
        return STEP_END;
    }
    if (ls_rejects_add(&job->rejects, line->number, reason, line->data, line->len, truncated,
                       &job->err) < 0)
        return STEP_END;
    ls_line_window_done(job->window, line->number, line->number);
    return STEP_ON;
}

/* Waits for Kafka as long as it takes: deliveries that time out end the job. */
static enum step take(struct ls_publish_job *job, const struct ls_line *line,
                      const struct ls_change *change)
{
    struct lockstep_error error = {0};
    keep_pace(job);
    while (!must_stop(job)) {
        void *opaque = (void *)(uintptr_t)line->number;
        switch (ls_publisher_take(job->publisher, job->entity, change, &job->wire, opaque, SLICE_MS,
                                  &error)) {
        case LOCKSTEP_OK:
            job->taken++;
            show_progress(job, false);
            return STEP_ON;
        case LOCKSTEP_WOULD_BLOCK:
            show_progress(job, true);
            continue;
        case LOCKSTEP_INVALID:
            return reject(job, line, error.text);
        case LOCKSTEP_SETUP:
        case LOCKSTEP_FAILED:
            ls_err_set(&job->err, LS_ERR_FATAL, 0, "line %llu: %s",
                       (unsigned long long)line->number, error.text);
            return STEP_END;
        }
    }
    return STEP_END;
}

static bool is_blank(const struct ls_line *line)
{
    for (size_t i = 0; i < line->len; i++) {
        if (line->data[i] != ' ' && line->data[i] != '\t')
            return false;
    }
    return true;
}

/* A byte order mark belongs to the file, not to its first line. */
static void skip_bom(struct ls_line *line)
{
    if (line->number == 1 && line->len >= 3 && memcmp(line->data, "\xef\xbb\xbf", 3) == 0) {
        line->data += 3;
        line->len -= 3;
    }
}

static enum step handle(struct ls_publish_job *job, const struct ls_line *line, uint64_t last)
{
    if (last - line->number >= RECORD_LINES_MAX)
        return reject(job, line, "more than 65,536 line breaks inside quotes");
    if (line->kind == LS_LINE_TOO_LONG)
        return reject(job, line, "longer than 8 MiB: only its beginning is kept here");
    if (line->kind == LS_LINE_BAD_QUOTES)
        return reject(job, line,
                      "quotes are broken: one is not closed, or text follows a closing one");
    if (is_blank(line)) {
        ls_line_window_done(job->window, line->number, line->number);
        return STEP_ON;
    }
    struct ls_err err = {0};
    struct ls_change change;
    int result = job->csv ? ls_csv_parse(&job->table, line->data, line->len, &change, &err)
                          : ls_ndjson_parse(&job->ndjson, line->data, line->len, &change, &err);
    return result < 0 ? reject(job, line, err.text) : take(job, line, &change);
}

/* Reads the header of a CSV file. */
static enum step read_header(struct ls_publish_job *job)
{
    struct ls_line line;
    if (ls_lines_next(&job->lines, &line, &job->err) < 0)
        return STEP_END;
    skip_bom(&line);
    if (line.kind == LS_LINE_END) {
        ls_err_set(&job->err, LS_ERR_FATAL, 0, "the input is empty: CSV begins with a header");
        return STEP_END;
    }
    if (line.kind != LS_LINE_TEXT) {
        ls_err_set(&job->err, LS_ERR_FATAL, 0, "header: too long, or its quotes are broken");
        return STEP_END;
    }
    if (ls_csv_header(&job->table, line.data, line.len, &job->err) < 0)
        return STEP_END;
    return STEP_ON;
}

/* Until the window takes the lines of this record; a huge one only when all before it are done. */
static void wait_for_room(struct ls_publish_job *job, uint64_t first, uint64_t last)
{
    bool huge = last - first >= RECORD_LINES_MAX;
    while (!must_stop(job)) {
        if (huge ? ls_line_window_low(job->window) == first
                 : ls_line_window_has_room(job->window, last))
            return;
        sleep_us(1000);
        show_progress(job, true);
    }
}

/* An earlier run names at most the line after the last: beyond that it is another file. */
static void check_reached(struct ls_publish_job *job)
{
    uint64_t lines = job->lines.next_line - 1;
    if (job->from_line > lines + 1)
        ls_err_set(&job->err, LS_ERR_FATAL, 0,
                   "--from-line %llu: the input ends with line %llu; is it the same file?",
                   (unsigned long long)job->from_line, (unsigned long long)lines);
}

static void read_all(struct ls_publish_job *job)
{
    struct ls_line line;
    uint64_t next = job->from_line;
    if (job->csv && read_header(job) == STEP_END)
        return;
    while (!must_stop(job)) {
        if (ls_lines_next(&job->lines, &line, &job->err) < 0 || line.kind == LS_LINE_STOPPED)
            return;
        if (line.kind == LS_LINE_END) {
            check_reached(job);
            return;
        }
        if (line.number < job->from_line)
            continue;
        /* the header, or the rest of a record that began before from_line */
        if (line.number > next)
            ls_line_window_done(job->window, next, line.number - 1);
        uint64_t last = job->lines.next_line - 1;
        next = last + 1;
        wait_for_room(job, line.number, last);
        if (must_stop(job))
            return;
        skip_bom(&line);
        if (handle(job, &line, last) == STEP_END)
            return;
        job->lines_read += last - line.number + 1;
        /* The lines that a record goes on over are done; its first line is when the record is. */
        if (last > line.number)
            ls_line_window_done(job->window, line.number + 1, last);
    }
}

static bool wait_ready(struct ls_publish_job *job)
{
    struct lockstep_error error = {0};
    bool said = false;
    int64_t start_ms = ls_mono_ms();
    while (!ls_cli_stop) {
        enum lockstep_code code =
            ls_publisher_entity_ready(job->publisher, job->entity, SLICE_MS, &error);
        if (code == LOCKSTEP_OK)
            return true;
        int64_t waited_ms = ls_mono_ms() - start_ms;
        if (code != LOCKSTEP_WOULD_BLOCK || waited_ms > job->publisher->delivery_timeout_ms) {
            ls_err_set(&job->err, LS_ERR_FATAL, 0, "%s", error.text);
            return false;
        }
        if (!said && waited_ms > 2000)
            ls_cli_error("waiting: %s", error.text);
        said |= waited_ms > 2000;
    }
    return false;
}

/* Waits for the deliveries: all of them, or for a while when the job is to end. */
static void flush(struct ls_publish_job *job, int64_t ending_ms)
{
    int64_t deadline_ms = INT64_MAX;
    while (lockstep_publisher_flush(job->publisher, SLICE_MS, NULL, NULL) != LOCKSTEP_OK) {
        show_progress(job, true);
        if (must_stop(job) && deadline_ms == INT64_MAX)
            deadline_ms = ls_mono_ms() + ending_ms;
        if (ls_mono_ms() >= deadline_ms)
            break;
    }
}

static enum ls_publish_end judge(struct ls_publish_job *job)
{
    if (job->err.class == LS_ERR_NONE)
        job->err = job->delivery_err;
    if (job->err.class == LS_ERR_POISON)
        return LS_PUBLISH_REFUSED;
    if (ls_cli_stop)
        return LS_PUBLISH_INTERRUPTED;
    return job->err.class == LS_ERR_NONE ? LS_PUBLISH_DONE : LS_PUBLISH_FAILED;
}

enum ls_publish_end ls_publish_job_run(struct ls_publish_job *job)
{
    job->start_us = ls_mono_us();
    job->window = ls_line_window_new(job->from_line);
    ls_lines_open(&job->lines, job->fd, job->csv, &ls_cli_stop);
    ls_ndjson_open(&job->ndjson, job->entity->schema);
    ls_csv_open(&job->table, job->entity->schema);
    ls_progress_start(&job->progress, "publish", 0, false);
    if (wait_ready(job)) {
        read_all(job);
        flush(job, ls_cli_stop ? STOP_FLUSH_MS : FAILED_FLUSH_MS);
    }
    lockstep_publisher_close(job->publisher, 0);
    ls_progress_end(&job->progress);
    struct ls_err err = {0};
    if (ls_rejects_close(&job->rejects, &err) < 0 && job->err.class == LS_ERR_NONE)
        job->err = err;
    job->resume_line = ls_line_window_low(job->window);
    ls_line_window_free(job->window);
    ls_lines_free(&job->lines);
    ls_ndjson_free(&job->ndjson);
    ls_csv_free(&job->table);
    ls_buf_free(&job->wire);
    return judge(job);
}
