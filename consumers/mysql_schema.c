/*
 * Tables of a schema on its servers: check what a sink needs, make what is missing. What is there
 * is read from information_schema in one query per server; asking table by table would be a
 * thousand queries. Servers are worked on in parallel, each by its own thread and connection.
 * Everything is made by statements that may be run again, so a crash half way is mended by the next
 * run.
 *
 * A new field's column is added (at the end, instantly in MariaDB 10.3 and MySQL 8.0.12 and later);
 * nothing that is there is altered or dropped.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "consumers/mysql_store.h"
#include "schema/key.h"
#include "schema/mysql_ddl.h"

enum {
    HIDDEN = 4,
    MARK_COLUMNS = 4,
    STATEMENTS_PER_PACKET = 32,
};

static const char *const hidden_names[HIDDEN] = {LS_COL_AT, LS_COL_DELETED, LS_COL_HASH,
                                                 LS_COL_VERSION};
static const char *const mark_names[MARK_COLUMNS] = {"_partition", "_genesis", LS_COL_AT,
                                                     LS_COL_VERSION};

/* Which tables and columns a server has: the ones that the schema wants. */
struct inventory {
    const struct ls_schema *schema;
    size_t n_columns; /* of a shard table: key, fields, hidden */
    bool *column;     /* [shard * n_columns + column] */
    bool table[LS_SHARDS];
    unsigned mark_columns; /* 0: no mark table */
};

static void inventory_free(struct inventory *inventory)
{
    free(inventory->column);
}

static int column_index(const struct ls_schema *schema, const char *name)
{
    if (strcmp(name, schema->key.name) == 0)
        return 0;
    for (size_t i = 0; i < HIDDEN; i++)
        if (strcmp(name, hidden_names[i]) == 0)
            return (int)(1 + schema->n_fields + i);
    int field = ls_schema_field_by_name(schema, name, strlen(name));
    return field < 0 ? -1 : field + 1;
}

/* The shard of a table's name, LS_SHARDS for the marks, -1 for a table of somebody else's. */
static int table_index(const struct ls_schema *schema, const char *name)
{
    char expected[64];
    size_t prefix = strlen(schema->entity) + 1;
    if (strlen(name) <= prefix)
        return -1;
    ls_mysql_mark_table_name(schema, expected, sizeof(expected));
    if (strcmp(name, expected) == 0)
        return LS_SHARDS;
    unsigned long shard = strtoul(name + prefix, NULL, 10);
    if (shard >= LS_SHARDS)
        return -1;
    ls_mysql_table_name(schema, (uint16_t)shard, expected, sizeof(expected));
    return strcmp(name, expected) == 0 ? (int)shard : -1;
}

static void take_column(struct inventory *inventory, const char *table, const char *column)
{
    int index = table_index(inventory->schema, table);
    if (index == LS_SHARDS) {
        for (size_t i = 0; i < MARK_COLUMNS; i++)
            inventory->mark_columns += strcmp(column, mark_names[i]) == 0;
        return;
    }
    if (index < 0)
        return;
    inventory->table[index] = true;
    int at = column_index(inventory->schema, column);
    if (at >= 0)
        inventory->column[(size_t)index * inventory->n_columns + (size_t)at] = true;
}

/* The caller frees the inventory on success. */
static int read_inventory(struct ls_mysql *mysql, const struct ls_schema *schema,
                          struct inventory *ret, struct ls_err *err)
{
    char sql[320];
    int len = snprintf(sql, sizeof(sql),
                       "SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS "
                       "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE '%s\\_%%'",
                       schema->entity);
    MYSQL_RES *rows;
    if (ls_mysql_rows(mysql, sql, (size_t)len, &rows, err) != 0)
        return -1;
    struct inventory inventory = {.schema = schema, .n_columns = 1 + schema->n_fields + HIDDEN};
    inventory.column = ls_calloc(LS_SHARDS * inventory.n_columns, sizeof(bool));
    for (MYSQL_ROW row; (row = mysql_fetch_row(rows)) != NULL;)
        take_column(&inventory, row[0], row[1]);
    mysql_free_result(rows);
    *ret = inventory;
    return 0;
}

static const char *column_name(const struct ls_schema *schema, size_t index)
{
    if (index == 0)
        return schema->key.name;
    return index <= schema->n_fields ? schema->fields[index - 1].name
                                     : hidden_names[index - 1 - schema->n_fields];
}

/* The first column of a table that is missing, or n_columns. */
static size_t missing_column(const struct inventory *inventory, unsigned shard, size_t from)
{
    size_t i = from;
    while (i < inventory->n_columns && inventory->column[shard * inventory->n_columns + i])
        i++;
    return i;
}

static int check_inventory(const struct ls_mysql *mysql, const struct ls_sink_config *config,
                           const struct inventory *inventory, const bool *wanted,
                           struct ls_err *err)
{
    const struct ls_schema *schema = inventory->schema;
    char table[64];
    ls_mysql_mark_table_name(schema, table, sizeof(table));
    if (inventory->mark_columns < MARK_COLUMNS)
        return ls_err_set(err, LS_ERR_FATAL, 1146,
                          "%s: table %s is missing or incomplete: run `lockstep schema apply`",
                          mysql->where, table);
    for (unsigned shard = 0; shard < LS_SHARDS; shard++) {
        if (!wanted[ls_partition_of((uint16_t)shard, config->entity->partitions)])
            continue;
        ls_mysql_table_name(schema, (uint16_t)shard, table, sizeof(table));
        if (!inventory->table[shard])
            return ls_err_set(err, LS_ERR_FATAL, 1146,
                              "%s: table %s is missing: run `lockstep schema apply`", mysql->where,
                              table);
        size_t column = missing_column(inventory, shard, 0);
        if (column < inventory->n_columns)
            return ls_err_set(err, LS_ERR_FATAL, 1054,
                              "%s: table %s has no column %s: run `lockstep schema apply`",
                              mysql->where, table, column_name(schema, column));
    }
    return 0;
}

int ls_mysql_check_tables(struct ls_mysql *mysql, const struct ls_sink_config *config,
                          const bool *wanted, struct ls_err *err)
{
    struct inventory inventory;
    if (read_inventory(mysql, config->entity->schema, &inventory, err) != 0)
        return -1;
    int rc = check_inventory(mysql, config, &inventory, wanted, err);
    inventory_free(&inventory);
    return rc;
}

int ls_mysql_store_check(struct ls_store *base, struct ls_err *err)
{
    struct ls_mysql_store *store = ls_mysql_store_of(base);
    size_t n_partitions = (size_t)store->config->entity->partitions;
    LS_CLEANUP_FREE bool *wanted = ls_calloc(n_partitions, sizeof(*wanted));
    for (size_t i = 0; i < store->config->n_servers; i++) {
        struct ls_mysql *mysql = ls_mysql_store_use(store, i, err);
        if (mysql == NULL)
            return -1;
        for (size_t k = 0; k < n_partitions; k++)
            wanted[k] = ls_mysql_server_of(store->config, (int32_t)k) == i;
        if (ls_mysql_check_tables(mysql, store->config, wanted, err) != 0)
            return ls_mysql_store_failed(mysql);
    }
    return 0;
}

/* Making what is missing on one server. */
struct work {
    struct ls_mysql_store *store;
    size_t server;
    pthread_t thread;
    struct ls_buf sql;
    size_t n_statements; /* in sql */
    size_t tables, columns, rewound;
    bool marks;
    int rc;
    struct ls_err err;
};

static int flush(struct work *work)
{
    if (work->n_statements == 0)
        return 0;
    struct ls_mysql *mysql = &work->store->servers[work->server];
    int rc = ls_mysql_many(mysql, work->sql.data, work->sql.len, NULL, NULL, &work->err);
    ls_buf_clear(&work->sql);
    work->n_statements = 0;
    return rc == 0 ? 0 : ls_mysql_store_failed(mysql);
}

static void next_statement(struct work *work)
{
    if (work->n_statements++ > 0)
        ls_buf_append_char(&work->sql, ';');
}

static int flush_if_full(struct work *work)
{
    return work->n_statements >= STATEMENTS_PER_PACKET ? flush(work) : 0;
}

static void append_key(const struct ls_field *field, struct ls_buf *sql)
{
    ls_buf_printf(sql, ", ADD KEY `%s` (`%s`", field->name, field->name);
    if (field->type == LS_TYPE_STRING && field->length > LS_MYSQL_KEY_CHARS)
        ls_buf_printf(sql, "(%d)", LS_MYSQL_KEY_CHARS);
    ls_buf_append_char(sql, ')');
}

/* ALTER TABLE with all columns of fields that the table lacks. */
static int add_columns(struct work *work, const struct inventory *inventory, unsigned shard)
{
    const struct ls_schema *schema = work->store->schema;
    char table[64];
    ls_mysql_table_name(schema, (uint16_t)shard, table, sizeof(table));
    size_t n = 0;
    for (size_t i = missing_column(inventory, shard, 0); i < inventory->n_columns;
         i = missing_column(inventory, shard, i + 1)) {
        if (i == 0 || i > schema->n_fields)
            return ls_err_set(&work->err, LS_ERR_FATAL, 1054,
                              "%s: table %s has no column %s, which no table of lockstep's lacks: "
                              "it is somebody else's table, rename it or the entity",
                              work->store->servers[work->server].where, table,
                              column_name(schema, i));
        const struct ls_field *field = &schema->fields[i - 1];
        if (n++ == 0) {
            next_statement(work);
            ls_buf_printf(&work->sql, "ALTER TABLE `%s`", table);
        } else {
            ls_buf_append_char(&work->sql, ',');
        }
        ls_buf_printf(&work->sql, " ADD COLUMN `%s` ", field->name);
        ls_mysql_column_type(field, &work->sql);
        if (ls_mysql_has_index(field))
            append_key(field, &work->sql);
    }
    work->columns += n;
    return flush_if_full(work);
}

/*
 * The marks of partitions that lack a table go back to the start, before the table is made: what it
 * held is gone, and a mark that says otherwise would keep it empty for ever.
 */
static int rewind_marks(struct work *work, const struct inventory *inventory)
{
    const struct ls_mysql_store *store = work->store;
    int32_t n_partitions = store->config->entity->partitions;
    LS_CLEANUP_FREE bool *lacks = ls_calloc((size_t)n_partitions, sizeof(*lacks));
    for (unsigned shard = 0; shard < LS_SHARDS; shard++)
        if (!inventory->table[shard])
            lacks[ls_partition_of((uint16_t)shard, n_partitions)] = true;
    char table[64];
    ls_mysql_mark_table_name(store->schema, table, sizeof(table));
    for (int32_t i = 0; i < n_partitions; i++) {
        if (!lacks[i] || ls_mysql_server_of(store->config, i) != work->server)
            continue;
        ls_buf_clear(&work->sql);
        ls_buf_printf(&work->sql,
                      "UPDATE `%s` SET `" LS_COL_AT "`=0,`" LS_COL_VERSION
                      "`=0 WHERE `_partition`=%d AND `" LS_COL_VERSION "`<>0",
                      table, (int)i);
        struct ls_mysql *mysql = &work->store->servers[work->server];
        if (ls_mysql_run(mysql, work->sql.data, work->sql.len, &work->err) != 0)
            return ls_mysql_store_failed(mysql);
        work->rewound += mysql_affected_rows(mysql->handle);
    }
    ls_buf_clear(&work->sql);
    return 0;
}

static int make_tables(struct work *work, const struct inventory *inventory)
{
    struct ls_mysql_store *store = work->store;
    if (inventory->mark_columns == MARK_COLUMNS && rewind_marks(work, inventory) != 0)
        return -1;
    if (inventory->mark_columns == 0) {
        next_statement(work);
        ls_mysql_create_marks(store->schema, &work->sql);
        work->marks = true;
    }
    for (unsigned shard = 0; shard < LS_SHARDS; shard++) {
        if (ls_mysql_server_of_shard(store->config, (uint16_t)shard) != work->server)
            continue;
        if (inventory->table[shard]) {
            if (add_columns(work, inventory, shard) != 0)
                return -1;
            continue;
        }
        next_statement(work);
        ls_mysql_create_shard(store->schema, (uint16_t)shard, &work->sql);
        work->tables++;
        if (flush_if_full(work) != 0)
            return -1;
    }
    return flush(work);
}

static void *work_main(void *opaque)
{
    struct work *work = opaque;
    struct inventory inventory;
    struct ls_mysql *mysql = ls_mysql_store_use(work->store, work->server, &work->err);
    work->rc = -1;
    if (mysql == NULL)
        return NULL;
    if (read_inventory(mysql, work->store->schema, &inventory, &work->err) != 0) {
        ls_mysql_store_failed(mysql);
        return NULL;
    }
    work->rc = make_tables(work, &inventory);
    inventory_free(&inventory);
    return NULL;
}

static void *thread_main(void *opaque)
{
    work_main(opaque);
    mysql_thread_end();
    return NULL;
}

static void report(const struct work *work, ls_line_fn *line, void *opaque)
{
    const char *where = work->store->servers[work->server].where;
    const char *entity = work->store->schema->entity;
    char text[512];
    if (work->tables > 0) {
        snprintf(text, sizeof(text), "%s: made %zu tables %s_NNNN", where, work->tables, entity);
        line(opaque, text);
    }
    if (work->marks) {
        snprintf(text, sizeof(text), "%s: made table %s_mark", where, entity);
        line(opaque, text);
    }
    if (work->rewound > 0) {
        snprintf(text, sizeof(text),
                 "%s: set the marks of %zu partitions back to the start: their sink fills the new "
                 "tables from the log",
                 where, work->rewound);
        line(opaque, text);
    }
    if (work->columns > 0) {
        snprintf(text, sizeof(text), "%s: added %zu columns to tables %s_NNNN", where,
                 work->columns, entity);
        line(opaque, text);
    }
}

int ls_mysql_store_apply(struct ls_store *base, ls_line_fn *line, void *opaque, struct ls_err *err)
{
    struct ls_mysql_store *store = ls_mysql_store_of(base);
    size_t n = store->config->n_servers;
    struct work *work = ls_calloc(n, sizeof(*work));
    bool *started = ls_calloc(n, sizeof(*started));
    for (size_t i = 0; i < n; i++) {
        work[i].store = store;
        work[i].server = i;
        started[i] = pthread_create(&work[i].thread, NULL, thread_main, &work[i]) == 0;
    }
    int rc = 0;
    for (size_t i = 0; i < n; i++) {
        if (started[i])
            pthread_join(work[i].thread, NULL);
        else
            work_main(&work[i]);
        if (work[i].rc == 0)
            report(&work[i], line, opaque);
        else if (rc == 0)
            *err = work[i].err;
        rc = rc != 0 ? rc : work[i].rc;
        ls_buf_free(&work[i].sql);
    }
    free(started);
    free(work);
    return rc;
}
