/* The genesis record's value. */
#include <criterion/criterion.h>

#include "base/mem.h"
#include "schema/wire.h"

static const struct ls_genesis sample = {
    .uuid = "0f8fad5b-d9cb-469f-a165-70867728950e",
    .partition = 7,
    .partitions = 8,
    .generation = 1,
    .created_us = 1700000000000000,
    .topic = "member.state.1",
};

static int decode(const struct ls_buf *buf, size_t len, struct ls_genesis *ret, struct ls_err *err)
{
    char *exact = ls_malloc(len);
    memcpy(exact, buf->data, len);
    int rc = ls_genesis_decode(exact, len, ret, err);
    free(exact);
    return rc;
}

Test(genesis, is_read_back)
{
    struct ls_buf buf = {0};
    struct ls_genesis got;
    struct ls_err err;
    ls_genesis_encode(&sample, &buf);
    cr_assert_eq(decode(&buf, buf.len, &got, &err), 0, "%s", err.text);
    cr_assert_str_eq(got.uuid, sample.uuid);
    cr_assert_str_eq(got.topic, sample.topic);
    cr_assert_eq(got.partition, 7);
    cr_assert_eq(got.partitions, 8);
    cr_assert_eq(got.generation, 1);
    cr_assert_eq(got.created_us, sample.created_us);
    ls_buf_free(&buf);
}

Test(genesis, cut_at_every_byte_is_refused)
{
    struct ls_buf buf = {0};
    struct ls_genesis got;
    struct ls_err err;
    ls_genesis_encode(&sample, &buf);
    for (size_t len = 0; len < buf.len; len++) {
        cr_assert_eq(decode(&buf, len, &got, &err), -1, "%zu", len);
        cr_assert_eq(err.class, LS_ERR_POISON);
    }
    ls_buf_append_char(&buf, '\0');
    cr_assert_eq(decode(&buf, buf.len, &got, &err), -1, "a byte follows");
    ls_buf_free(&buf);
}

static void assert_refused(const struct ls_genesis *genesis, const char *what)
{
    struct ls_buf buf = {0};
    struct ls_genesis got = {.partition = 77};
    struct ls_err err;
    ls_genesis_encode(genesis, &buf);
    cr_assert_eq(decode(&buf, buf.len, &got, &err), -1, "accepted: %s", what);
    cr_assert_eq(got.partition, 77, "written on failure: %s", what);
    ls_buf_free(&buf);
}

Test(genesis, what_cannot_be_is_refused)
{
    struct ls_genesis bad = sample;
    bad.partition = 8;
    assert_refused(&bad, "a partition beyond the last");
    bad = sample;
    bad.partitions = 12;
    assert_refused(&bad, "partitions that do not divide 1024");
    bad = sample;
    bad.generation = 0;
    assert_refused(&bad, "generation 0");
    bad = sample;
    bad.uuid[8] = 'x';
    assert_refused(&bad, "no UUID");
    bad = sample;
    bad.topic[0] = '\0';
    assert_refused(&bad, "no topic");
}

Test(genesis, keys_of_a_later_program_are_stepped_over)
{
    struct ls_buf buf = {0};
    struct ls_genesis got;
    struct ls_err err;
    ls_genesis_encode(&sample, &buf);
    buf.data[0] = (char)0x87; /* a map of seven */
    ls_buf_append_str(&buf, "\xa5later\x92\x01\xc0");
    cr_assert_eq(decode(&buf, buf.len, &got, &err), 0, "%s", err.text);
    ls_buf_free(&buf);
}

Test(genesis, a_key_that_is_there_twice_is_refused)
{
    struct ls_buf buf = {0};
    struct ls_genesis got;
    struct ls_err err;
    ls_genesis_encode(&sample, &buf);
    buf.data[0] = (char)0x87; /* a map of seven */
    ls_buf_append_str(&buf, "\xa9partition\x06");
    cr_assert_eq(decode(&buf, buf.len, &got, &err), -1);
    cr_assert_str_eq(err.text, "genesis record: 'partition' is wrong or there twice");
    ls_buf_free(&buf);
}

Test(genesis, a_record_is_no_genesis)
{
    struct ls_genesis got;
    struct ls_err err;
    cr_assert_eq(ls_genesis_decode("\x97\x01\x01", 3, &got, &err), -1);
    cr_assert_eq(ls_genesis_decode(NULL, 0, &got, &err), -1);
}
