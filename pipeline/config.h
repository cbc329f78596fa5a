/*
 * The configuration: one YAML file, read once, immutable afterwards and shared by all threads.
 * Every option stands in one table (config_options.c) that yields parsing, the messages with file
 * and line, and docs/CONFIGURATION.md. Paths in the file are relative to the file's folder.
 * Secrets are read from files or the environment (`password_file`, `password_env`), never from the
 * YAML text, and are never printed.
 */
#ifndef LS_PIPELINE_CONFIG_H
#define LS_PIPELINE_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "schema/schema.h"

/* An answer that comes in pieces has so many request_timeout_ms in all. */
enum { LS_ANSWER_TIMES = 2 };

enum ls_sink_kind { LS_SINK_MYSQL, LS_SINK_REDIS, LS_SINK_ES };
const char *ls_sink_kind_name(enum ls_sink_kind kind); /* "mysql", "redis", "elasticsearch" */

struct ls_property { /* one librdkafka property, passed through */
    char *name;
    char *value;
};

struct ls_tls {
    bool on;
    char *ca_file;   /* NULL: the system's */
    char *cert_file; /* client certificate, or NULL */
    char *key_file;
};

struct ls_mysql_server {
    char *host;
    uint16_t port;
    char *database;
    char *user;
    char *password;                          /* "" where none */
    int32_t partition_first, partition_last; /* inclusive: whose shards live here */
};

struct ls_redis_node {
    char *host;
    uint16_t port;
};

struct ls_entity_config {
    char *name;
    uint32_t generation; /* of the state topic: <name>.state.<generation> */
    int32_t partitions;  /* of the state topic; divides 1024 */
    int16_t replication; /* of topics that `topics create` makes; 1 on one broker */
    struct ls_schema *schema;
};

struct ls_sink_config {
    char *name; /* [a-z][a-z0-9-]{0,31} */
    enum ls_sink_kind kind;
    const struct ls_entity_config *entity;
    int line;

    /* Limits, all kinds. Defaults per kind stand in the table. */
    uint32_t batch_records;      /* records of one batch at most */
    uint32_t batch_bytes;        /* wire bytes of one batch at most */
    uint32_t batches_in_flight;  /* per lane */
    uint64_t memory_bytes;       /* of records, all lanes and what is fetched ahead */
    uint32_t requests_in_flight; /* es: bulks; redis: unused; mysql: connections per server */
    uint32_t quarantine_max_per_minute; /* store-borne poison that is taken for bad records */
    uint32_t connect_timeout_ms;
    uint32_t request_timeout_ms;
    struct ls_tls tls;

    /* mysql */
    struct ls_mysql_server *servers;
    size_t n_servers;

    /* redis */
    struct ls_redis_node *nodes; /* seeds; the rest is found */
    size_t n_nodes;

    /* elasticsearch */
    char **urls;
    size_t n_urls;
    char *index;         /* concrete index that is written to */
    char *alias;         /* what readers use */
    char *api_key;       /* NULL or the secret */
    uint32_t data_nodes; /* to balance shards over */
    uint32_t replicas;
    uint32_t bulk_bytes; /* of one _bulk request at most */

    /* redis and elasticsearch */
    char *user; /* NULL: none */
    char *password;
};

struct ls_config {
    char *path;
    char *state_dir; /* the ledger and resumable state */
    char *listen;    /* where `run` serves metrics and health (listen.h); NULL: nowhere */
    char *brokers;
    struct ls_property *properties; /* for every client, consumer or producer, of Kafka */
    size_t n_properties;
    struct ls_entity_config *entities;
    size_t n_entities;
    struct ls_sink_config *sinks;
    size_t n_sinks;
    char **warnings; /* what is allowed but unwise, with file and line: `lockstep config check` */
    size_t n_warnings;
};

/*
 * Reads the file at path, the schemas it names and the secrets it points to. -1 names file, line
 * and what was expected. The caller frees.
 */
int ls_config_read(const char *path, struct ls_config **ret, struct ls_err *err);
void ls_config_free(struct ls_config *config);

/* The sink or entity of that name; NULL and err (with the names there are) if there is none. */
const struct ls_sink_config *ls_config_sink(const struct ls_config *config, const char *name,
                                            struct ls_err *err);
const struct ls_entity_config *ls_config_entity(const struct ls_config *config, const char *name,
                                                struct ls_err *err);

/* Writes docs/CONFIGURATION.md's text: every option with type, default and meaning. */
void ls_config_document(struct ls_buf *buf);

#endif
