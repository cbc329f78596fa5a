/* The MySQL store against real servers: what is written is what is read, and what differs is said.
 */
#include <criterion/criterion.h>
#include <float.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "mysql_fixture.h"
#include "schema/mysql_ddl.h"

#define ENTITY "livestore"
#define OTHER  "livediff"

static struct mysql_fixture f;

static void setup(void)
{
    mysql_fixture_init(&f, ENTITY);
}

static void teardown(void)
{
    mysql_fixture_free(&f);
}

MYSQL_DROPS_AFTER(mysql_store, ENTITY, OTHER)

TestSuite(mysql_store, .init = setup, .fini = teardown, .timeout = 120);

static struct ls_value text(const char *bytes, uint32_t len)
{
    return (struct ls_value){.present = true, .text = {bytes, len}};
}

#define TEXT(literal) text(literal, sizeof(literal) - 1)

/* Applies one record, whatever shard it has. */
static void apply_one(struct ls_record *record)
{
    mysql_apply(&f, &record, 1, false);
    cr_expect_eq(record->verdict, LS_APPLIED, "%s", f.unit.err.text);
}

static void expect_same(struct ls_image image, const struct ls_record *record, const char *what)
{
    cr_expect(image.found, "%s", what);
    cr_expect_not(image.undecodable, "%s: %s", what, image.why);
    cr_expect_eq(image.hash, record->hash, "%s", what);
    cr_expect_eq(image.stored_hash, record->hash, "%s", what);
    cr_expect_eq(image.version, record->version, "%s", what);
    cr_expect_eq(image.at_ms, record->at_ms, "%s", what);
}

Test(mysql_store, keys_that_differ_in_case_or_blanks_are_different_records)
{
    char keys[4][40];
    struct ls_span spans[4];
    struct ls_record *records[4];
    struct ls_image images[4];
    struct ls_err err = {0};
    for (int i = 0; i < 4; i++) {
        static const char *const names[] = {"upper", "lower", "blank", "umlaut"};
        snprintf(keys[i], sizeof(keys[i]),
                 i == 0   ? "A%d"
                 : i == 1 ? "a%d"
                 : i == 2 ? "a%d "
                          : "\xc3\xa4%d",
                 (int)getpid());
        spans[i] = (struct ls_span){keys[i], (uint32_t)strlen(keys[i])};
        records[i] = mysql_put(&f, keys[i], strlen(keys[i]), 10 + (uint64_t)i, names[i]);
        apply_one(records[i]);
    }
    cr_assert_eq(ls_mysql_store_ops.fetch(f.store, spans, 4, &f.arena, images, &err), 0, "%s",
                 err.text);
    for (int i = 0; i < 4; i++)
        expect_same(images[i], records[i], keys[i]);
}

/* Values of every type at their ends, and texts that break careless escaping. */
static void fill(struct ls_value *values, unsigned n)
{
    static struct ls_span tags[] = {{"", 0},
                                    {"it's", 4},
                                    {"q\"q", 3},
                                    {"b\\", 2},
                                    {"\x01\x1f\n", 3},
                                    {"nul\0in", 6},
                                    {"\xf0\x9f\x90\x95", 4}};
    static const double scores[] = {0.1, -0.0, DBL_MAX, -DBL_MIN, 5e-324, 1.0, 1e23, -2.5};
    static const int64_t ages[] = {INT64_MIN, INT64_MAX, 0, -1, 1, 42, 7, 9};
    switch (n % 8) {
    case 0:
        values[COL_NAME] = TEXT("emoji \xf0\x9f\x98\x80 and \xe6\x97\xa5\xe6\x9c\xac");
        break;
    case 1:
        values[COL_NAME] = TEXT("nul\0in the middle\0");
        break;
    case 2:
        values[COL_NAME] = TEXT("it's \"quoted\" \\ and \\' or '' ; -- #");
        break;
    case 3:
        values[COL_NAME] = TEXT("");
        break;
    case 4:
        values[COL_NAME] = TEXT("trailing blanks   ");
        break;
    case 5:
        values[COL_NAME] = TEXT("\n\r\t\x1a\x08\x7f%_\\%");
        break;
    case 6:
        values[COL_NAME] = (struct ls_value){0}; /* absent */
        break;
    default:
        values[COL_NAME] = TEXT("\\");
    }
    values[COL_AGE] = (struct ls_value){.present = true, .number = ages[n % 8]};
    values[COL_SCORE] = (struct ls_value){.present = true, .real = scores[n % 8]};
    values[COL_OK] = (struct ls_value){.present = n % 3 != 0, .number = n % 2};
    values[COL_TAGS] = (struct ls_value){.present = n % 4 != 0, .list = tags, .count = n % 8};
}

struct seen {
    struct ls_record **records; /* sorted as walked */
    uint32_t n;
    size_t at, pages;
    char last[256];
    size_t last_len;
};

static int see_page(void *opaque, const struct ls_image *images, size_t n)
{
    struct seen *seen = opaque;
    seen->pages++;
    for (size_t i = 0; i < n; i++) {
        struct ls_span key = images[i].key;
        size_t len = key.len < seen->last_len ? key.len : seen->last_len;
        int order = memcmp(key.data, seen->last, len);
        cr_expect(order > 0 || (order == 0 && key.len > seen->last_len), "keys ascend");
        memcpy(seen->last, key.data, key.len);
        seen->last_len = key.len;
        for (uint32_t k = 0; k < seen->n; k++)
            if (seen->records[k]->key_len == key.len &&
                memcmp(seen->records[k]->key, key.data, key.len) == 0) {
                expect_same(images[i], seen->records[k], "walk");
                seen->at++;
            }
    }
    return 0;
}

Test(mysql_store, every_value_comes_back_with_the_same_hash_by_fetch_and_by_walk)
{
    enum { N = 64, SHARD = 5 };
    struct ls_record *records[N];
    struct ls_span keys[N + 1];
    struct ls_image images[N + 1];
    struct ls_err err = {0};
    char prefix[32];
    snprintf(prefix, sizeof(prefix), "it's\\%d", (int)getpid());
    for (unsigned i = 0; i < N; i++) {
        const char *key = mysql_key(&f, prefix, SHARD, i);
        records[i] =
            i % 16 == 15 ? mysql_delete(&f, key, 5) : mysql_put(&f, key, strlen(key), 5, "");
        if (!records[i]->deleted)
            fill(mysql_values(records[i]), i);
        mysql_seal(&f, records[i]);
        keys[i] = (struct ls_span){key, records[i]->key_len};
    }
    mysql_apply(&f, records, N, false);
    cr_assert_eq(mysql_count(records, N, LS_APPLIED), N, "%s", f.unit.err.text);
    keys[N] = (struct ls_span){"nobody", 6};
    cr_assert_eq(ls_mysql_store_ops.fetch(f.store, keys, N + 1, &f.arena, images, &err), 0, "%s",
                 err.text);
    for (unsigned i = 0; i < N; i++)
        expect_same(images[i], records[i], records[i]->key);
    cr_expect_not(images[N].found);
    struct seen seen = {.records = records, .n = N};
    cr_assert_eq(ls_mysql_store_ops.walk(f.store, SHARD, see_page, &seen, &err), 0, "%s", err.text);
    cr_expect_eq(seen.at, N);
}

Test(mysql_store, a_walk_crosses_pages_and_the_counts_agree)
{
    enum { N = 4001, SHARD = 6 };
    struct ls_record **records = ls_arena_alloc(&f.arena, N * sizeof(struct ls_record *));
    struct ls_err err = {0};
    bool data = false;
    uint64_t live = 0, deleted = 0;
    for (unsigned i = 0; i < N; i++) { /* any key will do: the shard is told */
        char *key = ls_arena_alloc(&f.arena, 32);
        int len = snprintf(key, 32, "%x-%d", i * 2654435761u, (int)getpid());
        records[i] =
            i % 10 == 0 ? mysql_delete(&f, key, 5) : mysql_put(&f, key, (size_t)len, 5, "x");
        records[i]->shard = SHARD;
    }
    mysql_apply(&f, records, N, false);
    cr_assert_eq(mysql_count(records, N, LS_APPLIED), N, "%s", f.unit.err.text);
    struct seen seen = {.records = records, .n = 100};
    cr_assert_eq(ls_mysql_store_ops.walk(f.store, SHARD, see_page, &seen, &err), 0, "%s", err.text);
    cr_expect_eq(seen.at, 100);
    cr_expect_geq(seen.pages, 3);
    cr_assert_eq(ls_mysql_store_ops.has_data(f.store, &data, &err), 0, "%s", err.text);
    cr_expect(data);
    cr_assert_eq(ls_mysql_store_ops.count(f.store, &live, &deleted, &err), 0, "%s", err.text);
    cr_expect_geq(live, N - N / 10 - 1);
    cr_expect_geq(deleted, N / 10);
}

Test(mysql_store, content_that_is_no_record_is_undecodable_and_says_which_column)
{
    static const char *const spoils[] = {"tags = '{}'", "tags = '[1]'", "ok = 7"};
    struct ls_mysql mysql;
    char prefix[32];
    snprintf(prefix, sizeof(prefix), "spoil%d", (int)getpid());
    mysql_connect_to(&f, 7, &mysql);
    for (unsigned i = 0; i < LS_COUNT(spoils); i++) {
        const char *key = mysql_key(&f, prefix, 7, i);
        apply_one(mysql_put(&f, key, strlen(key), 5, "x"));
        mysql_must(&mysql, "UPDATE " ENTITY "_0007 SET %s WHERE id = '%s'", spoils[i], key);
        struct ls_image image = mysql_fetch_one(&f, key);
        cr_expect(image.undecodable, "%s", spoils[i]);
        cr_expect_not_null(image.why);
        cr_expect_not_null(strstr(image.why, i < 2 ? "tags" : "ok"), "%s", image.why);
    }
    const char *key = mysql_key(&f, prefix, 7, 10);
    apply_one(mysql_delete(&f, key, 5));
    mysql_must(&mysql, "UPDATE " ENTITY "_0007 SET name = 'ghost' WHERE id = '%s'", key);
    cr_expect(mysql_fetch_one(&f, key).undecodable, "a deleted record with content");
    ls_mysql_close(&mysql);
}

struct report {
    char text[8192];
    size_t lines;
};

static void keep_line(void *opaque, const char *line)
{
    struct report *report = opaque;
    size_t len = strlen(report->text);
    snprintf(report->text + len, sizeof(report->text) - len, "%s\n", line);
    report->lines++;
}

static struct report diff_of(struct mysql_fixture *other, size_t *ret_differences)
{
    struct report report = {0};
    struct ls_err err = {0};
    int rc = ls_mysql_store_ops.diff(other->store, keep_line, &report, ret_differences, &err);
    cr_assert_eq(rc, 0, "%s", err.text);
    return report;
}

Test(mysql_store, apply_makes_all_tables_once_and_then_nothing_differs)
{
    struct mysql_fixture other;
    struct report report = {0};
    struct ls_err err = {0};
    size_t differences = 99;
    bool data = true;
    mysql_fixture_drop(OTHER);
    mysql_fixture_init_bare(&other, OTHER, 1);
    cr_assert_eq(ls_mysql_store_ops.open(&other.sink, &other.store, &err), 0, "%s", err.text);
    int64_t start_ms = ls_mono_ms();
    cr_assert_eq(ls_mysql_store_ops.apply(other.store, keep_line, &report, &err), 0, "%s",
                 err.text);
    fprintf(stderr, "1024 tables in %lld ms\n", (long long)(ls_mono_ms() - start_ms));
    cr_expect_eq(report.lines, 2 * other.sink.n_servers, "%s", report.text);
    cr_expect_eq(ls_mysql_store_ops.check(other.store, &err), 0, "%s", err.text);
    report = (struct report){0};
    cr_assert_eq(ls_mysql_store_ops.apply(other.store, keep_line, &report, &err), 0, "%s",
                 err.text);
    cr_expect_eq(report.lines, 0, "%s", report.text);
    report = diff_of(&other, &differences);
    cr_expect_eq(differences, 0, "%s", report.text);
    cr_assert_eq(ls_mysql_store_ops.has_data(other.store, &data, &err), 0, "%s", err.text);
    cr_expect_not(data);

    struct ls_mysql mysql;
    mysql_connect_to(&other, 0, &mysql);
    mysql_must(&mysql, "ALTER TABLE " OTHER "_0000 MODIFY name VARCHAR(7), ADD UNIQUE KEY u (age), "
                       "ADD COLUMN mine INT; ALTER TABLE " OTHER "_0001 DROP COLUMN note; "
                       "ALTER TABLE " OTHER "_0002 DROP COLUMN note");
    report = diff_of(&other, &differences);
    cr_expect_eq(differences, 7, "%s", report.text); /* the KEY changes with its column */
    cr_expect_not_null(strstr(report.text, "`name` varchar(7)"), "%s", report.text);
    cr_expect_not_null(strstr(report.text, "UNIQUE KEY `u` (`age`), which"), "%s", report.text);
    cr_expect_not_null(strstr(report.text, "`mine`"), "%s", report.text);
    cr_expect_not_null(strstr(report.text, "_0001 and 1 more tables: each lacks `note`"), "%s",
                       report.text);
    cr_expect_eq(ls_mysql_store_ops.check(other.store, &err), -1);
    cr_expect_not_null(strstr(err.text, "note"), "%s", err.text);
    mysql_must(&mysql, "DROP TABLE " OTHER "_0003");
    report = diff_of(&other, &differences);
    cr_expect_not_null(strstr(report.text, "_0003 is missing"), "%s", report.text);
    ls_mysql_close(&mysql);
    mysql_fixture_free(&other);
}

Test(mysql_store, apply_adds_the_columns_of_a_newer_schema)
{
    struct mysql_fixture newer;
    struct report report = {0};
    struct ls_err err = {0};
    size_t differences = 99;
    mysql_fixture_drop("livenewer");
    mysql_fixture_init_bare(&newer, "livenewer", 1);
    struct ls_mysql mysql;
    mysql_connect_to(&newer, 0, &mysql);
    for (uint16_t shard = 0; shard < 4; shard++) { /* tables of the older schema */
        struct ls_buf ddl = {0};
        ls_mysql_create_shard(newer.entity.schema, shard, &ddl);
        mysql_must(&mysql, "%s", ls_buf_cstr(&ddl));
        ls_buf_free(&ddl);
    }
    struct ls_buf marks = {0};
    ls_mysql_create_marks(newer.entity.schema, &marks);
    mysql_must(&mysql, "%s", ls_buf_cstr(&marks));
    ls_buf_free(&marks);
    ls_mysql_close(&mysql);
    mysql_fixture_free(&newer);
    mysql_fixture_init_bare(&newer, "livenewer", 2);
    cr_assert_eq(ls_mysql_store_ops.open(&newer.sink, &newer.store, &err), 0, "%s", err.text);
    cr_expect_eq(ls_mysql_store_ops.check(newer.store, &err), -1);
    cr_expect_eq(err.class, LS_ERR_FATAL);
    cr_expect_not_null(strstr(err.text, "no column city"), "%s", err.text);
    cr_assert_eq(ls_mysql_store_ops.apply(newer.store, keep_line, &report, &err), 0, "%s",
                 err.text);
    cr_expect_not_null(strstr(report.text, "added 4 columns"), "%s", report.text);
    cr_expect_eq(ls_mysql_store_ops.check(newer.store, &err), 0, "%s", err.text);
    report = diff_of(&newer, &differences);
    cr_expect_eq(differences, 0, "%s", report.text);
    mysql_fixture_free(&newer);
    mysql_fixture_drop("livenewer");
}
