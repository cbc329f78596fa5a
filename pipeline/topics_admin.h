/*
 * Topics as an operator handles them: which ones the configuration needs and with which settings,
 * creating what is missing, and naming what on the broker would break a law. What exists is never
 * altered. Blocking; any thread, each call with clients of its own.
 */
#ifndef LS_PIPELINE_TOPICS_ADMIN_H
#define LS_PIPELINE_TOPICS_ADMIN_H

#include <stdbool.h>

#include "pipeline/kafka.h"
#include "pipeline/topics.h"

enum ls_topic_role { LS_TOPIC_ROLE_STATE, LS_TOPIC_ROLE_QUARANTINE, LS_TOPIC_ROLE_CONTROL };
const char *ls_topic_role_name(enum ls_topic_role role); /* "state", "quarantine", "control" */

/* A topic as the configuration needs it. */
struct ls_topic_spec {
    char name[LS_TOPIC_NAME_MAX];
    enum ls_topic_role role;
    const struct ls_entity_config *entity; /* NULL: control */
    int32_t partitions;
    int16_t replication;
};

/* The topics of all entities and sinks, control last. *ret is a fresh array that the caller frees.
 */
void ls_topics_plan(const struct ls_config *config, struct ls_topic_spec **ret, size_t *ret_n);

/* One setting of a topic: what `topics create` gives it, and what `topics check` holds it to. */
enum ls_setting_rule { LS_SETTING_EQUALS, LS_SETTING_AT_LEAST, LS_SETTING_AT_MOST };
struct ls_topic_setting {
    const char *name;
    enum ls_setting_rule rule;
    bool law; /* breaking it breaks a law; else it is only slower or larger */
    char value[24];
    const char *why; /* what goes wrong otherwise */
};
enum { LS_TOPIC_SETTINGS_MAX = 16 };
/* Settings of that topic; returns how many. */
size_t ls_topic_settings(const struct ls_topic_spec *spec,
                         struct ls_topic_setting settings[LS_TOPIC_SETTINGS_MAX]);
/* Whether a value keeps the setting. Numbers are compared as numbers. */
bool ls_topic_setting_kept(const struct ls_topic_setting *setting, const char *value);

/* A topic as the broker has it. */
struct ls_topic_info {
    bool exists;
    int32_t partitions;
    int32_t replicas;   /* of the partition with the fewest */
    int32_t leaderless; /* partitions without a leader now */
    int64_t records;    /* offsets between first and end: at most this many records */
    char genesis[37];   /* state topics: UUID of the log, "" where it has none */
};
/* What is there of specs, in their order, by one request: records and genesis are left empty. */
int ls_topics_describe(rd_kafka_t *client, const struct ls_topic_spec *specs, size_t n,
                       struct ls_topic_info *infos, struct ls_err *err);
/* The same with records and genesis. RETRY when Kafka does not answer. */
int ls_topics_list(const struct ls_config *config, const struct ls_topic_spec *specs, size_t n,
                   struct ls_topic_info *infos, struct ls_err *err);

/* Receives one step that was done, or one topic that was there already (made: false). */
typedef void ls_topic_made_fn(void *opaque, const char *topic, bool made, const char *line);

/*
 * Creates the topics that are missing, then writes a genesis record into each partition of a
 * state topic that has none: one UUID for all partitions of a topic. Safe to repeat after an
 * interruption and to run twice at a time (see topics_genesis.c). FATAL when what exists does not
 * fit, or when another log was known under the name of a state topic (see topics_known.c; then
 * nothing is created and no genesis written), RETRY when Kafka does not answer. Only the logs of
 * the entities named in new_logs (NULL-ended; NULL: of none) may be others than what was known.
 */
int ls_topics_create(const struct ls_config *config, const char *const *new_logs,
                     ls_topic_made_fn *made, void *opaque, struct ls_err *err);

/*
 * The genesis part alone: ret_written tells how many partitions got one, uuid which one they have.
 */
int ls_topics_write_genesis(const struct ls_config *config, const struct ls_entity_config *entity,
                            int32_t *ret_written, char uuid[37], struct ls_err *err);

/* One thing that check found. */
struct ls_topic_finding {
    bool law;          /* breaks a law; false: a note */
    const char *topic; /* or "" for the brokers */
    const char *what;
    const char *mend; /* what to do, or "" */
};
typedef void ls_topic_finding_fn(void *opaque, const struct ls_topic_finding *finding);

/*
 * Compares the broker with the configuration and calls found() for each thing that breaks a law or
 * is worth a note. ret_broken counts the former. -1 only when it could not tell.
 */
int ls_topics_check(const struct ls_config *config, ls_topic_finding_fn *found, void *opaque,
                    size_t *ret_broken, struct ls_err *err);

/* For topics_*.c: a log that lockstep.control knows; genesis "" where it knows none. */
struct ls_known_log {
    char genesis[37];
};
/* What is known of the state topics among specs, in their order. FATAL without lockstep.control. */
int ls_topics_known(const struct ls_config *config, const struct ls_topic_spec *specs, size_t n,
                    struct ls_known_log *logs, struct ls_err *err);
/*
 * Says that the topics of logs that are known, those with gone[i], are not there any more: at
 * length of the first of them. There is one. Returns -1.
 */
int ls_topics_refuse_gone(const struct ls_topic_spec *specs, const struct ls_known_log *logs,
                          const bool *gone, size_t n, struct ls_err *err);
/* FATAL where the topic, which is there, is not the log that is known. */
int ls_topics_check_known(const struct ls_config *config, const struct ls_topic_spec *spec,
                          const struct ls_known_log *log, struct ls_err *err);
/* Makes the log known; confirmed by Kafka when it returns 0. */
int ls_topics_note_log(const struct ls_config *config, const char *topic, const char *uuid,
                       struct ls_err *err);

/*
 * For topics_*.c: settings of a topic as the broker has them; value() gets each name and value.
 */
typedef void ls_setting_fn(void *opaque, const char *topic, const char *name, const char *value);
int ls_topics_settings_of(rd_kafka_t *client, const char *const *topics, size_t n,
                          ls_setting_fn *each, void *opaque, struct ls_err *err);

#endif
