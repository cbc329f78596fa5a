#include <criterion/criterion.h>
#include <string.h>

#include "pipeline/quarantined.h"

Test(quarantined, remembers_what_was_added_and_forgets_what_was_removed)
{
    enum { N = 5000 };
    struct ls_quarantined set = {0};
    cr_expect_not(ls_quarantined_has(&set, 0, 0));
    for (int i = 0; i < N; i++)
        ls_quarantined_add(&set, i % 8, i);
    ls_quarantined_add(&set, 0, 0); /* again */
    cr_expect_eq(set.n, N);
    for (int i = 0; i < N; i += 2)
        ls_quarantined_remove(&set, i % 8, i);
    ls_quarantined_remove(&set, 7, 1 << 20); /* never there */
    cr_expect_eq(set.n, N / 2);
    for (int i = 0; i < N; i++)
        cr_assert_eq(ls_quarantined_has(&set, i % 8, i), i % 2 == 1, "%d", i);
    cr_expect_not(set.more);
    ls_quarantined_free(&set);
}

Test(quarantined, is_bounded_and_says_so)
{
    struct ls_quarantined set = {0};
    for (int64_t i = 0; i < LS_QUARANTINED_MAX + 5; i++)
        ls_quarantined_add(&set, 1, i);
    cr_expect_eq(set.n, (size_t)LS_QUARANTINED_MAX);
    cr_expect(set.more);
    ls_quarantined_free(&set);
}

Test(quarantined, reads_keys_of_entries_and_refuses_others)
{
    static const char *const bad[] = {"",
                                      "member.state.1",
                                      "member.state.1/",
                                      "member.state.1/3",
                                      "member.state.1/3/",
                                      "member.state.1//5",
                                      "member.state.1/3/5x",
                                      "member.state.1/-3/5",
                                      "member.state.1/1024/5",
                                      "member.state.1/3/999999999999999999999999",
                                      "member.state.2/3/5"};
    int32_t partition = -7;
    int64_t offset = -7;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_expect_not(
            ls_quarantined_parse(bad[i], strlen(bad[i]), "member.state.1", &partition, &offset),
            "%s", bad[i]);
    cr_expect_eq(partition, -7);
    const char *good = "member.state.1/3/512";
    cr_assert(ls_quarantined_parse(good, strlen(good), "member.state.1", &partition, &offset));
    cr_expect_eq(partition, 3);
    cr_expect_eq(offset, 512);
}
