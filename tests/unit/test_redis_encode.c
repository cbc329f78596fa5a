#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "consumers/redis_encode.h"
#include "tests/unit/schema_fixture.h"

#define UUID "11111111-2222-3333-4444-555555555555"

static const char SCHEMA[] = "entity: pet\n"
                             "version: 1\n"
                             "redis_prefix: p\n"
                             "expected_records: 1000\n"
                             "average_bytes: 100\n"
                             "fields:\n"
                             "  - {number: 1, name: id, type: string, key: true}\n"
                             "  - {number: 2, name: name, type: string, length: 20}\n";

static struct ls_schema *schema(void)
{
    return schema_of(SCHEMA);
}

static void rotate(uint32_t *value, unsigned by)
{
    *value = *value << by | *value >> (32 - by);
}

/* One block of SHA-1 (FIPS 180-4). */
static void sha1_block(uint32_t hash[5], const unsigned char *block)
{
    uint32_t word[80];
    for (int i = 0; i < 16; i++)
        word[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
                  (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 80; i++) {
        word[i] = word[i - 3] ^ word[i - 8] ^ word[i - 14] ^ word[i - 16];
        rotate(&word[i], 1);
    }
    uint32_t a = hash[0], b = hash[1], c = hash[2], d = hash[3], e = hash[4];
    for (int i = 0; i < 80; i++) {
        uint32_t mix = i < 20   ? (b & c) | (~b & d)
                       : i < 40 ? b ^ c ^ d
                       : i < 60 ? (b & c) | (b & d) | (c & d)
                                : b ^ c ^ d;
        static const uint32_t constant[] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
        uint32_t sum = a;
        rotate(&sum, 5);
        sum += mix + e + constant[i / 20] + word[i];
        e = d;
        d = c;
        rotate(&b, 30);
        c = b;
        b = a;
        a = sum;
    }
    hash[0] += a;
    hash[1] += b;
    hash[2] += c;
    hash[3] += d;
    hash[4] += e;
}

static void sha1_hex(const char *text, char hex[41])
{
    uint32_t hash[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    unsigned char bytes[1024] = {0};
    size_t len = strlen(text), padded = (len + 8) / 64 * 64 + 64;
    cr_assert(padded <= sizeof(bytes));
    memcpy(bytes, text, len);
    bytes[len] = 0x80;
    for (int i = 0; i < 8; i++)
        bytes[padded - 1 - (size_t)i] = (unsigned char)((uint64_t)len * 8 >> (8 * i));
    for (size_t at = 0; at < padded; at += 64)
        sha1_block(hash, bytes + at);
    for (int i = 0; i < 5; i++)
        snprintf(hex + 8 * i, 9, "%08x", hash[i]);
}

Test(redis_encode, scripts_are_named_by_their_sha1)
{
    char hex[41];
    sha1_hex("abc", hex);
    cr_assert_str_eq(hex, "a9993e364706816aba3e25717850c26c9cd0d89d");
    for (int i = 0; i < LS_REDIS_SCRIPTS; i++) {
        sha1_hex(ls_redis_script_text((enum ls_redis_script)i), hex);
        cr_assert_str_eq(ls_redis_script_sha((enum ls_redis_script)i), hex);
    }
}

Test(redis_encode, an_entry_is_one_evalsha_with_version_and_body_as_one_argument)
{
    struct ls_schema *s = schema();
    struct ls_buf out = {0};
    struct ls_record record = {.key = "k1",
                               .key_len = 2,
                               .body = "\0\xff\r\n",
                               .body_len = 4,
                               .version = 0x0102030405060788u};
    ls_redis_encode_entry(&out, s, &record, false);
    char head[256];
    int len = snprintf(head, sizeof(head),
                       "*5\r\n$7\r\nEVALSHA\r\n$40\r\n%s\r\n$1\r\n1\r\n$6\r\np:{k1}\r\n$12\r\n",
                       ls_redis_script_sha(LS_REDIS_SET_NEWER));
    cr_assert_eq(out.len, (size_t)len + 14);
    cr_assert_arr_eq(out.data, head, (size_t)len);
    cr_assert_arr_eq(out.data + len, "\x01\x02\x03\x04\x05\x06\x07\x88\0\xff\r\n\r\n", 14);
    size_t first = out.len;
    ls_redis_encode_entry(&out, s, &record, true);
    cr_assert_eq(out.len, 2 * first, "appended");
    cr_assert_not_null(
        memmem(out.data + first, first, ls_redis_script_sha(LS_REDIS_SET_NEWER_OR_SAME), 40));
    ls_buf_free(&out);
    ls_schema_free(s);
}

Test(redis_encode, the_longest_key_and_a_large_body_fit)
{
    struct ls_schema *s = schema();
    struct ls_buf out = {0};
    char key[LS_KEY_BYTES_MAX];
    memset(key, 'k', sizeof(key));
    char *body = malloc(LS_BODY_BYTES_MAX);
    memset(body, 'b', LS_BODY_BYTES_MAX);
    struct ls_record record = {.key = key,
                               .key_len = sizeof(key),
                               .body = body,
                               .body_len = LS_BODY_BYTES_MAX,
                               .version = 1};
    ls_redis_encode_entry(&out, s, &record, false);
    cr_assert_not_null(memmem(out.data, 200, "\r\n$259\r\np:{kkk", 14));
    cr_assert_not_null(memmem(out.data, 400, "\r\n$1048584\r\n", 12));
    cr_assert_arr_eq(out.data + out.len - 3, "b\r\n", 3);
    free(body);
    ls_buf_free(&out);
    ls_schema_free(s);
}

Test(redis_encode, a_key_with_braces_never_gets_out, .signal = SIGABRT)
{
    struct ls_buf out = {0};
    struct ls_record record = {.key = "{x}y", .key_len = 4, .body = "b", .body_len = 1};
    ls_redis_encode_entry(&out, schema(), &record, false);
}

Test(redis_encode, a_mark_is_read_back_as_it_was_put)
{
    struct ls_mark mark = {
        .partition = 3, .version = 1ull << 62, .at_ms = 1700000000123, .genesis = UUID};
    struct ls_mark back = {.partition = 3};
    char bytes[LS_REDIS_MARK_BYTES];
    ls_redis_put_mark(&mark, bytes);
    cr_assert(ls_redis_get_mark(bytes, sizeof(bytes), &back));
    cr_assert_eq(back.version, mark.version);
    cr_assert_eq(back.at_ms, mark.at_ms);
    cr_assert_str_eq(back.genesis, mark.genesis);
    cr_assert_not(ls_redis_get_mark(bytes, sizeof(bytes) - 1, &back));
    bytes[20] = '\0';
    cr_assert_not(ls_redis_get_mark(bytes, sizeof(bytes), &back));
}

Test(redis_encode, marks_under_a_tag_are_one_compare_and_set_on_one_server)
{
    enum { TAG = LS_REDIS_MARK_TAGS - 1 };
    struct ls_buf out = {0};
    struct ls_schema *s = schema();
    struct ls_redis_seen *table = ls_redis_seen_new(3);
    struct ls_mark marks[2] = {{.partition = 0, .version = 7, .genesis = UUID},
                               {.partition = 2, .version = 8, .genesis = UUID}};
    struct ls_mark old = {.partition = 2, .version = 5, .genesis = UUID};
    char replid[41], old_bytes[LS_REDIS_MARK_BYTES], name[LS_REDIS_KEY_MAX];
    memset(replid, 'a', 40);
    replid[40] = '\0';
    ls_redis_seen_at(table, 0, TAG)->state = LS_REDIS_NO_MARK;
    ls_redis_seen_put(ls_redis_seen_at(table, 2, TAG), &old);
    ls_redis_put_mark(&old, old_bytes);
    ls_redis_encode_marks_set(&out, s, marks, 2, TAG, replid, table);
    cr_assert_eq(memcmp(out.data, "*10\r\n$7\r\nEVALSHA\r\n", 18), 0);
    cr_assert_not_null(memmem(out.data, out.len, ls_redis_script_sha(LS_REDIS_SET_MARKS), 40));
    cr_assert_not_null(memmem(out.data, out.len, replid, 40));
    cr_assert_not_null(memmem(out.data, out.len, "\r\n$0\r\n\r\n", 8), "no mark is expected");
    cr_assert_not_null(memmem(out.data, out.len, old_bytes, sizeof(old_bytes)));
    size_t len = ls_redis_mark_key(s, 2, TAG, name);
    cr_assert_not_null(memmem(out.data, out.len, name, len));

    ls_buf_clear(&out);
    ls_redis_seen_at(table, 0, TAG)->state = LS_REDIS_GARBAGE;
    ls_redis_encode_marks_set(&out, s, marks, 1, TAG, replid, table);
    cr_assert_not_null(memmem(out.data, out.len, "\r\n$1\r\n!\r\n", 9), "garbage is expected");

    ls_buf_clear(&out);
    ls_redis_encode_marks_get(&out, s, marks, 2, TAG);
    cr_assert_eq(memcmp(out.data, "*3\r\n$4\r\nMGET\r\n", 14), 0);
    cr_assert_not_null(memmem(out.data, out.len, name, len));
    free(table);
    ls_buf_free(&out);
    ls_schema_free(s);
}

Test(redis_encode, the_head_of_a_value_tells_a_delete)
{
    struct ls_schema *s = schema();
    bool deleted = false;
    struct ls_buf buf = {0};
    static const uint32_t versions[] = {1, 127, 128, 255, 256, 65535, 65536, UINT32_MAX};
    for (size_t i = 0; i < LS_COUNT(versions); i++) {
        for (int op = LS_OP_PUT; op <= LS_OP_DELETE; op++) {
            struct ls_envelope envelope = {.schema_version = versions[i], .op = (enum ls_op)op};
            struct ls_value value = {0};
            ls_buf_clear(&buf);
            ls_buf_append(&buf, "12345678", LS_REDIS_VERSION_BYTES);
            ls_wire_encode(s, &envelope, op == LS_OP_PUT ? &value : NULL, &buf);
            size_t len = buf.len < LS_REDIS_HEAD_BYTES ? buf.len : LS_REDIS_HEAD_BYTES;
            cr_assert_eq(ls_redis_peek_deleted(buf.data, len, &deleted), 0);
            cr_assert_eq(deleted, op == LS_OP_DELETE);
            for (size_t cut = 0; cut < LS_REDIS_VERSION_BYTES + 4; cut++)
                cr_assert_eq(ls_redis_peek_deleted(buf.data, cut, &deleted), -1);
        }
    }
    cr_assert_eq(ls_redis_peek_deleted("12345678garbage", 15, &deleted), -1);
    ls_buf_free(&buf);
    ls_schema_free(s);
}
