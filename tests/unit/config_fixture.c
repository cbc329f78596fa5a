#include "config_fixture.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

static char folder[64];

const char *config_path(const char *name)
{
    static char path[512];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

void config_put(const char *name, const char *text)
{
    const char *path = config_path(name);
    FILE *file = fopen(path, "we");
    cr_assert_not_null(file, "%s", path);
    fputs(text, file);
    cr_assert_eq(fclose(file), 0);
    cr_assert_eq(chmod(path, 0600), 0);
}

static void put_schema(const char *name, const char *entity, const char *prefix)
{
    LS_CLEANUP_FREE char *text = ls_asprintf(
        "entity: %s\nversion: 1\nredis_prefix: %s\nexpected_records: 1000\naverage_bytes: 100\n"
        "fields:\n"
        "  - {number: 1, name: id, type: string, key: true}\n"
        "  - {number: 2, name: points, type: int}\n",
        entity, prefix);
    config_put(name, text);
}

void config_setup(void)
{
    snprintf(folder, sizeof(folder), "/tmp/lockstep-config-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    put_schema("member.yaml", "member", "m");
    put_schema("binding.yaml", "binding", "b");
    put_schema("clash.yaml", "clash", "m");
    config_put("secret", SECRET "\n");
    config_put("empty", "\n");
    config_put("lines", SECRET "\nmore\n");
    config_put("ca.pem", "certificate\n");
    setenv("LOCKSTEP_TEST_SECRET", SECRET, 1);
    setenv("LOCKSTEP_TEST_EMPTY", "", 1);
    unsetenv("LOCKSTEP_TEST_UNSET");
}

void config_teardown(void)
{
    DIR *dir = opendir(folder);
    cr_assert_not_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.')
            unlink(config_path(entry->d_name));
    closedir(dir);
    rmdir(folder);
}

struct ls_config *config_read(const char *text)
{
    config_put("lockstep.yaml", text);
    struct ls_config *config = NULL;
    struct ls_err err = {0};
    cr_assert_eq(ls_config_read(config_path("lockstep.yaml"), &config, &err), 0, "%s", err.text);
    return config;
}

void config_refused(const char *text, const char *expected)
{
    config_put("lockstep.yaml", text);
    struct ls_config *config = NULL;
    struct ls_err err = {0};
    int rc = ls_config_read(config_path("lockstep.yaml"), &config, &err);
    cr_expect_eq(rc, -1, "accepted, expected: %s", expected);
    cr_expect_null(config);
    if (rc == 0) {
        ls_config_free(config);
        return;
    }
    LS_CLEANUP_FREE char *whole = ls_asprintf("%s:", config_path("lockstep.yaml"));
    size_t len = strlen(whole);
    cr_expect(strncmp(err.text, whole, len) == 0, "%s", err.text);
    /* Paths that a message names lie in the folder: F stands for it. */
    char found[sizeof(err.text)];
    size_t n = 0;
    for (const char *c = err.text + (strncmp(err.text, whole, len) == 0 ? len : 0); *c;) {
        bool place = strncmp(c, folder, strlen(folder)) == 0;
        found[n++] = place ? 'F' : *c;
        c += place ? strlen(folder) : 1;
    }
    found[n] = '\0';
    cr_expect_str_eq(found, expected, "\n   found: %s\nexpected: %s", found, expected);
    cr_expect_eq(err.class, LS_ERR_FATAL);
    cr_expect_null(strstr(err.text, "hunter2"), "the secret is in the message: %s", err.text);
}
