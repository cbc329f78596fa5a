/* The base library: what everything else stands on. */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/progress.h"
#include "base/yaml.h"

Test(err, text_is_bounded_and_keeps_its_class)
{
    struct ls_err err = {0};
    char longer[2000];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    cr_assert_eq(ls_err_set(&err, LS_ERR_FATAL, 7, "%s", longer), -1);
    cr_assert_eq(strlen(err.text), sizeof(err.text) - 1);
    ls_err_prefix(&err, "where %d", 1);
    cr_assert_eq(strncmp(err.text, "where 1: xxx", 12), 0);
    cr_assert_eq(strlen(err.text), sizeof(err.text) - 1);
    cr_assert_eq(err.class, LS_ERR_FATAL);
    cr_assert_eq(err.code, 7);
}

Test(err, may_be_set_from_its_own_text)
{
    struct ls_err err = {0};
    ls_err_set(&err, LS_ERR_RETRY, 0, "inner");
    ls_err_set(&err, LS_ERR_RETRY, 0, "outer (%s)", err.text);
    cr_assert_str_eq(err.text, "outer (inner)");
}

Test(buf, appends_the_extremes_of_numbers)
{
    struct ls_buf buf = {0};
    ls_buf_append_i64(&buf, INT64_MIN);
    ls_buf_append_char(&buf, ' ');
    ls_buf_append_i64(&buf, 0);
    ls_buf_append_char(&buf, ' ');
    ls_buf_append_u64(&buf, UINT64_MAX);
    cr_assert_str_eq(ls_buf_cstr(&buf), "-9223372036854775808 0 18446744073709551615");
    ls_buf_free(&buf);
    cr_assert_str_eq(ls_buf_cstr(&buf), "");
    ls_buf_free(&buf);
}

Test(arena, keeps_its_chunks_over_resets_and_never_overlaps)
{
    struct ls_arena arena = {0};
    size_t footprint = 0;
    for (int round = 0; round < 3; round++) {
        unsigned char *blocks[200];
        for (unsigned i = 0; i < LS_COUNT(blocks); i++) {
            size_t size = i * 37 + (i == 100 ? 200000 : 1);
            blocks[i] = ls_arena_alloc(&arena, size);
            cr_assert_eq((uintptr_t)blocks[i] % 8, 0);
            memset(blocks[i], (int)i, size);
        }
        for (unsigned i = 0; i < LS_COUNT(blocks); i++)
            cr_assert_eq(blocks[i][0], (unsigned char)i);
        if (round == 1)
            footprint = ls_arena_footprint(&arena);
        if (round == 2)
            cr_assert_eq(ls_arena_footprint(&arena), footprint);
        ls_arena_reset(&arena);
    }
    ls_arena_free(&arena);
}

Test(backoff, stays_within_its_bounds)
{
    for (unsigned attempt = 0; attempt < 80; attempt++) {
        int64_t bound = attempt < 7 ? 50 << attempt : 5000;
        int64_t wait = ls_backoff_ms(attempt, 50, 5000);
        cr_assert(wait >= 0 && wait <= (bound < 5000 ? bound : 5000), "%" PRId64, wait);
    }
}

Test(human, rates_and_durations_read_well)
{
    char text[32];
    cr_assert_str_eq(ls_human_rate(12345, text, sizeof(text)), "12.3 k/s");
    cr_assert_str_eq(ls_human_rate(7, text, sizeof(text)), "7 /s");
    cr_assert_str_eq(ls_human_duration(80, text, sizeof(text)), "1 min 20 s");
    cr_assert_str_eq(ls_human_duration(7260, text, sizeof(text)), "2 h 1 min");
}

static struct ls_yaml *parse(const char *text, struct ls_err *err)
{
    struct ls_yaml *root = NULL;
    if (ls_yaml_parse("f.yaml", text, strlen(text), &root, err) < 0)
        return NULL;
    return root;
}

Test(yaml, nodes_know_their_lines)
{
    struct ls_err err = {0};
    struct ls_yaml *root = parse("a: 1\nlist:\n  - x\n  - {k: 'v'}\n", &err);
    cr_assert_not_null(root, "%s", err.text);
    struct ls_yaml *list = ls_yaml_get(root, "list");
    cr_assert_eq(list->n_items, 2);
    cr_assert_eq(list->items[1]->line, 4);
    cr_assert(ls_yaml_get(list->items[1], "k")->quoted);
    cr_assert_null(ls_yaml_get(root, "missing"));
    ls_yaml_free(root);
}

Test(yaml, what_is_wrong_is_said_with_file_and_line)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"a: 1\na: 2\n", "f.yaml:2: key 'a' is there twice"},
        {"", "f.yaml:1: the file is empty"},
        {"a: &x 1\nb: *x\n", "f.yaml:2: aliases are not supported"},
        {"a: 1\n---\nb: 2\n", "f.yaml:2: a second document"},
        {"a:\n\t- 1\n", "f.yaml:2: not valid YAML"},
        {"? [a]\n: 1\n", "f.yaml:1: expected a plain key"},
        {"[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]", "f.yaml:1: nested deeper than 16"},
    };
    for (size_t i = 0; i < LS_COUNT(cases); i++) {
        struct ls_err err = {0};
        cr_assert_null(parse(cases[i].text, &err), "%s", cases[i].text);
        cr_assert_eq(strncmp(err.text, cases[i].message, strlen(cases[i].message)), 0, "%s",
                     err.text);
        cr_assert_eq(err.class, LS_ERR_FATAL);
    }
}

Test(yaml, scalars_are_checked)
{
    struct ls_err err = {0};
    struct ls_yaml *root = parse("n: 12\nq: '12'\nb: yes\ne: ''\nl: [1]\n", &err);
    int64_t number = 0;
    bool flag;
    const char *text;
    cr_assert_eq(ls_yaml_i64("f", ls_yaml_get(root, "n"), 0, 12, &number, &err), 0);
    cr_assert_eq(number, 12);
    cr_assert_eq(ls_yaml_i64("f", ls_yaml_get(root, "n"), 0, 11, &number, &err), -1);
    cr_assert_str_eq(err.text, "f:1: expected a whole number from 0 to 11, found '12'");
    cr_assert_eq(ls_yaml_i64("f", ls_yaml_get(root, "q"), 0, 12, &number, &err), -1);
    cr_assert_eq(ls_yaml_bool("f", ls_yaml_get(root, "b"), &flag, &err), -1);
    cr_assert_str_eq(err.text, "f:3: expected true or false, found 'yes'");
    cr_assert_eq(ls_yaml_text("f", ls_yaml_get(root, "e"), &text, &err), -1);
    cr_assert_eq(ls_yaml_text("f", ls_yaml_get(root, "l"), &text, &err), -1);
    cr_assert_str_eq(err.text, "f:5: expected a text, found a list");
    ls_yaml_free(root);
}
