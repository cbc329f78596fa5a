#include "pipeline/ends.h"

#include "base/clock.h"
#include "base/mem.h"
#include "pipeline/leaders.h"

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
    size_t known = n;
    if (firsts != NULL)
        known = ask(client, topic, &leaders, partitions, n, RD_KAFKA_OFFSET_BEGINNING, until_ms,
                    firsts, &code);
    if (known > 0)
        known =
            ask(client, topic, &leaders, partitions, n, RD_KAFKA_OFFSET_END, until_ms, ends, &code);
    ls_leaders_free(&leaders);
    if (known > 0)
        return 0;
    if (code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
        return ls_leaders_lack(topic, partitions[0], err);
    return ls_kafka_err(err, code, "the ends of %s", topic);
}
