/* No personal data in what people read: texts of real servers, and texts made to break the mask. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "consumers/mask.h"
#include "tests/unit/schema_fixture.h"

static struct ls_schema *schema;

static struct ls_schema *schema_with(const char *key_pii, const char *field_pii)
{
    char text[600];
    snprintf(text, sizeof(text),
             "entity: member\nversion: 1\nredis_prefix: m\nexpected_records: 1000\n"
             "average_bytes: 100\nfields:\n"
             "  - {number: 1, name: id, type: string, key: true%s}\n"
             "  - {number: 2, name: email, type: string, length: 254%s}\n"
             "  - {number: 3, name: birthday, type: time}\n",
             key_pii, field_pii);
    return schema_of(text);
}

static void start(void)
{
    schema = schema_with("", ", pii: true");
}

static void stop(void)
{
    ls_schema_free(schema);
}

TestSuite(mask, .init = start, .fini = stop);

static void expect(bool all, const char *text, const char *expected)
{
    char masked[480];
    ls_mask_text(schema, all, text, masked, sizeof(masked));
    cr_expect_str_eq(masked, expected, "%s\n  became %s\n  not    %s", text, masked, expected);
}

Test(mask, values_that_elasticsearch_quotes)
{
    expect(true,
           "document_parsing_exception: [1:57] failed to parse field [birthday] of type [date] in "
           "document with id 'm1'. Preview of field's value: 'ann@example.org'",
           "document_parsing_exception: [1:57] failed to parse field [birthday] of type [date] in "
           "document with id '***'");
    expect(true, "failed to parse field [email] of type [keyword]. Value: 'it's ann's'",
           "failed to parse field [email] of type [keyword]. Value: '***'");
    expect(true, "For input string: \"+49 170 1234567\"", "For input string: \"***\"");
    expect(true, "Numeric value (4917012345678) out of range of long",
           "Numeric value (***) out of range of long");
}

Test(mask, lengths_are_nobodys_and_long_numbers_may_be)
{
    expect(true, "key: 70000 bytes, more than the 255 that a key may have",
           "key: 70000 bytes, more than the 255 that a key may have");
    expect(true, "field email: 12345 characters, more than 254",
           "field email: 12345 characters, more than 254");
    expect(true, "out of range: 4917012345678 bytes", "out of range: *** bytes");
    expect(true, "out of range: 491701", "out of range: ***");
}

Test(mask, values_that_mysql_quotes)
{
    expect(true, "Duplicate entry 'ann@example.org' for key 'email'", "Duplicate entry '***'");
    expect(true,
           "Incorrect string value: '\\xF0\\x9F' for column `lockstep`.`member_0007`.`email` at "
           "row 3",
           "Incorrect string value: '***' for column `lockstep`.`member_0007`.`email` at row 3");
    expect(true, "Data too long for column 'email' at row 12",
           "Data too long for column 'email' at row 12");
    expect(true, "Table 'member_0123' is full", "Table 'member_0123' is full");
}

Test(mask, a_value_that_was_cut_is_masked_to_the_end)
{
    expect(true, "Incorrect string value: 'ann@exam", "Incorrect string value: '***");
    expect(true, "failed to parse [ann", "failed to parse [***");
}

Test(mask, a_value_that_holds_names_and_quotes_of_its_own)
{
    expect(true, "Duplicate entry 'a'email'b' for key 'id'", "Duplicate entry '***'");
    expect(true, "value 'x' and ''", "value '***'");
}

Test(mask, failures_of_the_setup_keep_users_and_hosts)
{
    expect(false, "Access denied for user 'lockstep'@'10.0.0.1' (using password: YES)",
           "Access denied for user 'lockstep'@'10.0.0.1' (using password: YES)");
    expect(false, "cannot connect to 127.0.0.1:23306: Connection refused",
           "cannot connect to 127.0.0.1:23306: Connection refused");
    expect(false, "You have an error in your SQL syntax; right syntax to use near ''ann','b' at 1",
           "You have an error in your SQL syntax; right syntax to use near '***' at 1");
}

Test(mask, nothing_is_masked_where_nothing_is_personal)
{
    struct ls_schema *open = schema_with("", "");
    char masked[100];
    cr_expect_not(ls_mask_needed(open));
    ls_mask_text(open, true, "Duplicate entry 'x' for key 'id'", masked, sizeof(masked));
    cr_expect_str_eq(masked, "Duplicate entry 'x' for key 'id'");
    ls_schema_free(open);
}

Test(mask, a_personal_key_is_told_by_its_hash)
{
    struct ls_schema *personal = schema_with(", pii: true", "");
    char one[LS_MASKED_KEY_MAX], same[LS_MASKED_KEY_MAX], other[LS_MASKED_KEY_MAX];
    const char *name;
    ls_mask_key(personal, "ann@example.org", 15, &name, one);
    ls_mask_key(personal, "ann@example.org", 15, &name, same);
    ls_mask_key(personal, "bob@example.org", 15, &name, other);
    cr_expect_str_eq(name, "key_hash");
    cr_expect_eq(strlen(one), 12);
    cr_expect_str_eq(one, same);
    cr_expect_str_neq(one, other);
    ls_mask_key(schema, "member-1", 8, &name, one);
    cr_expect_str_eq(name, "key");
    cr_expect_str_eq(one, "member-1");
    ls_schema_free(personal);
}

Test(mask, the_port_of_a_server_says_where)
{
    expect(true, "mysql 127.0.0.1:13306: Lost connection",
           "mysql 127.0.0.1:13306: Lost connection");
    expect(true, "http://es-1.example.org:19200: refused",
           "http://es-1.example.org:19200: refused");
    expect(true, "app:34057 is taken", "app:*** is taken");
    expect(true, "10.0.0.1:4917012345678", "10.0.0.1:***");
}
