/*
 * Leaders of a topic's partitions, asked anew each time.
 *
 * Rejected: to ask only after a request has failed, since that takes the whole timeout, in loops
 * that must turn; to trust librdkafka's own view, which it renews for a topic that the client
 * neither writes nor reads once when a broker goes, while the others may still take that broker for
 * the leader, and then not for a quarter of an hour.
 *
 * Threads: any, each call by itself. A crash leaves nothing behind.
 */
#include "pipeline/leaders.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "pipeline/kafka.h"

static void take(const rd_kafka_metadata_topic_t *topic, struct ls_leaders *ret)
{
    *ret = (struct ls_leaders){.n = topic->partition_cnt};
    ret->has = ls_calloc((size_t)ret->n + 1, sizeof(*ret->has));
    for (int i = 0; i < topic->partition_cnt; i++) {
        const rd_kafka_metadata_partition_t *partition = &topic->partitions[i];
        if (partition->id >= 0 && partition->id < ret->n)
            ret->has[partition->id] = partition->leader >= 0;
    }
}

static rd_kafka_resp_err_t ask(rd_kafka_t *client, const char *topic, int timeout_ms,
                               struct ls_leaders *ret)
{
    rd_kafka_topic_t *handle = rd_kafka_topic_new(client, topic, NULL);
    if (handle == NULL)
        return rd_kafka_last_error();
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(client, 0, handle, &metadata, timeout_ms);
    rd_kafka_topic_destroy(handle);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return code;
    const rd_kafka_metadata_topic_t *found = metadata->topic_cnt == 1 ? metadata->topics : NULL;
    code = found != NULL ? found->err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    /* A broker may say of the whole topic that some partition has none, or knows none of it yet. */
    if (code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE && found->partition_cnt > 0)
        code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        take(found, ret);
    } else if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
               code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC) {
        *ret = (struct ls_leaders){0};
        code = RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    rd_kafka_metadata_destroy(metadata);
    return code;
}

int ls_leaders_ask(rd_kafka_t *client, const char *topic, int timeout_ms, struct ls_leaders *ret,
                   struct ls_err *err)
{
    rd_kafka_resp_err_t code = ask(client, topic, timeout_ms, ret);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? 0 : ls_kafka_err(err, code, "leaders of %s", topic);
}

void ls_leaders_free(struct ls_leaders *leaders)
{
    free(leaders->has);
    *leaders = (struct ls_leaders){0};
}

bool ls_leaders_has(const struct ls_leaders *leaders, int32_t partition)
{
    return partition >= 0 && partition < leaders->n && leaders->has[partition];
}

int ls_leaders_lack(const char *topic, int32_t partition, struct ls_err *err)
{
    return ls_err_set(err, LS_ERR_RETRY, (int)RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
                      "%s/%d has no leader: no broker that holds it is there; start one of those, "
                      "and it goes on by itself",
                      topic, partition);
}

bool ls_leaders_is_lack(const struct ls_err *err)
{
    return err->class == LS_ERR_RETRY && err->code == (int)RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
}

rd_kafka_resp_err_t ls_leaders_offsets(rd_kafka_t *client, rd_kafka_topic_partition_list_t *list,
                                       int timeout_ms)
{
    rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(client, list, timeout_ms);
    for (int i = 0; i < list->cnt && code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION; i++)
        if (list->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR)
            code = list->elems[i].err;
    return code;
}

bool ls_leaders_is_refusal(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION ||
           code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ||
           code == RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE ||
           code == RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE ||
           code == RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH ||
           code == RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH;
}

enum { REFUSALS_MAX = 64 }; /* of one call: each makes the client ask who leads, too */

/* The questions of one call. */
struct asking {
    rd_kafka_t *client;
    const char *topic;
    struct ls_offset_question **some;
    int64_t until_ms;
    int refusals;
};

/*
 * Asks some[from..from + n). librdkafka tells nothing of any of them where one was refused, but
 * that it was (librdkafka 2.0.2).
 */
static rd_kafka_resp_err_t ask_together(const struct asking *asking, size_t from, size_t n)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)n);
    for (size_t i = 0; i < n; i++)
        rd_kafka_topic_partition_list_add(list, asking->topic, asking->some[from + i]->partition)
            ->offset = asking->some[from + i]->at;
    rd_kafka_resp_err_t code =
        ls_leaders_offsets(asking->client, list, ls_left_ms(asking->until_ms));
    for (size_t i = 0; i < n; i++) {
        struct ls_offset_question *question = asking->some[from + i];
        const rd_kafka_topic_partition_t *part = &list->elems[i];
        question->code = code != RD_KAFKA_RESP_ERR_NO_ERROR ? code : part->err;
        question->offset = question->code == RD_KAFKA_RESP_ERR_NO_ERROR ? part->offset : -1;
        /* It has one by all that is known: that one is no leader in its own eyes. */
        if (question->code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
            question->code = RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return code;
}

/*
 * The same, in halves where one is refused, so that the others have their answers. After many
 * refusals the rest has none.
 */
static rd_kafka_resp_err_t ask_apart(struct asking *asking, size_t from, size_t n)
{
    rd_kafka_resp_err_t code = ask_together(asking, from, n);
    if (!ls_leaders_is_refusal(code))
        return code;
    if (++asking->refusals >= REFUSALS_MAX || n == 1)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    code = ask_apart(asking, from, n / 2);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return code;
    return ask_apart(asking, from + n / 2, n - n / 2);
}

/* Which questions are without an answer and have somebody to be asked. */
static size_t find_open(const struct ls_leaders *leaders, struct ls_offset_question *questions,
                        size_t n, struct ls_offset_question **some)
{
    size_t n_some = 0;
    for (size_t i = 0; i < n; i++) {
        if (questions[i].code == RD_KAFKA_RESP_ERR_NO_ERROR)
            continue;
        if (ls_leaders_has(leaders, questions[i].partition))
            some[n_some++] = &questions[i];
        else
            questions[i].code = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
    }
    return n_some;
}

rd_kafka_resp_err_t ls_leaders_put(rd_kafka_t *client, const char *topic,
                                   struct ls_leaders *leaders, struct ls_offset_question *questions,
                                   size_t n, int64_t until_ms)
{
    LS_CLEANUP_FREE struct ls_offset_question **some = ls_calloc(n + 1, sizeof(*some));
    struct asking asking = {client, topic, some, until_ms, 0};
    for (size_t i = 0; i < n; i++) {
        questions[i].code = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
        questions[i].offset = -1;
    }
    size_t n_some = find_open(leaders, questions, n, some);
    if (n_some == 0)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_resp_err_t code = ask_together(&asking, 0, n_some);
    bool refused = ls_leaders_is_refusal(code);
    for (size_t i = 0; i < n_some; i++)
        refused |= ls_leaders_is_refusal(some[i]->code);
    if (!refused)
        return code;
    struct ls_leaders now;
    code = ask(client, topic, ls_left_ms(until_ms), &now);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return code;
    struct ls_leaders before = *leaders;
    *leaders = now;
    ls_leaders_free(&before);
    n_some = find_open(leaders, questions, n, some);
    return n_some > 0 ? ask_apart(&asking, 0, n_some) : RD_KAFKA_RESP_ERR_NO_ERROR;
}
