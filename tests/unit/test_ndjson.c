/* NDJSON lines as changes: exact values, and every kind of bad line refused with its reason. */
#include "tests/unit/change_fixture.h"

#include <math.h>

#include "producers/ndjson.h"

static struct ls_schema *schema;
static struct ls_ndjson parser;
static struct ls_change change;
static struct ls_err err;

static void setup(void)
{
    schema = change_schema();
    ls_ndjson_open(&parser, schema);
}

static void teardown(void)
{
    ls_ndjson_free(&parser);
    ls_schema_free(schema);
}

TestSuite(ndjson, .init = setup, .fini = teardown);

static int parse(const char *line)
{
    return ls_ndjson_parse(&parser, line, strlen(line), &change, &err);
}

static void refused(const char *line, const char *reason)
{
    cr_assert_eq(parse(line), -1, "%s", line);
    cr_assert_eq(err.class, LS_ERR_POISON);
    cr_assert_not_null(strstr(err.text, reason), "%s: '%s'", line, err.text);
}

Test(ndjson, reads_a_field_of_each_type)
{
    cr_assert_eq(
        parse("{\"id\":\"k\",\"s\":\"a\\u00e9\\ud83d\\ude42\\n\",\"i\":-9223372036854775808,"
              "\"f\":1.5,\"b\":true,\"t\":1714566896123456,\"l\":[\"x\",\"\"]}"),
        0, "%s", err.text);
    cr_assert_eq(change.op, LS_OP_PUT);
    cr_assert_eq(change.key.len, 1);
    cr_assert_eq(change.values[CHANGE_S].text.len, 8);
    cr_assert_eq(memcmp(change.values[CHANGE_S].text.data, "a\xc3\xa9\xf0\x9f\x99\x82\n", 8), 0);
    cr_assert_eq(change.values[CHANGE_I].number, INT64_MIN);
    cr_assert_eq(change.values[CHANGE_F].real, 1.5);
    cr_assert_eq(change.values[CHANGE_B].number, 1);
    cr_assert_eq(change.values[CHANGE_T].number, INT64_C(1714566896123456));
    cr_assert_eq(change.values[CHANGE_L].count, 2);
    cr_assert_eq(change.values[CHANGE_L].list[1].len, 0);
}

Test(ndjson, tells_absent_from_empty)
{
    cr_assert_eq(parse("{\"id\":\"k\",\"s\":\"\",\"l\":[],\"i\":null}"), 0);
    cr_assert(change.values[CHANGE_S].present);
    cr_assert(change.values[CHANGE_L].present);
    cr_assert_not(change.values[CHANGE_I].present);
    cr_assert_not(change.values[CHANGE_F].present);
    cr_assert_eq(parse("{\"id\":\"k\"}"), 0);
    cr_assert_not(change.values[CHANGE_S].present, "a line must not show the last one's fields");
}

Test(ndjson, reads_times_as_text_and_whole_numbers_as_floats)
{
    cr_assert_eq(parse("{\"id\":\"k\",\"t\":\"2024-05-01T21:34:56.1+09:00\",\"f\":-0.0}"), 0);
    cr_assert_eq(change.values[CHANGE_T].number, INT64_C(1714566896100000));
    cr_assert_not(signbit(change.values[CHANGE_F].real));
    cr_assert_eq(parse("{\"f\":9007199254740992,\"id\":\"k\"}"), 0);
    cr_assert_eq(change.values[CHANGE_F].real, 9007199254740992.0);
    refused("{\"id\":\"k\",\"f\":9007199254740993}", "2^53");
}

Test(ndjson, reads_deletes_of_the_key_alone)
{
    cr_assert_eq(parse("{\"id\":\"k\",\"_op\":\"delete\"}"), 0);
    cr_assert_eq(change.op, LS_OP_DELETE);
    cr_assert_eq(parse("{\"id\":\"k\",\"_op\":\"put\"}"), 0);
    cr_assert_eq(change.op, LS_OP_PUT);
    refused("{\"id\":\"k\",\"_op\":\"delete\",\"s\":\"x\"}", "field s");
    refused("{\"id\":\"k\",\"_op\":\"patch\"}", "_op");
    refused("{\"id\":\"k\",\"_op\":1}", "_op");
}

Test(ndjson, refuses_what_is_not_one_object)
{
    refused("", "not JSON");
    refused("{\"id\":\"k\"", "not JSON");
    refused("{\"id\":\"k\"} {}", "not JSON");
    refused("{\"id\":\"k\",}", "not JSON");
    refused("{'id':'k'}", "not JSON");
    refused("[1]", "not a JSON object");
    refused("7", "not a JSON object");
    refused("{\"id\":\"k\",\"i\":01}", "not JSON");
    refused("{\"id\":\"k\",\"f\":NaN}", "not JSON");
}

Test(ndjson, refuses_invalid_utf8_and_lone_surrogates)
{
    refused("{\"id\":\"k\",\"s\":\"\xff\"}", "not JSON");
    refused("{\"id\":\"k\",\"s\":\"\xc0\x80\"}", "not JSON");
    refused("{\"id\":\"k\",\"s\":\"\\ud83d\"}", "not JSON");
}

Test(ndjson, refuses_fields_that_are_unknown_repeated_or_of_another_type)
{
    refused("{\"id\":\"k\",\"zip\":1}", "field zip: the schema has no such field");
    refused("{\"id\":\"k\",\"i\":1,\"i\":2}", "duplicate");
    refused("{\"id\":\"k\",\"id\":\"l\"}", "duplicate");
    refused("{\"id\":\"k\",\"s\":1}", "field s");
    refused("{\"id\":\"k\",\"i\":\"1\"}", "field i");
    refused("{\"id\":\"k\",\"i\":1.0}", "field i");
    refused("{\"id\":\"k\",\"f\":\"1\"}", "field f");
    refused("{\"id\":\"k\",\"b\":1}", "field b");
    refused("{\"id\":\"k\",\"t\":\"yesterday\"}", "field t");
    refused("{\"id\":\"k\",\"t\":1.5}", "field t");
    refused("{\"id\":\"k\",\"l\":\"x\"}", "field l");
    refused("{\"id\":\"k\",\"l\":[1]}", "field l");
    refused("{\"id\":\"k\",\"s\":{}}", "field s");
}

Test(ndjson, refuses_numbers_out_of_range)
{
    refused("{\"id\":\"k\",\"i\":9223372036854775808}", "not JSON");
    refused("{\"id\":\"k\",\"f\":1e999}", "not JSON");
}

Test(ndjson, refuses_a_missing_key)
{
    refused("{\"s\":\"x\"}", "the key, is missing");
    refused("{\"id\":null}", "field id");
    refused("{\"id\":7}", "field id");
}

Test(ndjson, never_tells_a_value)
{
    refused("{\"id\":\"secret-key\",\"s\":\"secret\xff\"}", "not JSON");
    cr_assert_null(strstr(err.text, "secret"), "%s", err.text);
    refused("{\"id\":\"secret-key\",\"i\":\"secret\"}", "field i");
    cr_assert_null(strstr(err.text, "secret"), "%s", err.text);
}
