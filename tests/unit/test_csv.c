/* CSV records as changes: RFC 4180 quoting, absent and empty, and what is refused. */
#include "tests/unit/change_fixture.h"

#include "producers/csv.h"

static struct ls_schema *schema;
static struct ls_csv parser;
static struct ls_change change;
static struct ls_err err;

static int header(const char *line)
{
    return ls_csv_header(&parser, line, strlen(line), &err);
}

static void setup(void)
{
    schema = change_schema();
    ls_csv_open(&parser, schema);
    cr_assert_eq(header("_op,id,s,i,f,b,t,l"), 0, "%s", err.text);
}

static void teardown(void)
{
    ls_csv_free(&parser);
    ls_schema_free(schema);
}

TestSuite(csv, .init = setup, .fini = teardown);

static int parse(const char *line)
{
    return ls_csv_parse(&parser, line, strlen(line), &change, &err);
}

static void refused(const char *line, const char *reason)
{
    cr_assert_eq(parse(line), -1, "%s", line);
    cr_assert_eq(err.class, LS_ERR_POISON);
    cr_assert_not_null(strstr(err.text, reason), "%s: '%s'", line, err.text);
}

static void expect_text(struct ls_span text, const char *expected)
{
    cr_assert_eq(text.len, strlen(expected), "'%.*s'", (int)text.len, text.data);
    cr_assert_eq(memcmp(text.data, expected, text.len), 0);
}

Test(csv, reads_a_field_of_each_type)
{
    cr_assert_eq(parse("put,k,\"a \"\"b\"\", c\nd\",-9223372036854775808,1.5,true,"
                       "2024-05-01T12:34:56.123456Z,\"[\"\"x\"\",\"\"\"\"]\""),
                 0, "%s", err.text);
    expect_text(change.key, "k");
    expect_text(change.values[CHANGE_S].text, "a \"b\", c\nd");
    cr_assert_eq(change.values[CHANGE_I].number, INT64_MIN);
    cr_assert_eq(change.values[CHANGE_F].real, 1.5);
    cr_assert_eq(change.values[CHANGE_B].number, 1);
    cr_assert_eq(change.values[CHANGE_T].number, INT64_C(1714566896123456));
    cr_assert_eq(change.values[CHANGE_L].count, 2);
    expect_text(change.values[CHANGE_L].list[0], "x");
    expect_text(change.values[CHANGE_L].list[1], "");
}

Test(csv, tells_absent_from_empty)
{
    cr_assert_eq(parse(",k,\"\",,,,,[]"), 0);
    cr_assert_eq(change.op, LS_OP_PUT);
    cr_assert(change.values[CHANGE_S].present);
    cr_assert_eq(change.values[CHANGE_S].text.len, 0);
    cr_assert_not(change.values[CHANGE_I].present);
    cr_assert(change.values[CHANGE_L].present);
    cr_assert_eq(change.values[CHANGE_L].count, 0);
    cr_assert_eq(parse(",k,,,,,,"), 0);
    cr_assert_not(change.values[CHANGE_S].present);
    cr_assert_not(change.values[CHANGE_L].present);
}

Test(csv, keeps_blanks_and_quoted_numbers)
{
    cr_assert_eq(parse(",\" k \", x ,\"7\",,,,"), 0);
    expect_text(change.key, " k ");
    expect_text(change.values[CHANGE_S].text, " x ");
    cr_assert_eq(change.values[CHANGE_I].number, 7);
}

Test(csv, reads_deletes_of_the_key_alone)
{
    cr_assert_eq(parse("delete,k,,,,,,"), 0);
    cr_assert_eq(change.op, LS_OP_DELETE);
    refused("delete,k,x,,,,,", "field s");
    refused("upsert,k,,,,,,", "_op");
}

Test(csv, refuses_values_of_another_type)
{
    refused(",k,,1.0,,,,", "field i");
    refused(",k,,9223372036854775808,,,,", "field i");
    refused(",k,,,nan,,,", "field f");
    refused(",k,,,\"1,5\",,,", "field f");
    refused(",k,,,,yes,,", "field b");
    refused(",k,,,,,2024-02-30T00:00:00Z,", "field t");
    refused(",k,,,,,,x", "field l");
    refused(",k,,,,,,[1]", "field l");
    refused(",k,,,,,,{}", "field l");
    refused(",k,,\"\",,,,", "field i");
}

Test(csv, refuses_another_number_of_columns_and_stray_quotes)
{
    refused("put,k", "2 columns, the header has 8");
    refused(",k,,,,,,,", "more columns than the 8");
    refused(",k,5\" pipe,,,,,", "column 3");
    refused(",k,\"open,,,,,", "column 3");
    refused(",k,\"x\"y,,,,,", "column 3");
}

Test(csv, header_names_every_column_once_and_the_key)
{
    cr_assert_eq(header("\"id\",s"), 0);
    cr_assert_eq(parse("k,x"), 0);
    cr_assert_eq(header("id,zip"), -1);
    cr_assert_not_null(strstr(err.text, "column 2: the schema has no field 'zip'"));
    cr_assert_eq(header("id,s,s"), -1);
    cr_assert_not_null(strstr(err.text, "there twice"));
    cr_assert_eq(header("s,i"), -1);
    cr_assert_not_null(strstr(err.text, "'id', is missing"));
    cr_assert_eq(header("id,"), -1);
}
