#include <criterion/criterion.h>
#include <float.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "consumers/mysql_encode.h"
#include "consumers/mysql_link.h"
#include "consumers/mysql_text.h"
#include "tests/unit/schema_fixture.h"

static const char SCHEMA[] =
    "entity: pet\n"
    "version: 1\n"
    "redis_prefix: p\n"
    "expected_records: 1000\n"
    "average_bytes: 100\n"
    "fields:\n"
    "  - {number: 1, name: id, type: string, key: true}\n"
    "  - {number: 2, name: name, type: string, length: 20}\n"
    "  - {number: 3, name: age, type: int}\n"
    "  - {number: 4, name: tags, type: strings, length: 9, max_items: 3}\n";

struct fixture {
    struct ls_schema *schema;
    struct ls_mysql_encoder encoder;
    struct ls_buf buf;
    struct ls_value values[3];
    struct ls_record record;
};

static struct ls_span span(const char *text)
{
    return (struct ls_span){text, (uint32_t)strlen(text)};
}

static void fixture_init(struct fixture *f)
{
    *f = (struct fixture){.schema = schema_of(SCHEMA)};
    ls_mysql_encoder_init(&f->encoder, f->schema);
    f->values[0] = (struct ls_value){.present = true, .text = span("Rex")};
    f->values[1] = (struct ls_value){.present = true, .number = -3};
    f->record = (struct ls_record){.key = "k1",
                                   .key_len = 2,
                                   .shard = 7,
                                   .values = f->values,
                                   .version = 281474976710657u,
                                   .hash = UINT64_MAX,
                                   .at_ms = 9};
}

static void fixture_free(struct fixture *f)
{
    ls_mysql_encoder_free(&f->encoder);
    ls_schema_free(f->schema);
    ls_buf_free(&f->buf);
}

static const char *escaped(struct ls_buf *buf, const char *text, size_t len)
{
    ls_buf_clear(buf);
    ls_mysql_escape(buf, text, len);
    return ls_buf_cstr(buf);
}

Test(mysql_text, only_quotes_backslashes_and_nul_are_escaped)
{
    struct ls_buf buf = {0};
    cr_expect_str_eq(escaped(&buf, "it's", 4), "it\\'s");
    cr_expect_str_eq(escaped(&buf, "a\\b\"c\n%_", 8), "a\\\\b\"c\n%_");
    cr_expect_str_eq(escaped(&buf, "a\0b", 3), "a\\0b");
    cr_expect_str_eq(escaped(&buf, "", 0), "");
    cr_expect_str_eq(escaped(&buf, "Grüße 🐕 日本", strlen("Grüße 🐕 日本")), "Grüße 🐕 日本");
    ls_buf_free(&buf);
}

Test(mysql_text, a_special_byte_is_found_at_every_place)
{
    struct ls_buf buf = {0};
    for (size_t at = 0; at < 24; at++) {
        char text[24], expected[26];
        memset(text, 'x', sizeof(text));
        text[at] = '\'';
        memcpy(expected, text, at);
        expected[at] = '\\';
        memcpy(expected + at + 1, text + at, sizeof(text) - at);
        expected[25] = '\0';
        cr_expect_str_eq(escaped(&buf, text, sizeof(text)), expected, "at %zu", at);
    }
    ls_buf_free(&buf);
}

Test(mysql_text, doubles_keep_their_bits_and_minus_zero_is_zero)
{
    static const double numbers[] = {
        0.1,   1.0,   -2.5,   DBL_MAX, DBL_MIN, 5e-324,           1e22,    1e15, 123456789012.5,
        19.99, -0.07, 1.0001, 0.00001, 1e-4,    99999999999.9999, 1.0 / 3, 4.35, 0.29};
    struct ls_buf buf = {0};
    for (size_t i = 0; i < LS_COUNT(numbers); i++) {
        ls_buf_clear(&buf);
        ls_mysql_double(&buf, numbers[i]);
        const char *text = ls_buf_cstr(&buf);
        cr_expect_eq(strtod(text, NULL), numbers[i], "%s", text);
        cr_expect_not_null(strchr(text, 'e'), "%s would be a DECIMAL", text);
    }
    for (int cents = -20000; cents < 20000; cents++) {
        ls_buf_clear(&buf);
        ls_mysql_double(&buf, cents / 100.0);
        cr_expect_eq(strtod(ls_buf_cstr(&buf), NULL), cents / 100.0, "%d", cents);
    }
    ls_buf_clear(&buf);
    ls_mysql_double(&buf, -0.0);
    cr_expect_str_eq(ls_buf_cstr(&buf), "0e0");
    ls_buf_free(&buf);
}

/* What the server's lexer makes of a literal: the inverse of the escapes. */
static size_t unquote(const char *literal, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 1; i + 1 < len; i++) {
        if (literal[i] != '\\') {
            out[n++] = literal[i];
            continue;
        }
        i++;
        out[n++] = literal[i] == '0' ? '\0' : literal[i];
    }
    return n;
}

Test(mysql_text, lists_survive_sql_and_json)
{
    static const char *const texts[] = {"",        "plain",     "a\"b",     "back\\slash",
                                        "it's",    "tab\there", "\x01\x1f", "emoji 🐕",
                                        "\\u0041", "trailing\\"};
    struct ls_span items[LS_COUNT(texts) + 1], *back;
    for (size_t i = 0; i < LS_COUNT(texts); i++)
        items[i] = span(texts[i]);
    items[LS_COUNT(texts)] = (struct ls_span){"nul\0in", 6};
    struct ls_buf buf = {0};
    struct ls_arena arena = {0};
    char json[512];
    uint32_t count = 0;
    const char *why = NULL;
    ls_mysql_list(&buf, items, LS_COUNT(items));
    size_t len = unquote(buf.data, buf.len, json);
    cr_assert_eq(ls_mysql_list_read(json, len, &arena, &back, &count, &why), 0, "%s", why);
    cr_assert_eq(count, LS_COUNT(items));
    for (size_t i = 0; i < count; i++)
        cr_expect(back[i].len == items[i].len && !memcmp(back[i].data, items[i].data, items[i].len),
                  "item %zu: %.*s", i, (int)back[i].len, back[i].data);
    ls_arena_free(&arena);
    ls_buf_free(&buf);
}

Test(mysql_text, json_of_others_is_read_too)
{
    static const char json[] = " [ \"a\" ,\"\\u00e4\\ud83d\\ude00\\/\\n\" ] ";
    struct ls_arena arena = {0};
    struct ls_span *items;
    uint32_t count;
    const char *why = NULL;
    cr_assert_eq(ls_mysql_list_read(json, sizeof(json) - 1, &arena, &items, &count, &why), 0);
    cr_assert_eq(count, 2);
    cr_expect_eq(items[1].len, strlen("ä😀/\n"));
    cr_expect_eq(memcmp(items[1].data, "ä😀/\n", items[1].len), 0);
    cr_expect_eq(ls_mysql_list_read("[]", 2, &arena, &items, &count, &why), 0);
    cr_expect_eq(count, 0);
    ls_arena_free(&arena);
}

Test(mysql_text, what_is_no_list_of_strings_is_refused_with_a_reason)
{
    static const char *const bad[] = {"",
                                      "null",
                                      "{}",
                                      "\"a\"",
                                      "[",
                                      "[1]",
                                      "[\"a\"",
                                      "[\"a\",]",
                                      "[\"a\" \"b\"]",
                                      "[\"a\"]x",
                                      "[\"a]",
                                      "[\"\\x\"]",
                                      "[\"\\u12\"]",
                                      "[\"\\ud800\"]",
                                      "[\"\\",
                                      "[\"a\\\"",
                                      "[\"\n\"]",
                                      "[,]",
                                      "[\"a\",\"b\",c\"]",
                                      "[[\"a\"]]"};
    struct ls_arena arena = {0};
    for (size_t i = 0; i < LS_COUNT(bad); i++) {
        struct ls_span *items;
        uint32_t count;
        const char *why = NULL;
        /* A copy of exactly this size, so that a sanitizer sees a read past its end. */
        size_t len = strlen(bad[i]);
        char *copy = ls_malloc(len + (len == 0));
        memcpy(copy, bad[i], len);
        cr_expect_eq(ls_mysql_list_read(copy, len, &arena, &items, &count, &why), -1, "%s", bad[i]);
        cr_expect_not_null(why, "%s", bad[i]);
        free(copy);
    }
    ls_arena_free(&arena);
}

Test(mysql_encode, a_statement_guards_every_column_and_assigns_the_version_last)
{
    struct fixture f;
    fixture_init(&f);
    struct ls_record *records[] = {&f.record};
    cr_assert_eq(ls_mysql_encode_rows(&f.encoder, records, 1, false, 1 << 20, &f.buf), 1);
    cr_expect_str_eq(
        ls_buf_cstr(&f.buf),
        "INSERT INTO `pet_0007` (`id`,`name`,`age`,`tags`,`_at`,`_deleted`,`_h`,`_v`) VALUES "
        "('k1','Rex',-3,NULL,9,0,18446744073709551615,281474976710657) ON DUPLICATE KEY UPDATE "
        "`name`=IF(VALUES(`_v`)>`_v`,VALUES(`name`),`name`),"
        "`age`=IF(VALUES(`_v`)>`_v`,VALUES(`age`),`age`),"
        "`tags`=IF(VALUES(`_v`)>`_v`,VALUES(`tags`),`tags`),"
        "`_at`=IF(VALUES(`_v`)>`_v`,VALUES(`_at`),`_at`),"
        "`_deleted`=IF(VALUES(`_v`)>`_v`,VALUES(`_deleted`),`_deleted`),"
        "`_h`=IF(VALUES(`_v`)>`_v`,VALUES(`_h`),`_h`),"
        "`_v`=IF(VALUES(`_v`)>`_v`,VALUES(`_v`),`_v`)");
    fixture_free(&f);
}

Test(mysql_encode, a_repair_takes_equal_versions_in_every_column)
{
    struct fixture f;
    fixture_init(&f);
    struct ls_record *records[] = {&f.record};
    ls_mysql_encode_rows(&f.encoder, records, 1, true, 1 << 20, &f.buf);
    const char *sql = ls_buf_cstr(&f.buf);
    cr_expect_not_null(strstr(sql, "`_v`=IF(VALUES(`_v`)>=`_v`,VALUES(`_v`),`_v`)"));
    cr_expect_null(strstr(sql, ")>`_v`"));
    fixture_free(&f);
}

Test(mysql_encode, a_delete_keeps_nothing_but_its_version)
{
    struct fixture f;
    fixture_init(&f);
    f.record.deleted = true;
    f.record.values = NULL;
    struct ls_record *records[] = {&f.record};
    ls_mysql_encode_rows(&f.encoder, records, 1, false, 1 << 20, &f.buf);
    cr_expect_not_null(strstr(ls_buf_cstr(&f.buf), "('k1',NULL,NULL,NULL,9,1,184"));
    fixture_free(&f);
}

Test(mysql_encode, a_statement_ends_before_the_limit_and_takes_what_fits)
{
    struct fixture f;
    fixture_init(&f);
    struct ls_record *records[] = {&f.record, &f.record, &f.record};
    cr_assert_eq(ls_mysql_encode_rows(&f.encoder, records, 2, false, 1 << 20, &f.buf), 2);
    size_t two = f.buf.len;
    ls_buf_clear(&f.buf);
    cr_expect_eq(ls_mysql_encode_rows(&f.encoder, records, 3, false, two, &f.buf), 2);
    cr_expect_eq(f.buf.len, two);
    ls_buf_clear(&f.buf);
    cr_expect_eq(ls_mysql_encode_rows(&f.encoder, records, 3, false, two - 1, &f.buf), 1);
    cr_expect_lt(f.buf.len, two);
    fixture_free(&f);
}

Test(mysql_encode, a_row_that_does_not_fit_leaves_the_packet_as_it_was)
{
    struct fixture f;
    fixture_init(&f);
    struct ls_record *records[] = {&f.record};
    ls_buf_append_str(&f.buf, "BEGIN;");
    cr_expect_eq(ls_mysql_encode_rows(&f.encoder, records, 1, false, 100, &f.buf), 0);
    cr_expect_str_eq(ls_buf_cstr(&f.buf), "BEGIN;");
    fixture_free(&f);
}

#define LOG_A "0e37df36-f698-11e6-8dd4-cb9ced3df976"
#define LOG_B "77777777-f698-11e6-8dd4-cb9ced3df976"

Test(mysql_encode, a_mark_moves_from_what_was_seen_only)
{
    struct fixture f;
    fixture_init(&f);
    struct ls_mark mark = {.partition = 3, .version = 17, .at_ms = 5, .genesis = LOG_A};
    struct ls_mark seen = {.partition = 3, .version = 12, .at_ms = 4, .genesis = LOG_B};
    ls_mysql_encode_mark(f.encoder.schema, &mark, &seen, &f.buf);
    cr_expect_str_eq(ls_buf_cstr(&f.buf),
                     "UPDATE `pet_mark` SET `_genesis`='" LOG_A "',`_at`=5,`_v`=17 WHERE "
                     "`_partition`=3 AND `_genesis`='" LOG_B "' AND `_at`=4 AND `_v`=12");
    fixture_free(&f);
}

Test(mysql_encode, a_first_mark_leaves_one_that_came_before_as_it_is)
{
    struct fixture f;
    fixture_init(&f);
    struct ls_mark mark = {.partition = 4, .genesis = LOG_A};
    static const struct ls_mark none;
    ls_mysql_encode_mark(f.encoder.schema, &mark, &none, &f.buf);
    cr_expect_str_eq(ls_buf_cstr(&f.buf),
                     "INSERT INTO `pet_mark` (`_partition`,`_genesis`,`_at`,`_v`) VALUES "
                     "(4,'" LOG_A "',0,0) ON DUPLICATE KEY UPDATE `_partition`=`_partition`");
    fixture_free(&f);
}

/* Of a server that was asked while `passed` seconds went by. */
static struct ls_mysql_identity identity(const char *name, int64_t started_s, int passed,
                                         uint64_t id)
{
    struct ls_mysql_identity identity = {
        .started_s = started_s, .started_by_s = started_s + passed, .connection_id = id};
    snprintf(identity.name, sizeof(identity.name), "%s", name);
    return identity;
}

Test(mysql_encode, a_server_is_another_when_it_is_elsewhere_or_has_started_again)
{
    static const struct {
        const char *name;
        int64_t started_s;
        int passed;
        uint64_t id;
        bool reconnected, differs;
    } cases[] = {
        {"a:1 server_id 1 /data", 1000, 0, 7, false, false}, /* the same connection */
        {"a:1 server_id 1 /data", 1000, 0, 8, true, false},  /* another one */
        {"a:1 server_id 1 /data", 999, 1, 8, true, false},   /* a second passed meanwhile */
        {"a:1 server_id 1 /data", 1001, 0, 8, true, true},   /* a later start */
        {"a:1 server_id 1 /data", 1001, 1, 8, true, true},
        {"a:1 server_id 1 /data", 990, 1, 8, true, true},  /* an earlier one */
        {"a:1 server_id 1 /data", 1000, 0, 7, true, true}, /* connections are counted anew */
        {"a:1 server_id 1 /data", 1000, 0, 3, true, true},
        {"a:1 server_id 1 /data", 1000, 0, 8, false, true}, /* a proxy leads elsewhere */
        {"a:1 server_id 2 /data", 1000, 0, 8, true, true},
    };
    struct ls_mysql_identity before = identity("a:1 server_id 1 /data", 1000, 0, 7);
    for (size_t i = 0; i < LS_COUNT(cases); i++) {
        struct ls_mysql_identity now =
            identity(cases[i].name, cases[i].started_s, cases[i].passed, cases[i].id);
        char why[220] = "";
        cr_expect_eq(
            ls_mysql_identity_differs(&before, &now, cases[i].reconnected, why, sizeof(why)),
            cases[i].differs, "case %zu", i);
        cr_expect_eq(*why != '\0', cases[i].differs, "case %zu", i);
    }
}
