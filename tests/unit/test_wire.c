/* Decoding hostile bytes, and what the vectors cannot say: messages, sizes, every cut, every flip.
 */
#include <criterion/criterion.h>
#include <math.h>

#include "base/mem.h"
#include "schema/wire.h"
#include "tests/unit/schema_fixture.h"

static const char schema_text[] =
    "entity: thing\nversion: 3\nredis_prefix: t\nexpected_records: 10\naverage_bytes: 100\n"
    "reserved: [8]\nfields:\n"
    "  - {number: 1, name: id, type: string, key: true}\n"
    "  - {number: 2, name: name, type: string, length: 20}\n"
    "  - {number: 3, name: points, type: int}\n"
    "  - {number: 4, name: balance, type: float}\n"
    "  - {number: 5, name: active, type: bool}\n"
    "  - {number: 6, name: joined, type: time}\n"
    "  - {number: 7, name: tags, type: strings, length: 8, max_items: 100}\n";

static struct ls_schema *schema;
static struct ls_arena arena;
static struct ls_buf wire;

static void set_up(void)
{
    schema = schema_of(schema_text);
}

static void tear_down(void)
{
    ls_schema_free(schema);
    ls_arena_free(&arena);
    ls_buf_free(&wire);
}

TestSuite(wire, .init = set_up, .fini = tear_down);

#define SPAN(text) ((struct ls_span){text, sizeof(text) - 1})

/* An envelope's first six items, then body bytes; `len` with its NULs. */
static void record(const char *body, size_t len)
{
    static const char head[] = "\x97\x01\x03\x00\xcd\x03\xe8\xa4shop\xa1t";
    ls_buf_clear(&wire);
    ls_buf_append(&wire, head, sizeof(head) - 1);
    ls_buf_append(&wire, body, len);
}
#define RECORD(body) record(body, sizeof(body) - 1)

/* Decodes from memory of exactly that size, so that a sanitizer sees a read beyond it. */
static int decode(const void *data, size_t len, struct ls_err *err)
{
    char *exact = ls_malloc(len);
    memcpy(exact, data, len);
    struct ls_envelope envelope;
    struct ls_value *values;
    int rc = ls_wire_decode(schema, exact, len, &arena, &envelope, &values, err);
    free(exact);
    return rc;
}

static void assert_refused(enum ls_reject reject, const char *message)
{
    struct ls_err err = {0};
    cr_assert_eq(decode(wire.data, wire.len, &err), -1, "accepted; expected %s", message);
    cr_expect_str_eq(err.text, message);
    cr_expect_eq(err.code, (int)reject);
}

static void encode_full(void)
{
    static struct ls_span tags[] = {{"a", 1}, {"", 0}, {"\xc3\xa9", 2}};
    struct ls_value values[6] = {
        {.present = true, .text = SPAN("Ada \xe9\x99\x88")},
        {.present = true, .number = -5000000000},
        {.present = true, .real = 0.1},
        {.present = true, .number = 1},
        {.present = true, .number = 1600000000000000},
        {.present = true, .count = 3, .list = tags},
    };
    struct ls_envelope envelope = {3, LS_OP_PUT, 1700000000000000, SPAN("shop"), SPAN("trace")};
    ls_buf_clear(&wire);
    ls_wire_encode(schema, &envelope, values, &wire);
}

Test(wire, messages_name_field_and_byte)
{
    RECORD("\x81\x02\x05");
    assert_refused(LS_REJECT_SCHEMA,
                   "byte 16: field 2 (name): expected a string, found an integer");
    RECORD("\x82\x02\xa1x\x05\xc0");
    assert_refused(LS_REJECT_SCHEMA, "byte 19: field 5 (active): expected a bool, found nil");
    RECORD("\x81\x03\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
    assert_refused(LS_REJECT_SCHEMA,
                   "byte 16: field 3 (points): number out of range for an integer");
    RECORD("\x81\x08\x01");
    assert_refused(LS_REJECT_SCHEMA, "byte 15: field 8 is not in schema version 3 of thing");
    RECORD("\x81\x01\xa1k");
    assert_refused(LS_REJECT_SCHEMA, "byte 15: field 1 (id) is the key's: it is never in the body");
    RECORD("\x82\x03\x01\x03\x01");
    assert_refused(LS_REJECT_UNDECODABLE, "byte 17: field 3 is there twice");
    RECORD("\x80\xc0");
    assert_refused(LS_REJECT_UNDECODABLE, "byte 15: bytes follow the record (1)");
    RECORD("\x81\xa1x\x01");
    assert_refused(LS_REJECT_UNDECODABLE,
                   "byte 15: field number: expected an integer, found a string");
    RECORD("\x81\x02\xa5x");
    assert_refused(LS_REJECT_UNDECODABLE,
                   "byte 16: field 2 (name): the record ends here, too early");
    RECORD("\x81\x02\xb5secretsecretsecretsec");
    assert_refused(LS_REJECT_SCHEMA, "byte 16: field 2 (name): 21 characters, more than the 20 "
                                     "that the schema allows");
}

Test(wire, newer_schema_says_which_version)
{
    struct ls_envelope envelope = {0};
    struct ls_value *values;
    struct ls_err err;
    cr_assert_eq(ls_wire_decode(schema, "\x97\x01\x07\x00\x00\x00\x00\x00", 8, &arena, &envelope,
                                &values, &err),
                 -1);
    cr_assert_eq(err.code, LS_REJECT_NEWER_SCHEMA);
    cr_assert_eq(err.class, LS_ERR_FATAL);
    cr_assert_eq(envelope.schema_version, 7);
    cr_assert_str_eq(err.text, "byte 3: schema version 7 of thing, and this program has version 3");
}

Test(wire, null_value_is_its_own_class)
{
    struct ls_envelope envelope;
    struct ls_value *values;
    struct ls_err err;
    cr_assert_eq(ls_wire_decode(schema, NULL, 0, &arena, &envelope, &values, &err), -1);
    cr_assert_eq(err.code, LS_REJECT_NULL_VALUE);
    cr_assert_eq(err.class, LS_ERR_POISON);
}

Test(wire, cut_at_every_byte_is_undecodable)
{
    encode_full();
    struct ls_err err;
    cr_assert_eq(decode(wire.data, wire.len, &err), 0, "%s", err.text);
    for (size_t len = 0; len < wire.len; len++) {
        cr_assert_eq(decode(wire.data, len, &err), -1, "accepted after %zu bytes", len);
        cr_assert_eq(err.code, LS_REJECT_UNDECODABLE, "%zu: %s", len, err.text);
    }
}

Test(wire, every_byte_changed_to_every_other_ends_in_a_verdict)
{
    encode_full();
    size_t accepted = 0, refused = 0;
    for (size_t at = 0; at < wire.len; at++) {
        char was = wire.data[at];
        for (int byte = 0; byte < 256; byte++) {
            struct ls_err err = {0};
            wire.data[at] = (char)byte;
            int rc = decode(wire.data, wire.len, &err);
            cr_assert(rc == 0 || (err.class != LS_ERR_NONE && err.code != 0));
            accepted += rc == 0;
            refused += rc < 0;
        }
        wire.data[at] = was;
        ls_arena_reset(&arena);
    }
    cr_assert_gt(accepted, 256);
    cr_assert_gt(refused, 256);
}

Test(wire, counts_that_lie_reserve_no_memory)
{
    RECORD("\xdf\xff\xff\xff\xff");
    assert_refused(LS_REJECT_UNDECODABLE, "byte 14: fields: the record ends here, too early");
    RECORD("\x81\x07\xdd\xff\xff\xff\xff");
    assert_refused(LS_REJECT_UNDECODABLE,
                   "byte 16: field 7 (tags): the record ends here, too early");
    RECORD("\x81\x02\xdb\xff\xff\xff\xff");
    assert_refused(LS_REJECT_UNDECODABLE,
                   "byte 16: field 2 (name): the record ends here, too early");
    cr_assert_lt(ls_arena_footprint(&arena), 1 << 20);
}

Test(wire, deep_nesting_costs_no_stack)
{
    /* As a field, and within a removed field, which is stepped over. */
    static const char *const heads[] = {"\x81\x07", "\x81\x08"};
    for (size_t i = 0; i < 2; i++) {
        record(heads[i], 2);
        wire.data[2] = 2; /* an older schema version: removed fields may be there */
        size_t start = wire.len, depth = LS_BODY_BYTES_MAX - 100;
        memset(ls_buf_reserve(&wire, depth), 0x91, depth);
        wire.len += depth;
        struct ls_err err;
        cr_assert_eq(decode(wire.data, wire.len, &err), -1);
        wire.data[wire.len - 1] = (char)0xc0;
        int rc = decode(wire.data, wire.len, &err);
        cr_assert_eq(rc, i == 0 ? -1 : 0, "%zu from %zu: %s", i, start, err.text);
    }
}

Test(wire, ten_megabytes_are_refused_unread)
{
    size_t len = 10 << 20;
    ls_buf_clear(&wire);
    memset(ls_buf_reserve(&wire, len), 0x91, len);
    wire.len = len;
    assert_refused(LS_REJECT_UNDECODABLE, "byte 0: record: 10485760 bytes, more than 1048576");
}

Test(wire, removed_field_is_stepped_over_whatever_it_holds)
{
    const struct ls_span held[] = {
        SPAN("\xc0"),
        SPAN("\xa3"
             "abc"),
        SPAN("\xc4\x02xx"),
        SPAN("\xc7\x02\x05xx"),
        SPAN("\xc5\x00\x01x"),
        SPAN("\xd8\x01"
             "0123456789abcdef"),
        SPAN("\xd4\x01x"),
        SPAN("\xca\x00\x00\x00\x00"),
        SPAN("\x92\x81\xa1x\xc2\xdc\x00\x01\xd3\x00\x00\x00\x00\x00\x00\x00\x01"),
        SPAN("\xde\x00\x01\x01\xdb\x00\x00\x00\x01x"),
        SPAN("\xc9\x00\x00\x00\x01\x05x"),
    };
    for (size_t i = 0; i < sizeof(held) / sizeof(held[0]); i++) {
        RECORD("\x82\x08");
        wire.data[2] = 2;
        ls_buf_append(&wire, held[i].data, held[i].len);
        ls_buf_append(&wire, "\x03\x05", 2);
        struct ls_err err;
        cr_assert_eq(decode(wire.data, wire.len, &err), 0, "number %zu: %s", i, err.text);
        for (size_t len = 14; len < wire.len; len++)
            cr_assert_eq(decode(wire.data, len, &err), -1, "number %zu cut at %zu", i, len);
    }
    RECORD("\x82\x08\xc1\x03\x05");
    wire.data[2] = 2;
    struct ls_err err;
    cr_assert_eq(decode(wire.data, wire.len, &err), -1);
    cr_assert_eq(err.code, LS_REJECT_UNDECODABLE);
}

Test(wire, values_are_views_into_the_input)
{
    encode_full();
    struct ls_envelope envelope;
    struct ls_value *values;
    cr_assert_eq(ls_wire_decode(schema, wire.data, wire.len, &arena, &envelope, &values, NULL), 0);
    const char *from = wire.data, *to = wire.data + wire.len;
    cr_assert(values[0].text.data > from && values[0].text.data < to);
    cr_assert(envelope.origin.data > from && envelope.origin.data < to);
    cr_assert_eq(values[5].count, 3);
    cr_assert(values[5].list[2].data > from && values[5].list[2].data < to);
    cr_assert_eq(values[1].number, -5000000000);
}

Test(wire, minus_zero_is_zero_wherever_it_comes_from)
{
    RECORD("\x81\x04\xcb\x80\x00\x00\x00\x00\x00\x00\x00");
    struct ls_envelope envelope;
    struct ls_value *values;
    struct ls_buf scratch = {0}, again = {0};
    cr_assert_eq(ls_wire_decode(schema, wire.data, wire.len, &arena, &envelope, &values, NULL), 0);
    cr_assert_not(signbit(values[2].real));
    uint64_t zero = ls_hash(schema, "k", 1, false, values, &scratch);
    ls_wire_encode(schema, &envelope, values, &again);
    values[2].real = -0.0;
    cr_assert_eq(ls_hash(schema, "k", 1, false, values, &scratch), zero);
    ls_buf_clear(&wire);
    ls_wire_encode(schema, &envelope, values, &wire);
    cr_assert_eq(wire.len, again.len);
    cr_assert_arr_eq(wire.data, again.data, wire.len);
    ls_buf_free(&scratch);
    ls_buf_free(&again);
}

Test(wire, absent_is_not_empty)
{
    struct ls_value none[6] = {{0}}, empty[6] = {{.present = true}};
    struct ls_buf scratch = {0};
    uint64_t absent = ls_hash(schema, "k", 1, false, none, &scratch);
    cr_assert_neq(absent, ls_hash(schema, "k", 1, false, empty, &scratch));
    cr_assert_neq(absent, ls_hash(schema, "k", 1, true, NULL, &scratch));
    cr_assert_neq(absent, ls_hash(schema, "l", 1, false, none, &scratch));
    ls_buf_free(&scratch);
}

Test(wire, rejects_have_names)
{
    for (enum ls_reject reject = LS_REJECT_NONE; reject <= LS_REJECT_STORE; reject++)
        cr_assert_str_neq(ls_reject_name(reject), "unknown");
}
