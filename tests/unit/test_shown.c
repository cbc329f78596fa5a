/* What commands print of records, stores and workers, where these hold what a terminal acts on. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "cli/quarantine_view.h"
#include "consumers/verify.h"
#include "pipeline/status.h"
#include "schema/key.h"
#include "tests/unit/schema_fixture.h"

#define BAD  "a\x1b[2J\xe2\x80\xaez\xc2\x9b"
#define SEEN "a\\x1b[2J\\u202ez\\u009b"

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
                               "  - {number: 2, name: city, type: string, length: 100}\n";
    entity.schema = schema = schema_of(text);
}

static void stop(void)
{
    ls_schema_free(schema);
    ls_arena_free(&arena);
    ls_buf_free(&buf);
    ls_buf_free(&wire);
}

TestSuite(shown, .init = start, .fini = stop);

/* Exactly n times as it is shown, and never as it is. */
static void expect_seen(const char *as, int n)
{
    const char *text = ls_buf_cstr(&buf);
    cr_expect_null(strchr(text, '\x1b'), "%s", text);
    cr_expect_null(strstr(text, "\xe2\x80\xae"), "%s", text);
    cr_expect_null(strstr(text, "\xc2\x9b"), "%s", text);
    for (; (text = strstr(text, as)) != NULL; text++)
        n--;
    cr_expect_eq(n, 0, "%d left: %s", n, buf.data);
}

static struct ls_quarantine_entry entry(void)
{
    struct ls_envelope envelope = {.schema_version = 1};
    struct ls_value values[1] = {{.present = true, .text = {BAD, sizeof(BAD) - 1}}};
    ls_wire_encode(schema, &envelope, values, &wire);
    return (struct ls_quarantine_entry){
        .key = {BAD, sizeof(BAD) - 1},
        .reject = LS_REJECT_STORE,
        .class = {"store", 5},
        .text = {BAD, sizeof(BAD) - 1},
        .body = {wire.data, (uint32_t)wire.len},
    };
}

Test(shown, keys_reasons_and_fields_of_the_quarantine)
{
    struct ls_quarantine_entry one = entry();
    ls_quarantine_print_line(&sink, &one, 0, false, &buf);
    expect_seen(SEEN, 2);
    ls_buf_clear(&buf);
    ls_quarantine_print_entry(&sink, &one, 0, false, &arena, &buf);
    expect_seen(SEEN, 3);
}

Test(shown, json_of_the_quarantine_gives_the_bytes_of_the_key_back)
{
    struct ls_quarantine_entry one = entry();
    ls_quarantine_print_json(&sink, &one, false, true, &arena, &buf);
    expect_seen("\"a\\u001B[2J\\u202ez\\u009b\"", 2); /* key and field */
}

static const char verify_error[] = "cannot read " BAD;

Test(shown, keys_and_reasons_in_a_report_of_verify)
{
    struct ls_verify_example example = {.difference = LS_DIFF_UNDECODABLE, .offset = -1};
    snprintf(example.key, sizeof(example.key), "%s", BAD);
    snprintf(example.why, sizeof(example.why), "%s", BAD);
    struct ls_verify_report report = {.sink = &sink, .examples = &example, .n_examples = 1};
    report.err.class = LS_ERR_RETRY;
    snprintf(report.err.text, sizeof(report.err.text), "%s", verify_error);
    const struct ls_verify_report *reports[] = {&report};
    struct ls_verify_format format = {0};
    ls_verify_table(reports, 1, &format, &buf);
    expect_seen(SEEN, 3);
    ls_buf_clear(&buf);
    ls_verify_json(reports, 1, &format, &buf);
    expect_seen("a\\u001B[2J\\u202ez\\u009b\"", 3);
}

Test(shown, what_workers_say_of_themselves_in_status)
{
    struct ls_heartbeat beats[2] = {0};
    snprintf(beats[0].instance, sizeof(beats[0].instance), "%s", BAD);
    struct ls_status_sink status = {
        .sink = &sink, .state = LS_SINK_HALTED, .instances = beats, .n_instances = 2};
    snprintf(status.reason, sizeof(status.reason), "%s", BAD);
    snprintf(status.last_error, sizeof(status.last_error), "%s!", BAD);
    snprintf(status.breaker, sizeof(status.breaker), "\x1b[2J");
    ls_status_table(&status, 1, 0, &buf);
    expect_seen(SEEN, 3);
    ls_buf_clear(&buf);
    ls_status_json(&status, 1, 0, &buf);
    expect_seen("\"a\\u001B[2J\\u202ez\\u009b", 3);
}

Test(shown, an_error_quotes_nothing_that_a_terminal_acts_on)
{
    struct ls_err err = {0};
    ls_err_set(&err, LS_ERR_FATAL, 0, "listen: %s is no address", BAD);
    cr_expect_str_eq(err.text, "listen: " SEEN " is no address");
    ls_err_prefix(&err, "%s:3", "\xe2\x80\xae.yaml");
    cr_expect_str_eq(err.text, "\\u202e.yaml:3: listen: " SEEN " is no address");
}

Test(shown, an_error_that_is_cut_stays_utf_8)
{
    struct ls_err err = {0};
    char longer[sizeof(err.text) * 2];
    for (size_t i = 0; i + 2 < sizeof(longer); i += 2)
        memcpy(longer + i, "\xc3\xa9", 3);
    ls_err_set(&err, LS_ERR_FATAL, 0, "%s", longer);
    cr_expect_eq(ls_utf8_length(err.text, strlen(err.text)), (int64_t)(sizeof(err.text) - 1) / 2);
}
