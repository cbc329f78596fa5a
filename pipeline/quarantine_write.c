#include "pipeline/quarantine_write.h"

#include <string.h>

#include "base/mem.h"
#include "pipeline/kafka.h"

enum { FLUSH_MS = 30000, FULL_MS = 100 };

struct ls_quarantine_writer {
    rd_kafka_t *producer;
    const struct ls_sink_config *sink;
    rd_kafka_resp_err_t failed; /* first refusal since the last flush */
};

static void on_delivery(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
    (void)producer;
    struct ls_quarantine_writer *writer = opaque;
    if (writer->failed == RD_KAFKA_RESP_ERR_NO_ERROR)
        writer->failed = message->err;
}

struct ls_quarantine_writer *ls_quarantine_writer_open(const struct ls_config *config,
                                                       const struct ls_sink_config *sink,
                                                       struct ls_err *err)
{
    static const char *const extra[] = {
        "message.timeout.ms", "25000", "message.max.bytes", "16777216", "linger.ms", "5", NULL};
    struct ls_quarantine_writer *writer = ls_calloc(1, sizeof(*writer));
    writer->sink = sink;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_opaque(conf, writer);
    writer->producer = ls_kafka_client(config, RD_KAFKA_PRODUCER, "quarantine", conf, extra, err);
    if (writer->producer != NULL)
        return writer;
    free(writer);
    return NULL;
}

void ls_quarantine_writer_close(struct ls_quarantine_writer *writer)
{
    if (writer == NULL)
        return;
    rd_kafka_destroy(writer->producer);
    free(writer);
}

/* Whether the producer's queue was full and has been served: then it is tried again. */
static bool made_room(const struct ls_quarantine_writer *writer, rd_kafka_resp_err_t code)
{
    if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL)
        return false;
    rd_kafka_poll(writer->producer, FULL_MS);
    return true;
}

int ls_quarantine_writer_put(struct ls_quarantine_writer *writer,
                             const struct ls_quarantine_entry *entry, struct ls_err *err)
{
    rd_kafka_resp_err_t code;
    do
        code = ls_quarantine_entry_send(writer->producer, writer->sink, entry, NULL);
    while (made_room(writer, code));
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    return ls_kafka_err(err, code, "writing to the quarantine of %s", writer->sink->name);
}

int ls_quarantine_writer_control(struct ls_quarantine_writer *writer, const char *key,
                                 const char *json, struct ls_err *err)
{
    rd_kafka_resp_err_t code;
    do
        code = rd_kafka_producev(writer->producer, RD_KAFKA_V_TOPIC(LS_TOPIC_CONTROL),
                                 RD_KAFKA_V_KEY(key, strlen(key)),
                                 RD_KAFKA_V_VALUE((void *)(uintptr_t)json, strlen(json)),
                                 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    while (made_room(writer, code));
    return code == RD_KAFKA_RESP_ERR_NO_ERROR
               ? 0
               : ls_kafka_err(err, code, "writing to %s", LS_TOPIC_CONTROL);
}

int ls_quarantine_writer_flush(struct ls_quarantine_writer *writer, struct ls_err *err)
{
    rd_kafka_resp_err_t code = rd_kafka_flush(writer->producer, FLUSH_MS);
    if (writer->failed != RD_KAFKA_RESP_ERR_NO_ERROR)
        code = writer->failed;
    writer->failed = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    return ls_kafka_err(err, code, "writing to the quarantine of %s", writer->sink->name);
}
