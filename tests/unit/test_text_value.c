/* Numbers and times written as text. */
#include <criterion/criterion.h>
#include <math.h>

#include "base/mem.h"
#include "producers/text_value.h"

Test(text_int, is_exact_to_the_last_of_64_bits)
{
    int64_t number;
    cr_assert(ls_text_int("9223372036854775807", 19, &number));
    cr_assert_eq(number, INT64_MAX);
    cr_assert(ls_text_int("-9223372036854775808", 20, &number));
    cr_assert_eq(number, INT64_MIN);
    cr_assert(ls_text_int("9007199254740993", 16, &number));
    cr_assert_eq(number, INT64_C(9007199254740993));
    cr_assert(ls_text_int("-0", 2, &number));
    cr_assert_eq(number, 0);
}

Test(text_int, refuses_what_is_no_whole_number)
{
    static const char *const bad[] = {"",
                                      "-",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "1.0",
                                      "1e3",
                                      "0x10",
                                      "--1",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "99999999999999999999",
                                      "١"};
    int64_t number;
    for (size_t i = 0; i < LS_COUNT(bad); i++)
        cr_assert_not(ls_text_int(bad[i], strlen(bad[i]), &number), "%s", bad[i]);
}

Test(text_float, reads_decimals_and_makes_minus_zero_zero)
{
    double number;
    cr_assert(ls_text_float("-12.5e-1", 8, &number));
    cr_assert_eq(number, -1.25);
    cr_assert(ls_text_float("1.7976931348623157e308", 22, &number));
    cr_assert(ls_text_float("-0.0", 4, &number));
    cr_assert_not(signbit(number));
}

Test(text_float, refuses_what_is_no_finite_number)
{
    static const char *const bad[] = {"",   "nan", "inf", "-inf", "1e999", "0x1p3", "1,5",
                                      ".5", "5.",  "1e",  "1e+",  " 1",    "1 ",    "1f"};
    double number;
    for (size_t i = 0; i < LS_COUNT(bad); i++)
        cr_assert_not(ls_text_float(bad[i], strlen(bad[i]), &number), "%s", bad[i]);
}

static void expect_time(const char *text, int64_t us)
{
    int64_t found;
    cr_assert(ls_text_time(text, strlen(text), &found), "%s", text);
    cr_assert_eq(found, us, "%s: %lld", text, (long long)found);
}

Test(text_time, reads_rfc_3339_to_the_microsecond)
{
    expect_time("1970-01-01T00:00:00Z", 0);
    expect_time("2024-05-01T12:34:56.123456Z", INT64_C(1714566896123456));
    expect_time("2024-05-01T21:34:56.1+09:00", INT64_C(1714566896100000));
    expect_time("2024-02-29 23:59:59z", INT64_C(1709251199000000));
    expect_time("1969-12-31T23:59:59.999999Z", -1);
    expect_time("0000-03-01t00:00:00-00:00", INT64_C(-62162035200000000));
    expect_time("9999-12-31T23:59:59.999999Z", INT64_C(253402300799999999));
}

Test(text_time, refuses_days_and_digits_that_do_not_exist)
{
    static const char *const bad[] = {
        "",
        "2024-05-01",
        "2024-05-01T12:34:56",
        "2023-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2024-13-01T00:00:00Z",
        "2024-00-01T00:00:00Z",
        "2024-01-32T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:60:00Z",
        "2024-01-01T00:00:60Z",
        "2024-01-01T00:00:00.1234567Z",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00+24:00",
        "2024-01-01T00:00:00+0100",
        "2024-01-01T00:00:00Zx",
        "24-01-01T00:00:00Z",
        "2024-1-01T00:00:00Z",
    };
    int64_t us;
    for (size_t i = 0; i < LS_COUNT(bad); i++)
        cr_assert_not(ls_text_time(bad[i], strlen(bad[i]), &us), "%s", bad[i]);
}
