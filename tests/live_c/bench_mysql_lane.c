/*
 * Rows per second of one MySQL lane: units made beforehand, 1024 tables on one server, first load
 * and the same again (all stale), for several windows. Prints a table; asserts nothing. Makes and
 * drops tables of its own entity on the first server of $LOCKSTEP_CONFIG's first mysql sink.
 */
#include <stdio.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "consumers/mysql_apply.h"
#include "consumers/store.h"
#include "schema/key.h"
#include "schema/mysql_ddl.h"

#define ENTITY "benchlane"

enum { RECORDS = 128000 };

static const char SCHEMA[] =
    "entity: " ENTITY "\nversion: 1\nredis_prefix: b\nexpected_records: 1000\naverage_bytes: 300\n"
    "fields:\n"
    "  - {number: 1, name: id, type: string, key: true}\n"
    "  - {number: 2, name: name, type: string, length: 100}\n"
    "  - {number: 3, name: email, type: string, length: 254}\n"
    "  - {number: 4, name: phone, type: string, length: 20}\n"
    "  - {number: 5, name: city, type: string, length: 100}\n"
    "  - {number: 6, name: status, type: string, length: 16}\n"
    "  - {number: 7, name: tier, type: string, length: 16}\n"
    "  - {number: 8, name: points, type: int}\n"
    "  - {number: 9, name: balance, type: float}\n"
    "  - {number: 10, name: created_at, type: time}\n"
    "  - {number: 11, name: updated_at, type: time}\n"
    "  - {number: 12, name: consent, type: bool}\n"
    "  - {number: 13, name: tags, type: strings, length: 40, max_items: 8}\n";

struct bench {
    struct ls_sink_config sink;
    struct ls_entity_config entity;
    struct ls_mysql_server server;
    struct ls_arena arena;
    struct ls_record *records;
    struct ls_record **pointers;
};

static struct ls_value text(struct bench *bench, const char *format, uint32_t i)
{
    char *at = ls_arena_alloc(&bench->arena, 80);
    int len = snprintf(at, 80, "%s%u", format, i);
    return (struct ls_value){.present = true, .text = {at, (uint32_t)len}};
}

static void make_records(struct bench *bench)
{
    static struct ls_span tags[] = {{"newsletter", 10}, {"spring-campaign", 15}};
    struct ls_buf scratch = {0};
    size_t n_fields = bench->entity.schema->n_fields;
    bench->records = ls_calloc(RECORDS, sizeof(*bench->records));
    bench->pointers = ls_calloc(RECORDS, sizeof(struct ls_record *));
    for (uint32_t i = 0; i < RECORDS; i++) {
        struct ls_record *record = &bench->records[i];
        struct ls_value *values = ls_arena_alloc(&bench->arena, n_fields * sizeof(*values));
        struct ls_value key = text(bench, "m", i * 2654435761u);
        static const char *const starts[] = {"Maria Gonzalez ", "member.number@mail.example ",
                                             "+49 30 1234",     "Bad Godesberg ",
                                             "active",          "silver"};
        for (int k = 0; k < 6; k++)
            values[k] = text(bench, starts[k], i % 1000);
        values[6] = (struct ls_value){.present = true, .number = i};
        values[7] = (struct ls_value){.present = true, .real = i / 7.0};
        values[8] = (struct ls_value){.present = true, .number = 1700000000000000 + i};
        values[9] = (struct ls_value){.present = true, .number = 1700000001000000 + i};
        values[10] = (struct ls_value){.present = true, .number = 1};
        values[11] = (struct ls_value){.present = true, .list = tags, .count = 2};
        *record = (struct ls_record){.key = key.text.data,
                                     .key_len = (uint16_t)key.text.len,
                                     .values = values,
                                     .version = 1000 + i,
                                     .at_ms = 1700000000000};
        record->shard = ls_shard_of(record->key, record->key_len);
        record->hash =
            ls_hash(bench->entity.schema, record->key, record->key_len, false, values, &scratch);
        bench->pointers[i] = record;
    }
    ls_buf_free(&scratch);
}

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Sends all records in windows; prints what it took. */
static int run(struct bench *bench, struct ls_mysql_lane *lane, uint32_t window, const char *what)
{
    unsigned counts[LS_VERDICTS] = {0};
    int64_t start_us = ls_mono_us();
    double start_cpu_s = cpu_s();
    for (uint32_t at = 0; at < RECORDS; at += window) {
        uint32_t n = RECORDS - at < window ? RECORDS - at : window;
        struct ls_unit unit = {.records = bench->pointers + at, .n_records = n};
        ls_mysql_lane_work(lane, &unit);
        if (unit.err.class != LS_ERR_NONE) {
            fprintf(stderr, "bench_mysql_lane: %s\n", unit.err.text);
            return -1;
        }
    }
    double s = (double)(ls_mono_us() - start_us) / 1e6;
    double million = (cpu_s() - start_cpu_s) * 1e6 / RECORDS;
    for (uint32_t i = 0; i < RECORDS; i++) {
        counts[bench->records[i].verdict]++;
        bench->records[i].verdict = LS_PENDING;
    }
    printf("%-22s %8u %10.0f rows/s %8.2f CPU-s per million   applied %u stale %u\n", what, window,
           RECORDS / s, million, counts[LS_APPLIED], counts[LS_STALE]);
    fflush(stdout);
    return 0;
}

static void ignore_line(void *opaque, const char *line)
{
}

static int on_tables(struct bench *bench, const char *before, struct ls_err *err)
{
    struct ls_mysql mysql = {0};
    struct ls_buf sql = {0};
    char table[64];
    if (ls_mysql_connect(&mysql, &bench->sink, &bench->server, err) != 0)
        return -1;
    for (unsigned shard = 0; shard < LS_SHARDS; shard++) {
        ls_mysql_table_name(bench->entity.schema, (uint16_t)shard, table, sizeof(table));
        ls_buf_printf(&sql, "%s%s `%s`", shard > 0 ? ";" : "", before, table);
    }
    ls_mysql_mark_table_name(bench->entity.schema, table, sizeof(table));
    ls_buf_printf(&sql, ";%s `%s`", before, table);
    int rc = ls_mysql_many(&mysql, sql.data, sql.len, NULL, NULL, err);
    ls_buf_free(&sql);
    ls_mysql_close(&mysql);
    return rc;
}

static int bench_windows(struct bench *bench, struct ls_err *err)
{
    static const uint32_t windows[] = {500, 4000, 32000, 100000};
    struct ls_store *store;
    if (ls_mysql_store_ops.open(&bench->sink, &store, err) != 0)
        return -1;
    int64_t start_ms = ls_mono_ms();
    int rc = ls_mysql_store_ops.apply(store, ignore_line, NULL, err);
    printf("made the tables in %lld ms\n", (long long)(ls_mono_ms() - start_ms));
    ls_mysql_store_ops.close(store);
    struct ls_mysql_lane *lane = ls_mysql_lane_new(&bench->sink, &bench->server, NULL);
    for (size_t i = 0; i < LS_COUNT(windows) && rc == 0; i++) {
        rc = on_tables(bench, "DELETE FROM", err);
        if (rc == 0)
            rc = run(bench, lane, windows[i], "first load");
        if (rc == 0)
            rc = run(bench, lane, windows[i], "the same again (stale)");
    }
    ls_mysql_lane_free(lane);
    return rc;
}

int main(void)
{
    struct bench bench = {0};
    struct ls_config *config;
    struct ls_err err = {0};
    const char *path = getenv("LOCKSTEP_CONFIG");
    if (path == NULL || ls_config_read(path, &config, &err) != 0) {
        fprintf(stderr, "bench_mysql_lane: %s\n", path ? err.text : "set LOCKSTEP_CONFIG");
        return 1;
    }
    const struct ls_sink_config *sink = config->sinks;
    while (sink < config->sinks + config->n_sinks && sink->kind != LS_SINK_MYSQL)
        sink++;
    if (sink == config->sinks + config->n_sinks) {
        fprintf(stderr, "bench_mysql_lane: %s has no mysql sink\n", path);
        return 1;
    }
    bench.sink = *sink;
    bench.entity = *sink->entity;
    bench.server = sink->servers[0];
    bench.server.partition_first = 0;
    bench.server.partition_last = bench.entity.partitions - 1;
    bench.sink.entity = &bench.entity;
    bench.sink.servers = &bench.server;
    bench.sink.n_servers = 1;
    int rc = ls_schema_parse("bench", SCHEMA, sizeof(SCHEMA) - 1, &bench.entity.schema, &err);
    if (rc == 0) {
        make_records(&bench);
        rc = bench_windows(&bench, &err);
        struct ls_err ignored;
        on_tables(&bench, "DROP TABLE IF EXISTS", &ignored);
    }
    if (rc != 0)
        fprintf(stderr, "bench_mysql_lane: %s\n", err.text);
    return rc == 0 ? 0 : 1;
}
