#include <criterion/criterion.h>

#include "pipeline/mysql_errors.h"

Test(mysql_errors, outages_and_locks_are_retried)
{
    static const unsigned codes[] = {1040, 1053, 1205, 1213, 1290, 1317, 1792, 1836, 1927,
                                     2002, 2003, 2005, 2006, 2013, 2055, 1021, 1114, 1153};
    for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++)
        cr_expect_eq(ls_mysql_classify(codes[i]), LS_ERR_RETRY, "%u", codes[i]);
}

Test(mysql_errors, a_row_that_never_fits_is_poison)
{
    static const unsigned codes[] = {1048, 1118, 1264, 1265, 1292, 1366, 1406, 3819, 4025};
    for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++)
        cr_expect_eq(ls_mysql_classify(codes[i]), LS_ERR_POISON, "%u", codes[i]);
}

Test(mysql_errors, a_wrong_set_up_is_fatal_and_says_what_to_do)
{
    static const unsigned codes[] = {1044, 1045, 1049, 1054, 1130, 1142, 1146, 1698, 2059, 3159};
    for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
        cr_expect_eq(ls_mysql_classify(codes[i]), LS_ERR_FATAL, "%u", codes[i]);
        cr_expect_neq(*ls_mysql_advice(codes[i]), '\0', "%u", codes[i]);
    }
}

Test(mysql_errors, a_number_that_is_not_in_the_table_is_unknown)
{
    cr_expect_eq(ls_mysql_classify(1105), LS_ERR_UNKNOWN);
    cr_expect_eq(ls_mysql_classify(0), LS_ERR_UNKNOWN);
    struct ls_err err = {0};
    ls_mysql_err(&err, "mysql db:3306", 1105, "Unknown error");
    cr_expect_eq(err.class, LS_ERR_UNKNOWN);
    cr_expect_str_eq(err.text, "mysql db:3306: Unknown error (1105, unknown to lockstep)");
}

Test(mysql_errors, tls_trouble_is_bounded_because_it_may_be_an_outage_or_the_set_up)
{
    cr_expect_eq(ls_mysql_classify(2026), LS_ERR_UNKNOWN);
    cr_expect_neq(*ls_mysql_advice(2026), '\0');
    struct ls_err err;
    ls_mysql_err(&err, "mysql db:3306", 2026, "TLS/SSL error: unexpected eof while reading");
    cr_expect_eq(err.class, LS_ERR_UNKNOWN);
}

Test(mysql_errors, a_certificate_that_is_refused_is_the_set_up)
{
    static const char *const texts[] = {
        "TLS/SSL error: unable to get local issuer certificate",
        "TLS/SSL error: certificate has expired",
        "TLS/SSL error: Validation of SSL server certificate failed",
    };
    struct ls_err err;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        ls_mysql_err(&err, "mysql db:3306", 2026, texts[i]);
        cr_expect_eq(err.class, LS_ERR_FATAL, "%s", texts[i]);
    }
}

Test(mysql_errors, refusals_for_load_are_told_from_outages)
{
    static const unsigned load[] = {1040, 1205, 1213, 1203, 1037},
                          away[] = {2002, 2013, 1053, 1290};
    struct ls_err err;
    for (size_t i = 0; i < sizeof(load) / sizeof(*load); i++) {
        ls_mysql_err(&err, "mysql db:3306", load[i], "refused");
        cr_expect(err.overload, "%u", load[i]);
    }
    for (size_t i = 0; i < sizeof(away) / sizeof(*away); i++) {
        ls_mysql_err(&err, "mysql db:3306", away[i], "gone");
        cr_expect_not(err.overload, "%u", away[i]);
    }
}

Test(mysql_errors, the_table_ascends_so_that_every_entry_is_found)
{
    cr_expect(ls_mysql_table_sorted());
    cr_expect_eq(ls_mysql_classify(1021), LS_ERR_RETRY);
    cr_expect_eq(ls_mysql_classify(4151), LS_ERR_FATAL);
}

Test(mysql_errors, a_missing_table_names_the_command_that_mends_it)
{
    struct ls_err err = {0};
    cr_expect_eq(ls_mysql_err(&err, "mysql db:3306", 1146, "Table 'x.member_0001' doesn't exist"),
                 -1);
    cr_expect_eq(err.class, LS_ERR_FATAL);
    cr_expect_eq(err.code, 1146);
    cr_expect_str_eq(err.text,
                     "mysql db:3306: Table 'x.member_0001' doesn't exist (1146): make what "
                     "is missing with `lockstep schema apply`");
}
