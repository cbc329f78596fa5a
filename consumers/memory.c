/*
 * Memory: how much of the log an instance may hold, from one option, and how much it does hold.
 *
 * Half of `memory_bytes` is for batches in hand, a quarter for what librdkafka fetched ahead (its
 * own limit counts payload alone, and each message costs about as much again), the rest for
 * requests that are being built and for the program itself. A lane without a batch may always take
 * one, of no more records than its share holds; another one is read while there is room for it and
 * for one of every lane that has none. So the first limit to give way is reading ahead, then the
 * size of batches.
 *
 * How large a record is in hand is measured, batch by batch: payload, librdkafka's message, the
 * decoded values. Rejected: counting records only, since an entity's record may be of 100 bytes or
 * of 100,000.
 */
#include <assert.h>

#include "consumers/instance_impl.h"

enum {
    RECORD_BYTES_FIRST = 1024, /* until it is measured */
    RECORDS_MIN = 16,          /* of a batch, however large they are */
    QUEUE_MIN_BYTES = 256 << 10,
    QUEUE_MAX_BYTES = 4 << 20, /* more is no faster */
    PART_MIN_BYTES = 64 << 10, /* of one partition in one fetch */
    PART_MAX_BYTES = 1 << 20,
    FETCH_MAX_BYTES = 50 << 20, /* librdkafka's own default; it takes less than 2^31 */
};

static uint64_t clamp(uint64_t value, uint64_t min, uint64_t max)
{
    return value < min ? min : value > max ? max : value;
}

void ls_memory_init(struct ls_instance *instance)
{
    instance->memory = (struct ls_memory){.limit = instance->sink_config->memory_bytes,
                                          .record_bytes = RECORD_BYTES_FIRST};
}

struct ls_source_limits ls_memory_source_limits(const struct ls_instance *instance)
{
    uint64_t payload = instance->memory.limit / 8;
    return (struct ls_source_limits){
        .queue_bytes = clamp(payload / instance->n_lanes, QUEUE_MIN_BYTES, QUEUE_MAX_BYTES),
        .fetch_bytes = payload < FETCH_MAX_BYTES ? payload : FETCH_MAX_BYTES,
        .partition_bytes =
            clamp(payload / 2 / (uint64_t)instance->n_partitions, PART_MIN_BYTES, PART_MAX_BYTES),
    };
}

/* Of one lane in batches. */
static uint64_t lane_share(const struct ls_instance *instance)
{
    assert(instance->n_lanes > 0);
    return instance->memory.limit / 2 / instance->n_lanes;
}

uint32_t ls_memory_batch_records(const struct ls_instance *instance)
{
    uint64_t fit = lane_share(instance) / instance->memory.record_bytes;
    uint32_t most = instance->sink_config->batch_records;
    return (uint32_t)clamp(fit, most < RECORDS_MIN ? most : RECORDS_MIN, most);
}

uint32_t ls_memory_batch_bytes(const struct ls_instance *instance)
{
    return (uint32_t)clamp(lane_share(instance) / 2, 1, instance->sink_config->batch_bytes);
}

bool ls_memory_has_room(const struct ls_instance *instance, const struct ls_lane_state *lane)
{
    if (lane->n_batches == 0)
        return true;
    uint64_t lanes = 1; /* this one, and those that have none */
    for (unsigned i = 0; i < instance->n_lanes; i++)
        lanes += instance->lanes[i].n_batches == 0 && instance->lanes[i].n_partitions > 0;
    uint64_t batch = (uint64_t)ls_memory_batch_records(instance) * instance->memory.record_bytes;
    return instance->memory.held + lanes * batch <= instance->memory.limit / 2;
}

void ls_memory_took(struct ls_instance *instance, struct ls_batch *batch)
{
    struct ls_memory *memory = &instance->memory;
    batch->held = ls_batch_footprint(batch);
    memory->held += batch->held;
    if (batch->n_messages < RECORDS_MIN)
        return; /* mostly the arena's first chunk */
    uint32_t each = (uint32_t)clamp(batch->held / batch->n_messages, 1, UINT32_MAX / 2);
    memory->record_bytes = (uint32_t)(((uint64_t)memory->record_bytes * 7 + each + 7) / 8);
    memory->payload_bytes = (uint32_t)(batch->bytes / batch->n_messages);
}

void ls_memory_gave(struct ls_instance *instance, const struct ls_batch *batch)
{
    instance->memory.held -= batch->held;
}

uint64_t ls_memory_held(const struct ls_instance *instance)
{
    uint64_t bytes = instance->memory.held;
    if (instance->spare != NULL)
        bytes += ls_batch_footprint(instance->spare);
    uint64_t each = instance->memory.payload_bytes + LS_MESSAGE_BYTES;
    for (unsigned i = 0; i < instance->n_lanes; i++)
        if (instance->lanes[i].queue != NULL)
            bytes += each * rd_kafka_queue_length(instance->lanes[i].queue);
    return bytes;
}
