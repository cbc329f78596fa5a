#include "mysql_fixture.h"

#include <criterion/criterion.h>
#include <criterion/hooks.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "schema/mysql_ddl.h"

static struct ls_schema *make_schema(const char *entity, uint32_t version)
{
    struct ls_buf yaml = {0};
    struct ls_schema *schema = NULL;
    struct ls_err err = {0};
    ls_buf_printf(&yaml,
                  "entity: %s\nversion: %u\nredis_prefix: t\nexpected_records: 1000\n"
                  "average_bytes: 100\nfields:\n"
                  "  - {number: 1, name: id, type: string, key: true}\n"
                  "  - {number: 2, name: name, type: string, length: 200, indexed: true}\n"
                  "  - {number: 3, name: note, type: string, length: 8000}\n"
                  "  - {number: 4, name: age, type: int}\n"
                  "  - {number: 5, name: score, type: float}\n"
                  "  - {number: 6, name: ok, type: bool}\n"
                  "  - {number: 7, name: tags, type: strings, length: 100, max_items: 20}\n",
                  entity, version);
    if (version > 1)
        ls_buf_append_str(&yaml,
                          "  - {number: 8, name: city, type: string, length: 50, indexed: true}\n");
    int rc = ls_schema_parse("test", yaml.data, yaml.len, &schema, &err);
    cr_assert_eq(rc, 0, "%s", err.text);
    ls_buf_free(&yaml);
    return schema;
}

static const struct ls_sink_config *first_mysql(const struct ls_config *config)
{
    for (size_t i = 0; i < config->n_sinks; i++)
        if (config->sinks[i].kind == LS_SINK_MYSQL)
            return &config->sinks[i];
    return NULL;
}

static struct ls_config *read_config(void)
{
    const char *path = getenv("LOCKSTEP_CONFIG");
    struct ls_config *config = NULL;
    struct ls_err err = {0};
    cr_assert_not_null(path, "LOCKSTEP_CONFIG must name the local stack's configuration");
    cr_assert_eq(ls_config_read(path, &config, &err), 0, "%s", err.text);
    cr_assert_not_null(first_mysql(config), "%s has no mysql sink", path);
    return config;
}

void mysql_fixture_init_bare(struct mysql_fixture *f, const char *entity, uint32_t version)
{
    *f = (struct mysql_fixture){.config = read_config()};
    f->sink = *first_mysql(f->config);
    f->entity = *f->sink.entity;
    f->entity.name = (char *)entity;
    f->entity.schema = make_schema(entity, version);
    f->sink.entity = &f->entity;
    f->lanes = ls_calloc(f->sink.n_servers, sizeof(struct ls_mysql_lane *));
    for (size_t i = 0; i < f->sink.n_servers; i++)
        f->lanes[i] = ls_mysql_lane_new(&f->sink, &f->sink.servers[i], NULL);
}

static void ignore_line(void *opaque, const char *line)
{
}

void mysql_fixture_init(struct mysql_fixture *f, const char *entity)
{
    struct ls_err err = {0};
    mysql_fixture_init_bare(f, entity, 1);
    cr_assert_eq(ls_mysql_store_ops.open(&f->sink, &f->store, &err), 0, "%s", err.text);
    cr_assert_eq(ls_mysql_store_ops.apply(f->store, ignore_line, NULL, &err), 0, "%s", err.text);
}

static void unit_clear(struct ls_unit *unit)
{
    free(unit->refusals);
    *unit = (struct ls_unit){0};
}

void mysql_fixture_free(struct mysql_fixture *f)
{
    unit_clear(&f->unit);
    ls_mysql_store_ops.close(f->store);
    for (size_t i = 0; i < f->sink.n_servers; i++)
        ls_mysql_lane_free(f->lanes[i]);
    free(f->lanes);
    ls_schema_free(f->entity.schema);
    ls_arena_free(&f->arena);
    ls_buf_free(&f->scratch);
    ls_config_free(f->config);
}

void mysql_fixture_drop(const char *entity)
{
    struct ls_config *config = read_config();
    const struct ls_sink_config *sink = first_mysql(config);
    struct ls_schema *schema = make_schema(entity, 1);
    for (size_t i = 0; i < sink->n_servers; i++) {
        struct ls_mysql mysql = {0};
        struct ls_err err = {0};
        if (ls_mysql_connect(&mysql, sink, &sink->servers[i], &err) != 0)
            continue;
        struct ls_buf sql = {0};
        char table[64];
        ls_mysql_mark_table_name(schema, table, sizeof(table));
        ls_buf_printf(&sql, "DROP TABLE IF EXISTS `%s`", table);
        for (unsigned shard = 0; shard < LS_SHARDS; shard++) {
            ls_mysql_table_name(schema, (uint16_t)shard, table, sizeof(table));
            ls_buf_printf(&sql, ",`%s`", table);
        }
        ls_mysql_run(&mysql, sql.data, sql.len, &err);
        ls_buf_free(&sql);
        ls_mysql_close(&mysql);
    }
    ls_schema_free(schema);
    ls_config_free(config);
}

static size_t server_of(struct mysql_fixture *f, uint16_t shard)
{
    int32_t partition = ls_partition_of(shard, f->entity.partitions);
    size_t i = 0;
    while (partition < f->sink.servers[i].partition_first ||
           partition > f->sink.servers[i].partition_last)
        i++;
    return i;
}

struct ls_mysql_lane *mysql_lane_of(struct mysql_fixture *f, const struct ls_record *record)
{
    return f->lanes[server_of(f, record->shard)];
}

void mysql_connect_to(struct mysql_fixture *f, uint16_t shard, struct ls_mysql *ret)
{
    struct ls_err err = {0};
    *ret = (struct ls_mysql){0};
    int rc = ls_mysql_connect(ret, &f->sink, &f->sink.servers[server_of(f, shard)], &err);
    cr_assert_eq(rc, 0, "%s", err.text);
}

void mysql_must(struct ls_mysql *mysql, const char *format, ...)
{
    char sql[2000];
    struct ls_err err = {0};
    va_list args;
    va_start(args, format);
    int len = vsnprintf(sql, sizeof(sql), format, args);
    va_end(args);
    int rc = ls_mysql_many(mysql, sql, (size_t)len, NULL, NULL, &err);
    cr_assert_eq(rc, 0, "%s: %s", sql, err.text);
}

const char *mysql_key(struct mysql_fixture *f, const char *prefix, uint16_t shard, unsigned n)
{
    char *key = ls_arena_alloc(&f->arena, 64);
    for (unsigned salt = 0, found = 0;; salt++) {
        int len = snprintf(key, 64, "%s-%u", prefix, salt);
        if (ls_shard_of(key, (size_t)len) == shard && found++ == n)
            return key;
    }
}

struct ls_value *mysql_values(struct ls_record *record)
{
    return (struct ls_value *)record->values;
}

void mysql_seal(struct mysql_fixture *f, struct ls_record *record)
{
    record->hash = ls_hash(f->entity.schema, record->key, record->key_len, record->deleted,
                           record->values, &f->scratch);
}

struct ls_record *mysql_put(struct mysql_fixture *f, const char *key, size_t key_len,
                            uint64_t version, const char *name)
{
    size_t n = f->entity.schema->n_fields;
    struct ls_record *record = ls_arena_alloc(&f->arena, sizeof(*record));
    struct ls_value *values = ls_arena_alloc(&f->arena, n * sizeof(*values));
    memset(values, 0, n * sizeof(*values));
    values[COL_NAME] = (struct ls_value){.present = true, .text = {name, (uint32_t)strlen(name)}};
    *record = (struct ls_record){.key = key,
                                 .key_len = (uint16_t)key_len,
                                 .values = values,
                                 .version = version,
                                 .at_ms = (int64_t)version};
    record->shard = ls_shard_of(key, key_len);
    record->partition = ls_partition_of(record->shard, f->entity.partitions);
    mysql_seal(f, record);
    return record;
}

struct ls_record *mysql_delete(struct mysql_fixture *f, const char *key, uint64_t version)
{
    struct ls_record *record = mysql_put(f, key, strlen(key), version, "");
    record->values = NULL;
    record->deleted = true;
    mysql_seal(f, record);
    return record;
}

void mysql_apply(struct mysql_fixture *f, struct ls_record **records, uint32_t n, bool repair)
{
    unit_clear(&f->unit);
    f->unit = (struct ls_unit){.records = records, .n_records = n, .repair = repair};
    ls_mysql_lane_work(mysql_lane_of(f, records[0]), &f->unit);
}

unsigned mysql_count(struct ls_record *const *records, uint32_t n, enum ls_verdict verdict)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < n; i++)
        count += records[i]->verdict == verdict;
    return count;
}

struct ls_image mysql_fetch_one(struct mysql_fixture *f, const char *key)
{
    struct ls_span span = {key, (uint32_t)strlen(key)};
    struct ls_image image;
    struct ls_err err = {0};
    int rc = ls_mysql_store_ops.fetch(f->store, &span, 1, &f->arena, &image, &err);
    cr_assert_eq(rc, 0, "%s", err.text);
    return image;
}

/* What is to be dropped in the end. Tests run in processes of their own, so hooks must do it. */
static struct {
    const char *suite, *entity;
    bool ran;
} owned[16];
static size_t n_owned;

void mysql_fixture_drop_after(const char *suite, const char *const *entities)
{
    for (; *entities != NULL && n_owned < LS_COUNT(owned); entities++) {
        owned[n_owned].suite = suite;
        owned[n_owned++].entity = *entities;
    }
}

ReportHook(POST_TEST)(struct criterion_test_stats *stats)
{
    for (size_t i = 0; i < n_owned; i++)
        owned[i].ran |= strcmp(stats->test->category, owned[i].suite) == 0;
}

ReportHook(POST_ALL)(struct criterion_global_stats *stats)
{
    for (size_t i = 0; i < n_owned; i++)
        if (owned[i].ran)
            mysql_fixture_drop(owned[i].entity);
}
