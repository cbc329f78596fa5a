/* What a configuration that is right is read as, and the document of its options. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "config_fixture.h"

TestSuite(config, .init = config_setup, .fini = config_teardown);

#define ES_SINK "  es: {kind: elasticsearch, urls: [\"http://127.0.0.1\"]}\n"

Test(config, has_defaults_by_kind)
{
    struct ls_config *config =
        config_read(HEAD "  mysql: {kind: mysql, servers: [{host: h, database: d, user: u}]}\n"
                         "  redis: {kind: redis, nodes: [r]}\n" ES_SINK);
    const struct ls_sink_config *mysql = ls_config_sink(config, "mysql", NULL);
    const struct ls_sink_config *redis = ls_config_sink(config, "redis", NULL);
    const struct ls_sink_config *es = ls_config_sink(config, "es", NULL);
    cr_expect_eq(mysql->batch_records, 8192);
    cr_expect_eq(redis->batch_records, 4096);
    cr_expect_eq(es->batch_records, 4096);
    cr_expect_eq(mysql->batches_in_flight, 2);
    cr_expect_eq(redis->batches_in_flight, 4);
    cr_expect_eq(es->batches_in_flight, 4);
    cr_expect_eq(mysql->requests_in_flight, 2);
    cr_expect_eq(es->requests_in_flight, 3);
    cr_expect_eq(es->bulk_bytes, 1 << 20);
    cr_expect_eq(redis->batch_bytes, 16 << 20);
    cr_expect_eq(redis->memory_bytes, 64 << 20);
    cr_expect_eq(redis->connect_timeout_ms, 3000);
    cr_expect_eq(redis->request_timeout_ms, 30000);
    cr_expect_eq(mysql->servers[0].port, 3306);
    cr_expect_eq(mysql->servers[0].partition_first, 0);
    cr_expect_eq(mysql->servers[0].partition_last, 7);
    cr_expect_str_eq(mysql->servers[0].password, "");
    cr_expect_eq(redis->nodes[0].port, 6379);
    cr_expect_null(redis->password);
    cr_expect_str_eq(es->urls[0], "http://127.0.0.1:9200");
    cr_expect_str_eq(es->index, "member-000001");
    cr_expect_str_eq(es->alias, "member");
    cr_expect_eq(es->data_nodes, 1);
    cr_expect_eq(es->replicas, 0);
    cr_expect_eq(config->entities[0].replication, 3);
    cr_expect_str_eq(config->state_dir, config_path("state"));
    cr_expect_str_eq(config->brokers, "k1:9092,k2:9092");
    cr_expect_eq(config->n_warnings, 0);
    ls_config_free(config);
}

Test(config, reads_what_is_set)
{
    struct ls_config *config = config_read(
        "state_dir: /var/lib/x\nschemas: [member.yaml, binding.yaml]\n"
        "kafka: {brokers: [\"[::1]:1\", SSL://k2:65535, k3], properties: {linger.ms: 7}}\n"
        "entities:\n  binding: {generation: 32767, partitions: 1024, replication: 1}\n"
        "  member: {generation: 2, partitions: 1}\n"
        "sinks:\n"
        "  es: {kind: elasticsearch, entity: member, urls: [\"https://[::1]:9201/\"], index: i-1,\n"
        "    alias: a, data_nodes: 3, tls: {ca: ca.pem, cert: ca.pem, key: ca.pem},\n"
        "    batch_bytes: 1048576, bulk_bytes: 65536, request_timeout_ms: 100}\n"
        "  r: {kind: redis, entity: binding, nodes: [\"[::1]:7\", b]}\n");
    const struct ls_sink_config *es = &config->sinks[0];
    cr_expect_str_eq(config->state_dir, "/var/lib/x");
    cr_expect_str_eq(config->brokers, "[::1]:1,SSL://k2:65535,k3");
    cr_expect_eq(config->n_properties, 1);
    cr_expect_str_eq(config->properties[0].name, "linger.ms");
    cr_expect_str_eq(config->properties[0].value, "7");
    cr_expect_str_eq(config->entities[0].schema->entity, "binding");
    cr_expect_eq(config->entities[0].generation, 32767);
    cr_expect_eq(config->entities[0].partitions, 1024);
    cr_expect_eq(config->entities[0].replication, 1);
    cr_expect_eq(es->entity, &config->entities[1]);
    cr_expect_eq(es->line, 8);
    cr_expect_str_eq(es->urls[0], "https://[::1]:9201");
    cr_expect_str_eq(es->index, "i-1");
    cr_expect_eq(es->replicas, 1, "more than one data node has a replica by default");
    cr_expect(es->tls.on);
    cr_expect_str_eq(es->tls.ca_file, config_path("ca.pem"));
    cr_expect_eq(es->batch_bytes, 1048576);
    cr_expect_eq(es->bulk_bytes, 65536);
    cr_expect_eq(es->request_timeout_ms, 100);
    cr_expect_str_eq(config->sinks[1].nodes[0].host, "::1");
    cr_expect_eq(config->sinks[1].nodes[0].port, 7);
    ls_config_free(config);
}

Test(config, needs_no_sink)
{
    struct ls_config *config = config_read("schemas: [member.yaml]\nkafka: {brokers: k}\n"
                                           "entities: {member: {partitions: 8}}\nsinks:\n");
    cr_expect_eq(config->n_sinks, 0);
    cr_expect_eq(config->entities[0].generation, 1);
    ls_config_free(config);
}

Test(config, reads_secrets_from_files_and_the_environment)
{
    struct ls_config *config = config_read(
        "schemas: [member.yaml]\nentities: {member: {partitions: 8}}\n"
        "kafka: {brokers: k, properties: {sasl.password_file: secret, ssl.key.pem_file: lines,\n"
        "  ssl.ca.location: ca.pem}}\n"
        "sinks:\n"
        "  m: {kind: mysql, servers: [{host: h, database: d, user: u, password_file: secret}]}\n"
        "  r: {kind: redis, nodes: [r], password_env: LOCKSTEP_TEST_SECRET}\n"
        "  e: {kind: elasticsearch, urls: [\"https://e\"], api_key_file: secret}\n");
    cr_expect_str_eq(config->properties[0].name, "sasl.password");
    cr_expect_str_eq(config->properties[0].value, SECRET);
    cr_expect_str_eq(config->properties[1].value, SECRET "\nmore");
    cr_expect_str_eq(config->properties[2].value, config_path("ca.pem"));
    cr_expect_str_eq(config->sinks[0].servers[0].password, SECRET);
    cr_expect_str_eq(config->sinks[1].password, SECRET);
    cr_expect_str_eq(config->sinks[2].api_key, SECRET);
    cr_expect(config->sinks[2].tls.on, "https is TLS");
    cr_expect_eq(config->n_warnings, 0);
    ls_config_free(config);
}

Test(config, warns_of_what_is_unwise)
{
    chmod(config_path("secret"), 0644);
    struct ls_config *config = config_read(
        "schemas: [member.yaml, binding.yaml]\nkafka: {brokers: k}\n"
        "entities: {member: {partitions: 8}}\nsinks:\n"
        "  e:\n    kind: elasticsearch\n    urls: [\"http://e\"]\n    api_key_file: secret\n");
    LS_CLEANUP_FREE char *path = ls_strdup(config_path("lockstep.yaml"));
    static const char *const expected[] = {
        "%s:8: sinks.e.api_key_file: every user of this machine may read %s; `chmod o-r` mends it",
        "%s:7: sinks.e.urls: the secret goes over the network in clear; use https://%s",
        "%s:1: the schema of 'binding' is used by none of the entities%s",
    };
    cr_assert_eq(config->n_warnings, LS_COUNT(expected));
    for (size_t i = 0; i < LS_COUNT(expected); i++) {
        char text[600];
        int len = snprintf(text, sizeof(text), "%s", path);
        const char *rest = strchr(expected[i] + 2, '%');
        snprintf(text + len, sizeof(text) - (size_t)len, "%.*s%s%s", (int)(rest - expected[i] - 2),
                 expected[i] + 2, i == 0 ? config_path("secret") : "", rest + 2);
        cr_expect_str_eq(config->warnings[i], text);
    }
    ls_config_free(config);
}

Test(config, names_what_there_is_when_asked_for_something_else)
{
    struct ls_config *config = config_read(HEAD ES_SINK "  r: {kind: redis, nodes: [r]}\n");
    struct ls_err err = {0};
    cr_expect_null(ls_config_sink(config, "redis", &err));
    cr_expect(strstr(err.text, "has no sink 'redis'; its sinks are: es, r"), "%s", err.text);
    cr_expect_null(ls_config_entity(config, "members", &err));
    cr_expect(strstr(err.text, "has no entity 'members'; its entities are: member"), "%s",
              err.text);
    ls_config_free(config);
}

Test(config, that_is_not_there_says_so_with_its_code)
{
    struct ls_config *config = NULL;
    struct ls_err err = {0};
    cr_expect_eq(ls_config_read(config_path("nowhere.yaml"), &config, &err), -1);
    cr_expect_eq(err.code, ENOENT);
    cr_expect(strstr(err.text, "nowhere.yaml: No such file"), "%s", err.text);
}

Test(config, mistake_in_a_schema_names_the_schemas_own_line)
{
    config_put("member.yaml", "entity: member\nversion: none\n");
    config_put("lockstep.yaml", HEAD);
    struct ls_config *config = NULL;
    struct ls_err err = {0};
    cr_expect_eq(ls_config_read(config_path("lockstep.yaml"), &config, &err), -1);
    size_t len = strlen(config_path("member.yaml"));
    cr_expect_eq(strncmp(err.text, config_path("member.yaml"), len), 0, "%s", err.text);
    cr_expect_eq(strncmp(err.text + len, ":2:", 3), 0, "%s", err.text);
    cr_expect_eq(err.class, LS_ERR_FATAL);
}

/* The text of docs/CONFIGURATION.md; the caller frees it. */
static char *read_document(void)
{
    FILE *file = fopen(LS_SOURCE_ROOT "/docs/CONFIGURATION.md", "re");
    cr_assert_not_null(file);
    struct ls_buf text = {0};
    size_t got;
    while ((got = fread(ls_buf_reserve(&text, 4096), 1, 4096, file)) > 0)
        text.len += got;
    fclose(file);
    ls_buf_cstr(&text);
    return text.data;
}

Test(config, document_is_current)
{
    struct ls_buf made = {0};
    ls_config_document(&made);
    LS_CLEANUP_FREE char *committed = read_document();
    cr_expect(strcmp(ls_buf_cstr(&made), committed) == 0,
              "docs/CONFIGURATION.md is not what the options are; make it again with "
              "`lockstep config document > docs/CONFIGURATION.md`");
    ls_buf_free(&made);
}

/* The example that people copy must be right. */
Test(config, example_of_the_document_is_accepted)
{
    LS_CLEANUP_FREE char *text = read_document();
    char *example = strstr(text, "```yaml\n");
    cr_assert_not_null(example);
    example += strlen("```yaml\n");
    *strstr(example, "```") = '\0';
    cr_assert_eq(mkdir(config_path("secrets"), 0700), 0);
    config_put("secrets/kafka", SECRET);
    config_put("secrets/mysql", SECRET);
    config_put("secrets/es", SECRET);
    config_put("es-ca.pem", "certificate\n");
    setenv("LOCKSTEP_REDIS_PASSWORD", SECRET, 1);
    struct ls_config *config = config_read(example);
    cr_expect_eq(config->n_sinks, 3);
    cr_expect_eq(config->n_warnings, 0);
    ls_config_free(config);
    remove(config_path("secrets/kafka"));
    remove(config_path("secrets/mysql"));
    remove(config_path("secrets/es"));
    remove(config_path("secrets"));
}
