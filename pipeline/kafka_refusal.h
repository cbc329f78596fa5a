/*
 * Whether a broker has refused our set-up lately: the password or its certificate. librdkafka says
 * that in its log only; calls that fail for it end as "timed out" or "all brokers down", which
 * would send people to look for an outage. Process-wide, as all clients have one configuration.
 */
#ifndef LS_PIPELINE_KAFKA_REFUSAL_H
#define LS_PIPELINE_KAFKA_REFUSAL_H

#include <stdbool.h>
#include <stddef.h>

enum {
    LS_KAFKA_REFUSAL_MAX = 400, /* bytes of a text */
    /* A refusal counts this long; librdkafka tries again, and is refused again, every 10 s. */
    LS_KAFKA_REFUSAL_MS = 20000,
};

/* A log line of librdkafka's: remembered if it is a refusal. Any thread. */
void ls_kafka_refusal_note(const char *line);

/* The newest refusal's text into ret[size]; false when there is none that counts. Any thread. */
bool ls_kafka_refusal(char *ret, size_t size);

/*
 * The part of a log line that says what was refused, without address and timing, into ret[size];
 * false when the line is of something else. A handshake that was only cut is an outage. A refusal
 * that an old librdkafka may have earned by itself says so. Pure.
 */
bool ls_kafka_refusal_text(const char *line, char *ret, size_t size);

/* The same for a client of librdkafka's version `client`, as rd_kafka_version() gives it. */
bool ls_kafka_refusal_text_of(const char *line, int client, char *ret, size_t size);

#endif
