/*
 * Marks of an Elasticsearch lane: beside the bulks of records, at most one request at a time, in
 * which the marks of all waiting units go together, the newest of each partition.
 *
 * Each is guarded by the sequence number that this lane saw last (es_marks.h says why). A round is:
 * ask for the marks that are not known, write those that are older than wanted, and where a write
 * found another mark than expected, once more from the start. A mark that is gone, of another log,
 * or older than this lane has seen it means that the index went back in time: that is FATAL, so
 * that the sink starts again from what the index now says. A crash in between loses nothing: a mark
 * that was not written is only older than it could be.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "consumers/es_apply.h"
#include "pipeline/es_errors.h"

enum { ROUND_TRIES_MAX = 5 };

struct known_mark {
    struct ls_es_mark mark;
    bool known;            /* mark is what the index held when we last heard of it */
    uint64_t seen_version; /* newest version seen or written in this lane's life */
};

struct es_lane_marks {
    struct es_lane *lane;
    struct ls_es_call *call;
    enum { IDLE, ASKING, WRITING } state;
    unsigned tries;
    size_t n_partitions;
    struct known_mark *known; /* by partition */
    struct ls_mark *wanted;   /* by partition, of the running round; genesis "": none */
    struct ls_es_mark *sent;  /* the running request's, in its order */
    enum ls_es_mark_result *results;
    size_t n_sent;
    struct ls_buf body;
    char *ask_path, *write_path;
};

struct es_lane_marks *ls_es_lane_marks_new(struct es_lane *lane)
{
    const struct ls_sink_config *config = lane->sink->config;
    struct es_lane_marks *marks = ls_calloc(1, sizeof(*marks));
    marks->lane = lane;
    marks->call = ls_es_call_new(lane->client, NULL);
    marks->n_partitions = (size_t)config->entity->partitions;
    marks->known = ls_calloc(marks->n_partitions, sizeof(*marks->known));
    marks->wanted = ls_calloc(marks->n_partitions, sizeof(*marks->wanted));
    marks->sent = ls_calloc(marks->n_partitions, sizeof(*marks->sent));
    marks->results = ls_calloc(marks->n_partitions, sizeof(*marks->results));
    marks->ask_path = ls_asprintf("/%s/_mget", config->index);
    marks->write_path = ls_asprintf("/%s/_bulk?" LS_ES_MARKS_FILTER, config->index);
    return marks;
}

void ls_es_lane_marks_free(struct es_lane_marks *marks)
{
    if (marks == NULL)
        return;
    ls_es_call_free(marks->call);
    free(marks->known);
    free(marks->wanted);
    free(marks->sent);
    free(marks->results);
    ls_buf_free(&marks->body);
    free(marks->ask_path);
    free(marks->write_path);
    free(marks);
}

/* Whether the index is known to hold this mark or a newer one. */
static bool is_held(const struct es_lane_marks *marks, const struct ls_mark *mark)
{
    const struct known_mark *known = &marks->known[mark->partition];
    return known->known && known->mark.mark.version >= mark->version;
}

static void end_round(struct es_lane_marks *marks, const struct ls_err *err)
{
    marks->state = IDLE;
    for (struct es_job *job = marks->lane->oldest; job != NULL; job = job->next) {
        if (!job->marks_asked)
            continue;
        job->marks_asked = false;
        job->marks_open = false;
        job->unit->marks_written = true;
        for (uint32_t i = 0; i < job->unit->n_marks; i++)
            if (!is_held(marks, &job->unit->marks[i]))
                job->unit->marks_written = false;
        if (!job->unit->marks_written)
            ls_unit_note(job->unit, err);
    }
}

/* Asks for the wanted marks that are not known; false when all are. */
static bool ask_unknown(struct es_lane_marks *marks)
{
    marks->n_sent = 0;
    for (size_t i = 0; i < marks->n_partitions; i++)
        if (marks->wanted[i].genesis[0] != '\0' && !marks->known[i].known)
            marks->sent[marks->n_sent++].mark.partition = (int32_t)i;
    if (marks->n_sent == 0)
        return false;
    ls_buf_clear(&marks->body);
    ls_es_marks_ask(marks->sent, marks->n_sent, &marks->body);
    marks->state = ASKING;
    ls_es_call_start(marks->call, marks->ask_path, marks->body.data, marks->body.len);
    return true;
}

/* Writes the wanted marks that the index is behind of; false when it holds them all. */
static bool write_older(struct es_lane_marks *marks)
{
    marks->n_sent = 0;
    ls_buf_clear(&marks->body);
    for (size_t i = 0; i < marks->n_partitions; i++) {
        const struct ls_mark *wanted = &marks->wanted[i];
        if (wanted->genesis[0] == '\0' || is_held(marks, wanted))
            continue;
        ls_es_marks_write(wanted, &marks->known[i].mark, &marks->body);
        marks->sent[marks->n_sent++].mark = *wanted;
    }
    if (marks->n_sent == 0)
        return false;
    marks->state = WRITING;
    ls_es_call_start(marks->call, marks->write_path, marks->body.data, marks->body.len);
    return true;
}

static void step(struct es_lane_marks *marks)
{
    struct ls_err err = {0};
    if (++marks->tries > 2 * ROUND_TRIES_MAX) {
        ls_err_set(&err, LS_ERR_RETRY, 409, "marks in index %s are being moved by another writer",
                   marks->lane->sink->config->index);
        end_round(marks, &err);
    } else if (!ask_unknown(marks) && !write_older(marks)) {
        end_round(marks, &err);
    }
}

void ls_es_lane_marks_start(struct es_lane_marks *marks)
{
    if (marks->state != IDLE)
        return;
    bool any = false;
    for (struct es_job *job = marks->lane->oldest; job != NULL; job = job->next) {
        if (!job->marks_open)
            continue;
        if (!any)
            memset(marks->wanted, 0, marks->n_partitions * sizeof(*marks->wanted));
        any = true;
        job->marks_asked = true;
        for (uint32_t i = 0; i < job->unit->n_marks; i++) {
            const struct ls_mark *mark = &job->unit->marks[i];
            struct ls_mark *wanted = &marks->wanted[mark->partition];
            if (wanted->genesis[0] == '\0' || mark->version > wanted->version)
                *wanted = *mark;
        }
    }
    marks->tries = 0;
    if (any)
        step(marks);
}

/* What the index answered for one mark: is it the one that this lane left there, or a later one? */
static int adopt(struct es_lane_marks *marks, const struct ls_es_mark *held, struct ls_err *err)
{
    int32_t partition = held->mark.partition;
    struct known_mark *known = &marks->known[partition];
    const char *index = marks->lane->sink->config->index;
    const char *wanted_genesis = marks->wanted[partition].genesis;
    uint64_t seen_version = known->seen_version;
    known->seen_version = 0; /* said once; then the sink starts from what is there */
    if (held->mark.genesis[0] == '\0')
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "index %s has no mark of partition %d: was it emptied or restored? the "
                          "sink has to start again from what the index holds",
                          index, partition);
    if (strcmp(held->mark.genesis, wanted_genesis) != 0)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "index %s follows log %s in partition %d, and this worker reads log %s; "
                          "`lockstep resync` fills it from this log",
                          index, held->mark.genesis, partition, wanted_genesis);
    if (held->mark.version < seen_version)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "the mark of partition %d in index %s went back from version %llu to "
                          "%llu: was the index restored or reset? the sink has to start again from "
                          "there",
                          partition, index, (unsigned long long)seen_version,
                          (unsigned long long)held->mark.version);
    known->mark = *held;
    known->known = true;
    known->seen_version = held->mark.version;
    return 0;
}

static int take_answer(struct es_lane_marks *marks, struct ls_span reply, struct ls_err *err)
{
    if (ls_es_marks_read(reply.data, reply.len, marks->sent, marks->n_sent, err) != 0)
        return -1;
    int rc = 0;
    for (size_t i = 0; i < marks->n_sent; i++)
        if (adopt(marks, &marks->sent[i], err) != 0)
            rc = -1;
    return rc;
}

static int take_written(struct es_lane_marks *marks, struct ls_span reply, struct ls_err *err)
{
    int rc =
        ls_es_marks_written(reply.data, reply.len, marks->sent, marks->results, marks->n_sent, err);
    for (size_t i = 0; i < marks->n_sent; i++) {
        struct known_mark *known = &marks->known[marks->sent[i].mark.partition];
        if (rc == 0 && marks->results[i] == LS_ES_MARK_WRITTEN) {
            known->mark = marks->sent[i];
            known->seen_version = marks->sent[i].mark.version;
        } else {
            known->known = false;
        }
    }
    for (size_t i = 0; rc == 0 && i < marks->n_sent; i++)
        if (marks->results[i] == LS_ES_MARK_FAILED)
            return -1;
    return rc;
}

bool ls_es_lane_marks_finish(struct es_lane_marks *marks, struct ls_es_call *call)
{
    if (call != marks->call)
        return false;
    struct ls_err err = {0};
    struct ls_span reply;
    long status = 0;
    int rc = -1;
    if (ls_es_call_outcome(call, &status, &reply, &err) == LS_ES_ANSWERED) {
        if (status < 200 || status > 299)
            ls_es_reply_err(&err, status, reply.data, reply.len);
        else
            rc = marks->state == ASKING ? take_answer(marks, reply, &err)
                                        : take_written(marks, reply, &err);
    }
    if (rc == 0) {
        step(marks);
        return true;
    }
    /* After a failed write nobody knows what is there. */
    for (size_t i = 0; marks->state == WRITING && i < marks->n_sent; i++)
        if (err.class != LS_ERR_NONE && !is_held(marks, &marks->sent[i].mark))
            marks->known[marks->sent[i].mark.partition].known = false;
    if (err.class == LS_ERR_FATAL || err.class == LS_ERR_UNKNOWN || err.class == LS_ERR_RETRY)
        ls_err_prefix(&err, "marks");
    end_round(marks, &err);
    return true;
}
