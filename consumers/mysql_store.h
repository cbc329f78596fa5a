/*
 * The MySQL store's state, shared by its parts: mysql_store.c (connections, marks, data),
 * mysql_read.c (fetch, walk, count), mysql_schema.c (check, apply) and mysql_diff.c. One thread at
 * a time.
 */
#ifndef LS_CONSUMERS_MYSQL_STORE_H
#define LS_CONSUMERS_MYSQL_STORE_H

#include "consumers/mysql_encode.h"
#include "consumers/store.h"
#include "pipeline/mysql_client.h"

enum {
    LS_MYSQL_TABLES_PER_PACKET = 64, /* statements of one packet that go over all tables */
};

struct ls_mysql_store {
    const struct ls_sink_config *config;
    const struct ls_schema *schema;
    struct ls_mysql *servers; /* one connection to each of config->servers */
    int64_t *used_ms;         /* when each was last used */
    struct ls_mysql_encoder encoder;
    struct ls_buf columns; /* of a SELECT */
    struct ls_buf sql;
    struct ls_buf scratch;
};

static inline struct ls_mysql_store *ls_mysql_store_of(struct ls_store *store)
{
    return (struct ls_mysql_store *)store;
}

/* Index of the server that a partition, or a shard, lives on. */
size_t ls_mysql_server_of(const struct ls_sink_config *config, int32_t partition);
size_t ls_mysql_server_of_shard(const struct ls_sink_config *config, uint16_t shard);

/* The server's connection, made anew if it was lost. NULL and err when it can't be had. */
struct ls_mysql *ls_mysql_store_use(struct ls_mysql_store *store, size_t server,
                                    struct ls_err *err);
/* After an error: drops a connection that is not usable any more. Returns -1. */
int ls_mysql_store_failed(struct ls_mysql *mysql);

/*
 * Runs one statement per shard table of a server, many in a packet. make() appends the statement
 * for a table; each() gets its rows.
 */
typedef void ls_mysql_make_fn(struct ls_mysql_store *store, uint16_t shard, struct ls_buf *sql);
typedef int ls_mysql_table_fn(void *opaque, uint16_t shard, MYSQL_RES *rows, struct ls_err *err);
/* -1 on failure, non-zero of each() ends the run with that value. */
int ls_mysql_store_each_table(struct ls_mysql_store *store, size_t server, ls_mysql_make_fn *make,
                              ls_mysql_table_fn *each, void *opaque, struct ls_err *err);

/* mysql_read.c */
int ls_mysql_store_fetch(struct ls_store *store, const struct ls_span *keys, size_t n_keys,
                         struct ls_arena *arena, struct ls_image *images, struct ls_err *err);
int ls_mysql_store_walk(struct ls_store *store, uint16_t shard, ls_page_fn *page, void *opaque,
                        struct ls_err *err);
int ls_mysql_store_count(struct ls_store *store, uint64_t *ret_live, uint64_t *ret_deleted,
                         struct ls_err *err);

/* mysql_schema.c and mysql_diff.c */
/*
 * Checks the mark table, and the shard tables of the partitions for which wanted[] is true. -1 and
 * FATAL name the first that is missing, or lacks a column.
 */
int ls_mysql_check_tables(struct ls_mysql *mysql, const struct ls_sink_config *config,
                          const bool *wanted, struct ls_err *err);
int ls_mysql_store_check(struct ls_store *store, struct ls_err *err);
int ls_mysql_store_apply(struct ls_store *store, ls_line_fn *line, void *opaque,
                         struct ls_err *err);
int ls_mysql_store_diff(struct ls_store *store, ls_line_fn *line, void *opaque,
                        size_t *ret_differences, struct ls_err *err);

#endif
