/*
 * Reads the start of topics, or all of small ones: the log's identity, the control topic,
 * quarantines. Each call has a consumer of its own, assigns partitions by hand and commits
 * nothing, so it joins no group and disturbs none.
 *
 * Threads: any, each call by itself. A crash leaves nothing behind.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "pipeline/ends.h"
#include "pipeline/kafka.h"
#include "pipeline/leaders.h"
#include "pipeline/topics.h"
#include "schema/key.h"

enum { POLL_MS = 200, LEADER_MS = 5000, LEADER_AGAIN_MS = 50 };

struct part {
    int64_t from; /* 0: from the first record there is */
    int64_t end;  /* read until here; INT64_MAX: until the end of the partition */
    bool done;
};

/* Gets each message and says whether that is enough. */
enum enough { READ_ON, ENOUGH_OF_PARTITION, ENOUGH };
typedef enum enough message_fn(void *opaque, const rd_kafka_message_t *message);

struct reading {
    rd_kafka_t *consumer;
    const char *topic;
    struct part *parts;
    int32_t n_parts;
    int32_t n_left;
    struct ls_leaders leaders; /* as of the beginning */
    int timeout_ms;            /* without anything new */
    int64_t until_ms;          /* monotonic: that is so long from the call or the newest on */
    message_fn *each;
    void *opaque;
};

static rd_kafka_t *open_consumer(const struct ls_config *config, const char *bytes,
                                 struct ls_err *err)
{
    const char *extra[] = {"group.id", "lockstep.reader", "enable.partition.eof", "true",
                           "queued.max.messages.kbytes", "4096", "fetch.message.max.bytes", bytes,
                           /* The end is waited for, and so is the last request: be brief. */
                           "fetch.wait.max.ms", "10", NULL};
    rd_kafka_t *consumer = ls_kafka_client(config, RD_KAFKA_CONSUMER, "reader", NULL, extra, err);
    if (consumer)
        rd_kafka_poll_set_consumer(consumer);
    return consumer;
}

static int assign(const struct reading *reading, struct ls_err *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(reading->n_parts);
    for (int32_t p = 0; p < reading->n_parts; p++)
        if (!reading->parts[p].done)
            rd_kafka_topic_partition_list_add(list, reading->topic, p)->offset =
                reading->parts[p].from > 0 ? reading->parts[p].from : RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_resp_err_t code = rd_kafka_assign(reading->consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return ls_kafka_err(err, code, "reading %s", reading->topic);
    return 0;
}

static void end_part(struct reading *reading, int32_t partition)
{
    struct part *part = &reading->parts[partition];
    if (part->done)
        return;
    part->done = true;
    reading->n_left--;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, reading->topic, partition);
    rd_kafka_pause_partitions(reading->consumer, list); /* the rest of it is not wanted */
    rd_kafka_topic_partition_list_destroy(list);
}

/* One message or event. Returns 1 when it brought the reading on, 0 when not, -1 on failure. */
static int take(struct reading *reading, const rd_kafka_message_t *message, struct ls_err *err)
{
    int32_t p = message->partition;
    bool ours = message->rkt && p >= 0 && p < reading->n_parts;
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && ours) {
        end_part(reading, p);
        return 1;
    }
    if (message->err) {
        ls_kafka_err(err, message->err, "reading %s", reading->topic);
        return ls_kafka_class(message->err) == LS_ERR_RETRY ? 0 : -1;
    }
    if (!ours || reading->parts[p].done)
        return 0;
    int64_t offset = message->offset;
    enum enough enough = ENOUGH_OF_PARTITION;
    if (offset < reading->parts[p].end)
        enough = reading->each(reading->opaque, message);
    if (enough == ENOUGH)
        reading->n_left = 0;
    else if (enough == ENOUGH_OF_PARTITION || offset + 1 >= reading->parts[p].end)
        end_part(reading, p);
    return 1;
}

/* Reads until all parts are done. */
static int read_parts(struct reading *reading, struct ls_err *err)
{
    if (assign(reading, err) < 0)
        return -1;
    struct ls_err last;
    ls_kafka_err(&last, RD_KAFKA_RESP_ERR__TIMED_OUT, "reading %s", reading->topic);
    while (reading->n_left > 0) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(reading->consumer, POLL_MS);
        int rc = 0;
        if (message) {
            rc = take(reading, message, &last);
            rd_kafka_message_destroy(message);
        }
        if (rc > 0)
            reading->until_ms = ls_mono_ms() + reading->timeout_ms;
        if (rc < 0 || ls_mono_ms() > reading->until_ms) {
            if (err)
                *err = last;
            return -1;
        }
    }
    return 0;
}

/*
 * A reading of nothing yet; end_reading follows, whatever is returned. Partitions are asked for
 * although some callers know them: else the consumer learns of their leaders half a second later.
 */
static int begin_reading(struct reading *reading, const struct ls_config *config, const char *topic,
                         const char *fetch_bytes, int timeout_ms, message_fn *each, void *opaque,
                         struct ls_err *err)
{
    *reading = (struct reading){.topic = topic,
                                .timeout_ms = timeout_ms,
                                .until_ms = ls_mono_ms() + timeout_ms,
                                .each = each,
                                .opaque = opaque};
    reading->consumer = open_consumer(config, fetch_bytes, err);
    if (reading->consumer == NULL ||
        ls_leaders_ask(reading->consumer, topic, timeout_ms, &reading->leaders, err) < 0)
        return -1;
    reading->n_parts = reading->leaders.n;
    reading->parts = ls_calloc((size_t)reading->n_parts + 1, sizeof(*reading->parts));
    for (int32_t p = 0; p < reading->n_parts; p++)
        reading->parts[p].done = true;
    return 0;
}

/* Adds what is left of [from, end) of a partition. */
static int add_part(struct reading *reading, int32_t partition, int64_t from, int64_t end,
                    struct ls_err *err)
{
    if (partition >= reading->n_parts)
        return ls_kafka_err(err, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "reading %s/%d",
                            reading->topic, partition);
    reading->n_left += reading->parts[partition].done;
    reading->parts[partition] = (struct part){.from = from, .end = end};
    return 0;
}

/* Reads what was added, unless rc says that something failed before; frees all; returns rc. */
static int end_reading(struct reading *reading, int rc, struct ls_err *err)
{
    if (rc == 0 && reading->n_left > 0)
        rc = read_parts(reading, err);
    free(reading->parts);
    ls_leaders_free(&reading->leaders);
    if (reading->consumer != NULL) {
        rd_kafka_consumer_close(reading->consumer);
        ls_kafka_end(reading->consumer);
    }
    return rc;
}

struct all {
    ls_message_fn *each;
    void *opaque;
};

static enum enough pass_on(void *opaque, const rd_kafka_message_t *message)
{
    struct all *all = opaque;
    all->each(all->opaque, message);
    return READ_ON;
}

/* All that there is now. */
static int add_all(struct reading *reading, struct ls_err *err)
{
    if (reading->n_parts == 0)
        return ls_kafka_err(err, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "reading %s",
                            reading->topic);
    size_t n = (size_t)reading->n_parts;
    LS_CLEANUP_FREE int64_t *firsts = ls_calloc(n, sizeof(*firsts));
    LS_CLEANUP_FREE int64_t *ends = ls_calloc(n, sizeof(*ends));
    if (ls_kafka_ranges(reading->consumer, reading->topic, NULL, n, ls_left_ms(reading->until_ms),
                        firsts, ends, err) < 0)
        return -1;
    for (size_t p = 0; p < n; p++)
        if (firsts[p] < ends[p] && add_part(reading, (int32_t)p, 0, ends[p], err) < 0)
            return -1;
    return 0;
}

int ls_kafka_read_all(const struct ls_config *config, const char *topic, int timeout_ms,
                      ls_message_fn *each, void *opaque, struct ls_err *err)
{
    struct all all = {each, opaque};
    struct reading reading;
    int rc = begin_reading(&reading, config, topic, "1048576", timeout_ms, pass_on, &all, err);
    if (rc == 0)
        rc = add_all(&reading, err);
    return end_reading(&reading, rc, err);
}

struct span {
    ls_span_fn *each;
    void *opaque;
};

static enum enough pass_on_until(void *opaque, const rd_kafka_message_t *message)
{
    struct span *span = opaque;
    return span->each(span->opaque, message) ? ENOUGH : READ_ON;
}

int ls_kafka_read_spans(const struct ls_config *config, const char *topic,
                        const struct ls_log_span *spans, size_t n, int timeout_ms, ls_span_fn *each,
                        void *opaque, struct ls_err *err)
{
    struct span span = {each, opaque};
    struct reading reading;
    int rc = begin_reading(&reading, config, topic, "65536", timeout_ms, pass_on_until, &span, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = add_part(&reading, spans[i].partition, spans[i].from, spans[i].end, err);
        if (rc == 0 && !ls_leaders_has(&reading.leaders, spans[i].partition))
            rc = ls_leaders_lack(topic, spans[i].partition, err);
    }
    return end_reading(&reading, rc, err);
}

struct genesis_search {
    struct ls_genesis *genesis;
    bool *found;
    uint32_t *seen; /* records of each partition */
    struct ls_err err;
};

static enum enough look_for_genesis(void *opaque, const rd_kafka_message_t *message)
{
    struct genesis_search *search = opaque;
    int32_t p = message->partition;
    if (message->key_len != strlen(LS_GENESIS_KEY) ||
        memcmp(message->key, LS_GENESIS_KEY, message->key_len) != 0)
        return ++search->seen[p] >= LS_GENESIS_WITHIN ? ENOUGH_OF_PARTITION : READ_ON;
    if (ls_genesis_decode(message->payload, message->len, &search->genesis[p], &search->err) < 0) {
        ls_err_prefix(&search->err, "%s/%d offset %lld", rd_kafka_topic_name(message->rkt), p,
                      (long long)message->offset);
        search->err.class = LS_ERR_FATAL;
    } else {
        search->genesis[p].offset = message->offset;
        search->genesis[p].at_ms = rd_kafka_message_timestamp(message, NULL);
        search->found[p] = true;
    }
    return ENOUGH_OF_PARTITION;
}

/* Asks again for a while when a partition has no leader, as one that was just made. */
static int wait_for_leaders(struct reading *reading, struct ls_err *err)
{
    int64_t leader_ms = ls_mono_ms() + LEADER_MS;
    for (;;) {
        int32_t lacks = -1;
        for (int32_t p = 0; p < reading->n_parts && lacks < 0; p++)
            if (!ls_leaders_has(&reading->leaders, p))
                lacks = p;
        if (lacks < 0)
            return 0;
        if (ls_mono_ms() >= (leader_ms < reading->until_ms ? leader_ms : reading->until_ms))
            return ls_leaders_lack(reading->topic, lacks, err);
        poll(NULL, 0, LEADER_AGAIN_MS);
        ls_leaders_free(&reading->leaders);
        if (ls_leaders_ask(reading->consumer, reading->topic, ls_left_ms(reading->until_ms),
                           &reading->leaders, err) < 0)
            return -1;
    }
}

/* Whether the topic is there, with as many partitions as the configuration says. */
static int check_topic(const struct ls_config *config, const struct ls_entity_config *entity,
                       const struct reading *reading, struct ls_err *err)
{
    if (reading->n_parts == 0)
        return ls_kafka_err(err, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "topic %s",
                            reading->topic);
    if (reading->n_parts != entity->partitions)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "%s has %d partitions, and %s says %d; a log never changes their number: "
                          "correct entities.%s.partitions, or go to the next generation with "
                          "`lockstep topics create`",
                          reading->topic, reading->n_parts, config->path, entity->partitions,
                          entity->name);
    return 0;
}

/* Of which topic, and what is to be found out. */
struct finding {
    const char *topic;
    int32_t partitions;
    const struct ls_entity_config *entity; /* whose log it must be; NULL: whatever is there */
    struct ls_genesis *genesis;
    bool *found;
    bool *asked; /* whether each has a leader; NULL: all must have one */
    int timeout_ms;
};

static int find_genesis(const struct ls_config *config, const struct finding *finding,
                        struct ls_err *err)
{
    struct genesis_search search = {.genesis = finding->genesis, .found = finding->found};
    search.seen = ls_calloc((size_t)finding->partitions, sizeof(*search.seen));
    struct reading reading;
    /* Almost always the first record is it: fetch little. */
    int rc = begin_reading(&reading, config, finding->topic, "65536", finding->timeout_ms,
                           look_for_genesis, &search, err);
    if (rc == 0 && finding->entity != NULL)
        rc = check_topic(config, finding->entity, &reading, err);
    if (rc == 0 && finding->asked == NULL)
        rc = wait_for_leaders(&reading, err);
    for (int32_t p = 0; p < finding->partitions; p++) {
        finding->found[p] = false;
        bool led = ls_leaders_has(&reading.leaders, p);
        if (finding->asked != NULL)
            finding->asked[p] = led;
        if (rc == 0 && (led || p >= reading.n_parts))
            rc = add_part(&reading, p, 0, INT64_MAX, err);
    }
    rc = end_reading(&reading, rc, err);
    if (rc == 0 && search.err.class) {
        if (err)
            *err = search.err;
        rc = -1;
    }
    free(search.seen);
    return rc;
}

int ls_kafka_refuse_partitions(const struct ls_entity_config *entity,
                               const struct ls_genesis *genesis, struct ls_err *err)
{
    return ls_err_set(err, LS_ERR_FATAL, 0,
                      "%s was made with %d partitions, as its genesis record says, and has %d now; "
                      "a log never changes their number: its keys would go astray. Set "
                      "entities.%s.generation to %u, run `lockstep topics create` and restart "
                      "workers and publishers: what the stores hold stays",
                      genesis->topic, genesis->partitions, entity->partitions, entity->name,
                      entity->generation + 1);
}

int ls_kafka_find_genesis(const struct ls_config *config, const char *topic, int32_t partitions,
                          struct ls_genesis *genesis, bool *found, struct ls_err *err)
{
    struct finding finding = {.topic = topic,
                              .partitions = partitions,
                              .genesis = genesis,
                              .found = found,
                              .timeout_ms = LS_KAFKA_TIMEOUT_MS};
    return find_genesis(config, &finding, err);
}

/* `first` is the first partition that was asked. */
static int check_genesis(const struct ls_entity_config *entity, const char *topic,
                         const struct ls_genesis *genesis, const bool *found, const bool *asked,
                         int32_t first, struct ls_err *err)
{
    for (int32_t p = first; p < entity->partitions; p++) {
        if (!asked[p])
            continue;
        if (!found[p])
            return ls_err_set(err, LS_ERR_FATAL, 0,
                              "%s/%d has no genesis record; `lockstep topics create` adds it",
                              topic, p);
        if (strcmp(genesis[p].uuid, genesis[first].uuid) != 0)
            return ls_err_set(err, LS_ERR_FATAL, 0,
                              "%s: partitions %d and %d have different genesis records; the topic "
                              "is mixed out of two logs: `lockstep topics check`",
                              topic, first, p);
        if (strcmp(genesis[p].topic, topic) != 0 || genesis[p].partition != p ||
            genesis[p].generation != entity->generation)
            return ls_err_set(err, LS_ERR_FATAL, 0,
                              "%s/%d has the genesis record of %s/%d; it is a copy of another log: "
                              "`lockstep topics check`",
                              topic, p, genesis[p].topic, genesis[p].partition);
        if (genesis[p].partitions != entity->partitions)
            return ls_kafka_refuse_partitions(entity, &genesis[p], err);
    }
    return 0;
}

int ls_kafka_genesis_asked(const struct ls_config *config, const struct ls_entity_config *entity,
                           int timeout_ms, struct ls_genesis *genesis, bool *asked,
                           struct ls_err *err)
{
    char topic[LS_TOPIC_NAME_MAX];
    int32_t n = entity->partitions, first = 0;
    LS_CLEANUP_FREE bool *found = ls_calloc((size_t)n, sizeof(*found));
    LS_CLEANUP_FREE bool *led = ls_calloc((size_t)n, sizeof(*led));
    LS_CLEANUP_FREE struct ls_genesis *all = ls_calloc((size_t)n, sizeof(*all));
    struct finding finding = {topic, n, entity, all, found, led, timeout_ms};
    ls_topic_state(entity, topic);
    if (find_genesis(config, &finding, err) < 0)
        return -1;
    while (first < n && !led[first])
        first++;
    if (first == n)
        return ls_leaders_lack(topic, 0, err);
    if (check_genesis(entity, topic, all, found, led, first, err) < 0)
        return -1;
    for (int32_t p = 0; p < n; p++) {
        if (led[p])
            continue;
        all[p] = all[first];
        all[p].partition = p;
        all[p].offset = all[p].at_ms = 0;
    }
    memcpy(genesis, all, (size_t)n * sizeof(*all));
    memcpy(asked, led, (size_t)n * sizeof(*led));
    return 0;
}

int ls_kafka_genesis(const struct ls_config *config, const struct ls_entity_config *entity,
                     struct ls_genesis *genesis, struct ls_err *err)
{
    char topic[LS_TOPIC_NAME_MAX];
    size_t n = (size_t)entity->partitions;
    LS_CLEANUP_FREE bool *found = ls_calloc(n, sizeof(*found));
    LS_CLEANUP_FREE bool *all_asked = ls_calloc(n, sizeof(*all_asked));
    LS_CLEANUP_FREE struct ls_genesis *all = ls_calloc(n, sizeof(*all));
    struct finding finding = {topic, entity->partitions, entity, all, found,
                              NULL,  LS_KAFKA_TIMEOUT_MS};
    ls_topic_state(entity, topic);
    memset(all_asked, true, n * sizeof(*all_asked));
    if (find_genesis(config, &finding, err) < 0 ||
        check_genesis(entity, topic, all, found, all_asked, 0, err) < 0)
        return -1;
    memcpy(genesis, all, n * sizeof(*all));
    return 0;
}
