/*
 * Marks of an Elasticsearch lane: written beside the bulks of records, a unit's at a time.
 *
 * Each mark is written only where the index still holds the one that this lane saw last, by a look
 * or by its own writing (es_marks.h). Where it holds another one, or nobody knows what it holds
 * (a write that was not answered), the marks were unexpected, and the instance looks. Nothing is
 * written while the index is in doubt, and each mark names the data that the lane saw (`_home`), so
 * that even a mark that is written just when a shard loses its data covers nothing that is gone.
 * A crash in between loses nothing: a mark that was not written is only older than it could be.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "consumers/es_apply.h"
#include "pipeline/es_errors.h"

struct seen_mark {
    struct ls_es_mark mark;
    bool seen; /* mark is what the index held when this lane last heard of it */
};

struct es_lane_marks {
    struct es_lane *lane;
    struct ls_es_call *call;
    struct es_job *job; /* whose marks are being written; NULL: none */
    size_t n_partitions;
    struct seen_mark *seen;  /* by partition */
    struct ls_es_mark *sent; /* the running request's */
    enum ls_es_mark_result *results;
    struct ls_buf body;
    char *path;
};

struct es_lane_marks *ls_es_lane_marks_new(struct es_lane *lane)
{
    const struct ls_sink_config *config = lane->sink->config;
    struct es_lane_marks *marks = ls_calloc(1, sizeof(*marks));
    marks->lane = lane;
    marks->call = ls_es_call_new(lane->client, NULL);
    marks->n_partitions = (size_t)config->entity->partitions;
    marks->seen = ls_calloc(marks->n_partitions, sizeof(*marks->seen));
    marks->sent = ls_calloc(marks->n_partitions, sizeof(*marks->sent));
    marks->results = ls_calloc(marks->n_partitions, sizeof(*marks->results));
    marks->path = ls_asprintf("/%s/_bulk?" LS_ES_MARKS_FILTER, config->index);
    return marks;
}

void ls_es_lane_marks_free(struct es_lane_marks *marks)
{
    if (marks == NULL)
        return;
    ls_es_call_free(marks->call);
    free(marks->seen);
    free(marks->sent);
    free(marks->results);
    ls_buf_free(&marks->body);
    free(marks->path);
    free(marks);
}

bool ls_es_lane_marks_writing(const struct es_lane_marks *marks)
{
    return marks->job != NULL;
}

bool ls_es_lane_marks_waiting(const struct es_lane_marks *marks)
{
    for (const struct es_job *job = marks->lane->oldest; job != NULL; job = job->next)
        if (job->marks_open && job != marks->job)
            return true;
    return false;
}

void ls_es_lane_marks_saw(struct es_lane_marks *marks, const struct ls_es_mark *held, size_t n)
{
    for (size_t i = 0; i < n; i++)
        marks->seen[held[i].mark.partition] = (struct seen_mark){.mark = held[i], .seen = true};
}

void ls_es_lane_marks_forget(struct es_lane_marks *marks)
{
    for (size_t i = 0; i < marks->n_partitions; i++)
        marks->seen[i].seen = false;
}

void ls_es_lane_marks_drop(struct es_lane_marks *marks, const struct ls_err *why)
{
    for (struct es_job *job = marks->lane->oldest; job != NULL; job = job->next) {
        if (!job->marks_open || job == marks->job)
            continue;
        job->marks_open = false;
        ls_unit_note(job->unit, why);
    }
}

static bool all_seen(const struct es_lane_marks *marks, const struct ls_unit *unit)
{
    for (uint32_t i = 0; i < unit->n_marks; i++)
        if (!marks->seen[unit->marks[i].partition].seen)
            return false;
    return true;
}

static void write_marks(struct es_lane_marks *marks, struct es_job *job)
{
    const struct ls_unit *unit = job->unit;
    ls_buf_clear(&marks->body);
    for (uint32_t i = 0; i < unit->n_marks; i++) {
        const struct ls_mark *mark = &unit->marks[i];
        ls_es_marks_write(mark, marks->lane->incarnation.home, &marks->seen[mark->partition].mark,
                          &marks->body);
        marks->sent[i] = (struct ls_es_mark){.mark = *mark};
        memcpy(marks->sent[i].home, marks->lane->incarnation.home, sizeof(marks->sent[i].home));
    }
    marks->job = job;
    ls_es_call_start(marks->call, marks->path, marks->body.data, marks->body.len);
}

void ls_es_lane_marks_start(struct es_lane_marks *marks)
{
    struct es_lane *lane = marks->lane;
    for (struct es_job *job = lane->oldest; job != NULL && marks->job == NULL; job = job->next) {
        if (!job->marks_open)
            continue;
        if (!ls_lane_may_mark(lane->lane, job->unit)) {
            job->marks_open = false;
        } else if (!all_seen(marks, job->unit)) {
            job->marks_open = false;
            job->unit->marks_unexpected = true;
        } else if (!ls_es_lane_in_doubt(lane) && !ls_es_lane_look_reads_marks(lane->look)) {
            write_marks(marks, job);
        }
    }
}

/* What became of each mark of the request. */
static void take_results(struct es_lane_marks *marks, struct ls_unit *unit)
{
    unit->marks_written = true;
    for (uint32_t i = 0; i < unit->n_marks; i++) {
        struct seen_mark *seen = &marks->seen[unit->marks[i].partition];
        switch (marks->results[i]) {
        case LS_ES_MARK_WRITTEN:
            seen->mark = marks->sent[i];
            break;
        case LS_ES_MARK_UNEXPECTED:
            unit->marks_unexpected = true;
            unit->marks_written = seen->seen = false;
            break;
        case LS_ES_MARK_REFUSED:
            unit->marks_written = false;
            break;
        case LS_ES_MARK_FAILED:
            unit->marks_written = seen->seen = false;
            break;
        }
    }
}

/* Reads the answer to the running request; -1 when nothing is known of any mark. */
static int take_answer(struct es_lane_marks *marks, struct ls_unit *unit, struct ls_err *err)
{
    struct ls_span reply;
    long status = 0;
    if (ls_es_call_outcome(marks->call, &status, &reply, err) != LS_ES_ANSWERED)
        return -1;
    if (status < 200 || status > 299) {
        ls_es_reply_err(err, status, reply.data, reply.len);
        if (status >= 500)
            return -1;
        for (uint32_t i = 0; i < unit->n_marks; i++)
            marks->results[i] = LS_ES_MARK_REFUSED;
    } else if (ls_es_marks_written(reply.data, reply.len, marks->sent, marks->results,
                                   unit->n_marks, err) != 0) {
        return -1;
    }
    take_results(marks, unit);
    return 0;
}

bool ls_es_lane_marks_finish(struct es_lane_marks *marks, struct ls_es_call *call)
{
    if (call != marks->call)
        return false;
    struct ls_unit *unit = marks->job->unit;
    struct ls_err err = {0};
    if (take_answer(marks, unit, &err) != 0) {
        for (uint32_t i = 0; i < unit->n_marks; i++)
            marks->seen[unit->marks[i].partition].seen = false;
        ls_es_lane_failed(marks->lane);
    }
    if (err.class != LS_ERR_NONE) {
        ls_err_prefix(&err, "index %s: marks", marks->lane->sink->config->index);
        ls_unit_note(unit, &err);
    }
    marks->job->marks_open = false;
    marks->job = NULL;
    return true;
}
