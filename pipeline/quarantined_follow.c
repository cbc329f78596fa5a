/* The incremental reading of a quarantine topic's positions. */
#include <xxhash.h>

#include "base/mem.h"
#include "pipeline/ends.h"
#include "pipeline/kafka.h"
#include "pipeline/quarantine_read.h"
#include "pipeline/quarantined_file.h"

struct following {
    struct ls_quarantined set;
    struct ls_quarantined_place *places;
    const struct ls_entity_config *entity;
    bool stranger; /* the message that the places end with is another one: another topic */
};

static uint64_t hash_of(const rd_kafka_message_t *message)
{
    return XXH3_64bits(message->key, message->key_len);
}

static bool take_message(void *opaque, const rd_kafka_message_t *message)
{
    struct following *following = opaque;
    struct ls_quarantined_place *place = &following->places[message->partition];
    int64_t at_ms = rd_kafka_message_timestamp(message, NULL);
    char topic[LS_TOPIC_NAME_MAX];
    int32_t partition;
    int64_t offset;
    if (message->offset < place->next) {
        following->stranger |= message->offset == place->last &&
                               (at_ms != place->last_ms || hash_of(message) != place->last_hash);
        return !following->stranger;
    }
    place->last = message->offset;
    place->last_ms = at_ms;
    place->last_hash = hash_of(message);
    ls_topic_state(following->entity, topic);
    if (message->key == NULL ||
        !ls_quarantined_parse(message->key, message->key_len, topic, &partition, &offset))
        return true;
    if (message->payload != NULL)
        ls_quarantined_add(&following->set, partition, offset);
    else
        ls_quarantined_remove(&following->set, partition, offset);
    return true;
}

static void start_afresh(struct following *following, int32_t n)
{
    ls_quarantined_free(&following->set);
    for (int32_t p = 0; p < n; p++)
        following->places[p] = (struct ls_quarantined_place){.last = -1};
    following->stranger = false;
}

/* Reads on from the places, beginning with the message that each of them ends with. */
static int read_on(const struct ls_quarantine_scan *scan, struct following *following,
                   struct ls_err *err)
{
    LS_CLEANUP_FREE int64_t *from = ls_calloc((size_t)scan->n + 1, sizeof(*from));
    for (int32_t p = 0; p < scan->n; p++) {
        const struct ls_quarantined_place *place = &following->places[p];
        from[p] = place->last >= 0 ? place->last : place->next;
    }
    if (ls_quarantine_scan_run(scan, from, take_message, following, NULL, err) < 0)
        return -1;
    for (int32_t p = 0; p < scan->n; p++)
        following->places[p].next = scan->end[p];
    return 0;
}

/* Whether the places end where the topic does, or -1. Places beyond its end are of another one. */
static int is_current(rd_kafka_t *client, const char *topic, int32_t n,
                      const struct ls_quarantined_place *places, bool *ret_beyond,
                      struct ls_err *err)
{
    bool current = true;
    LS_CLEANUP_FREE int64_t *ends = ls_calloc((size_t)n + 1, sizeof(*ends));
    if (ls_kafka_ranges(client, topic, NULL, (size_t)n, LS_KAFKA_TIMEOUT_MS, NULL, ends, err) < 0)
        return -1;
    for (int32_t p = 0; p < n; p++) {
        current &= places[p].next == ends[p];
        *ret_beyond |= places[p].next > ends[p];
    }
    return current;
}

static int read_topic(const struct ls_config *config, const struct ls_sink_config *sink,
                      struct following *following, int32_t n, struct ls_err *err)
{
    struct ls_quarantine_scan scan;
    if (ls_quarantine_scan_open(config, sink, &scan, err) < 0)
        return -1;
    int rc = 0;
    if (scan.n == n) /* else it was made anew just now: the next look sees it */
        rc = read_on(&scan, following, err);
    if (rc == 0 && following->stranger) {
        start_afresh(following, n);
        rc = read_on(&scan, following, err);
    }
    if (rc == 0 && scan.n == n)
        ls_quarantined_save(config, scan.topic, following->places, n, &following->set);
    ls_quarantine_scan_close(&scan);
    return rc;
}

int ls_quarantined_follow(const struct ls_config *config, rd_kafka_t *client,
                          const struct ls_sink_config *sink, struct ls_quarantined *set,
                          struct ls_err *err)
{
    char topic[LS_TOPIC_NAME_MAX];
    int32_t n;
    ls_topic_quarantine(sink, topic);
    if (ls_kafka_partitions(client, topic, &n, err) < 0)
        return -1;
    LS_CLEANUP_FREE struct ls_quarantined_place *places = ls_calloc((size_t)n + 1, sizeof(*places));
    struct following following = {.places = places, .entity = sink->entity};
    bool beyond = false;
    /* A set that was cut off says less and less of what is there: it is made anew in time. */
    if (!ls_quarantined_load(config, topic, places, n, &following.set) ||
        (following.set.more && following.set.n < LS_QUARANTINED_MAX / 10 * 9))
        start_afresh(&following, n);
    int rc = is_current(client, topic, n, places, &beyond, err);
    if (beyond)
        start_afresh(&following, n);
    if (rc == 0)
        rc = read_topic(config, sink, &following, n, err);
    if (rc < 0) {
        ls_quarantined_free(&following.set);
        return -1;
    }
    ls_quarantined_free(set);
    *set = following.set;
    return 0;
}
