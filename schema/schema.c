/* Looking fields up, names of types, and the schema as JSON. Pure; any thread. */
#include "schema/schema.h"

#include <jansson.h>

#include "base/mem.h"

void ls_schema_free(struct ls_schema *schema)
{
    if (schema == NULL)
        return;
    for (size_t i = 0; i < schema->n_fields; i++)
        free(schema->fields[i].name);
    free(schema->fields);
    free(schema->key.name);
    free(schema->reserved);
    free(schema->redis_prefix);
    free(schema->entity);
    free(schema->path);
    free(schema);
}

int ls_schema_field_by_number(const struct ls_schema *schema, uint32_t number)
{
    size_t low = 0, high = schema->n_fields;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (schema->fields[middle].number == number)
            return (int)middle;
        if (schema->fields[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

int ls_schema_field_by_name(const struct ls_schema *schema, const char *name, size_t len)
{
    for (size_t i = 0; i < schema->n_fields; i++) {
        const char *known = schema->fields[i].name;
        if (strncmp(known, name, len) == 0 && known[len] == '\0')
            return (int)i;
    }
    return -1;
}

const char *ls_type_name(enum ls_type type)
{
    switch (type) {
    case LS_TYPE_STRING:
        return "string";
    case LS_TYPE_INT:
        return "int";
    case LS_TYPE_FLOAT:
        return "float";
    case LS_TYPE_BOOL:
        return "bool";
    case LS_TYPE_TIME:
        return "time";
    case LS_TYPE_STRINGS:
        return "strings";
    }
    return "unknown";
}

static json_t *field_to_json(const struct ls_field *field, bool key)
{
    json_t *json = json_object();
    json_object_set_new(json, "number", json_integer(field->number));
    json_object_set_new(json, "name", json_string(field->name));
    json_object_set_new(json, "type", json_string(ls_type_name(field->type)));
    if (key) {
        json_object_set_new(json, "key", json_true());
    } else {
        if (field->length)
            json_object_set_new(json, "length", json_integer(field->length));
        if (field->max_items)
            json_object_set_new(json, "max_items", json_integer(field->max_items));
        json_object_set_new(json, "indexed", json_boolean(field->indexed));
    }
    json_object_set_new(json, "pii", json_boolean(field->pii));
    return json;
}

char *ls_schema_to_json(const struct ls_schema *schema)
{
    json_t *fields = json_array();
    json_array_append_new(fields, field_to_json(&schema->key, true));
    for (size_t i = 0; i < schema->n_fields; i++)
        json_array_append_new(fields, field_to_json(&schema->fields[i], false));
    json_t *reserved = json_array();
    for (size_t i = 0; i < schema->n_reserved; i++)
        json_array_append_new(reserved, json_integer(schema->reserved[i]));
    json_t *json = json_object();
    json_object_set_new(json, "entity", json_string(schema->entity));
    json_object_set_new(json, "version", json_integer(schema->version));
    json_object_set_new(json, "redis_prefix", json_string(schema->redis_prefix));
    json_object_set_new(json, "expected_records",
                        json_integer((json_int_t)schema->expected_records));
    json_object_set_new(json, "average_bytes", json_integer(schema->average_bytes));
    json_object_set_new(json, "fields", fields);
    json_object_set_new(json, "reserved", reserved);
    char *text = json_dumps(json, 0); /* insertion order: always the same text */
    json_decref(json);
    if (text == NULL)
        abort(); /* out of memory, as everywhere else */
    return text;
}
