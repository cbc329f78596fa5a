/* A row of a shard table as an image. Pure, any thread. */
#ifndef LS_CONSUMERS_MYSQL_IMAGE_H
#define LS_CONSUMERS_MYSQL_IMAGE_H

#include "base/buf.h"
#include "consumers/store.h"

/* Columns of a row: key, fields in the schema's order, `_at`, `_deleted`, `_h`, `_v`. */
static inline size_t ls_mysql_row_columns(const struct ls_schema *schema)
{
    return schema->n_fields + 5;
}

/*
 * Reads a row as the text protocol gives it (cells may be NULL), in the columns of
 * ls_mysql_encode_columns. Spans point into the cells; values, and what had to be unescaped, are in
 * the arena. The hash is computed from the columns. Content that is no record makes an undecodable
 * image, never a failure. scratch is reused memory of the caller.
 */
void ls_mysql_image_read(const struct ls_schema *schema, char *const *cells,
                         const unsigned long *lengths, struct ls_arena *arena,
                         struct ls_buf *scratch, struct ls_image *ret);

#endif
