/* CSV to changes. Views into the line wherever a column is as it stands there. */
#include "producers/csv.h"

#include <jansson.h>

#include "producers/text_value.h"

enum { CSV_KEY = -1, CSV_OP = -2 };

struct column {
    struct ls_span text;
    bool quoted;
};

void ls_csv_open(struct ls_csv *parser, const struct ls_schema *schema)
{
    *parser = (struct ls_csv){
        .schema = schema,
        .columns = ls_calloc(schema->n_fields + 2, sizeof(*parser->columns)),
        .values = ls_calloc(schema->n_fields + 1, sizeof(*parser->values)),
    };
}

void ls_csv_free(struct ls_csv *parser)
{
    ls_arena_free(&parser->arena);
    free(parser->columns);
    free(parser->values);
    *parser = (struct ls_csv){0};
}

/* A quoted column's text: the view itself, or a copy with "" made ". */
static struct ls_span unquote(struct ls_arena *arena, const char *text, size_t len)
{
    if (memchr(text, '"', len) == NULL)
        return (struct ls_span){text, (uint32_t)len};
    char *copy = ls_arena_alloc(arena, len);
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        copy[used++] = text[i];
        i += text[i] == '"';
    }
    return (struct ls_span){copy, (uint32_t)used};
}

/*
 * The column at *at, and moves *at behind its comma, or to len + 1 behind the last one. -1 when its
 * quotes are broken; lines.h leaves few of these: a quote inside a column that has none around it.
 */
static int next_column(struct ls_arena *arena, const char *line, size_t len, size_t *at,
                       struct column *ret)
{
    size_t begin = *at;
    if (begin < len && line[begin] == '"') {
        size_t end = ++begin;
        for (;;) {
            const char *quote = end < len ? memchr(line + end, '"', len - end) : NULL;
            if (quote == NULL)
                return -1;
            end = (size_t)(quote - line);
            if (end + 1 >= len || line[end + 1] != '"')
                break;
            end += 2;
        }
        if (end + 1 < len && line[end + 1] != ',')
            return -1;
        *ret = (struct column){unquote(arena, line + begin, end - begin), true};
        *at = end + 2;
        return 0;
    }
    const char *comma = begin < len ? memchr(line + begin, ',', len - begin) : NULL;
    size_t end = comma ? (size_t)(comma - line) : len;
    *ret = (struct column){{line + begin, (uint32_t)(end - begin)}, false};
    *at = end + 1;
    return end > begin && memchr(line + begin, '"', end - begin) != NULL ? -1 : 0;
}

static bool is_name(struct ls_span text, const char *name)
{
    return text.len == strlen(name) && memcmp(text.data, name, text.len) == 0;
}

/* What the column of that name holds: a field's index, CSV_KEY or CSV_OP. */
static int resolve(const struct ls_schema *schema, struct ls_span name, int *ret)
{
    if (is_name(name, schema->key.name))
        *ret = CSV_KEY;
    else if (is_name(name, LS_CHANGE_OP_FIELD))
        *ret = CSV_OP;
    else {
        int index = ls_schema_field_by_name(schema, name.data, name.len);
        if (index < 0)
            return -1;
        *ret = index;
    }
    return 0;
}

int ls_csv_header(struct ls_csv *parser, const char *line, size_t len, struct ls_err *err)
{
    bool has_key = false;
    parser->n_columns = 0;
    ls_arena_reset(&parser->arena);
    for (size_t at = 0, number = 1; at <= len; number++) {
        struct column column;
        int found;
        if (next_column(&parser->arena, line, len, &at, &column) < 0)
            return ls_err_set(err, LS_ERR_FATAL, 0, "header, column %zu: its quotes are broken",
                              number);
        if (resolve(parser->schema, column.text, &found) < 0)
            return ls_err_set(err, LS_ERR_FATAL, 0,
                              "header, column %zu: the schema has no field '%.*s'", number,
                              column.text.len > 48 ? 48 : (int)column.text.len, column.text.data);
        for (size_t i = 0; i < parser->n_columns; i++) {
            if (parser->columns[i] == found)
                return ls_err_set(err, LS_ERR_FATAL, 0, "header, column %zu: '%.*s' is there twice",
                                  number, (int)column.text.len, column.text.data);
        }
        has_key |= found == CSV_KEY;
        parser->columns[parser->n_columns++] = found;
    }
    if (!has_key)
        return ls_err_set(err, LS_ERR_FATAL, 0, "header: the key's column, '%s', is missing",
                          parser->schema->key.name);
    return 0;
}

static int wrong_type(const struct ls_field *field, struct ls_err *err)
{
    static const char *const expected[] = {
        [LS_TYPE_STRING] = "text",
        [LS_TYPE_INT] = "a whole number within 64 bits",
        [LS_TYPE_FLOAT] = "a finite number",
        [LS_TYPE_BOOL] = "true or false",
        [LS_TYPE_TIME] = "microseconds since 1970, or RFC 3339 text with at most six decimals",
        [LS_TYPE_STRINGS] = "a JSON array of strings",
    };
    return ls_err_set(err, LS_ERR_POISON, 0, "field %s: expected %s", field->name,
                      expected[field->type]);
}

/* The items are copied into the arena: the JSON tree lives for this call only. */
static int read_list(struct ls_csv *parser, const struct ls_field *field, struct ls_span text,
                     struct ls_value *value, struct ls_err *err)
{
    json_t *array = json_loadb(text.data, text.len, JSON_ALLOW_NUL, NULL);
    size_t count = json_array_size(array);
    bool good = json_is_array(array) && count <= LS_ITEMS_MAX;
    if (good) {
        value->count = (uint32_t)count;
        value->list = ls_arena_alloc(&parser->arena, (count + 1) * sizeof(*value->list));
    }
    for (size_t i = 0; good && i < count; i++) {
        const json_t *item = json_array_get(array, i);
        good = json_is_string(item);
        if (!good)
            break;
        size_t len = json_string_length(item);
        char *copy = ls_arena_alloc(&parser->arena, len + 1);
        memcpy(copy, json_string_value(item), len);
        value->list[i] = (struct ls_span){copy, (uint32_t)len};
    }
    json_decref(array);
    return good ? 0 : wrong_type(field, err);
}

static int read_value(struct ls_csv *parser, const struct ls_field *field, struct ls_span text,
                      struct ls_value *value, struct ls_err *err)
{
    bool yes = false, good = true;
    value->present = true;
    switch (field->type) {
    case LS_TYPE_STRING:
        value->text = text;
        break;
    case LS_TYPE_INT:
        good = ls_text_int(text.data, text.len, &value->number);
        break;
    case LS_TYPE_FLOAT:
        good = ls_text_float(text.data, text.len, &value->real);
        break;
    case LS_TYPE_BOOL:
        good = ls_text_bool(text.data, text.len, &yes);
        value->number = yes;
        break;
    case LS_TYPE_TIME:
        good = ls_text_int(text.data, text.len, &value->number) ||
               ls_text_time(text.data, text.len, &value->number);
        break;
    case LS_TYPE_STRINGS:
        return read_list(parser, field, text, value, err);
    }
    return good ? 0 : wrong_type(field, err);
}

static int read_op(struct ls_span text, enum ls_op *ret, struct ls_err *err)
{
    if (text.len == 0 || is_name(text, "put"))
        *ret = LS_OP_PUT;
    else if (is_name(text, "delete"))
        *ret = LS_OP_DELETE;
    else
        return ls_err_set(err, LS_ERR_POISON, 0, "_op: expected put or delete");
    return 0;
}

static int read_column(struct ls_csv *parser, int what, const struct column *column,
                       struct ls_change *change, const char **ret_field, struct ls_err *err)
{
    if (what == CSV_KEY) {
        change->key = column->text;
        return 0;
    }
    if (what == CSV_OP)
        return read_op(column->text, &change->op, err);
    if (column->text.len == 0 && !column->quoted)
        return 0;
    const struct ls_field *field = &parser->schema->fields[what];
    *ret_field = field->name;
    return read_value(parser, field, column->text, &parser->values[what], err);
}

int ls_csv_parse(struct ls_csv *parser, const char *line, size_t len, struct ls_change *ret,
                 struct ls_err *err)
{
    ls_arena_reset(&parser->arena);
    memset(parser->values, 0, parser->schema->n_fields * sizeof(*parser->values));
    struct ls_change change = {.values = parser->values};
    const char *field_of_delete = NULL;
    size_t number = 0;
    for (size_t at = 0; at <= len; number++) {
        struct column column;
        if (number >= parser->n_columns)
            return ls_err_set(err, LS_ERR_POISON, 0, "more columns than the %zu of the header",
                              parser->n_columns);
        if (next_column(&parser->arena, line, len, &at, &column) < 0)
            return ls_err_set(err, LS_ERR_POISON, 0,
                              "column %zu: a quote inside it; put quotes around and double it",
                              number + 1);
        if (read_column(parser, parser->columns[number], &column, &change, &field_of_delete, err) <
            0)
            return -1;
    }
    if (number != parser->n_columns)
        return ls_err_set(err, LS_ERR_POISON, 0, "%zu columns, the header has %zu", number,
                          parser->n_columns);
    if (change.op == LS_OP_DELETE && field_of_delete != NULL)
        return ls_err_set(err, LS_ERR_POISON, 0,
                          "field %s: a delete has the key alone, no other field", field_of_delete);
    *ret = change;
    return 0;
}
