/*
 * The MySQL store: connections to all servers of a sink, marks, and whether there is data. One
 * connection per server, made when the store is opened and again after a loss. One thread at a
 * time; a crash loses nothing, since every write is one statement or one transaction.
 */
#include "consumers/mysql_store.h"

#include <stdio.h>

#include "base/clock.h"
#include "schema/key.h"
#include "schema/mysql_ddl.h"

enum { IDLE_PING_MS = 30 * 1000 };

size_t ls_mysql_server_of(const struct ls_sink_config *config, int32_t partition)
{
    size_t i = 0;
    while (i + 1 < config->n_servers && (partition < config->servers[i].partition_first ||
                                         partition > config->servers[i].partition_last))
        i++;
    return i;
}

size_t ls_mysql_server_of_shard(const struct ls_sink_config *config, uint16_t shard)
{
    return ls_mysql_server_of(config, ls_partition_of(shard, config->entity->partitions));
}

struct ls_mysql *ls_mysql_store_use(struct ls_mysql_store *store, size_t server, struct ls_err *err)
{
    struct ls_mysql *mysql = &store->servers[server];
    int64_t now_ms = ls_mono_ms();
    if (mysql->handle != NULL && now_ms - store->used_ms[server] > IDLE_PING_MS &&
        mysql_ping(mysql->handle) != 0)
        ls_mysql_close(mysql);
    store->used_ms[server] = now_ms;
    if (mysql->handle == NULL &&
        ls_mysql_connect(mysql, store->config, &store->config->servers[server], err) != 0)
        return NULL;
    return mysql;
}

int ls_mysql_store_failed(struct ls_mysql *mysql)
{
    if (mysql->handle != NULL && ls_mysql_lost(mysql))
        ls_mysql_close(mysql);
    return -1;
}

static void store_close(struct ls_store *base)
{
    struct ls_mysql_store *store = ls_mysql_store_of(base);
    if (store == NULL)
        return;
    for (size_t i = 0; i < store->config->n_servers; i++)
        ls_mysql_close(&store->servers[i]);
    ls_mysql_encoder_free(&store->encoder);
    ls_buf_free(&store->columns);
    ls_buf_free(&store->sql);
    ls_buf_free(&store->scratch);
    free(store->servers);
    free(store->used_ms);
    free(store);
}

static int store_open(const struct ls_sink_config *config, struct ls_store **ret,
                      struct ls_err *err)
{
    struct ls_mysql_store *store = ls_calloc(1, sizeof(*store));
    store->config = config;
    store->schema = config->entity->schema;
    store->servers = ls_calloc(config->n_servers, sizeof(*store->servers));
    store->used_ms = ls_calloc(config->n_servers, sizeof(*store->used_ms));
    ls_mysql_encoder_init(&store->encoder, store->schema);
    ls_mysql_encode_columns(store->schema, &store->columns);
    for (size_t i = 0; i < config->n_servers; i++) {
        if (ls_mysql_store_use(store, i, err) == NULL) {
            store_close((struct ls_store *)store);
            return -1;
        }
    }
    *ret = (struct ls_store *)store;
    return 0;
}

struct table_run {
    uint16_t shards[LS_MYSQL_TABLES_PER_PACKET];
    ls_mysql_table_fn *each;
    void *opaque;
};

static int table_result(void *opaque, size_t index, MYSQL_RES *rows, struct ls_err *err)
{
    struct table_run *run = opaque;
    return run->each(run->opaque, run->shards[index], rows, err);
}

int ls_mysql_store_each_table(struct ls_mysql_store *store, size_t server, ls_mysql_make_fn *make,
                              ls_mysql_table_fn *each, void *opaque, struct ls_err *err)
{
    struct table_run run = {.each = each, .opaque = opaque};
    for (unsigned shard = 0; shard < LS_SHARDS;) {
        size_t n = 0;
        ls_buf_clear(&store->sql);
        for (; shard < LS_SHARDS && n < LS_MYSQL_TABLES_PER_PACKET; shard++) {
            if (ls_mysql_server_of_shard(store->config, (uint16_t)shard) != server)
                continue;
            if (n > 0)
                ls_buf_append_char(&store->sql, ';');
            make(store, (uint16_t)shard, &store->sql);
            run.shards[n++] = (uint16_t)shard;
        }
        if (n == 0)
            break;
        struct ls_mysql *mysql = ls_mysql_store_use(store, server, err);
        if (mysql == NULL)
            return -1;
        int rc = ls_mysql_many(mysql, store->sql.data, store->sql.len, table_result, &run, err);
        if (rc < 0)
            return ls_mysql_store_failed(mysql);
        if (rc > 0)
            return rc;
    }
    return 0;
}

static void make_any(struct ls_mysql_store *store, uint16_t shard, struct ls_buf *sql)
{
    char table[64];
    ls_mysql_table_name(store->schema, shard, table, sizeof(table));
    ls_buf_printf(sql, "SELECT 1 FROM `%s` LIMIT 1", table);
}

static int any_row(void *opaque, uint16_t shard, MYSQL_RES *rows, struct ls_err *err)
{
    return rows != NULL && mysql_num_rows(rows) > 0;
}

static int has_data(struct ls_store *base, bool *ret, struct ls_err *err)
{
    struct ls_mysql_store *store = ls_mysql_store_of(base);
    int rc = 0;
    for (size_t i = 0; i < store->config->n_servers && rc == 0; i++)
        rc = ls_mysql_store_each_table(store, i, make_any, any_row, NULL, err);
    if (rc < 0)
        return -1;
    *ret = rc > 0;
    return 0;
}

static void take_mark(struct ls_mysql_store *store, size_t server, struct ls_mark *marks, size_t n,
                      MYSQL_ROW row)
{
    int32_t partition = (int32_t)strtol(row[0], NULL, 10);
    if (ls_mysql_server_of(store->config, partition) != server)
        return; /* left from before the partition moved */
    for (size_t i = 0; i < n; i++) {
        if (marks[i].partition != partition)
            continue;
        snprintf(marks[i].genesis, sizeof(marks[i].genesis), "%s", row[1]);
        marks[i].at_ms = strtoll(row[2], NULL, 10);
        marks[i].version = strtoull(row[3], NULL, 10);
    }
}

static int read_marks(struct ls_store *base, struct ls_mark *marks, size_t n, struct ls_err *err)
{
    struct ls_mysql_store *store = ls_mysql_store_of(base);
    char table[64], sql[200];
    ls_mysql_mark_table_name(store->schema, table, sizeof(table));
    int len = snprintf(
        sql, sizeof(sql),
        "SELECT `_partition`,`_genesis`,`" LS_COL_AT "`,`" LS_COL_VERSION "` FROM `%s`", table);
    for (size_t i = 0; i < n; i++)
        marks[i] = (struct ls_mark){.partition = marks[i].partition};
    for (size_t i = 0; i < store->config->n_servers; i++) {
        struct ls_mysql *mysql = ls_mysql_store_use(store, i, err);
        MYSQL_RES *rows;
        if (mysql == NULL)
            return -1;
        if (ls_mysql_rows(mysql, sql, (size_t)len, &rows, err) != 0)
            return ls_mysql_store_failed(mysql);
        for (MYSQL_ROW row; (row = mysql_fetch_row(rows)) != NULL;)
            take_mark(store, i, marks, n, row);
        mysql_free_result(rows);
    }
    return 0;
}

static int reset_marks(struct ls_store *base, const struct ls_mark *marks, size_t n,
                       struct ls_err *err)
{
    struct ls_mysql_store *store = ls_mysql_store_of(base);
    struct ls_mark *here = ls_malloc((n + 1) * sizeof(*here));
    int rc = 0;
    for (size_t i = 0; i < store->config->n_servers && rc == 0; i++) {
        size_t n_here = 0;
        for (size_t k = 0; k < n; k++)
            if (ls_mysql_server_of(store->config, marks[k].partition) == i)
                here[n_here++] = marks[k];
        if (n_here == 0)
            continue;
        ls_buf_clear(&store->sql);
        ls_mysql_encode_marks_reset(store->schema, here, n_here, &store->sql);
        struct ls_mysql *mysql = ls_mysql_store_use(store, i, err);
        if (mysql == NULL)
            rc = -1;
        else if (ls_mysql_run(mysql, store->sql.data, store->sql.len, err) != 0)
            rc = ls_mysql_store_failed(mysql);
    }
    free(here);
    return rc;
}

/* A commit is visible to every later read at once. */
static int refresh(struct ls_store *store, struct ls_err *err)
{
    return 0;
}

const struct ls_store_ops ls_mysql_store_ops = {
    .kind = LS_SINK_MYSQL,
    .walks_in_order = true,
    .open = store_open,
    .close = store_close,
    .check = ls_mysql_store_check,
    .apply = ls_mysql_store_apply,
    .diff = ls_mysql_store_diff,
    .has_data = has_data,
    .read_marks = read_marks,
    .reset_marks = reset_marks,
    .refresh = refresh,
    .fetch = ls_mysql_store_fetch,
    .walk = ls_mysql_store_walk,
    .count = ls_mysql_store_count,
};
