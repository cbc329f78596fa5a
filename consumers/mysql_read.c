/*
 * Reading records back from MySQL: by key, by shard, and how many there are. Rows are read with the
 * text protocol and buffered by the client library a page at a time; a walk holds no transaction
 * (pages are consistent each, not together), since hours of one snapshot would keep the server from
 * purging. Rejected: LIMIT with OFFSET, whose cost grows with the square of the table.
 */
#include <string.h>

#include "consumers/mysql_image.h"
#include "consumers/mysql_store.h"
#include "consumers/mysql_text.h"
#include "schema/key.h"
#include "schema/mysql_ddl.h"

enum {
    PAGE_ROWS = 2000,
    FETCH_BYTES = 512 << 10, /* of one packet of SELECTs */
    FETCH_TABLES = 256,      /* SELECTs of one packet */
};

/* One key that is asked for. */
struct wanted {
    struct ls_span key;
    size_t index; /* in the caller's arrays */
    uint16_t shard;
};

struct fetch {
    struct ls_mysql_store *store;
    struct ls_arena *arena;
    struct ls_image *images;
    struct wanted *wanted; /* sorted by shard and key */
    size_t n_wanted;
    size_t start[FETCH_TABLES]; /* first wanted of each SELECT of the packet */
    size_t end[FETCH_TABLES];
};

static int compare_spans(struct ls_span a, struct ls_span b)
{
    int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return order != 0 ? order : (int)a.len - (int)b.len;
}

static int by_shard_and_key(const void *left, const void *right)
{
    const struct wanted *a = left, *b = right;
    if (a->shard != b->shard)
        return (int)a->shard - (int)b->shard;
    return compare_spans(a->key, b->key);
}

/* The row's cells, copied: the result is freed before the caller looks at them. */
static void copy_row(struct fetch *fetch, MYSQL_RES *rows, MYSQL_ROW row, struct ls_image *image)
{
    size_t n = ls_mysql_row_columns(fetch->store->schema), bytes = 0;
    const unsigned long *lengths = mysql_fetch_lengths(rows);
    for (size_t i = 0; i < n; i++)
        bytes += lengths[i] + 1;
    char **cells = ls_arena_alloc(fetch->arena, n * sizeof(*cells));
    char *at = ls_arena_alloc(fetch->arena, bytes);
    for (size_t i = 0; i < n; i++) {
        cells[i] = row[i] != NULL ? at : NULL;
        if (row[i] == NULL)
            continue;
        memcpy(at, row[i], lengths[i]);
        at[lengths[i]] = '\0';
        at += lengths[i] + 1;
    }
    ls_mysql_image_read(fetch->store->schema, cells, lengths, fetch->arena, &fetch->store->scratch,
                        image);
}

static int take_rows(void *opaque, size_t index, MYSQL_RES *rows, struct ls_err *err)
{
    struct fetch *fetch = opaque;
    for (MYSQL_ROW row; (row = mysql_fetch_row(rows)) != NULL;) {
        struct ls_span key = {row[0], (uint32_t)mysql_fetch_lengths(rows)[0]};
        size_t low = fetch->start[index], high = fetch->end[index];
        while (low < high) {
            size_t middle = (low + high) / 2;
            if (compare_spans(fetch->wanted[middle].key, key) < 0)
                low = middle + 1;
            else
                high = middle;
        }
        /* All that ask for this key: a caller may name one twice. */
        for (; low < fetch->end[index] && compare_spans(fetch->wanted[low].key, key) == 0; low++)
            copy_row(fetch, rows, row, &fetch->images[fetch->wanted[low].index]);
    }
    return 0;
}

/* Appends the SELECT for wanted[from..], all of one shard; returns where it ends. */
static size_t append_select(struct fetch *fetch, size_t from, struct ls_buf *sql)
{
    const struct ls_mysql_store *store = fetch->store;
    char table[64];
    ls_mysql_table_name(store->schema, fetch->wanted[from].shard, table, sizeof(table));
    ls_buf_printf(sql, "SELECT %.*s FROM `%s` WHERE `%s` IN (", (int)store->columns.len,
                  store->columns.data, table, store->schema->key.name);
    size_t i = from;
    for (; i < fetch->n_wanted && fetch->wanted[i].shard == fetch->wanted[from].shard &&
           (i == from || sql->len < FETCH_BYTES);
         i++) {
        if (i > from)
            ls_buf_append_char(sql, ',');
        ls_mysql_quote(sql, fetch->wanted[i].key.data, fetch->wanted[i].key.len);
    }
    ls_buf_append_char(sql, ')');
    return i;
}

/* One packet, to the server of wanted[from]; *ret_next is where the next one starts. */
static int fetch_packet(struct fetch *fetch, size_t from, size_t *ret_next, struct ls_err *err)
{
    struct ls_mysql_store *store = fetch->store;
    size_t server = ls_mysql_server_of_shard(store->config, fetch->wanted[from].shard);
    size_t next = from, n = 0;
    ls_buf_clear(&store->sql);
    while (next < fetch->n_wanted && n < FETCH_TABLES && store->sql.len < FETCH_BYTES &&
           ls_mysql_server_of_shard(store->config, fetch->wanted[next].shard) == server) {
        if (n > 0)
            ls_buf_append_char(&store->sql, ';');
        fetch->start[n] = next;
        next = append_select(fetch, next, &store->sql);
        fetch->end[n++] = next;
    }
    struct ls_mysql *mysql = ls_mysql_store_use(store, server, err);
    if (mysql == NULL)
        return -1;
    if (ls_mysql_many(mysql, store->sql.data, store->sql.len, take_rows, fetch, err) != 0)
        return ls_mysql_store_failed(mysql);
    *ret_next = next;
    return 0;
}

int ls_mysql_store_fetch(struct ls_store *base, const struct ls_span *keys, size_t n_keys,
                         struct ls_arena *arena, struct ls_image *images, struct ls_err *err)
{
    struct fetch fetch = {
        .store = ls_mysql_store_of(base), .arena = arena, .images = images, .n_wanted = n_keys};
    fetch.wanted = ls_malloc((n_keys + 1) * sizeof(*fetch.wanted));
    for (size_t i = 0; i < n_keys; i++) {
        images[i] = (struct ls_image){.key = keys[i]};
        fetch.wanted[i] = (struct wanted){
            .key = keys[i], .index = i, .shard = ls_shard_of(keys[i].data, keys[i].len)};
    }
    qsort(fetch.wanted, n_keys, sizeof(*fetch.wanted), by_shard_and_key);
    int rc = 0;
    for (size_t at = 0; at < n_keys && rc == 0;)
        rc = fetch_packet(&fetch, at, &at, err);
    free(fetch.wanted);
    return rc;
}

/* One page of a walk: its result, images that point into it, and whether it is the last. */
struct page {
    MYSQL_RES *rows;
    struct ls_arena arena;
    struct ls_image *images;
    size_t n;
};

static int read_page(struct ls_mysql_store *store, uint16_t shard, const struct ls_buf *after,
                     struct page *page, struct ls_err *err)
{
    struct ls_mysql *mysql =
        ls_mysql_store_use(store, ls_mysql_server_of_shard(store->config, shard), err);
    if (mysql == NULL)
        return -1;
    char table[64];
    const char *key = store->schema->key.name;
    ls_mysql_table_name(store->schema, shard, table, sizeof(table));
    ls_buf_clear(&store->sql);
    ls_buf_printf(&store->sql, "SELECT %.*s FROM `%s`", (int)store->columns.len,
                  store->columns.data, table);
    if (after->len > 0) {
        ls_buf_printf(&store->sql, " WHERE `%s`>", key);
        ls_mysql_quote(&store->sql, after->data, after->len);
    }
    ls_buf_printf(&store->sql, " ORDER BY `%s` LIMIT %d", key, PAGE_ROWS);
    if (ls_mysql_rows(mysql, store->sql.data, store->sql.len, &page->rows, err) != 0)
        return ls_mysql_store_failed(mysql);
    page->n = 0;
    for (MYSQL_ROW row; (row = mysql_fetch_row(page->rows)) != NULL;)
        ls_mysql_image_read(store->schema, row, mysql_fetch_lengths(page->rows), &page->arena,
                            &store->scratch, &page->images[page->n++]);
    return 0;
}

int ls_mysql_store_walk(struct ls_store *base, uint16_t shard, ls_page_fn *each, void *opaque,
                        struct ls_err *err)
{
    struct ls_mysql_store *store = ls_mysql_store_of(base);
    struct page page = {.images = ls_malloc(PAGE_ROWS * sizeof(struct ls_image))};
    struct ls_buf after = {0};
    int rc = 0;
    do {
        rc = read_page(store, shard, &after, &page, err);
        if (rc != 0)
            break;
        if (page.n > 0) {
            rc = each(opaque, page.images, page.n);
            ls_buf_clear(&after);
            ls_buf_append(&after, page.images[page.n - 1].key.data,
                          page.images[page.n - 1].key.len);
        }
        mysql_free_result(page.rows);
        ls_arena_reset(&page.arena);
    } while (rc == 0 && page.n == PAGE_ROWS);
    ls_buf_free(&after);
    ls_arena_free(&page.arena);
    free(page.images);
    return rc;
}

static void make_count(struct ls_mysql_store *store, uint16_t shard, struct ls_buf *sql)
{
    char table[64];
    ls_mysql_table_name(store->schema, shard, table, sizeof(table));
    ls_buf_printf(sql, "SELECT COUNT(*),COALESCE(SUM(`" LS_COL_DELETED "`<>0),0) FROM `%s`", table);
}

static int add_count(void *opaque, uint16_t shard, MYSQL_RES *rows, struct ls_err *err)
{
    uint64_t *totals = opaque;
    MYSQL_ROW row = mysql_fetch_row(rows);
    totals[0] += strtoull(row[0], NULL, 10);
    totals[1] += strtoull(row[1], NULL, 10);
    return 0;
}

int ls_mysql_store_count(struct ls_store *base, uint64_t *ret_live, uint64_t *ret_deleted,
                         struct ls_err *err)
{
    struct ls_mysql_store *store = ls_mysql_store_of(base);
    uint64_t totals[2] = {0, 0}; /* all, deleted */
    for (size_t i = 0; i < store->config->n_servers; i++)
        if (ls_mysql_store_each_table(store, i, make_count, add_count, totals, err) != 0)
            return -1;
    *ret_live = totals[0] - totals[1];
    *ret_deleted = totals[1];
    return 0;
}
