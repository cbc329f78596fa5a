/* Elasticsearch without a server: bulk lines, replies, error classes, documents. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>

#include "consumers/es_encode.h"
#include "consumers/es_image.h"
#include "consumers/es_json.h"
#include "consumers/es_reply.h"
#include "consumers/es_setup.h"
#include "consumers/sink.h"
#include "pipeline/es_errors.h"
#include "schema/es_mapping.h"
#include "schema/key.h"
#include "tests/unit/schema_fixture.h"

static const char schema_text[] = "entity: thing\n"
                                  "version: 1\n"
                                  "redis_prefix: t\n"
                                  "expected_records: 1000\n"
                                  "average_bytes: 300\n"
                                  "fields:\n"
                                  "  - {number: 1, name: id, type: string, key: true}\n"
                                  "  - {number: 2, name: name, type: string, length: 1000}\n"
                                  "  - {number: 3, name: points, type: int}\n"
                                  "  - {number: 4, name: balance, type: float}\n"
                                  "  - {number: 5, name: vip, type: bool}\n"
                                  "  - {number: 6, name: seen_at, type: time}\n"
                                  "  - {number: 7, name: tags, type: strings, length: 40, "
                                  "max_items: 64}\n";

enum { NAME, POINTS, BALANCE, VIP, SEEN_AT, TAGS, N_FIELDS };

static struct ls_schema *schema;
static struct ls_es_encoder *encoder;
static struct ls_value values[N_FIELDS];
static struct ls_buf buf;
static struct ls_buf scratch;
static struct ls_arena arena;

static void begin(void)
{
    schema = schema_of(schema_text);
    encoder = ls_es_encoder_new(schema);
}

static void end(void)
{
    ls_es_encoder_free(encoder);
    ls_schema_free(schema);
    ls_buf_free(&buf);
    ls_buf_free(&scratch);
    ls_arena_free(&arena);
}

TestSuite(es, .init = begin, .fini = end);

static struct ls_span span(const char *text)
{
    return (struct ls_span){text, (uint32_t)strlen(text)};
}

static struct ls_record make_record(const char *key, bool deleted)
{
    struct ls_record record = {
        .key = key,
        .key_len = (uint16_t)strlen(key),
        .version = UINT64_C(1) << 48 | 77,
        .at_ms = 1700000000123,
        .deleted = deleted,
        .values = deleted ? NULL : values,
    };
    record.shard = ls_shard_of(key, record.key_len);
    record.hash = ls_hash(schema, key, record.key_len, deleted, record.values, &scratch);
    return record;
}

static struct ls_es_doc as_doc(const char *key, int64_t version, const char *source, size_t len)
{
    return (struct ls_es_doc){
        .found = true, .id = span(key), .version = version, .source = {source, (uint32_t)len}};
}

/* The document's line of what was encoded. */
static struct ls_span document_line(void)
{
    const char *line = memchr(buf.data, '\n', buf.len);
    cr_assert_not_null(line);
    line++;
    const char *end_of_line = memchr(line, '\n', buf.len - (size_t)(line - buf.data));
    cr_assert_eq(end_of_line, buf.data + buf.len - 1, "a record is exactly two lines");
    return (struct ls_span){line, (uint32_t)(end_of_line - line)};
}

Test(es, action_line_carries_id_routing_and_guard)
{
    struct ls_record record = make_record("a\"b", true);
    ls_es_encode(encoder, &record, false, &buf);
    char want[200];
    snprintf(want, sizeof(want),
             "{\"index\":{\"_id\":\"a\\\"b\",\"routing\":\"%u\",\"version\":281474976710733,"
             "\"version_type\":\"external\"}}\n",
             record.shard);
    cr_assert_eq(strncmp(ls_buf_cstr(&buf), want, strlen(want)), 0, "%s", ls_buf_cstr(&buf));
}

Test(es, repair_takes_an_equal_version)
{
    struct ls_record record = make_record("a", true);
    ls_es_encode(encoder, &record, true, &buf);
    cr_assert_not_null(strstr(ls_buf_cstr(&buf), "\"version_type\":\"external_gte\"}}\n"));
}

Test(es, deleted_document_holds_key_and_hidden_fields_only)
{
    struct ls_record record = make_record("a", true);
    record.hash = UINT64_C(0xfedcba9876543210);
    ls_es_encode(encoder, &record, false, &buf);
    char want[300];
    snprintf(want, sizeof(want),
             "{\"id\":\"a\",\"_v_hi\":65536,\"_v_lo\":77,\"_h_hi\":4275878552,\"_h_lo\":1985229328,"
             "\"_deleted\":true,\"_at\":1700000000123,\"_shard\":%u}",
             record.shard);
    struct ls_span line = document_line();
    cr_assert_eq(line.len, strlen(want));
    cr_assert_eq(memcmp(line.data, want, line.len), 0, "%.*s", (int)line.len, line.data);
}

Test(es, absent_fields_are_left_out_and_empty_ones_are_not)
{
    values[NAME] = (struct ls_value){.present = true, .text = span("")};
    values[TAGS] = (struct ls_value){.present = true, .count = 0};
    struct ls_record record = make_record("a", false);
    ls_es_encode(encoder, &record, false, &buf);
    cr_assert_not_null(
        strstr(ls_buf_cstr(&buf), "{\"id\":\"a\",\"name\":\"\",\"tags\":[],\"_v_hi\""));
}

static void fill_extremes(struct ls_span *tags)
{
    static const char odd[] = "quote\" back\\ slash/ \b\f\n\r\t \x01\x1f\x7f "
                              "\xc3\xa9 \xe6\xbc\xa2 \xf0\x9f\x98\x80 \xe2\x80\xa8";
    tags[0] = span("a,b");
    tags[1] = span("");
    tags[2] = span("{\"x\":[1]}");
    values[NAME] = (struct ls_value){.present = true, .text = span(odd)};
    values[POINTS] = (struct ls_value){.present = true, .number = INT64_MIN};
    values[BALANCE] = (struct ls_value){.present = true, .real = -1.7976931348623157e308};
    values[VIP] = (struct ls_value){.present = true, .number = 1};
    values[SEEN_AT] = (struct ls_value){.present = true, .number = INT64_MAX};
    values[TAGS] = (struct ls_value){.present = true, .count = 3, .list = tags};
}

Test(es, image_of_an_encoded_record_has_its_hash)
{
    struct ls_span tags[3];
    fill_extremes(tags);
    struct ls_record record = make_record("k\xc3\xa9y \"1\"", false);
    ls_es_encode(encoder, &record, false, &buf);
    struct ls_span line = document_line();
    json_t *independent = json_loadb(line.data, line.len, JSON_REJECT_DUPLICATES, NULL);
    cr_assert_not_null(independent, "another reader of JSON takes it too");
    cr_assert_eq(json_integer_value(json_object_get(independent, "points")), INT64_MIN);
    json_decref(independent);

    struct ls_es_doc doc = as_doc(record.key, 77, line.data, line.len);
    struct ls_image image;
    ls_es_image(schema, &doc, &arena, &scratch, &image);
    cr_assert_not(image.undecodable, "%s", image.why);
    cr_assert_eq(image.hash, record.hash);
    cr_assert_eq(image.stored_hash, record.hash);
    cr_assert_eq(image.version, 77, "the guard of Elasticsearch, not the copy in the document");
    cr_assert_eq(image.at_ms, record.at_ms);
    cr_assert_eq(image.values[BALANCE].real, values[BALANCE].real);
}

Test(es, reals_come_back_bit_by_bit)
{
    const double reals[] = {0.1,
                            12.34,
                            -0.01,
                            0.5,
                            90071992547409.91,
                            4503599627370496.5,
                            1.0 / 3,
                            5e-324,
                            2.2250738585072014e-308,
                            1e21,
                            12,
                            -7.25,
                            123456789012345680.0,
                            9007199254740993.0,
                            1.7976931348623157e308};
    for (size_t i = 0; i < LS_COUNT(reals); i++) {
        double back;
        ls_buf_clear(&buf);
        ls_es_put_real(&buf, reals[i]);
        cr_assert(ls_json_parse_real((struct ls_span){buf.data, (uint32_t)buf.len}, &back));
        cr_assert_eq(memcmp(&back, &reals[i], sizeof(back)), 0, "%.17g", reals[i]);
    }
    for (int cents = -100000; cents < 100000; cents++) {
        double real = cents / 100.0, back;
        ls_buf_clear(&buf);
        ls_es_put_real(&buf, real);
        cr_assert(ls_json_parse_real((struct ls_span){buf.data, (uint32_t)buf.len}, &back));
        cr_assert_eq(back, real, "%.17g", real);
    }
    ls_buf_clear(&buf);
    ls_es_put_real(&buf, -3.10);
    cr_assert_str_eq(ls_buf_cstr(&buf), "-3.1");
    ls_buf_clear(&buf);
    ls_es_put_real(&buf, -0.0);
    cr_assert_str_eq(ls_buf_cstr(&buf), "0");
}

static const char *why_of(const char *source)
{
    struct ls_es_doc doc = as_doc("a", 5, source, strlen(source));
    struct ls_image image;
    ls_es_image(schema, &doc, &arena, &scratch, &image);
    cr_assert_eq(image.undecodable, image.why != NULL);
    return image.why != NULL ? image.why : "";
}

Test(es, wrong_content_is_undecodable_and_names_the_field)
{
    const struct {
        const char *source, *why;
    } cases[] = {
        {"{\"id\":\"a\",\"_deleted\":false,\"_shard\":3}", ""},
        {"{\"id\":\"a\",\"_deleted\":false}", "_shard is missing"},
        {"{\"id\":\"a\",\"points\":\"7\",\"_deleted\":false}", "field points is not int"},
        {"{\"id\":\"a\",\"points\":7.5,\"_deleted\":false}", "field points is not int"},
        {"{\"id\":\"a\",\"points\":9223372036854775808,\"_deleted\":false}",
         "field points is not int"},
        {"{\"id\":\"a\",\"balance\":1e999,\"_deleted\":false}", "field balance is not float"},
        {"{\"id\":\"a\",\"vip\":1,\"_deleted\":false}", "field vip is not bool"},
        {"{\"id\":\"a\",\"name\":null,\"_deleted\":false}", "field name is not string"},
        {"{\"id\":\"a\",\"tags\":\"x\",\"_deleted\":false}", "field tags is not strings"},
        {"{\"id\":\"a\",\"tags\":[\"x\",3],\"_deleted\":false}", "field tags is not strings"},
        {"{\"id\":\"b\",\"_deleted\":false}", "field id is not its _id"},
        {"{\"_deleted\":false}", "field id is not its _id"},
        {"{\"id\":\"a\"}", "_deleted is missing or no boolean"},
        {"{\"id\":\"a\",\"name\":\"x\",\"_deleted\":true}", "it is deleted and has content"},
        {"{\"id\":\"a\",\"other\":1,\"_deleted\":false}",
         "it has the field other, which the schema lacks"},
        {"{\"id\":\"a\",\"_shard\":\"x\",\"_deleted\":false}", "_shard is not a whole number"},
        {"{\"id\":\"a\",\"_deleted\":false", "it is not JSON"},
    };
    for (size_t i = 0; i < LS_COUNT(cases); i++)
        cr_expect_str_eq(why_of(cases[i].source), cases[i].why, "%s: %s", cases[i].source,
                         why_of(cases[i].source));
}

Test(es, a_bad_field_does_not_hide_the_fields_after_it)
{
    cr_assert_str_eq(why_of("{\"tags\":[1,\"x\"],\"id\":\"a\",\"_deleted\":false}"),
                     "field tags is not strings");
}

Test(es, unescapes_surrogates_and_replaces_lone_halves)
{
    const char text[] = "\"\\ud83d\\ude00 \\ud83d \\u00e9\\n\"";
    struct ls_json json = ls_json_begin(text, strlen(text));
    struct ls_span got;
    cr_assert(ls_json_string(&json, &arena, &got));
    cr_assert_eq(got.len, strlen("\xf0\x9f\x98\x80 \xef\xbf\xbd \xc3\xa9\n"));
    cr_assert_eq(memcmp(got.data, "\xf0\x9f\x98\x80 \xef\xbf\xbd \xc3\xa9\n", got.len), 0);
}

Test(es, a_reader_refuses_what_is_no_json)
{
    const char *const bad[] = {"",    "{",   "{\"a\"}",  "[1,]", "[1 2]",    "\"\\",
                               "tru", "{,}", "\"a\nb\"", "[}",   "{\"a\":}", "nul"};
    for (size_t i = 0; i < LS_COUNT(bad); i++) {
        struct ls_json json = ls_json_begin(bad[i], strlen(bad[i]));
        cr_expect_not(ls_json_skip(&json, NULL), "%s", bad[i]);
        cr_expect(json.failed);
    }
    char deep[300];
    memset(deep, '[', sizeof(deep));
    struct ls_json json = ls_json_begin(deep, sizeof(deep));
    cr_expect_not(ls_json_skip(&json, NULL), "depth is bounded");
}

#define ITEM(status) "{\"index\":{\"status\":" #status "}}"
#define REFUSED(status, type, reason)                                          \
    "{\"index\":{\"error\":{\"type\":\"" type "\",\"reason\":\"" reason "\"}," \
    "\"status\":" #status "}}"

Test(es, reply_gives_each_item_its_own_status_in_order)
{
    const char reply[] = "{\"errors\":true,\"items\":[" ITEM(201) "," REFUSED(
        409, "version_conflict_engine_exception", "[a]: current") ", " ITEM(200) "]}";
    struct ls_es_item items[3];
    struct ls_err err = {0};
    cr_assert_eq(ls_es_reply_read(reply, strlen(reply), items, 3, &err), 0, "%s", err.text);
    cr_assert_eq(items[0].status, 201);
    cr_assert_eq(items[1].status, 409);
    cr_assert(ls_json_is(items[1].type, "version_conflict_engine_exception"));
    cr_assert_eq(items[2].status, 200);
    cr_assert_eq(items[2].type.len, 0);
}

Test(es, reply_with_another_number_of_items_tells_nothing)
{
    const char reply[] = "{\"items\":[" ITEM(201) "," ITEM(201) "]}";
    struct ls_es_item items[3];
    for (size_t n = 0; n < 4; n++) {
        struct ls_err err = {0};
        int rc = ls_es_reply_read(reply, strlen(reply), items, n, &err);
        cr_expect_eq(rc, n == 2 ? 0 : -1);
        cr_expect_eq(err.class, n == 2 ? LS_ERR_NONE : LS_ERR_RETRY);
    }
}

Test(es, every_cut_of_a_reply_is_refused)
{
    const char reply[] = "{\"items\":[" ITEM(201) "," REFUSED(400, "x_exception", "why") "]}";
    struct ls_es_item items[2];
    for (size_t len = 0; len < strlen(reply); len++) {
        struct ls_err err = {0};
        cr_expect_eq(ls_es_reply_read(reply, len, items, 2, &err), -1, "%zu", len);
    }
}

Test(es, an_item_without_status_is_not_taken_for_success)
{
    const char reply[] = "{\"items\":[{\"index\":{}},{},{\"index\":{\"status\":\"201\"}}]}";
    struct ls_es_item items[3] = {{.status = 201}};
    struct ls_err err = {0};
    if (ls_es_reply_read(reply, strlen(reply), items, 3, &err) == 0)
        for (size_t i = 0; i < 3; i++)
            cr_expect_neq(ls_es_judge(items[i].status, "", 0).verdict, LS_APPLIED);
}

Test(es, reasons_are_bounded_and_lose_the_refused_value)
{
    const char reply[] =
        "{\"items\":[" REFUSED(400, "document_parsing_exception",
                               "[1:17] failed to parse field [points] of type [long]. Preview of "
                               "field's value: 'secret'") "]}";
    struct ls_es_item item;
    struct ls_err err = {0};
    cr_assert_eq(ls_es_reply_read(reply, strlen(reply), &item, 1, &err), 0);
    cr_assert_null(memmem(item.reason.data, item.reason.len, "secret", 6));
    cr_assert_not_null(memmem(item.reason.data, item.reason.len, "[points]", 8));
}

static void expect_judged(long status, const char *type, enum ls_verdict verdict,
                          enum ls_err_class class)
{
    struct ls_es_judgement judged = ls_es_judge(status, type, strlen(type));
    cr_expect_eq(judged.verdict, verdict, "%ld %s: %s", status, type,
                 ls_verdict_name(judged.verdict));
    cr_expect_eq(judged.class, class, "%ld %s: %s", status, type, ls_err_class_name(judged.class));
}

Test(es, errors_are_judged_by_type)
{
    expect_judged(201, "", LS_APPLIED, LS_ERR_NONE);
    expect_judged(409, "version_conflict_engine_exception", LS_STALE, LS_ERR_NONE);
    expect_judged(409, "something_else_exception", LS_RETRY, LS_ERR_UNKNOWN);
    expect_judged(400, "version_conflict_engine_exception", LS_RETRY, LS_ERR_UNKNOWN);
    expect_judged(400, "document_parsing_exception", LS_POISON, LS_ERR_POISON);
    expect_judged(400, "mapper_parsing_exception", LS_POISON, LS_ERR_POISON);
    expect_judged(400, "strict_dynamic_mapping_exception", LS_FATAL, LS_ERR_FATAL);
    expect_judged(404, "index_not_found_exception", LS_FATAL, LS_ERR_FATAL);
    expect_judged(400, "routing_missing_exception", LS_FATAL, LS_ERR_FATAL);
    expect_judged(403, "cluster_block_exception", LS_RETRY, LS_ERR_RETRY);
    expect_judged(403, "security_exception", LS_FATAL, LS_ERR_FATAL);
    expect_judged(401, "", LS_FATAL, LS_ERR_FATAL);
    expect_judged(429, "es_rejected_execution_exception", LS_RETRY, LS_ERR_RETRY);
    expect_judged(429, "circuit_breaking_exception", LS_RETRY, LS_ERR_RETRY);
    expect_judged(503, "", LS_RETRY, LS_ERR_RETRY);
    expect_judged(500, "document_parsing_exception", LS_RETRY, LS_ERR_RETRY);
    expect_judged(400, "brand_new_exception", LS_RETRY, LS_ERR_UNKNOWN);
    expect_judged(0, "", LS_RETRY, LS_ERR_UNKNOWN);
}

Test(es, refusals_for_load_are_told_from_outages)
{
    static const struct {
        long status;
        const char *type;
        bool overload;
    } cases[] = {
        {429, "es_rejected_execution_exception", true},
        {429, "circuit_breaking_exception", true},
        {503, "circuit_breaking_exception", true},
        {429, "", true},
        {429, "cluster_block_exception", false}, /* the disk is full */
        {503, "", false},
        {403, "cluster_block_exception", false},
    };
    for (size_t i = 0; i < LS_COUNT(cases); i++)
        cr_expect_eq(ls_es_judge(cases[i].status, cases[i].type, strlen(cases[i].type)).overload,
                     cases[i].overload, "%ld %s", cases[i].status, cases[i].type);
}

Test(es, a_missing_index_names_the_command_that_makes_it)
{
    const char body[] = "{\"error\":{\"type\":\"index_not_found_exception\",\"reason\":\"no such "
                        "index [m]\"},\"status\":404}";
    struct ls_err err = {0};
    cr_assert_eq(ls_es_reply_err(&err, 404, body, strlen(body)), -1);
    cr_assert_eq(err.class, LS_ERR_FATAL);
    cr_assert_eq(err.code, 404);
    cr_assert_str_eq(err.name, "index_not_found_exception");
    cr_assert_not_null(strstr(err.text, "no such index [m]; `lockstep schema apply` creates it"));
}

/* What is said of readers, where the alias is answered to be there; a `%` stands for the right
 * filter. */
static bool readers(const char *reply, char *text, size_t size)
{
    struct ls_entity_config entity = {.name = (char *)(uintptr_t) "thing", .schema = schema};
    struct ls_sink_config sink = {.entity = &entity,
                                  .index = (char *)(uintptr_t) "thing-000001",
                                  .alias = (char *)(uintptr_t) "thing"};
    LS_CLEANUP_FREE char *filter = ls_es_alias_filter(schema);
    ls_buf_clear(&buf);
    for (; *reply != '\0'; reply++) {
        if (*reply == '%')
            ls_buf_append_str(&buf, filter);
        else
            ls_buf_append_char(&buf, *reply);
    }
    json_t *root = json_loads(ls_buf_cstr(&buf), 0, NULL);
    cr_assert_not_null(root, "%s", ls_buf_cstr(&buf));
    bool wrong = ls_es_setup_readers(&sink, root, text, size);
    json_decref(root);
    return wrong;
}

Test(es, an_alias_that_is_not_as_it_was_made_is_told_with_what_to_do)
{
#define AT(index, filter) "\"" index "\":{\"aliases\":{\"thing\":{" filter "}}}"
#define FILTER            "\"filter\":%"
    static const struct {
        const char *reply, *said;
        bool wrong;
    } cases[] = {
        {"{" AT("thing-000001", FILTER) "}", "", false},
        {"{\"error\":\"alias [thing] missing\",\"status\":404}",
         "no index has the alias thing: readers find nothing; `lockstep schema apply` puts it on",
         true},
        {"{" AT("thing-000002", FILTER) "}", "readers do not see index thing-000001", false},
        {"{" AT("thing-000002", FILTER) "," AT("thing-000001", FILTER) "}", "members twice", true},
        {"{" AT("thing-000001", "") "}", "does not hide deleted documents and marks", true},
    };
    for (size_t i = 0; i < LS_COUNT(cases); i++) {
        char text[LS_LANE_WARNING_MAX] = "?";
        cr_expect_eq(readers(cases[i].reply, text, sizeof(text)), cases[i].wrong, "%s", text);
        cr_expect(strstr(text, cases[i].said) != NULL, "%s", text);
        cr_expect_eq(text[0] == '\0', cases[i].said[0] == '\0', "%s", text);
    }
}

Test(es, a_request_that_can_be_no_smaller_and_is_too_large_says_which_limits_to_raise)
{
    struct ls_err err = {0};
    cr_assert_eq(ls_es_reply_err(&err, 413, "", 0), -1);
    cr_assert_eq(err.class, LS_ERR_FATAL);
    cr_assert_eq(err.code, 413);
    cr_assert_not_null(strstr(err.text, "raise http.max_content_length"), "%s", err.text);
}

Test(es, a_full_disk_says_what_a_person_does_about_it)
{
    static const char type[] = "cluster_block_exception";
    cr_expect_not_null(strstr(ls_es_judge(429, type, strlen(type)).advice, "free disk space"));
    cr_expect_not_null(strstr(ls_es_judge(403, type, strlen(type)).advice, "lift the block"));
}

Test(es, an_answer_that_is_no_json_is_an_error_all_the_same)
{
    struct ls_err err = {0};
    cr_assert_eq(ls_es_reply_err(&err, 502, "<html>", 6), -1);
    cr_assert_eq(err.class, LS_ERR_RETRY);
    cr_assert_eq(err.code, 502);
    cr_assert_str_eq(err.name, "");
    cr_assert_eq(ls_es_reply_err(&err, 404, NULL, 0), -1);
    cr_assert_eq(err.class, LS_ERR_UNKNOWN);
}
