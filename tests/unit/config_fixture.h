/* A folder of its own for a test of the configuration: a schema, secrets, and the file. */
#ifndef LS_TESTS_CONFIG_FIXTURE_H
#define LS_TESTS_CONFIG_FIXTURE_H

#include "pipeline/config.h"

#define SECRET "hunter2-never-shown"

/* What most configurations of the tests start with; sinks follow on line 5. */
#define HEAD                                               \
    "schemas: [member.yaml]\n"                             \
    "kafka: {brokers: \"k1:9092,k2:9092\"}\n"              \
    "entities: {member: {generation: 1, partitions: 8}}\n" \
    "sinks:\n"

/* Makes the folder with member.yaml, binding.yaml, `secret`, `empty`, `lines` and `ca.pem`. */
void config_setup(void);
void config_teardown(void);

/* The path of a file in the folder, in memory that the next call reuses. */
const char *config_path(const char *name);
/* Writes a file into the folder. */
void config_put(const char *name, const char *text);

/* Reads `text` as lockstep.yaml; fails the test if it is refused. The caller frees. */
struct ls_config *config_read(const char *text);
/*
 * Reads `text` as lockstep.yaml and expects it to be refused with exactly
 * "lockstep.yaml:<expected>".
 */
void config_refused(const char *text, const char *expected);

#endif
