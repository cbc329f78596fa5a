/* What `verify` prints of what it found: to people, and to programs. Nothing is compared here. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

#include "base/mem.h"
#include "consumers/verify.h"
#include "schema/key.h"

static struct ls_schema schema = {.entity = (char *)"member"};
static struct ls_entity_config entity = {
    .name = (char *)"member", .generation = 1, .partitions = 4, .schema = &schema};
static struct ls_sink_config sink = {
    .name = (char *)"fake", .kind = LS_SINK_MYSQL, .entity = &entity};

static struct ls_verify_report printed(const char *name, struct ls_sink_config *own)
{
    *own = sink;
    own->name = (char *)(uintptr_t)name;
    return (struct ls_verify_report){
        .sink = own,
        .live = 85021,
        .deleted = 1219,
        .seconds = 3.21,
        .finished = true,
        .counts = {[LS_DIFF_EQUAL] = 86240},
    };
}

static char *table_of(struct ls_verify_report *one, struct ls_verify_report *two, bool show_pii)
{
    const struct ls_verify_report *reports[] = {one, two};
    struct ls_verify_format format = {.show_pii = show_pii};
    struct ls_buf buf = {0};
    ls_verify_table(reports, 2, &format, &buf);
    return (char *)(uintptr_t)ls_buf_cstr(&buf);
}

Test(verify_report, prints_a_table_and_one_line_when_all_is_equal)
{
    struct ls_sink_config a, b;
    struct ls_verify_report one = printed("mysql", &a), two = printed("es-primary", &b);
    LS_CLEANUP_FREE char *text = table_of(&one, &two, false);
    cr_expect_str_eq(text,
                     "SINK            MEMBERS      DELETED        EQUAL      SECONDS\n"
                     "mysql            85,021        1,219       86,240          3.2\n"
                     "es-primary       85,021        1,219       86,240          3.2\n"
                     "\n"
                     "All 2 sinks equal the log: 85,021 members, 1,219 deleted, compared in full "
                     "by version and content.\n");
}

Test(verify_report, prints_what_is_wrong_and_what_mends_it)
{
    struct ls_sink_config a, b;
    struct ls_verify_report one = printed("mysql", &a), two = printed("es-primary", &b);
    struct ls_verify_example example = {
        .difference = LS_DIFF_MISSING,
        .key = "m\033[31m1",
        .shard = 9,
        .offset = 77,
        .log = {true, false, ls_version(1, 77), 0xabc},
        .why = "",
    };
    one.counts[LS_DIFF_MISSING] = 2;
    one.examples = &example;
    one.n_examples = 1;
    ls_err_set(&two.err, LS_ERR_RETRY, 0, "connection refused");
    LS_CLEANUP_FREE char *text = table_of(&one, &two, false);
    cr_expect(strstr(text, "MISSING") != NULL);
    cr_expect(strstr(text, "DIVERGED") == NULL, "a column without a number in it");
    cr_expect(strstr(text, "mysql differs from the log: 2 missing.\n") != NULL);
    cr_expect(strstr(text, "lockstep resync --sink mysql") != NULL);
    cr_expect(strstr(text, "es-primary: could not tell: connection refused\n") != NULL);
    cr_expect(strstr(text, "0 of 2 sinks equal the log.\n") != NULL);
    cr_expect(strstr(text,
                     "mysql missing m\\x1b[31m1 (shard 9, partition 1 offset 77): the log has "
                     "version 1:77 hash 0000000000000abc, the store has none\n") != NULL,
              "%s", text);
}

Test(verify_report, says_what_a_resync_mends_and_what_it_leaves)
{
    struct ls_sink_config a, b;
    struct ls_verify_report one = printed("mysql", &a), two = printed("redis-a", &b);
    one.counts[LS_DIFF_DIVERGED] = 1;
    two.counts[LS_DIFF_AHEAD] = 1;
    LS_CLEANUP_FREE char *text = table_of(&one, &two, false);
    cr_expect(strstr(text, "mysql differs from the log: 1 diverged.\n"
                           "  Mend it with `lockstep resync --sink mysql`, which writes what is "
                           "missing, older, or other at the log's version.\n"
                           "redis-a differs from the log: 1 ahead.\n"
                           "  A resync leaves what is newer than the log") != NULL,
              "%s", text);
}

Test(verify_report, tells_when_elasticsearch_refuses_what_was_deleted_by_hand)
{
    struct ls_sink_config a, b;
    struct ls_verify_report one = printed("mysql", &a), two = printed("es-primary", &b);
    a.kind = LS_SINK_MYSQL;
    b.kind = LS_SINK_ES;
    one.counts[LS_DIFF_MISSING] = 1;
    LS_CLEANUP_FREE char *other = table_of(&one, &two, false);
    cr_expect(strstr(other, "gc_deletes") == NULL, "%s", other);
    two.counts[LS_DIFF_MISSING] = 1;
    LS_CLEANUP_FREE char *text = table_of(&one, &two, false);
    cr_expect(strstr(text, "index.gc_deletes is not 0s") != NULL, "%s", text);
}

Test(verify_report, what_cannot_be_decoded_has_no_hash)
{
    struct ls_sink_config a, b;
    struct ls_verify_report one = printed("redis-a", &a), two = printed("redis-b", &b);
    struct ls_verify_example example = {
        .difference = LS_DIFF_UNDECODABLE,
        .key = "k",
        .offset = -1,
        .store = {.found = true},
        .why = "the value is shorter than a version",
    };
    one.counts[LS_DIFF_UNDECODABLE] = 1;
    one.examples = &example;
    one.n_examples = 1;
    LS_CLEANUP_FREE char *text = table_of(&one, &two, false);
    cr_expect(strstr(text, "the store has no version; the value is shorter") != NULL, "%s", text);
}

Test(verify_report, masks_personal_keys_unless_asked)
{
    struct ls_sink_config a, b;
    struct ls_verify_report one = printed("mysql", &a), two = printed("es-primary", &b);
    struct ls_verify_example example = {.difference = LS_DIFF_EXTRA, .key = "secret", .offset = -1};
    one.counts[LS_DIFF_EXTRA] = 1;
    one.examples = &example;
    one.n_examples = 1;
    schema.key.pii = true;
    LS_CLEANUP_FREE char *masked = table_of(&one, &two, false);
    cr_expect(strstr(masked, "secret") == NULL);
    LS_CLEANUP_FREE char *open = table_of(&one, &two, true);
    cr_expect(strstr(open, "secret") != NULL);
    const struct ls_verify_report *reports[] = {&one};
    struct ls_buf json = {0};
    ls_verify_json(reports, 1, &(struct ls_verify_format){0}, &json);
    cr_expect(strstr(ls_buf_cstr(&json), "secret") == NULL);
    ls_buf_free(&json);
    schema.key.pii = false;
}

Test(verify_report, gives_versions_to_programs_as_strings)
{
    struct ls_sink_config a;
    struct ls_verify_report one = printed("mysql", &a);
    struct ls_verify_example example = {
        .difference = LS_DIFF_DIVERGED,
        .key = "k\xff",
        .shard = 9,
        .offset = 77,
        .log = {true, false, ls_version(1, 77), 1},
        .store = {true, true, ls_version(1, 76), 2},
    };
    one.counts[LS_DIFF_DIVERGED] = 1;
    one.examples = &example;
    one.n_examples = 1;
    const struct ls_verify_report *reports[] = {&one};
    struct ls_buf buf = {0};
    ls_verify_json(reports, 1, &(struct ls_verify_format){0}, &buf);
    json_t *root = json_loadb(buf.data, buf.len, 0, NULL);
    cr_assert_not_null(root);
    cr_expect(json_is_false(json_object_get(root, "equal")));
    json_t *item = json_array_get(json_object_get(root, "sinks"), 0);
    cr_expect_str_eq(json_string_value(json_object_get(item, "result")), "different");
    cr_expect_eq(json_integer_value(json_object_get(json_object_get(item, "counts"), "diverged")),
                 1);
    json_t *shown = json_array_get(json_object_get(item, "examples"), 0);
    cr_expect(json_is_null(json_object_get(shown, "key")), "not UTF-8");
    cr_expect_str_eq(json_string_value(json_object_get(json_object_get(shown, "log"), "version")),
                     "281474976710734");
    json_decref(root);
    ls_buf_free(&buf);
}
