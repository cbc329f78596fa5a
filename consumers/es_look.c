/*
 * Looks of an Elasticsearch lane (law 6), as requests beside the bulks, one at a time: the set-up
 * and whether there is data (where the look asks for that), which data the index holds, whether
 * readers see it, and the marks. The same questions as es_store.c's, by the same readers of the
 * answers; but a blocking handle was rejected, since a node that answers slowly would hold up the
 * bulks for as long.
 *
 * After an exchange that failed, the lane is in doubt: the same requests without a unit ask which
 * data the index holds, before any mark is written. Where it is other data than before, the
 * instance is told (ls_lane_unsure), whatever the marks say: a mark stands in one shard and does
 * not know what the others lost. A crash leaves nothing: looks only read.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "consumers/es_apply.h"
#include "consumers/es_setup.h"
#include "consumers/es_store.h"
#include "pipeline/es_errors.h"

enum { COMPARE_AGAIN_MS = 250 }; /* between two comparisons, of which the first failed */

enum step { SETTINGS, INDEX, REFRESH, COUNT, STATE, STATS, READERS, MARKS, STEPS };

static const struct {
    const char *method;
    const char *body; /* NULL: none; of MARKS, it is made anew */
} steps[STEPS] = {
    [SETTINGS] = {"GET", NULL}, [INDEX] = {"GET", NULL},
    [REFRESH] = {"POST", ""},   [COUNT] = {"POST", LS_ES_COUNT_DATA},
    [STATE] = {"GET", NULL},    [STATS] = {"GET", NULL},
    [READERS] = {"GET", NULL},  [MARKS] = {"POST", NULL},
};

struct es_lane_look {
    struct es_lane *lane;
    struct ls_es_call *call;
    bool running; /* a look, or a comparison after a failure */
    bool sent;    /* its step's request is out; else it waits until no mark is being written */
    enum step step;
    struct ls_unit *unit;    /* NULL: a comparison */
    struct ls_unit *waiting; /* looks that were taken meanwhile, linked by next */
    uint64_t n_failed;       /* the lane's, when it began */
    int64_t next_compare_ms; /* not before that: the last comparison failed */
    struct ls_es_setup setup;
    struct ls_es_incarnation now;
    struct ls_es_mark *held; /* room for every partition */
    struct ls_buf body;
    char *paths[STEPS];
};

struct es_lane_look *ls_es_lane_look_new(struct es_lane *lane)
{
    const struct ls_sink_config *config = lane->sink->config;
    struct es_lane_look *look = ls_calloc(1, sizeof(*look));
    look->lane = lane;
    look->call = ls_es_call_new(lane->client, NULL);
    look->held = ls_calloc((size_t)config->entity->partitions, sizeof(*look->held));
    look->paths[SETTINGS] = ls_strdup(LS_ES_SETUP_SETTINGS_PATH);
    look->paths[INDEX] = ls_es_setup_index_path(config);
    look->paths[REFRESH] = ls_asprintf("/%s" LS_ES_REFRESH_PATH, config->index);
    look->paths[COUNT] = ls_asprintf("/%s" LS_ES_COUNT_PATH, config->index);
    look->paths[STATE] = ls_es_incarnation_state_path(config->index);
    look->paths[STATS] = ls_es_incarnation_stats_path(config->index);
    look->paths[READERS] = ls_es_setup_readers_path(config);
    look->paths[MARKS] = ls_asprintf("/%s/_mget", config->index);
    return look;
}

void ls_es_lane_look_free(struct es_lane_look *look)
{
    if (look == NULL)
        return;
    ls_es_call_free(look->call);
    ls_es_setup_free(&look->setup);
    ls_es_incarnation_free(&look->now);
    for (size_t i = 0; i < STEPS; i++)
        free(look->paths[i]);
    free(look->held);
    ls_buf_free(&look->body);
    free(look);
}

void ls_es_lane_look_add(struct es_lane_look *look, struct ls_unit *unit)
{
    struct ls_unit **link = &look->waiting;
    while (*link != NULL)
        link = &(*link)->next;
    unit->next = NULL;
    *link = unit;
}

bool ls_es_lane_look_reads_marks(const struct es_lane_look *look)
{
    return look->running && look->sent && look->step == MARKS;
}

static void send(struct es_lane_look *look)
{
    const char *text = steps[look->step].body;
    ls_buf_clear(&look->body);
    if (look->step == MARKS)
        ls_es_marks_ask(look->held, look->unit->n_marks, &look->body);
    else if (text != NULL)
        ls_buf_append_str(&look->body, text);
    bool has_body = look->step == MARKS || text != NULL;
    look->sent = true;
    ls_es_call_send(look->call, steps[look->step].method, look->paths[look->step],
                    has_body ? ls_buf_cstr(&look->body) : NULL, look->body.len);
}

static void begin(struct es_lane_look *look, struct ls_unit *unit)
{
    look->running = true;
    look->sent = false;
    look->unit = unit;
    look->step = unit != NULL && unit->look->setup ? SETTINGS : STATE;
    look->n_failed = look->lane->n_failed;
}

/* err: class NONE when all went well. */
static void end(struct es_lane_look *look, const struct ls_err *err)
{
    struct ls_unit *unit = look->unit;
    look->running = look->sent = false;
    look->unit = NULL;
    ls_es_setup_free(&look->setup);
    ls_es_incarnation_free(&look->now);
    if (unit != NULL) {
        ls_unit_note(unit, err);
        ls_lane_complete(look->lane->lane, unit);
    } else if (err->class != LS_ERR_NONE) {
        look->next_compare_ms = ls_mono_ms() + COMPARE_AGAIN_MS;
        ls_es_lane_marks_drop(look->lane->marks, err);
    }
}

void ls_es_lane_look_serve(struct es_lane_look *look)
{
    struct es_lane *lane = look->lane;
    if (!look->running && look->waiting != NULL) {
        struct ls_unit *unit = look->waiting;
        look->waiting = unit->next;
        unit->next = NULL;
        begin(look, unit);
    } else if (!look->running && ls_es_lane_in_doubt(lane) &&
               ls_mono_ms() >= look->next_compare_ms &&
               (lane->answered || ls_es_lane_marks_waiting(lane->marks))) {
        begin(look, NULL);
    }
    /* A mark that is on its way may be read or not: then nobody would know which one is there. */
    if (look->running && !look->sent &&
        (look->step != MARKS || !ls_es_lane_marks_writing(lane->marks)))
        send(look);
}

void ls_es_lane_look_drop(struct es_lane_look *look)
{
    struct ls_err err;
    ls_err_set(&err, LS_ERR_RETRY, 0, "not looked at: the sink is closing");
    while (look->running || look->waiting != NULL) {
        if (look->running)
            end(look, &err);
        if (look->waiting != NULL) {
            struct ls_unit *unit = look->waiting;
            look->waiting = unit->next;
            begin(look, unit);
        }
    }
}

static int take_setup(struct es_lane_look *look, struct ls_span reply, struct ls_err *err)
{
    const struct ls_sink_config *config = look->lane->sink->config;
    json_t *root = json_loadb(reply.data, reply.len, 0, NULL);
    int rc = 0;
    if (!json_is_object(root)) {
        rc = ls_err_set(err, LS_ERR_RETRY, 0, "the answer about the set-up is cut or is not JSON");
    } else if (look->step == SETTINGS) {
        ls_es_setup_settings(&look->setup, config, root);
    } else {
        rc = ls_es_setup_index(&look->setup, config, root, err);
        if (rc == 0)
            rc = ls_es_setup_check(&look->setup, err);
    }
    json_decref(root);
    return rc;
}

/* The index was asked which data it holds: is it what this lane has written to so far? */
static void compare(struct es_lane_look *look)
{
    struct es_lane *lane = look->lane;
    char why[256];
    if (lane->incarnation.n_primaries > 0 &&
        !ls_es_incarnation_same(&lane->incarnation, &look->now, lane->sink->config->index, why,
                                sizeof(why))) {
        ls_es_lane_marks_forget(lane->marks);
        ls_lane_unsure(lane->lane, why);
    }
    ls_es_incarnation_free(&lane->incarnation);
    lane->incarnation = look->now;
    look->now = (struct ls_es_incarnation){0};
    lane->n_compared = look->n_failed;
    lane->answered = false;
}

/* Whether readers see the index: that stops nothing, since what is written to it stays right. */
static int take_readers(struct es_lane_look *look, struct ls_span reply, struct ls_err *err)
{
    char text[LS_LANE_WARNING_MAX];
    json_t *root = json_loadb(reply.data, reply.len, 0, NULL);
    if (!json_is_object(root)) {
        json_decref(root);
        return ls_err_set(err, LS_ERR_RETRY, 0, "the answer about its alias is cut or is not JSON");
    }
    bool wrong = ls_es_setup_readers(look->lane->sink->config, root, text, sizeof(text));
    json_decref(root);
    ls_lane_warn(look->lane->lane, wrong, text);
    return 0;
}

static int take_marks(struct es_lane_look *look, struct ls_span reply, struct ls_err *err)
{
    struct ls_unit *unit = look->unit;
    if (ls_es_marks_read(reply.data, reply.len, look->held, unit->n_marks, err) != 0)
        return -1;
    ls_es_lane_marks_saw(look->lane->marks, look->held, unit->n_marks);
    ls_es_marks_void(look->held, unit->n_marks, look->lane->incarnation.home);
    for (uint32_t i = 0; i < unit->n_marks; i++)
        unit->marks[i] = look->held[i].mark;
    return 0;
}

/* The answer to the step's request; -1 ends the look. */
static int take(struct es_lane_look *look, struct ls_span reply, struct ls_err *err)
{
    const char *index = look->lane->sink->config->index;
    uint64_t count = 0;
    switch (look->step) {
    case SETTINGS:
    case INDEX:
        return take_setup(look, reply, err);
    case COUNT:
        if (ls_es_count_read(reply.data, reply.len, &count, err) != 0)
            return -1;
        look->unit->look->has_data = count > 0;
        return 0;
    case STATE:
        return ls_es_incarnation_state(&look->now, index, reply.data, reply.len, err);
    case STATS:
        if (ls_es_incarnation_stats(&look->now, index, reply.data, reply.len, err) != 0)
            return -1;
        compare(look);
        return 0;
    case READERS:
        return take_readers(look, reply, err);
    case MARKS:
        return take_marks(look, reply, err);
    default:
        return 0;
    }
}

/* After a step; returns false when that was the last. */
static bool next_step(struct es_lane_look *look)
{
    if (look->step == MARKS || (look->unit == NULL && look->step == STATS))
        return false;
    look->step++;
    look->sent = false;
    if (look->step == MARKS)
        for (uint32_t i = 0; i < look->unit->n_marks; i++)
            look->held[i] =
                (struct ls_es_mark){.mark = {.partition = look->unit->marks[i].partition}};
    return true;
}

/*
 * Whether a step that was refused is left out: a sink that may write its index and not read aliases
 * does its work all the same. What readers see is not known then, so nothing is warned of; a node
 * that has too much to do (429) takes back nothing that was seen.
 */
static bool is_skipped(const struct es_lane_look *look, long status)
{
    if (look->step != READERS || status >= 500)
        return false;
    if (status == 401 || status == 403)
        ls_lane_warn(look->lane->lane, false, "");
    return true;
}

bool ls_es_lane_look_finish(struct es_lane_look *look, struct ls_es_call *call)
{
    if (call != look->call)
        return false;
    if (!look->running)
        return true; /* dropped meanwhile */
    struct ls_err err = {0};
    struct ls_span reply;
    long status = 0;
    int rc = -1;
    enum ls_es_outcome outcome = ls_es_call_outcome(call, &status, &reply, &err);
    bool told = status >= 200 && status <= 299;
    told |= status == 404 && look->step == READERS; /* no index has the alias */
    if (outcome == LS_ES_ANSWERED && !told && is_skipped(look, status))
        rc = 0;
    else if (outcome == LS_ES_ANSWERED && told)
        rc = take(look, reply, &err);
    else if (outcome == LS_ES_ANSWERED)
        ls_es_reply_err(&err, status, reply.data, reply.len);
    bool named =
        outcome == LS_ES_ANSWERED && look->step <= INDEX; /* the text says what it is about */
    if (rc != 0 && !named)
        ls_err_prefix(&err, "index %s", look->lane->sink->config->index);
    if (outcome != LS_ES_ANSWERED || status >= 500)
        ls_es_lane_failed(look->lane);
    if (rc != 0 || !next_step(look))
        end(look, &err);
    return true;
}
