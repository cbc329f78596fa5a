/* What people see of a quarantined record: personal fields masked, nothing that a terminal acts on.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "cli/quarantine_filter.h"
#include "cli/quarantine_view.h"
#include "schema/key.h"
#include "tests/unit/schema_fixture.h"

static struct ls_schema *schema;
static char member[] = "member", mysql[] = "mysql";
static struct ls_entity_config entity = {.name = member, .generation = 1, .partitions = 8};
static struct ls_sink_config sink = {.name = mysql, .entity = &entity};
static struct ls_arena arena;
static struct ls_buf buf, wire;

static void start(void)
{
    static const char text[] = "entity: member\nversion: 1\nredis_prefix: m\n"
                               "expected_records: 1000\naverage_bytes: 100\nfields:\n"
                               "  - {number: 1, name: id, type: string, key: true}\n"
                               "  - {number: 2, name: name, type: string, length: 100, pii: true}\n"
                               "  - {number: 3, name: city, type: string, length: 100}\n";
    entity.schema = schema = schema_of(text);
}

static void stop(void)
{
    ls_schema_free(schema);
    ls_arena_free(&arena);
    ls_buf_free(&buf);
    ls_buf_free(&wire);
}

TestSuite(quarantine_view, .init = start, .fini = stop);

static struct ls_span span(const char *text)
{
    return (struct ls_span){text, (uint32_t)strlen(text)};
}

static const char *reason(const char *text, bool show_pii)
{
    ls_buf_clear(&buf);
    ls_quarantine_print_reason(schema, span(text), show_pii, &buf);
    return ls_buf_cstr(&buf);
}

Test(quarantine_view, a_reason_keeps_names_of_fields_and_masks_what_it_quotes)
{
    cr_expect_str_eq(reason("Data too long for column 'name' at row 1", false),
                     "Data too long for column 'name' at row 1");
    cr_expect_str_eq(reason("Incorrect string value: 'Ana' for column `name` at row 1", false),
                     "Incorrect string value: '***' for column `name` at row 1");
    cr_expect_str_eq(
        reason("failed to parse field 'city' in document '7'. Preview: 'O'Brien'", false),
        "failed to parse field 'city' in document '***'");
    cr_expect_str_eq(reason("For input string: \"Ana", false), "For input string: \"***");
    cr_expect_str_eq(reason("For input string: \"Ana\"", true), "For input string: \"Ana\"");
    cr_expect_str_eq(reason("", false), "");
}

Test(quarantine_view, without_personal_fields_nothing_is_masked)
{
    schema->fields[0].pii = false;
    cr_expect_str_eq(reason("bad value: 'Ana'", false), "bad value: 'Ana'");
}

static struct ls_quarantine_entry entry_of(void)
{
    struct ls_envelope envelope = {.schema_version = 1};
    struct ls_value values[2] = {{.present = true, .text = span("Ana \x1b[2J")},
                                 {.present = true, .text = span("Lima\x1b[2J\n\xc2\x9b")}};
    ls_wire_encode(schema, &envelope, values, &wire);
    return (struct ls_quarantine_entry){
        .partition = 3,
        .offset = 41,
        .version = ls_version(1, 41),
        .at_ms = 1000000,
        .since_ms = 1001000,
        .key = span("k\x1b[31m\xff"),
        .reject = LS_REJECT_STORE,
        .class = span("store"),
        .text = span("too\nlong"),
        .attempts = 2,
        .body = {wire.data, (uint32_t)wire.len},
    };
}

static bool has_control(const char *text)
{
    for (; *text != '\0'; text++)
        if (((unsigned char)*text < 0x20 && *text != '\n') || *text == 0x7f)
            return true;
    return strstr(text, "\xc2\x9b") != NULL;
}

Test(quarantine_view, nothing_of_a_record_reaches_the_terminal_as_control)
{
    struct ls_quarantine_entry entry = entry_of();
    for (int pii = 0; pii < 2; pii++) {
        ls_buf_clear(&buf);
        ls_quarantine_print_line(&sink, &entry, 2000000, pii, &buf);
        cr_expect_eq(strchr(ls_buf_cstr(&buf), '\n'), buf.data + buf.len - 1, "one line");
        ls_quarantine_print_entry(&sink, &entry, 2000000, pii, &arena, &buf);
        cr_expect_not(has_control(ls_buf_cstr(&buf)), "%s", buf.data);
        cr_expect_eq(strstr(buf.data, "Ana") != NULL, pii == 1);
        cr_expect_not_null(strstr(buf.data, "Lima"));
    }
}

Test(quarantine_view, bytes_that_cannot_be_read_are_masked_where_they_may_be_personal)
{
    struct ls_quarantine_entry entry = entry_of();
    entry.body = span("\xc1 Ana Secret");
    ls_quarantine_print_entry(&sink, &entry, 2000000, false, &arena, &buf);
    ls_quarantine_print_json(&sink, &entry, false, true, &arena, &buf);
    cr_expect_null(strstr(ls_buf_cstr(&buf), "Secret"), "%s", buf.data);
    cr_expect_null(strstr(buf.data, "hex"));
    ls_quarantine_print_entry(&sink, &entry, 2000000, true, &arena, &buf);
    ls_quarantine_print_json(&sink, &entry, true, true, &arena, &buf);
    cr_expect_not_null(strstr(ls_buf_cstr(&buf), "Secret"));
    cr_expect_not_null(strstr(buf.data, "c120416e61"));
}

Test(quarantine_view, a_key_that_is_personal_is_masked)
{
    struct ls_quarantine_entry entry = entry_of();
    entry.key = span("ana@example.com");
    schema->key.pii = true;
    ls_quarantine_print_line(&sink, &entry, 2000000, false, &buf);
    ls_quarantine_print_entry(&sink, &entry, 2000000, false, &arena, &buf);
    ls_quarantine_print_json(&sink, &entry, false, true, &arena, &buf);
    cr_expect_null(strstr(ls_buf_cstr(&buf), "ana@"), "%s", buf.data);
}

Test(quarantine_view, how_long_a_masked_key_is_stays_to_be_seen)
{
    struct ls_quarantine_entry entry = entry_of();
    entry.key = span("ana@example.com");
    schema->key.pii = true;
    ls_quarantine_print_entry(&sink, &entry, 2000000, false, &arena, &buf);
    cr_expect_not_null(strstr(ls_buf_cstr(&buf), "key: *** (15 bytes)\n"), "%s", buf.data);
    ls_buf_clear(&buf);
    ls_quarantine_print_json(&sink, &entry, false, true, &arena, &buf);
    cr_expect_not_null(strstr(ls_buf_cstr(&buf), "\"key\":\"***\",\"key_bytes\":15"), "%s",
                       buf.data);
    cr_expect_str_eq(reason("key: 70000 bytes, more than the 255 that a key may have", false),
                     "key: 70000 bytes, more than the 255 that a key may have");
}

Test(quarantine_view, a_null_value_is_said_to_be_one)
{
    struct ls_quarantine_entry entry = entry_of();
    entry.reject = LS_REJECT_NULL_VALUE;
    entry.class = span("null-value");
    entry.body = span("");
    ls_quarantine_print_entry(&sink, &entry, 2000000, false, &arena, &buf);
    cr_expect_not_null(strstr(ls_buf_cstr(&buf), "record: none, its value is null"), "%s",
                       buf.data);
    cr_expect_null(strstr(buf.data, "0 bytes"), "%s", buf.data);
    ls_buf_clear(&buf);
    ls_quarantine_print_json(&sink, &entry, false, true, &arena, &buf);
    cr_expect_not_null(strstr(ls_buf_cstr(&buf), "\"null\":true"), "%s", buf.data);
}

TestSuite(quarantine_filter);

Test(quarantine_filter, times_are_utc_or_ago)
{
    int64_t ms = 0;
    cr_expect(ls_quarantine_parse_time("1970-01-02", 0, &ms));
    cr_expect_eq(ms, 86400000);
    cr_expect(ls_quarantine_parse_time("1970-01-02 01:30", 0, &ms));
    cr_expect_eq(ms, 86400000 + 5400000);
    cr_expect(ls_quarantine_parse_time("1970-01-02T01:30:05Z", 0, &ms));
    cr_expect_eq(ms, 86400000 + 5405000);
    cr_expect(ls_quarantine_parse_time("2h", 10000000, &ms));
    cr_expect_eq(ms, 2800000);
    static const char *const bad[] = {"", "h", "2", "2w", "-2h", "tomorrow", "1970-13-01", "2h "};
    for (size_t i = 0; i < LS_COUNT(bad); i++)
        cr_expect_not(ls_quarantine_parse_time(bad[i], 10000000, &ms), "'%s'", bad[i]);
}

Test(quarantine_filter, positions_are_partition_and_offset)
{
    int32_t partition;
    int64_t offset;
    cr_expect(ls_quarantine_parse_position("3/1042", &partition, &offset));
    cr_expect(partition == 3 && offset == 1042);
    static const char *const bad[] = {"", "3", "3/", "/3", "1024/1", "3/1x", "a/b", "3/-1"};
    for (size_t i = 0; i < LS_COUNT(bad); i++)
        cr_expect_not(ls_quarantine_parse_position(bad[i], &partition, &offset), "'%s'", bad[i]);
}

Test(quarantine_filter, all_that_is_given_must_hold)
{
    struct ls_quarantine_entry entry = {
        .partition = 3, .offset = 41, .since_ms = 1000, .class = {"store", 5}, .key = {"k", 1}};
    struct ls_quarantine_filter filter = {.partition = -1, .offset = -1};
    cr_expect(ls_quarantine_filter_is_empty(&filter));
    cr_expect(ls_quarantine_filter_takes(&filter, &entry));
    filter = (struct ls_quarantine_filter){.class = "store",
                                           .key = "k",
                                           .since_ms = 1000,
                                           .until_ms = 1001,
                                           .partition = 3,
                                           .offset = 41};
    cr_expect(ls_quarantine_filter_takes(&filter, &entry));
    struct ls_quarantine_filter others[] = {filter, filter, filter, filter, filter, filter};
    others[0].class = "schema";
    others[1].key = "kk";
    others[2].since_ms = 1001;
    others[3].until_ms = 1000;
    others[4].partition = 4;
    others[5].offset = 42;
    for (size_t i = 0; i < LS_COUNT(others); i++)
        cr_expect_not(ls_quarantine_filter_takes(&others[i], &entry), "%zu", i);
}
