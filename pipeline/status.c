/*
 * One look at everything that Kafka knows of the sinks. Keeps its clients and what it has read
 * between two looks, so that `status --watch` costs little. One thread; nothing survives it.
 */
#include "pipeline/status.h"

#include "base/clock.h"
#include "base/mem.h"
#include "pipeline/kafka.h"
#include "pipeline/quarantined.h"
#include "pipeline/status_internal.h"
#include "pipeline/topics.h"

enum { FIRST_ANSWER_MS = 5000 };

static void add_log(struct ls_status *status, const struct ls_entity_config *entity)
{
    if (ls_status_log_of(status, entity) != NULL)
        return;
    size_t n = (size_t)entity->partitions;
    status->logs = ls_realloc(status->logs, (status->n_logs + 1) * sizeof(*status->logs));
    status->logs[status->n_logs++] = (struct ls_status_log){
        .entity = entity,
        .first = ls_calloc(n, sizeof(int64_t)),
        .end = ls_calloc(n, sizeof(int64_t)),
        .leaderless = ls_calloc(n, sizeof(int32_t)),
        .peeked = ls_calloc(n, sizeof(struct ls_status_peeked)),
    };
    for (size_t p = 0; p < n; p++)
        status->logs[status->n_logs - 1].peeked[p].offset = -1;
}

struct ls_status *ls_status_open(const struct ls_config *config,
                                 const struct ls_sink_config *const *sinks, size_t n,
                                 struct ls_err *err)
{
    rd_kafka_t *client = ls_kafka_client(config, RD_KAFKA_PRODUCER, "status", NULL, NULL, err);
    if (client == NULL)
        return NULL;
    struct ls_status *status = ls_calloc(1, sizeof(*status));
    status->config = config;
    status->client = client;
    status->n = n;
    status->kept = ls_calloc(n, sizeof(*status->kept));
    for (size_t i = 0; i < n; i++) {
        status->kept[i] = (struct ls_status_kept){
            .sink = sinks[i],
            .alive = ls_calloc(LS_STATUS_INSTANCES_MAX, sizeof(struct ls_heartbeat)),
            .low = ls_calloc((size_t)sinks[i]->entity->partitions, sizeof(int64_t)),
            .quarantine_end = -1,
        };
        add_log(status, sinks[i]->entity);
    }
    return status;
}

void ls_status_end_consumer(rd_kafka_t **consumer)
{
    if (*consumer == NULL)
        return;
    rd_kafka_consumer_close(*consumer);
    ls_kafka_end(*consumer);
    *consumer = NULL;
}

void ls_status_close(struct ls_status *status)
{
    if (status == NULL)
        return;
    ls_status_end_consumer(&status->follower);
    ls_status_end_consumer(&status->peeker);
    ls_kafka_end(status->client);
    for (size_t i = 0; i < status->n; i++) {
        struct ls_status_kept *kept = &status->kept[i];
        for (size_t b = 0; b < kept->n_beats; b++)
            free(kept->beats[b].partitions);
        free(kept->beats);
        free(kept->alive);
        free(kept->low);
    }
    for (size_t i = 0; i < status->n_logs; i++) {
        free(status->logs[i].first);
        free(status->logs[i].end);
        free(status->logs[i].leaderless);
        free(status->logs[i].peeked);
    }
    free(status->logs);
    free(status->kept);
    free(status->control_next);
    free(status);
}

/* Counts what is open in the quarantine; reads on only when it has grown. */
static int count_quarantined(struct ls_status *status, struct ls_status_kept *kept,
                             struct ls_err *err)
{
    char topic[LS_TOPIC_NAME_MAX];
    int32_t partitions;
    int64_t ends = 0;
    ls_topic_quarantine(kept->sink, topic);
    if (ls_kafka_partitions(status->client, topic, &partitions, err) < 0)
        return -1;
    LS_CLEANUP_FREE int64_t *first = ls_calloc((size_t)partitions + 1, sizeof(*first));
    LS_CLEANUP_FREE int64_t *end = ls_calloc((size_t)partitions + 1, sizeof(*end));
    if (ls_status_range(status, topic, partitions, first, end, err) < 0)
        return -1;
    for (int32_t p = 0; p < partitions; p++) {
        if (end[p] < 0) { /* what was counted before, and what nobody can say */
            kept->quarantined_more = true;
            kept->quarantine_end = -1;
            return 0;
        }
        ends += end[p];
    }
    if (ends == kept->quarantine_end)
        return 0;
    struct ls_quarantined set = {0};
    if (ls_quarantined_follow(status->config, status->client, kept->sink, &set, err) < 0)
        return -1;
    kept->quarantined = set.n;
    kept->quarantined_more = set.more;
    kept->quarantine_end = ends;
    ls_quarantined_free(&set);
    return 0;
}

/* Fails soon and clearly when no broker is there, whatever the requests' own timeouts. */
static int first_answer(struct ls_status *status, struct ls_err *err)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t code =
        rd_kafka_metadata(status->client, 0, NULL, &metadata, FIRST_ANSWER_MS);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return ls_kafka_err(err, code, "kafka %s", status->config->brokers);
    rd_kafka_metadata_destroy(metadata);
    return 0;
}

double ls_status_eta(struct ls_status_looks *looks, int64_t at_ms, int64_t lag)
{
    size_t newest = looks->n++ % LS_STATUS_LOOKS_MAX;
    looks->look[newest].at_ms = at_ms;
    looks->look[newest].lag = lag;
    if (lag == 0)
        return 0;
    size_t oldest = looks->n > LS_STATUS_LOOKS_MAX ? looks->n % LS_STATUS_LOOKS_MAX : 0;
    int64_t shrunk = looks->look[oldest].lag - lag, ms = at_ms - looks->look[oldest].at_ms;
    return shrunk > 0 && ms > 0 ? (double)lag / (double)shrunk * (double)ms / 1e3 : -1;
}

int ls_status_gather(struct ls_status *status, struct ls_status_sink *sinks, struct ls_err *err)
{
    if (first_answer(status, err) < 0 || ls_status_ends(status, err) < 0 ||
        ls_status_follow(status, err) < 0)
        return -1;
    int64_t now_ms = ls_wall_us() / 1000;
    for (size_t i = 0; i < status->n; i++) {
        struct ls_status_kept *kept = &status->kept[i];
        struct ls_status_sink *sink = &sinks[i];
        *sink = (struct ls_status_sink){.sink = kept->sink};
        ls_status_fold(kept->beats, kept->n_beats, now_ms, kept->alive, sink);
        if (ls_status_lag(status, kept, sink, err) < 0 || count_quarantined(status, kept, err) < 0)
            return -1;
        sink->eta_s = ls_status_eta(&kept->looks, ls_mono_ms(), sink->lag);
        sink->quarantined = kept->quarantined;
        sink->quarantined_more = kept->quarantined_more;
    }
    return 0;
}
