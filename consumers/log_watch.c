/*
 * Law 7 while running: a topic that is made again under its name, or a log that loses its tail, may
 * grow beyond what a sink has read before anything tells of it, and its records would then be taken
 * for the ones that belong at those offsets. So when records come, at most once a second, the
 * broker is asked whether anything at or before the low watermark is younger than what was read
 * there, and less often also whether the genesis records are still the oldest. Each is one request
 * to each broker, on the producer's connections, where no fetch holds it up. Records that come
 * after a pause are therefore never applied unasked. What is younger and no record, the end of a
 * transaction, is read once and remembered until the genesis is asked for again, as reading takes a
 * consumer of its own. A partition without a leader is left out, as it delivers nothing; records of
 * it that came before have to wait until it can be asked.
 *
 * Rejected: to ask at intervals, which would let a second of wrong records through each time; to
 * ask before each batch, which costs a small batch more than the batch itself.
 *
 * One thread: the instance's. A crash leaves nothing behind.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "consumers/instance_impl.h"
#include "pipeline/leaders.h"

enum {
    WATCH_MS = 1000,
    GENESIS_MS = 10000,
    TIMEOUT_MS = 5000, /* of each of the two checks that the instance's loop waits for */
};

/*
 * What this instance knows of each partition that it reads: where it has read to, or where nothing
 * is known of that, and with `genesis` for all, their beginnings. Returns how many.
 */
static size_t known_positions(const struct ls_instance *instance, bool genesis,
                              struct ls_log_position *positions)
{
    size_t n = 0;
    for (int32_t i = 0; i < instance->n_partitions; i++) {
        const struct ls_partition *partition = &instance->partitions[i];
        if (partition->state != LS_PART_BEGUN)
            continue;
        if (genesis || partition->low_at_ms == 0)
            positions[n++] = (struct ls_log_position){.partition = i,
                                                      .offset = instance->genesis[i].offset,
                                                      .at_ms = instance->genesis[i].at_ms};
        else
            positions[n++] = (struct ls_log_position){.partition = i,
                                                      .offset = partition->low - 1,
                                                      .at_ms = partition->low_at_ms,
                                                      .clean = partition->clean};
    }
    return n;
}

/* The first partition that the batch has records of and nothing is known of; -1: none. */
static int32_t find_unasked(const struct ls_instance *instance, const struct ls_batch *batch)
{
    for (uint32_t i = 0; i < batch->n_reach; i++)
        if (batch->reach[i].at_ms != 0 && instance->partitions[batch->reach[i].partition].unasked)
            return batch->reach[i].partition;
    return -1;
}

/* Asks of all positions, or of all beginnings. */
static int check(struct ls_instance *instance, bool genesis, struct ls_err *err)
{
    LS_CLEANUP_FREE struct ls_log_position *positions =
        ls_calloc((size_t)instance->n_partitions, sizeof(*positions));
    size_t n = known_positions(instance, genesis, positions);
    const struct ls_log_position *wrong = NULL;
    ls_report_beat(instance, false);
    if (ls_kafka_check_log(instance->config, instance->producer, instance->genesis[0].topic,
                           positions, n, TIMEOUT_MS, &wrong, err) < 0)
        return -1;
    if (wrong != NULL)
        return ls_startup_refuse_log(instance, wrong, err);
    for (size_t i = 0; i < n; i++) {
        struct ls_partition *partition = &instance->partitions[positions[i].partition];
        partition->unasked = !positions[i].asked || (genesis && partition->unasked);
        partition->clean = genesis ? 0 : positions[i].clean; /* read again once */
    }
    return 0;
}

int ls_log_watch(struct ls_instance *instance, const struct ls_batch *batch, struct ls_err *err)
{
    int64_t now_ms = ls_mono_ms();
    if (now_ms < instance->next_watch_ms && find_unasked(instance, batch) < 0)
        return 0;
    /* The positions each time: what came after a pause would move them past what was lost. */
    bool genesis = now_ms >= instance->next_genesis_ms;
    if (check(instance, false, err) < 0 || (genesis && check(instance, true, err) < 0))
        return -1;
    int32_t unasked = find_unasked(instance, batch);
    if (unasked >= 0)
        return ls_leaders_lack(instance->genesis[0].topic, unasked, err);
    instance->next_watch_ms = now_ms + WATCH_MS;
    if (genesis)
        instance->next_genesis_ms = now_ms + GENESIS_MS;
    return 0;
}
