/*
 * Set-up of an index: check before a sink runs, apply what is missing, and diff against the schema.
 * Blocking, one thread; es_setup.c compares. A crash between two steps of apply leaves an index
 * that the next apply completes.
 */
#include <stdlib.h>

#include "consumers/es_setup.h"
#include "consumers/es_store.h"
#include "schema/es_mapping.h"

static int get_json(struct es_store *store, const char *path, json_t **ret, struct ls_err *err)
{
    return ls_es_json(store->client, "GET", path, NULL, ret, err);
}

/* Reads what is there; a missing index is no error here. */
static int load(struct es_store *store, struct ls_es_setup *setup, struct ls_err *err)
{
    LS_CLEANUP_FREE char *path = ls_es_setup_index_path(store->config);
    json_t *settings = NULL, *all = NULL;
    int rc = get_json(store, LS_ES_SETUP_SETTINGS_PATH, &settings, err);
    if (rc == 0)
        rc = get_json(store, path, &all, err);
    if (rc == 0) {
        ls_es_setup_settings(setup, store->config, settings);
        rc = ls_es_setup_index(setup, store->config, all, err);
    }
    json_decref(settings);
    json_decref(all);
    return rc;
}

int ls_es_check(struct ls_store *opaque, struct ls_err *err)
{
    struct ls_es_setup setup = {0};
    int rc = load((struct es_store *)opaque, &setup, err);
    if (rc == 0)
        rc = ls_es_setup_check(&setup, err);
    ls_es_setup_free(&setup);
    return rc;
}

static bool holds_data(json_t *node)
{
    size_t i;
    json_t *role;
    json_array_foreach(json_object_get(node, "roles"), i, role)
    {
        if (strncmp(json_string_value(role) ? json_string_value(role) : "", "data", 4) == 0)
            return true;
    }
    return false;
}

static json_int_t pool_size(json_t *node, const char *name)
{
    json_t *pools = json_object_get(node, "thread_pool");
    return json_integer_value(json_object_get(json_object_get(pools, name), "size"));
}

static int diff_nodes(struct es_store *store, struct ls_es_report *report, struct ls_err *err)
{
    const struct ls_sink_config *config = store->config;
    json_t *root = NULL;
    if (get_json(store,
                 "/_nodes/os,thread_pool?filter_path=nodes.*.name,nodes.*.roles,"
                 "nodes.*.os.allocated_processors,nodes.*.thread_pool.search.size,"
                 "nodes.*.thread_pool.write.size",
                 &root, err) != 0)
        return -1;
    const char *id;
    json_t *node;
    uint32_t data_nodes = 0;
    json_object_foreach(json_object_get(root, "nodes"), id, node)
    {
        if (!holds_data(node))
            continue;
        data_nodes++;
        const char *name = json_string_value(json_object_get(node, "name"));
        json_int_t cores = json_integer_value(
            json_object_get(json_object_get(node, "os"), "allocated_processors"));
        json_int_t search = pool_size(node, "search"), write = pool_size(node, "write");
        if (search != cores * 3 / 2 + 1)
            ls_es_say(report,
                      "node %s: thread_pool.search.size is %lld, expected %lld (%lld cores)",
                      name ? name : id, (long long)search, (long long)(cores * 3 / 2 + 1),
                      (long long)cores);
        if (write < cores)
            ls_es_say(report, "node %s: thread_pool.write.size is %lld, expected %lld or %lld",
                      name ? name : id, (long long)write, (long long)cores, (long long)cores + 1);
    }
    if (data_nodes != config->data_nodes)
        ls_es_say(report, "the cluster has %u data nodes; sink %s says `data_nodes: %u`",
                  data_nodes, config->name, config->data_nodes);
    json_decref(root);
    return 0;
}

int ls_es_diff(struct ls_store *opaque, ls_line_fn *line, void *line_opaque,
               size_t *ret_differences, struct ls_err *err)
{
    struct es_store *store = (struct es_store *)opaque;
    struct ls_es_setup setup = {0};
    struct ls_es_report report = {line, line_opaque, 0};
    int rc = load(store, &setup, err);
    if (rc == 0) {
        ls_es_setup_diff(&setup, &report);
        rc = diff_nodes(store, &report, err);
    }
    ls_es_setup_free(&setup);
    if (rc == 0)
        *ret_differences = report.n_lines;
    return rc;
}

static int send_json(struct es_store *store, const char *method, const char *path, json_t *body,
                     struct ls_err *err)
{
    char *text = json_dumps(body, 0);
    int rc = ls_es_json(store->client, method, path, text, NULL, err);
    free(text);
    return rc;
}

static int create_index(struct es_store *store, const struct ls_es_setup *setup,
                        struct ls_es_report *report, struct ls_err *err)
{
    const char *index = store->config->index;
    LS_CLEANUP_FREE char *path = ls_asprintf("/%s", index);
    if (send_json(store, "PUT", path, setup->expected, err) != 0)
        return -1;
    ls_es_say(report, "index %s created", index);
    return 0;
}

/* Fields that the live mapping lacks; what it has stays as it is. */
static int add_fields(struct es_store *store, const struct ls_es_setup *setup,
                      struct ls_es_report *report, struct ls_err *err)
{
    const char *index = store->config->index;
    json_t *expected = json_object_get(json_object_get(setup->expected, "mappings"), "properties");
    json_t *live = json_object_get(json_object_get(setup->live, "mappings"), "properties");
    json_t *missing = json_object();
    const char *name;
    json_t *property;
    json_object_foreach(expected, name, property)
    {
        if (json_object_get(live, name) == NULL)
            json_object_set(missing, name, property);
    }
    int rc = 0;
    if (json_object_size(missing) > 0) {
        LS_CLEANUP_FREE char *path = ls_asprintf("/%s/_mapping", index);
        json_t *body = json_pack("{s:O}", "properties", missing);
        rc = send_json(store, "PUT", path, body, err);
        json_decref(body);
    }
    if (rc == 0) {
        json_object_foreach(missing, name, property)
        {
            ls_es_say(report, "index %s: field %s added", index, name);
        }
    }
    json_decref(missing);
    return rc;
}

/* Where the alias is already it stays: moving readers is a switch, not set-up. */
static int add_alias(struct es_store *store, struct ls_es_report *report, struct ls_err *err)
{
    const struct ls_sink_config *config = store->config;
    json_t *all = NULL;
    LS_CLEANUP_FREE char *list = ls_asprintf("/_alias/%s*?filter_path=*.aliases", config->alias);
    if (get_json(store, list, &all, err) != 0)
        return -1;
    const char *holder = NULL, *index;
    json_t *entry;
    json_object_foreach(all, index, entry)
    {
        if (json_object_get(json_object_get(entry, "aliases"), config->alias) != NULL &&
            (holder == NULL || strcmp(index, config->index) == 0))
            holder = index;
    }
    int rc = 0;
    if (holder == NULL) {
        json_t *filter = ls_es_own_json(ls_es_alias_filter(store->schema));
        json_t *body = json_pack("{s:[{s:{s:s,s:s,s:o}}]}", "actions", "add", "index",
                                 config->index, "alias", config->alias, "filter", filter);
        rc = send_json(store, "POST", "/_aliases", body, err);
        json_decref(body);
        if (rc == 0)
            ls_es_say(report, "alias %s put on index %s", config->alias, config->index);
    } else if (strcmp(holder, config->index) != 0) {
        ls_es_say(report, "alias %s stays on index %s", config->alias, holder);
    }
    json_decref(all);
    return rc;
}

int ls_es_apply(struct ls_store *opaque, ls_line_fn *line, void *line_opaque, struct ls_err *err)
{
    struct es_store *store = (struct es_store *)opaque;
    struct ls_es_setup setup = {0};
    if (load(store, &setup, err) != 0)
        return -1;
    struct ls_es_report report = {line, line_opaque, 0};
    int rc = setup.live == NULL ? create_index(store, &setup, &report, err)
                                : add_fields(store, &setup, &report, err);
    if (rc == 0)
        rc = add_alias(store, &report, err);
    ls_es_setup_free(&setup);
    return rc;
}
