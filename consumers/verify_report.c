/* What verify found, as a table with examples and advice for people, and as JSON. Pure. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/progress.h"
#include "base/text.h"
#include "consumers/verify.h"
#include "schema/key.h"

enum { NUMBER_MAX = 32, COLUMNS_MAX = LS_DIFFS + 4 };

static bool shown(const struct ls_verify_report *const *reports, size_t n, int difference)
{
    for (size_t i = 0; i < n; i++)
        if (reports[i]->counts[difference] > 0)
            return true;
    return difference == LS_DIFF_EQUAL;
}

struct table {
    const char *titles[COLUMNS_MAX];
    int differences[COLUMNS_MAX]; /* or one of the below */
    int n_columns;
    int name_width;
};
enum { COLUMN_LIVE = -1, COLUMN_DELETED = -2, COLUMN_SECONDS = -3 };

static void add_column(struct table *table, const char *title, int difference)
{
    table->titles[table->n_columns] = title;
    table->differences[table->n_columns++] = difference;
}

static void upper(const char *text, char *ret, size_t size)
{
    size_t i = 0;
    for (; text[i] != '\0' && i + 1 < size; i++)
        ret[i] = text[i] >= 'a' && text[i] <= 'z' ? (char)(text[i] - 'a' + 'A') : text[i];
    ret[i] = '\0';
}

static void print_row(const struct table *table, const struct ls_verify_report *report,
                      struct ls_buf *buf)
{
    char number[NUMBER_MAX];
    ls_buf_printf(buf, "%-*s", table->name_width, report->sink->name);
    if (report->err.class != LS_ERR_NONE) {
        ls_buf_append_str(buf, "  could not tell\n");
        return;
    }
    for (int c = 0; c < table->n_columns; c++) {
        const char *text = number;
        int difference = table->differences[c];
        if (difference == COLUMN_LIVE)
            ls_human_count(report->live, number, sizeof(number));
        else if (difference == COLUMN_DELETED)
            ls_human_count(report->deleted, number, sizeof(number));
        else if (difference == COLUMN_SECONDS)
            snprintf(number, sizeof(number), "%.1f", report->seconds);
        else if (report->counts[difference] == 0 && difference != LS_DIFF_EQUAL)
            text = "-";
        else
            ls_human_count(report->counts[difference], number, sizeof(number));
        ls_buf_printf(buf, "  %11s", text);
    }
    ls_buf_append_char(buf, '\n');
}

static void print_table(const struct ls_verify_report *const *reports, size_t n, struct ls_buf *buf)
{
    struct table table = {.name_width = 4};
    char titles[LS_DIFFS][16];
    add_column(&table, "MEMBERS", COLUMN_LIVE);
    add_column(&table, "DELETED", COLUMN_DELETED);
    for (int d = 0; d < LS_DIFFS; d++) {
        if (!shown(reports, n, d))
            continue;
        upper(ls_difference_name((enum ls_difference)d), titles[d], sizeof(titles[d]));
        add_column(&table, titles[d], d);
    }
    add_column(&table, "SECONDS", COLUMN_SECONDS);
    for (size_t i = 0; i < n; i++)
        if ((int)strlen(reports[i]->sink->name) > table.name_width)
            table.name_width = (int)strlen(reports[i]->sink->name);
    ls_buf_printf(buf, "%-*s", table.name_width, "SINK");
    for (int c = 0; c < table.n_columns; c++)
        ls_buf_printf(buf, "  %11s", table.titles[c]);
    ls_buf_append_char(buf, '\n');
    for (size_t i = 0; i < n; i++)
        print_row(&table, reports[i], buf);
}

static bool masked(const struct ls_verify_report *report, const struct ls_verify_format *format)
{
    return report->sink->entity->schema->key.pii && !format->show_pii;
}

/*
 * A key that a person may see: what is pii says only that it is there, and its position finds it. A
 * store may hold keys that no log would take, so nothing in it reaches the terminal as control.
 */
static void print_key(const struct ls_verify_report *report,
                      const struct ls_verify_example *example,
                      const struct ls_verify_format *format, struct ls_buf *buf)
{
    if (masked(report, format)) {
        ls_buf_append_str(buf, "***");
        return;
    }
    ls_text_show(buf, example->key, strlen(example->key));
}

static void print_side(const char *name, const struct ls_verify_side *side, struct ls_buf *buf)
{
    if (!side->found) {
        ls_buf_printf(buf, "%s has none", name);
        return;
    }
    if (side->version == 0)
        ls_buf_printf(buf, "%s has no version", name);
    else
        ls_buf_printf(buf, "%s has version %u:%" PRId64, name, ls_version_generation(side->version),
                      ls_version_offset(side->version));
    if (side->hash != 0) /* none of what cannot be decoded */
        ls_buf_printf(buf, " hash %016" PRIx64, side->hash);
    if (side->deleted)
        ls_buf_append_str(buf, " (deleted)");
}

static void print_examples(const struct ls_verify_report *report,
                           const struct ls_verify_format *format, struct ls_buf *buf)
{
    for (size_t i = 0; i < report->n_examples; i++) {
        const struct ls_verify_example *example = &report->examples[i];
        ls_buf_printf(buf, "  %s %s ", report->sink->name, ls_difference_name(example->difference));
        print_key(report, example, format, buf);
        ls_buf_printf(buf, " (shard %u", example->shard);
        if (example->offset >= 0)
            ls_buf_printf(buf, ", partition %d offset %" PRId64,
                          ls_partition_of(example->shard, report->sink->entity->partitions),
                          example->offset);
        ls_buf_append_str(buf, "): ");
        print_side("the log", &example->log, buf);
        ls_buf_append_str(buf, ", ");
        print_side("the store", &example->store, buf);
        if (example->why[0] != '\0') {
            ls_buf_append_str(buf, "; ");
            ls_text_show(buf, example->why, strlen(example->why));
        }
        ls_buf_append_char(buf, '\n');
    }
}

static void print_counts(const struct ls_verify_report *report, struct ls_buf *buf)
{
    char number[NUMBER_MAX];
    const char *comma = "";
    for (int d = LS_DIFF_EQUAL + 1; d < LS_DIFFS; d++) {
        if (report->counts[d] == 0)
            continue;
        ls_buf_printf(buf, "%s%s %s", comma,
                      ls_human_count(report->counts[d], number, sizeof(number)),
                      ls_difference_name((enum ls_difference)d));
        comma = ", ";
    }
}

/* What is wrong with one sink, and what mends it. */
static void print_advice(const struct ls_verify_report *report, struct ls_buf *buf)
{
    const char *name = report->sink->name;
    const uint64_t *counts = report->counts;
    if (report->err.class != LS_ERR_NONE) {
        ls_buf_printf(buf, "%s: could not tell: ", name);
        ls_text_show(buf, report->err.text, strlen(report->err.text));
        ls_buf_append_char(buf, '\n');
        if (!ls_verify_different(report))
            return;
        ls_buf_printf(buf, "%s: found until then: ", name);
        print_counts(report, buf);
        ls_buf_append_char(buf, '\n');
        return;
    }
    if (ls_verify_equal(report))
        return;
    ls_buf_printf(buf, "%s %s: ", name,
                  ls_verify_different(report) ? "differs from the log" : "is behind the log");
    print_counts(report, buf);
    ls_buf_append_str(buf, ".\n");
    if (counts[LS_DIFF_LAGGING] > 0)
        ls_buf_printf(buf,
                      "  Lagging: see `lockstep status --sink %s`, and verify again when it "
                      "has caught up.\n",
                      name);
    if (counts[LS_DIFF_DIVERGED] + counts[LS_DIFF_MISSING] + counts[LS_DIFF_RESURRECTED] +
            counts[LS_DIFF_UNDECODABLE] >
        0)
        ls_buf_printf(buf,
                      "  Mend it with `lockstep resync --sink %s`, which writes what is missing, "
                      "older, or other at the log's version.\n",
                      name);
    if (counts[LS_DIFF_MISSING] > 0 && report->sink->kind == LS_SINK_ES)
        ls_buf_append_str(buf,
                          "  Where index.gc_deletes is not 0s (`lockstep schema diff` tells), "
                          "Elasticsearch refuses a document for that long after somebody deleted "
                          "it: resync after that.\n");
    if (counts[LS_DIFF_AHEAD] + counts[LS_DIFF_EXTRA] > 0)
        ls_buf_append_str(buf,
                          "  A resync leaves what is newer than the log, and what the log does "
                          "not have: find out who wrote it.\n");
    if (counts[LS_DIFF_QUARANTINED] > 0)
        ls_buf_printf(buf, "  Quarantined: the reasons stand in topic %s.quarantine.%s.\n",
                      report->sink->entity->name, name);
}

static void print_verdict(const struct ls_verify_report *const *reports, size_t n,
                          struct ls_buf *buf)
{
    char live[NUMBER_MAX], deleted[NUMBER_MAX];
    size_t equal = 0;
    for (size_t i = 0; i < n; i++)
        equal += ls_verify_equal(reports[i]);
    if (equal < n) {
        ls_buf_printf(buf, "%zu of %zu sinks equal%s the log.\n", equal, n, equal == 1 ? "s" : "");
        return;
    }
    if (n == 1)
        ls_buf_printf(buf, "%s equals the log", reports[0]->sink->name);
    else
        ls_buf_printf(buf, "All %zu sinks equal the log", n);
    for (size_t i = 1; i < n; i++)
        if (reports[i]->sink->entity != reports[0]->sink->entity) {
            ls_buf_append_str(buf, ", compared in full by version and content.\n");
            return;
        }
    ls_buf_printf(buf, ": %s members, %s deleted, compared in full by version and content.\n",
                  ls_human_count(reports[0]->live, live, sizeof(live)),
                  ls_human_count(reports[0]->deleted, deleted, sizeof(deleted)));
}

void ls_verify_table(const struct ls_verify_report *const *reports, size_t n,
                     const struct ls_verify_format *format, struct ls_buf *buf)
{
    print_table(reports, n, buf);
    ls_buf_append_char(buf, '\n');
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        print_examples(reports[i], format, buf);
        any |= reports[i]->n_examples > 0;
    }
    if (any)
        ls_buf_append_char(buf, '\n');
    for (size_t i = 0; i < n; i++)
        print_advice(reports[i], buf);
    print_verdict(reports, n, buf);
}

/* --- JSON --- */

/* Versions and hashes pass 2^53, so they are strings. */
static json_t *side_json(const struct ls_verify_side *side)
{
    if (!side->found)
        return json_null();
    char version[24], hash[20];
    snprintf(version, sizeof(version), "%" PRIu64, side->version);
    snprintf(hash, sizeof(hash), "%016" PRIx64, side->hash);
    return json_pack("{s:s, s:s, s:b}", "version", version, "hash", hash, "deleted",
                     (int)side->deleted);
}

/* Text that a store gave us; null where it is not UTF-8, which JSON cannot hold. */
static json_t *text_json(const char *text)
{
    json_t *string = json_string(text);
    return string != NULL ? string : json_null();
}

static json_t *example_json(const struct ls_verify_report *report,
                            const struct ls_verify_example *example,
                            const struct ls_verify_format *format)
{
    json_t *key = masked(report, format) ? json_string("***") : text_json(example->key);
    json_t *object =
        json_pack("{s:s, s:o, s:i, s:o, s:o}", "difference",
                  ls_difference_name(example->difference), "key", key, "shard", (int)example->shard,
                  "log", side_json(&example->log), "store", side_json(&example->store));
    if (example->offset >= 0) {
        json_object_set_new(
            object, "partition",
            json_integer(ls_partition_of(example->shard, report->sink->entity->partitions)));
        json_object_set_new(object, "offset", json_integer(example->offset));
    }
    if (example->why[0] != '\0')
        json_object_set_new(object, "why", text_json(example->why));
    return object;
}

static json_t *report_json(const struct ls_verify_report *report,
                           const struct ls_verify_format *format)
{
    const char *result = report->err.class != LS_ERR_NONE ? "unknown"
                         : ls_verify_different(report)    ? "different"
                         : ls_verify_equal(report)        ? "equal"
                                                          : "lagging";
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:f}", "sink", report->sink->name, "kind",
                  ls_sink_kind_name(report->sink->kind), "entity", report->sink->entity->name,
                  "result", result, "members", (json_int_t)report->live, "deleted",
                  (json_int_t)report->deleted, "seconds", report->seconds);
    json_t *counts = json_object(), *examples = json_array();
    for (int d = 0; d < LS_DIFFS; d++)
        json_object_set_new(counts, ls_difference_name((enum ls_difference)d),
                            json_integer((json_int_t)report->counts[d]));
    for (size_t i = 0; i < report->n_examples; i++)
        json_array_append_new(examples, example_json(report, &report->examples[i], format));
    json_object_set_new(object, "counts", counts);
    json_object_set_new(object, "examples", examples);
    json_object_set_new(object, "error",
                        report->err.class != LS_ERR_NONE ? text_json(report->err.text)
                                                         : json_null());
    return object;
}

void ls_verify_json(const struct ls_verify_report *const *reports, size_t n,
                    const struct ls_verify_format *format, struct ls_buf *buf)
{
    json_t *root = json_object(), *sinks = json_array();
    bool equal = true;
    for (size_t i = 0; i < n; i++) {
        equal &= ls_verify_equal(reports[i]);
        json_array_append_new(sinks, report_json(reports[i], format));
    }
    json_object_set_new(root, "equal", json_boolean(equal));
    json_object_set_new(root, "sinks", sinks);
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    ls_text_show_json(buf, text, strlen(text));
    ls_buf_append_char(buf, '\n');
    free(text);
    json_decref(root);
}
