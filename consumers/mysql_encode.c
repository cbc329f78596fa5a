/*
 * Encoding of upserts. Text statements, not prepared ones: a prepared statement fixes table and
 * number of rows, so 1024 tables would need thousands of them on each connection, and each runs in
 * a round trip of its own, while many text statements go in one packet. Pure, one thread per
 * encoder; a crash loses nothing.
 */
#include "consumers/mysql_encode.h"

#include <string.h>

#include "consumers/mysql_text.h"
#include "schema/mysql_ddl.h"

static void append_name(struct ls_buf *buf, const char *name)
{
    ls_buf_printf(buf, "`%s`", name);
}

void ls_mysql_encode_columns(const struct ls_schema *schema, struct ls_buf *buf)
{
    append_name(buf, schema->key.name);
    for (size_t i = 0; i < schema->n_fields; i++) {
        ls_buf_append_char(buf, ',');
        append_name(buf, schema->fields[i].name);
    }
    ls_buf_append_str(buf, ",`" LS_COL_AT "`,`" LS_COL_DELETED "`,`" LS_COL_HASH
                           "`,`" LS_COL_VERSION "`");
}

static void append_guarded(struct ls_buf *buf, const char *column, const char *compare)
{
    ls_buf_printf(buf,
                  "`%s`=IF(VALUES(`" LS_COL_VERSION "`)%s`" LS_COL_VERSION "`,VALUES(`%s`),`%s`)",
                  column, compare, column, column);
}

static void make_guard(const struct ls_schema *schema, const char *compare, struct ls_buf *buf)
{
    static const char *const hidden[] = {LS_COL_AT, LS_COL_DELETED, LS_COL_HASH, LS_COL_VERSION};
    ls_buf_append_str(buf, " ON DUPLICATE KEY UPDATE ");
    for (size_t i = 0; i < schema->n_fields; i++) {
        append_guarded(buf, schema->fields[i].name, compare);
        ls_buf_append_char(buf, ',');
    }
    for (size_t i = 0; i < LS_COUNT(hidden); i++) {
        if (i > 0)
            ls_buf_append_char(buf, ',');
        append_guarded(buf, hidden[i], compare);
    }
}

void ls_mysql_encoder_init(struct ls_mysql_encoder *encoder, const struct ls_schema *schema)
{
    *encoder = (struct ls_mysql_encoder){.schema = schema};
    ls_buf_append_str(&encoder->columns, "` (");
    ls_mysql_encode_columns(schema, &encoder->columns);
    ls_buf_append_str(&encoder->columns, ") VALUES ");
    make_guard(schema, ">", &encoder->newer);
    make_guard(schema, ">=", &encoder->newer_equal);
}

void ls_mysql_encoder_free(struct ls_mysql_encoder *encoder)
{
    ls_buf_free(&encoder->columns);
    ls_buf_free(&encoder->newer);
    ls_buf_free(&encoder->newer_equal);
}

static void append_value(struct ls_buf *buf, enum ls_type type, const struct ls_value *value)
{
    if (!value->present) {
        ls_buf_append(buf, "NULL", 4);
        return;
    }
    switch (type) {
    case LS_TYPE_STRING:
        ls_mysql_quote(buf, value->text.data, value->text.len);
        return;
    case LS_TYPE_INT:
    case LS_TYPE_TIME:
    case LS_TYPE_BOOL:
        ls_buf_append_i64(buf, value->number);
        return;
    case LS_TYPE_FLOAT:
        ls_mysql_double(buf, value->real);
        return;
    case LS_TYPE_STRINGS:
        ls_mysql_list(buf, value->list, value->count);
        return;
    }
}

static void append_row(const struct ls_mysql_encoder *encoder, const struct ls_record *record,
                       struct ls_buf *buf)
{
    static const struct ls_value absent = {.present = false};
    const struct ls_schema *schema = encoder->schema;
    ls_buf_append_char(buf, '(');
    ls_mysql_quote(buf, record->key, record->key_len);
    for (size_t i = 0; i < schema->n_fields; i++) {
        ls_buf_append_char(buf, ',');
        append_value(buf, schema->fields[i].type, record->deleted ? &absent : &record->values[i]);
    }
    ls_buf_append_char(buf, ',');
    ls_buf_append_i64(buf, record->at_ms);
    ls_buf_append(buf, record->deleted ? ",1," : ",0,", 3);
    ls_buf_append_u64(buf, record->hash);
    ls_buf_append_char(buf, ',');
    ls_buf_append_u64(buf, record->version);
    ls_buf_append_char(buf, ')');
}

size_t ls_mysql_encode_rows(const struct ls_mysql_encoder *encoder,
                            struct ls_record *const *records, size_t n_records, bool repair,
                            size_t max_bytes, struct ls_buf *buf)
{
    const struct ls_buf *guard = repair ? &encoder->newer_equal : &encoder->newer;
    size_t start = buf->len;
    char table[64];
    ls_mysql_table_name(encoder->schema, records[0]->shard, table, sizeof(table));
    ls_buf_append(buf, "INSERT INTO `", 13);
    ls_buf_append_str(buf, table);
    ls_buf_append(buf, encoder->columns.data, encoder->columns.len);
    size_t taken = 0;
    for (; taken < n_records; taken++) {
        size_t before = buf->len;
        if (taken > 0)
            ls_buf_append_char(buf, ',');
        append_row(encoder, records[taken], buf);
        if (buf->len - start + guard->len > max_bytes) {
            buf->len = before;
            break;
        }
    }
    if (taken == 0)
        buf->len = start;
    else
        ls_buf_append(buf, guard->data, guard->len);
    return taken;
}

/* INSERT INTO `member_mark` (...) VALUES (...), ... */
static void append_mark_rows(const struct ls_schema *schema, const struct ls_mark *marks,
                             size_t n_marks, struct ls_buf *buf)
{
    char table[64];
    ls_mysql_mark_table_name(schema, table, sizeof(table));
    ls_buf_printf(buf,
                  "INSERT INTO `%s` (`_partition`,`_genesis`,`" LS_COL_AT "`,`" LS_COL_VERSION
                  "`) VALUES ",
                  table);
    for (size_t i = 0; i < n_marks; i++) {
        ls_buf_append_str(buf, i > 0 ? ",(" : "(");
        ls_buf_append_i64(buf, marks[i].partition);
        ls_buf_append_char(buf, ',');
        ls_mysql_quote(buf, marks[i].genesis, strlen(marks[i].genesis));
        ls_buf_append_char(buf, ',');
        ls_buf_append_i64(buf, marks[i].at_ms);
        ls_buf_append_char(buf, ',');
        ls_buf_append_u64(buf, marks[i].version);
        ls_buf_append_char(buf, ')');
    }
}

void ls_mysql_encode_mark(const struct ls_schema *schema, const struct ls_mark *mark,
                          const struct ls_mark *seen, struct ls_buf *buf)
{
    if (seen->genesis[0] == '\0') {
        append_mark_rows(schema, mark, 1, buf);
        ls_buf_append_str(buf, " ON DUPLICATE KEY UPDATE `_partition`=`_partition`");
        return;
    }
    char table[64];
    ls_mysql_mark_table_name(schema, table, sizeof(table));
    ls_buf_printf(buf, "UPDATE `%s` SET `_genesis`=", table);
    ls_mysql_quote(buf, mark->genesis, strlen(mark->genesis));
    ls_buf_append_str(buf, ",`" LS_COL_AT "`=");
    ls_buf_append_i64(buf, mark->at_ms);
    ls_buf_append_str(buf, ",`" LS_COL_VERSION "`=");
    ls_buf_append_u64(buf, mark->version);
    ls_buf_append_str(buf, " WHERE `_partition`=");
    ls_buf_append_i64(buf, mark->partition);
    ls_buf_append_str(buf, " AND `_genesis`=");
    ls_mysql_quote(buf, seen->genesis, strlen(seen->genesis));
    ls_buf_append_str(buf, " AND `" LS_COL_AT "`=");
    ls_buf_append_i64(buf, seen->at_ms);
    ls_buf_append_str(buf, " AND `" LS_COL_VERSION "`=");
    ls_buf_append_u64(buf, seen->version);
}

void ls_mysql_encode_marks_reset(const struct ls_schema *schema, const struct ls_mark *marks,
                                 size_t n_marks, struct ls_buf *buf)
{
    append_mark_rows(schema, marks, n_marks, buf);
    ls_buf_append_str(buf, " ON DUPLICATE KEY UPDATE `_genesis`=VALUES(`_genesis`),`" LS_COL_AT
                           "`=VALUES(`" LS_COL_AT "`),`" LS_COL_VERSION "`=VALUES(`" LS_COL_VERSION
                           "`)");
}
