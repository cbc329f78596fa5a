/* Text from outside: nothing that a terminal acts on gets through, all else stays. */
#include <criterion/criterion.h>
#include <jansson.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

/* One of each kind: of direction, no width, line ends, BOM, C1, DEL, tags. */
#define HIDDEN                                                                               \
    "\xe2\x80\xae \xe2\x81\xa6 \xe2\x80\x8b \xe2\x80\x8f \xe2\x80\xa8 \xe2\x80\xa9 \xef\xbb" \
    "\xbf \xc2\x9b \x7f \xf3\xa0\x81\x81"

static const char *shown(struct ls_buf *buf, const char *text)
{
    ls_buf_clear(buf);
    ls_text_show(buf, text, strlen(text));
    return ls_buf_cstr(buf);
}

Test(text, what_a_terminal_acts_on_is_written_as_an_escape)
{
    struct ls_buf buf = {0};
    cr_expect_str_eq(shown(&buf, HIDDEN),
                     "\\u202e \\u2066 \\u200b \\u200f \\u2028 \\u2029 \\ufeff \\u009b \\x7f "
                     "\\ue0041");
    cr_expect_str_eq(shown(&buf, "a\x1b[2Jb\r\n"), "a\\x1b[2Jb\\x0d\\x0a");
    cr_expect_str_eq(shown(&buf, "\xff\xe4\xb8"), "???");
    cr_expect_str_eq(shown(&buf, ""), "");
    ls_buf_free(&buf);
}

Test(text, texts_of_every_language_stay_and_so_does_what_was_escaped)
{
    static const char *const texts[] = {"caf\xc3\xa9", "\xe5\xbc\xa0\xe4\xbc\x9f",
                                        "\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d", "\xf0\x9f\x98\x80",
                                        "C:\\dir \\u202e \\x1b"};
    struct ls_buf buf = {0};
    for (size_t i = 0; i < LS_COUNT(texts); i++)
        cr_expect_str_eq(shown(&buf, texts[i]), texts[i]);
    ls_buf_free(&buf);
}

Test(text, a_bounded_text_ends_with_a_whole_character_or_escape)
{
    char small[8] = "abcdef\x1b";
    ls_text_tidy(small, sizeof(small));
    cr_expect_str_eq(small, "abcdef");
    char cut[6] = "abc\xe5\xbc";
    ls_text_tidy(cut, sizeof(cut));
    cr_expect_str_eq(cut, "abc");
    char room[16] = "a\nb\xff";
    ls_text_tidy(room, sizeof(room));
    cr_expect_str_eq(room, "a\\x0ab?");
    char nothing[4] = "\x1b\x1b";
    ls_text_tidy(nothing, sizeof(nothing));
    cr_expect_str_eq(nothing, "");
}

Test(text, json_keeps_its_values_and_has_nothing_that_a_terminal_acts_on)
{
    json_t *before = json_pack("{s:s, s:s}", "key", HIDDEN, "name", "\xe5\xbc\xa0");
    char *text = json_dumps(before, JSON_INDENT(2));
    struct ls_buf buf = {0};
    ls_text_show_json(&buf, text, strlen(text));
    json_t *after = json_loadb(buf.data, buf.len, 0, NULL);
    cr_expect(json_equal(before, after), "%s", ls_buf_cstr(&buf));
    cr_expect_not_null(strstr(ls_buf_cstr(&buf), "\\u202e \\u2066"), "%s", buf.data);
    cr_expect_not_null(strstr(buf.data, "\\udb40\\udc41"), "%s", buf.data);
    cr_expect_not_null(strstr(buf.data, "\xe5\xbc\xa0"));
    cr_expect_not_null(strchr(buf.data, '\n'), "an indented document stays one");
    json_decref(before);
    json_decref(after);
    free(text);
    ls_buf_free(&buf);
}

Test(text, log_lines_have_it_escaped_in_both_formats)
{
    static const struct ls_log_pair pairs[] = {{"key", "x\xe2\x80\xaey"}, {"text", "a\n\x9b\""}};
    struct ls_buf buf = {0};
    ls_log_line(&buf, LS_LOG_TEXT, 0, LS_LOG_WARN, "m", pairs, LS_COUNT(pairs));
    cr_expect_not_null(strstr(ls_buf_cstr(&buf), "key=x\\u202ey text=\"a\\x0a?\\\"\""), "%s",
                       buf.data);
    ls_buf_clear(&buf);
    ls_log_line(&buf, LS_LOG_JSON, 0, LS_LOG_WARN, "m", pairs, LS_COUNT(pairs));
    cr_expect_not_null(strstr(ls_buf_cstr(&buf), "\"x\\u202ey\",\"text\":\"a\\n?\\\"\""), "%s",
                       buf.data);
    ls_buf_free(&buf);
}
