/* SQL literals, and lists of strings as JSON text, both ways. Pure, any thread. */
#ifndef LS_CONSUMERS_MYSQL_TEXT_H
#define LS_CONSUMERS_MYSQL_TEXT_H

#include "base/buf.h"
#include "base/mem.h"
#include "schema/value.h"

/*
 * Appends bytes as they stand between single quotes, for a session in utf8mb4 whose sql_mode has no
 * NO_BACKSLASH_ESCAPES (mysql_client.c sets and checks both). The bytes must be UTF-8.
 */
void ls_mysql_escape(struct ls_buf *buf, const char *text, size_t len);

/* Appends 'text' with its quotes. */
void ls_mysql_quote(struct ls_buf *buf, const char *text, size_t len);

/* Appends a finite double such that the server stores the same bits; -0.0 becomes 0. */
void ls_mysql_double(struct ls_buf *buf, double number);

/* Appends a list as the quoted literal of a JSON array. */
void ls_mysql_list(struct ls_buf *buf, const struct ls_span *items, uint32_t count);

/*
 * Reads a JSON array of strings as a store holds it. ret_items are views into text or the arena.
 * -1 where it is anything else, with the reason in *ret_why (static text).
 */
int ls_mysql_list_read(const char *text, size_t len, struct ls_arena *arena,
                       struct ls_span **ret_items, uint32_t *ret_count, const char **ret_why);

#endif
