/* UTF-8 and the checks of values. */
#include <criterion/criterion.h>
#include <math.h>

#include "schema/schema.h"
#include "schema/wire.h"

#define SPAN(text)   ((struct ls_span){text, sizeof(text) - 1})
#define LENGTH(text) ls_utf8_length(text, sizeof(text) - 1)

Test(utf8, counts_characters)
{
    cr_assert_eq(ls_utf8_length(NULL, 0), 0);
    cr_assert_eq(LENGTH("abc"), 3);
    cr_assert_eq(LENGTH("0123456789abcdef0"), 17);
    cr_assert_eq(LENGTH("\xc3\xa9t\xc3\xa9"), 3);
    cr_assert_eq(LENGTH("\xe9\x99\x88\xe5\xb0\x8f\xe6\x98\x8e"), 3);
    cr_assert_eq(LENGTH("\xf0\x9f\x98\x80"), 1);
    cr_assert_eq(LENGTH("a\0b"), 3);
}

Test(utf8, takes_the_edges_of_every_range)
{
    cr_assert_eq(LENGTH("\xc2\x80\xdf\xbf"), 2);
    cr_assert_eq(LENGTH("\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"), 4);
    cr_assert_eq(LENGTH("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"), 2);
}

Test(utf8, refuses_what_is_none)
{
    const struct ls_span bad[] = {
        SPAN("\x80"),             /* continuation alone */
        SPAN("\xc0\xaf"),         /* overlong, two bytes */
        SPAN("\xc1\xbf"),         /* overlong, two bytes */
        SPAN("\xe0\x9f\xbf"),     /* overlong, three bytes */
        SPAN("\xf0\x8f\xbf\xbf"), /* overlong, four bytes */
        SPAN("\xed\xa0\x80"),     /* surrogate */
        SPAN("\xed\xbf\xbf"),     /* surrogate */
        SPAN("\xf4\x90\x80\x80"), /* above U+10FFFF */
        SPAN("\xf5\x80\x80\x80"), /* no lead byte */
        SPAN("\xff"),             /* no lead byte */
        SPAN("\xe4\xbd"),         /* cut */
        SPAN("\xf0\x9f\x98"),     /* cut */
        SPAN("\xc3("),            /* no continuation */
        SPAN("\xe4(\xa0"),        /* no continuation */
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(ls_utf8_length(bad[i].data, bad[i].len), -1, "number %zu", i);
}

Test(utf8, sees_a_bad_byte_wherever_it_stands)
{
    char text[40];
    for (size_t len = 1; len <= sizeof(text); len++) {
        for (size_t at = 0; at < len; at++) {
            memset(text, 'x', sizeof(text));
            text[at] = (char)0xff;
            cr_assert_eq(ls_utf8_length(text, len), -1, "len %zu at %zu", len, at);
        }
    }
}

static struct ls_field string_field = {
    .number = 4, .name = (char *)"email", .type = LS_TYPE_STRING, .length = 5};

Test(value, string_of_the_length_passes_and_one_more_does_not)
{
    struct ls_err err;
    struct ls_value value = {.present = true,
                             .text = SPAN("\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9")};
    cr_assert_eq(ls_value_check(&string_field, &value, &err), 0);
    value.text = SPAN("secret");
    cr_assert_eq(ls_value_check(&string_field, &value, &err), -1);
    cr_assert_str_eq(err.text,
                     "field 4 (email): 6 characters, more than the 5 that the schema allows");
    cr_assert_eq(err.class, LS_ERR_POISON);
    cr_assert_eq(err.code, LS_REJECT_SCHEMA);
}

Test(value, message_never_holds_the_value)
{
    struct ls_err err;
    struct ls_value value = {.present = true, .text = SPAN("secret\xff")};
    cr_assert_eq(ls_value_check(&string_field, &value, &err), -1);
    cr_assert_str_eq(err.text, "field 4 (email): not valid UTF-8");
}

Test(value, float_must_be_finite)
{
    struct ls_field field = {.number = 1, .name = (char *)"balance", .type = LS_TYPE_FLOAT};
    struct ls_err err;
    struct ls_value value = {.present = true, .real = -1e300};
    cr_assert_eq(ls_value_check(&field, &value, &err), 0);
    value.real = (double)NAN;
    cr_assert_eq(ls_value_check(&field, &value, &err), -1);
    value.real = -(double)INFINITY;
    cr_assert_eq(ls_value_check(&field, &value, &err), -1);
    cr_assert_str_eq(err.text, "field 1 (balance): not a finite number");
}

Test(value, bool_is_0_or_1)
{
    struct ls_field field = {.number = 1, .name = (char *)"marketing", .type = LS_TYPE_BOOL};
    struct ls_value value = {.present = true, .number = 1};
    cr_assert_eq(ls_value_check(&field, &value, NULL), 0);
    value.number = 2;
    cr_assert_eq(ls_value_check(&field, &value, NULL), -1);
}

Test(value, list_is_checked_item_by_item)
{
    struct ls_field field = {
        .number = 7, .name = (char *)"tags", .type = LS_TYPE_STRINGS, .length = 3, .max_items = 2};
    struct ls_span items[3] = {SPAN("abc"), SPAN("abcd"), SPAN("c")};
    struct ls_err err;
    struct ls_value value = {.present = true, .count = 1, .list = items};
    cr_assert_eq(ls_value_check(&field, &value, &err), 0);
    value.count = 2;
    cr_assert_eq(ls_value_check(&field, &value, &err), -1);
    cr_assert_str_eq(err.text,
                     "field 7 (tags) item 1: 4 characters, more than the 3 that the schema allows");
    value.count = 3;
    cr_assert_eq(ls_value_check(&field, &value, &err), -1);
    cr_assert_str_eq(err.text, "field 7 (tags): 3 items, more than the 2 that the schema allows");
}
