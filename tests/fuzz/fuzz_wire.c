/*
 * libFuzzer target: a record's value. What decodes must hold to the schema, and encode to bytes
 * that decode to the same hash. The same bytes are read as a genesis record. One thread.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "schema/wire.h"

static const char schema_text[] =
    "entity: sample\nversion: 3\nredis_prefix: s\nexpected_records: 10\naverage_bytes: 100\n"
    "reserved: [8, 9]\nfields:\n"
    "  - {number: 1, name: id, type: string, key: true}\n"
    "  - {number: 2, name: name, type: string, length: 10}\n"
    "  - {number: 3, name: points, type: int}\n"
    "  - {number: 4, name: balance, type: float}\n"
    "  - {number: 5, name: active, type: bool}\n"
    "  - {number: 6, name: joined, type: time}\n"
    "  - {number: 7, name: tags, type: strings, length: 5, max_items: 3}\n"
    "  - {number: 300, name: note, type: string, length: 2000}\n"
    "  - {number: 65535, name: last, type: int}\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ls_schema *schema;
static struct ls_arena arena;
static struct ls_buf wire, scratch;

static void need(int condition)
{
    if (!condition)
        abort();
}

static uint64_t hash_of(const struct ls_envelope *envelope, const struct ls_value *values)
{
    return ls_hash(schema, "key", 3, envelope->op == LS_OP_DELETE, values, &scratch);
}

static void check_record(const uint8_t *data, size_t size)
{
    struct ls_envelope envelope, again;
    struct ls_value *values = NULL, *values_again = NULL;
    struct ls_err err = {0};
    if (ls_wire_decode(schema, data, size, &arena, &envelope, &values, &err) < 0) {
        need(err.class != LS_ERR_NONE && err.code != LS_REJECT_NONE && err.text[0] != '\0');
        return;
    }
    need((values == NULL) == (envelope.op == LS_OP_DELETE));
    for (size_t i = 0; values != NULL && i < schema->n_fields; i++)
        if (values[i].present)
            need(ls_value_check(&schema->fields[i], &values[i], &err) == 0);
    ls_buf_clear(&wire);
    ls_wire_encode(schema, &envelope, values, &wire);
    need(ls_wire_decode(schema, wire.data, wire.len, &arena, &again, &values_again, &err) == 0);
    need(hash_of(&envelope, values) == hash_of(&again, values_again));
    need(envelope.op == again.op && envelope.time_us == again.time_us &&
         envelope.origin.len == again.origin.len && envelope.trace.len == again.trace.len);
}

static void check_genesis(const uint8_t *data, size_t size)
{
    struct ls_genesis genesis, again;
    struct ls_err err = {0};
    if (ls_genesis_decode(data, size, &genesis, &err) < 0) {
        need(err.class == LS_ERR_POISON);
        return;
    }
    ls_buf_clear(&wire);
    ls_genesis_encode(&genesis, &wire);
    need(ls_genesis_decode(wire.data, wire.len, &again, &err) == 0);
    need(strcmp(genesis.uuid, again.uuid) == 0 && genesis.partition == again.partition);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (schema == NULL)
        need(ls_schema_parse("fuzz", schema_text, sizeof(schema_text) - 1, &schema, NULL) == 0);
    ls_arena_reset(&arena);
    check_record(data, size);
    check_genesis(data, size);
    return 0;
}
