/*
 * Every vector of schema/vectors/wire.json against the C codec. The same file is checked by
 * tests/vectors/check_vectors.py, which shares no code with this.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <jansson.h>

#include "base/mem.h"
#include "schema/key.h"
#include "schema/wire.h"

static json_t *document;
static struct ls_schema *schema;
static struct ls_arena arena;

static void open_vectors(void)
{
    json_error_t error;
    document = json_load_file(LS_SOURCE_ROOT "/schema/vectors/wire.json", JSON_ALLOW_NUL, &error);
    cr_assert_not_null(document, "wire.json:%d: %s", error.line, error.text);
    char *text = json_dumps(json_object_get(json_object_get(document, "schemas"), "sample"), 0);
    struct ls_err err;
    cr_assert_eq(ls_schema_parse("wire.json", text, strlen(text), &schema, &err), 0, "%s",
                 err.text);
    free(text);
}

static void close_vectors(void)
{
    ls_schema_free(schema);
    json_decref(document);
    ls_arena_free(&arena);
}

TestSuite(vectors, .init = open_vectors, .fini = close_vectors);

static const char *text_of(const json_t *vector, const char *name)
{
    const char *text = json_string_value(json_object_get(vector, name));
    cr_assert_not_null(text, "a vector has no %s", name);
    return text;
}

static struct ls_span span_of(const json_t *string)
{
    return (struct ls_span){json_string_value(string), (uint32_t)json_string_length(string)};
}

static int nibble(char digit)
{
    return digit <= '9' ? digit - '0' : digit - 'a' + 10;
}

/* The hex text as bytes in buf. */
static void unhex(const char *hex, struct ls_buf *buf)
{
    ls_buf_clear(buf);
    for (; hex[0]; hex += 2)
        ls_buf_append_char(buf, (char)(nibble(hex[0]) << 4 | nibble(hex[1])));
}

static void assert_hex(const struct ls_buf *bytes, const char *hex, const char *vector,
                       const char *what)
{
    struct ls_buf wanted = {0};
    unhex(hex, &wanted);
    cr_assert_eq(bytes->len, wanted.len, "%s: %s has %zu bytes, expected %zu", vector, what,
                 bytes->len, wanted.len);
    cr_assert_arr_eq(bytes->data, wanted.data, wanted.len, "%s: %s differs", vector, what);
    ls_buf_free(&wanted);
}

static void value_of(const struct ls_field *field, json_t *json, struct ls_value *value)
{
    value->present = true;
    switch (field->type) {
    case LS_TYPE_STRING:
        value->text = span_of(json);
        break;
    case LS_TYPE_INT:
    case LS_TYPE_TIME:
        value->number = strtoll(json_string_value(json), NULL, 10);
        break;
    case LS_TYPE_FLOAT:
        value->real = json_number_value(json);
        break;
    case LS_TYPE_BOOL:
        value->number = json_is_true(json);
        break;
    case LS_TYPE_STRINGS:
        value->count = (uint32_t)json_array_size(json);
        value->list = ls_arena_alloc(&arena, (value->count + 1) * sizeof(*value->list));
        for (uint32_t i = 0; i < value->count; i++)
            value->list[i] = span_of(json_array_get(json, i));
        break;
    }
}

/* The vector's values in the schema's order, or NULL for a delete. */
static struct ls_value *values_of(const json_t *vector)
{
    json_t *json = json_object_get(vector, "values");
    if (json_is_null(json))
        return NULL;
    struct ls_value *values = ls_arena_alloc(&arena, schema->n_fields * sizeof(*values));
    memset(values, 0, schema->n_fields * sizeof(*values));
    for (size_t i = 0; i < schema->n_fields; i++) {
        json_t *value = json_object_get(json, schema->fields[i].name);
        if (value)
            value_of(&schema->fields[i], value, &values[i]);
    }
    return values;
}

static struct ls_envelope envelope_of(const json_t *vector)
{
    return (struct ls_envelope){
        .schema_version = (uint32_t)json_integer_value(json_object_get(vector, "schema_version")),
        .op = strcmp(text_of(vector, "op"), "delete") == 0 ? LS_OP_DELETE : LS_OP_PUT,
        .time_us = strtoll(text_of(vector, "time_us"), NULL, 10),
        .origin = span_of(json_object_get(vector, "origin")),
        .trace = span_of(json_object_get(vector, "trace")),
    };
}

static uint64_t hash_of(const json_t *vector, const struct ls_value *values, struct ls_buf *buf)
{
    const char *key = text_of(vector, "key");
    return ls_hash(schema, key, strlen(key), values == NULL, values, buf);
}

/* Decodes hex and compares the hash of what came out. */
static void check_decodes(const json_t *vector, const char *hex, const char *which)
{
    struct ls_buf wire = {0}, scratch = {0};
    struct ls_envelope envelope;
    struct ls_value *values;
    struct ls_err err;
    unhex(hex, &wire);
    cr_assert_eq(ls_wire_decode(schema, wire.data ? wire.data : "", wire.len, &arena, &envelope,
                                &values, &err),
                 0, "%s (%s): %s", text_of(vector, "name"), which, err.text);
    uint64_t wanted = strtoull(text_of(vector, "hash"), NULL, 16);
    uint64_t hash = hash_of(vector, values, &scratch);
    cr_assert_eq(hash, wanted, "%s (%s): hash %016" PRIx64, text_of(vector, "name"), which, hash);
    ls_buf_free(&wire);
    ls_buf_free(&scratch);
}

Test(vectors, records_encode_to_the_same_bytes)
{
    size_t i;
    json_t *vector;
    json_array_foreach(json_object_get(document, "records"), i, vector)
    {
        struct ls_envelope envelope = envelope_of(vector);
        struct ls_buf wire = {0};
        ls_wire_encode(schema, &envelope, values_of(vector), &wire);
        assert_hex(&wire, text_of(vector, "wire"), text_of(vector, "name"), "wire");
        ls_buf_free(&wire);
    }
    cr_assert_gt(i, 20);
}

Test(vectors, records_have_the_same_canonical_bytes_hash_and_shard)
{
    size_t i;
    json_t *vector;
    json_array_foreach(json_object_get(document, "records"), i, vector)
    {
        struct ls_buf bytes = {0};
        const char *name = text_of(vector, "name"), *key = text_of(vector, "key");
        uint64_t hash = hash_of(vector, values_of(vector), &bytes);
        assert_hex(&bytes, text_of(vector, "canonical"), name, "canonical");
        cr_assert_eq(hash, strtoull(text_of(vector, "hash"), NULL, 16), "%s: hash", name);
        cr_assert_eq(ls_shard_of(key, strlen(key)),
                     json_integer_value(json_object_get(vector, "shard")), "%s: shard", name);
        ls_buf_free(&bytes);
    }
}

Test(vectors, every_encoding_of_a_record_decodes_to_the_same_content)
{
    size_t i, j;
    json_t *vector, *other;
    json_array_foreach(json_object_get(document, "records"), i, vector)
    {
        check_decodes(vector, text_of(vector, "wire"), "wire");
        json_array_foreach(json_object_get(vector, "also"), j, other)
            check_decodes(vector, text_of(other, "wire"), text_of(other, "why"));
    }
}

Test(vectors, the_envelope_is_read_back)
{
    size_t i;
    json_t *vector;
    json_array_foreach(json_object_get(document, "records"), i, vector)
    {
        struct ls_envelope wanted = envelope_of(vector), got;
        struct ls_value *values;
        struct ls_buf wire = {0};
        unhex(text_of(vector, "wire"), &wire);
        cr_assert_eq(ls_wire_decode(schema, wire.data, wire.len, &arena, &got, &values, NULL), 0);
        cr_assert_eq(got.schema_version, wanted.schema_version);
        cr_assert_eq(got.op, wanted.op);
        cr_assert_eq(got.time_us, wanted.time_us);
        cr_assert_eq(got.origin.len, wanted.origin.len);
        cr_assert_arr_eq(got.origin.data, wanted.origin.data, wanted.origin.len);
        cr_assert_eq(got.trace.len, wanted.trace.len);
        cr_assert_arr_eq(got.trace.data, wanted.trace.data, wanted.trace.len);
        ls_buf_free(&wire);
    }
}

Test(vectors, bad_records_are_refused_with_their_class)
{
    size_t i;
    json_t *vector;
    json_array_foreach(json_object_get(document, "rejects"), i, vector)
    {
        const char *name = text_of(vector, "name");
        struct ls_envelope envelope;
        struct ls_value *values = NULL;
        struct ls_err err = {0};
        struct ls_buf wire = {0};
        unhex(text_of(vector, "wire"), &wire);
        cr_assert_eq(ls_wire_decode(schema, wire.data ? wire.data : "", wire.len, &arena, &envelope,
                                    &values, &err),
                     -1, "%s: accepted", name);
        cr_assert_str_eq(ls_reject_name((enum ls_reject)err.code), text_of(vector, "class"),
                         "%s: %s", name, err.text);
        cr_assert_eq(err.class, err.code == LS_REJECT_NEWER_SCHEMA ? LS_ERR_FATAL : LS_ERR_POISON,
                     "%s", name);
        cr_assert_eq(strncmp(err.text, "byte ", 5), 0, "%s: no position: %s", name, err.text);
        cr_assert_null(values, "%s: values written on failure", name);
        ls_buf_free(&wire);
    }
    cr_assert_gt(i, 50);
}

Test(vectors, keys_are_judged_and_placed)
{
    size_t i;
    json_t *vector;
    json_array_foreach(json_object_get(document, "keys"), i, vector)
    {
        const char *name = text_of(vector, "name");
        struct ls_buf key = {0};
        struct ls_err err;
        unhex(text_of(vector, "hex"), &key);
        bool good = ls_key_check(key.data, key.len, &err) == 0;
        cr_assert_eq(good, json_is_true(json_object_get(vector, "good")), "%s", name);
        cr_assert(good || err.code == LS_REJECT_BAD_KEY, "%s: code %d", name, err.code);
        cr_assert_eq(ls_shard_of(key.data, key.len),
                     json_integer_value(json_object_get(vector, "shard")), "%s", name);
        ls_buf_free(&key);
    }
}
