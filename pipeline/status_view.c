/* Status as people and programs read it. Pure. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/progress.h"
#include "base/text.h"
#include "pipeline/status.h"
#include "pipeline/topics.h"

enum { TEXT_MAX = 40 }; /* names of sinks are shorter */

static void seconds_text(double seconds, const char *unknown, char *buf)
{
    if (seconds <= 0)
        snprintf(buf, TEXT_MAX, "%s", seconds < 0 ? unknown : "-");
    else if (seconds < 9.95)
        snprintf(buf, TEXT_MAX, "%.1f s", seconds);
    else
        ls_human_duration(seconds, buf, TEXT_MAX);
}

/* "0-3,6" */
static void print_ranges(const int32_t *numbers, size_t n, struct ls_buf *buf)
{
    const char *comma = "";
    for (size_t i = 0; i < n;) {
        size_t last = i;
        while (last + 1 < n && numbers[last + 1] == numbers[last] + 1)
            last++;
        ls_buf_printf(buf, "%s%d", comma, numbers[i]);
        if (last > i)
            ls_buf_printf(buf, "-%d", numbers[last]);
        comma = ",";
        i = last + 1;
    }
}

/* The partitions of one instance. */
static void print_partitions(const struct ls_heartbeat *beat, struct ls_buf *buf)
{
    LS_CLEANUP_FREE int32_t *numbers = ls_calloc(beat->n_partitions + 1, sizeof(*numbers));
    for (size_t i = 0; i < beat->n_partitions; i++)
        numbers[i] = beat->partitions[i].partition;
    print_ranges(numbers, beat->n_partitions, buf);
    if (beat->n_partitions == 0)
        ls_buf_append_str(buf, "none");
}

enum { COLUMNS = 11 };

/* Wide enough for what is usual, so that the columns of --watch stand still. */
static const struct {
    const char *name;
    int width;
} columns[COLUMNS] = {
    {"SINK", 4},        {"STATE", 9},   {"LAG", 7},          {"BEHIND", 8},
    {"ETA", 8},         {"RATE", 8},    {"APPLIED", 7},      {"STALE", 7},
    {"SUPERSEDED", 10}, {"RETRIED", 7}, {"QUARANTINED", 11},
};

struct row {
    char cell[COLUMNS][TEXT_MAX];
};

static void fill_row(const struct ls_status_sink *sink, struct row *row)
{
    static const enum ls_verdict verdicts[] = {LS_APPLIED, LS_STALE, LS_SUPERSEDED, LS_RETRY};
    enum { FIRST_COUNT = 6 };
    char text[TEXT_MAX];
    snprintf(row->cell[0], sizeof(row->cell[0]), "%s", sink->sink->name);
    snprintf(row->cell[1], sizeof(row->cell[1]), "%s", ls_sink_state_name(sink->state));
    ls_human_count((uint64_t)sink->lag, row->cell[2], sizeof(row->cell[2]));
    seconds_text(sink->behind_s, "?", row->cell[3]);
    seconds_text(sink->eta_s, "-", row->cell[4]);
    if (sink->n_instances > 0)
        ls_human_rate(sink->rate, row->cell[5], sizeof(row->cell[5]));
    else
        snprintf(row->cell[5], sizeof(row->cell[5]), "-");
    for (size_t i = 0; i < LS_COUNT(verdicts); i++)
        ls_human_count(sink->counts[verdicts[i]], row->cell[FIRST_COUNT + i], sizeof(row->cell[0]));
    snprintf(row->cell[COLUMNS - 1], sizeof(row->cell[0]), "%s%s",
             ls_human_count(sink->quarantined, text, sizeof(text)),
             sink->quarantined_more ? "+" : "");
}

static void print_row(const struct row *row, const int *widths, struct ls_buf *buf)
{
    /* Words stand to the left, numbers to the right. */
    ls_buf_printf(buf, "%-*s  %-*s", widths[0], row->cell[0], widths[1], row->cell[1]);
    for (int c = 2; c < COLUMNS; c++)
        ls_buf_printf(buf, "  %*s", widths[c], row->cell[c]);
    ls_buf_append_char(buf, '\n');
}

static void print_rows(const struct ls_status_sink *sinks, size_t n, struct ls_buf *buf)
{
    LS_CLEANUP_FREE struct row *rows = ls_calloc(n + 1, sizeof(*rows));
    int widths[COLUMNS];
    for (int c = 0; c < COLUMNS; c++)
        snprintf(rows[0].cell[c], sizeof(rows[0].cell[c]), "%s", columns[c].name);
    for (size_t i = 0; i < n; i++)
        fill_row(&sinks[i], &rows[i + 1]);
    for (int c = 0; c < COLUMNS; c++) {
        widths[c] = columns[c].width;
        for (size_t i = 0; i < n; i++)
            if ((int)strlen(rows[i + 1].cell[c]) > widths[c])
                widths[c] = (int)strlen(rows[i + 1].cell[c]);
    }
    for (size_t i = 0; i <= n; i++)
        print_row(&rows[i], widths, buf);
}

static void print_since(const struct ls_status_sink *sink, int64_t now_ms, struct ls_buf *buf)
{
    char ago[TEXT_MAX], at[TEXT_MAX];
    time_t seconds = (time_t)(sink->heard_ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    strftime(at, sizeof(at), "%Y-%m-%d %H:%M:%S UTC", &tm);
    ls_human_duration((double)(now_ms - sink->heard_ms) / 1e3, ago, sizeof(ago));
    ls_buf_printf(buf, "  %s: %s since %s (%s ago)%s\n", sink->sink->name,
                  ls_sink_state_name(sink->state), at, ago,
                  sink->state == LS_SINK_LOST ? "; its last instance fell silent" : "");
}

/* What a person has to know beside the numbers. */
static void print_text(const char *sink, const char *what, const char *text, struct ls_buf *buf)
{
    ls_buf_printf(buf, "  %s: %s", sink, what);
    ls_text_show(buf, text, strlen(text));
    ls_buf_append_char(buf, '\n');
}

/* "BEFORE3 min agoAFTER" into ret, which is returned; nothing of it where the time is not told. */
static const char *ago(const char *before, int64_t at_ms, int64_t now_ms, const char *after,
                       char ret[static TEXT_MAX * 2])
{
    char age[TEXT_MAX];
    ret[0] = '\0';
    if (at_ms == 0)
        return ret;
    int64_t age_ms = now_ms > at_ms ? now_ms - at_ms : 0;
    ls_human_duration((double)age_ms / 1e3, age, sizeof(age));
    snprintf(ret, (size_t)TEXT_MAX * 2, "%s%s ago%s", before, age, after);
    return ret;
}

/* What breaker and flow do, where it is not the ordinary. */
static void print_pressure(const struct ls_status_sink *sink, int64_t now_ms, struct ls_buf *buf)
{
    char limit[32], max[32], when[TEXT_MAX * 2];
    const char *name = sink->sink->name;
    bool broken = sink->breaker[0] != '\0' && strcmp(sink->breaker, "closed") != 0;
    if (broken)
        ls_buf_printf(buf, "  %s: breaker %s: %s (opened %" PRIu64 " time%s)\n", name,
                      strcmp(sink->breaker, "open") == 0 ? "open" : "half-open",
                      strcmp(sink->breaker, "open") == 0 ? "nothing is sent until the next probe"
                                                         : "a probe is with the store",
                      sink->openings, sink->openings == 1 ? "" : "s");
    /* A limit that is just below the most is what a busy store looks like. */
    if (sink->flow_max > 0 && sink->flow_limit <= sink->flow_max / 2)
        ls_buf_printf(buf, "  %s: the store's answers allow %s of %s records at once\n", name,
                      ls_human_count(sink->flow_limit, limit, sizeof(limit)),
                      ls_human_count(sink->flow_max, max, sizeof(max)));
    if (sink->rewinds > 0)
        ls_buf_printf(buf,
                      "  %s: the log was read again from the store's marks %" PRIu64 " time%s%s\n",
                      name, sink->rewinds, sink->rewinds == 1 ? "" : "s",
                      ago(", last ", sink->rewound_ms, now_ms, "", when));
}

/* What cannot be known, as no broker that holds it is there. */
static void print_leaderless(const struct ls_status_sink *sink, struct ls_buf *buf)
{
    char topic[LS_TOPIC_NAME_MAX];
    const char *name = sink->sink->name;
    ls_topic_state(sink->sink->entity, topic);
    if (sink->n_leaderless > 0) {
        bool one = sink->n_leaderless == 1;
        ls_buf_printf(buf, "  %s: partition%s ", name, one ? "" : "s");
        print_ranges(sink->leaderless, sink->n_leaderless, buf);
        ls_buf_printf(buf,
                      " of %s %s no leader: no broker that holds %s is there; the lag is that of "
                      "the others\n",
                      topic, one ? "has" : "have", one ? "it" : "them");
    }
    if (sink->unheard)
        ls_buf_printf(buf, "  %s: part of %s has no leader: what workers say may be missing\n",
                      name, LS_TOPIC_CONTROL);
}

static void print_notes(const struct ls_status_sink *sink, int64_t now_ms, struct ls_buf *buf)
{
    char when[TEXT_MAX * 2];
    const char *name = sink->sink->name;
    if (sink->state == LS_SINK_LOST || (sink->state == LS_SINK_STOPPED && sink->lag > 0))
        print_since(sink, now_ms, buf);
    if (sink->reason[0] != '\0')
        print_text(name, "", sink->reason, buf);
    if (sink->last_error[0] != '\0' && strcmp(sink->last_error, sink->reason) != 0)
        print_text(name,
                   sink->last_error_ms
                       ? ago("last error (", sink->last_error_ms, now_ms, "): ", when)
                       : "last error: ",
                   sink->last_error, buf);
    print_leaderless(sink, buf);
    print_pressure(sink, now_ms, buf);
    if (sink->state == LS_SINK_RUNNING && sink->unowned > 0)
        ls_buf_printf(buf, "  %s: %d partitions have no worker at the moment\n", name,
                      sink->unowned);
    if (sink->n_instances < 2)
        return;
    for (size_t i = 0; i < sink->n_instances; i++) {
        const char *instance = sink->instances[i].instance;
        ls_buf_printf(buf, "  %s: ", name);
        ls_text_show(buf, instance, strlen(instance));
        ls_buf_printf(buf, " %s, partitions ", ls_state_name(sink->instances[i].state));
        print_partitions(&sink->instances[i], buf);
        ls_buf_append_char(buf, '\n');
    }
}

static void print_never(const struct ls_status_sink *sinks, size_t n, struct ls_buf *buf)
{
    size_t never = 0;
    const char *name = NULL;
    for (size_t i = 0; i < n; i++) {
        if (sinks[i].state != LS_SINK_NEVER)
            continue;
        never++;
        name = sinks[i].sink->name;
    }
    if (never == 1)
        ls_buf_printf(buf,
                      "  %s: no worker was heard of yet; `lockstep run --sink %s` starts one\n",
                      name, name);
    if (never > 1)
        ls_buf_printf(buf,
                      "  %zu sinks: no worker was heard of yet; `lockstep run --all` starts "
                      "one for each\n",
                      never);
}

void ls_status_table(const struct ls_status_sink *sinks, size_t n, int64_t now_ms,
                     struct ls_buf *buf)
{
    print_rows(sinks, n, buf);
    size_t before = buf->len;
    ls_buf_append_char(buf, '\n');
    for (size_t i = 0; i < n; i++)
        print_notes(&sinks[i], now_ms, buf);
    print_never(sinks, n, buf);
    if (buf->len == before + 1)
        buf->len = before; /* nothing to say */
}

/* Text that a store gave us; null where it is not UTF-8, which JSON cannot hold. */
static json_t *text_json(const char *text)
{
    json_t *string = json_string(text);
    return string != NULL ? string : json_null();
}

static json_t *instance_json(const struct ls_heartbeat *beat)
{
    json_t *partitions = json_array();
    for (size_t i = 0; i < beat->n_partitions; i++)
        json_array_append_new(partitions, json_integer(beat->partitions[i].partition));
    return json_pack("{s:s, s:s, s:I, s:I, s:o}", "instance", beat->instance, "state",
                     ls_state_name(beat->state), "started_ms", (json_int_t)beat->started_ms,
                     "time_ms", (json_int_t)beat->time_ms, "partitions", partitions);
}

static json_t *sink_json(const struct ls_status_sink *sink)
{
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:s, s:b, s:I, s:f}", "sink", sink->sink->name, "kind",
                  ls_sink_kind_name(sink->sink->kind), "entity", sink->sink->entity->name, "state",
                  ls_sink_state_name(sink->state), "fine", (int)ls_status_fine(sink), "lag",
                  (json_int_t)sink->lag, "rate", sink->rate);
    json_object_set_new(object, "behind_s",
                        sink->behind_s < 0 ? json_null() : json_real(sink->behind_s));
    json_object_set_new(object, "eta_s", sink->eta_s < 0 ? json_null() : json_real(sink->eta_s));
    json_object_set_new(object, "consumed", json_integer((json_int_t)sink->consumed));
    json_object_set_new(object, "applied", json_integer((json_int_t)sink->counts[LS_APPLIED]));
    json_object_set_new(object, "stale", json_integer((json_int_t)sink->counts[LS_STALE]));
    json_object_set_new(object, "superseded",
                        json_integer((json_int_t)sink->counts[LS_SUPERSEDED]));
    json_object_set_new(object, "retried", json_integer((json_int_t)sink->counts[LS_RETRY]));
    json_object_set_new(object, "poison", json_integer((json_int_t)sink->counts[LS_POISON]));
    json_object_set_new(object, "quarantined", json_integer((json_int_t)sink->quarantined));
    json_object_set_new(object, "reason", text_json(sink->reason));
    json_object_set_new(object, "last_error", text_json(sink->last_error));
    json_object_set_new(object, "last_error_ms",
                        sink->last_error_ms ? json_integer(sink->last_error_ms) : json_null());
    json_object_set_new(object, "breaker",
                        sink->breaker[0] ? text_json(sink->breaker) : json_null());
    json_object_set_new(object, "breaker_openings", json_integer((json_int_t)sink->openings));
    json_object_set_new(object, "flow_limit",
                        sink->flow_max ? json_integer(sink->flow_limit) : json_null());
    json_object_set_new(object, "flow_max",
                        sink->flow_max ? json_integer(sink->flow_max) : json_null());
    json_object_set_new(object, "rewinds", json_integer((json_int_t)sink->rewinds));
    json_object_set_new(object, "rewound_ms",
                        sink->rewound_ms ? json_integer(sink->rewound_ms) : json_null());
    json_object_set_new(object, "heard_ms",
                        sink->heard_ms ? json_integer(sink->heard_ms) : json_null());
    json_object_set_new(object, "partitions_without_worker", json_integer(sink->unowned));
    json_t *leaderless = json_array();
    for (size_t i = 0; i < sink->n_leaderless; i++)
        json_array_append_new(leaderless, json_integer(sink->leaderless[i]));
    json_object_set_new(object, "partitions_without_leader", leaderless);
    json_object_set_new(object, "heartbeats_missing", json_boolean(sink->unheard));
    json_t *instances = json_array();
    for (size_t i = 0; i < sink->n_instances; i++)
        json_array_append_new(instances, instance_json(&sink->instances[i]));
    json_object_set_new(object, "instances", instances);
    return object;
}

void ls_status_json(const struct ls_status_sink *sinks, size_t n, int64_t now_ms,
                    struct ls_buf *buf)
{
    json_t *list = json_array();
    bool fine = true;
    for (size_t i = 0; i < n; i++) {
        fine &= ls_status_fine(&sinks[i]);
        json_array_append_new(list, sink_json(&sinks[i]));
    }
    json_t *root = json_pack("{s:I, s:b, s:o}", "time_ms", (json_int_t)now_ms, "fine", (int)fine,
                             "sinks", list);
    char *text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(6));
    ls_text_show_json(buf, text, strlen(text));
    ls_buf_append_char(buf, '\n');
    free(text);
    json_decref(root);
}
