/*
 * The schemas and entities of the configuration. Every entity takes the one schema of its name.
 *
 * Threads: the one that reads the configuration. A crash leaves nothing behind.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/config_options.h"
#include "schema/key.h"

enum { ENTITIES_MAX = 64, ENTITY_NAME_MAX = 32 };

/* A schema that is there already under the same name, or under the same Redis prefix. */
static int check_schema(struct ls_config_reader *reader, int line, const struct ls_schema *schema)
{
    for (size_t i = 0; i < reader->n_schemas; i++) {
        const struct ls_schema *other = reader->schemas[i];
        if (strcmp(other->entity, schema->entity) == 0)
            return ls_config_fail(reader, line, "schemas: %s is a second schema of '%s', after %s",
                                  schema->path, schema->entity, other->path);
        if (strcmp(other->redis_prefix, schema->redis_prefix) == 0)
            return ls_config_fail(reader, line,
                                  "schemas: %s has the same redis_prefix '%s' as %s; their entries "
                                  "would overwrite each other",
                                  schema->path, schema->redis_prefix, other->path);
    }
    return 0;
}

static int read_schema(struct ls_config_reader *reader, const char *where,
                       const struct ls_yaml *node)
{
    const char *text = NULL;
    if (ls_yaml_text("", node, &text, NULL) < 0) {
        char found[80];
        return ls_config_fail(reader, node->line,
                              "%s: expected the path of a schema file, found %s", where,
                              ls_config_describe(node, found, sizeof(found)));
    }
    LS_CLEANUP_FREE char *path = ls_config_path(reader, text);
    struct ls_schema *schema = NULL;
    if (ls_schema_read(path, &schema, reader->err) < 0) {
        /* A mistake in the schema names its own line; a file that can't be read is named here. */
        if (reader->err->code != 0)
            ls_config_fail(reader, node->line, "%s: %s", where, reader->err->text);
        reader->err->class = LS_ERR_FATAL;
        return -1;
    }
    if (check_schema(reader, node->line, schema) < 0) {
        ls_schema_free(schema);
        return -1;
    }
    size_t n = reader->n_schemas + 1;
    reader->schemas = ls_realloc(reader->schemas, n * sizeof(*reader->schemas));
    reader->schema_lines = ls_realloc(reader->schema_lines, n * sizeof(*reader->schema_lines));
    reader->schemas[n - 1] = schema;
    reader->schema_lines[n - 1] = node->line;
    reader->n_schemas = n;
    return 0;
}

int ls_config_read_schemas(struct ls_config_reader *reader, const char *where,
                           const struct ls_yaml *node, void *target)
{
    if (node->kind != LS_YAML_LIST || node->n_items == 0) {
        char found[80];
        return ls_config_fail(
            reader, node->line, "%s: expected a list of schema files, found %s", where,
            node->kind == LS_YAML_LIST ? "an empty one"
                                       : ls_config_describe(node, found, sizeof(found)));
    }
    for (size_t i = 0; i < node->n_items; i++)
        if (read_schema(reader, where, node->items[i]) < 0)
            return -1;
    return 0;
}

int ls_config_read_partition_count(struct ls_config_reader *reader, const char *where,
                                   const struct ls_yaml *node, void *target)
{
    struct ls_entity_config *entity = target;
    int64_t number = 0;
    char found[80];
    if (ls_yaml_i64("", node, 1, LS_SHARDS, &number, NULL) < 0 || !ls_partitions_valid(number))
        return ls_config_fail(reader, node->line,
                              "%s: expected a power of two from 1 to %d, found %s", where,
                              LS_SHARDS, ls_config_describe(node, found, sizeof(found)));
    entity->partitions = (int32_t)number;
    return 0;
}

/* Gives the entity the schema of its name. */
static int take_schema(struct ls_config_reader *reader, int line, struct ls_entity_config *entity)
{
    const char *names[ENTITIES_MAX];
    size_t n = 0;
    struct ls_buf list = {0};
    for (size_t i = 0; i < reader->n_schemas && n < LS_COUNT(names); i++) {
        struct ls_schema *schema = reader->schemas[i];
        if (schema && strcmp(schema->entity, entity->name) == 0) {
            entity->schema = schema;
            reader->schemas[i] = NULL;
            ls_buf_free(&list);
            return 0;
        }
        if (schema == NULL)
            continue;
        ls_buf_printf(&list, "%s%s", n ? ", " : "", schema->entity);
        names[n++] = schema->entity;
    }
    const char *likely = ls_config_suggest(entity->name, names, n);
    if (likely)
        ls_config_fail(reader, line,
                       "entities: no file of schemas describes '%s'; did you mean '%s'?",
                       entity->name, likely);
    else
        ls_config_fail(reader, line,
                       "entities: no file of schemas describes '%s'; they describe %s",
                       entity->name, n ? ls_buf_cstr(&list) : "nothing else");
    ls_buf_free(&list);
    return -1;
}

int ls_config_read_entities(struct ls_config_reader *reader, const char *where,
                            const struct ls_yaml *node, void *target)
{
    struct ls_config *config = target;
    if (node->kind != LS_YAML_MAP || node->n_items == 0 || node->n_items > ENTITIES_MAX) {
        char found[80];
        return ls_config_fail(
            reader, node->line, "%s: expected a map of 1 to %d entities, found %s", where,
            ENTITIES_MAX,
            node->kind == LS_YAML_MAP ? (node->n_items ? "more" : "an empty one")
                                      : ls_config_describe(node, found, sizeof(found)));
    }
    config->entities = ls_calloc(node->n_items, sizeof(*config->entities));
    for (size_t i = 0; i < node->n_items; i++) {
        const char *name = node->keys[i];
        if (!ls_config_is_name(name, '_', ENTITY_NAME_MAX))
            return ls_config_fail(reader, node->key_lines[i],
                                  "entities: '%.60s' is no name of an entity; expected a small "
                                  "letter, then small letters, digits and _, at most %d",
                                  name, ENTITY_NAME_MAX);
        struct ls_entity_config *entity = &config->entities[config->n_entities++];
        entity->name = ls_strdup(name);
        char place[LS_WHERE_MAX];
        snprintf(place, sizeof(place), "%s.%s", where, name);
        if (take_schema(reader, node->key_lines[i], entity) < 0 ||
            ls_config_section(reader, &ls_section_entity, place, -1, node->items[i], entity) < 0)
            return -1;
    }
    return 0;
}
