#include "pipeline/quarantine_entry.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "pipeline/quarantined.h"

size_t ls_quarantine_entry_key(const struct ls_entity_config *entity, int32_t partition,
                               int64_t offset, char key[LS_QUARANTINE_KEY_MAX])
{
    char topic[LS_TOPIC_NAME_MAX];
    ls_topic_state(entity, topic);
    return (size_t)snprintf(key, LS_QUARANTINE_KEY_MAX, "%s/%d/%" PRId64, topic, partition, offset);
}

static struct ls_span header(const rd_kafka_headers_t *headers, const char *name)
{
    const void *value = NULL;
    size_t size = 0;
    if (headers == NULL ||
        rd_kafka_header_get_last(headers, name, &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return (struct ls_span){0};
    return (struct ls_span){.data = value ? value : "", .len = (uint32_t)size};
}

/* A whole number from min to max, else 0: what others wrote is not trusted. */
static int64_t header_number(const rd_kafka_headers_t *headers, const char *name, int64_t min,
                             int64_t max)
{
    struct ls_span text = header(headers, name);
    char digits[24], *end;
    if (text.len == 0 || text.len >= sizeof(digits))
        return 0;
    memcpy(digits, text.data, text.len);
    digits[text.len] = '\0';
    int64_t number = strtoll(digits, &end, 10);
    return *end != '\0' || number < min || number > max ? 0 : number;
}

static enum ls_reject reject_of(struct ls_span class)
{
    for (int reject = LS_REJECT_NONE + 1; reject <= LS_REJECT_STORE; reject++) {
        const char *name = ls_reject_name((enum ls_reject)reject);
        if (class.len > 0 && strlen(name) == class.len && memcmp(name, class.data, class.len) == 0)
            return (enum ls_reject)reject;
    }
    return LS_REJECT_NONE;
}

bool ls_quarantine_entry_read(const struct ls_entity_config *entity,
                              const rd_kafka_message_t *message, struct ls_quarantine_entry *ret)
{
    char topic[LS_TOPIC_NAME_MAX];
    struct ls_quarantine_entry entry = {0};
    ls_topic_state(entity, topic);
    if (message->key == NULL || !ls_quarantined_parse(message->key, message->key_len, topic,
                                                      &entry.partition, &entry.offset))
        return false;
    rd_kafka_headers_t *headers = NULL;
    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        headers = NULL;
    entry.version = (uint64_t)header_number(headers, "version", 0, INT64_MAX);
    entry.at_ms = header_number(headers, "at", 0, INT64_MAX);
    entry.since_ms = header_number(headers, "since", 0, INT64_MAX);
    if (entry.since_ms == 0)
        entry.since_ms = rd_kafka_message_timestamp(message, NULL);
    entry.key = header(headers, "key");
    entry.class = header(headers, "class");
    entry.reject = reject_of(entry.class);
    entry.text = header(headers, "text");
    entry.code = (int32_t)header_number(headers, "code", INT32_MIN, INT32_MAX);
    entry.attempts = (uint32_t)header_number(headers, "attempts", 0, UINT32_MAX);
    if (message->payload != NULL)
        entry.body = (struct ls_span){.data = message->payload, .len = (uint32_t)message->len};
    *ret = entry;
    return true;
}

bool ls_quarantine_entry_is_of(const struct ls_quarantine_entry *entry,
                               const struct ls_genesis *genesis, int32_t n)
{
    return entry->at_ms <= 0 || entry->partition >= n ||
           entry->at_ms >= genesis[entry->partition].at_ms;
}

static void add_text(rd_kafka_headers_t *headers, const char *name, struct ls_span text)
{
    rd_kafka_header_add(headers, name, -1, text.data, (ssize_t)text.len);
}

static void add_number(rd_kafka_headers_t *headers, const char *name, int64_t number)
{
    char digits[24];
    int len = snprintf(digits, sizeof(digits), "%" PRId64, number);
    rd_kafka_header_add(headers, name, -1, digits, len);
}

static rd_kafka_headers_t *make_headers(const struct ls_entity_config *entity,
                                        const struct ls_quarantine_entry *entry)
{
    char topic[LS_TOPIC_NAME_MAX];
    ls_topic_state(entity, topic);
    rd_kafka_headers_t *headers = rd_kafka_headers_new(12);
    rd_kafka_header_add(headers, "topic", -1, topic, -1);
    add_number(headers, "partition", entry->partition);
    add_number(headers, "offset", entry->offset);
    add_number(headers, "version", (int64_t)entry->version);
    add_number(headers, "at", entry->at_ms);
    add_number(headers, "since", entry->since_ms);
    add_text(headers, "class", entry->class);
    add_number(headers, "code", entry->code);
    add_text(headers, "text", entry->text);
    add_number(headers, "attempts", entry->attempts);
    if (entry->key.data != NULL)
        add_text(headers, "key", entry->key);
    return headers;
}

rd_kafka_resp_err_t ls_quarantine_entry_send(rd_kafka_t *producer,
                                             const struct ls_sink_config *sink,
                                             const struct ls_quarantine_entry *entry, void *opaque)
{
    char topic[LS_TOPIC_NAME_MAX], key[LS_QUARANTINE_KEY_MAX];
    size_t key_len = ls_quarantine_entry_key(sink->entity, entry->partition, entry->offset, key);
    ls_topic_quarantine(sink, topic);
    if (entry->body.data == NULL)
        return rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_KEY(key, key_len),
                                 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                 RD_KAFKA_V_OPAQUE(opaque), RD_KAFKA_V_END);
    rd_kafka_headers_t *headers = make_headers(sink->entity, entry);
    rd_kafka_resp_err_t code =
        rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_KEY(key, key_len),
                          RD_KAFKA_V_VALUE((void *)(uintptr_t)entry->body.data, entry->body.len),
                          RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                          RD_KAFKA_V_OPAQUE(opaque), RD_KAFKA_V_END);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_headers_destroy(headers); /* taken over only on success */
    return code;
}
