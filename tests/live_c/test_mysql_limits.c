/*
 * Schemas at each limit that schema_limits.c computes make tables on a real server: a limit that is
 * too high is found here, and not halfway through a `schema apply`.
 */
#include <criterion/criterion.h>

#include "schema/mysql_ddl.h"
#include "tests/live_c/mysql_fixture.h"

#define ENTITY "live_limits"

/* A schema with n fields of these options. NULL when the limits refuse it. */
static struct ls_schema *schema_of(unsigned n, const char *options)
{
    struct ls_buf text = {0};
    struct ls_schema *schema = NULL;
    ls_buf_append_str(&text, "entity: " ENTITY "\nversion: 1\nredis_prefix: l\n"
                             "expected_records: 1\naverage_bytes: 1\nfields:\n"
                             "  - {number: 1, name: id, type: string, key: true}\n");
    for (unsigned i = 2; i < n + 2; i++)
        ls_buf_printf(&text, "  - {number: %u, name: f%u, %s}\n", i, i, options);
    if (ls_schema_parse("limits", text.data, text.len, &schema, NULL) < 0)
        schema = NULL;
    ls_buf_free(&text);
    return schema;
}

/* The most fields of these options that the limits allow make a table. Tests run side by side: each
 * has a shard of its own, so a table of its own. */
static void most_fields_make_a_table(uint16_t shard, const char *options)
{
    unsigned n = LS_FIELDS_MAX - 1;
    struct ls_schema *schema;
    while ((schema = schema_of(n, options)) == NULL)
        n--;
    struct mysql_fixture f;
    struct ls_mysql mysql;
    mysql_fixture_init_bare(&f, ENTITY, 1);
    mysql_connect_to(&f, shard, &mysql);
    struct ls_buf ddl = {0};
    struct ls_err err = {0};
    ls_mysql_create_shard(schema, shard, &ddl);
    mysql_must(&mysql, "DROP TABLE IF EXISTS " ENTITY "_%04u", (unsigned)shard);
    int rc = ls_mysql_run(&mysql, ddl.data, ddl.len, &err);
    cr_assert_eq(rc, 0, "%u fields of %s: %s", n, options, err.text);
    mysql_must(&mysql, "DROP TABLE " ENTITY "_%04u", (unsigned)shard);
    ls_buf_free(&ddl);
    ls_mysql_close(&mysql);
    mysql_fixture_free(&f);
    ls_schema_free(schema);
}

Test(mysql_limits, widest_varchars_make_a_table)
{
    most_fields_make_a_table(0, "type: string, length: 1024");
}

Test(mysql_limits, strings_that_stay_in_the_page_make_a_table)
{
    most_fields_make_a_table(8, "type: string, length: 63");
}

Test(mysql_limits, strings_that_can_leave_the_page_make_a_table)
{
    most_fields_make_a_table(16, "type: string, length: 64");
}

Test(mysql_limits, longest_texts_make_a_table)
{
    most_fields_make_a_table(24, "type: string, length: 8191, indexed: true");
}

Test(mysql_limits, most_lists_make_a_table)
{
    most_fields_make_a_table(32, "type: strings, length: 5, max_items: 2, indexed: true");
}

Test(mysql_limits, most_indexes_make_a_table)
{
    most_fields_make_a_table(40, "type: int, indexed: true");
}

Test(mysql_limits, most_fields_of_a_fixed_size_make_a_table)
{
    most_fields_make_a_table(48, "type: time");
}
