/*
 * The quarantine: poison goes to `<entity>.quarantine.<sink>`, whole, with what is known of it in
 * headers, keyed by where it stands in the log, so that reading it again replaces its entry. It
 * counts as final only when Kafka has confirmed the write (law 5): until then its batch stays open
 * and the watermark behind it. A broker that is away only delays that; nothing expires.
 *
 * What the store refuses goes there up to a rate; above it the sink halts (poison_rate.h). An entry
 * is closed once a later record of its key is settled (open_entries.h); that is not waited for,
 * since an entry that stays open by a crash is only requeued as stale.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "consumers/instance_impl.h"
#include "consumers/mask.h"
#include "consumers/open_entries.h"
#include "consumers/poison_rate.h"
#include "pipeline/kafka.h"
#include "pipeline/quarantine_entry.h"
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
    int64_t since_ms; /* wall clock */
    char text[256];
};

struct ls_quarantine {
    struct ls_instance *instance;
    char topic[LS_TOPIC_NAME_MAX];
    char source_topic[LS_TOPIC_NAME_MAX];
    struct entry entries; /* head of the ring */
    uint64_t n_unsent;
    struct ls_err failed; /* a refusal that no retry mends */
    struct ls_open_entries *open;
    struct ls_poison_rate rate;
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
    struct entry *entry = message->_private;
    if (entry == NULL) { /* a heartbeat (the next one says it again), or the end of an entry */
        if (strcmp(rd_kafka_topic_name(message->rkt), LS_TOPIC_CONTROL) == 0)
            ls_report_beaten(opaque, message->err == RD_KAFKA_RESP_ERR_NO_ERROR);
        return;
    }
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
    rd_kafka_conf_set_opaque(conf, instance);
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
    quarantine->open =
        ls_open_entries_new(instance->config, instance->sink_config, instance->genesis);
    quarantine->rate.limit = instance->sink_config->quarantine_max_per_minute;
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
    ls_open_entries_free(quarantine->open);
    free(quarantine);
}

/* Hands one entry to the producer; false when its queue is full. */
static bool send_entry(struct ls_quarantine *quarantine, struct entry *entry)
{
    const struct ls_instance *instance = quarantine->instance;
    const struct ls_record *record = entry->record;
    const char *class = ls_reject_name((enum ls_reject)record->reject);
    struct ls_quarantine_entry written = {
        .partition = record->partition,
        .offset = record->offset,
        .version = record->version,
        .at_ms = record->at_ms,
        .since_ms = entry->since_ms,
        .key = {record->key, record->key_len},
        .class = {class, (uint32_t)strlen(class)},
        .text = {entry->text, (uint32_t)strlen(entry->text)},
        .code = entry->code,
        .attempts = record->attempts + 1u,
        .body = {record->body ? record->body : "", record->body_len},
    };
    rd_kafka_resp_err_t code =
        ls_quarantine_entry_send(instance->producer, instance->sink_config, &written, entry);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        entry->sent = true;
        quarantine->n_unsent--;
        return true;
    }
    note_failure(quarantine, code);
    return false;
}

/* An entry is closed by an empty message under its key; false when it cannot be sent now. */
static bool close_entry(void *opaque, int32_t partition, int64_t offset)
{
    struct ls_quarantine *quarantine = opaque;
    const struct ls_instance *instance = quarantine->instance;
    struct ls_quarantine_entry closed = {.partition = partition, .offset = offset};
    return ls_quarantine_entry_send(instance->producer, instance->sink_config, &closed, NULL) ==
           RD_KAFKA_RESP_ERR_NO_ERROR;
}

void ls_quarantine_look(struct ls_quarantine *quarantine)
{
    ls_open_entries_look(quarantine->open);
}

void ls_quarantine_settled(struct ls_quarantine *quarantine, const struct ls_batch *batch)
{
    if (!ls_open_entries_wants(quarantine->open))
        return;
    for (uint32_t i = 0; i < batch->n_records; i++) {
        const struct ls_record *record = &batch->records[i];
        if (record->verdict == LS_APPLIED || record->verdict == LS_STALE)
            ls_open_entries_settled(quarantine->open, record, close_entry, quarantine);
    }
}

/* The newest reason among those of a unit. */
static const char *reason_of(const struct ls_unit *unit)
{
    return unit->n_refusals > 0 ? unit->refusals[unit->n_refusals - 1].text : "";
}

void ls_quarantine_weigh(struct ls_quarantine *quarantine, struct ls_unit *unit)
{
    uint32_t poison = 0, taken = 0;
    for (uint32_t i = 0; i < unit->n_records; i++) {
        poison += unit->records[i]->verdict == LS_POISON;
        taken += unit->records[i]->verdict == LS_APPLIED || unit->records[i]->verdict == LS_STALE;
    }
    struct ls_poison_share share;
    bool still = quarantine->rate.tripped;
    if (ls_poison_rate_take(&quarantine->rate, ls_mono_ms(), poison, taken, &share))
        return;
    struct ls_err err;
    char reason[200];
    ls_mask_text(quarantine->instance->sink_config->entity->schema, true, reason_of(unit), reason,
                 sizeof(reason));
    ls_err_set(&err, LS_ERR_FATAL, unit->err.code,
               "%" PRIu64 " of %" PRIu64 " records (%" PRIu64 " %%) are %srefused by the store "
               "(quarantine_max_per_minute: %" PRIu32 "): that looks like a wrong set-up, not bad "
               "records. Mend it, and the sink goes on by itself. Newest refusal: %.160s",
               share.poison, share.records, share.poison * 100 / share.records,
               still ? "still " : "", quarantine->rate.limit, reason);
    unit->err = err;
    for (uint32_t i = 0; i < unit->n_records; i++)
        if (unit->records[i]->verdict == LS_POISON)
            unit->records[i]->verdict = LS_FATAL;
}

void ls_quarantine_put(struct ls_quarantine *quarantine, struct ls_batch *batch,
                       struct ls_record *record, int code, const char *text)
{
    struct entry *entry = ls_calloc(1, sizeof(*entry));
    entry->quarantine = quarantine;
    entry->batch = batch;
    entry->record = record;
    entry->code = code;
    entry->since_ms = ls_wall_us() / 1000;
    snprintf(entry->text, sizeof(entry->text), "%s", text);
    entry->prev = quarantine->entries.prev;
    entry->next = &quarantine->entries;
    entry->prev->next = entry->next->prev = entry;
    batch->open++;
    quarantine->n_unsent++;
    ls_open_entries_add(quarantine->open, record);
    struct ls_err err;
    ls_err_set(&err, LS_ERR_POISON, code, "%s", entry->text);
    ls_report_failure(quarantine->instance, &err, record, 1);
}

uint64_t ls_quarantine_known(const struct ls_quarantine *quarantine)
{
    return ls_open_entries_count(quarantine->open);
}

uint64_t ls_quarantine_unconfirmed(const struct ls_quarantine *quarantine)
{
    uint64_t n = 0;
    for (const struct entry *entry = quarantine->entries.next; entry != &quarantine->entries;
         entry = entry->next)
        n += entry->batch != NULL;
    return n;
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
    ls_kafka_end(instance->producer);
    instance->producer = producer;
    return ls_kafka_err(err, code, "the producer of quarantine and heartbeats broke (%s)", why);
}

int ls_quarantine_serve(struct ls_quarantine *quarantine, struct ls_err *err)
{
    rd_kafka_poll(quarantine->instance->producer, 0);
    if (renew_producer(quarantine, err) < 0)
        return -1;
    ls_open_entries_serve(quarantine->open, close_entry, quarantine);
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
