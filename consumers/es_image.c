/* Documents as images. Pure; see es_image.h. */
#include "consumers/es_image.h"

#include <stdarg.h>
#include <stdio.h>

#include "schema/wire.h"

enum { WHY_BYTES = 160 };

bool ls_es_doc_read(struct ls_json *json, struct ls_arena *arena, struct ls_es_doc *ret)
{
    struct ls_es_doc doc = {.version = -1};
    struct ls_span key, name;
    for (ls_json_open(json, '{'); ls_json_key(json, &key);) {
        enum ls_json_kind kind = ls_json_peek(json);
        if (ls_json_is(key, "_id")) {
            ls_json_string(json, arena, &doc.id);
        } else if (ls_json_is(key, "_version")) {
            ls_json_i64(json, &doc.version);
        } else if (ls_json_is(key, "found")) {
            doc.found = kind == LS_JSON_TRUE;
            ls_json_skip(json, NULL);
        } else if (ls_json_is(key, "_source")) {
            ls_json_skip(json, &doc.source);
        } else if (ls_json_is(key, "sort") && kind == LS_JSON_ARRAY) {
            for (ls_json_open(json, '['); ls_json_item(json);) {
                if (ls_json_peek(json) == LS_JSON_STRING)
                    ls_json_string(json, arena, &doc.sort);
                else
                    ls_json_skip(json, NULL);
            }
        } else if (ls_json_is(key, "error") && kind == LS_JSON_OBJECT) {
            for (ls_json_open(json, '{'); ls_json_key(json, &name);) {
                if (ls_json_is(name, "type") && ls_json_peek(json) == LS_JSON_STRING)
                    ls_json_string(json, NULL, &doc.error);
                else
                    ls_json_skip(json, NULL);
            }
        } else {
            ls_json_skip(json, NULL);
        }
    }
    *ret = doc;
    return !json->failed;
}

/* A document that is being read. */
struct reading {
    const struct ls_schema *schema;
    struct ls_arena *arena;
    struct ls_value *values;
    size_t next_field; /* documents keep the schema's order: look here first */
    bool any_field;
    bool deleted_seen, deleted;
    struct ls_span key;
    int64_t hash_high, hash_low, version_high, version_low, at_ms, shard;
    char *why; /* NULL while all is well */
};

static void __attribute__((format(printf, 2, 3)))
refuse(struct reading *reading, const char *format, ...)
{
    if (reading->why != NULL)
        return;
    char *why = ls_arena_alloc(reading->arena, WHY_BYTES);
    va_list args;
    va_start(args, format);
    vsnprintf(why, WHY_BYTES, format, args);
    va_end(args);
    reading->why = why;
}

static bool read_list(struct reading *reading, struct ls_json *json, struct ls_value *value)
{
    /* Counted first, so that the items stand together in the arena. */
    struct ls_json ahead = *json;
    uint32_t count = 0;
    for (ls_json_open(&ahead, '['); ls_json_item(&ahead); count++)
        if (!ls_json_skip(&ahead, NULL))
            return false;
    struct ls_span *list = ls_arena_alloc(reading->arena, (count + 1) * sizeof(*list));
    uint32_t at = 0;
    for (ls_json_open(json, '['); ls_json_item(json) && at < count; at++) {
        if (ls_json_peek(json) != LS_JSON_STRING) {
            *json = ahead;
            return false;
        }
        ls_json_string(json, reading->arena, &list[at]);
    }
    value->list = list;
    value->count = count;
    return true;
}

/* Reads a field's value; false when it has another JSON type than the sink writes. */
static bool read_value(struct reading *reading, struct ls_json *json, enum ls_type type,
                       struct ls_value *value)
{
    enum ls_json_kind kind = ls_json_peek(json);
    struct ls_span number;
    switch (type) {
    case LS_TYPE_STRING:
        if (kind == LS_JSON_STRING)
            return ls_json_string(json, reading->arena, &value->text);
        break;
    case LS_TYPE_INT:
    case LS_TYPE_TIME:
        if (kind == LS_JSON_NUMBER)
            return ls_json_number(json, &number) && ls_json_parse_i64(number, &value->number);
        break;
    case LS_TYPE_FLOAT:
        if (kind == LS_JSON_NUMBER)
            return ls_json_number(json, &number) && ls_json_parse_real(number, &value->real);
        break;
    case LS_TYPE_BOOL:
        value->number = kind == LS_JSON_TRUE;
        if (kind == LS_JSON_TRUE || kind == LS_JSON_FALSE)
            return ls_json_skip(json, NULL);
        break;
    case LS_TYPE_STRINGS:
        if (kind == LS_JSON_ARRAY)
            return read_list(reading, json, value);
        break;
    }
    ls_json_skip(json, NULL);
    return false;
}

static int find_field(struct reading *reading, struct ls_span key)
{
    const struct ls_schema *schema = reading->schema;
    for (size_t i = reading->next_field; i < schema->n_fields; i++) {
        if (ls_json_is(key, schema->fields[i].name)) {
            reading->next_field = i + 1;
            return (int)i;
        }
    }
    return ls_schema_field_by_name(schema, key.data, key.len);
}

static void read_field(struct reading *reading, struct ls_json *json, struct ls_span key)
{
    int index = find_field(reading, key);
    if (index < 0) {
        refuse(reading, "it has the field %.*s, which the schema lacks",
               key.len < 48 ? (int)key.len : 48, key.data);
        ls_json_skip(json, NULL);
        return;
    }
    const struct ls_field *field = &reading->schema->fields[index];
    struct ls_value *value = &reading->values[index];
    reading->any_field = true;
    if (value->present)
        refuse(reading, "field %s stands twice", field->name);
    if (!read_value(reading, json, field->type, value))
        refuse(reading, "field %s is not %s", field->name, ls_type_name(field->type));
    value->present = true;
}

/* Hidden fields; false when the key is none of them. */
static bool read_hidden(struct reading *reading, struct ls_json *json, struct ls_span key)
{
    const struct {
        const char *name;
        int64_t *number;
    } hidden[] = {
        {"_v_hi", &reading->version_high}, {"_v_lo", &reading->version_low},
        {"_h_hi", &reading->hash_high},    {"_h_lo", &reading->hash_low},
        {"_at", &reading->at_ms},          {"_shard", &reading->shard},
    };
    if (key.len == 0 || key.data[0] != '_')
        return false;
    for (size_t i = 0; i < LS_COUNT(hidden); i++) {
        struct ls_span text;
        if (!ls_json_is(key, hidden[i].name))
            continue;
        if (ls_json_peek(json) != LS_JSON_NUMBER)
            ls_json_skip(json, NULL);
        else if (ls_json_number(json, &text) && ls_json_parse_i64(text, hidden[i].number))
            return true;
        refuse(reading, "%s is not a whole number", hidden[i].name);
        return true;
    }
    if (!ls_json_is(key, "_deleted"))
        return false;
    enum ls_json_kind kind = ls_json_peek(json);
    reading->deleted_seen = kind == LS_JSON_TRUE || kind == LS_JSON_FALSE;
    reading->deleted = kind == LS_JSON_TRUE;
    ls_json_skip(json, NULL);
    return true;
}

static void read_source(struct reading *reading, struct ls_span source)
{
    struct ls_json json = ls_json_begin(source.data, source.len);
    struct ls_span key;
    for (ls_json_open(&json, '{'); ls_json_key(&json, &key);) {
        if (read_hidden(reading, &json, key))
            continue;
        if (!ls_json_is(key, reading->schema->key.name)) {
            read_field(reading, &json, key);
        } else if (ls_json_peek(&json) == LS_JSON_STRING) {
            ls_json_string(&json, reading->arena, &reading->key);
        } else {
            refuse(reading, "field %s is not a string", reading->schema->key.name);
            ls_json_skip(&json, NULL);
        }
    }
    if (json.failed)
        refuse(reading, "it is not JSON");
}

static void check_whole(struct reading *reading, const struct ls_es_doc *doc)
{
    const char *key_name = reading->schema->key.name;
    if (reading->key.len != doc->id.len ||
        memcmp(reading->key.data ? reading->key.data : "", doc->id.data, doc->id.len) != 0)
        refuse(reading, "field %s is not its _id", key_name);
    if (!reading->deleted_seen)
        refuse(reading, "_deleted is missing or no boolean");
    if (reading->deleted && reading->any_field)
        refuse(reading, "it is deleted and has content");
    if (doc->version < 0)
        refuse(reading, "_version is missing");
    if (reading->shard < 0)
        refuse(reading, "_shard is missing");
}

void ls_es_image(const struct ls_schema *schema, const struct ls_es_doc *doc,
                 struct ls_arena *arena, struct ls_buf *scratch, struct ls_image *ret)
{
    struct reading reading = {.schema = schema, .arena = arena, .shard = -1};
    size_t bytes = (schema->n_fields + 1) * sizeof(*reading.values);
    reading.values = ls_arena_alloc(arena, bytes);
    memset(reading.values, 0, bytes);
    read_source(&reading, doc->source);
    check_whole(&reading, doc);

    *ret = (struct ls_image){
        .key = doc->id,
        .found = true,
        .undecodable = reading.why != NULL,
        .why = reading.why,
        .deleted = reading.deleted,
        .version = doc->version < 0 ? 0 : (uint64_t)doc->version,
        .stored_hash = (uint64_t)reading.hash_high << 32 | (uint32_t)reading.hash_low,
        .at_ms = reading.at_ms,
    };
    if (ret->undecodable)
        return;
    if (!reading.deleted)
        ret->values = reading.values;
    ret->hash = ls_hash(schema, doc->id.data, doc->id.len, reading.deleted, ret->values, scratch);
}
