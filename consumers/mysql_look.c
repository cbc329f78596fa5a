/*
 * Looks, on the connection that writes: what it finds is so for the very server that the lane's
 * marks go to, and a server that is away keeps only its own lanes waiting.
 *
 * Each look asks who answers as well: a proxy may lead an old connection to another server. Data
 * comes before marks: a worker that starts at the same time writes marks before data, so seeing its
 * data here means that its marks are seen too.
 *
 * The lane's thread. A look only reads, so a crash leaves nothing.
 */
#include <stdio.h>

#include "base/mem.h"
#include "consumers/mysql_marks.h"
#include "consumers/mysql_store.h"
#include "schema/key.h"
#include "schema/mysql_ddl.h"

static int any_row(void *opaque, size_t index, MYSQL_RES *rows, struct ls_err *err)
{
    bool *any = opaque;
    *any = *any || (rows != NULL && mysql_num_rows(rows) > 0);
    return 0;
}

/* Whether a table of these partitions has a row; many tables are asked in one packet. */
static int has_data(struct ls_mysql_link *link, const bool *wanted, bool *ret, struct ls_err *err)
{
    const struct ls_entity_config *entity = link->config->entity;
    struct ls_buf sql = {0};
    bool any = false;
    size_t n = 0;
    int rc = 0;
    for (unsigned shard = 0; shard < LS_SHARDS && rc == 0 && !any; shard++) {
        if (wanted[ls_partition_of((uint16_t)shard, entity->partitions)]) {
            char table[64];
            ls_mysql_table_name(entity->schema, (uint16_t)shard, table, sizeof(table));
            ls_buf_printf(&sql, "%sSELECT 1 FROM `%s` LIMIT 1", n > 0 ? ";" : "", table);
            n++;
        }
        if (n < LS_MYSQL_TABLES_PER_PACKET && (n == 0 || shard + 1 < LS_SHARDS))
            continue;
        ls_mysql_hurry(link->config); /* for each packet: cold tables may take long in all */
        rc = ls_mysql_many(&link->mysql, sql.data, sql.len, any_row, &any, err);
        ls_buf_clear(&sql);
        n = 0;
    }
    ls_buf_free(&sql);
    if (rc == 0)
        *ret = any;
    return rc;
}

static void take_mark(struct ls_unit *unit, MYSQL_ROW row)
{
    int32_t partition = (int32_t)strtol(row[0], NULL, 10);
    for (uint32_t i = 0; i < unit->n_marks; i++) {
        struct ls_mark *mark = &unit->marks[i];
        if (mark->partition != partition)
            continue;
        snprintf(mark->genesis, sizeof(mark->genesis), "%s", row[1]);
        mark->at_ms = strtoll(row[2], NULL, 10);
        mark->version = strtoull(row[3], NULL, 10);
    }
}

static int read_marks(struct ls_mysql_link *link, struct ls_unit *unit, struct ls_err *err)
{
    char table[64], sql[200];
    ls_mysql_mark_table_name(link->config->entity->schema, table, sizeof(table));
    int len = snprintf(
        sql, sizeof(sql),
        "SELECT `_partition`,`_genesis`,`" LS_COL_AT "`,`" LS_COL_VERSION "` FROM `%s`", table);
    MYSQL_RES *rows;
    if (ls_mysql_rows(&link->mysql, sql, (size_t)len, &rows, err) != 0)
        return -1;
    for (uint32_t i = 0; i < unit->n_marks; i++)
        unit->marks[i] = (struct ls_mark){.partition = unit->marks[i].partition};
    for (MYSQL_ROW row; (row = mysql_fetch_row(rows)) != NULL;)
        take_mark(unit, row);
    mysql_free_result(rows);
    for (uint32_t i = 0; i < unit->n_marks; i++) {
        struct ls_mysql_seen *seen = &link->seen[unit->marks[i].partition];
        seen->known = true;
        seen->mark = unit->marks[i];
    }
    return 0;
}

static int look(struct ls_mysql_link *link, struct ls_unit *unit, struct ls_err *err)
{
    bool fresh = link->mysql.handle == NULL;
    if (ls_mysql_link_use(link, err) != 0)
        return -1;
    if (!fresh && ls_mysql_link_identify(link, err) != 0)
        return -1;
    if (unit->look->setup) {
        LS_CLEANUP_FREE bool *wanted =
            ls_calloc((size_t)link->config->entity->partitions, sizeof(*wanted));
        for (uint32_t i = 0; i < unit->n_marks; i++)
            wanted[unit->marks[i].partition] = true;
        ls_mysql_hurry(link->config);
        if (ls_mysql_check_tables(&link->mysql, link->config, wanted, err) != 0 ||
            has_data(link, wanted, &unit->look->has_data, err) != 0)
            return -1;
    }
    ls_mysql_hurry(link->config);
    return read_marks(link, unit, err);
}

void ls_mysql_look(struct ls_mysql_link *link, struct ls_unit *unit)
{
    struct ls_err err = {0};
    if (look(link, unit, &err) == 0)
        return;
    if (link->mysql.handle != NULL && ls_mysql_lost(&link->mysql))
        ls_mysql_close(&link->mysql);
    ls_unit_note(unit, &err);
}
