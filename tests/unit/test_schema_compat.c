/* Which schema may follow a released one. */
#include <criterion/criterion.h>

#include "schema/schema.h"

#define HEAD(version)                   \
    "entity: thing\nversion: " #version \
    "\nredis_prefix: t\nexpected_records: 10\naverage_bytes: 100\nfields:\n"
#define KEY "  - {number: 1, name: id, type: string, key: true}\n"
#define A   "  - {number: 2, name: a, type: string, length: 10}\n"
#define B   "  - {number: 3, name: b, type: strings, length: 10, max_items: 4}\n"

static const char released[] = HEAD(5) KEY A B "reserved: [9]\n";

static struct ls_schema *parse(const char *path, const char *text)
{
    struct ls_schema *schema;
    struct ls_err err;
    cr_assert_eq(ls_schema_parse(path, text, strlen(text), &schema, &err), 0, "%s", err.text);
    return schema;
}

/* Message NULL: may follow. */
static void assert_follows(const char *text, const char *message)
{
    struct ls_schema *previous = parse("released", released), *next = parse("next.yaml", text);
    struct ls_err err = {0};
    int rc = ls_schema_compatible(previous, next, &err);
    if (message == NULL) {
        cr_expect_eq(rc, 0, "%s", err.text);
    } else {
        cr_expect_eq(rc, -1, "accepted; expected %s", message);
        cr_expect_str_eq(err.text, message);
        cr_expect_eq(err.class, LS_ERR_FATAL);
    }
    ls_schema_free(previous);
    ls_schema_free(next);
}

Test(schema_compat, the_same_schema_may_follow)
{
    assert_follows(released, NULL);
}

Test(schema_compat, order_of_the_file_does_not_matter)
{
    assert_follows(HEAD(5) B KEY A "reserved: [9]\n", NULL);
}

Test(schema_compat, new_fields_and_longer_ones_may_follow)
{
    assert_follows(HEAD(6) KEY "  - {number: 2, name: a, type: string, length: 11}\n"
                               "  - {number: 3, name: b, type: strings, length: 12, max_items: 5}\n"
                               "  - {number: 4, name: c, type: int}\nreserved: [9]\n",
                   NULL);
}

Test(schema_compat, a_removed_field_must_be_reserved)
{
    assert_follows(HEAD(6) KEY A "reserved: [9, 3]\n", NULL);
    assert_follows(HEAD(6) KEY A "reserved: [9]\n",
                   "next.yaml:9: 'b' was removed, and its number 3 is not in `reserved`");
    assert_follows(HEAD(6) KEY A,
                   "next.yaml:7: 'b' was removed, and its number 3 is not in `reserved`");
}

Test(schema_compat, a_number_keeps_its_name)
{
    assert_follows(HEAD(6) KEY "  - {number: 2, name: z, type: string, length: 10}\n" B
                               "reserved: [9]\n",
                   "next.yaml:8: number 2 was released as 'a' and is 'z' here: take a new number, "
                   "and reserve 2");
}

Test(schema_compat, a_number_keeps_its_type)
{
    assert_follows(HEAD(6) KEY A "  - {number: 3, name: b, type: int}\nreserved: [9]\n",
                   "next.yaml:9: 'b' was released as strings and is int here: take a new field");
    assert_follows(HEAD(6) KEY "  - {number: 2, name: a, type: time}\n" B "reserved: [9]\n",
                   "next.yaml:8: 'a' was released as string and is time here: take a new field");
}

Test(schema_compat, a_name_keeps_its_number)
{
    assert_follows(HEAD(6) KEY "  - {number: 4, name: a, type: string, length: 10}\n" B
                               "reserved: [9, 2]\n",
                   "next.yaml:8: 'a' was released with number 2 and has 4 here: stores go by the "
                   "name; take a new name");
}

Test(schema_compat, lengths_and_counts_only_grow)
{
    assert_follows(HEAD(6) KEY "  - {number: 2, name: a, type: string, length: 9}\n" B
                               "reserved: [9]\n",
                   "next.yaml:8: length of 'a' was released as 10 and is 9 here: it can only grow");
    assert_follows(
        HEAD(6) KEY A "  - {number: 3, name: b, type: strings, length: 10, max_items: 3}\n"
                      "reserved: [9]\n",
        "next.yaml:9: max_items of 'b' was released as 4 and is 3 here: it can only grow");
}

Test(schema_compat, a_reserved_number_stays_reserved)
{
    assert_follows(HEAD(6) KEY A B, "next.yaml:7: number 9 was released as reserved and no longer "
                                    "is: numbers are never reused");
    assert_follows(HEAD(6) KEY A B "  - {number: 9, name: c, type: int}\n",
                   "next.yaml:10: number 9 was released as reserved and no longer is: numbers are "
                   "never reused");
}

Test(schema_compat, the_key_stays)
{
    assert_follows(HEAD(6) "  - {number: 8, name: id, type: string, key: true}\n" A B
                           "reserved: [9]\n",
                   "next.yaml:7: the key was released with number 1");
    assert_follows(HEAD(6) "  - {number: 1, name: key, type: string, key: true}\n" A B
                           "reserved: [9]\n",
                   "next.yaml:7: number 1 was released as 'id' and is 'key' here: take a new "
                   "number, and reserve 1");
}

Test(schema_compat, entity_and_redis_prefix_stay)
{
    assert_follows("entity: other\nversion: 6\nredis_prefix: t\nexpected_records: 1\n"
                   "average_bytes: 1\nfields:\n" KEY,
                   "next.yaml:1: entity 'other' was released as 'thing'");
    assert_follows("entity: thing\nversion: 6\nredis_prefix: x\nexpected_records: 1\n"
                   "average_bytes: 1\nfields:\n" KEY,
                   "next.yaml:1: redis_prefix was released as 't' and is 'x' here: every entry "
                   "would be lost from sight");
}

Test(schema_compat, the_version_grows_when_anything_changed)
{
    assert_follows(HEAD(5) KEY A B "  - {number: 4, name: c, type: int}\nreserved: [9]\n",
                   "next.yaml:2: version 5 is released with other contents: raise it");
    assert_follows(HEAD(5) KEY A "  - {number: 3, name: b, type: strings, length: 10, "
                                 "max_items: 4, pii: true}\nreserved: [9]\n",
                   "next.yaml:2: version 5 is released with other contents: raise it");
    assert_follows(HEAD(4) KEY A B "reserved: [9]\n",
                   "next.yaml:2: version 4 is older than the released 5: use the file of that one");
    assert_follows(HEAD(4) KEY A "reserved: [9]\n",
                   "next.yaml:2: version 4 is older than the released 5: use the file of that one");
    assert_follows(HEAD(6) KEY A B "reserved: [9]\n", NULL);
}
