/* The Elasticsearch store against a real node: set-up, fetch, walk, counts. */
#include <criterion/criterion.h>
#include <float.h>
#include <stdio.h>

#include "es_fixture.h"
#include "schema/key.h"

static struct es_fixture fixture;
static struct es_fixture *f = &fixture;

static void begin(void)
{
    es_start(f);
    es_lane_start(f);
}

static void end(void)
{
    es_stop(f);
}

TestSuite(es_store, .init = begin, .fini = end, .timeout = 120);

static void apply_all(void)
{
    struct ls_unit unit = {0};
    struct ls_err err = {0};
    es_apply(f, &unit);
    cr_assert_eq(es_count(f, LS_APPLIED), f->n_records, "%s", unit.err.text);
    es_unit_done(&unit);
    cr_assert_eq(ls_es_store_ops.refresh(f->store, &err), 0, "%s", err.text);
}

static void add_extremes(void)
{
    static struct ls_span tags[] = {{"\xf0\x9f\x98\x80", 4}, {"", 0}, {"a\"b\\c\n", 6}};
    static const char odd[] = "\" \\ / \b\f\n\r\t \x01\x1f\x7f \xc3\xa9 \xe6\xbc\xa2 \xe2\x80\xa8";
    struct ls_value full[ES_FIELDS] = {
        [ES_NAME] = {.present = true, .text = {odd, sizeof(odd) - 1}},
        [ES_POINTS] = {.present = true, .number = INT64_MIN},
        [ES_BALANCE] = {.present = true, .real = -DBL_MAX},
        [ES_VIP] = {.present = true, .number = 0},
        [ES_TAGS] = {.present = true, .count = 3, .list = tags},
    };
    es_record(f, "full \"key\" \xf0\x9f\x98\x80", 10, full);
    full[ES_POINTS].number = INT64_MAX;
    full[ES_BALANCE].real = 5e-324;
    es_record(f, "small", INT64_MAX, full);
    full[ES_BALANCE].real = -0.0;
    full[ES_TAGS].count = 0;
    full[ES_NAME].text.len = 0;
    es_record(f, "empty", 1, full);
    es_record(f, "absent", 1, (const struct ls_value[ES_FIELDS]){0});
    es_record(f, "deleted", 1, NULL);
    es_record(f, "A", 1, NULL);
    es_record(f, "a", 1, NULL);
    es_record(f, "a ", 1, NULL);
    struct ls_record *last = f->pointers[f->n_records - 1];
    cr_assert_eq(last->key_len, 2);
    static char longest[2001];
    memset(longest, 'x', 2000);
    es_named(f, "long", 1, longest);
}

static void check_image(const struct ls_record *record, const struct ls_image *image)
{
    cr_expect(image->found, "%.*s", record->key_len, record->key);
    cr_expect_not(image->undecodable, "%.*s: %s", record->key_len, record->key, image->why);
    cr_expect_eq(image->hash, record->hash, "%.*s", record->key_len, record->key);
    cr_expect_eq(image->stored_hash, record->hash);
    cr_expect_eq(image->version, record->version);
    cr_expect_eq(image->at_ms, record->at_ms);
    cr_expect_eq(image->deleted, record->deleted);
    cr_expect_eq(image->key.len, record->key_len);
}

Test(es_store, extremes_come_back_by_key_with_their_hash)
{
    add_extremes();
    apply_all();
    struct ls_span keys[20];
    struct ls_image images[20];
    struct ls_err err = {0};
    for (uint32_t i = 0; i < f->n_records; i++)
        keys[i] = (struct ls_span){f->records[i].key, f->records[i].key_len};
    keys[f->n_records] = (struct ls_span){"nobody", 6};
    int rc = ls_es_store_ops.fetch(f->store, keys, f->n_records + 1, &f->arena, images, &err);
    cr_assert_eq(rc, 0, "%s", err.text);
    for (uint32_t i = 0; i < f->n_records; i++)
        check_image(&f->records[i], &images[i]);
    cr_expect_not(images[f->n_records].found);
}

struct walked {
    uint32_t n;
    char last[256];
};

static struct ls_record *find_record(struct ls_span key)
{
    for (uint32_t i = 0; i < f->n_records; i++)
        if (f->records[i].key_len == key.len && memcmp(f->records[i].key, key.data, key.len) == 0)
            return &f->records[i];
    return NULL;
}

static int take_page(void *opaque, const struct ls_image *images, size_t n)
{
    struct walked *walked = opaque;
    for (size_t i = 0; i < n; i++) {
        const struct ls_record *record = find_record(images[i].key);
        cr_assert_not_null(record, "%.*s", (int)images[i].key.len, images[i].key.data);
        check_image(record, &images[i]);
        char key[256];
        snprintf(key, sizeof(key), "%.*s", (int)images[i].key.len, images[i].key.data);
        cr_expect(strcmp(walked->last, key) < 0, "%s after %s", key, walked->last);
        memcpy(walked->last, key, sizeof(key));
        walked->n++;
    }
    return 0;
}

static uint32_t walk_all(void)
{
    uint32_t n = 0;
    struct ls_err err = {0};
    for (unsigned shard = 0; shard < LS_SHARDS; shard++) {
        struct walked walked = {0};
        int rc = ls_es_store_ops.walk(f->store, (uint16_t)shard, take_page, &walked, &err);
        cr_assert_eq(rc, 0, "%s", err.text);
        n += walked.n;
    }
    return n;
}

Test(es_store, walks_give_each_record_once_and_no_mark)
{
    struct ls_err err = {0};
    struct ls_mark mark = {.partition = 1, .genesis = ES_GENESIS};
    cr_assert_eq(ls_es_store_ops.reset_marks(f->store, &mark, 1, &err), 0, "%s", err.text);
    add_extremes();
    apply_all();
    cr_expect_eq(walk_all(), f->n_records);
}

static int count_ghosts(void *opaque, const struct ls_image *images, size_t n)
{
    unsigned *ghosts = opaque;
    for (size_t i = 0; i < n; i++)
        *ghosts += images[i].key.len == 5 && memcmp(images[i].key.data, "ghost", 5) == 0 &&
                   images[i].undecodable;
    return 0;
}

Test(es_store, a_document_that_another_writer_made_without_a_shard_is_walked)
{
    LS_CLEANUP_FREE char *path = ls_asprintf("/%s/_doc/ghost?routing=5&refresh=true", f->index);
    json_decref(es_http(f, "PUT", path, "{\"id\":\"ghost\",\"_deleted\":false}"));
    es_named(f, "a", 5, "x");
    apply_all();
    unsigned ghosts = 0;
    struct ls_err err = {0};
    for (unsigned shard = 0; shard < LS_SHARDS; shard++)
        cr_assert_eq(ls_es_store_ops.walk(f->store, (uint16_t)shard, count_ghosts, &ghosts, &err),
                     0, "%s", err.text);
    cr_expect_eq(ghosts, 1);
}

Test(es_store, a_shard_of_several_pages_is_walked_in_order)
{
    /* Keys of one shard, more than a page of them. */
    char key[24];
    for (unsigned i = 0; f->n_records < 2500; i++) {
        int len = snprintf(key, sizeof(key), "k%u", i);
        if (ls_shard_of(key, (size_t)len) == 7)
            es_named(f, key, 5, "x");
    }
    apply_all();
    struct walked walked = {0};
    struct ls_err err = {0};
    cr_assert_eq(ls_es_store_ops.walk(f->store, 7, take_page, &walked, &err), 0, "%s", err.text);
    cr_expect_eq(walked.n, 2500);
}

static int end_walk(void *opaque, const struct ls_image *images, size_t n)
{
    return 42;
}

Test(es_store, a_walk_ends_when_its_reader_says_so)
{
    struct ls_err err = {0};
    es_named(f, "a", 5, "x");
    apply_all();
    cr_expect_eq(ls_es_store_ops.walk(f->store, ls_shard_of("a", 1), end_walk, NULL, &err), 42);
}

Test(es_store, a_document_of_another_shape_is_undecodable)
{
    char path[160];
    unsigned shard = ls_shard_of("odd", 3);
    snprintf(path, sizeof(path), "/%.60s/_doc/odd?routing=%u&version=9&version_type=external",
             f->index, shard);
    char body[160];
    snprintf(body, sizeof(body),
             "{\"id\":\"odd\",\"points\":\"12\",\"_deleted\":false,\"_shard\":%u}", shard);
    json_t *made = es_http(f, "PUT", path, body);
    cr_assert_not_null(made, "Elasticsearch takes a number as text");
    json_decref(made);
    struct ls_image image = es_fetch(f, "odd");
    cr_expect(image.found && image.undecodable);
    cr_expect_str_eq(image.why, "field points is not int");
    cr_expect_eq(image.version, 9);
}

Test(es_store, data_and_counts_leave_marks_out)
{
    struct ls_err err = {0};
    bool has_data = true;
    uint64_t live = 9, deleted = 9;
    struct ls_mark mark = {.partition = 1, .genesis = ES_GENESIS};
    cr_assert_eq(ls_es_store_ops.reset_marks(f->store, &mark, 1, &err), 0, "%s", err.text);
    cr_assert_eq(ls_es_store_ops.has_data(f->store, &has_data, &err), 0, "%s", err.text);
    cr_expect_not(has_data);
    es_named(f, "a", 5, "x");
    es_named(f, "b", 5, "x");
    es_record(f, "c", 5, NULL);
    apply_all();
    cr_assert_eq(ls_es_store_ops.has_data(f->store, &has_data, &err), 0, "%s", err.text);
    cr_expect(has_data);
    cr_assert_eq(ls_es_store_ops.count(f->store, &live, &deleted, &err), 0, "%s", err.text);
    cr_expect_eq(live, 2);
    cr_expect_eq(deleted, 1);
}

Test(es_store, the_alias_hides_marks_and_deleted_documents)
{
    struct ls_err err = {0};
    struct ls_mark mark = {.partition = 1, .genesis = ES_GENESIS};
    cr_assert_eq(ls_es_store_ops.reset_marks(f->store, &mark, 1, &err), 0, "%s", err.text);
    es_named(f, "a", 5, "x");
    es_record(f, "c", 5, NULL);
    apply_all();
    LS_CLEANUP_FREE char *path = ls_asprintf("/%s/_count", f->alias);
    json_t *count = es_http(f, "GET", path, NULL);
    cr_expect_eq(json_integer_value(json_object_get(count, "count")), 1);
    json_decref(count);
}

static struct ls_buf lines;

static void take_line(void *opaque, const char *line)
{
    ls_buf_append_str(&lines, line);
    ls_buf_append_char(&lines, '\n');
}

static size_t diff_now(void)
{
    size_t differences = 99;
    struct ls_err err = {0};
    ls_buf_clear(&lines);
    int rc = ls_es_store_ops.diff(f->store, take_line, NULL, &differences, &err);
    cr_assert_eq(rc, 0, "%s", err.text);
    return differences;
}

Test(es_store, what_apply_made_has_no_difference_and_passes_the_check)
{
    struct ls_err err = {0};
    cr_expect_eq(ls_es_store_ops.check(f->store, &err), 0, "%s", err.text);
    cr_expect_eq(diff_now(), 0, "%s", ls_buf_cstr(&lines));
    ls_buf_clear(&lines);
    cr_expect_eq(ls_es_store_ops.apply(f->store, take_line, NULL, &err), 0, "%s", err.text);
    cr_expect_eq(lines.len, 0, "a second apply makes nothing: %s", ls_buf_cstr(&lines));
}

Test(es_store, a_missing_index_is_named_with_its_command)
{
    struct ls_err err = {0};
    LS_CLEANUP_FREE char *path = ls_asprintf("/%s", f->index);
    json_decref(es_http(f, "DELETE", path, NULL));
    cr_expect_eq(ls_es_store_ops.check(f->store, &err), -1);
    cr_expect_eq(err.class, LS_ERR_FATAL);
    cr_expect_not_null(strstr(err.text, "lockstep schema apply"), "%s", err.text);
    cr_expect_eq(diff_now(), 1, "%s", ls_buf_cstr(&lines));
}

Test(es_store, a_new_field_is_added_and_a_changed_one_is_named)
{
    struct ls_err err = {0};
    es_index_anew(f, "{\"dynamic\":\"strict\",\"_routing\":{\"required\":true},\"properties\":{"
                     "\"id\":{\"type\":\"keyword\"},\"points\":{\"type\":\"keyword\"}}}");
    cr_expect_eq(ls_es_store_ops.check(f->store, &err), -1);
    cr_expect_eq(err.class, LS_ERR_FATAL);
    cr_assert_eq(ls_es_store_ops.apply(f->store, take_line, NULL, &err), 0, "%s", err.text);
    diff_now();
    const char *text = ls_buf_cstr(&lines);
    cr_expect_not_null(strstr(text, "field points is keyword, expected long"), "%s", text);
    cr_expect_null(strstr(text, "is missing"), "%s", text);
    cr_expect_eq(ls_es_store_ops.check(f->store, &err), -1);
    cr_expect_not_null(strstr(err.text, "points"), "%s", err.text);
}

Test(es_store, a_field_of_a_newer_schema_is_named_and_does_not_stop_a_worker)
{
    struct ls_err err = {0};
    LS_CLEANUP_FREE char *path = ls_asprintf("/%s/_mapping", f->index);
    json_decref(es_http(f, "PUT", path, "{\"properties\":{\"nick\":{\"type\":\"keyword\"}}}"));
    cr_expect_eq(ls_es_store_ops.check(f->store, &err), 0, "%s", err.text);
    cr_expect_eq(diff_now(), 1, "%s", ls_buf_cstr(&lines));
    cr_expect_not_null(strstr(ls_buf_cstr(&lines), "field nick is not in the schema"));
}

Test(es_store, settings_that_differ_are_named)
{
    LS_CLEANUP_FREE char *path = ls_asprintf("/%s/_settings", f->index);
    json_decref(
        es_http(f, "PUT", path,
                "{\"index\":{\"translog.durability\":\"async\",\"refresh_interval\":\"5s\"}}"));
    struct ls_err err = {0};
    cr_expect_eq(diff_now(), 2);
    const char *text = ls_buf_cstr(&lines);
    cr_expect_not_null(strstr(text, "translog.durability is async, expected request"), "%s", text);
    cr_expect_not_null(strstr(text, "refresh_interval is 5s, expected 1s"), "%s", text);
    cr_expect_eq(ls_es_store_ops.check(f->store, &err), -1, "durability is what marks rest on");
    cr_expect_not_null(strstr(err.text, "durability"), "%s", err.text);
}
