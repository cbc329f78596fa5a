/* A schema out of its text, for tests that need one. */
#ifndef LS_TESTS_UNIT_SCHEMA_FIXTURE_H
#define LS_TESTS_UNIT_SCHEMA_FIXTURE_H

#include <criterion/criterion.h>

#include "schema/schema.h"

/* The caller frees. Fails the test when the text is no schema. */
static inline struct ls_schema *schema_of(const char *text)
{
    struct ls_schema *schema;
    struct ls_err err = {0};
    cr_assert_eq(ls_schema_parse("test", text, strlen(text), &schema, &err), 0, "%s", err.text);
    return schema;
}

#endif
