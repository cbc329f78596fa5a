#include "cli/quarantine_view.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <time.h>

#include "base/progress.h"
#include "base/text.h"
#include "consumers/mask.h"
#include "schema/key.h"

#define MASK "***"

enum {
    KEY_WIDTH = 24,
    HEAD_BYTES = 256, /* of what can't be decoded */
    REASON_MAX = 1024,
};

static void print_clean(struct ls_span text, struct ls_buf *buf)
{
    ls_text_show(buf, text.data, text.len);
}

void ls_quarantine_print_reason(const struct ls_schema *schema, struct ls_span text, bool show_pii,
                                struct ls_buf *buf)
{
    char masked[REASON_MAX];
    if (show_pii || text.len == 0) {
        print_clean(text, buf);
        return;
    }
    LS_CLEANUP_FREE char *copy = ls_strndup(text.data, text.len);
    ls_mask_text(schema, true, copy, masked, sizeof(masked));
    print_clean((struct ls_span){masked, (uint32_t)strlen(masked)}, buf);
}

static void print_key(const struct ls_schema *schema, const struct ls_quarantine_entry *entry,
                      bool show_pii, struct ls_buf *buf)
{
    if (entry->key.data == NULL)
        ls_buf_append_char(buf, '-');
    else if (schema->key.pii && !show_pii)
        ls_buf_printf(buf, MASK " (%" PRIu32 " bytes)", entry->key.len);
    else
        print_clean(entry->key, buf);
}

static void print_time(int64_t at_ms, struct ls_buf *buf)
{
    char text[40];
    time_t seconds = (time_t)(at_ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm);
    ls_buf_append_str(buf, text);
}

static const char *age(int64_t since_ms, int64_t now_ms, char *buf, unsigned size)
{
    int64_t ms = now_ms > since_ms ? now_ms - since_ms : 0;
    return ls_human_duration((double)ms / 1e3, buf, size);
}

/* Pads what was appended since `from` to a width in characters. */
static void pad(struct ls_buf *buf, size_t from, int width)
{
    int64_t length = ls_utf8_length(buf->data + from, buf->len - from);
    for (; length < width; length++)
        ls_buf_append_char(buf, ' ');
    ls_buf_append_str(buf, "  ");
}

void ls_quarantine_print_titles(struct ls_buf *buf)
{
    ls_buf_printf(buf, "%-14s  %-14s  %-10s  %-13s  %8s  %-*s  %s\n", "SINK", "POSITION", "AGE",
                  "CLASS", "ATTEMPTS", KEY_WIDTH, "KEY", "REASON");
}

void ls_quarantine_print_line(const struct ls_sink_config *sink,
                              const struct ls_quarantine_entry *entry, int64_t now_ms,
                              bool show_pii, struct ls_buf *buf)
{
    const struct ls_schema *schema = sink->entity->schema;
    char position[40], ago[32];
    snprintf(position, sizeof(position), "%d/%" PRId64, entry->partition, entry->offset);
    ls_buf_printf(buf, "%-14s  %-14s  %-10s  ", sink->name, position,
                  age(entry->since_ms, now_ms, ago, sizeof(ago)));
    size_t from = buf->len;
    print_clean(entry->class, buf);
    pad(buf, from, 13);
    ls_buf_printf(buf, "%8" PRIu32 "  ", entry->attempts);
    from = buf->len;
    print_key(schema, entry, show_pii, buf);
    pad(buf, from, KEY_WIDTH);
    ls_quarantine_print_reason(schema, entry->text, show_pii, buf);
    ls_buf_append_char(buf, '\n');
}

static void print_value(const struct ls_field *field, const struct ls_value *value,
                        struct ls_buf *buf)
{
    switch (field->type) {
    case LS_TYPE_STRING:
        ls_buf_append_char(buf, '"');
        print_clean(value->text, buf);
        ls_buf_append_char(buf, '"');
        return;
    case LS_TYPE_INT:
        ls_buf_append_i64(buf, value->number);
        return;
    case LS_TYPE_FLOAT:
        ls_buf_printf(buf, "%.17g", value->real);
        return;
    case LS_TYPE_BOOL:
        ls_buf_append_str(buf, value->number ? "true" : "false");
        return;
    case LS_TYPE_TIME:
        print_time(value->number / 1000, buf);
        return;
    case LS_TYPE_STRINGS:
        for (uint32_t i = 0; i < value->count; i++) {
            ls_buf_append_str(buf, i ? ", \"" : "\"");
            print_clean(value->list[i], buf);
            ls_buf_append_char(buf, '"');
        }
        if (value->count == 0)
            ls_buf_append_str(buf, "(an empty list)");
        return;
    }
}

/* How long a masked value is, since too long is what most are refused for. */
static void print_masked(const struct ls_field *field, const struct ls_value *value,
                         struct ls_buf *buf)
{
    ls_buf_append_str(buf, MASK);
    if (field->type == LS_TYPE_STRING)
        ls_buf_printf(buf, " (%" PRId64 " characters)",
                      ls_utf8_length(value->text.data, value->text.len));
    else if (field->type == LS_TYPE_STRINGS)
        ls_buf_printf(buf, " (%" PRIu32 " items)", value->count);
}

static void print_fields(const struct ls_schema *schema, const struct ls_value *values,
                         bool show_pii, struct ls_buf *buf)
{
    for (size_t i = 0; values != NULL && i < schema->n_fields; i++) {
        const struct ls_field *field = &schema->fields[i];
        if (!values[i].present)
            continue;
        ls_buf_printf(buf, "  %-22s ", field->name);
        if (field->pii && !show_pii)
            print_masked(field, &values[i], buf);
        else
            print_value(field, &values[i], buf);
        ls_buf_append_char(buf, '\n');
    }
}

static void print_hex(struct ls_span body, struct ls_buf *buf)
{
    uint32_t n = body.len < HEAD_BYTES ? body.len : HEAD_BYTES;
    for (uint32_t at = 0; at < n; at += 16) {
        ls_buf_printf(buf, "  %04x ", at);
        for (uint32_t i = at; i < at + 16; i++)
            if (i < n)
                ls_buf_printf(buf, " %02x", (unsigned char)body.data[i]);
            else
                ls_buf_append_str(buf, "   ");
        ls_buf_append_str(buf, "  ");
        for (uint32_t i = at; i < at + 16 && i < n; i++) {
            unsigned char c = (unsigned char)body.data[i];
            ls_buf_append_char(buf, (char)(c < 0x20 || c > 0x7e ? '.' : c));
        }
        ls_buf_append_char(buf, '\n');
    }
    if (n < body.len)
        ls_buf_printf(buf, "  ... %" PRIu32 " more bytes\n", body.len - n);
}

static bool is_null(const struct ls_quarantine_entry *entry)
{
    return entry->reject == LS_REJECT_NULL_VALUE && entry->body.len == 0;
}

static void print_record(const struct ls_schema *schema, const struct ls_quarantine_entry *entry,
                         bool show_pii, struct ls_arena *arena, struct ls_buf *buf)
{
    struct ls_span body = entry->body;
    struct ls_envelope envelope;
    struct ls_value *values = NULL;
    struct ls_err err = {0};
    if (is_null(entry)) {
        ls_buf_append_str(buf, "record: none, its value is null (a tombstone of Kafka), which no "
                               "store takes for a delete: publish a delete instead\n");
        return;
    }
    if (ls_wire_decode(schema, body.data, body.len, arena, &envelope, &values, &err) == 0) {
        ls_buf_printf(buf, "record: %s, schema version %" PRIu32 "%s",
                      envelope.op == LS_OP_DELETE ? "delete" : "put", envelope.schema_version,
                      envelope.origin.len > 0 ? ", published by " : "");
        print_clean(envelope.origin, buf);
        ls_buf_append_char(buf, '\n');
        print_fields(schema, values, show_pii, buf);
        return;
    }
    ls_buf_printf(buf, "record: %" PRIu32 " bytes that cannot be read now: ", body.len);
    ls_quarantine_print_reason(schema, (struct ls_span){err.text, (uint32_t)strlen(err.text)},
                               show_pii, buf);
    ls_buf_append_char(buf, '\n');
    if (!show_pii && ls_mask_needed(schema))
        ls_buf_append_str(buf, "  " MASK " (may be personal; --show-pii shows them)\n");
    else
        print_hex(body, buf);
}

void ls_quarantine_print_entry(const struct ls_sink_config *sink,
                               const struct ls_quarantine_entry *entry, int64_t now_ms,
                               bool show_pii, struct ls_arena *arena, struct ls_buf *buf)
{
    const struct ls_schema *schema = sink->entity->schema;
    char topic[LS_TOPIC_NAME_MAX], ago[32];
    ls_topic_state(sink->entity, topic);
    ls_buf_printf(buf, "sink: %s\nposition: %s/%d/%" PRId64 "\nkey: ", sink->name, topic,
                  entry->partition, entry->offset);
    print_key(schema, entry, show_pii, buf);
    if (entry->version != 0)
        ls_buf_printf(buf, "\nversion: %u:%" PRId64, ls_version_generation(entry->version),
                      ls_version_offset(entry->version));
    ls_buf_append_str(buf, "\npublished: ");
    print_time(entry->at_ms, buf);
    ls_buf_append_str(buf, "\nquarantined: ");
    print_time(entry->since_ms, buf);
    ls_buf_printf(buf, " (%s ago)\nattempts: %" PRIu32 "\nclass: ",
                  age(entry->since_ms, now_ms, ago, sizeof(ago)), entry->attempts);
    print_clean(entry->class, buf);
    if (entry->code != 0)
        ls_buf_printf(buf, "\ncode: %d", entry->code);
    ls_buf_append_str(buf, "\nreason: ");
    ls_quarantine_print_reason(schema, entry->text, show_pii, buf);
    ls_buf_append_char(buf, '\n');
    print_record(schema, entry, show_pii, arena, buf);
}

/* A JSON string of what may be any bytes: as it is, or as it is shown where it is not UTF-8. */
static json_t *clean_json(struct ls_span text)
{
    json_t *string = json_stringn(text.data, text.len);
    if (string != NULL)
        return string;
    struct ls_buf clean = {0};
    print_clean(text, &clean);
    string = json_stringn(ls_buf_cstr(&clean), clean.len);
    ls_buf_free(&clean);
    return string;
}

static json_t *value_json(const struct ls_field *field, const struct ls_value *value)
{
    switch (field->type) {
    case LS_TYPE_STRING:
        return json_stringn(value->text.data, value->text.len);
    case LS_TYPE_FLOAT:
        return json_real(value->real);
    case LS_TYPE_BOOL:
        return json_boolean(value->number);
    case LS_TYPE_STRINGS: {
        json_t *list = json_array();
        for (uint32_t i = 0; i < value->count; i++)
            json_array_append_new(list, json_stringn(value->list[i].data, value->list[i].len));
        return list;
    }
    default:
        return json_integer(value->number);
    }
}

static json_t *fields_json(const struct ls_schema *schema, const struct ls_value *values,
                           bool show_pii)
{
    json_t *fields = json_object();
    for (size_t i = 0; values != NULL && i < schema->n_fields; i++) {
        const struct ls_field *field = &schema->fields[i];
        if (values[i].present)
            json_object_set_new(fields, field->name,
                                field->pii && !show_pii ? json_string(MASK)
                                                        : value_json(field, &values[i]));
    }
    return fields;
}

static void add_record(json_t *object, const struct ls_schema *schema,
                       const struct ls_quarantine_entry *entry, bool show_pii,
                       struct ls_arena *arena)
{
    struct ls_span body = entry->body;
    struct ls_envelope envelope;
    struct ls_value *values = NULL;
    struct ls_err err = {0};
    bool readable =
        ls_wire_decode(schema, body.data, body.len, arena, &envelope, &values, &err) == 0;
    if (is_null(entry)) {
        json_object_set_new(object, "null", json_true());
        return;
    }
    json_object_set_new(object, "bytes", json_integer(body.len));
    if (readable) {
        json_object_set_new(object, "deleted", json_boolean(envelope.op == LS_OP_DELETE));
        json_object_set_new(object, "fields", fields_json(schema, values, show_pii));
        return;
    }
    json_object_set_new(object, "unreadable", json_string(err.text));
    if (show_pii || !ls_mask_needed(schema)) {
        struct ls_buf hex = {0};
        for (uint32_t i = 0; i < body.len; i++)
            ls_buf_printf(&hex, "%02x", (unsigned char)body.data[i]);
        json_object_set_new(object, "hex", json_string(ls_buf_cstr(&hex)));
        ls_buf_free(&hex);
    }
}

void ls_quarantine_print_json(const struct ls_sink_config *sink,
                              const struct ls_quarantine_entry *entry, bool show_pii,
                              bool with_record, struct ls_arena *arena, struct ls_buf *buf)
{
    const struct ls_schema *schema = sink->entity->schema;
    char topic[LS_TOPIC_NAME_MAX], version[24];
    ls_topic_state(sink->entity, topic);
    snprintf(version, sizeof(version), "%" PRIu64, entry->version);
    struct ls_buf reason = {0};
    ls_quarantine_print_reason(schema, entry->text, show_pii, &reason);
    json_t *object = json_pack("{s:s, s:s, s:s, s:i, s:I}", "sink", sink->name, "entity",
                               sink->entity->name, "topic", topic, "partition", entry->partition,
                               "offset", (json_int_t)entry->offset);
    json_object_set_new(object, "version", entry->version ? json_string(version) : json_null());
    json_object_set_new(object, "key",
                        entry->key.data == NULL        ? json_null()
                        : schema->key.pii && !show_pii ? json_string(MASK)
                                                       : clean_json(entry->key));
    if (entry->key.data != NULL)
        json_object_set_new(object, "key_bytes", json_integer(entry->key.len));
    json_object_set_new(object, "at_ms", json_integer(entry->at_ms));
    json_object_set_new(object, "since_ms", json_integer(entry->since_ms));
    json_object_set_new(object, "class", clean_json(entry->class));
    json_object_set_new(object, "code", json_integer(entry->code));
    json_object_set_new(object, "reason", json_stringn(ls_buf_cstr(&reason), reason.len));
    json_object_set_new(object, "attempts", json_integer(entry->attempts));
    if (with_record)
        add_record(object, schema, entry, show_pii, arena);
    char *text = json_dumps(object, JSON_COMPACT);
    ls_text_show_json(buf, text ? text : "{}", text ? strlen(text) : 2);
    ls_buf_append_char(buf, '\n');
    free(text);
    json_decref(object);
    ls_buf_free(&reason);
}
