/*
 * What brokers refuse, picked out of librdkafka's log. error_cb was rejected: it runs only where a
 * client is polled for events, which short-lived clients and admin requests are not, and the class
 * that it gives for a handshake is the same for a wrong certificate and for a cut link.
 *
 * Threads: librdkafka's write, any read; one lock. A crash leaves nothing behind.
 */
#include "pipeline/kafka_refusal.h"

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char newest[LS_KAFKA_REFUSAL_MAX]; /* "": none yet */
static int64_t newest_ms;

/* Where a text begins that says what was refused; NULL in a line of something else. */
static const char *refusal(const char *line)
{
    const char *found = strstr(line, "SASL authentication error");
    if (found == NULL && strstr(line, "certificate") != NULL)
        found = strstr(line, "SSL handshake failed");
    return found;
}

/*
 * Before that, librdkafka sends a nonce that is not SCRAM's. Brokers look at it since Kafka 4.0,
 * and call a right password wrong.
 */
static const int scram_is_right_since = 0x02060100;

bool ls_kafka_refusal_text_of(const char *line, int client, char *ret, size_t size)
{
    const char *begin = refusal(line);
    if (begin == NULL)
        return false;
    const char *end = strstr(begin, " (after ");
    size_t len = end != NULL ? (size_t)(end - begin) : strlen(begin);
    snprintf(ret, size, "%.*s", len < size ? (int)len : (int)size - 1, begin);
    len = strlen(ret);
    if (client < scram_is_right_since && strstr(ret, "SCRAM") != NULL)
        snprintf(
            ret + len, size - len,
            "; at Kafka 4 and later, SCRAM needs librdkafka 2.6.1 or later, and this is %d.%d.%d: "
            "use a later one, or PLAIN over TLS",
            client >> 24 & 0xff, client >> 16 & 0xff, client >> 8 & 0xff);
    return true;
}

bool ls_kafka_refusal_text(const char *line, char *ret, size_t size)
{
    return ls_kafka_refusal_text_of(line, rd_kafka_version(), ret, size);
}

void ls_kafka_refusal_note(const char *line)
{
    char text[LS_KAFKA_REFUSAL_MAX];
    if (!ls_kafka_refusal_text(line, text, sizeof(text)))
        return;
    pthread_mutex_lock(&lock);
    memcpy(newest, text, sizeof(newest));
    newest_ms = ls_mono_ms();
    pthread_mutex_unlock(&lock);
}

bool ls_kafka_refusal(char *ret, size_t size)
{
    pthread_mutex_lock(&lock);
    bool counts = newest[0] != '\0' && ls_mono_ms() - newest_ms < LS_KAFKA_REFUSAL_MS;
    if (counts)
        snprintf(ret, size, "%s", newest);
    pthread_mutex_unlock(&lock);
    return counts;
}
