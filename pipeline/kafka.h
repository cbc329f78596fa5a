/*
 * Kafka as all parts use it: clients made from the configuration, the log's identity, and reading a
 * small topic whole. Everything else talks to librdkafka directly.
 */
#ifndef LS_PIPELINE_KAFKA_H
#define LS_PIPELINE_KAFKA_H

#include <librdkafka/rdkafka.h>

#include "pipeline/config.h"
#include "schema/wire.h"

/*
 * A client of that type with bootstrap.servers, the configured properties, client.id
 * `lockstep-<role>`, log lines routed to ls_log, then `extra` (name, value pairs, NULL-ended or
 * NULL), which wins. `conf` is NULL or a conf with callbacks and opaque set; it is always consumed.
 * NULL and err on failure. The caller destroys the client.
 */
rd_kafka_t *ls_kafka_client(const struct ls_config *config, rd_kafka_type_t type, const char *role,
                            rd_kafka_conf_t *conf, const char *const *extra, struct ls_err *err);

/* librdkafka's error as ours: authentication, authorisation and unknown topic are FATAL, the rest RETRY. */
int ls_kafka_err(struct ls_err *err, rd_kafka_resp_err_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* First offset and end offset of a partition (the broker's, not cached). */
int ls_kafka_range(rd_kafka_t *client, const char *topic, int32_t partition, int64_t *ret_first,
                   int64_t *ret_end, struct ls_err *err);

/*
 * Number of partitions of a topic; 0 when the topic is not there (not an error).
 */
int ls_kafka_partitions(rd_kafka_t *client, const char *topic, int32_t *ret, struct ls_err *err);

/*
 * The genesis record of each partition of the entity's state topic, genesis[0..partitions). FATAL,
 * naming `lockstep topics create`, when the topic is missing, has another number of partitions, a
 * partition has no genesis, or they disagree.
 */
int ls_kafka_genesis(const struct ls_config *config, const struct ls_entity_config *entity,
                     struct ls_genesis *genesis, struct ls_err *err);

/*
 * Reads partitions of a topic from the start to the end as it is now, calling each() for every
 * message (never one with an error). For small topics: control, quarantine.
 */
typedef void ls_message_fn(void *opaque, const rd_kafka_message_t *message);
int ls_kafka_read_all(const struct ls_config *config, const char *topic, ls_message_fn *each,
                      void *opaque, struct ls_err *err);

/*
 * The released schema of an entity from lockstep.control (key `schema/<entity>`): its version, and
 * its JSON (which the caller frees) if ret_json is not NULL. Version 0 when none is released.
 */
int ls_kafka_released_schema(const struct ls_config *config, const char *entity,
                             uint32_t *ret_version, char **ret_json, struct ls_err *err);

#endif
