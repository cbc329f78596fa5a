/*
 * Law 7 while running: a topic that is made again under its name, or a log that loses its tail, may
 * grow beyond what a sink has read before anything tells of it, and its records would then be taken
 * for the ones that belong at those offsets. So when records come, at most once a second, the
 * broker is asked whether anything at or before the low watermark is younger than what was read
 * there, and less often whether the genesis records are still the oldest. It is one request to each
 * broker, on the producer's connections, where no fetch holds it up. Records that come after a
 * pause are therefore never applied unasked.
 *
 * Rejected: to ask at intervals, which would let a second of wrong records through each time; to
 * ask before each batch, which costs a small batch more than the batch itself.
 *
 * One thread: the instance's. A crash leaves nothing behind.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "consumers/instance_impl.h"

enum {
    WATCH_MS = 1000,
    GENESIS_MS = 10000,
    TIMEOUT_MS = 5000, /* the instance's loop stands still twice that long at most */
};

/* What this instance knows of each partition that it reads; returns how many. */
static size_t known_positions(const struct ls_instance *instance, bool genesis,
                              struct ls_log_position *positions)
{
    size_t n = 0;
    for (int32_t i = 0; i < instance->n_partitions; i++) {
        const struct ls_partition *partition = &instance->partitions[i];
        if (partition->state != LS_PART_BEGUN)
            continue;
        if (genesis || partition->low_at_ms == 0)
            positions[n++] = (struct ls_log_position){i, instance->genesis[i].offset,
                                                      instance->genesis[i].at_ms};
        else
            positions[n++] = (struct ls_log_position){i, partition->low - 1, partition->low_at_ms};
    }
    return n;
}

int ls_log_watch(struct ls_instance *instance, struct ls_err *err)
{
    int64_t now_ms = ls_mono_ms();
    if (now_ms < instance->next_watch_ms)
        return 0;
    bool genesis = now_ms >= instance->next_genesis_ms;
    LS_CLEANUP_FREE struct ls_log_position *positions =
        ls_calloc((size_t)instance->n_partitions, sizeof(*positions));
    size_t n = known_positions(instance, genesis, positions);
    const struct ls_log_position *wrong = NULL;
    if (ls_kafka_check_log(instance->config, instance->producer, instance->genesis[0].topic,
                           positions, n, TIMEOUT_MS, &wrong, err) < 0)
        return -1;
    if (wrong != NULL)
        return ls_startup_refuse_log(instance, wrong, err);
    instance->next_watch_ms = now_ms + WATCH_MS;
    if (genesis)
        instance->next_genesis_ms = now_ms + GENESIS_MS;
    return 0;
}
