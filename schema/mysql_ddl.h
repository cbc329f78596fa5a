/* The MySQL side of a schema: names, columns and DDL. Pure text, no connection. */
#ifndef LS_SCHEMA_MYSQL_DDL_H
#define LS_SCHEMA_MYSQL_DDL_H

#include "base/buf.h"
#include "schema/schema.h"

/* Hidden columns, last in every shard table and in this order. `_v` is assigned last in upserts. */
#define LS_COL_AT "_at"           /* BIGINT: LogAppendTime of the record, ms; outside the hash */
#define LS_COL_DELETED "_deleted" /* TINYINT */
#define LS_COL_HASH "_h"          /* BIGINT UNSIGNED */
#define LS_COL_VERSION "_v"       /* BIGINT UNSIGNED */

/* `member_0000` into name (at least 48 bytes). */
void ls_mysql_table_name(const struct ls_schema *schema, uint16_t shard, char *name, size_t size);
/* `member_mark`: the marks of the partitions that live on this server. */
void ls_mysql_mark_table_name(const struct ls_schema *schema, char *name, size_t size);

/* The column's type with NULL-ness, e.g. "VARCHAR(100) CHARACTER SET utf8mb4 ... NULL". */
void ls_mysql_column_type(const struct ls_field *field, struct ls_buf *buf);

/* CREATE TABLE IF NOT EXISTS statements, without a final semicolon. */
void ls_mysql_create_shard(const struct ls_schema *schema, uint16_t shard, struct ls_buf *buf);
void ls_mysql_create_marks(const struct ls_schema *schema, struct ls_buf *buf);

#endif
