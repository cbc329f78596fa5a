/*
 * What brokers refuse, picked out of librdkafka's log. error_cb was rejected: it runs only where a
 * client is polled for events, which short-lived clients and admin requests are not, and the class
 * that it gives for a handshake is the same for a wrong certificate and for a cut link.
 *
 * Threads: librdkafka's write, any read; one lock. A crash leaves nothing behind.
 */
#include "pipeline/kafka_refusal.h"

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

bool ls_kafka_refusal_text(const char *line, char *ret, size_t size)
{
    const char *begin = refusal(line);
    if (begin == NULL)
        return false;
    const char *end = strstr(begin, " (after ");
    size_t len = end != NULL ? (size_t)(end - begin) : strlen(begin);
    snprintf(ret, size, "%.*s", len < size ? (int)len : (int)size - 1, begin);
    return true;
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
