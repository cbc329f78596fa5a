/* Log lines as text and JSON: nothing that a value holds can forge or break a line. */
#include <criterion/criterion.h>
#include <jansson.h>

#include "base/log.h"
#include "base/mem.h"

#define AT_US INT64_C(1700000000123456)

static const struct ls_log_pair pairs[] = {
    {"sink", "redis-a"},
    {"text", "two\nlines \"quoted\" \\ and \xff bad, caf\xc3\xa9"},
    {"left_out", NULL},
    {"empty", ""},
};

static char *line(enum ls_log_format format)
{
    struct ls_buf buf = {0};
    ls_log_line(&buf, format, AT_US, LS_LOG_WARN, "failure", pairs, LS_COUNT(pairs));
    return (char *)(uintptr_t)ls_buf_cstr(&buf);
}

Test(log, a_text_line_is_one_line_whatever_the_values_hold)
{
    char *text = line(LS_LOG_TEXT);
    cr_expect_str_eq(text, "2023-11-14T22:13:20.123Z warn failure sink=redis-a "
                           "text=\"two\\x0alines \\\"quoted\\\" \\\\ and ? bad, caf\xc3\xa9\" "
                           "empty=\"\"\n");
    free(text);
}

Test(log, a_json_line_is_an_object_that_gives_the_values_back)
{
    char *text = line(LS_LOG_JSON);
    json_error_t why;
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    cr_assert_not_null(object, "%s: %s", why.text, text);
    cr_expect_eq(strchr(text, '\n'), text + strlen(text) - 1);
    cr_expect_str_eq(json_string_value(json_object_get(object, "level")), "warn");
    cr_expect_str_eq(json_string_value(json_object_get(object, "time")),
                     "2023-11-14T22:13:20.123Z");
    cr_expect_str_eq(json_string_value(json_object_get(object, "message")), "failure");
    cr_expect_str_eq(json_string_value(json_object_get(object, "text")),
                     "two\nlines \"quoted\" \\ and ? bad, caf\xc3\xa9");
    cr_expect_null(json_object_get(object, "left_out"));
    json_decref(object);
    free(text);
}

Test(log, bytes_that_look_like_the_start_of_a_character_do_not_swallow_what_follows)
{
    static const struct ls_log_pair cut[] = {
        {"a", "\xe4\xb8"}, {"b", "\xc3\"x"}, {"c", "\xed\xa0\x80"}};
    struct ls_buf buf = {0};
    ls_log_line(&buf, LS_LOG_JSON, AT_US, LS_LOG_INFO, "m", cut, LS_COUNT(cut));
    json_error_t why;
    json_t *object = json_loads(ls_buf_cstr(&buf), 0, &why);
    cr_assert_not_null(object, "%s: %s", why.text, buf.data);
    cr_expect_str_eq(json_string_value(json_object_get(object, "a")), "??");
    cr_expect_str_eq(json_string_value(json_object_get(object, "b")), "?\"x");
    cr_expect_str_eq(json_string_value(json_object_get(object, "c")), "???");
    json_decref(object);
    ls_buf_free(&buf);
}
