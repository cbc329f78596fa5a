/*
 * The Elasticsearch lane: units become bulk requests, several in flight, and every item of a reply
 * becomes the verdict of its record.
 *
 * One thread, one event loop over libcurl's multi interface and the lane's eventfd. A unit is
 * usually one request; it is more where its documents pass bulk_bytes, or where the server finds a
 * request too large (then it is halved until it fits). A whole request that fails (outage, timeout,
 * 429, a reply that is cut) gives RETRY to its records alone: they are guarded, so sending again
 * what had arrived is only STALE. A crash likewise.
 * A thread per request was rejected: the work between requests is encoding, and one core does that
 * faster than Elasticsearch takes it.
 */
#include "consumers/es_apply.h"

#include <stdlib.h>

#include "base/mem.h"
#include "pipeline/es_errors.h"

enum { IDLE_POLL_MS = 1000 };

void ls_es_lane_failed(struct es_lane *lane)
{
    lane->n_failed++;
    lane->answered = false;
}

bool ls_es_lane_in_doubt(const struct es_lane *lane)
{
    return lane->n_failed != lane->n_compared;
}

static void push_range(struct es_job *job, uint32_t begin, uint32_t end)
{
    if (begin >= end)
        return;
    if (job->n_ranges == job->cap_ranges) {
        job->cap_ranges = job->cap_ranges ? 2 * job->cap_ranges : 4;
        job->ranges = ls_realloc(job->ranges, job->cap_ranges * sizeof(*job->ranges));
    }
    job->ranges[job->n_ranges++] = (struct es_range){begin, end};
}

static void take_unit(struct es_lane *lane, struct ls_unit *unit)
{
    struct es_job *job = ls_calloc(1, sizeof(*job));
    job->unit = unit;
    push_range(job, 0, unit->n_records);
    unit->marks_written = false;
    job->marks_open = unit->n_marks > 0;
    *lane->newest = job;
    lane->newest = &job->next;
}

static void note(struct ls_err *worst, const struct ls_err *err)
{
    if (err->class > worst->class)
        *worst = *err;
}

/* Why a request of a job failed: what was not sent yet would fare no better now. */
static void fail_job(struct es_job *job, const struct ls_err *err)
{
    note(&job->err, err);
    job->n_ranges = 0;
}

/* Encodes pending records from the job's top range until the request is full; false if none. */
static bool encode_bulk(struct es_lane *lane, struct es_job *job, struct es_bulk *bulk)
{
    struct es_range range = job->ranges[--job->n_ranges];
    uint32_t at = range.begin;
    ls_buf_clear(&bulk->body);
    bulk->n_rows = 0;
    if (bulk->cap_rows < range.end - range.begin) {
        bulk->cap_rows = range.end - range.begin;
        bulk->rows = ls_realloc(bulk->rows, bulk->cap_rows * sizeof(*bulk->rows));
        bulk->items = ls_realloc(bulk->items, bulk->cap_rows * sizeof(*bulk->items));
    }
    for (; at < range.end && (bulk->n_rows == 0 || bulk->body.len < lane->bulk_bytes); at++) {
        const struct ls_record *record = job->unit->records[at];
        if (record->verdict != LS_PENDING)
            continue;
        ls_es_encode(lane->sink->encoder, record, job->unit->repair, &bulk->body);
        bulk->rows[bulk->n_rows++] = at;
    }
    push_range(job, at, range.end);
    return bulk->n_rows > 0;
}

static struct es_bulk *free_bulk(struct es_lane *lane)
{
    for (unsigned i = 0; i < lane->n_bulks; i++)
        if (lane->bulks[i].job == NULL)
            return &lane->bulks[i];
    return NULL;
}

static void start_bulks(struct es_lane *lane)
{
    for (struct es_job *job = lane->oldest; job != NULL; job = job->next) {
        while (job->n_ranges > 0) {
            struct es_bulk *bulk = free_bulk(lane);
            if (bulk == NULL)
                return;
            if (!encode_bulk(lane, job, bulk))
                continue;
            bulk->job = job;
            job->n_out++;
            lane->n_busy++;
            ls_es_call_start(bulk->call, lane->bulk_path, bulk->body.data, bulk->body.len);
        }
    }
}

static void judge_item(struct es_lane *lane, struct ls_unit *unit, struct ls_record *record,
                       const struct ls_es_item *item)
{
    struct ls_es_judgement judged = ls_es_judge(item->status, item->type.data, item->type.len);
    if (judged.class == LS_ERR_NONE) {
        record->verdict = (uint8_t)judged.verdict;
        return;
    }
    struct ls_err err;
    ls_err_set(&err, judged.class, item->status, "index %s: %.*s: %.*s%s",
               lane->sink->config->index, (int)item->type.len,
               item->type.len > 0 ? item->type.data : "", (int)item->reason.len,
               item->reason.len > 0 ? item->reason.data : "", judged.advice);
    err.overload = judged.overload;
    ls_err_name(&err, item->type.data, item->type.len);
    if (judged.verdict == LS_POISON) {
        ls_unit_poison(unit, record, item->status, err.text);
        return;
    }
    record->verdict = (uint8_t)judged.verdict;
    ls_unit_note(unit, &err);
}

/* The server, or our own bound, finds the request too large: smaller ones from now on. */
static void halve(struct es_lane *lane, struct es_bulk *bulk, const struct ls_err *err)
{
    struct es_job *job = bulk->job;
    if (bulk->n_rows == 1) {
        struct ls_record *record = job->unit->records[bulk->rows[0]];
        ls_unit_poison(job->unit, record, err->code, err->text);
        return;
    }
    uint32_t middle = bulk->rows[bulk->n_rows / 2];
    push_range(job, middle, bulk->rows[bulk->n_rows - 1] + 1);
    push_range(job, bulk->rows[0], middle);
    size_t smaller = bulk->body.len / 2;
    if (smaller < lane->bulk_bytes)
        lane->bulk_bytes = smaller > LS_ES_BULK_BYTES_MIN ? smaller : LS_ES_BULK_BYTES_MIN;
}

/* A whole answer, item by item. */
static void judge_items(struct es_lane *lane, struct es_bulk *bulk)
{
    struct ls_unit *unit = bulk->job->unit;
    bool failed = false;
    for (uint32_t i = 0; i < bulk->n_rows; i++) {
        judge_item(lane, unit, unit->records[bulk->rows[i]], &bulk->items[i]);
        failed = failed || bulk->items[i].status >= 500;
    }
    lane->answered = true;
    if (failed)
        ls_es_lane_failed(lane);
}

static void settle_bulk(struct es_lane *lane, struct es_bulk *bulk)
{
    struct es_job *job = bulk->job;
    struct ls_err err = {0};
    struct ls_span reply;
    long status = 0;
    enum ls_es_outcome outcome = ls_es_call_outcome(bulk->call, &status, &reply, &err);
    if (outcome == LS_ES_ANSWERED && status == 413) {
        ls_err_set(&err, LS_ERR_POISON, 413,
                   "the document is larger than http.max_content_length of the server");
        outcome = LS_ES_TOO_LARGE;
    }
    if (outcome == LS_ES_TOO_LARGE) {
        halve(lane, bulk, &err);
        return;
    }
    if (outcome == LS_ES_ANSWERED && (status < 200 || status > 299)) {
        ls_es_reply_err(&err, status, reply.data, reply.len);
        ls_err_prefix(&err, "index %s", lane->sink->config->index);
    } else if (outcome == LS_ES_ANSWERED &&
               ls_es_reply_read(reply.data, reply.len, bulk->items, bulk->n_rows, &err) == 0) {
        judge_items(lane, bulk);
        return;
    }
    if (status < 300 || status >= 500)
        ls_es_lane_failed(lane);
    fail_job(job, &err);
}

static void finish_calls(struct es_lane *lane)
{
    struct ls_es_call *call;
    while ((call = ls_es_finished(lane->client)) != NULL) {
        if (ls_es_lane_marks_finish(lane->marks, call) || ls_es_lane_look_finish(lane->look, call))
            continue;
        struct es_bulk *bulk = ls_es_call_owner(call);
        settle_bulk(lane, bulk);
        bulk->job->n_out--;
        bulk->job = NULL;
        lane->n_busy--;
    }
}

/* Gives back the units that are done, whatever their order. */
static void complete_jobs(struct es_lane *lane)
{
    for (struct es_job **link = &lane->oldest; *link != NULL;) {
        struct es_job *job = *link;
        if (job->n_ranges > 0 || job->n_out > 0 || job->marks_open) {
            link = &job->next;
            continue;
        }
        *link = job->next;
        if (job->err.class != LS_ERR_NONE)
            ls_unit_fail(job->unit, &job->err);
        ls_lane_complete(lane->lane, job->unit);
        free(job->ranges);
        free(job);
    }
    lane->newest = &lane->oldest;
    while (*lane->newest != NULL)
        lane->newest = &(*lane->newest)->next;
}

static void open_lane(struct es_lane *lane, const struct es_sink *sink, struct ls_lane *handle)
{
    const struct ls_sink_config *config = sink->config;
    *lane = (struct es_lane){.sink = sink, .lane = handle, .bulk_bytes = config->bulk_bytes};
    lane->newest = &lane->oldest;
    struct ls_err err;
    if (ls_es_client_new(config, &lane->client, &err) != 0)
        abort(); /* es_open made one from the same configuration */
    /* The server gives up before we do, so that its reason arrives. */
    uint32_t timeout_ms = config->request_timeout_ms - config->request_timeout_ms / 4;
    lane->bulk_path = ls_asprintf("/%s/_bulk?timeout=%ums&" LS_ES_BULK_FILTER, config->index,
                                  timeout_ms > 0 ? timeout_ms : 1);
    lane->n_bulks = config->requests_in_flight;
    if (lane->n_bulks < 1)
        lane->n_bulks = 1;
    if (lane->n_bulks > LS_ES_REQUESTS_MAX)
        lane->n_bulks = LS_ES_REQUESTS_MAX;
    for (unsigned i = 0; i < lane->n_bulks; i++)
        lane->bulks[i].call = ls_es_call_new(lane->client, &lane->bulks[i]);
    lane->marks = ls_es_lane_marks_new(lane);
    lane->look = ls_es_lane_look_new(lane);
}

static void close_lane(struct es_lane *lane)
{
    ls_es_lane_marks_free(lane->marks);
    ls_es_lane_look_free(lane->look);
    ls_es_incarnation_free(&lane->incarnation);
    for (unsigned i = 0; i < lane->n_bulks; i++) {
        ls_es_call_free(lane->bulks[i].call);
        ls_buf_free(&lane->bulks[i].body);
        free(lane->bulks[i].items);
        free(lane->bulks[i].rows);
    }
    ls_es_client_free(lane->client);
    free(lane->bulk_path);
    free(lane);
}

/* Takes units while there is room; looks need none. */
static void take_units(struct es_lane *lane)
{
    struct ls_unit *unit;
    while (lane->n_busy < lane->n_bulks && (unit = ls_lane_take(lane->lane, 0)) != NULL) {
        if (unit->look != NULL)
            ls_es_lane_look_add(lane->look, unit);
        else
            take_unit(lane, unit);
        start_bulks(lane);
    }
}

/* The lane is closing: what is not sent is given back. */
static void drop_unsent(struct es_lane *lane)
{
    struct ls_err err;
    ls_err_set(&err, LS_ERR_RETRY, 0, "not sent: the sink is closing");
    for (struct es_job *job = lane->oldest; job != NULL; job = job->next)
        if (job->n_ranges > 0)
            fail_job(job, &err);
    ls_es_lane_look_drop(lane->look);
    if (ls_es_lane_in_doubt(lane))
        ls_es_lane_marks_drop(lane->marks, &err);
}

void ls_es_run_lane(struct ls_sink *sink, unsigned lane_index, struct ls_lane *handle)
{
    struct es_lane *lane = ls_malloc(sizeof(*lane));
    open_lane(lane, (const struct es_sink *)sink, handle);
    for (;;) {
        bool closing = ls_lane_closing(handle);
        if (closing)
            drop_unsent(lane);
        else
            take_units(lane);
        start_bulks(lane);
        if (!closing)
            ls_es_lane_look_serve(lane->look);
        ls_es_lane_marks_start(lane->marks);
        complete_jobs(lane);
        if (closing && lane->oldest == NULL)
            break;
        /* The eventfd is readable while units wait: not to be polled when none can be taken. */
        bool may_take = !closing && lane->n_busy < lane->n_bulks;
        ls_es_poll(lane->client, may_take ? ls_lane_fd(handle) : -1, IDLE_POLL_MS);
        finish_calls(lane);
        complete_jobs(lane);
    }
    close_lane(lane);
}
