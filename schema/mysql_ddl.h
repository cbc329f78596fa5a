/* The MySQL side of a schema: names, columns and DDL. Pure text, no connection. */
#ifndef LS_SCHEMA_MYSQL_DDL_H
#define LS_SCHEMA_MYSQL_DDL_H

#include "base/buf.h"
#include "schema/schema.h"

/* Hidden columns, last in every shard table and in this order. `_v` is assigned last in upserts. */
#define LS_COL_AT      "_at"      /* BIGINT: LogAppendTime of the record, ms; outside the hash */
#define LS_COL_DELETED "_deleted" /* TINYINT */
#define LS_COL_HASH    "_h"       /* BIGINT UNSIGNED */
#define LS_COL_VERSION "_v"       /* BIGINT UNSIGNED */

/* `member_0000` into name (at least 48 bytes). */
void ls_mysql_table_name(const struct ls_schema *schema, uint16_t shard, char *name, size_t size);
/* `member_mark`: the marks of the partitions that live on this server. */
void ls_mysql_mark_table_name(const struct ls_schema *schema, char *name, size_t size);

/*
 * Strings of up to this many characters are VARCHAR(n), longer ones TEXT (which holds the 8,191
 * characters that a schema allows at 4 bytes each), lists MEDIUMTEXT with a JSON array.
 */
enum { LS_MYSQL_VARCHAR_MAX = 1024 };
static inline bool ls_mysql_is_text(const struct ls_field *field)
{
    return field->type == LS_TYPE_STRING && field->length > LS_MYSQL_VARCHAR_MAX;
}

/*
 * Whether the column has a KEY, named as the column: indexed fields do, but for lists (a B-tree
 * over JSON finds no item) and bools (half of the table is no find). A longer string's KEY has its
 * first 191 characters, which every page size takes.
 */
enum { LS_MYSQL_KEY_CHARS = 191 };
static inline bool ls_mysql_has_index(const struct ls_field *field)
{
    return field->indexed && field->type != LS_TYPE_STRINGS && field->type != LS_TYPE_BOOL;
}

/* The column's type with NULL-ness, e.g. "VARCHAR(100) CHARACTER SET utf8mb4 ... NULL". */
void ls_mysql_column_type(const struct ls_field *field, struct ls_buf *buf);

/* CREATE TABLE IF NOT EXISTS statements, without a final semicolon. */
void ls_mysql_create_shard(const struct ls_schema *schema, uint16_t shard, struct ls_buf *buf);
void ls_mysql_create_marks(const struct ls_schema *schema, struct ls_buf *buf);

#endif
