/*
 * Reads the configuration file, frees it, and finds things in it by name. What an option means and
 * how it is read stands in the tables (config_options.c).
 *
 * Threads: the configuration is immutable once it is read. A crash leaves nothing behind.
 */
#include "pipeline/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/config_options.h"

const char *ls_sink_kind_name(enum ls_sink_kind kind)
{
    switch (kind) {
    case LS_SINK_MYSQL:
        return "mysql";
    case LS_SINK_REDIS:
        return "redis";
    case LS_SINK_ES:
        return "elasticsearch";
    }
    return "unknown";
}

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return ls_strdup(".");
    return slash == path ? ls_strdup("/") : ls_strndup(path, (size_t)(slash - path));
}

static int check_sinks(struct ls_config_reader *reader, const struct ls_yaml *root)
{
    const struct ls_yaml *sinks = ls_yaml_get(root, "sinks");
    for (size_t i = 0; i < reader->config->n_sinks; i++)
        if (ls_config_check_sink(reader, &reader->config->sinks[i], sinks->items[i]) < 0)
            return -1;
    return 0;
}

int ls_config_read(const char *path, struct ls_config **ret, struct ls_err *err)
{
    struct ls_err unused;
    struct ls_yaml *root = NULL;
    if (ls_yaml_read(path, &root, err) < 0)
        return -1;
    struct ls_config *config = ls_calloc(1, sizeof(*config));
    config->path = ls_strdup(path);
    struct ls_config_reader reader = {
        .path = path, .folder = folder_of(path), .config = config, .err = err ? err : &unused};
    int rc = ls_config_section(&reader, &ls_section_file, "", -1, root, config);
    if (rc == 0)
        rc = check_sinks(&reader, root);
    for (size_t i = 0; i < reader.n_schemas; i++) {
        if (rc == 0 && reader.schemas[i])
            ls_config_warn(&reader, reader.schema_lines[i],
                           "the schema of '%s' is used by none of the entities",
                           reader.schemas[i]->entity);
        ls_schema_free(reader.schemas[i]);
    }
    free(reader.schemas);
    free(reader.schema_lines);
    free(reader.folder);
    ls_yaml_free(root);
    if (rc < 0)
        ls_config_free(config);
    else
        *ret = config;
    return rc;
}

static void free_secret(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

static void free_sink(struct ls_sink_config *sink)
{
    for (size_t i = 0; i < sink->n_servers; i++) {
        free(sink->servers[i].host);
        free(sink->servers[i].database);
        free(sink->servers[i].user);
        free_secret(sink->servers[i].password);
    }
    for (size_t i = 0; i < sink->n_nodes; i++)
        free(sink->nodes[i].host);
    for (size_t i = 0; i < sink->n_urls; i++)
        free(sink->urls[i]);
    free(sink->name);
    free(sink->servers);
    free(sink->nodes);
    free(sink->urls);
    free(sink->index);
    free(sink->alias);
    free(sink->user);
    free_secret(sink->api_key);
    free_secret(sink->password);
    free(sink->tls.ca_file);
    free(sink->tls.cert_file);
    free(sink->tls.key_file);
}

void ls_config_free(struct ls_config *config)
{
    if (config == NULL)
        return;
    for (size_t i = 0; i < config->n_sinks; i++)
        free_sink(&config->sinks[i]);
    for (size_t i = 0; i < config->n_entities; i++) {
        free(config->entities[i].name);
        ls_schema_free(config->entities[i].schema);
    }
    for (size_t i = 0; i < config->n_properties; i++) {
        free(config->properties[i].name);
        free_secret(config->properties[i].value);
    }
    for (size_t i = 0; i < config->n_warnings; i++)
        free(config->warnings[i]);
    free(config->warnings);
    free(config->sinks);
    free(config->entities);
    free(config->properties);
    free(config->brokers);
    free(config->state_dir);
    free(config->listen);
    free(config->path);
    free(config);
}

const struct ls_sink_config *ls_config_sink(const struct ls_config *config, const char *name,
                                            struct ls_err *err)
{
    struct ls_buf names = {0};
    for (size_t i = 0; i < config->n_sinks; i++) {
        if (strcmp(config->sinks[i].name, name) == 0) {
            ls_buf_free(&names);
            return &config->sinks[i];
        }
        ls_buf_printf(&names, "%s%s", i ? ", " : "", config->sinks[i].name);
    }
    ls_err_set(err, LS_ERR_FATAL, 0, "%s has no sink '%.60s'; its sinks are: %s", config->path,
               name, names.len ? ls_buf_cstr(&names) : "none");
    ls_buf_free(&names);
    return NULL;
}

const struct ls_entity_config *ls_config_entity(const struct ls_config *config, const char *name,
                                                struct ls_err *err)
{
    struct ls_buf names = {0};
    for (size_t i = 0; i < config->n_entities; i++) {
        if (strcmp(config->entities[i].name, name) == 0) {
            ls_buf_free(&names);
            return &config->entities[i];
        }
        ls_buf_printf(&names, "%s%s", i ? ", " : "", config->entities[i].name);
    }
    ls_err_set(err, LS_ERR_FATAL, 0, "%s has no entity '%.60s'; its entities are: %s", config->path,
               name, ls_buf_cstr(&names));
    ls_buf_free(&names);
    return NULL;
}
