/*
 * Building a record field by field, by name. Each setter checks at once, so that the mistake is
 * reported where it is made.
 *
 * Threads: a record belongs to one thread at a time; it keeps its own memory and reuses it.
 */

#include "base/mem.h"
#include "producers/publisher.h"
#include "schema/key.h"

struct lockstep_record {
    lockstep_publisher *publisher;
    struct ls_publisher_entity *entity;
    bool begun;
    enum ls_op op;
    struct ls_buf key;
    struct ls_buf trace;
    int64_t time_us;
    struct ls_value *values;
    struct ls_arena arena; /* texts and lists; reset when the record is begun anew */
    struct ls_buf wire;
};

enum lockstep_code ls_publisher_entity(lockstep_publisher *publisher, const char *name,
                                       struct ls_publisher_entity **ret,
                                       struct lockstep_error *error)
{
    char known[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < publisher->n_entities; i++) {
        const char *entity = publisher->entities[i].schema->entity;
        if (strcmp(entity, name) == 0) {
            *ret = &publisher->entities[i];
            return LOCKSTEP_OK;
        }
        size_t len = strlen(entity);
        if (used + len + 2 < sizeof(known)) {
            known[used++] = ' ';
            memcpy(known + used, entity, len + 1);
            used += len;
        }
    }
    return ls_publisher_error(error, LOCKSTEP_SETUP, "no entity '%s'; there are:%s", name, known);
}

enum lockstep_code lockstep_record_new(lockstep_publisher *publisher, const char *entity,
                                       lockstep_record **ret, struct lockstep_error *error)
{
    struct ls_publisher_entity *found;
    enum lockstep_code code = ls_publisher_entity(publisher, entity, &found, error);
    if (code != LOCKSTEP_OK)
        return code;
    lockstep_record *record = ls_calloc(1, sizeof(*record));
    record->publisher = publisher;
    record->entity = found;
    record->values = ls_calloc(found->schema->n_fields + 1, sizeof(*record->values));
    *ret = record;
    return LOCKSTEP_OK;
}

void lockstep_record_free(lockstep_record *record)
{
    if (record == NULL)
        return;
    ls_buf_free(&record->key);
    ls_buf_free(&record->trace);
    ls_buf_free(&record->wire);
    ls_arena_free(&record->arena);
    free(record->values);
    free(record);
}

static enum lockstep_code begin(lockstep_record *record, enum ls_op op, const char *key,
                                size_t key_len, struct lockstep_error *error)
{
    record->begun = false;
    record->op = op;
    record->time_us = 0;
    ls_buf_clear(&record->key);
    ls_buf_clear(&record->trace);
    ls_arena_reset(&record->arena);
    memset(record->values, 0, record->entity->schema->n_fields * sizeof(*record->values));
    struct ls_err err = {0};
    if (ls_key_check(key, key_len, &err) < 0)
        return ls_publisher_error(error, LOCKSTEP_INVALID, "%s", err.text);
    ls_buf_append(&record->key, key, key_len);
    record->begun = true;
    return LOCKSTEP_OK;
}

enum lockstep_code lockstep_record_put(lockstep_record *record, const char *key, size_t key_len,
                                       struct lockstep_error *error)
{
    return begin(record, LS_OP_PUT, key, key_len, error);
}

enum lockstep_code lockstep_record_delete(lockstep_record *record, const char *key, size_t key_len,
                                          struct lockstep_error *error)
{
    return begin(record, LS_OP_DELETE, key, key_len, error);
}

/* The field's index, or -1 and error: no such field, another type, or no put was begun. */
static int find_field(const lockstep_record *record, const char *name, enum ls_type type,
                      struct lockstep_error *error)
{
    const struct ls_schema *schema = record->entity->schema;
    if (!record->begun || record->op != LS_OP_PUT) {
        ls_publisher_error(error, LOCKSTEP_INVALID,
                           "field %s: only a put has fields; begin with lockstep_record_put", name);
        return -1;
    }
    int index = ls_schema_field_by_name(schema, name, strlen(name));
    if (index < 0) {
        ls_publisher_error(error, LOCKSTEP_INVALID, "field %s: %s", name,
                           strcmp(name, schema->key.name) == 0
                               ? "it is the key, which is given to lockstep_record_put"
                               : "the schema has no such field");
        return -1;
    }
    if (schema->fields[index].type != type) {
        ls_publisher_error(error, LOCKSTEP_INVALID, "field %s: the schema says %s, not %s", name,
                           ls_type_name(schema->fields[index].type), ls_type_name(type));
        return -1;
    }
    return index;
}

static enum lockstep_code store(lockstep_record *record, int index, struct ls_value value,
                                struct lockstep_error *error)
{
    struct ls_err err = {0};
    value.present = true;
    if (ls_value_check(&record->entity->schema->fields[index], &value, &err) < 0)
        return ls_publisher_error(error, LOCKSTEP_INVALID, "%s", err.text);
    record->values[index] = value;
    return LOCKSTEP_OK;
}

/* The text in the record's own memory; longer than any schema allows is left to the check as it is.
 */
static struct ls_span keep_text(lockstep_record *record, const char *text, size_t len)
{
    enum { UTF8_BYTES_MAX = 4, TOO_LONG = LS_LENGTH_MAX * UTF8_BYTES_MAX + 1 };
    if (len >= TOO_LONG)
        return (struct ls_span){text, len > UINT32_MAX ? UINT32_MAX : (uint32_t)len};
    char *copy = ls_arena_alloc(&record->arena, len + 1);
    if (len > 0)
        memcpy(copy, text, len);
    return (struct ls_span){copy, (uint32_t)len};
}

enum lockstep_code lockstep_record_set_string(lockstep_record *record, const char *field,
                                              const char *text, size_t len,
                                              struct lockstep_error *error)
{
    int index = find_field(record, field, LS_TYPE_STRING, error);
    if (index < 0)
        return LOCKSTEP_INVALID;
    return store(record, index, (struct ls_value){.text = keep_text(record, text, len)}, error);
}

enum lockstep_code lockstep_record_set_int(lockstep_record *record, const char *field,
                                           int64_t number, struct lockstep_error *error)
{
    int index = find_field(record, field, LS_TYPE_INT, error);
    if (index < 0)
        return LOCKSTEP_INVALID;
    return store(record, index, (struct ls_value){.number = number}, error);
}

enum lockstep_code lockstep_record_set_float(lockstep_record *record, const char *field,
                                             double number, struct lockstep_error *error)
{
    int index = find_field(record, field, LS_TYPE_FLOAT, error);
    if (index < 0)
        return LOCKSTEP_INVALID;
    return store(record, index, (struct ls_value){.real = number}, error);
}

enum lockstep_code lockstep_record_set_bool(lockstep_record *record, const char *field, bool yes,
                                            struct lockstep_error *error)
{
    int index = find_field(record, field, LS_TYPE_BOOL, error);
    if (index < 0)
        return LOCKSTEP_INVALID;
    return store(record, index, (struct ls_value){.number = yes}, error);
}

enum lockstep_code lockstep_record_set_time(lockstep_record *record, const char *field,
                                            int64_t time_us, struct lockstep_error *error)
{
    int index = find_field(record, field, LS_TYPE_TIME, error);
    if (index < 0)
        return LOCKSTEP_INVALID;
    return store(record, index, (struct ls_value){.number = time_us}, error);
}

enum lockstep_code lockstep_record_set_list(lockstep_record *record, const char *field,
                                            const char *const *items, const size_t *lens,
                                            size_t count, struct lockstep_error *error)
{
    int index = find_field(record, field, LS_TYPE_STRINGS, error);
    if (index < 0)
        return LOCKSTEP_INVALID;
    if (count > LS_ITEMS_MAX)
        return ls_publisher_error(error, LOCKSTEP_INVALID,
                                  "field %s: %zu items, more than the %u "
                                  "that the schema allows",
                                  field, count, record->entity->schema->fields[index].max_items);
    struct ls_span *list = ls_arena_alloc(&record->arena, (count + 1) * sizeof(*list));
    for (size_t i = 0; i < count; i++)
        list[i] = keep_text(record, items[i], lens != NULL ? lens[i] : strlen(items[i]));
    return store(record, index, (struct ls_value){.count = (uint32_t)count, .list = list}, error);
}

enum lockstep_code lockstep_record_set_trace(lockstep_record *record, const char *trace, size_t len,
                                             struct lockstep_error *error)
{
    if (len > LS_TRACE_MAX || ls_utf8_length(trace, len) < 0)
        return ls_publisher_error(error, LOCKSTEP_INVALID, "trace id: at most %d bytes of UTF-8",
                                  LS_TRACE_MAX);
    ls_buf_clear(&record->trace);
    ls_buf_append(&record->trace, trace, len);
    return LOCKSTEP_OK;
}

void lockstep_record_set_change_time(lockstep_record *record, int64_t time_us)
{
    record->time_us = time_us;
}

enum lockstep_code lockstep_publish(lockstep_publisher *publisher, lockstep_record *record,
                                    void *record_opaque, int timeout_ms,
                                    struct lockstep_error *error)
{
    if (record->publisher != publisher || !record->begun)
        return ls_publisher_error(error, LOCKSTEP_INVALID,
                                  "the record is %s: begin it with lockstep_record_put or _delete",
                                  record->begun ? "another publisher's" : "empty");
    struct ls_change change = {
        .op = record->op,
        .key = {record->key.data, (uint32_t)record->key.len},
        .trace = {record->trace.data, (uint32_t)record->trace.len},
        .time_us = record->time_us,
        .values = record->values,
    };
    return ls_publisher_take(publisher, record->entity, &change, &record->wire, record_opaque,
                             timeout_ms, error);
}
