/*
 * The quarantine: poison goes to `<entity>.quarantine.<sink>`, whole, with what is known of it in
 * headers, keyed by where it stands in the log, so that reading it again replaces its entry. It
 * counts as final only when Kafka has confirmed the write (law 5): until then its batch stays open
 * and the watermark behind it. A broker that is away only delays that; nothing expires.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "consumers/instance_impl.h"
#include "pipeline/kafka.h"
#include "pipeline/topics.h"

enum { FLUSH_MS = 2000 };

/* One write that is not confirmed. */
struct entry {
    struct entry *next, *prev; /* all that are under way or wait */
    struct ls_quarantine *quarantine;
    struct ls_batch *batch; /* NULL: let go, nobody waits for it */
    struct ls_record *record;
    bool sent;
    int code;
    char text[256];
};

struct ls_quarantine {
    struct ls_instance *instance;
    char topic[LS_TOPIC_NAME_MAX];
    char source_topic[LS_TOPIC_NAME_MAX];
    struct entry entries; /* head of the ring */
    uint64_t n_unsent;
    struct ls_err failed; /* a refusal that no retry mends */
};

static void unlink_entry(struct entry *entry)
{
    entry->prev->next = entry->next;
    entry->next->prev = entry->prev;
}

/*
 * A write failed. What the broker will never take (too large, no such topic) is a wrong set-up:
 * sent again it would only fail again, for ever. A broken client is looked at by serve.
 */
static void note_failure(struct ls_quarantine *quarantine, rd_kafka_resp_err_t code)
{
    if (code == RD_KAFKA_RESP_ERR__FATAL || ls_kafka_class(code) == LS_ERR_RETRY)
        return;
    const char *advice = code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
                             ? "; raise its max.message.bytes (`lockstep topics check`)"
                             : "";
    ls_kafka_err(&quarantine->failed, code, "a record cannot be quarantined in %s",
                 quarantine->topic);
    quarantine->failed.class = LS_ERR_FATAL;
    size_t len = strlen(quarantine->failed.text);
    snprintf(quarantine->failed.text + len, sizeof(quarantine->failed.text) - len, "%s", advice);
}

/* Delivery callback: runs inside rd_kafka_poll in the instance's thread. */
static void on_delivery(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
    (void)producer;
    (void)opaque;
    struct entry *entry = message->_private;
    if (entry == NULL)
        return; /* a heartbeat: the next one says it again */
    struct ls_quarantine *quarantine = entry->quarantine;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        note_failure(quarantine, message->err);
        if (entry->batch != NULL) {
            entry->sent = false;
            quarantine->n_unsent++;
            return;
        }
    }
    unlink_entry(entry);
    if (entry->batch != NULL)
        ls_dispatch_quarantined(quarantine->instance, entry->batch);
    free(entry);
}

rd_kafka_t *ls_quarantine_producer(struct ls_instance *instance, struct ls_err *err)
{
    static const char *const extra[] = {
        "acks",
        "all",
        "enable.idempotence",
        "true",
        "message.timeout.ms",
        "0",
        "message.max.bytes",
        "16777216",
        "linger.ms",
        "5",
        /* While Kafka is away heartbeats gather here: a bounded number of them. */
        "queue.buffering.max.messages",
        "10000",
        "queue.buffering.max.kbytes",
        "65536",
        NULL,
    };
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    return ls_kafka_client(instance->config, RD_KAFKA_PRODUCER, instance->sink_config->name, conf,
                           extra, err);
}

struct ls_quarantine *ls_quarantine_open(struct ls_instance *instance)
{
    struct ls_quarantine *quarantine = ls_calloc(1, sizeof(*quarantine));
    quarantine->instance = instance;
    quarantine->entries.next = quarantine->entries.prev = &quarantine->entries;
    ls_topic_quarantine(instance->sink_config, quarantine->topic);
    ls_topic_state(instance->sink_config->entity, quarantine->source_topic);
    return quarantine;
}

void ls_quarantine_forget(struct ls_quarantine *quarantine, const struct ls_batch *batch)
{
    for (struct entry *entry = quarantine->entries.next, *next; entry != &quarantine->entries;
         entry = next) {
        next = entry->next;
        if (batch != NULL && entry->batch != batch)
            continue;
        entry->batch = NULL;
        entry->record = NULL;
        if (!entry->sent) {
            unlink_entry(entry);
            free(entry);
            quarantine->n_unsent--;
        }
    }
    if (batch == NULL)
        quarantine->failed = (struct ls_err){0};
}

void ls_quarantine_close(struct ls_quarantine *quarantine)
{
    if (quarantine == NULL)
        return;
    for (struct entry *entry = quarantine->entries.next, *next; entry != &quarantine->entries;
         entry = next) {
        next = entry->next;
        free(entry);
    }
    free(quarantine);
}

static void add_header(rd_kafka_headers_t *headers, const char *name, const char *text)
{
    rd_kafka_header_add(headers, name, -1, text, -1);
}

static void add_number(rd_kafka_headers_t *headers, const char *name, int64_t number)
{
    char digits[24];
    snprintf(digits, sizeof(digits), "%" PRId64, number);
    add_header(headers, name, digits);
}

static rd_kafka_headers_t *make_headers(const struct entry *entry)
{
    const struct ls_record *record = entry->record;
    rd_kafka_headers_t *headers = rd_kafka_headers_new(12);
    add_header(headers, "topic", entry->quarantine->source_topic);
    add_number(headers, "partition", record->partition);
    add_number(headers, "offset", record->offset);
    add_number(headers, "version", (int64_t)record->version);
    add_number(headers, "at", record->at_ms);
    add_header(headers, "class", ls_reject_name((enum ls_reject)record->reject));
    add_number(headers, "code", entry->code);
    add_header(headers, "text", entry->text);
    add_number(headers, "attempts", record->attempts + 1);
    if (record->key != NULL)
        rd_kafka_header_add(headers, "key", -1, record->key, record->key_len);
    return headers;
}

/* Hands one entry to the producer; false when its queue is full. */
static bool send_entry(struct ls_quarantine *quarantine, struct entry *entry)
{
    const struct ls_record *record = entry->record;
    char key[LS_TOPIC_NAME_MAX + 40];
    int key_len = snprintf(key, sizeof(key), "%s/%d/%" PRId64, quarantine->source_topic,
                           record->partition, record->offset);
    rd_kafka_headers_t *headers = make_headers(entry);
    rd_kafka_resp_err_t code = rd_kafka_producev(
        quarantine->instance->producer, RD_KAFKA_V_TOPIC(quarantine->topic),
        RD_KAFKA_V_KEY(key, (size_t)key_len),
        RD_KAFKA_V_VALUE(record->body ? (void *)(uintptr_t)record->body : (void *)(uintptr_t) "",
                         record->body_len),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_OPAQUE(entry), RD_KAFKA_V_END);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        entry->sent = true;
        quarantine->n_unsent--;
        return true;
    }
    rd_kafka_headers_destroy(headers);
    note_failure(quarantine, code);
    return false;
}

void ls_quarantine_put(struct ls_quarantine *quarantine, struct ls_batch *batch,
                       struct ls_record *record, int code, const char *text)
{
    struct entry *entry = ls_calloc(1, sizeof(*entry));
    entry->quarantine = quarantine;
    entry->batch = batch;
    entry->record = record;
    entry->code = code;
    snprintf(entry->text, sizeof(entry->text), "%s", text);
    entry->prev = quarantine->entries.prev;
    entry->next = &quarantine->entries;
    entry->prev->next = entry->next->prev = entry;
    batch->open++;
    quarantine->n_unsent++;
    struct ls_err err;
    ls_err_set(&err, LS_ERR_POISON, code, "%s/%d offset %" PRId64 " is quarantined: %s: %s",
               quarantine->source_topic, record->partition, record->offset,
               ls_reject_name((enum ls_reject)record->reject), entry->text);
    ls_report_error(quarantine->instance, &err);
}

/*
 * An idempotent producer that lost its place (the broker forgot it, or restored the topic) takes
 * nothing any more: heartbeats would end, and no poison would ever be confirmed. Another one is
 * made, and what it has not confirmed is sent again: the entries' keys make that harmless.
 */
static int renew_producer(struct ls_quarantine *quarantine, struct ls_err *err)
{
    struct ls_instance *instance = quarantine->instance;
    char why[256];
    rd_kafka_resp_err_t code = rd_kafka_fatal_error(instance->producer, why, sizeof(why));
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    rd_kafka_t *producer = ls_quarantine_producer(instance, err);
    if (producer == NULL)
        return -1;
    rd_kafka_purge(instance->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_flush(instance->producer, FLUSH_MS); /* runs the callbacks: all is unsent again */
    rd_kafka_destroy(instance->producer);
    instance->producer = producer;
    return ls_kafka_err(err, code, "the producer of quarantine and heartbeats broke (%s)", why);
}

int ls_quarantine_serve(struct ls_quarantine *quarantine, struct ls_err *err)
{
    rd_kafka_poll(quarantine->instance->producer, 0);
    if (renew_producer(quarantine, err) < 0)
        return -1;
    for (struct entry *entry = quarantine->entries.next;
         quarantine->n_unsent > 0 && entry != &quarantine->entries; entry = entry->next)
        if (!entry->sent && !send_entry(quarantine, entry))
            break;
    if (quarantine->failed.class == LS_ERR_NONE)
        return 0;
    *err = quarantine->failed;
    quarantine->failed = (struct ls_err){0};
    return -1;
}
