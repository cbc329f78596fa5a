/* The check of one value against its field. Pure; no formatting unless something is wrong. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "schema/schema.h"
#include "schema/wire.h"

/* Says what is wrong with a text; item is -1 for a field that is no list. */
static int bad_text(const struct ls_field *field, int64_t item, int64_t characters,
                    struct ls_err *err)
{
    char where[32] = "";
    if (item >= 0)
        snprintf(where, sizeof(where), " item %" PRId64, item);
    if (characters < 0)
        return ls_err_set(err, LS_ERR_POISON, LS_REJECT_SCHEMA,
                          "field %" PRIu32 " (%s)%s: not valid UTF-8", field->number, field->name,
                          where);
    return ls_err_set(err, LS_ERR_POISON, LS_REJECT_SCHEMA,
                      "field %" PRIu32 " (%s)%s: %" PRId64 " characters, more than the %" PRIu32
                      " that the schema allows",
                      field->number, field->name, where, characters, field->length);
}

static int check_text(const struct ls_field *field, int64_t item, struct ls_span text,
                      struct ls_err *err)
{
    int64_t characters = ls_utf8_length(text.data, text.len);
    if (characters < 0 || characters > (int64_t)field->length)
        return bad_text(field, item, characters, err);
    return 0;
}

static int check_list(const struct ls_field *field, const struct ls_value *value,
                      struct ls_err *err)
{
    if (value->count > field->max_items)
        return ls_err_set(err, LS_ERR_POISON, LS_REJECT_SCHEMA,
                          "field %" PRIu32 " (%s): %" PRIu32 " items, more than the %" PRIu32
                          " that the schema allows",
                          field->number, field->name, value->count, field->max_items);
    for (uint32_t i = 0; i < value->count; i++)
        if (check_text(field, i, value->list[i], err) < 0)
            return -1;
    return 0;
}

int ls_value_check(const struct ls_field *field, const struct ls_value *value, struct ls_err *err)
{
    switch (field->type) {
    case LS_TYPE_STRING:
        return check_text(field, -1, value->text, err);
    case LS_TYPE_STRINGS:
        return check_list(field, value, err);
    case LS_TYPE_FLOAT:
        if (!isfinite(value->real))
            return ls_err_set(err, LS_ERR_POISON, LS_REJECT_SCHEMA,
                              "field %" PRIu32 " (%s): not a finite number", field->number,
                              field->name);
        return 0;
    case LS_TYPE_BOOL:
        if (value->number != 0 && value->number != 1)
            return ls_err_set(err, LS_ERR_POISON, LS_REJECT_SCHEMA,
                              "field %" PRIu32 " (%s): neither true nor false", field->number,
                              field->name);
        return 0;
    case LS_TYPE_INT:
    case LS_TYPE_TIME:
        return 0;
    }
    return 0;
}
