#include "pipeline/quarantine_read.h"

#include "base/clock.h"
#include "base/mem.h"
#include "pipeline/ends.h"
#include "pipeline/kafka.h"
#include "pipeline/quarantined.h"

enum {
    POLL_MS = 20,
    SLICE_KEYS = 1 << 18, /* positions that are looked at in one reading: 16 MiB at most */
    FIRST_CAP = 1024,
};

static rd_kafka_t *open_consumer(const struct ls_config *config, struct ls_err *err)
{
    static const char *const extra[] = {"group.id",
                                        "lockstep.reader",
                                        "enable.partition.eof",
                                        "true",
                                        "queued.max.messages.kbytes",
                                        "8192",
                                        "fetch.message.max.bytes",
                                        "2097152",
                                        "fetch.wait.max.ms",
                                        "10",
                                        NULL};
    rd_kafka_t *consumer =
        ls_kafka_client(config, RD_KAFKA_CONSUMER, "quarantine", NULL, extra, err);
    if (consumer != NULL)
        rd_kafka_poll_set_consumer(consumer);
    return consumer;
}

int ls_quarantine_scan_open(const struct ls_config *config, const struct ls_sink_config *sink,
                            struct ls_quarantine_scan *ret, struct ls_err *err)
{
    struct ls_quarantine_scan scan = {.consumer = open_consumer(config, err)};
    if (scan.consumer == NULL)
        return -1;
    ls_topic_quarantine(sink, scan.topic);
    int rc = ls_kafka_partitions(scan.consumer, scan.topic, &scan.n, err);
    if (rc == 0) {
        scan.first = ls_calloc((size_t)scan.n + 1, sizeof(*scan.first));
        scan.end = ls_calloc((size_t)scan.n + 1, sizeof(*scan.end));
        rc = ls_kafka_ranges(scan.consumer, scan.topic, NULL, (size_t)scan.n, LS_KAFKA_TIMEOUT_MS,
                             scan.first, scan.end, err);
    }
    if (rc < 0)
        ls_quarantine_scan_close(&scan);
    else
        *ret = scan;
    return rc;
}

void ls_quarantine_scan_close(struct ls_quarantine_scan *scan)
{
    if (scan->consumer != NULL) {
        rd_kafka_consumer_close(scan->consumer);
        ls_kafka_end(scan->consumer);
    }
    free(scan->first);
    free(scan->end);
    *scan = (struct ls_quarantine_scan){0};
}

static int64_t start_of(const struct ls_quarantine_scan *scan, const int64_t *from, int32_t p)
{
    return from != NULL && from[p] > scan->first[p] ? from[p] : scan->first[p];
}

/* Begins to read; ret_left is the number of partitions that have anything. */
static int assign(const struct ls_quarantine_scan *scan, const int64_t *from, int32_t *ret_left,
                  struct ls_err *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(scan->n);
    for (int32_t p = 0; p < scan->n; p++)
        if (start_of(scan, from, p) < scan->end[p])
            rd_kafka_topic_partition_list_add(list, scan->topic, p)->offset =
                start_of(scan, from, p);
    *ret_left = list->cnt;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (list->cnt > 0)
        code = rd_kafka_assign(scan->consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? 0
                                              : ls_kafka_err(err, code, "reading %s", scan->topic);
}

/* One message or event. Says whether its partition has ended; -1 when each() wants no more. */
static int take(const struct ls_quarantine_scan *scan, const rd_kafka_message_t *message,
                ls_quarantine_message_fn *each, void *opaque)
{
    int32_t p = message->partition;
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
        return 1;
    if (message->offset >= scan->end[p])
        return 1;
    if (!each(opaque, message))
        return -1;
    return message->offset + 1 >= scan->end[p];
}

int ls_quarantine_scan_run(const struct ls_quarantine_scan *scan, const int64_t *from,
                           ls_quarantine_message_fn *each, void *opaque, const atomic_int *stop,
                           struct ls_err *err)
{
    int32_t left;
    if (assign(scan, from, &left, err) < 0)
        return -1;
    LS_CLEANUP_FREE bool *ended = ls_calloc((size_t)scan->n + 1, sizeof(*ended));
    int rc = 0, took = 0;
    int64_t moved_ms = ls_mono_ms();
    while (left > 0 && rc == 0 && took >= 0 && !(stop != NULL && *stop)) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(scan->consumer, POLL_MS);
        bool ours = message != NULL && message->rkt != NULL && message->partition >= 0 &&
                    message->partition < scan->n &&
                    (message->err == RD_KAFKA_RESP_ERR_NO_ERROR ||
                     message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF);
        if (ours && !ended[message->partition]) {
            took = take(scan, message, each, opaque);
            moved_ms = ls_mono_ms();
            if (took > 0) {
                ended[message->partition] = true;
                left--;
            }
        } else if (ls_mono_ms() - moved_ms > LS_KAFKA_TIMEOUT_MS) {
            rc = ls_kafka_err(err, RD_KAFKA_RESP_ERR__TIMED_OUT, "reading %s", scan->topic);
        } else if (message == NULL) {
            ls_kafka_wake(scan->consumer, scan->topic, 0);
        }
        if (message != NULL)
            rd_kafka_message_destroy(message);
    }
    rd_kafka_assign(scan->consumer, NULL);
    return rc;
}

/*
 * The newest message of each position of one slice: open addressing, slot 0 is free. A slice holds
 * so many of the positions that its table is bounded, whatever the topic holds.
 */
struct newest {
    struct newest_slot {
        uint64_t position;
        int64_t message; /* its offset in the quarantine topic */
    } * slots;
    size_t cap, n;
};

static struct newest_slot *find(const struct newest *newest, uint64_t position)
{
    size_t at = (size_t)ls_quarantined_mix(position) & (newest->cap - 1);
    while (newest->slots[at].position != 0 && newest->slots[at].position != position)
        at = (at + 1) & (newest->cap - 1);
    return &newest->slots[at];
}

static struct newest_slot *find_or_add(struct newest *newest, uint64_t position)
{
    if (newest->n * 2 >= newest->cap) {
        struct newest larger = {.cap = newest->cap ? newest->cap * 2 : FIRST_CAP, .n = newest->n};
        larger.slots = ls_calloc(larger.cap, sizeof(*larger.slots));
        for (size_t i = 0; i < newest->cap; i++)
            if (newest->slots[i].position != 0)
                *find(&larger, newest->slots[i].position) = newest->slots[i];
        free(newest->slots);
        *newest = larger;
    }
    struct newest_slot *slot = find(newest, position);
    if (slot->position == 0) {
        *slot = (struct newest_slot){.position = position, .message = -1};
        newest->n++;
    }
    return slot;
}

struct reading {
    const struct ls_quarantine_scan *scan;
    const struct ls_entity_config *entity;
    const int64_t *from;
    uint8_t **gone; /* by partition: a bit for each message that is replaced or closed */
    struct newest newest;
    uint64_t slice, n_slices;
    ls_quarantine_entry_fn *each;
    void *opaque;
};

static bool is_gone(const struct reading *reading, int32_t p, int64_t message)
{
    int64_t bit = message - start_of(reading->scan, reading->from, p);
    return reading->gone[p][bit / 8] >> (bit % 8) & 1;
}

static void set_gone(struct reading *reading, int32_t p, int64_t message)
{
    int64_t bit = message - start_of(reading->scan, reading->from, p);
    reading->gone[p][bit / 8] |= (uint8_t)(1u << (bit % 8));
}

/* First reading: a message replaces the one before it about the same record. */
static bool note_message(void *opaque, const rd_kafka_message_t *message)
{
    struct reading *reading = opaque;
    char topic[LS_TOPIC_NAME_MAX];
    int32_t partition;
    int64_t offset;
    ls_topic_state(reading->entity, topic);
    if (message->key == NULL ||
        !ls_quarantined_parse(message->key, message->key_len, topic, &partition, &offset))
        return true;
    uint64_t position = ls_quarantined_pack(partition, offset);
    if (ls_quarantined_mix(~position) % reading->n_slices != reading->slice)
        return true;
    struct newest_slot *slot = find_or_add(&reading->newest, position);
    if (slot->message >= 0)
        set_gone(reading, message->partition, slot->message);
    slot->message = message->offset;
    return true;
}

static bool pass_entry(void *opaque, const rd_kafka_message_t *message)
{
    struct reading *reading = opaque;
    struct ls_quarantine_entry entry;
    if (message->payload == NULL || is_gone(reading, message->partition, message->offset) ||
        !ls_quarantine_entry_read(reading->entity, message, &entry))
        return true;
    return reading->each(reading->opaque, &entry);
}

static int find_gone(struct reading *reading, const atomic_int *stop, struct ls_err *err)
{
    int rc = 0;
    for (reading->slice = 0; rc == 0 && reading->slice < reading->n_slices; reading->slice++) {
        rc = ls_quarantine_scan_run(reading->scan, reading->from, note_message, reading, stop, err);
        free(reading->newest.slots);
        reading->newest = (struct newest){0};
    }
    return rc;
}

int ls_quarantine_scan_open_entries(const struct ls_quarantine_scan *scan,
                                    const struct ls_entity_config *entity, const int64_t *from,
                                    ls_quarantine_entry_fn *each, void *opaque,
                                    const atomic_int *stop, struct ls_err *err)
{
    struct reading reading = {
        .scan = scan, .entity = entity, .from = from, .each = each, .opaque = opaque};
    uint64_t messages = 0;
    reading.gone = ls_calloc((size_t)scan->n + 1, sizeof(*reading.gone));
    for (int32_t p = 0; p < scan->n; p++) {
        int64_t n = scan->end[p] - start_of(scan, from, p);
        messages += n > 0 ? (uint64_t)n : 0;
        reading.gone[p] = ls_calloc(n > 0 ? (size_t)n / 8 + 1 : 1, 1);
    }
    reading.n_slices = messages / SLICE_KEYS + 1;
    int rc = find_gone(&reading, stop, err);
    if (rc == 0 && !(stop != NULL && *stop))
        rc = ls_quarantine_scan_run(scan, from, pass_entry, &reading, stop, err);
    for (int32_t p = 0; p < scan->n; p++)
        free(reading.gone[p]);
    free(reading.gone);
    return rc;
}

int ls_quarantine_read(const struct ls_config *config, const struct ls_sink_config *sink,
                       ls_quarantine_entry_fn *each, void *opaque, const atomic_int *stop,
                       struct ls_err *err)
{
    struct ls_quarantine_scan scan;
    if (ls_quarantine_scan_open(config, sink, &scan, err) < 0)
        return -1;
    int rc = ls_quarantine_scan_open_entries(&scan, sink->entity, NULL, each, opaque, stop, err);
    ls_quarantine_scan_close(&scan);
    return rc;
}
