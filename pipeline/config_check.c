/*
 * Checks of the configuration that no single option can tell: what must go together, what must not,
 * and whether the partitions and stores of all sinks add up.
 *
 * Threads: the one that reads the configuration. A crash leaves nothing behind.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/mem.h"
#include "pipeline/config_options.h"

/* The line of an option of a map, or the map's own. */
static int line_of(const struct ls_yaml *map, const char *key)
{
    const struct ls_yaml *node = ls_yaml_get(map, key);
    return node ? node->line : map->line;
}

static int check_readable(struct ls_config_reader *reader, const struct ls_sink_config *sink,
                          const struct ls_yaml *tls, const char *option, const char *path)
{
    if (path == NULL || access(path, R_OK) == 0)
        return 0;
    return ls_config_fail(reader, line_of(tls, option), "sinks.%s.tls.%s: cannot read %s: %s",
                          sink->name, option, path, strerror(errno));
}

static int check_tls(struct ls_config_reader *reader, const struct ls_sink_config *sink,
                     const struct ls_yaml *map)
{
    const struct ls_yaml *tls = ls_yaml_get(map, "tls");
    if (tls == NULL)
        return 0;
    if ((sink->tls.cert_file == NULL) != (sink->tls.key_file == NULL))
        return ls_config_fail(reader, tls->line, "sinks.%s.tls: `cert` and `key` go together",
                              sink->name);
    if (check_readable(reader, sink, tls, "ca", sink->tls.ca_file) < 0 ||
        check_readable(reader, sink, tls, "cert", sink->tls.cert_file) < 0 ||
        check_readable(reader, sink, tls, "key", sink->tls.key_file) < 0)
        return -1;
    return 0;
}

static int check_user(struct ls_config_reader *reader, const struct ls_sink_config *sink,
                      const struct ls_yaml *map)
{
    if (sink->user && sink->password == NULL)
        return ls_config_fail(reader, line_of(map, "user"),
                              "sinks.%s: `user` needs a password_file or password_env", sink->name);
    if (sink->kind != LS_SINK_ES)
        return 0;
    if (sink->password && sink->user == NULL)
        return ls_config_fail(
            reader,
            line_of(map, ls_yaml_get(map, "password_env") ? "password_env" : "password_file"),
            "sinks.%s: the password needs a `user`", sink->name);
    if (sink->user && sink->api_key)
        return ls_config_fail(reader, line_of(map, "user"),
                              "sinks.%s: give a user with its password or an API key, not both",
                              sink->name);
    return 0;
}

static bool is_loopback(const char *url)
{
    const char *host = strstr(url, "://") + 3;
    return strncmp(host, "127.", 4) == 0 || strncmp(host, "localhost:", 10) == 0 ||
           strncmp(host, "[::1]:", 6) == 0;
}

static int check_es(struct ls_config_reader *reader, struct ls_sink_config *sink,
                    const struct ls_yaml *map)
{
    if (sink->index == NULL)
        sink->index = ls_asprintf("%s-000001", sink->entity->name);
    if (sink->alias == NULL)
        sink->alias = ls_strdup(sink->entity->name);
    if (strcmp(sink->index, sink->alias) == 0)
        return ls_config_fail(
            reader, line_of(map, "index"),
            "sinks.%s: index and alias are both '%s'; readers use the alias, so it "
            "needs a name of its own",
            sink->name, sink->alias);
    if (sink->replicas == UINT32_MAX)
        sink->replicas = sink->data_nodes > 1 ? 1 : 0;
    const struct ls_yaml *urls = ls_yaml_get(map, "urls");
    bool https = strncmp(sink->urls[0], "https:", 6) == 0;
    bool in_clear = false;
    for (size_t i = 0; i < sink->n_urls; i++) {
        if ((strncmp(sink->urls[i], "https:", 6) == 0) != https)
            return ls_config_fail(reader, urls->items[i]->line,
                                  "sinks.%s.urls: expected all http:// or all https://",
                                  sink->name);
        in_clear |= !https && !is_loopback(sink->urls[i]);
    }
    if (sink->tls.on && !https)
        return ls_config_fail(reader, line_of(map, "tls"),
                              "sinks.%s: `tls` needs urls that start with https://", sink->name);
    sink->tls.on = https;
    if (in_clear && (sink->password || sink->api_key))
        ls_config_warn(reader, urls->line,
                       "sinks.%s.urls: the secret goes over the network in clear; use https://",
                       sink->name);
    return 0;
}

/* Every partition on exactly one server. */
static int check_servers(struct ls_config_reader *reader, struct ls_sink_config *sink,
                         const struct ls_yaml *map)
{
    const struct ls_yaml *list = ls_yaml_get(map, "servers");
    int32_t partitions = sink->entity->partitions;
    int line_at[LS_SHARDS] = {0};
    for (size_t i = 0; i < sink->n_servers; i++) {
        struct ls_mysql_server *server = &sink->servers[i];
        int line = line_of(list->items[i], "partitions");
        if (server->partition_first < 0 && sink->n_servers == 1) {
            server->partition_first = 0;
            server->partition_last = partitions - 1;
        }
        if (server->partition_first < 0)
            return ls_config_fail(reader, line,
                                  "sinks.%s.servers[%zu].partitions is missing; with several "
                                  "servers each says which it has, such as 0-3",
                                  sink->name, i);
        if (server->partition_last >= partitions)
            return ls_config_fail(reader, line,
                                  "sinks.%s.servers[%zu].partitions: there is no partition %d; "
                                  "entity '%s' has 0-%d",
                                  sink->name, i, server->partition_last, sink->entity->name,
                                  partitions - 1);
        for (int32_t p = server->partition_first; p <= server->partition_last; p++) {
            if (line_at[p])
                return ls_config_fail(reader, line,
                                      "sinks.%s.servers[%zu].partitions: partition %d is on the "
                                      "server of line %d already; each is on exactly one",
                                      sink->name, i, p, line_at[p]);
            line_at[p] = line;
        }
    }
    for (int32_t p = 0; p < partitions; p++) {
        if (line_at[p])
            continue;
        int32_t last = p;
        while (last + 1 < partitions && line_at[last + 1] == 0)
            last++;
        char range[24];
        snprintf(range, sizeof(range), last > p ? "s %d-%d" : " %d", p, last);
        return ls_config_fail(reader, list->line,
                              "sinks.%s.servers: no server has partition%s; each is on exactly one",
                              sink->name, range);
    }
    return 0;
}

static const char *shared_server(const struct ls_sink_config *a, const struct ls_sink_config *b)
{
    if (a->entity != b->entity)
        return NULL; /* their tables have other names */
    for (size_t i = 0; i < a->n_servers; i++)
        for (size_t j = 0; j < b->n_servers; j++)
            if (a->servers[i].port == b->servers[j].port &&
                strcasecmp(a->servers[i].host, b->servers[j].host) == 0 &&
                strcmp(a->servers[i].database, b->servers[j].database) == 0)
                return a->servers[i].host;
    return NULL;
}

static const char *shared_node(const struct ls_sink_config *a, const struct ls_sink_config *b)
{
    if (a->entity != b->entity)
        return NULL; /* their entries have other prefixes */
    for (size_t i = 0; i < a->n_nodes; i++)
        for (size_t j = 0; j < b->n_nodes; j++)
            if (a->nodes[i].port == b->nodes[j].port &&
                strcasecmp(a->nodes[i].host, b->nodes[j].host) == 0)
                return a->nodes[i].host;
    return NULL;
}

static const char *shared_index(const struct ls_sink_config *a, const struct ls_sink_config *b)
{
    if (strcmp(a->index, b->index) != 0)
        return NULL;
    for (size_t i = 0; i < a->n_urls; i++)
        for (size_t j = 0; j < b->n_urls; j++)
            if (strcasecmp(a->urls[i], b->urls[j]) == 0)
                return a->urls[i];
    return NULL;
}

/* Two sinks on one store would share its marks, and each would start at the other's. */
static int check_shared(struct ls_config_reader *reader, const struct ls_sink_config *sink)
{
    for (const struct ls_sink_config *other = reader->config->sinks; other < sink; other++) {
        if (other->kind != sink->kind)
            continue;
        const char *shared = sink->kind == LS_SINK_MYSQL   ? shared_server(sink, other)
                             : sink->kind == LS_SINK_REDIS ? shared_node(sink, other)
                                                           : shared_index(sink, other);
        if (shared)
            return ls_config_fail(reader, sink->line,
                                  "sinks.%s: writes into the same store as sink '%s' (%s); a store "
                                  "follows the log through one sink",
                                  sink->name, other->name, shared);
    }
    return 0;
}

int ls_config_check_sink(struct ls_config_reader *reader, struct ls_sink_config *sink,
                         const struct ls_yaml *map)
{
    if (sink->entity == NULL)
        return ls_config_fail(reader, map->line,
                              "sinks.%s.entity is missing; with several entities each sink names "
                              "its own",
                              sink->name);
    if (check_tls(reader, sink, map) < 0 || check_user(reader, sink, map) < 0)
        return -1;
    if (sink->kind == LS_SINK_MYSQL && check_servers(reader, sink, map) < 0)
        return -1;
    if (sink->kind == LS_SINK_ES && check_es(reader, sink, map) < 0)
        return -1;
    return check_shared(reader, sink);
}
