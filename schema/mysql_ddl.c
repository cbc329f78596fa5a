/*
 * MySQL tables of a schema. Names come from checked schema files (a-z, 0-9, _), so they are quoted
 * against reserved words only. Pure; any thread.
 */
#include "schema/mysql_ddl.h"

#include <inttypes.h>
#include <stdio.h>

#define TEXT_KIND "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL"
#define TABLE_KIND \
    "ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"

void ls_mysql_table_name(const struct ls_schema *schema, uint16_t shard, char *name, size_t size)
{
    snprintf(name, size, "%s_%04u", schema->entity, (unsigned)shard);
}

void ls_mysql_mark_table_name(const struct ls_schema *schema, char *name, size_t size)
{
    snprintf(name, size, "%s_mark", schema->entity);
}

void ls_mysql_column_type(const struct ls_field *field, struct ls_buf *buf)
{
    switch (field->type) {
    case LS_TYPE_STRING:
        if (ls_mysql_is_text(field))
            ls_buf_append_str(buf, "TEXT " TEXT_KIND);
        else
            ls_buf_printf(buf, "VARCHAR(%" PRIu32 ") " TEXT_KIND, field->length);
        return;
    case LS_TYPE_INT:
    case LS_TYPE_TIME:
        ls_buf_append_str(buf, "BIGINT NULL");
        return;
    case LS_TYPE_FLOAT:
        ls_buf_append_str(buf, "DOUBLE NULL");
        return;
    case LS_TYPE_BOOL:
        ls_buf_append_str(buf, "TINYINT NULL");
        return;
    case LS_TYPE_STRINGS:
        ls_buf_append_str(buf, "MEDIUMTEXT " TEXT_KIND);
        return;
    }
}

static void append_key(const struct ls_field *field, struct ls_buf *buf)
{
    ls_buf_printf(buf, ",\n  KEY `%s` (`%s`", field->name, field->name);
    if (field->type == LS_TYPE_STRING && field->length > LS_MYSQL_KEY_CHARS)
        ls_buf_printf(buf, "(%d)", LS_MYSQL_KEY_CHARS);
    ls_buf_append_str(buf, ")");
}

void ls_mysql_create_shard(const struct ls_schema *schema, uint16_t shard, struct ls_buf *buf)
{
    char name[48];
    ls_mysql_table_name(schema, shard, name, sizeof(name));
    ls_buf_printf(buf, "CREATE TABLE IF NOT EXISTS `%s` (\n  `%s` VARBINARY(%d) NOT NULL,\n", name,
                  schema->key.name, LS_KEY_BYTES_MAX);
    for (size_t i = 0; i < schema->n_fields; i++) {
        ls_buf_printf(buf, "  `%s` ", schema->fields[i].name);
        ls_mysql_column_type(&schema->fields[i], buf);
        ls_buf_append_str(buf, ",\n");
    }
    ls_buf_printf(buf,
                  "  `" LS_COL_AT "` BIGINT NOT NULL,\n"
                  "  `" LS_COL_DELETED "` TINYINT NOT NULL,\n"
                  "  `" LS_COL_HASH "` BIGINT UNSIGNED NOT NULL,\n"
                  "  `" LS_COL_VERSION "` BIGINT UNSIGNED NOT NULL,\n"
                  "  PRIMARY KEY (`%s`)",
                  schema->key.name);
    for (size_t i = 0; i < schema->n_fields; i++)
        if (ls_mysql_has_index(&schema->fields[i]))
            append_key(&schema->fields[i], buf);
    ls_buf_append_str(buf, "\n) " TABLE_KIND);
}

void ls_mysql_create_marks(const struct ls_schema *schema, struct ls_buf *buf)
{
    char name[48];
    ls_mysql_mark_table_name(schema, name, sizeof(name));
    ls_buf_printf(buf,
                  "CREATE TABLE IF NOT EXISTS `%s` (\n"
                  "  `_partition` INT NOT NULL,\n"
                  "  `_genesis` CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,\n"
                  "  `" LS_COL_AT "` BIGINT NOT NULL,\n"
                  "  `" LS_COL_VERSION "` BIGINT UNSIGNED NOT NULL,\n"
                  "  PRIMARY KEY (`_partition`)\n) " TABLE_KIND,
                  name);
}
