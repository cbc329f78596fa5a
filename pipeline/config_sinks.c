/*
 * The sinks of the configuration: their names, kinds, and where each store is.
 *
 * Threads: the one that reads the configuration. A crash leaves nothing behind.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/config_options.h"

enum { SINKS_MAX = 256, SINK_NAME_MAX = 32, INDEX_NAME_MAX = 255, REDIS_PORT = 6379 };

static int expected(struct ls_config_reader *reader, const char *where, const struct ls_yaml *node,
                    const char *what)
{
    char found[80];
    return ls_config_fail(reader, node->line, "%s: expected %s, found %s", where, what,
                          node->kind == LS_YAML_LIST && node->n_items == 0
                              ? "an empty list"
                              : ls_config_describe(node, found, sizeof(found)));
}

int ls_config_read_kind(struct ls_config_reader *reader, const char *where,
                        const struct ls_yaml *node, void *target)
{
    struct ls_sink_config *sink = target;
    const char *names[] = {"mysql", "redis", "elasticsearch", "mariadb", "es"};
    const enum ls_sink_kind kinds[] = {LS_SINK_MYSQL, LS_SINK_REDIS, LS_SINK_ES, LS_SINK_MYSQL,
                                       LS_SINK_ES};
    if (node->kind != LS_YAML_SCALAR)
        return expected(reader, where, node, "mysql, redis or elasticsearch");
    for (size_t i = 0; i <= LS_SINK_ES; i++) {
        if (strcmp(names[i], node->text) == 0) {
            sink->kind = kinds[i];
            return 0;
        }
    }
    const char *likely = ls_config_suggest(node->text, names, LS_COUNT(names));
    if (likely == NULL)
        return expected(reader, where, node, "mysql, redis or elasticsearch");
    for (size_t i = 0; i < LS_COUNT(names); i++)
        if (names[i] == likely)
            likely = ls_sink_kind_name(kinds[i]);
    return ls_config_fail(reader, node->line,
                          "%s: expected mysql, redis or elasticsearch, found '%.60s'; did you mean "
                          "'%s'?",
                          where, node->text, likely);
}

int ls_config_read_sink_entity(struct ls_config_reader *reader, const char *where,
                               const struct ls_yaml *node, void *target)
{
    struct ls_sink_config *sink = target;
    if (node->kind != LS_YAML_SCALAR)
        return expected(reader, where, node, "the name of an entity");
    struct ls_err err = {0};
    sink->entity = ls_config_entity(reader->config, node->text, &err);
    if (sink->entity == NULL)
        return ls_config_fail(reader, node->line, "%s: %s", where, err.text);
    return 0;
}

int ls_config_read_sinks(struct ls_config_reader *reader, const char *where,
                         const struct ls_yaml *node, void *target)
{
    struct ls_config *config = target;
    if (!ls_config_is_map(node) || node->n_items > SINKS_MAX)
        return expected(reader, where, node, "a map of at most 256 sinks");
    config->sinks = ls_calloc(node->n_items, sizeof(*config->sinks));
    for (size_t i = 0; i < node->n_items; i++) {
        const char *name = node->keys[i];
        if (!ls_config_is_name(name, '-', SINK_NAME_MAX))
            return ls_config_fail(reader, node->key_lines[i],
                                  "sinks: '%.60s' is no name of a sink; expected a small letter, "
                                  "then small letters, digits and -, at most %d",
                                  name, SINK_NAME_MAX);
        struct ls_sink_config *sink = &config->sinks[config->n_sinks++];
        sink->name = ls_strdup(name);
        sink->line = node->key_lines[i];
        sink->entity = config->n_entities == 1 ? &config->entities[0] : NULL;
        char place[LS_WHERE_MAX];
        snprintf(place, sizeof(place), "%s.%s", where, name);
        /* The kind decides which options there are, so it is read before them. */
        const struct ls_yaml *map = node->items[i];
        const struct ls_yaml *kind = ls_yaml_get(map, "kind");
        if (map->kind == LS_YAML_MAP && kind == NULL)
            return ls_config_fail(reader, map->line,
                                  "%s.kind is missing; expected mysql, redis or elasticsearch",
                                  place);
        char option[LS_WHERE_MAX + 8];
        snprintf(option, sizeof(option), "%s.kind", place);
        if (kind && ls_config_read_kind(reader, option, kind, sink) < 0)
            return -1;
        if (ls_config_section(reader, &ls_section_sink, place, (int)sink->kind, map, sink) < 0)
            return -1;
    }
    return 0;
}

int ls_config_read_servers(struct ls_config_reader *reader, const char *where,
                           const struct ls_yaml *node, void *target)
{
    struct ls_sink_config *sink = target;
    if (node->kind != LS_YAML_LIST || node->n_items == 0)
        return expected(reader, where, node, "a list of servers");
    sink->servers = ls_calloc(node->n_items, sizeof(*sink->servers));
    for (size_t i = 0; i < node->n_items; i++) {
        struct ls_mysql_server *server = &sink->servers[sink->n_servers++];
        server->partition_first = server->partition_last = -1;
        char place[LS_WHERE_MAX];
        snprintf(place, sizeof(place), "%s[%zu]", where, i);
        if (ls_config_section(reader, &ls_section_server, place, -1, node->items[i], server) < 0)
            return -1;
        if (server->password == NULL)
            server->password = ls_strdup("");
    }
    return 0;
}

/* A decimal number below LS_SHARDS at *text, which moves past it; -1 if there is none. */
static int32_t take_partition(const char **text)
{
    int32_t number = 0;
    const char *c = *text;
    while (*c >= '0' && *c <= '9' && number < LS_SHARDS)
        number = number * 10 + (*c++ - '0');
    if (c == *text || number >= LS_SHARDS)
        return -1;
    *text = c;
    return number;
}

int ls_config_read_partitions(struct ls_config_reader *reader, const char *where,
                              const struct ls_yaml *node, void *target)
{
    struct ls_mysql_server *server = target;
    if (node->kind == LS_YAML_SCALAR) {
        const char *c = node->text;
        int32_t first = take_partition(&c);
        int32_t last = first;
        if (first >= 0 && *c == '-') {
            c++;
            last = take_partition(&c);
        }
        if (first >= 0 && last >= first && *c == '\0') {
            server->partition_first = first;
            server->partition_last = last;
            return 0;
        }
    }
    return expected(reader, where, node, "a partition or a range of them, such as 0-3");
}

/* Splits `host`, `host:port` or `[address]:port`. Returns -1 when it is none of these. */
static int split_address(const char *text, uint16_t default_port, char **ret_host,
                         uint16_t *ret_port)
{
    const char *host = text, *end;
    const char *port;
    if (*text == '[') {
        host = text + 1;
        end = strchr(host, ']');
        if (end == NULL)
            return -1;
        port = end + 1;
    } else {
        end = host + strcspn(host, ":");
        port = end;
    }
    if (end == host || strcspn(host, " /@") < (size_t)(end - host))
        return -1;
    long number = default_port;
    if (*port == ':') {
        char *rest;
        if (port[1] < '0' || port[1] > '9')
            return -1;
        number = strtol(port + 1, &rest, 10);
        if (*rest != '\0' || number < 1 || number > UINT16_MAX)
            return -1;
    } else if (*port != '\0') {
        return -1;
    }
    *ret_host = ls_strndup(host, (size_t)(end - host));
    *ret_port = (uint16_t)number;
    return 0;
}

int ls_config_read_nodes(struct ls_config_reader *reader, const char *where,
                         const struct ls_yaml *node, void *target)
{
    struct ls_sink_config *sink = target;
    if (node->kind != LS_YAML_LIST || node->n_items == 0)
        return expected(reader, where, node, "a list of host:port");
    sink->nodes = ls_calloc(node->n_items, sizeof(*sink->nodes));
    for (size_t i = 0; i < node->n_items; i++) {
        const struct ls_yaml *item = node->items[i];
        struct ls_redis_node *redis = &sink->nodes[sink->n_nodes];
        if (item->kind != LS_YAML_SCALAR ||
            split_address(item->text, REDIS_PORT, &redis->host, &redis->port) < 0)
            return expected(reader, where, item, "host:port");
        sink->n_nodes++;
    }
    return 0;
}

int ls_config_read_urls(struct ls_config_reader *reader, const char *where,
                        const struct ls_yaml *node, void *target)
{
    struct ls_sink_config *sink = target;
    if (node->kind != LS_YAML_LIST || node->n_items == 0)
        return expected(reader, where, node, "a list of http:// or https:// addresses");
    sink->urls = ls_calloc(node->n_items, sizeof(*sink->urls));
    for (size_t i = 0; i < node->n_items; i++) {
        const struct ls_yaml *item = node->items[i];
        const char *text = item->kind == LS_YAML_SCALAR ? item->text : "";
        /* Before anything that would show the text: it may hold a password. */
        if (strchr(text, '@'))
            return ls_config_fail(reader, item->line,
                                  "%s: an address can't hold a user and password; use `user` and "
                                  "`password_file`, `password_env`, or `api_key_file`",
                                  where);
        size_t scheme = strncmp(text, "http://", 7) == 0    ? 7
                        : strncmp(text, "https://", 8) == 0 ? 8
                                                            : 0;
        if (scheme == 0)
            return expected(reader, where, item, "an address such as http://host:9200");
        size_t len = strlen(text);
        while (len > scheme && text[len - 1] == '/')
            len--;
        LS_CLEANUP_FREE char *address = ls_strndup(text + scheme, len - scheme);
        char *host = NULL;
        uint16_t port = 0;
        if (split_address(address, 9200, &host, &port) < 0)
            return expected(reader, where, item,
                            "an address such as http://host:9200, without a path");
        /* curl would take 80 or 443 where Elasticsearch's clients take 9200. */
        sink->urls[sink->n_urls++] = ls_asprintf(strchr(host, ':') ? "%.*s[%s]:%u" : "%.*s%s:%u",
                                                 (int)scheme, text, host, (unsigned)port);
        free(host);
    }
    return 0;
}

/* Elasticsearch's own rules of names. */
static bool is_index_name(const char *name)
{
    if (name[0] == '\0' || strlen(name) > INDEX_NAME_MAX || strchr("-_+.", name[0]))
        return false;
    for (const unsigned char *c = (const unsigned char *)name; *c; c++)
        if (*c <= ' ' || (*c >= 'A' && *c <= 'Z') || *c >= 0x7f || strchr("\\/*?\"<>|,#:%", *c))
            return false;
    return true;
}

int ls_config_read_index(struct ls_config_reader *reader, const char *where,
                         const struct ls_yaml *node, void *target)
{
    struct ls_sink_config *sink = target;
    if (node->kind != LS_YAML_SCALAR || !is_index_name(node->text))
        return expected(reader, where, node,
                        "a name of small letters, digits, - and _ that starts with a letter");
    size_t len = strlen(where);
    bool alias = len > 6 && strcmp(where + len - 6, ".alias") == 0;
    *(alias ? &sink->alias : &sink->index) = ls_strdup(node->text);
    return 0;
}

int ls_config_read_tls(struct ls_config_reader *reader, const char *where,
                       const struct ls_yaml *node, void *target)
{
    struct ls_sink_config *sink = target;
    if (sink->kind == LS_SINK_REDIS)
        return ls_config_fail(reader, node->line,
                              "%s: the Redis client library of this build has no TLS; run a TLS "
                              "proxy (such as stunnel) on loopback and name its ports in `nodes`",
                              where);
    sink->tls.on = true;
    return ls_config_section(reader, &ls_section_tls, where, -1, node, &sink->tls);
}
