/*
 * A schema file as a schema. Walks the YAML tree and refuses whatever it does not know, with file
 * and line: a misspelt option that is ignored would be found when the store is full. One thread.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/yaml.h"
#include "schema/schema.h"

enum { NAME_MAX_CHARS = 48, ENTITY_MAX_CHARS = 32, PREFIX_MAX_CHARS = 16 };

struct reader {
    const char *path;
    struct ls_err *err;
};

__attribute__((format(printf, 3, 4))) static int fail(const struct reader *reader, int line,
                                                      const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return ls_err_set(reader->err, LS_ERR_FATAL, 0, "%s:%d: %s", reader->path, line, text);
}

/* Refuses keys that are not in the list (NULL-ended). */
static int check_keys(const struct reader *reader, const struct ls_yaml *map,
                      const char *const *known)
{
    for (size_t i = 0; i < map->n_items; i++) {
        size_t k = 0;
        while (known[k] && strcmp(known[k], map->keys[i]) != 0)
            k++;
        if (known[k])
            continue;
        char expected[200] = "";
        size_t len = 0;
        for (k = 0; known[k] && len < sizeof(expected); k++)
            len += (size_t)snprintf(expected + len, sizeof(expected) - len, "%s%s", k ? ", " : "",
                                    known[k]);
        return fail(reader, map->key_lines[i], "unknown key '%.60s', expected one of %s",
                    map->keys[i], expected);
    }
    return 0;
}

/* The value of a key that must be there; what the map is goes into the message. */
static int required(const struct reader *reader, const struct ls_yaml *map, const char *key,
                    const char *what, const struct ls_yaml **ret)
{
    const struct ls_yaml *node = ls_yaml_get(map, key);
    if (node == NULL)
        return fail(reader, map->line, "%s has no '%s'", what, key);
    *ret = node;
    return 0;
}

static int read_number(const struct reader *reader, const struct ls_yaml *map, const char *key,
                       const char *what, int64_t min, int64_t max, int64_t *ret)
{
    const struct ls_yaml *node = NULL;
    if (required(reader, map, key, what, &node) < 0)
        return -1;
    return ls_yaml_i64(reader->path, node, min, max, ret, reader->err);
}

/* A name of lower-case letters and digits (and `_` if allowed), a letter first. */
static int read_name(const struct reader *reader, const struct ls_yaml *map, const char *key,
                     const char *what, size_t max, bool underscore, char **ret)
{
    const struct ls_yaml *node = NULL;
    const char *text = "";
    if (required(reader, map, key, what, &node) < 0 ||
        ls_yaml_text(reader->path, node, &text, reader->err) < 0)
        return -1;
    size_t len = strlen(text);
    bool good = len <= max && text[0] >= 'a' && text[0] <= 'z';
    for (size_t i = 0; good && i < len; i++)
        good = (text[i] >= 'a' && text[i] <= 'z') || (text[i] >= '0' && text[i] <= '9') ||
               (underscore && text[i] == '_');
    if (!good)
        return fail(reader, node->line,
                    "%s '%.60s': expected 1 to %zu of a-z, 0-9%s, with a letter first", key, text,
                    max, underscore ? " and _" : "");
    *ret = ls_strdup(text);
    return 0;
}

static int read_flag(const struct reader *reader, const struct ls_yaml *map, const char *key,
                     bool *flag)
{
    const struct ls_yaml *node = ls_yaml_get(map, key);
    return node ? ls_yaml_bool(reader->path, node, flag, reader->err) : 0;
}

static int read_type(const struct reader *reader, const struct ls_yaml *map, enum ls_type *ret)
{
    const struct ls_yaml *node = NULL;
    if (required(reader, map, "type", "the field", &node) < 0)
        return -1;
    for (enum ls_type type = LS_TYPE_STRING; type <= LS_TYPE_STRINGS; type++) {
        if (node->kind == LS_YAML_SCALAR && strcmp(node->text, ls_type_name(type)) == 0) {
            *ret = type;
            return 0;
        }
    }
    char found[80];
    return fail(reader, node->line,
                "type: expected one of string, int, float, bool, time, strings, found %s",
                ls_yaml_describe(node, found, sizeof(found)));
}

/* A size that some types must have and the others must not. */
static int read_size(const struct reader *reader, const struct ls_yaml *map, const char *key,
                     bool wanted, int64_t max, enum ls_type type, uint32_t *ret)
{
    int64_t number = 0;
    const struct ls_yaml *node = ls_yaml_get(map, key);
    if (!wanted && node != NULL)
        return fail(reader, node->line, "a field of type %s has no '%s'", ls_type_name(type), key);
    if (wanted) {
        if (node == NULL)
            return fail(reader, map->line, "a field of type %s needs '%s', from 1 to %" PRId64,
                        ls_type_name(type), key, max);
        if (ls_yaml_i64(reader->path, node, 1, max, &number, reader->err) < 0)
            return -1;
    }
    *ret = (uint32_t)number;
    return 0;
}

/* What is special about the key: a string whose limits are the same in every entity. */
static int read_key(const struct reader *reader, const struct ls_yaml *map, struct ls_field *field)
{
    static const char *const fixed[] = {"length", "max_items", "indexed"};
    if (field->type != LS_TYPE_STRING)
        return fail(reader, field->line, "the key '%s' is of type %s, expected string", field->name,
                    ls_type_name(field->type));
    for (size_t i = 0; i < LS_COUNT(fixed); i++) {
        const struct ls_yaml *node = ls_yaml_get(map, fixed[i]);
        if (node)
            return fail(reader, node->line,
                        "the key has no '%s': it has up to %d bytes and is always indexed",
                        fixed[i], LS_KEY_BYTES_MAX);
    }
    field->length = LS_KEY_BYTES_MAX;
    field->indexed = true;
    return 0;
}

static int read_field(const struct reader *reader, const struct ls_yaml *map,
                      struct ls_field *field, bool *ret_key)
{
    static const char *const known[] = {"number",  "name", "type", "length", "max_items",
                                        "indexed", "pii",  "key",  NULL};
    if (map->kind != LS_YAML_MAP) {
        char found[80];
        return fail(reader, map->line, "expected a field as a map, found %s",
                    ls_yaml_describe(map, found, sizeof(found)));
    }
    int64_t number = 0;
    bool key = false;
    field->line = map->line;
    if (check_keys(reader, map, known) < 0 ||
        read_number(reader, map, "number", "the field", 1, UINT16_MAX, &number) < 0 ||
        read_name(reader, map, "name", "the field", NAME_MAX_CHARS, true, &field->name) < 0 ||
        read_type(reader, map, &field->type) < 0 ||
        read_flag(reader, map, "indexed", &field->indexed) < 0 ||
        read_flag(reader, map, "pii", &field->pii) < 0 || read_flag(reader, map, "key", &key) < 0)
        return -1;
    field->number = (uint32_t)number;
    *ret_key = key;
    if (key)
        return read_key(reader, map, field);
    bool texts = field->type == LS_TYPE_STRINGS;
    if (read_size(reader, map, "length", texts || field->type == LS_TYPE_STRING, LS_LENGTH_MAX,
                  field->type, &field->length) < 0)
        return -1;
    return read_size(reader, map, "max_items", texts, LS_ITEMS_MAX, field->type, &field->max_items);
}

static int by_number(const void *left, const void *right)
{
    const struct ls_field *a = left, *b = right;
    return a->number != b->number ? (a->number < b->number ? -1 : 1) : a->line - b->line;
}

static int read_fields(const struct reader *reader, const struct ls_yaml *root,
                       struct ls_schema *schema)
{
    const struct ls_yaml *list = NULL;
    if (required(reader, root, "fields", "the schema", &list) < 0)
        return -1;
    if (list->kind != LS_YAML_LIST || list->n_items == 0)
        return fail(reader, list->line, "fields: expected a list of fields");
    if (list->n_items > LS_FIELDS_MAX)
        return fail(reader, list->line, "fields: %zu, more than the %d that an entity may have",
                    list->n_items, LS_FIELDS_MAX);
    schema->reserved_line = list->line;
    schema->fields = ls_calloc(list->n_items, sizeof(*schema->fields));
    for (size_t i = 0; i < list->n_items; i++) {
        struct ls_field *field = &schema->fields[schema->n_fields++];
        bool key = false;
        if (read_field(reader, list->items[i], field, &key) < 0)
            return -1;
        if (!key)
            continue;
        if (schema->key.name)
            return fail(reader, field->line, "a second key, '%s': the key is '%s' (line %d)",
                        field->name, schema->key.name, schema->key.line);
        schema->key = *field;
        *field = (struct ls_field){0};
        schema->n_fields--;
    }
    if (schema->key.name == NULL)
        return fail(reader, list->line, "no field is the key: give one string field `key: true`");
    qsort(schema->fields, schema->n_fields, sizeof(*schema->fields), by_number);
    return 0;
}

static int by_value(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

static int read_reserved(const struct reader *reader, const struct ls_yaml *root,
                         struct ls_schema *schema)
{
    const struct ls_yaml *list = ls_yaml_get(root, "reserved");
    if (list == NULL)
        return 0;
    if (list->kind != LS_YAML_LIST)
        return fail(reader, list->line, "reserved: expected a list of field numbers");
    schema->reserved_line = list->line;
    schema->reserved = ls_calloc(list->n_items, sizeof(*schema->reserved));
    for (size_t i = 0; i < list->n_items; i++) {
        int64_t number = 0;
        if (ls_yaml_i64(reader->path, list->items[i], 1, UINT16_MAX, &number, reader->err) < 0)
            return -1;
        schema->reserved[schema->n_reserved++] = (uint32_t)number;
    }
    qsort(schema->reserved, schema->n_reserved, sizeof(*schema->reserved), by_value);
    return 0;
}

static int read_schema(const struct reader *reader, const struct ls_yaml *root,
                       struct ls_schema *schema)
{
    static const char *const known[] = {
        "entity",        "version", "redis_prefix", "expected_records",
        "average_bytes", "fields",  "reserved",     NULL};
    static const char what[] = "the schema";
    if (root->kind != LS_YAML_MAP)
        return fail(reader, root->line, "expected a map with entity, version, fields, …");
    int64_t version = 0, records = 0, bytes = 0;
    if (check_keys(reader, root, known) < 0 ||
        read_name(reader, root, "entity", what, ENTITY_MAX_CHARS, true, &schema->entity) < 0 ||
        read_number(reader, root, "version", what, 1, UINT32_MAX, &version) < 0 ||
        read_name(reader, root, "redis_prefix", what, PREFIX_MAX_CHARS, false,
                  &schema->redis_prefix) < 0 ||
        read_number(reader, root, "expected_records", what, 1, INT64_C(1) << 40, &records) < 0 ||
        read_number(reader, root, "average_bytes", what, 1, LS_BODY_BYTES_MAX, &bytes) < 0 ||
        read_fields(reader, root, schema) < 0 || read_reserved(reader, root, schema) < 0)
        return -1;
    schema->version = (uint32_t)version;
    schema->version_line = ls_yaml_get(root, "version")->line;
    schema->expected_records = (uint64_t)records;
    schema->average_bytes = (uint32_t)bytes;
    return ls_schema_check_limits(schema, reader->err);
}

static int from_tree(const char *path, const struct ls_yaml *root, struct ls_schema **ret,
                     struct ls_err *err)
{
    struct reader reader = {.path = path, .err = err};
    struct ls_schema *schema = ls_calloc(1, sizeof(*schema));
    schema->path = ls_strdup(path);
    if (read_schema(&reader, root, schema) < 0) {
        ls_schema_free(schema);
        return -1;
    }
    *ret = schema;
    return 0;
}

int ls_schema_parse(const char *path, const char *text, size_t len, struct ls_schema **ret,
                    struct ls_err *err)
{
    struct ls_yaml *root;
    if (ls_yaml_parse(path, text, len, &root, err) < 0)
        return -1;
    int rc = from_tree(path, root, ret, err);
    ls_yaml_free(root);
    return rc;
}

int ls_schema_read(const char *path, struct ls_schema **ret, struct ls_err *err)
{
    struct ls_yaml *root;
    if (ls_yaml_read(path, &root, err) < 0)
        return -1;
    int rc = from_tree(path, root, ret, err);
    ls_yaml_free(root);
    return rc;
}
