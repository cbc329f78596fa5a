#include "es_fixture.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "schema/key.h"

enum { UNIT_WAIT_MS = 60000 };

static const char SCHEMA[] =
    "entity: plant\n"
    "version: 1\n"
    "redis_prefix: plant\n"
    "expected_records: 1000\n"
    "average_bytes: 200\n"
    "fields:\n"
    "  - {number: 1, name: id, type: string, key: true}\n"
    "  - {number: 2, name: name, type: string, length: 2000}\n"
    "  - {number: 3, name: points, type: int, indexed: true}\n"
    "  - {number: 4, name: balance, type: float}\n"
    "  - {number: 5, name: vip, type: bool}\n"
    "  - {number: 6, name: tags, type: strings, length: 40, max_items: 64}\n";

void es_configure(struct es_fixture *f, const char *url)
{
    static unsigned count;
    struct ls_err err = {0};
    memset(f, 0, sizeof(*f));
    cr_assert_eq(ls_schema_parse("test", SCHEMA, sizeof(SCHEMA) - 1, &f->schema, &err), 0, "%s",
                 err.text);
    f->entity = (struct ls_entity_config){
        .name = (char *)"plant", .generation = 1, .partitions = ES_PARTITIONS, .schema = f->schema};
    snprintf(f->index, sizeof(f->index), "plant-%d-%u", (int)getpid(), ++count);
    snprintf(f->alias, sizeof(f->alias), "plants-%d-%u", (int)getpid(), count);
    f->urls[0] = ls_strdup(url);
    f->config = (struct ls_sink_config){.name = (char *)"es-t",
                                        .kind = LS_SINK_ES,
                                        .entity = &f->entity,
                                        .batches_in_flight = 4,
                                        .requests_in_flight = 4,
                                        .connect_timeout_ms = 2000,
                                        .request_timeout_ms = 20000,
                                        .urls = f->urls,
                                        .n_urls = 1,
                                        .index = f->index,
                                        .alias = f->alias,
                                        .data_nodes = 1,
                                        .replicas = 0,
                                        .bulk_bytes = 4 << 20};
    f->records = ls_calloc(ES_RECORDS_MAX, sizeof(*f->records));
    f->pointers = ls_calloc(ES_RECORDS_MAX, sizeof(struct ls_record *));
}

static const struct ls_sink_config *first_es(const struct ls_config *file)
{
    for (size_t i = 0; i < file->n_sinks; i++)
        if (file->sinks[i].kind == LS_SINK_ES)
            return &file->sinks[i];
    cr_assert_fail("the configuration has no sink of kind elasticsearch");
    return NULL;
}

void es_start(struct es_fixture *f)
{
    struct ls_err err = {0};
    const char *path = getenv("LOCKSTEP_CONFIG");
    struct ls_config *file;
    cr_assert_not_null(path, "LOCKSTEP_CONFIG names the local stack's configuration");
    cr_assert_eq(ls_config_read(path, &file, &err), 0, "%s", err.text);
    const struct ls_sink_config *sink = first_es(file);
    es_configure(f, sink->urls[0]);
    f->file = file;
    f->config.user = sink->user;
    f->config.password = sink->password;
    f->config.api_key = sink->api_key;
    cr_assert_eq(ls_es_client_new(&f->config, &f->client, &err), 0, "%s", err.text);
    cr_assert_eq(ls_es_store_ops.open(&f->config, &f->store, &err), 0, "%s", err.text);
    cr_assert_eq(ls_es_store_ops.apply(f->store, NULL, NULL, &err), 0, "%s", err.text);
}

void es_stop(struct es_fixture *f)
{
    if (f->lane != NULL)
        es_lane_stop(f);
    if (f->client != NULL) {
        LS_CLEANUP_FREE char *path = ls_asprintf("/%s", f->index);
        json_decref(es_http(f, "DELETE", path, NULL));
    }
    ls_es_store_ops.close(f->store);
    ls_es_client_free(f->client);
    ls_config_free(f->file);
    ls_schema_free(f->schema);
    ls_arena_free(&f->arena);
    ls_buf_free(&f->scratch);
    free(f->records);
    free(f->pointers);
    free(f->urls[0]);
}

void es_lane_start(struct es_fixture *f)
{
    struct ls_err err = {0};
    cr_assert_eq(ls_es_sink_ops.open(&f->config, &f->sink, &err), 0, "%s", err.text);
    f->returns = ls_returns_new();
    f->lane = ls_lane_start(&ls_es_sink_ops, f->sink, 0, f->returns, &err);
    cr_assert_not_null(f->lane, "%s", err.text);
}

void es_lane_stop(struct es_fixture *f)
{
    cr_assert_null(ls_lane_stop(f->lane), "no unit was left");
    ls_es_sink_ops.close(f->sink);
    ls_returns_free(f->returns);
    f->lane = NULL;
}

json_t *es_http(struct es_fixture *f, const char *method, const char *path, const char *body)
{
    json_t *root = NULL;
    struct ls_err err;
    return ls_es_json(f->client, method, path, body, &root, &err) == 0 ? root : NULL;
}

void es_index_anew(struct es_fixture *f, const char *mappings)
{
    LS_CLEANUP_FREE char *path = ls_asprintf("/%s", f->index);
    json_decref(es_http(f, "DELETE", path, NULL));
    LS_CLEANUP_FREE char *body =
        ls_asprintf("{\"settings\":{\"number_of_replicas\":0},\"mappings\":%s}", mappings);
    json_t *made = es_http(f, "PUT", path, body);
    cr_assert_not_null(made);
    json_decref(made);
}

struct ls_record *es_record(struct es_fixture *f, const char *key, uint64_t version,
                            const struct ls_value *values)
{
    cr_assert(f->n_records < ES_RECORDS_MAX);
    struct ls_record *record = &f->records[f->n_records];
    f->pointers[f->n_records++] = record;
    size_t len = strlen(key);
    char *copy = ls_arena_alloc(&f->arena, len);
    memcpy(copy, key, len);
    *record = (struct ls_record){.key = copy,
                                 .key_len = (uint16_t)len,
                                 .version = version,
                                 .at_ms = 1700000000123,
                                 .deleted = values == NULL};
    if (values != NULL) {
        struct ls_value *own = ls_arena_alloc(&f->arena, ES_FIELDS * sizeof(*own));
        memcpy(own, values, ES_FIELDS * sizeof(*own));
        record->values = own;
    }
    record->shard = ls_shard_of(copy, len);
    record->partition = ls_partition_of(record->shard, ES_PARTITIONS);
    record->hash = ls_hash(f->schema, copy, len, record->deleted, record->values, &f->scratch);
    return record;
}

struct ls_record *es_named(struct es_fixture *f, const char *key, uint64_t version,
                           const char *name)
{
    struct ls_value values[ES_FIELDS] = {0};
    size_t len = strlen(name);
    char *copy = ls_arena_alloc(&f->arena, len);
    memcpy(copy, name, len);
    values[ES_NAME] = (struct ls_value){.present = true, .text = {copy, (uint32_t)len}};
    return es_record(f, key, version, values);
}

static struct ls_unit *wait_returned(struct es_fixture *f)
{
    struct pollfd wait = {.fd = ls_returns_fd(f->returns), .events = POLLIN};
    cr_assert_eq(poll(&wait, 1, UNIT_WAIT_MS), 1, "the unit did not come back");
    return ls_returns_take(f->returns);
}

void es_apply(struct es_fixture *f, struct ls_unit *unit)
{
    unit->records = f->pointers;
    unit->n_records = f->n_records;
    ls_lane_submit(f->lane, unit);
    cr_assert_eq(wait_returned(f), unit);
    for (uint32_t i = 0; i < unit->n_records; i++)
        cr_assert_neq(unit->records[i]->verdict, LS_PENDING, "every record has a verdict");
}

struct ls_unit *es_look(struct es_fixture *f, bool setup)
{
    for (int32_t i = 0; i < ES_PARTITIONS; i++)
        f->marks[i] = (struct ls_mark){.partition = i};
    f->look = (struct ls_look){.setup = setup};
    f->look_unit = (struct ls_unit){.look = &f->look, .marks = f->marks, .n_marks = ES_PARTITIONS};
    ls_lane_submit(f->lane, &f->look_unit);
    cr_assert_eq(wait_returned(f), &f->look_unit);
    return &f->look_unit;
}

void es_unit_done(struct ls_unit *unit)
{
    free(unit->refusals);
    *unit = (struct ls_unit){0};
}

enum ls_verdict es_apply_one(struct es_fixture *f, const char *key, uint64_t version,
                             const char *name, struct ls_err *ret_err)
{
    struct ls_unit unit = {0};
    f->n_records = 0;
    struct ls_record *record =
        name != NULL ? es_named(f, key, version, name) : es_record(f, key, version, NULL);
    es_apply(f, &unit);
    if (ret_err != NULL)
        *ret_err = unit.err;
    es_unit_done(&unit);
    return record->verdict;
}

unsigned es_count(const struct es_fixture *f, enum ls_verdict verdict)
{
    unsigned n = 0;
    for (uint32_t i = 0; i < f->n_records; i++)
        n += f->records[i].verdict == verdict;
    return n;
}

struct ls_image es_fetch(struct es_fixture *f, const char *key)
{
    struct ls_image image;
    struct ls_err err = {0};
    struct ls_span span = {key, (uint32_t)strlen(key)};
    int rc = ls_es_store_ops.fetch(f->store, &span, 1, &f->arena, &image, &err);
    cr_assert_eq(rc, 0, "%s", err.text);
    return image;
}
