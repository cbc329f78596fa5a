#include "pipeline/ends.h"

#include <poll.h>

#include "base/clock.h"
#include "base/mem.h"
#include "pipeline/leaders.h"

enum { LEADER_MS = 5000, LEADER_AGAIN_MS = 50 };

/*
 * Fills offsets[i] with what stands at that end of each partition, -1 where it gave no answer; the
 * last of these says why in ret_code. Returns how many have one.
 */
static size_t ask(rd_kafka_t *client, const char *topic, struct ls_leaders *leaders,
                  const int32_t *partitions, size_t n, int64_t end, int64_t until_ms,
                  int64_t *offsets, rd_kafka_resp_err_t *ret_code)
{
    LS_CLEANUP_FREE struct ls_offset_question *questions = ls_calloc(n, sizeof(*questions));
    /* The protocol's word for that end stands where the time would. */
    for (size_t i = 0; i < n; i++)
        questions[i] = (struct ls_offset_question){.partition = partitions[i], .at = end};
    rd_kafka_resp_err_t code = ls_leaders_put(client, topic, leaders, questions, n, until_ms);
    bool all_failed = code != RD_KAFKA_RESP_ERR_NO_ERROR;
    size_t known = 0;
    for (size_t i = 0; i < n; i++) {
        offsets[i] = -1;
        if (all_failed)
            continue;
        if (questions[i].code != RD_KAFKA_RESP_ERR_NO_ERROR)
            code = questions[i].code;
        else if (questions[i].offset >= 0)
            offsets[i] = questions[i].offset;
        known += offsets[i] >= 0;
    }
    *ret_code = code != RD_KAFKA_RESP_ERR_NO_ERROR ? code : RD_KAFKA_RESP_ERR__TIMED_OUT;
    return known;
}

/* Both, of *leaders, which may be asked for anew. Returns how many have an answer, as ask. */
static size_t ask_both(rd_kafka_t *client, const char *topic, struct ls_leaders *leaders,
                       const int32_t *partitions, size_t n, int64_t until_ms, int64_t *firsts,
                       int64_t *ends, rd_kafka_resp_err_t *ret_code)
{
    size_t known = n;
    if (firsts != NULL)
        known = ask(client, topic, leaders, partitions, n, RD_KAFKA_OFFSET_BEGINNING, until_ms,
                    firsts, ret_code);
    if (known > 0)
        known = ask(client, topic, leaders, partitions, n, RD_KAFKA_OFFSET_END, until_ms, ends,
                    ret_code);
    return known;
}

int ls_kafka_ends(rd_kafka_t *client, const char *topic, const int32_t *partitions, size_t n,
                  int timeout_ms, int64_t *firsts, int64_t *ends, struct ls_err *err)
{
    struct ls_leaders leaders;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (n == 0)
        return 0;
    int64_t until_ms = ls_mono_ms() + timeout_ms;
    if (ls_leaders_ask(client, topic, timeout_ms, &leaders, err) < 0)
        return -1;
    size_t known = ask_both(client, topic, &leaders, partitions, n, until_ms, firsts, ends, &code);
    ls_leaders_free(&leaders);
    if (known > 0)
        return 0;
    if (code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
        return ls_leaders_lack(topic, partitions[0], err);
    return ls_kafka_err(err, code, "the ends of %s", topic);
}

/* One try of ls_kafka_ranges: -1 with what ls_leaders_lack says where the next may have more. */
static int try_ranges(rd_kafka_t *client, const char *topic, const int32_t *partitions, size_t n,
                      int64_t until_ms, int64_t *firsts, int64_t *ends, struct ls_err *err)
{
    struct ls_leaders leaders;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (ls_leaders_ask(client, topic, ls_left_ms(until_ms), &leaders, err) < 0)
        return -1;
    int32_t there = leaders.n;
    size_t known = ask_both(client, topic, &leaders, partitions, n, until_ms, firsts, ends, &code);
    ls_leaders_free(&leaders);
    for (size_t i = 0; i < n; i++)
        if (partitions[i] < 0 || partitions[i] >= there)
            return ls_kafka_err(err, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "offsets of %s/%d",
                                topic, partitions[i]);
    if (known == 0 && !ls_leaders_is_refusal(code))
        return ls_kafka_err(err, code, "offsets of %s", topic);
    for (size_t i = 0; i < n; i++)
        if (known == 0 || ends[i] < 0 || (firsts != NULL && firsts[i] < 0))
            return ls_leaders_lack(topic, partitions[i], err);
    return 0;
}

int ls_kafka_ranges(rd_kafka_t *client, const char *topic, const int32_t *partitions, size_t n,
                    int timeout_ms, int64_t *firsts, int64_t *ends, struct ls_err *err)
{
    struct ls_err why = {0};
    int64_t until_ms = ls_mono_ms() + timeout_ms;
    int64_t leader_ms = ls_mono_ms() + (timeout_ms < LEADER_MS ? timeout_ms : LEADER_MS);
    LS_CLEANUP_FREE int32_t *all = ls_calloc(n + 1, sizeof(*all));
    for (size_t i = 0; i < n && partitions == NULL; i++)
        all[i] = (int32_t)i;
    while (n > 0 && try_ranges(client, topic, partitions != NULL ? partitions : all, n, until_ms,
                               firsts, ends, &why) < 0) {
        if (!ls_leaders_is_lack(&why) || ls_mono_ms() >= leader_ms) {
            if (err != NULL)
                *err = why;
            return -1;
        }
        poll(NULL, 0, LEADER_AGAIN_MS);
    }
    return 0;
}
