/*
 * An index of a test's own on the local stack's first Elasticsearch, with an entity of its own, and
 * a lane and a store over it. The index goes away with the test.
 */
#ifndef LS_TESTS_LIVE_C_ES_FIXTURE_H
#define LS_TESTS_LIVE_C_ES_FIXTURE_H

#include <jansson.h>

#include "base/mem.h"
#include "consumers/lane.h"
#include "consumers/store.h"
#include "pipeline/es_client.h"

enum { ES_RECORDS_MAX = 40000, ES_PARTITIONS = 4 };
enum { ES_NAME, ES_POINTS, ES_BALANCE, ES_VIP, ES_TAGS, ES_FIELDS };

#define ES_GENESIS "0b5f7a9e-0000-4000-8000-000000000001"

struct es_fixture {
    struct ls_config *file;
    struct ls_schema *schema;
    struct ls_entity_config entity;
    struct ls_sink_config config; /* may be changed before a lane or store is opened */
    char index[64], alias[64];
    char *urls[2];
    struct ls_es_client *client;
    struct ls_store *store;

    struct ls_sink *sink;
    struct ls_lane *lane;
    struct ls_returns *returns;
    struct ls_unit look_unit;
    struct ls_look look;
    struct ls_mark marks[ES_PARTITIONS]; /* as the newest look found them */

    struct ls_record *records; /* of the next unit */
    struct ls_record **pointers;
    uint32_t n_records;
    struct ls_arena arena; /* keys and values of the records */
    struct ls_buf scratch;
};

/* The configuration without a server: for tests that bring one of their own. */
void es_configure(struct es_fixture *f, const char *url);
/* The local stack's server, a store over it, and (made by apply) the index and its alias. */
void es_start(struct es_fixture *f);
/* Deletes the index, closes everything. Fits both of the above. */
void es_stop(struct es_fixture *f);

void es_lane_start(struct es_fixture *f);
void es_lane_stop(struct es_fixture *f);

/* A request whose answer must be JSON, or NULL when it was refused. The caller owns it. */
json_t *es_http(struct es_fixture *f, const char *method, const char *path, const char *body);
/* Makes the index anew with this mapping, without the alias. */
void es_index_anew(struct es_fixture *f, const char *mappings);

/* Adds a record to the next unit: a put of values (ES_FIELDS of them), or a delete where NULL. */
struct ls_record *es_record(struct es_fixture *f, const char *key, uint64_t version,
                            const struct ls_value *values);
/* The same with a name alone. */
struct ls_record *es_named(struct es_fixture *f, const char *key, uint64_t version,
                           const char *name);
/* Submits the unit with the records added so far and waits for it; they stay readable. */
void es_apply(struct es_fixture *f, struct ls_unit *unit);
/* Frees what a unit that came back holds. */
void es_unit_done(struct ls_unit *unit);
/* One named record (a delete where name is NULL) as one unit; its error goes to ret_err or nowhere.
 */
enum ls_verdict es_apply_one(struct es_fixture *f, const char *key, uint64_t version,
                             const char *name, struct ls_err *ret_err);
/* A look at all marks, with the set-up and data where asked for; waits for it. The caller frees
 * nothing: look and marks are the fixture's, until the next one. */
struct ls_unit *es_look(struct es_fixture *f, bool setup);
unsigned es_count(const struct es_fixture *f, enum ls_verdict verdict);

/* What the index holds for a key; its memory is the fixture's. */
struct ls_image es_fetch(struct es_fixture *f, const char *key);

#endif
