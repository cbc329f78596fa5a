/*
 * For live tests of the MySQL sink: an entity of its own on the servers of the local stack's first
 * mysql sink ($LOCKSTEP_CONFIG), records made to measure, units applied without an instance.
 */
#ifndef LS_TESTS_LIVE_C_MYSQL_FIXTURE_H
#define LS_TESTS_LIVE_C_MYSQL_FIXTURE_H

#include "consumers/mysql_apply.h"
#include "consumers/store.h"
#include "schema/key.h"

enum { COL_NAME, COL_NOTE, COL_AGE, COL_SCORE, COL_OK, COL_TAGS, COL_FIELDS };

struct mysql_fixture {
    struct ls_config *config;
    struct ls_sink_config sink;
    struct ls_entity_config entity;
    struct ls_mysql_lane **lanes; /* one per server */
    struct ls_store *store;       /* NULL unless opened by mysql_fixture_init */
    struct ls_arena arena;
    struct ls_buf scratch;
    struct ls_unit unit; /* of the newest mysql_apply */
};

/* Tables are made when they are missing; entity names must be the test file's own. */
void mysql_fixture_init(struct mysql_fixture *f, const char *entity);
/* Everything but the tables: none are made, and no store is opened. */
void mysql_fixture_init_bare(struct mysql_fixture *f, const char *entity, uint32_t version);
void mysql_fixture_free(struct mysql_fixture *f);
/* Drops all tables of an entity, wherever they are. */
void mysql_fixture_drop(const char *entity);
/* After all tests, if any of that suite ran, drops the tables of these entities. */
#define MYSQL_DROPS_AFTER(suite, ...)                                               \
    __attribute__((constructor)) static void suite##_drops_after(void)              \
    {                                                                               \
        mysql_fixture_drop_after(#suite, (const char *const[]){__VA_ARGS__, NULL}); \
    }
void mysql_fixture_drop_after(const char *suite, const char *const *entities);

struct ls_mysql_lane *mysql_lane_of(struct mysql_fixture *f, const struct ls_record *record);
/* A connection of its own to the server of a shard; the caller closes. */
void mysql_connect_to(struct mysql_fixture *f, uint16_t shard, struct ls_mysql *ret);
/* Runs SQL there; fails the test on an error. format is printf's. */
void mysql_must(struct ls_mysql *mysql, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The n-th key with this prefix that hashes to the shard. */
const char *mysql_key(struct mysql_fixture *f, const char *prefix, uint16_t shard, unsigned n);
/* A put with a name; other fields absent: set them, then mysql_seal. */
struct ls_record *mysql_put(struct mysql_fixture *f, const char *key, size_t key_len,
                            uint64_t version, const char *name);
struct ls_record *mysql_delete(struct mysql_fixture *f, const char *key, uint64_t version);
struct ls_value *mysql_values(struct ls_record *record);
/* Computes the hash anew after values were changed. */
void mysql_seal(struct mysql_fixture *f, struct ls_record *record);

/* Applies records, all of one server, as one unit; verdicts are in the records. */
void mysql_apply(struct mysql_fixture *f, struct ls_record **records, uint32_t n, bool repair);
unsigned mysql_count(struct ls_record *const *records, uint32_t n, enum ls_verdict verdict);
/* What the store holds for a key. */
struct ls_image mysql_fetch_one(struct mysql_fixture *f, const char *key);

#endif
