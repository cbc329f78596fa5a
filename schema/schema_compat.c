/*
 * Whether one schema may follow another. What was ever written must stay readable, and mean the
 * same, in every store: the log keeps old images, and a replay brings them back. Pure.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "schema/schema.h"

static bool is_reserved(const struct ls_schema *schema, uint32_t number)
{
    for (size_t i = 0; i < schema->n_reserved; i++)
        if (schema->reserved[i] == number)
            return true;
    return false;
}

/* One field that stays: `next` against what was released. */
static int check_kept(const struct ls_schema *schema, const struct ls_field *previous,
                      const struct ls_field *next, struct ls_err *err)
{
    if (strcmp(previous->name, next->name) != 0)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "%s:%d: number %" PRIu32 " was released as '%s' and is '%s' here: take a "
                          "new number, and reserve %" PRIu32,
                          schema->path, next->line, next->number, previous->name, next->name,
                          next->number);
    if (previous->type != next->type)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "%s:%d: '%s' was released as %s and is %s here: take a new field",
                          schema->path, next->line, next->name, ls_type_name(previous->type),
                          ls_type_name(next->type));
    if (next->length < previous->length)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "%s:%d: length of '%s' was released as %" PRIu32 " and is %" PRIu32
                          " here: it can only grow",
                          schema->path, next->line, next->name, previous->length, next->length);
    if (next->max_items < previous->max_items)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "%s:%d: max_items of '%s' was released as %" PRIu32 " and is %" PRIu32
                          " here: it can only grow",
                          schema->path, next->line, next->name, previous->max_items,
                          next->max_items);
    return 0;
}

static int check_fields(const struct ls_schema *previous, const struct ls_schema *next,
                        struct ls_err *err)
{
    if (previous->key.number != next->key.number)
        return ls_err_set(err, LS_ERR_FATAL, 0, "%s:%d: the key was released with number %" PRIu32,
                          next->path, next->key.line, previous->key.number);
    if (check_kept(next, &previous->key, &next->key, err) < 0)
        return -1;
    for (size_t i = 0; i < previous->n_fields; i++) {
        const struct ls_field *field = &previous->fields[i];
        int index = ls_schema_field_by_number(next, field->number);
        if (index >= 0 && check_kept(next, field, &next->fields[index], err) < 0)
            return -1;
        if (index < 0 && !is_reserved(next, field->number))
            return ls_err_set(err, LS_ERR_FATAL, 0,
                              "%s:%d: '%s' was removed, and its number %" PRIu32
                              " is not in `reserved`",
                              next->path, next->reserved_line, field->name, field->number);
    }
    for (size_t i = 0; i < next->n_fields; i++) {
        const struct ls_field *field = &next->fields[i];
        int index = ls_schema_field_by_name(previous, field->name, strlen(field->name));
        if (index >= 0 && previous->fields[index].number != field->number)
            return ls_err_set(err, LS_ERR_FATAL, 0,
                              "%s:%d: '%s' was released with number %" PRIu32 " and has %" PRIu32
                              " here: stores go by the name; take a new name",
                              next->path, field->line, field->name, previous->fields[index].number,
                              field->number);
    }
    return 0;
}

static int check_reserved(const struct ls_schema *previous, const struct ls_schema *next,
                          struct ls_err *err)
{
    for (size_t i = 0; i < previous->n_reserved; i++) {
        uint32_t number = previous->reserved[i];
        if (is_reserved(next, number))
            continue;
        int index = ls_schema_field_by_number(next, number);
        int line = index >= 0 ? next->fields[index].line : next->reserved_line;
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "%s:%d: number %" PRIu32 " was released as reserved and no longer is: "
                          "numbers are never reused",
                          next->path, line, number);
    }
    return 0;
}

/* Whether they differ in anything but the version. */
static bool differs(const struct ls_schema *previous, const struct ls_schema *next)
{
    struct ls_schema same_version = *next;
    same_version.version = previous->version;
    LS_CLEANUP_FREE char *before = ls_schema_to_json(previous);
    LS_CLEANUP_FREE char *after = ls_schema_to_json(&same_version);
    return strcmp(before, after) != 0;
}

int ls_schema_compatible(const struct ls_schema *previous, const struct ls_schema *next,
                         struct ls_err *err)
{
    if (strcmp(previous->entity, next->entity) != 0)
        return ls_err_set(err, LS_ERR_FATAL, 0, "%s:1: entity '%s' was released as '%s'",
                          next->path, next->entity, previous->entity);
    if (strcmp(previous->redis_prefix, next->redis_prefix) != 0)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "%s:1: redis_prefix was released as '%s' and is '%s' here: every entry "
                          "would be lost from sight",
                          next->path, previous->redis_prefix, next->redis_prefix);
    /* First: what a newer version has beyond an old file is nothing that the old one took away. */
    if (next->version < previous->version)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "%s:%d: version %" PRIu32 " is older than the released %" PRIu32
                          ": use the file of that one",
                          next->path, next->version_line, next->version, previous->version);
    if (check_fields(previous, next, err) < 0 || check_reserved(previous, next, err) < 0)
        return -1;
    if (next->version == previous->version && differs(previous, next))
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "%s:%d: version %" PRIu32 " is released with other contents: raise it",
                          next->path, next->version_line, next->version);
    return 0;
}
