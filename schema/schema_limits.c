/*
 * What must hold for a schema as a whole. The narrowest store decides, here, so that no record that
 * passes the schema is refused by a store, and no `schema apply` fails halfway through 1024 tables.
 */
#include <inttypes.h>

#include "schema/mysql_ddl.h"
#include "schema/schema.h"

enum {
    MYSQL_ROW_BYTES = 65535, /* all columns of a row but the contents of TEXT */
    INNODB_PAGE_ROW = 8126,  /* of a row in its 16 KiB page, when all that can has left the page */
    MYSQL_INDEXES = 63,      /* of a table, beside its primary key */
    HIDDEN_BYTES =
        8 + 1 + 8 + 8 + 1 + LS_KEY_BYTES_MAX + 40, /* _at _deleted _h _v, key, row head */
    UTF8_BYTES = 4,
};

static const struct ls_field *nth_field(const struct ls_schema *schema, size_t i)
{
    return i == 0 ? &schema->key : &schema->fields[i - 1];
}

/* Says it at the later of the two lines, as a person reads the file from the top. */
static int twice(const struct ls_schema *schema, const struct ls_field *a, const struct ls_field *b,
                 bool number, struct ls_err *err)
{
    const struct ls_field *first = a->line <= b->line ? a : b;
    const struct ls_field *second = first == a ? b : a;
    if (number)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "%s:%d: number %" PRIu32 " of '%s' is '%s' already (line %d): numbers "
                          "are never reused",
                          schema->path, second->line, second->number, second->name, first->name,
                          first->line);
    return ls_err_set(err, LS_ERR_FATAL, 0, "%s:%d: name '%s' is there already (line %d)",
                      schema->path, second->line, second->name, first->line);
}

static int check_unique(const struct ls_schema *schema, struct ls_err *err)
{
    for (size_t i = 0; i <= schema->n_fields; i++) {
        const struct ls_field *field = nth_field(schema, i);
        for (size_t j = i + 1; j <= schema->n_fields; j++) {
            const struct ls_field *other = nth_field(schema, j);
            if (field->number == other->number)
                return twice(schema, field, other, true, err);
            if (strcmp(field->name, other->name) == 0)
                return twice(schema, field, other, false, err);
        }
        for (size_t j = 0; j < schema->n_reserved; j++)
            if (field->number == schema->reserved[j])
                return ls_err_set(err, LS_ERR_FATAL, 0,
                                  "%s:%d: number %" PRIu32 " of '%s' is reserved (line %d): it was "
                                  "another field's; take a new one",
                                  schema->path, field->line, field->number, field->name,
                                  schema->reserved_line);
    }
    return 0;
}

/* Bytes of a column in MySQL's row, and in its page when it has left as far as it can. */
static void column_bytes(const struct ls_field *field, size_t *ret_row, size_t *ret_page)
{
    size_t bytes = (size_t)field->length * UTF8_BYTES;
    *ret_row = 8;
    *ret_page = 8;
    if (field->type == LS_TYPE_BOOL)
        *ret_row = *ret_page = 1;
    if (field->type == LS_TYPE_STRINGS || ls_mysql_is_text(field)) {
        *ret_row = 12; /* pointer and length */
        *ret_page = 41;
    } else if (field->type == LS_TYPE_STRING) {
        *ret_row = bytes + 2;
        *ret_page = bytes <= 255 ? bytes + 1 : 41; /* shorter ones never leave the page */
    }
}

/* Bytes of a field on the wire at most, its number with it. */
static size_t wire_bytes(const struct ls_field *field)
{
    size_t text = (size_t)field->length * UTF8_BYTES + 5;
    if (field->type == LS_TYPE_STRING)
        return 3 + text;
    if (field->type == LS_TYPE_STRINGS)
        return 3 + 5 + field->max_items * text;
    return 3 + 9;
}

static int check_sizes(const struct ls_schema *schema, struct ls_err *err)
{
    size_t row = HIDDEN_BYTES + schema->n_fields / 8 + 1, page = row, wire = 256, indexes = 0;
    for (size_t i = 0; i < schema->n_fields; i++) {
        const struct ls_field *field = &schema->fields[i];
        size_t row_bytes, page_bytes;
        column_bytes(field, &row_bytes, &page_bytes);
        row += row_bytes;
        page += page_bytes;
        wire += wire_bytes(field);
        indexes += ls_mysql_has_index(field);
        if (row > MYSQL_ROW_BYTES || page > INNODB_PAGE_ROW)
            return ls_err_set(
                err, LS_ERR_FATAL, 0,
                "%s:%d: '%s' makes the row too wide for MySQL (%zu of %d bytes, %zu of "
                "%d in its page): shorten some strings, or give some more than %d "
                "characters, which become TEXT",
                schema->path, field->line, field->name, row, MYSQL_ROW_BYTES, page, INNODB_PAGE_ROW,
                LS_MYSQL_VARCHAR_MAX);
        if (wire > LS_BODY_BYTES_MAX)
            return ls_err_set(err, LS_ERR_FATAL, 0,
                              "%s:%d: with '%s' a record may have %zu bytes, more than %d: lower "
                              "some lengths or max_items",
                              schema->path, field->line, field->name, wire, LS_BODY_BYTES_MAX);
        if (indexes > MYSQL_INDEXES)
            return ls_err_set(err, LS_ERR_FATAL, 0,
                              "%s:%d: '%s' is indexed field number %zu, and MySQL takes %d",
                              schema->path, field->line, field->name, indexes, MYSQL_INDEXES);
    }
    return 0;
}

int ls_schema_check_limits(const struct ls_schema *schema, struct ls_err *err)
{
    if (check_unique(schema, err) < 0)
        return -1;
    return check_sizes(schema, err);
}
