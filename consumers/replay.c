#include "consumers/replay.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/progress.h"
#include "consumers/store.h"
#include "pipeline/ends.h"
#include "pipeline/kafka.h"
#include "pipeline/topics.h"
#include "schema/key.h"

enum { SHOW_MS = 250 };

struct run {
    pthread_t thread;
    struct ls_replay_sink *sink;
    struct ls_instance_options options;
    const atomic_int *stop;
    atomic_ullong left; /* offsets not yet settled */
    atomic_bool done;
};

static bool is_chosen(int32_t partition, const int32_t *chosen, size_t n_chosen)
{
    for (size_t i = 0; i < n_chosen; i++)
        if (chosen[i] == partition)
            return true;
    return n_chosen == 0;
}

int ls_replay_ranges(const struct ls_config *config, const struct ls_entity_config *entity,
                     const int32_t *chosen, size_t n_chosen, struct ls_range **ret,
                     struct ls_err *err)
{
    char topic[LS_TOPIC_NAME_MAX];
    ls_topic_state(entity, topic);
    rd_kafka_t *client = ls_kafka_client(config, RD_KAFKA_CONSUMER, "range", NULL, NULL, err);
    if (client == NULL)
        return -1;
    struct ls_range *ranges = ls_calloc((size_t)entity->partitions, sizeof(*ranges));
    size_t max = (size_t)entity->partitions, n = 0;
    LS_CLEANUP_FREE int32_t *numbers = ls_calloc(max, sizeof(*numbers));
    LS_CLEANUP_FREE int64_t *firsts = ls_calloc(max, sizeof(*firsts));
    LS_CLEANUP_FREE int64_t *ends = ls_calloc(max, sizeof(*ends));
    for (int32_t i = 0; i < entity->partitions; i++)
        if (is_chosen(i, chosen, n_chosen))
            numbers[n++] = i;
    int rc = ls_kafka_ranges(client, topic, numbers, n, LS_KAFKA_TIMEOUT_MS, firsts, ends, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        ranges[numbers[i]].from = firsts[i];
        ranges[numbers[i]].to = ends[i];
    }
    rd_kafka_destroy(client);
    if (rc < 0)
        free(ranges);
    else
        *ret = ranges;
    return rc;
}

static void on_progress(void *opaque, const struct ls_instance_totals *totals,
                        uint64_t offsets_left)
{
    struct run *run = opaque;
    (void)totals;
    atomic_store(&run->left, offsets_left);
}

static void *run_main(void *opaque)
{
    struct run *run = opaque;
    struct ls_replay_sink *sink = run->sink;
    int64_t start_us = ls_mono_us();
    ls_instance_run(&run->options, run->stop, on_progress, run, &sink->totals, &sink->err);
    sink->interrupted = *run->stop && atomic_load(&run->left) > 0;
    sink->seconds = (double)(ls_mono_us() - start_us) / 1e6;
    atomic_store(&run->done, true);
    return NULL;
}

/* Draws until every run is done: all sinks' offsets as one bar. */
static void show_progress(const char *what, const struct run *runs, size_t n, uint64_t total)
{
    struct ls_progress progress;
    ls_progress_start(&progress, what, total, true);
    for (;;) {
        uint64_t left = 0;
        bool done = true;
        for (size_t i = 0; i < n; i++) {
            done &= atomic_load(&runs[i].done);
            left += atomic_load(&runs[i].done) ? 0 : atomic_load(&runs[i].left);
        }
        if (done)
            break;
        ls_progress_update(&progress, left < total ? total - left : 0);
        struct timespec tick = {.tv_nsec = SHOW_MS * 1000000L};
        nanosleep(&tick, NULL);
    }
    ls_progress_end(&progress);
}

size_t ls_replay_run(const struct ls_config *config, struct ls_replay_sink *sinks, size_t n,
                     const struct ls_range *ranges, bool resync, const atomic_int *stop)
{
    struct run *runs = ls_calloc(n, sizeof(*runs));
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t offsets = 0;
        for (int32_t p = 0; p < sinks[i].sink->entity->partitions; p++)
            offsets += (uint64_t)(ranges[p].to - ranges[p].from);
        total += offsets;
        runs[i].sink = &sinks[i];
        runs[i].stop = stop;
        sinks[i].at_ms =
            ls_calloc((size_t)sinks[i].sink->entity->partitions, sizeof(*sinks[i].at_ms));
        runs[i].options = (struct ls_instance_options){
            .config = config,
            .sink = sinks[i].sink,
            .position = LS_POSITION_RANGE,
            .ranges = ranges,
            .repair = resync,
            .adopt = resync,
            .ret_low_at_ms = sinks[i].at_ms,
            .number = (unsigned)i,
        };
        atomic_store(&runs[i].left, offsets);
        int rc = pthread_create(&runs[i].thread, NULL, run_main, &runs[i]);
        if (rc != 0) {
            ls_err_set(&sinks[i].err, LS_ERR_RETRY, rc, "cannot start a thread: %s", strerror(rc));
            runs[i].sink = NULL;
            atomic_store(&runs[i].done, true);
        }
    }
    show_progress(resync ? "resync" : "replay", runs, n, total);
    size_t failed = 0;
    for (size_t i = 0; i < n; i++) {
        if (runs[i].sink != NULL)
            pthread_join(runs[i].thread, NULL);
        failed += sinks[i].err.class != LS_ERR_NONE || sinks[i].interrupted;
    }
    free(runs);
    return failed;
}

/* Whether the log begins behind a mark: what is missing in between was deleted, and is nowhere. */
static bool is_behind(const struct ls_mark *mark, const struct ls_entity_config *entity,
                      const struct ls_range *range)
{
    return mark->version != 0 && ls_version_generation(mark->version) == entity->generation &&
           ls_version_offset(mark->version) + 1 < range->from;
}

size_t ls_replay_marks(struct ls_mark *marks, size_t n, const struct ls_entity_config *entity,
                       const struct ls_genesis *genesis, const struct ls_range *ranges,
                       const int64_t *at_ms)
{
    size_t n_missing = 0;
    for (size_t i = 0; i < n; i++) {
        bool same = strcmp(marks[i].genesis, genesis[i].uuid) == 0;
        if (marks[i].genesis[0] != '\0' && !(same && is_behind(&marks[i], entity, &ranges[i])))
            continue;
        struct ls_mark *mark = &marks[n_missing++];
        *mark = (struct ls_mark){
            .partition = (int32_t)i,
            .version = ls_version(entity->generation, ranges[i].to - 1),
            .at_ms = at_ms[i], /* by which it is seen whether the log before it is the same */
        };
        snprintf(mark->genesis, sizeof(mark->genesis), "%s", genesis[i].uuid);
    }
    return n_missing;
}

static int adopt_store(const struct ls_store_ops *ops, struct ls_store *store,
                       const struct ls_genesis *genesis, const struct ls_range *ranges,
                       struct ls_replay_sink *sink)
{
    const struct ls_entity_config *entity = sink->sink->entity;
    size_t n = (size_t)entity->partitions;
    LS_CLEANUP_FREE struct ls_mark *marks = ls_calloc(n, sizeof(*marks));
    for (size_t i = 0; i < n; i++)
        marks[i].partition = (int32_t)i;
    if (ops->read_marks(store, marks, n, &sink->err) < 0)
        return -1;
    size_t n_missing = ls_replay_marks(marks, n, entity, genesis, ranges, sink->at_ms);
    return n_missing > 0 ? ops->reset_marks(store, marks, n_missing, &sink->err) : 0;
}

int ls_replay_adopt(const struct ls_config *config, struct ls_replay_sink *sink,
                    const struct ls_range *ranges)
{
    const struct ls_store_ops *ops = ls_store_ops_for(sink->sink->kind);
    const struct ls_entity_config *entity = sink->sink->entity;
    LS_CLEANUP_FREE struct ls_genesis *genesis =
        ls_calloc((size_t)entity->partitions, sizeof(*genesis));
    struct ls_store *store = NULL;
    if (ls_kafka_genesis(config, entity, genesis, &sink->err) < 0 ||
        ops->open(sink->sink, &store, &sink->err) < 0)
        return -1;
    int rc = adopt_store(ops, store, genesis, ranges, sink);
    ops->close(store);
    return rc;
}

void ls_replay_free(struct ls_replay_sink *sinks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(sinks[i].at_ms);
    free(sinks);
}
