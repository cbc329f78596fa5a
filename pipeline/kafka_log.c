/*
 * Whether a log is still the one that was read (law 7), by what can be asked of it cheaply: the
 * first record that is younger than a position says. A log that was cut, or made again under its
 * name, has such a record before the position, however far it has grown since.
 *
 * Rejected: the topic's id, which librdkafka 2.0 does not tell; reading the genesis records again
 * each time, which needs a consumer of its own and does not notice a log that lost only its tail;
 * the record at the position itself, which compaction may have removed.
 *
 * Threads: any, each call by itself. A crash leaves nothing behind.
 */

#include "base/clock.h"
#include "base/mem.h"
#include "pipeline/kafka.h"
#include "pipeline/leaders.h"

static bool is_known(const struct ls_log_position *position)
{
    return position->at_ms > 0 && position->offset >= 0;
}

struct confirming {
    const struct ls_log_position *positions;
    size_t n;
    const struct ls_log_position *wrong;
};

/* One record says enough: a log that was used again may be long. */
static bool look_at_younger(void *opaque, const rd_kafka_message_t *message)
{
    struct confirming *confirming = opaque;
    int64_t at_ms = rd_kafka_message_timestamp(message, NULL);
    for (size_t i = 0; i < confirming->n && confirming->wrong == NULL; i++) {
        const struct ls_log_position *position = &confirming->positions[i];
        if (position->partition == message->partition && is_known(position) &&
            message->offset <= position->offset && at_ms > position->at_ms)
            confirming->wrong = position;
    }
    return confirming->wrong != NULL;
}

/* Which positions can be asked, and where the first younger record of each of them is. */
static int ask_positions(rd_kafka_t *client, const char *topic, struct ls_log_position *positions,
                         size_t n, int64_t until_ms, int64_t *younger, struct ls_err *err)
{
    struct ls_leaders leaders;
    if (ls_leaders_ask(client, topic, ls_left_ms(until_ms), &leaders, err) < 0)
        return -1;
    LS_CLEANUP_FREE struct ls_offset_question *questions = ls_calloc(n + 1, sizeof(*questions));
    size_t n_questions = 0, q = 0;
    for (size_t i = 0; i < n; i++)
        if (is_known(&positions[i]))
            questions[n_questions++] = (struct ls_offset_question){
                .partition = positions[i].partition, .at = positions[i].at_ms + 1};
    rd_kafka_resp_err_t code =
        ls_leaders_put(client, topic, &leaders, questions, n_questions, until_ms);
    for (size_t i = 0; i < n && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
        const struct ls_offset_question *question =
            is_known(&positions[i]) ? &questions[q++] : NULL;
        positions[i].asked = question != NULL ? question->code == RD_KAFKA_RESP_ERR_NO_ERROR
                                              : ls_leaders_has(&leaders, positions[i].partition);
        younger[i] = question != NULL ? question->offset : -1;
    }
    ls_leaders_free(&leaders);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    return ls_kafka_err(err, code, "looking whether %s is still the same log", topic);
}

int ls_kafka_check_log(const struct ls_config *config, rd_kafka_t *client, const char *topic,
                       struct ls_log_position *positions, size_t n, int timeout_ms,
                       const struct ls_log_position **ret_wrong, struct ls_err *err)
{
    struct confirming confirming = {.positions = positions, .n = n};
    LS_CLEANUP_FREE int64_t *younger = ls_calloc(n + 1, sizeof(*younger));
    LS_CLEANUP_FREE struct ls_log_span *spans = ls_calloc(n + 1, sizeof(*spans));
    size_t n_spans = 0;
    int64_t until_ms = ls_mono_ms() + timeout_ms;
    int rc = ask_positions(client, topic, positions, n, until_ms, younger, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        bool inside = younger[i] >= 0 && younger[i] <= positions[i].offset;
        if (inside && (positions[i].clean == 0 || positions[i].clean != younger[i]))
            spans[n_spans++] =
                (struct ls_log_span){positions[i].partition, younger[i], positions[i].offset + 1};
        younger[i] = inside ? younger[i] : 0;
    }
    if (n_spans > 0)
        rc = ls_kafka_read_spans(config, topic, spans, n_spans, ls_left_ms(until_ms),
                                 look_at_younger, &confirming, err);
    if (rc < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        positions[i].clean = confirming.wrong == NULL ? younger[i] : 0;
    *ret_wrong = confirming.wrong;
    return 0;
}
