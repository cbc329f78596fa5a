#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "pipeline/quarantined.h"
#include "pipeline/quarantined_file.h"

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

#define TOPIC "member.quarantine.mysql"

static struct ls_config config;

static void make_folder(void)
{
    char folder[] = "/tmp/lockstep-unit.XXXXXX";
    cr_assert_not_null(mkdtemp(folder));
    config.state_dir = ls_strdup(folder);
}

static void remove_folder(void)
{
    LS_CLEANUP_FREE char *file = ls_asprintf("%s/quarantine/" TOPIC, config.state_dir);
    LS_CLEANUP_FREE char *folder = ls_asprintf("%s/quarantine", config.state_dir);
    unlink(file);
    rmdir(folder);
    rmdir(config.state_dir);
    free(config.state_dir);
}

TestSuite(quarantined_file, .init = make_folder, .fini = remove_folder);

Test(quarantined_file, what_was_saved_is_loaded_again)
{
    struct ls_quarantined set = {0}, loaded = {0};
    struct ls_quarantined_place places[2] = {{7, 6, 1000, 99}, {0, -1, 0, 0}}, back[2];
    cr_expect_not(ls_quarantined_load(&config, TOPIC, back, 2, &loaded), "nothing is there");
    for (int i = 0; i < 3000; i++)
        ls_quarantined_add(&set, i % 8, i);
    ls_quarantined_save(&config, TOPIC, places, 2, &set);
    cr_assert(ls_quarantined_load(&config, TOPIC, back, 2, &loaded));
    cr_expect_eq(memcmp(places, back, sizeof(places)), 0);
    cr_expect_eq(loaded.n, 3000);
    for (int i = 0; i < 3000; i++)
        cr_assert(ls_quarantined_has(&loaded, i % 8, i));
    cr_expect_not(ls_quarantined_load(&config, TOPIC, back, 1, &loaded), "other partitions");
    ls_quarantined_free(&set);
    ls_quarantined_free(&loaded);
}

Test(quarantined_file, a_torn_file_counts_as_none)
{
    struct ls_quarantined set = {0}, loaded = {0};
    struct ls_quarantined_place place = {.last = -1}, back;
    LS_CLEANUP_FREE char *path = ls_asprintf("%s/quarantine/" TOPIC, config.state_dir);
    for (int i = 0; i < 100; i++)
        ls_quarantined_add(&set, 1, i);
    ls_quarantined_save(&config, TOPIC, &place, 1, &set);
    FILE *file = fopen(path, "r+");
    cr_assert_not_null(file);
    fseek(file, -20, SEEK_END);
    fputc('x', file);
    fclose(file);
    cr_expect_not(ls_quarantined_load(&config, TOPIC, &back, 1, &loaded));
    cr_expect_eq(truncate(path, 100), 0);
    cr_expect_not(ls_quarantined_load(&config, TOPIC, &back, 1, &loaded));
    cr_expect_eq(truncate(path, 0), 0);
    cr_expect_not(ls_quarantined_load(&config, TOPIC, &back, 1, &loaded));
    cr_expect_eq(loaded.n, 0);
    ls_quarantined_free(&set);
    ls_quarantined_free(&loaded);
}
