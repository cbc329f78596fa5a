/*
 * Rows as images. What a row says of itself is believed as little as possible: the hash is computed
 * anew, a deleted row with content and a cell of the wrong form are undecodable, so that verify
 * sees what somebody else did to a table. Pure.
 */
#include "consumers/mysql_image.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "consumers/mysql_text.h"

/* A whole number in decimal that ends at the cell's end. MySQL's cells are NUL-terminated. */
static bool read_i64(const char *cell, unsigned long len, int64_t *ret)
{
    char *end;
    errno = 0;
    int64_t number = strtoll(cell, &end, 10);
    if (errno != 0 || len == 0 || end != cell + len)
        return false;
    *ret = number;
    return true;
}

static uint64_t read_u64(const char *cell)
{
    return cell != NULL ? strtoull(cell, NULL, 10) : 0;
}

static bool read_real(const char *cell, unsigned long len, double *ret)
{
    char *end;
    double number = strtod(cell, &end); /* a subnormal sets ERANGE and is right all the same */
    if (len == 0 || end != cell + len || !isfinite(number))
        return false;
    *ret = number == 0.0 ? 0.0 : number;
    return true;
}

/* NULL, or why the cell is not a value of its field. */
static const char *read_value(const struct ls_field *field, const char *cell, unsigned long len,
                              struct ls_arena *arena, struct ls_value *value)
{
    const char *why;
    value->present = true;
    switch (field->type) {
    case LS_TYPE_STRING:
        value->text = (struct ls_span){cell, (uint32_t)len};
        return ls_utf8_length(cell, len) < 0 ? "is not UTF-8" : NULL;
    case LS_TYPE_INT:
    case LS_TYPE_TIME:
        return read_i64(cell, len, &value->number) ? NULL : "is not a whole number";
    case LS_TYPE_BOOL:
        if (!read_i64(cell, len, &value->number) || value->number < 0 || value->number > 1)
            return "is neither 0 nor 1";
        return NULL;
    case LS_TYPE_FLOAT:
        return read_real(cell, len, &value->real) ? NULL : "is not a finite number";
    case LS_TYPE_STRINGS:
        if (ls_utf8_length(cell, len) < 0)
            return "is not UTF-8";
        if (ls_mysql_list_read(cell, len, arena, &value->list, &value->count, &why) != 0)
            return why;
        return NULL;
    }
    return "is of an unknown type";
}

static void undecodable(struct ls_image *image, struct ls_arena *arena, const char *column,
                        const char *why)
{
    char *text = ls_arena_alloc(arena, 160);
    snprintf(text, 160, "column %s: %s", column, why);
    image->undecodable = true;
    image->why = text;
    image->values = NULL;
    image->hash = 0;
}

void ls_mysql_image_read(const struct ls_schema *schema, char *const *cells,
                         const unsigned long *lengths, struct ls_arena *arena,
                         struct ls_buf *scratch, struct ls_image *ret)
{
    char *const *hidden = cells + 1 + schema->n_fields;
    struct ls_image image = {.found = true};
    image.key = (struct ls_span){cells[0], (uint32_t)lengths[0]};
    image.at_ms = hidden[0] != NULL ? strtoll(hidden[0], NULL, 10) : 0;
    image.deleted = read_u64(hidden[1]) != 0;
    image.stored_hash = read_u64(hidden[2]);
    image.version = read_u64(hidden[3]);
    struct ls_value *values = ls_arena_alloc(arena, (schema->n_fields + 1) * sizeof(*values));
    for (size_t i = 0; i < schema->n_fields && !image.undecodable; i++) {
        const char *cell = cells[i + 1];
        values[i] = (struct ls_value){.present = false};
        if (cell == NULL)
            continue;
        const char *why =
            image.deleted ? "has content, though the record is deleted"
                          : read_value(&schema->fields[i], cell, lengths[i + 1], arena, &values[i]);
        if (why != NULL)
            undecodable(&image, arena, schema->fields[i].name, why);
    }
    if (!image.undecodable) {
        image.values = image.deleted ? NULL : values;
        image.hash =
            ls_hash(schema, image.key.data, image.key.len, image.deleted, image.values, scratch);
    }
    *ret = image;
}
