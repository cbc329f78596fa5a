/* Reading schema files: what is right, and every mistake with its line and text. */
#include <criterion/criterion.h>

#include "base/buf.h"
#include "schema/schema.h"

#define HEAD \
    "entity: thing\nversion: 1\nredis_prefix: t\nexpected_records: 10\naverage_bytes: 100\n"
#define KEY  "  - {number: 1, name: id, type: string, key: true}\n" /* line 7 */
#define GOOD HEAD "fields:\n" KEY

static struct ls_schema *parse(const char *text, struct ls_err *err)
{
    struct ls_schema *schema = NULL;
    int rc = ls_schema_parse("thing.yaml", text, strlen(text), &schema, err);
    cr_assert_eq(rc == 0, schema != NULL);
    return schema;
}

static void assert_refused(const char *text, const char *message)
{
    struct ls_err err = {0};
    cr_assert_null(parse(text, &err), "accepted; expected %s", message);
    cr_assert_str_eq(err.text, message);
    cr_assert_eq(err.class, LS_ERR_FATAL);
}

Test(schema_read, member_ships_and_is_valid)
{
    struct ls_schema *schema;
    struct ls_err err;
    cr_assert_eq(ls_schema_read(LS_SOURCE_ROOT "/schema/member.yaml", &schema, &err), 0, "%s",
                 err.text);
    cr_assert_str_eq(schema->entity, "member");
    cr_assert_str_eq(schema->key.name, "id");
    cr_assert_geq(schema->n_fields, 20);
    bool seen[LS_TYPE_STRINGS + 1] = {false};
    for (size_t i = 0; i < schema->n_fields; i++) {
        seen[schema->fields[i].type] = true;
        cr_assert(i == 0 || schema->fields[i - 1].number < schema->fields[i].number);
    }
    for (size_t i = 0; i <= LS_TYPE_STRINGS; i++)
        cr_assert(seen[i], "no field of type %s", ls_type_name((enum ls_type)i));
    ls_schema_free(schema);
}

Test(schema_read, every_option_is_kept)
{
    struct ls_err err;
    struct ls_schema *schema = parse(
        HEAD "reserved: [9, 3]\nfields:\n"
             "  - {number: 7, name: tags, type: strings, length: 5, max_items: 6, indexed: true}\n"
             "  - {number: 2, name: id, type: string, key: true, pii: true}\n"
             "  - {number: 1, name: name, type: string, length: 8191, pii: true}\n",
        &err);
    cr_assert_not_null(schema, "%s", err.text);
    cr_assert_eq(schema->version, 1);
    cr_assert_eq(schema->expected_records, 10);
    cr_assert_eq(schema->average_bytes, 100);
    cr_assert_str_eq(schema->redis_prefix, "t");
    cr_assert_eq(schema->n_reserved, 2);
    cr_assert_eq(schema->reserved[0], 3);
    cr_assert_eq(schema->key.number, 2);
    cr_assert_eq(schema->key.length, LS_KEY_BYTES_MAX);
    cr_assert(schema->key.pii && schema->key.indexed);
    cr_assert_eq(schema->n_fields, 2);
    const struct ls_field *name = &schema->fields[0], *tags = &schema->fields[1];
    cr_assert(name->number == 1 && name->length == 8191 && name->pii && !name->indexed);
    cr_assert(tags->number == 7 && tags->length == 5 && tags->max_items == 6 && tags->indexed);
    cr_assert_eq(name->line, 10);
    cr_assert_eq(ls_schema_field_by_number(schema, 7), 1);
    cr_assert_eq(ls_schema_field_by_number(schema, 2), -1);
    cr_assert_eq(ls_schema_field_by_number(schema, 8), -1);
    cr_assert_eq(ls_schema_field_by_name(schema, "tags", 4), 1);
    cr_assert_eq(ls_schema_field_by_name(schema, "tags", 3), -1);
    ls_schema_free(schema);
}

Test(schema_read, json_is_read_back_as_the_same_schema)
{
    struct ls_schema *schema, *again;
    struct ls_err err;
    cr_assert_eq(ls_schema_read(LS_SOURCE_ROOT "/schema/member.yaml", &schema, &err), 0);
    char *json = ls_schema_to_json(schema);
    cr_assert_eq(ls_schema_parse("released", json, strlen(json), &again, &err), 0, "%s", err.text);
    char *json_again = ls_schema_to_json(again);
    cr_assert_str_eq(json, json_again);
    free(json);
    free(json_again);
    ls_schema_free(schema);
    ls_schema_free(again);
}

struct mistake {
    const char *text;
    const char *message;
};

static const struct mistake mistakes[] = {
    {"", "thing.yaml:1: the file is empty"},
    {"- a\n", "thing.yaml:1: expected a map with entity, version, fields, …"},
    {"entity: [\n", NULL}, /* YAML's own text */
    {"entity: thing\nversoin: 1\n",
     "thing.yaml:2: unknown key 'versoin', expected one of entity, version, redis_prefix, "
     "expected_records, average_bytes, fields, reserved"},
    {"entity: thing\nentity: other\n", "thing.yaml:2: key 'entity' is there twice"},
    {"version: 1\n", "thing.yaml:1: the schema has no 'entity'"},
    {"entity: Thing\n", "thing.yaml:1: entity 'Thing': expected 1 to 32 of a-z, 0-9 and _, with a "
                        "letter first"},
    {"entity: thing\n", "thing.yaml:1: the schema has no 'version'"},
    {"entity: thing\nversion: 0\n",
     "thing.yaml:2: expected a whole number from 1 to 4294967295, found '0'"},
    {"entity: thing\nversion: one\n",
     "thing.yaml:2: expected a whole number from 1 to 4294967295, found 'one'"},
    {"entity: thing\nversion: 1\nredis_prefix: 'm:'\n",
     "thing.yaml:3: redis_prefix 'm:': expected 1 to 16 of a-z, 0-9, with a letter first"},
    {HEAD, "thing.yaml:1: the schema has no 'fields'"},
    {HEAD "fields: 5\n", "thing.yaml:6: fields: expected a list of fields"},
    {HEAD "fields: []\n", "thing.yaml:6: fields: expected a list of fields"},
    {HEAD "fields:\n  - name\n", "thing.yaml:7: expected a field as a map, found 'name'"},
    {HEAD "fields:\n  - {number: 1, name: id, type: string, length: 5}\n",
     "thing.yaml:7: no field is the key: give one string field `key: true`"},
    {GOOD "  - {number: 2, name: key2, type: string, key: true}\n",
     "thing.yaml:8: a second key, 'key2': the key is 'id' (line 7)"},
    {HEAD "fields:\n  - {number: 1, name: id, type: int, key: true}\n",
     "thing.yaml:7: the key 'id' is of type int, expected string"},
    {HEAD "fields:\n  - {number: 1, name: id, type: string, key: true, length: 9}\n",
     "thing.yaml:7: the key has no 'length': it has up to 255 bytes and is always indexed"},
    {HEAD "fields:\n  - {number: 1, name: id, type: string, key: true, indexed: true}\n",
     "thing.yaml:7: the key has no 'indexed': it has up to 255 bytes and is always indexed"},
    {GOOD "  - {number: 2, name: a, type: string, lenght: 5}\n",
     "thing.yaml:8: unknown key 'lenght', expected one of number, name, type, length, max_items, "
     "indexed, pii, key"},
    {GOOD "  - {name: a, type: int}\n", "thing.yaml:8: the field has no 'number'"},
    {GOOD "  - {number: 0, name: a, type: int}\n",
     "thing.yaml:8: expected a whole number from 1 to 65535, found '0'"},
    {GOOD "  - {number: 65536, name: a, type: int}\n",
     "thing.yaml:8: expected a whole number from 1 to 65535, found '65536'"},
    {GOOD "  - {number: '2', name: a, type: int}\n",
     "thing.yaml:8: expected a whole number from 1 to 65535, found '2'"},
    {GOOD "  - {number: 2, type: int}\n", "thing.yaml:8: the field has no 'name'"},
    {GOOD "  - {number: 2, name: _v, type: int}\n",
     "thing.yaml:8: name '_v': expected 1 to 48 of a-z, 0-9 and _, with a letter first"},
    {GOOD "  - {number: 2, name: a-b, type: int}\n",
     "thing.yaml:8: name 'a-b': expected 1 to 48 of a-z, 0-9 and _, with a letter first"},
    {GOOD "  - {number: 2, name: a}\n", "thing.yaml:8: the field has no 'type'"},
    {GOOD "  - {number: 2, name: a, type: text}\n",
     "thing.yaml:8: type: expected one of string, int, float, bool, time, strings, found 'text'"},
    {GOOD "  - {number: 2, name: a, type: [int]}\n",
     "thing.yaml:8: type: expected one of string, int, float, bool, time, strings, found a list"},
    {GOOD "  - {number: 2, name: a, type: string}\n",
     "thing.yaml:8: a field of type string needs 'length', from 1 to 8191"},
    {GOOD "  - {number: 2, name: a, type: string, length: 8192}\n",
     "thing.yaml:8: expected a whole number from 1 to 8191, found '8192'"},
    {GOOD "  - {number: 2, name: a, type: string, length: 0}\n",
     "thing.yaml:8: expected a whole number from 1 to 8191, found '0'"},
    {GOOD "  - {number: 2, name: a, type: strings, length: 5}\n",
     "thing.yaml:8: a field of type strings needs 'max_items', from 1 to 1024"},
    {GOOD "  - {number: 2, name: a, type: int, length: 5}\n",
     "thing.yaml:8: a field of type int has no 'length'"},
    {GOOD "  - {number: 2, name: a, type: string, length: 5, max_items: 2}\n",
     "thing.yaml:8: a field of type string has no 'max_items'"},
    {GOOD "  - {number: 2, name: a, type: int, indexed: yes}\n",
     "thing.yaml:8: expected true or false, found 'yes'"},
    {GOOD "  - {number: 2, name: a, type: int, pii: 1}\n",
     "thing.yaml:8: expected true or false, found '1'"},
    {GOOD "  - {number: 3, name: a, type: int}\n  - {number: 2, name: b, type: int}\n"
          "  - {number: 3, name: c, type: int}\n",
     "thing.yaml:10: number 3 of 'c' is 'a' already (line 8): numbers are never reused"},
    {GOOD "  - {number: 1, name: a, type: int}\n",
     "thing.yaml:8: number 1 of 'a' is 'id' already (line 7): numbers are never reused"},
    {GOOD "  - {number: 2, name: id, type: int}\n",
     "thing.yaml:8: name 'id' is there already (line 7)"},
    {GOOD "  - {number: 5, name: a, type: int}\nreserved: [5]\n",
     "thing.yaml:8: number 5 of 'a' is reserved (line 9): it was another field's; take a new one"},
    {GOOD "reserved: 5\n", "thing.yaml:8: reserved: expected a list of field numbers"},
    {GOOD "reserved: [5, x]\n", "thing.yaml:8: expected a whole number from 1 to 65535, found 'x'"},
    {GOOD "  - &a {number: 2, name: a, type: int}\n  - *a\n",
     "thing.yaml:9: aliases are not supported"},
};

Test(schema_read, every_mistake_is_named_with_its_line)
{
    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        struct ls_err err = {0};
        cr_assert_null(parse(mistakes[i].text, &err), "accepted:\n%s", mistakes[i].text);
        cr_assert_eq(strncmp(err.text, "thing.yaml:", 11), 0, "%s", err.text);
        if (mistakes[i].message)
            cr_expect_str_eq(err.text, mistakes[i].message, "number %zu: %s", i, err.text);
    }
}

/* A schema with n fields, `option` after number, name and type. */
static void many_fields(struct ls_buf *buf, unsigned n, const char *options)
{
    ls_buf_clear(buf);
    ls_buf_append_str(buf, GOOD);
    for (unsigned i = 2; i < n + 2; i++)
        ls_buf_printf(buf, "  - {number: %u, name: f%u, %s}\n", i, i, options);
}

static void assert_many_refused(unsigned n, const char *options, const char *message)
{
    struct ls_buf buf = {0};
    many_fields(&buf, n, options);
    assert_refused(ls_buf_cstr(&buf), message);
    ls_buf_free(&buf);
}

static void assert_many_accepted(unsigned n, const char *options)
{
    struct ls_buf buf = {0};
    struct ls_err err = {0};
    many_fields(&buf, n, options);
    struct ls_schema *schema = parse(ls_buf_cstr(&buf), &err);
    cr_assert_not_null(schema, "%s", err.text);
    ls_schema_free(schema);
    ls_buf_free(&buf);
}

Test(schema_read, row_that_mysql_cannot_hold_is_refused)
{
    assert_many_accepted(15, "type: string, length: 1024");
    assert_many_refused(16, "type: string, length: 1024",
                        "thing.yaml:23: 'f17' makes the row too wide for MySQL (65892 of 65535 "
                        "bytes, 980 of 8126 in its page): shorten some strings, or give some more "
                        "than 1024 characters, which become TEXT");
}

Test(schema_read, row_that_innodb_cannot_keep_in_its_page_is_refused)
{
    assert_many_accepted(30, "type: string, length: 63");
    assert_many_refused(40, "type: string, length: 63",
                        "thing.yaml:38: 'f32' makes the row too wide for MySQL (8201 of 65535 "
                        "bytes, 8170 of 8126 in its page): shorten some strings, or give some more "
                        "than 1024 characters, which become TEXT");
}

Test(schema_read, record_that_passes_the_size_limit_is_refused)
{
    assert_many_accepted(31, "type: string, length: 8191");
    assert_many_refused(33, "type: string, length: 8191",
                        "thing.yaml:39: with 'f33' a record may have 1048960 bytes, more than "
                        "1048576: lower some lengths or max_items");
    assert_many_accepted(1, "type: strings, length: 250, max_items: 1024");
    assert_many_refused(1, "type: strings, length: 255, max_items: 1024",
                        "thing.yaml:8: with 'f2' a record may have 1049864 bytes, more than "
                        "1048576: lower some lengths or max_items");
}

Test(schema_read, more_indexes_than_mysql_takes_are_refused)
{
    assert_many_accepted(63, "type: int, indexed: true");
    assert_many_refused(64, "type: int, indexed: true",
                        "thing.yaml:71: 'f65' is indexed field number 64, and MySQL takes 63");
}

Test(schema_read, more_fields_than_an_entity_may_have_are_refused)
{
    assert_many_accepted(LS_FIELDS_MAX - 1, "type: bool");
    assert_many_refused(LS_FIELDS_MAX, "type: bool",
                        "thing.yaml:7: fields: 257, more than the 256 that an entity may have");
}

Test(schema_read, missing_file_is_named)
{
    struct ls_schema *schema;
    struct ls_err err;
    cr_assert_eq(ls_schema_read("/nonexistent/thing.yaml", &schema, &err), -1);
    cr_assert_str_eq(err.text, "/nonexistent/thing.yaml: No such file or directory");
}
