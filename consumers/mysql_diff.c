/*
 * What differs between the schema and the tables on its servers. Types are compared in the server's
 * own words: a temporary table made from the same DDL is the reference, and SHOW CREATE TABLE of
 * it and of every shard table are compared line by line. Comparing information_schema with names of
 * types of our own was rejected: each server and version spells them differently (bigint,
 * bigint(20); json, longtext). Equal differences of many tables become one line.
 */
#include <stdio.h>
#include <string.h>

#include "consumers/mysql_store.h"
#include "schema/mysql_ddl.h"

enum {
    LINES_MAX = 2 * LS_FIELDS_MAX + 16, /* of a SHOW CREATE TABLE that is looked at */
    FINDINGS_MAX = 200,                 /* different ones per server */
};

#define CREATE_PREFIX "CREATE TABLE IF NOT EXISTS"

struct lines { /* views into text */
    struct ls_span line[LINES_MAX];
    size_t n;
    char *text;
};

struct finding {
    char *text;
    char table[64]; /* the first that has it */
    size_t tables;
};

struct diff {
    struct ls_mysql_store *store;
    size_t server;
    struct lines wanted;
    struct finding findings[FINDINGS_MAX];
    size_t n_findings;
    size_t differences;
};

/* Takes ownership of text: columns, keys and options, without blanks and commas around them. */
static void split_lines(char *text, struct lines *lines)
{
    *lines = (struct lines){.text = text};
    char *at = strchr(text, '\n'); /* the first line is the table's name */
    while (at != NULL && lines->n < LINES_MAX) {
        at += 1 + strspn(at + 1, " ");
        char *end = strchr(at, '\n');
        size_t len = end != NULL ? (size_t)(end - at) : strlen(at);
        if (len > 0 && at[len - 1] == ',')
            len--;
        lines->line[lines->n++] = (struct ls_span){at, (uint32_t)len};
        at = end;
    }
}

static bool span_equal(struct ls_span a, struct ls_span b)
{
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

static bool has_line(const struct lines *lines, struct ls_span line)
{
    for (size_t i = 0; i < lines->n; i++)
        if (span_equal(lines->line[i], line))
            return true;
    return false;
}

/* "`name`" of a column's line, empty for keys and options. */
static struct ls_span column_of(struct ls_span line)
{
    const char *end =
        line.len > 1 && line.data[0] == '`' ? memchr(line.data + 1, '`', line.len - 1) : NULL;
    return (struct ls_span){line.data, end != NULL ? (uint32_t)(end + 1 - line.data) : 0};
}

static const struct ls_span *same_column(const struct lines *lines, struct ls_span line)
{
    struct ls_span column = column_of(line);
    for (size_t i = 0; column.len > 0 && i < lines->n; i++)
        if (span_equal(column_of(lines->line[i]), column))
            return &lines->line[i];
    return NULL;
}

static bool is_options(struct ls_span line)
{
    return line.len > 0 && line.data[0] == ')';
}

static void found(struct diff *diff, const char *table, char *text)
{
    diff->differences++;
    for (size_t i = 0; i < diff->n_findings; i++) {
        if (strcmp(diff->findings[i].text, text) == 0) {
            diff->findings[i].tables++;
            free(text);
            return;
        }
    }
    if (diff->n_findings == FINDINGS_MAX) {
        free(text);
        return;
    }
    struct finding *finding = &diff->findings[diff->n_findings++];
    *finding = (struct finding){.text = text, .tables = 1};
    snprintf(finding->table, sizeof(finding->table), "%s", table);
}

#define SPAN(span) (int)(span).len, (span).data

static void compare(struct diff *diff, const char *table, const struct lines *wanted,
                    const struct lines *actual)
{
    for (size_t i = 0; i < wanted->n; i++) {
        struct ls_span line = wanted->line[i];
        if (has_line(actual, line))
            continue;
        const struct ls_span *other = same_column(actual, line);
        if (other != NULL)
            found(diff, table, ls_asprintf("has %.*s, expected %.*s", SPAN(*other), SPAN(line)));
        else if (is_options(line) && actual->n > 0)
            found(diff, table,
                  ls_asprintf("is %.*s, expected %.*s", SPAN(actual->line[actual->n - 1]),
                              SPAN(line)));
        else
            found(diff, table, ls_asprintf("lacks %.*s", SPAN(line)));
    }
    for (size_t i = 0; i < actual->n; i++) {
        struct ls_span line = actual->line[i];
        if (!is_options(line) && !has_line(wanted, line) && same_column(wanted, line) == NULL)
            found(diff, table, ls_asprintf("has %.*s, which the schema has not", SPAN(line)));
    }
}

/* Of the one statement of a packet that has rows. */
static int take_create(void *opaque, size_t index, MYSQL_RES *rows, struct ls_err *err)
{
    MYSQL_ROW row = rows != NULL ? mysql_fetch_row(rows) : NULL;
    if (row != NULL)
        split_lines(ls_strdup(row[1]), opaque);
    return 0;
}

/* The lines of a table made from this DDL, in the words of this server. */
static int read_reference(struct ls_mysql *mysql, const char *table, struct ls_buf *ddl,
                          struct lines *ret, struct ls_err *err)
{
    struct ls_buf sql = {0};
    struct lines lines = {0};
    ls_buf_printf(&sql,
                  "CREATE TEMPORARY TABLE%s; SHOW CREATE TABLE `%s`; DROP TEMPORARY TABLE `%s`",
                  ls_buf_cstr(ddl) + sizeof(CREATE_PREFIX) - 1, table, table);
    int rc = ls_mysql_many(mysql, sql.data, sql.len, take_create, &lines, err);
    ls_buf_free(&sql);
    if (rc != 0) {
        ls_mysql_close(mysql); /* a temporary table left over would hide the real one */
        free(lines.text);
        return -1;
    }
    *ret = lines;
    return 0;
}

static int compare_rows(void *opaque, uint16_t shard, MYSQL_RES *rows, struct ls_err *err)
{
    struct diff *diff = opaque;
    MYSQL_ROW row = mysql_fetch_row(rows);
    struct lines actual;
    split_lines(ls_strdup(row[1]), &actual);
    compare(diff, row[0], &diff->wanted, &actual);
    free(actual.text);
    return 0;
}

static void make_show(struct ls_mysql_store *store, uint16_t shard, struct ls_buf *sql)
{
    char table[64];
    ls_mysql_table_name(store->schema, shard, table, sizeof(table));
    ls_buf_printf(sql, "SHOW CREATE TABLE `%s`", table);
}

/* Tables of this entity that are there; a flag for each shard, the last for the marks. */
static int read_tables(struct ls_mysql *mysql, const struct ls_schema *schema,
                       bool there[LS_SHARDS + 1], struct ls_err *err)
{
    char sql[320], name[64];
    int len = snprintf(sql, sizeof(sql),
                       "SELECT TABLE_NAME FROM information_schema.TABLES "
                       "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE '%s\\_%%'",
                       schema->entity);
    MYSQL_RES *rows;
    if (ls_mysql_rows(mysql, sql, (size_t)len, &rows, err) != 0)
        return -1;
    for (MYSQL_ROW row; (row = mysql_fetch_row(rows)) != NULL;) {
        unsigned long shard = strtoul(row[0] + strlen(schema->entity) + 1, NULL, 10);
        ls_mysql_mark_table_name(schema, name, sizeof(name));
        if (strcmp(row[0], name) == 0)
            there[LS_SHARDS] = true;
        ls_mysql_table_name(schema, (uint16_t)(shard % LS_SHARDS), name, sizeof(name));
        if (strcmp(row[0], name) == 0)
            there[shard] = true;
    }
    mysql_free_result(rows);
    return 0;
}

static void diff_tables(struct diff *diff, const bool there[LS_SHARDS + 1], bool *ret_all)
{
    char table[64];
    *ret_all = true;
    for (unsigned shard = 0; shard < LS_SHARDS; shard++) {
        size_t owner = ls_mysql_server_of_shard(diff->store->config, (uint16_t)shard);
        ls_mysql_table_name(diff->store->schema, (uint16_t)shard, table, sizeof(table));
        if (owner == diff->server && !there[shard]) {
            found(diff, table, ls_strdup("is missing: run `lockstep schema apply`"));
            *ret_all = false;
        }
        if (owner != diff->server && there[shard])
            found(diff, table,
                  ls_asprintf("is here, but its partition lives on %s",
                              diff->store->servers[owner].where));
    }
}

static int diff_marks(struct diff *diff, struct ls_mysql *mysql, bool there, struct ls_err *err)
{
    char table[64], sql[128];
    struct ls_buf ddl = {0};
    struct lines wanted = {0}, actual = {0};
    ls_mysql_mark_table_name(diff->store->schema, table, sizeof(table));
    if (!there) {
        found(diff, table, ls_strdup("is missing: run `lockstep schema apply`"));
        return 0;
    }
    ls_mysql_create_marks(diff->store->schema, &ddl);
    int rc = read_reference(mysql, table, &ddl, &wanted, err);
    int len = snprintf(sql, sizeof(sql), "SHOW CREATE TABLE `%s`", table);
    if (rc == 0)
        rc = ls_mysql_many(mysql, sql, (size_t)len, take_create, &actual, err);
    if (rc == 0)
        compare(diff, table, &wanted, &actual);
    free(wanted.text);
    free(actual.text);
    ls_buf_free(&ddl);
    return rc;
}

static int diff_settings(struct ls_mysql *mysql, ls_line_fn *line, void *opaque,
                         size_t *differences, struct ls_err *err)
{
    static const struct {
        const char *name, *wanted, *why;
    } settings[] = {
        {"innodb_flush_log_at_trx_commit", "1",
         "with another value a power failure takes back commits that were acknowledged"},
        {"sql_mode", "STRICT_",
         "without a strict mode other writers can store truncated values (lockstep's own sessions "
         "are strict)"},
        {"innodb_doublewrite", "ON", "without it a power failure can tear a page"},
    };
    char value[512], text[900];
    for (size_t i = 0; i < LS_COUNT(settings); i++) {
        if (ls_mysql_variable(mysql, true, settings[i].name, value, sizeof(value), err) != 0)
            return -1;
        if (strcasestr(value, settings[i].wanted) != NULL)
            continue;
        snprintf(text, sizeof(text), "%s: %s is '%.300s', expected %s: %s", mysql->where,
                 settings[i].name, value, settings[i].wanted, settings[i].why);
        line(opaque, text);
        ++*differences;
    }
    return 0;
}

static void report(struct diff *diff, const char *where, ls_line_fn *line, void *opaque)
{
    for (size_t i = 0; i < diff->n_findings; i++) {
        struct finding *finding = &diff->findings[i];
        char *text = finding->tables == 1
                         ? ls_asprintf("%s: %s %s", where, finding->table, finding->text)
                         : ls_asprintf("%s: %s and %zu more tables: each %s", where, finding->table,
                                       finding->tables - 1, finding->text);
        line(opaque, text);
        free(text);
        free(finding->text);
    }
}

static int diff_server(struct diff *diff, struct ls_mysql *mysql, struct ls_err *err)
{
    bool there[LS_SHARDS + 1] = {false}, all;
    char table[64];
    struct ls_buf ddl = {0};
    if (read_tables(mysql, diff->store->schema, there, err) != 0)
        return -1;
    diff_tables(diff, there, &all);
    if (diff_marks(diff, mysql, there[LS_SHARDS], err) != 0)
        return -1;
    if (!all)
        return 0; /* SHOW of a missing table would end the packet; the rest after `schema apply` */
    ls_mysql_table_name(diff->store->schema, 0, table, sizeof(table));
    ls_mysql_create_shard(diff->store->schema, 0, &ddl);
    int rc = read_reference(mysql, table, &ddl, &diff->wanted, err);
    ls_buf_free(&ddl);
    if (rc == 0)
        rc = ls_mysql_store_each_table(diff->store, diff->server, make_show, compare_rows, diff,
                                       err);
    return rc;
}

int ls_mysql_store_diff(struct ls_store *base, ls_line_fn *line, void *opaque,
                        size_t *ret_differences, struct ls_err *err)
{
    struct ls_mysql_store *store = ls_mysql_store_of(base);
    size_t differences = 0;
    int rc = 0;
    for (size_t i = 0; i < store->config->n_servers && rc == 0; i++) {
        struct ls_mysql *mysql = ls_mysql_store_use(store, i, err);
        if (mysql == NULL)
            return -1;
        struct diff *diff = ls_calloc(1, sizeof(*diff));
        diff->store = store;
        diff->server = i;
        rc = diff_server(diff, mysql, err);
        report(diff, mysql->where, line, opaque);
        if (rc == 0)
            rc = diff_settings(mysql, line, opaque, &differences, err);
        differences += diff->differences;
        if (rc != 0)
            ls_mysql_store_failed(mysql);
        free(diff->wanted.text);
        free(diff);
    }
    if (rc != 0)
        return -1;
    *ret_differences = differences;
    return 0;
}
