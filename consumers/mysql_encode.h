/*
 * Records and marks as MySQL statements. Pure text, no connection: the parts that do not change are
 * made once per lane.
 *
 * A statement upserts rows of one shard, each guarded by its version:
 *     INSERT INTO `member_0007` (`id`, ..., `_at`, `_deleted`, `_h`, `_v`) VALUES (...), (...)
 *     ON DUPLICATE KEY UPDATE `name` = IF(VALUES(`_v`) > `_v`, VALUES(`name`), `name`), ...,
 *     `_v` = IF(VALUES(`_v`) > `_v`, VALUES(`_v`), `_v`)
 * Assignments are made from left to right, so `_v` comes last: all guards before it see the old
 * one.
 */
#ifndef LS_CONSUMERS_MYSQL_ENCODE_H
#define LS_CONSUMERS_MYSQL_ENCODE_H

#include "base/buf.h"
#include "pipeline/record.h"
#include "schema/schema.h"

struct ls_mysql_encoder {
    const struct ls_schema *schema;
    struct ls_buf columns;     /* "` (`id`, ...) VALUES ", after the table's name */
    struct ls_buf newer;       /* " ON DUPLICATE KEY UPDATE ..." with `>` */
    struct ls_buf newer_equal; /* with `>=`: repair */
};

/* The schema is borrowed and must live as long. */
void ls_mysql_encoder_init(struct ls_mysql_encoder *encoder, const struct ls_schema *schema);
void ls_mysql_encoder_free(struct ls_mysql_encoder *encoder);

/*
 * Appends one statement (no semicolon) with as many of the records, all of one shard, as fit into
 * max_bytes; returns how many it took. 0: not even the first fits, and buf is as it was. Records
 * must have hash set, and values unless deleted.
 */
size_t ls_mysql_encode_rows(const struct ls_mysql_encoder *encoder,
                            struct ls_record *const *records, size_t n_records, bool repair,
                            size_t max_bytes, struct ls_buf *buf);

/*
 * Appends the statement (no semicolon) that moves one mark from what its row held when it was seen
 * last: genesis, version and time, or no row where genesis is "". It changes one row where that
 * still is so, and none where it is not.
 */
void ls_mysql_encode_mark(const struct ls_schema *schema, const struct ls_mark *mark,
                          const struct ls_mark *seen, struct ls_buf *buf);

/* Appends the upsert of marks without a guard: for resync. n_marks is at least 1. */
void ls_mysql_encode_marks_reset(const struct ls_schema *schema, const struct ls_mark *marks,
                                 size_t n_marks, struct ls_buf *buf);

/* Appends the columns of a row as ls_mysql_image_read expects them: key, fields, hidden ones. */
void ls_mysql_encode_columns(const struct ls_schema *schema, struct ls_buf *buf);

#endif
