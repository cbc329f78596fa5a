/*
 * The engine under test: librdkafka's mock cluster with a small log, the store in memory
 * (fake_sink.h), and an instance that runs live or over the whole log.
 */
#ifndef LS_TESTS_INSTANCE_FIXTURE_H
#define LS_TESTS_INSTANCE_FIXTURE_H

#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "consumers/instance.h"
#include "fake_sink.h"
#include "mock_kafka.h"
#include "pipeline/kafka.h"
#include "pipeline/topics.h"
#include "schema/key.h"

#define UUID  "0b9d2a5e-3c1f-4b7a-9d68-1f2e3d4c5b6a"
#define STATE "member.state.1"

extern struct mock_kafka mock;
extern struct ls_sink_config sink; /* named "fake" */

/* A suite's .init and .fini. */
void instance_start(void);
void instance_stop(void);

/* Records of one key with n = from to up_to, in one message set, so that they are read together. */
void put_up_to(const char *key, int64_t from, int64_t up_to);
/* Keys of one partition, likewise. */
void put_together(char (*keys)[16], int n);
void put(const char *key, int64_t n);
/* A key of each partition; reached() tells how many of them the store has. */
void put_everywhere(const char *prefix);
int reached(const char *prefix);

/* The record's field n, and whether it is of that key: for fake_decide. */
int64_t n_of(const struct ls_record *record);
bool has_key(const struct ls_record *record, const char *key);

struct run {
    pthread_t thread;
    struct ls_instance_options options;
    struct ls_instance_totals totals;
    struct ls_err err;
    atomic_int stop;
    int rc;
};

/* Short intervals; not started yet. */
void set_options(struct run *run, enum ls_position position);
/* The whole log as a range, to its end. */
void run_range(struct run *run);
/* As set_options left it, in a thread; end_live stops it and fills in totals. */
void start_live(struct run *run);
void run_live(struct run *run);
void end_live(struct run *run);

/* Polls a condition; Criterion's timeout ends a test whose condition never comes. */
#define WAIT_FOR(condition) \
    while (!(condition))    \
    poll(NULL, 0, 5)

/* Final verdicts of a run, and records of a topic's first partition. */
uint64_t settled(const struct run *run);
int64_t records_in(const char *topic);
int64_t quarantined(void);

/* Waits until a heartbeat of the instance whose name ends so says that. */
void wait_until_it_says(const char *instance, const char *what);

#endif
