/* Marks of an index and the data they speak of, without a server. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "consumers/es_incarnation.h"
#include "consumers/es_marks.h"

#define GENESIS "0b5f7a9e-0000-4000-8000-000000000001"
#define HOME    "00112233445566ff"

static struct ls_buf buf;
static struct ls_err err;

static struct ls_mark make_mark(int32_t partition, uint64_t version)
{
    struct ls_mark mark = {.partition = partition, .version = version, .at_ms = 123};
    snprintf(mark.genesis, sizeof(mark.genesis), GENESIS);
    return mark;
}

Test(es_mark_text, marks_come_back_as_they_were_written)
{
    struct ls_mark mark = make_mark(3, UINT64_C(5) << 48 | 9);
    struct ls_es_mark guard = {.mark = mark, .seq_no = 7, .primary_term = 2};
    ls_es_marks_write(&mark, HOME, &guard, &buf);
    const char *text = ls_buf_cstr(&buf);
    cr_assert_not_null(strstr(text, "{\"index\":{\"_id\":\"{mark}:3\",\"routing\":\"3\","
                                    "\"if_seq_no\":7,\"if_primary_term\":2}}\n"));
    char reply[600];
    snprintf(reply, sizeof(reply),
             "{\"docs\":[{\"_id\":\"{mark}:3\",\"_seq_no\":8,\"_primary_term\":2,\"found\":true,"
             "\"_source\":%s},{\"_id\":\"{mark}:4\",\"found\":false}]}",
             strchr(text, '\n') + 1);
    struct ls_es_mark read[2] = {{.mark = {.partition = 3}}, {.mark = {.partition = 4}}};
    cr_assert_eq(ls_es_marks_read(reply, strlen(reply), read, 2, &err), 0, "%s", err.text);
    cr_assert_eq(read[0].mark.version, mark.version);
    cr_assert_eq(read[0].mark.at_ms, 123);
    cr_assert_str_eq(read[0].mark.genesis, mark.genesis);
    cr_assert_str_eq(read[0].home, HOME);
    cr_assert_eq(read[0].seq_no, 8);
    cr_assert_str_eq(read[1].mark.genesis, "");
}

Test(es_mark_text, a_mark_is_made_only_where_none_was_seen_and_none_is)
{
    struct ls_mark mark = make_mark(3, 1);
    struct ls_es_mark none = {.mark = {.partition = 3}};
    ls_es_marks_write(&mark, HOME, &none, &buf);
    cr_expect_not_null(strstr(ls_buf_cstr(&buf), "{\"create\":{\"_id\":\"{mark}:3\""));
    ls_buf_clear(&buf);
    ls_es_marks_write(&mark, HOME, NULL, &buf);
    cr_expect_not_null(strstr(ls_buf_cstr(&buf), "{\"index\":{\"_id\":\"{mark}:3\""));
    cr_expect_null(strstr(ls_buf_cstr(&buf), "if_seq_no"));
}

Test(es_mark_text, a_document_in_a_marks_place_is_fatal)
{
    const char reply[] = "{\"docs\":[{\"_id\":\"{mark}:3\",\"_seq_no\":8,\"_primary_term\":2,"
                         "\"found\":true,\"_source\":{\"_mark\":\"x\",\"_partition\":4,\"_v_hi\":0,"
                         "\"_v_lo\":1}}]}";
    struct ls_es_mark read = {.mark = {.partition = 3}};
    cr_assert_eq(ls_es_marks_read(reply, strlen(reply), &read, 1, &err), -1);
    cr_assert_eq(err.class, LS_ERR_FATAL);
}

Test(es_mark_text, marks_of_other_data_count_as_marks_at_zero)
{
    struct ls_es_mark marks[] = {
        {.mark = make_mark(0, 5), .seq_no = 8, .home = HOME},
        {.mark = make_mark(1, 6), .seq_no = 9, .home = "ffffffffffffffff"},
        {.mark = make_mark(2, 7), .seq_no = 10}, /* it names none */
    };
    ls_es_marks_void(marks, 3, HOME);
    cr_expect_eq(marks[0].mark.version, 5);
    cr_expect_eq(marks[1].mark.version, 0);
    cr_expect_eq(marks[1].mark.at_ms, 0);
    cr_expect_str_eq(marks[1].mark.genesis, GENESIS);
    cr_expect_eq(marks[1].seq_no, 9, "it is still what the next mark replaces");
    cr_expect_eq(marks[2].mark.version, 0);
}

Test(es_mark_text, each_mark_of_a_reply_has_a_result_of_its_own)
{
    const char reply[] =
        "{\"items\":[{\"index\":{\"status\":200,\"_seq_no\":11,\"_primary_term\":2}},"
        "{\"create\":{\"status\":409,\"error\":{\"type\":\"version_conflict_engine_exception\"}}},"
        "{\"index\":{\"status\":429,\"error\":{\"type\":\"es_rejected_execution_exception\"}}},"
        "{\"index\":{\"status\":503,\"error\":{\"type\":\"unavailable_shards_exception\"}}}]}";
    struct ls_es_mark marks[4] = {0};
    enum ls_es_mark_result results[4];
    cr_assert_eq(ls_es_marks_written(reply, strlen(reply), marks, results, 4, &err), 0);
    cr_expect_eq(results[0], LS_ES_MARK_WRITTEN);
    cr_expect_eq(marks[0].seq_no, 11);
    cr_expect_eq(results[1], LS_ES_MARK_UNEXPECTED);
    cr_expect_eq(results[2], LS_ES_MARK_REFUSED, "it was not written");
    cr_expect_eq(results[3], LS_ES_MARK_FAILED, "it may have been");
    cr_expect_eq(err.class, LS_ERR_RETRY);
}

/* --- incarnations --- */

static const char STATE[] =
    "{\"cluster_uuid\":\"c\",\"metadata\":{\"indices\":{\"m-1\":{\"settings\":{\"index\":{\"number_of_shards\":\"2\","
    "\"uuid\":\"index-one\"}},\"primary_terms\":{\"0\":4,\"1\":%d}}}}}";
static const char STATS[] =
    "{\"indices\":{\"m-1\":{\"uuid\":\"index-one\",\"shards\":{\"0\":[{\"routing\":{\"primary\":"
    "false},\"commit\":{\"user_data\":{\"history_uuid\":\"other\"}}},{\"routing\":{\"primary\":true}"
    ",\"commit\":{\"user_data\":{\"history_uuid\":\"zero\"}}}],\"1\":[{\"routing\":{\"primary\":true}"
    ",\"commit\":{\"user_data\":{\"history_uuid\":\"%s\"}}}]}}}}";

static struct ls_es_incarnation make_incarnation(int term, const char *history)
{
    char state[400], stats[600];
    struct ls_es_incarnation inc;
    snprintf(state, sizeof(state), STATE, term);
    snprintf(stats, sizeof(stats), STATS, history);
    cr_assert_eq(ls_es_incarnation_state(&inc, "m-1", state, strlen(state), &err), 0, "%s",
                 err.text);
    cr_assert_eq(ls_es_incarnation_stats(&inc, "m-1", stats, strlen(stats), &err), 0, "%s",
                 err.text);
    return inc;
}

Test(es_incarnation, a_restart_is_noticed_and_keeps_the_home)
{
    char why[200] = "";
    struct ls_es_incarnation was = make_incarnation(7, "one"), same = make_incarnation(7, "one"),
                             now = make_incarnation(8, "one");
    cr_expect(ls_es_incarnation_same(&was, &same, "m-1", why, sizeof(why)));
    cr_expect_not(ls_es_incarnation_same(&was, &now, "m-1", why, sizeof(why)));
    cr_expect_not_null(strstr(why, "shard 1 has a new primary (term 8 was 7)"), "%s", why);
    cr_expect_str_eq(was.home, now.home);
    cr_expect_eq(strlen(was.home), 16);
    ls_es_incarnation_free(&was);
    ls_es_incarnation_free(&same);
    ls_es_incarnation_free(&now);
}

Test(es_incarnation, a_shard_with_another_history_is_another_home)
{
    char why[200] = "";
    struct ls_es_incarnation was = make_incarnation(7, "one"), now = make_incarnation(8, "two");
    cr_expect_not(ls_es_incarnation_same(&was, &now, "m-1", why, sizeof(why)));
    cr_expect_not_null(strstr(why, "shard 1 has another history"), "%s", why);
    cr_expect_str_neq(was.home, now.home);
    ls_es_incarnation_free(&was);
    ls_es_incarnation_free(&now);
}

Test(es_incarnation, nothing_is_known_while_a_shard_has_no_primary_or_an_answer_is_cut)
{
    char state[400];
    struct ls_es_incarnation inc;
    snprintf(state, sizeof(state), STATE, 1);
    static const char *const stats[] = {
        "", "{\"indices\":{\"m-1\":{", "{}", "{\"indices\":{\"m-1\":{\"uuid\":\"index-two\"}}}",
        "{\"indices\":{\"m-1\":{\"uuid\":\"index-one\",\"shards\":{\"0\":[{\"routing\":{\"primary\":"
        "true},\"commit\":{\"user_data\":{\"history_uuid\":\"zero\"}}}]}}}}"};
    for (size_t i = 0; i < LS_COUNT(stats); i++) {
        cr_assert_eq(ls_es_incarnation_state(&inc, "m-1", state, strlen(state), &err), 0);
        cr_expect_eq(ls_es_incarnation_stats(&inc, "m-1", stats[i], strlen(stats[i]), &err), -1);
        cr_expect_eq(err.class, LS_ERR_RETRY, "%s", err.text);
        ls_es_incarnation_free(&inc);
    }
    cr_expect_eq(ls_es_incarnation_state(&inc, "m-1", state, 80, &err), -1);
    cr_expect_eq(err.class, LS_ERR_RETRY, "%s", err.text);
    ls_es_incarnation_free(&inc);
    static const char none[] = "{\"cluster_uuid\":\"c\"}";
    cr_expect_eq(ls_es_incarnation_state(&inc, "m-1", none, strlen(none), &err), -1);
    cr_expect_eq(err.class, LS_ERR_FATAL);
    cr_expect_not_null(strstr(err.text, "lockstep schema apply"), "%s", err.text);
    ls_es_incarnation_free(&inc);
}
