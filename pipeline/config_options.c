/*
 * Every option of the configuration: the one table that parsing, messages and the document come
 * from.
 */
#include <stddef.h>

#include "base/mem.h"
#include "pipeline/config_options.h"

#define MYSQL LS_OPTION_KIND(LS_SINK_MYSQL)
#define REDIS LS_OPTION_KIND(LS_SINK_REDIS)
#define ES    LS_OPTION_KIND(LS_SINK_ES)

#define MEMBER(type, member) \
    .offset = offsetof(type, member), .size = sizeof(((type *)NULL)->member)

/* The same default for every kind of sink. */
#define EACH(number)           \
    {                          \
        number, number, number \
    }

static const struct ls_option file_options[] = {
    {.name = "state_dir",
     .type = LS_OPTION_PATH,
     MEMBER(struct ls_config, state_dir),
     .default_text = "state",
     .meaning = "Folder of the ledger and of resumable work. It is made when it is needed."},
    {.name = "listen",
     .type = LS_OPTION_READ,
     .read = ls_config_read_listen,
     .expected = "address:port",
     .default_text = "none",
     .meaning = "Where `lockstep run` serves `/metrics`, `/healthz` and `/readyz` by HTTP, without "
                "authentication. Loopback where no address is given; port 0 takes a free one. "
                "`run --listen` overrides it: processes that share this file and a machine need "
                "a port each. One address may have 8 connections, so all clients behind a proxy "
                "have 8 together; from loopback it is 48."},
    {.name = "schemas",
     .type = LS_OPTION_READ,
     .required = true,
     .read = ls_config_read_schemas,
     .expected = "a list of schema files",
     .meaning = "Schema files, one for each entity."},
    {.name = "kafka",
     .type = LS_OPTION_READ,
     .required = true,
     .read = ls_config_read_kafka,
     .expected = "a map of options",
     .meaning = "The brokers: see kafka below."},
    {.name = "entities",
     .type = LS_OPTION_READ,
     .required = true,
     .read = ls_config_read_entities,
     .expected = "a map of entities by name",
     .meaning = "Entities by name; each has a schema among `schemas`: see entities below."},
    {.name = "sinks",
     .type = LS_OPTION_READ,
     .read = ls_config_read_sinks,
     .expected = "a map of sinks by name",
     .default_text = "none",
     .meaning = "Sinks by name: see sinks below. A publisher needs none."},
};

static const struct ls_option kafka_options[] = {
    {.name = "brokers",
     .type = LS_OPTION_READ,
     .required = true,
     .read = ls_config_read_brokers,
     .expected = "host:port, several parted by commas or as a list",
     .meaning = "Brokers to start from; the rest of the cluster is found through them."},
    {.name = "properties",
     .type = LS_OPTION_READ,
     .read = ls_config_read_properties,
     .expected = "a map of librdkafka properties",
     .default_text = "none",
     .meaning = "librdkafka's own properties, for every Kafka client: TLS, SASL, buffers. Checked "
                "when the file is read: see Kafka properties below."},
};

static const struct ls_option entity_options[] = {
    {.name = "generation",
     .type = LS_OPTION_INT,
     MEMBER(struct ls_entity_config, generation),
     .min = 1,
     .max = 32767,
     .defaults = EACH(1),
     .meaning = "Generation of the log: the number that ends the state topic's name, and the "
                "highest bits of every version."},
    {.name = "partitions",
     .type = LS_OPTION_READ,
     .required = true,
     .read = ls_config_read_partition_count,
     .expected = "a power of two from 1 to 1024",
     .meaning = "Partitions of the state topic. They can't change within a generation."},
    {.name = "replication",
     .type = LS_OPTION_INT,
     MEMBER(struct ls_entity_config, replication),
     .min = 1,
     .max = 15,
     .defaults = EACH(3),
     .meaning = "Replicas of each partition of the topics that `lockstep topics create` makes. 1 "
                "is for a single broker: that log is lost with its disk."},
};

static const struct ls_option sink_options[] = {
    {.name = "kind",
     .type = LS_OPTION_READ,
     .required = true,
     .read = ls_config_read_kind,
     .expected = "mysql, redis or elasticsearch",
     .meaning = "What kind of store it is."},
    {.name = "entity",
     .type = LS_OPTION_READ,
     .read = ls_config_read_sink_entity,
     .expected = "the name of an entity",
     .default_text = "the only entity",
     .meaning = "Whose log the sink follows."},

    {.name = "servers",
     .type = LS_OPTION_READ,
     .kinds = MYSQL,
     .required = true,
     .read = ls_config_read_servers,
     .expected = "a list of servers",
     .meaning = "The servers that the shards live on: see servers below. Every partition is on "
                "exactly one."},

    {.name = "nodes",
     .type = LS_OPTION_READ,
     .kinds = REDIS,
     .required = true,
     .read = ls_config_read_nodes,
     .expected = "a list of host:port",
     .meaning = "Nodes of the Redis Cluster to start from; the rest is found. Port 6379 unless "
                "given. lockstep follows the addresses that the cluster itself names (CLUSTER "
                "SLOTS, MOVED). So behind a proxy, of TLS for one, each node must announce its "
                "proxy: cluster-announce-ip and cluster-announce-port (that one even where the "
                "proxy speaks TLS, as the node then sees a plain connection), and "
                "cluster-announce-bus-port where the other nodes can reach it. Otherwise all but "
                "the nodes that are named here are spoken to past the proxy, or not at all."},

    {.name = "urls",
     .type = LS_OPTION_READ,
     .kinds = ES,
     .required = true,
     .read = ls_config_read_urls,
     .expected = "a list of http:// or https:// addresses",
     .meaning = "Nodes of the Elasticsearch cluster, used in turn. Port 9200 unless given."},
    {.name = "index",
     .type = LS_OPTION_READ,
     .kinds = ES,
     .read = ls_config_read_index,
     .expected = "the name of an index",
     .default_text = "`<entity>-000001`",
     .meaning = "Concrete index that is written to."},
    {.name = "alias",
     .type = LS_OPTION_READ,
     .kinds = ES,
     .read = ls_config_read_index,
     .expected = "the name of an alias",
     .default_text = "`<entity>`",
     .meaning = "Alias that readers use; its filter hides deleted records."},
    {.name = "data_nodes",
     .type = LS_OPTION_INT,
     .kinds = ES,
     MEMBER(struct ls_sink_config, data_nodes),
     .min = 1,
     .max = 1000,
     .defaults = EACH(1),
     .meaning = "Data nodes of the cluster: primary shards are a multiple of it."},
    {.name = "replicas",
     .type = LS_OPTION_INT,
     .kinds = ES,
     MEMBER(struct ls_sink_config, replicas),
     .min = 0,
     .max = 10,
     .defaults = EACH(UINT32_MAX),
     .default_text = "1; 0 where data_nodes is 1",
     .meaning = "Replicas of each shard."},

    {.name = "user",
     .type = LS_OPTION_TEXT,
     .kinds = REDIS | ES,
     MEMBER(struct ls_sink_config, user),
     .meaning = "Redis ACL user, or Elasticsearch user (basic authentication)."},
    {.name = "password_file",
     .type = LS_OPTION_SECRET_FILE,
     .kinds = REDIS | ES,
     MEMBER(struct ls_sink_config, password),
     .meaning = "File that holds the password."},
    {.name = "password_env",
     .type = LS_OPTION_SECRET_ENV,
     .kinds = REDIS | ES,
     MEMBER(struct ls_sink_config, password),
     .meaning = "Environment variable that holds the password."},
    {.name = "password",
     .type = LS_OPTION_REFUSED,
     .meaning = "a password does not belong in this file; put it into a file and name that with "
                "password_file, or into the environment with password_env"},
    {.name = "api_key_file",
     .type = LS_OPTION_SECRET_FILE,
     .kinds = ES,
     MEMBER(struct ls_sink_config, api_key),
     .meaning = "File that holds the API key (its base64 form), instead of user and password."},
    {.name = "api_key_env",
     .type = LS_OPTION_SECRET_ENV,
     .kinds = ES,
     MEMBER(struct ls_sink_config, api_key),
     .meaning = "Environment variable that holds the API key."},
    {.name = "api_key",
     .type = LS_OPTION_REFUSED,
     .meaning = "an API key does not belong in this file; put it into a file and name that with "
                "api_key_file, or into the environment with api_key_env"},
    {.name = "tls",
     .type = LS_OPTION_READ,
     .read = ls_config_read_tls,
     MEMBER(struct ls_sink_config, tls),
     .expected = "a map of options",
     .default_text = "off",
     .meaning = "Encryption and client certificate: see tls below. Elasticsearch is encrypted by "
                "https:// in its urls; Redis needs a TLS proxy on loopback."},

    {.name = "batch_records",
     .type = LS_OPTION_INT,
     MEMBER(struct ls_sink_config, batch_records),
     .min = 1,
     .max = 1000000,
     .defaults = {8192, 4096, 4096},
     .meaning = "Records of one batch at most: more make longer statements, and more to send "
                "again after a failure."},
    {.name = "batch_bytes",
     .type = LS_OPTION_INT,
     MEMBER(struct ls_sink_config, batch_bytes),
     .min = 1 << 20,
     .max = 1 << 30,
     .defaults = EACH(16 << 20),
     .meaning = "Bytes of one batch at most, as they are in the log."},
    {.name = "batches_in_flight",
     .type = LS_OPTION_INT,
     MEMBER(struct ls_sink_config, batches_in_flight),
     .min = 1,
     .max = 64,
     .defaults = {2, 4, 4},
     .meaning = "Batches that one lane works on or has waiting."},
    {.name = "memory_bytes",
     .type = LS_OPTION_INT,
     MEMBER(struct ls_sink_config, memory_bytes),
     .min = 8 << 20,
     .max = 1LL << 40,
     .defaults = EACH(64 << 20),
     .meaning = "Bytes of memory that the sink's records take at most in one worker, fetched ahead "
                "and in hand, about. Batches get smaller where it is short: raise it with the "
                "number of MySQL servers and with the size of records."},
    {.name = "requests_in_flight",
     .type = LS_OPTION_INT,
     .kinds = MYSQL | ES,
     MEMBER(struct ls_sink_config, requests_in_flight),
     .min = 1,
     .max = 64,
     .defaults = {2, 1, 3},
     .meaning = "mysql: connections to each server. elasticsearch: _bulk requests at a time."},
    {.name = "bulk_bytes",
     .type = LS_OPTION_INT,
     .kinds = ES,
     MEMBER(struct ls_sink_config, bulk_bytes),
     .min = 64 << 10,
     .max = 64 << 20,
     .defaults = EACH(1 << 20),
     .meaning = "Bytes of one _bulk request at most."},
    {.name = "quarantine_max_per_minute",
     .type = LS_OPTION_INT,
     MEMBER(struct ls_sink_config, quarantine_max_per_minute),
     .min = 0,
     .max = 10000000,
     .defaults = EACH(1000),
     .meaning = "Records that the store refuses for good in a minute and that are taken for bad "
                "records. Above it the sink halts before they fill its quarantine, since the "
                "store looks set up wrong. What is wrong with the log itself is not counted. 0: "
                "never halts."},
    {.name = "connect_timeout_ms",
     .type = LS_OPTION_INT,
     MEMBER(struct ls_sink_config, connect_timeout_ms),
     .min = 100,
     .max = 600000,
     .defaults = EACH(3000),
     .meaning = "Milliseconds until an attempt to connect is given up."},
    {.name = "request_timeout_ms",
     .type = LS_OPTION_INT,
     MEMBER(struct ls_sink_config, request_timeout_ms),
     .min = 100,
     .max = 3600000,
     .defaults = EACH(30000),
     .meaning = "Milliseconds until a request without an answer is given up and sent again; one "
                "whose answer comes in pieces (MySQL, Redis) has twice that in all."},
};

static const struct ls_option server_options[] = {
    {.name = "host",
     .type = LS_OPTION_TEXT,
     .required = true,
     MEMBER(struct ls_mysql_server, host),
     .meaning = "Name or address of the server."},
    {.name = "port",
     .type = LS_OPTION_INT,
     MEMBER(struct ls_mysql_server, port),
     .min = 1,
     .max = 65535,
     .defaults = EACH(3306),
     .meaning = "TCP port."},
    {.name = "database",
     .type = LS_OPTION_TEXT,
     .required = true,
     MEMBER(struct ls_mysql_server, database),
     .meaning = "Database of the shard tables. It must be there; the tables are made by `lockstep "
                "schema apply`."},
    {.name = "user",
     .type = LS_OPTION_TEXT,
     .required = true,
     MEMBER(struct ls_mysql_server, user),
     .meaning = "User to log in as."},
    {.name = "password_file",
     .type = LS_OPTION_SECRET_FILE,
     MEMBER(struct ls_mysql_server, password),
     .meaning = "File that holds the password."},
    {.name = "password_env",
     .type = LS_OPTION_SECRET_ENV,
     MEMBER(struct ls_mysql_server, password),
     .meaning = "Environment variable that holds the password."},
    {.name = "password",
     .type = LS_OPTION_REFUSED,
     .meaning = "a password does not belong in this file; put it into a file and name that with "
                "password_file, or into the environment with password_env"},
    {.name = "partitions",
     .type = LS_OPTION_READ,
     .read = ls_config_read_partitions,
     .expected = "a partition or a range of them, such as 0-3",
     .default_text = "all, where there is one server",
     .meaning = "Partitions whose shards live on this server, first and last."},
};

static const struct ls_option tls_options[] = {
    {.name = "ca",
     .type = LS_OPTION_PATH,
     MEMBER(struct ls_tls, ca_file),
     .default_text = NULL,
     .meaning = "File of the certificates that the store's certificate is checked against; "
                "without it the system's are used. The check can't be turned off."},
    {.name = "cert",
     .type = LS_OPTION_PATH,
     MEMBER(struct ls_tls, cert_file),
     .meaning = "File of the client certificate (PEM), together with `key`."},
    {.name = "key",
     .type = LS_OPTION_PATH,
     MEMBER(struct ls_tls, key_file),
     .meaning = "File of the client certificate's key (PEM), together with `cert`."},
};

const struct ls_section ls_section_file = {"The file", "The top level of the file.", file_options,
                                           LS_COUNT(file_options)};
const struct ls_section ls_section_kafka = {"kafka", "Where the log is.", kafka_options,
                                            LS_COUNT(kafka_options)};
const struct ls_section ls_section_entity = {
    "entities",
    "`entities` maps the name of each entity, as its schema file gives it, to these options.",
    entity_options, LS_COUNT(entity_options)};
const struct ls_section ls_section_sink = {
    "sinks",
    "`sinks` maps the name of each sink (small letters, digits and `-`, at most 32) to these "
    "options.",
    sink_options, LS_COUNT(sink_options)};
const struct ls_section ls_section_server = {"servers", "Each item of a mysql sink's `servers`.",
                                             server_options, LS_COUNT(server_options)};
const struct ls_section ls_section_tls = {
    "tls", "A sink's `tls`. For mysql, `tls: {}` turns it on with the system's certificates.",
    tls_options, LS_COUNT(tls_options)};
