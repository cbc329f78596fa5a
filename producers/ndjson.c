/* NDJSON to changes, over jansson: whole numbers stay exact, repeated names are refused. */
#include "producers/ndjson.h"

#include "producers/text_value.h"

void ls_ndjson_open(struct ls_ndjson *parser, const struct ls_schema *schema)
{
    *parser = (struct ls_ndjson){
        .schema = schema,
        .values = ls_calloc(schema->n_fields + 1, sizeof(*parser->values)),
        .order = ls_calloc(schema->n_fields + 1, sizeof(*parser->order)),
        .n_order = schema->n_fields + 1,
    };
}

void ls_ndjson_free(struct ls_ndjson *parser)
{
    json_decref(parser->root);
    ls_arena_free(&parser->arena);
    free(parser->values);
    free(parser->order);
    *parser = (struct ls_ndjson){0};
}

static int wrong_type(const struct ls_field *field, struct ls_err *err)
{
    static const char *const expected[] = {
        [LS_TYPE_STRING] = "a string",
        [LS_TYPE_INT] = "a whole number",
        [LS_TYPE_FLOAT] = "a number",
        [LS_TYPE_BOOL] = "true or false",
        [LS_TYPE_TIME] = "microseconds since 1970, or RFC 3339 text with at most six decimals",
        [LS_TYPE_STRINGS] = "a list of strings",
    };
    return ls_err_set(err, LS_ERR_POISON, 0, "field %s: expected %s", field->name,
                      expected[field->type]);
}

static struct ls_span text_of(const json_t *json)
{
    return (struct ls_span){json_string_value(json), (uint32_t)json_string_length(json)};
}

/* A whole number is a fine value of a float field where a double holds it exactly. */
static int read_float(const struct ls_field *field, const json_t *json, struct ls_value *value,
                      struct ls_err *err)
{
    static const int64_t exact_max = INT64_C(1) << 53;
    if (json_is_integer(json)) {
        int64_t number = json_integer_value(json);
        if (number < -exact_max || number > exact_max)
            return ls_err_set(err, LS_ERR_POISON, 0,
                              "field %s: a whole number beyond 2^53 would be rounded", field->name);
        value->real = (double)number;
        return 0;
    }
    if (!json_is_real(json))
        return wrong_type(field, err);
    value->real = json_real_value(json);
    if (value->real == 0)
        value->real = 0.0; /* there is no negative zero */
    return 0;
}

static int read_list(struct ls_ndjson *parser, const struct ls_field *field, const json_t *json,
                     struct ls_value *value, struct ls_err *err)
{
    if (!json_is_array(json))
        return wrong_type(field, err);
    size_t count = json_array_size(json);
    if (count > LS_ITEMS_MAX)
        return ls_err_set(err, LS_ERR_POISON, 0,
                          "field %s: %zu items, more than the %u that the schema allows",
                          field->name, count, field->max_items);
    value->count = (uint32_t)count;
    value->list = ls_arena_alloc(&parser->arena, (count + 1) * sizeof(*value->list));
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(json, i);
        if (!json_is_string(item))
            return wrong_type(field, err);
        value->list[i] = text_of(item);
    }
    return 0;
}

static int read_value(struct ls_ndjson *parser, const struct ls_field *field, const json_t *json,
                      struct ls_value *value, struct ls_err *err)
{
    value->present = true;
    switch (field->type) {
    case LS_TYPE_STRING:
        if (!json_is_string(json))
            return wrong_type(field, err);
        value->text = text_of(json);
        return 0;
    case LS_TYPE_INT:
        if (!json_is_integer(json))
            return wrong_type(field, err);
        value->number = json_integer_value(json);
        return 0;
    case LS_TYPE_FLOAT:
        return read_float(field, json, value, err);
    case LS_TYPE_BOOL:
        if (!json_is_boolean(json))
            return wrong_type(field, err);
        value->number = json_is_true(json);
        return 0;
    case LS_TYPE_TIME:
        if (json_is_integer(json))
            value->number = json_integer_value(json);
        else if (!json_is_string(json) ||
                 !ls_text_time(json_string_value(json), json_string_length(json), &value->number))
            return wrong_type(field, err);
        return 0;
    case LS_TYPE_STRINGS:
        return read_list(parser, field, json, value, err);
    }
    return ls_err_set(err, LS_ERR_FATAL, 0, "field %s: of no known type", field->name);
}

static int read_op(const json_t *json, enum ls_op *ret, struct ls_err *err)
{
    const char *text = json_string_value(json);
    if (text != NULL && strcmp(text, "put") == 0)
        *ret = LS_OP_PUT;
    else if (text != NULL && strcmp(text, "delete") == 0)
        *ret = LS_OP_DELETE;
    else
        return ls_err_set(err, LS_ERR_POISON, 0, "_op: expected \"put\" or \"delete\"");
    return 0;
}

/* The field's index by its name, tried first where the last line had it. */
static int find_field(struct ls_ndjson *parser, const char *name, size_t place)
{
    const struct ls_schema *schema = parser->schema;
    if (place < parser->n_order) {
        int guess = parser->order[place];
        if ((size_t)guess < schema->n_fields && strcmp(schema->fields[guess].name, name) == 0)
            return guess;
    }
    int index = ls_schema_field_by_name(schema, name, strlen(name));
    if (index >= 0 && place < parser->n_order)
        parser->order[place] = index;
    return index;
}

/* An unknown name may be anything, so no more of it is told than helps to find it. */
static int unknown_field(const char *name, struct ls_err *err)
{
    for (const char *c = name; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return ls_err_set(err, LS_ERR_POISON, 0, "a field name has control characters");
    }
    return ls_err_set(err, LS_ERR_POISON, 0, "field %.48s: the schema has no such field", name);
}

static int read_object(struct ls_ndjson *parser, struct ls_change *change, struct ls_err *err)
{
    const struct ls_schema *schema = parser->schema;
    const char *field_of_delete = NULL;
    size_t place = 0;
    for (void *at = json_object_iter(parser->root); at != NULL;
         at = json_object_iter_next(parser->root, at)) {
        const char *name = json_object_iter_key(at);
        const json_t *json = json_object_iter_value(at);
        int index = find_field(parser, name, place++);
        if (index >= 0) {
            const struct ls_field *field = &schema->fields[index];
            if (json_is_null(json))
                continue;
            field_of_delete = field->name;
            if (read_value(parser, field, json, &parser->values[index], err) < 0)
                return -1;
        } else if (strcmp(name, schema->key.name) == 0) {
            if (!json_is_string(json))
                return wrong_type(&schema->key, err);
            change->key = text_of(json);
        } else if (strcmp(name, LS_CHANGE_OP_FIELD) == 0) {
            if (read_op(json, &change->op, err) < 0)
                return -1;
        } else {
            return unknown_field(name, err);
        }
    }
    if (change->key.data == NULL)
        return ls_err_set(err, LS_ERR_POISON, 0, "field %s, the key, is missing", schema->key.name);
    if (change->op == LS_OP_DELETE && field_of_delete != NULL)
        return ls_err_set(err, LS_ERR_POISON, 0,
                          "field %s: a delete has the key alone, no other field", field_of_delete);
    return 0;
}

/* jansson quotes the input after "near": values do not belong into messages. */
static int no_json(const json_error_t *error, struct ls_err *err)
{
    char text[JSON_ERROR_TEXT_LENGTH];
    memcpy(text, error->text, sizeof(text));
    text[sizeof(text) - 1] = '\0';
    char *near = strstr(text, " near ");
    if (near != NULL)
        *near = '\0';
    return ls_err_set(err, LS_ERR_POISON, 0, "not JSON: %s at byte %d", text, error->position);
}

int ls_ndjson_parse(struct ls_ndjson *parser, const char *line, size_t len, struct ls_change *ret,
                    struct ls_err *err)
{
    json_decref(parser->root);
    ls_arena_reset(&parser->arena);
    json_error_t error;
    parser->root =
        json_loadb(line, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    if (parser->root == NULL)
        return no_json(&error, err);
    if (!json_is_object(parser->root))
        return ls_err_set(err, LS_ERR_POISON, 0, "not a JSON object of field names and values");
    memset(parser->values, 0, parser->schema->n_fields * sizeof(*parser->values));
    struct ls_change change = {.values = parser->values};
    if (read_object(parser, &change, err) < 0)
        return -1;
    *ret = change;
    return 0;
}
