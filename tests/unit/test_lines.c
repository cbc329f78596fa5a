/* Splitting input into records: any piece size, long lines, CSV quotes, line numbers. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <unistd.h>

#include "base/mem.h"
#include "producers/lines.h"

struct feed {
    int fd;
    const char *data;
    size_t len;
    size_t piece; /* bytes of one write */
};

static void *feed_all(void *argument)
{
    struct feed *feed = argument;
    for (size_t at = 0; at < feed->len;) {
        size_t piece = feed->len - at < feed->piece ? feed->len - at : feed->piece;
        ssize_t wrote = write(feed->fd, feed->data + at, piece);
        if (wrote < 0)
            break;
        at += (size_t)wrote;
    }
    close(feed->fd);
    return NULL;
}

struct reading {
    struct ls_lines lines;
    struct feed feed;
    pthread_t thread;
    int fds[2];
};

static void begin(struct reading *reading, const char *data, size_t len, size_t piece, bool csv)
{
    cr_assert_eq(pipe(reading->fds), 0);
    reading->feed = (struct feed){reading->fds[1], data, len, piece};
    cr_assert_eq(pthread_create(&reading->thread, NULL, feed_all, &reading->feed), 0);
    ls_lines_open(&reading->lines, reading->fds[0], csv, NULL);
}

static void end(struct reading *reading)
{
    struct ls_line line;
    struct ls_err err;
    cr_assert_eq(ls_lines_next(&reading->lines, &line, &err), 0);
    cr_assert_eq(line.kind, LS_LINE_END);
    pthread_join(reading->thread, NULL);
    close(reading->fds[0]);
    ls_lines_free(&reading->lines);
}

static void expect(struct reading *reading, enum ls_line_kind kind, uint64_t number,
                   const char *text)
{
    struct ls_line line;
    struct ls_err err;
    cr_assert_eq(ls_lines_next(&reading->lines, &line, &err), 0);
    cr_assert_eq(line.kind, kind, "line %llu: kind %d", (unsigned long long)number, line.kind);
    cr_assert_eq(line.number, number, "%llu, not %llu", (unsigned long long)line.number,
                 (unsigned long long)number);
    if (text != NULL) {
        cr_assert_eq(line.len, strlen(text), "'%.*s'", (int)line.len, line.data);
        cr_assert_eq(memcmp(line.data, text, line.len), 0);
    }
}

static void expect_texts(const char *input, bool csv, size_t piece, const char *const *texts,
                         const uint64_t *numbers, size_t n_texts)
{
    struct reading reading;
    begin(&reading, input, strlen(input), piece, csv);
    for (size_t i = 0; i < n_texts; i++)
        expect(&reading, LS_LINE_TEXT, numbers[i], texts[i]);
    end(&reading);
}

Test(lines, come_out_the_same_whatever_the_size_of_reads)
{
    static const char *const texts[] = {"one", "", "three \xc3\xa9", "last"};
    static const uint64_t numbers[] = {1, 2, 3, 4};
    for (size_t piece = 1; piece < 8; piece++)
        expect_texts("one\n\r\nthree \xc3\xa9\nlast", false, piece, texts, numbers, 4);
}

Test(lines, of_csv_go_on_inside_quotes_and_keep_count)
{
    static const char *const texts[] = {"a,b", "1,\"x\n\"\"y\"\",\nz\"", "2,plain\"quote", "3,"};
    static const uint64_t numbers[] = {1, 2, 5, 6};
    for (size_t piece = 1; piece < 8; piece++)
        expect_texts("a,b\n1,\"x\n\"\"y\"\",\nz\"\r\n2,plain\"quote\n3,\n", true, piece, texts,
                     numbers, 4);
}

Test(lines, of_csv_with_broken_quotes_cost_one_line_only)
{
    static const char input[] = "1,\"ab\"c,more\n2,ok\n3,\"open\n4,lost?\n";
    for (size_t piece = 1; piece < 12; piece++) {
        struct reading reading;
        begin(&reading, input, strlen(input), piece, true);
        expect(&reading, LS_LINE_BAD_QUOTES, 1, "1,\"ab\"c,more");
        expect(&reading, LS_LINE_TEXT, 2, "2,ok");
        expect(&reading, LS_LINE_BAD_QUOTES, 3, "3,\"open");
        expect(&reading, LS_LINE_TEXT, 4, "4,lost?");
        end(&reading);
    }
}

static void long_line_between_two(size_t long_bytes, bool csv, enum ls_line_kind kind)
{
    size_t len = long_bytes + 8;
    LS_CLEANUP_FREE char *input = ls_malloc(len);
    memcpy(input, "a,1\n", 4);
    memset(input + 4, 'x', long_bytes);
    memcpy(input + 4 + long_bytes, "\nb,2", 4);
    struct reading reading;
    begin(&reading, input, len, 1 << 16, csv);
    expect(&reading, LS_LINE_TEXT, 1, "a,1");
    expect(&reading, kind, 2, NULL);
    expect(&reading, LS_LINE_TEXT, 3, "b,2");
    end(&reading);
}

Test(lines, of_ten_megabytes_are_skipped_and_the_rest_goes_on)
{
    long_line_between_two(10 << 20, false, LS_LINE_TOO_LONG);
    long_line_between_two(10 << 20, true, LS_LINE_TOO_LONG);
    long_line_between_two(40 << 20, false, LS_LINE_TOO_LONG);
    long_line_between_two(LS_LINE_MAX, false, LS_LINE_TEXT);
    long_line_between_two(LS_LINE_MAX + 1, false, LS_LINE_TOO_LONG);
}

Test(lines, take_bounded_memory)
{
    size_t len = (size_t)40 << 20;
    LS_CLEANUP_FREE char *input = ls_malloc(len);
    memset(input, 'x', len);
    struct reading reading;
    begin(&reading, input, len, 1 << 16, false);
    struct ls_line line;
    struct ls_err err;
    cr_assert_eq(ls_lines_next(&reading.lines, &line, &err), 0);
    cr_assert_eq(line.kind, LS_LINE_TOO_LONG);
    cr_assert_eq(line.len, LS_LINE_EXCERPT);
    end(&reading);
    cr_assert_leq(reading.lines.cap, 4 * LS_LINE_MAX);
}

Test(lines, of_a_quote_never_closed_are_given_back_at_the_limit)
{
    size_t len = 9 << 20;
    LS_CLEANUP_FREE char *input = ls_malloc(len);
    memset(input, 'x', len);
    memcpy(input, "1,\"\n2,b\n", 8);
    input[len - 1] = '\n';
    struct reading reading;
    begin(&reading, input, len, 1 << 16, true);
    expect(&reading, LS_LINE_BAD_QUOTES, 1, "1,\"");
    expect(&reading, LS_LINE_TEXT, 2, "2,b");
    expect(&reading, LS_LINE_TOO_LONG, 3, NULL);
    end(&reading);
}

Test(lines, stop_when_told)
{
    atomic_int stop = 1;
    int fds[2];
    cr_assert_eq(pipe(fds), 0);
    struct ls_lines lines;
    struct ls_line line;
    struct ls_err err;
    ls_lines_open(&lines, fds[0], false, &stop);
    cr_assert_eq(ls_lines_next(&lines, &line, &err), 0);
    cr_assert_eq(line.kind, LS_LINE_STOPPED);
    ls_lines_free(&lines);
}
