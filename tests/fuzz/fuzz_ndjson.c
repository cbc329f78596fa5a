/*
 * libFuzzer target: lines of NDJSON for `lockstep publish`. A line is refused with a reason, or
 * gives a change that encodes to wire bytes which decode to the same values. One thread.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "producers/ndjson.h"
#include "schema/key.h"
#include "schema/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char schema_text[] =
    "entity: sample\nversion: 1\nredis_prefix: s\nexpected_records: 10\naverage_bytes: 100\n"
    "fields:\n"
    "  - {number: 1, name: id, type: string, key: true}\n"
    "  - {number: 2, name: n, type: string, length: 40}\n"
    "  - {number: 3, name: p, type: int}\n"
    "  - {number: 4, name: b, type: float}\n"
    "  - {number: 5, name: v, type: bool}\n"
    "  - {number: 6, name: t, type: strings, length: 10, max_items: 3}\n"
    "  - {number: 7, name: w, type: time}\n";

static void need(int condition)
{
    if (!condition)
        abort();
}

static uint64_t hash_of(const struct ls_schema *schema, const struct ls_change *change,
                        const struct ls_value *values)
{
    static struct ls_buf scratch;
    return ls_hash(schema, change->key.data, change->key.len, false, values, &scratch);
}

static void check_round_trip(const struct ls_schema *schema, const struct ls_change *change)
{
    static struct ls_arena arena;
    struct ls_buf wire = {0};
    struct ls_envelope envelope = {.schema_version = schema->version,
                                   .op = change->op,
                                   .time_us = change->time_us,
                                   .origin = {"fuzz", 4}};
    struct ls_err err = {0};
    struct ls_value *values;
    ls_wire_encode(schema, &envelope, change->op == LS_OP_DELETE ? NULL : change->values, &wire);
    need(ls_wire_decode(schema, wire.data, wire.len, &arena, &envelope, &values, &err) == 0);
    need(envelope.op == change->op);
    if (change->op != LS_OP_DELETE)
        need(hash_of(schema, change, values) == hash_of(schema, change, change->values));
    ls_buf_free(&wire);
    ls_arena_reset(&arena);
}

/* As the publisher does before it encodes. */
static bool is_within_limits(const struct ls_schema *schema, const struct ls_change *change)
{
    struct ls_err err;
    if (ls_key_check(change->key.data, change->key.len, &err) < 0)
        return false;
    for (size_t i = 0; change->op != LS_OP_DELETE && i < schema->n_fields; i++)
        if (change->values[i].present &&
            ls_value_check(&schema->fields[i], &change->values[i], &err) < 0)
            return false;
    return true;
}

static void parse_line(struct ls_ndjson *parser, const char *line, size_t len)
{
    struct ls_change change;
    struct ls_err err = {0};
    if (ls_ndjson_parse(parser, line, len, &change, &err) < 0) {
        need(err.text[0] != '\0');
        return;
    }
    if (is_within_limits(parser->schema, &change))
        check_round_trip(parser->schema, &change);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ls_schema *schema;
    static struct ls_ndjson parser; /* one for all lines, as in a file: it learns their order */
    struct ls_err err = {0};
    if (schema == NULL) {
        need(ls_schema_parse("sample", schema_text, strlen(schema_text), &schema, &err) == 0);
        ls_ndjson_open(&parser, schema);
    }
    const char *at = (const char *)data, *end = at + size;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (stop == NULL)
            stop = end;
        parse_line(&parser, at, (size_t)(stop - at));
        at = stop + 1;
    }
    return 0;
}
