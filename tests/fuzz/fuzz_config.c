/*
 * libFuzzer target: a configuration file. It is read or refused with a text that names the file;
 * one that is read can be freed, and names no secret in its warnings. One thread.
 *
 * Configuration is read by its path, so the bytes go through a file in memory (memfd) each time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pipeline/config.h"

#define SECRET "not-to-be-told"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(int condition)
{
    if (!condition)
        abort();
}

static const char schema_text[] =
    "entity: member\nversion: 1\nredis_prefix: m\nexpected_records: 10\naverage_bytes: 100\n"
    "fields:\n  - {number: 1, name: id, type: string, key: true}\n";

static int put(const char *name, const char *text)
{
    int fd = memfd_create(name, 0);
    need(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    return fd;
}

/*
 * The corpus names the schema /proc/self/fd/100 and a password file /proc/self/fd/101. The working
 * directory must be one that no relative path of an input can do harm in.
 */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    need(dup2(put("schema", schema_text), 100) == 100);
    need(dup2(put("secret", SECRET "\n"), 101) == 101);
    setenv("LOCKSTEP_FUZZ_SECRET", SECRET, 1);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = put("config", "");
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    need(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    bool told = memmem(data, size, SECRET, strlen(SECRET)) != NULL; /* by the input itself */
    struct ls_config *config;
    struct ls_err err = {0};
    if (ls_config_read(path, &config, &err) < 0) {
        need(err.class == LS_ERR_FATAL && err.text[0] != '\0');
        need(told || strstr(err.text, SECRET) == NULL);
        return 0;
    }
    need(config->n_entities > 0 && config->brokers != NULL);
    for (size_t i = 0; i < config->n_warnings; i++)
        need(told || strstr(config->warnings[i], SECRET) == NULL);
    ls_config_free(config);
    return 0;
}
