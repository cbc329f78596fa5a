/*
 * Set-up of an index: check before a sink runs, apply what is missing, and diff against the schema.
 * Blocking, one thread. What is expected is what schema/es_mapping.h would create, so that there is
 * one truth; what is there is what the cluster answers. A crash between two steps of apply leaves
 * an index that the next apply completes.
 */
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "consumers/es_store.h"
#include "schema/es_mapping.h"

#define APPLY "`lockstep schema apply`"

struct es_schema {
    struct es_store *store;
    json_t *expected; /* body of PUT /<index> */
    json_t *live;     /* {"mappings", "settings", "defaults", "aliases"}; NULL: no such index */
};

static void schema_free(struct es_schema *schema)
{
    json_decref(schema->expected);
    json_decref(schema->live);
}

static json_t *parse_own(char *text)
{
    json_t *json = json_loads(text, 0, NULL);
    free(text);
    return json;
}

static int get_json(struct es_store *store, const char *path, json_t **ret, struct ls_err *err)
{
    return ls_es_json(store->client, "GET", path, NULL, ret, err);
}

/* Reads the live index; missing is no error here. */
static int schema_load(struct es_store *store, struct es_schema *ret, struct ls_err *err)
{
    const struct ls_sink_config *config = store->config;
    struct es_schema schema = {.store = store};
    LS_CLEANUP_FREE char *path =
        ls_asprintf("/%s?include_defaults=true&ignore_unavailable=true", config->index);
    json_t *all = NULL;
    if (get_json(store, path, &all, err) != 0)
        return -1;
    json_t *live = json_object_get(all, config->index);
    if (live == NULL && json_object_size(all) > 0) {
        json_decref(all);
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "sink %s: `index: %s` is an alias; name the index behind it, workers "
                          "write to that",
                          config->name, config->index);
    }
    schema.live = json_incref(live);
    json_decref(all);
    schema.expected =
        parse_own(ls_es_index_body(store->schema, config->data_nodes, config->replicas));
    *ret = schema;
    return 0;
}

/* Lines of a report, counted. */
struct report {
    ls_line_fn *line;
    void *opaque;
    size_t n_lines;
};

static void __attribute__((format(printf, 2, 3)))
say(struct report *report, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    report->n_lines++;
    if (report->line != NULL)
        report->line(report->opaque, text);
}

/* A scalar as Elasticsearch writes settings: all of them are strings there. buf holds numbers. */
static const char *scalar(const json_t *json, char *buf, size_t size)
{
    if (json_is_string(json))
        return json_string_value(json);
    if (json_is_integer(json)) {
        snprintf(buf, size, "%lld", (long long)json_integer_value(json));
        return buf;
    }
    if (json_is_boolean(json))
        return json_is_true(json) ? "true" : "false";
    return json == NULL ? "(not set)" : "(not a scalar)";
}

/* One property against another: its type, whether it is searched by, whether it is kept by column.
 */
static bool same_property(const json_t *expected, const json_t *live)
{
    static const char *const switches[] = {"index", "doc_values"};
    char buf[32], other[32];
    if (strcmp(scalar(json_object_get(expected, "type"), buf, sizeof(buf)),
               scalar(json_object_get(live, "type"), other, sizeof(other))) != 0)
        return false;
    for (size_t i = 0; i < LS_COUNT(switches); i++) {
        bool expected_on = !json_is_false(json_object_get(expected, switches[i]));
        bool live_on = !json_is_false(json_object_get(live, switches[i]));
        if (expected_on != live_on)
            return false;
    }
    return true;
}

static void describe_property(const json_t *property, char *buf, size_t size)
{
    char type[32];
    snprintf(buf, size, "%s%s%s", scalar(json_object_get(property, "type"), type, sizeof(type)),
             json_is_false(json_object_get(property, "index")) ? ", not indexed" : "",
             json_is_false(json_object_get(property, "doc_values")) ? ", no doc_values" : "");
}

static void diff_mapping(const struct es_schema *schema, struct report *report)
{
    const char *index = schema->store->config->index;
    json_t *expected_mapping = json_object_get(schema->expected, "mappings");
    json_t *live_mapping = json_object_get(schema->live, "mappings");
    json_t *expected = json_object_get(expected_mapping, "properties");
    json_t *live = json_object_get(live_mapping, "properties");
    char buf[32];
    const char *dynamic = scalar(json_object_get(live_mapping, "dynamic"), buf, sizeof(buf));
    if (strcmp(dynamic, "strict") != 0)
        say(report, "index %s: dynamic is %s, expected strict", index, dynamic);
    if (!json_is_true(json_object_get(json_object_get(live_mapping, "_routing"), "required")))
        say(report, "index %s: routing is not required", index);

    const char *name;
    json_t *property;
    json_object_foreach(expected, name, property)
    {
        char want[96], have[96];
        json_t *found = json_object_get(live, name);
        describe_property(property, want, sizeof(want));
        describe_property(found, have, sizeof(have));
        if (found == NULL)
            say(report, "index %s: field %s is missing, expected %s; " APPLY " adds it", index,
                name, want);
        else if (!same_property(property, found))
            say(report, "index %s: field %s is %s, expected %s", index, name, have, want);
    }
}

/*
 * Fields beyond the schema harm no write: a newer schema was applied before its workers came, or a
 * field was retired, which Elasticsearch cannot drop. So they are told, and no reason to halt.
 */
static void diff_extra_fields(const struct es_schema *schema, struct report *report)
{
    json_t *expected = json_object_get(json_object_get(schema->expected, "mappings"), "properties");
    json_t *live = json_object_get(json_object_get(schema->live, "mappings"), "properties");
    const char *name;
    json_t *property;
    json_object_foreach(live, name, property)
    {
        if (json_object_get(expected, name) == NULL)
            say(report, "index %s: field %s is not in the schema (version %u); it does no harm",
                schema->store->config->index, name, schema->store->schema->version);
    }
}

/* Settings of the body against live settings, or Elasticsearch's defaults where none is set. */
static void diff_settings(const struct es_schema *schema, const char *path, json_t *expected,
                          json_t *live, json_t *defaults, struct report *report)
{
    const char *name;
    json_t *value;
    json_object_foreach(expected, name, value)
    {
        json_t *set = json_object_get(live, name);
        json_t *unset = json_object_get(defaults, name);
        LS_CLEANUP_FREE char *full = ls_asprintf("%s.%s", path, name);
        if (strcmp(name, "number_of_routing_shards") == 0)
            continue; /* fixed when the index is made, and not shown afterwards */
        if (json_is_object(value)) {
            diff_settings(schema, full, value, set, unset, report);
            continue;
        }
        char buf[32], other[32];
        const char *want = scalar(value, buf, sizeof(buf));
        const char *have = scalar(set != NULL ? set : unset, other, sizeof(other));
        if (strcmp(want, have) != 0)
            say(report, "index %s: %s is %s, expected %s", schema->store->config->index, full, have,
                want);
    }
}

static void diff_alias(const struct es_schema *schema, struct report *report)
{
    const struct ls_sink_config *config = schema->store->config;
    json_t *alias = json_object_get(json_object_get(schema->live, "aliases"), config->alias);
    json_t *filter = parse_own(ls_es_alias_filter(schema->store->schema));
    if (alias == NULL)
        say(report, "index %s: alias %s is not on it", config->index, config->alias);
    else if (!json_equal(json_object_get(alias, "filter"), filter))
        say(report, "alias %s on index %s: its filter does not hide deleted documents and marks",
            config->alias, config->index);
    json_decref(filter);
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

static int diff_nodes(const struct es_schema *schema, struct report *report, struct ls_err *err)
{
    const struct ls_sink_config *config = schema->store->config;
    json_t *root = NULL;
    if (get_json(schema->store,
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
            say(report, "node %s: thread_pool.search.size is %lld, expected %lld (%lld cores)",
                name ? name : id, (long long)search, (long long)(cores * 3 / 2 + 1),
                (long long)cores);
        if (write < cores)
            say(report, "node %s: thread_pool.write.size is %lld, expected %lld or %lld",
                name ? name : id, (long long)write, (long long)cores, (long long)cores + 1);
    }
    if (data_nodes != config->data_nodes)
        say(report, "the cluster has %u data nodes; sink %s says `data_nodes: %u`", data_nodes,
            config->name, config->data_nodes);
    json_decref(root);
    return 0;
}

/* Whether action.auto_create_index as set would create our index: "false", "true", or +a*,-b*. */
static bool creates_index(const char *setting, const char *index)
{
    if (strcmp(setting, "false") == 0)
        return false;
    if (strcmp(setting, "true") == 0)
        return true;
    LS_CLEANUP_FREE char *copy = ls_strdup(setting);
    char *save = NULL;
    for (char *part = strtok_r(copy, ", ", &save); part != NULL;
         part = strtok_r(NULL, ", ", &save)) {
        bool deny = *part == '-';
        if (*part == '-' || *part == '+')
            part++;
        if (fnmatch(part, index, FNM_NOESCAPE) == 0)
            return !deny;
    }
    return false;
}

/* The first of transient, persistent and default settings that says anything. */
static int auto_create(struct es_store *store, bool *ret, struct ls_err *err)
{
    static const char *const levels[] = {"transient", "persistent", "defaults"};
    json_t *root = NULL;
    if (get_json(store, "/_cluster/settings?include_defaults=true&filter_path=**.auto_create_index",
                 &root, err) != 0)
        return -1;
    const char *setting = NULL;
    for (size_t i = 0; i < LS_COUNT(levels) && setting == NULL; i++) {
        json_t *action = json_object_get(json_object_get(root, levels[i]), "action");
        setting = json_string_value(json_object_get(action, "auto_create_index"));
    }
    *ret = creates_index(setting != NULL ? setting : "true", store->config->index);
    json_decref(root);
    return 0;
}

static const char auto_create_text[] =
    "action.auto_create_index lets a write create the index without its mapping; set it to "
    "false (`lockstep schema show` prints the node file)";

/* The first line of a report becomes the error. */
struct first_line {
    char text[400];
};

static void keep_first(void *opaque, const char *line)
{
    struct first_line *first = opaque;
    if (first->text[0] == '\0')
        snprintf(first->text, sizeof(first->text), "%s", line);
}

/* What correctness rests on; settings that only cost speed are diff's. */
static void check_index(const struct es_schema *schema, struct report *report)
{
    char buf[32];
    json_t *live = json_object_get(json_object_get(schema->live, "settings"), "index");
    const json_t *durability = json_object_get(json_object_get(live, "translog"), "durability");
    const char *text = scalar(durability, buf, sizeof(buf));
    diff_mapping(schema, report);
    if (durability != NULL && strcmp(text, "request") != 0)
        say(report, "index %s: index.translog.durability is %s, expected request",
            schema->store->config->index, text);
}

int ls_es_check(struct ls_store *opaque, struct ls_err *err)
{
    struct es_store *store = (struct es_store *)opaque;
    const struct ls_sink_config *config = store->config;
    struct es_schema schema;
    bool creates = false;
    if (auto_create(store, &creates, err) != 0 || schema_load(store, &schema, err) != 0)
        return -1;
    struct first_line first = {""};
    struct report report = {keep_first, &first, 0};
    int rc = 0;
    if (schema.live == NULL) {
        rc = ls_err_set(err, LS_ERR_FATAL, 0, "index %s does not exist; " APPLY " creates it",
                        config->index);
    } else if (creates) {
        rc = ls_err_set(err, LS_ERR_FATAL, 0, "%s", auto_create_text);
    } else {
        check_index(&schema, &report);
        if (report.n_lines > 0)
            rc = ls_err_set(err, LS_ERR_FATAL, 0, "%s; `lockstep schema diff` shows all",
                            first.text);
    }
    schema_free(&schema);
    return rc;
}

int ls_es_diff(struct ls_store *opaque, ls_line_fn *line, void *line_opaque,
               size_t *ret_differences, struct ls_err *err)
{
    struct es_store *store = (struct es_store *)opaque;
    struct es_schema schema;
    bool creates = false;
    if (auto_create(store, &creates, err) != 0 || schema_load(store, &schema, err) != 0)
        return -1;
    struct report report = {line, line_opaque, 0};
    if (schema.live == NULL) {
        say(&report, "index %s does not exist; " APPLY " creates it", store->config->index);
    } else {
        diff_mapping(&schema, &report);
        diff_extra_fields(&schema, &report);
        diff_settings(&schema, "index",
                      json_object_get(json_object_get(schema.expected, "settings"), "index"),
                      json_object_get(json_object_get(schema.live, "settings"), "index"),
                      json_object_get(json_object_get(schema.live, "defaults"), "index"), &report);
        diff_alias(&schema, &report);
    }
    if (creates)
        say(&report, "%s", auto_create_text);
    int rc = diff_nodes(&schema, &report, err);
    schema_free(&schema);
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

static int create_index(const struct es_schema *schema, struct report *report, struct ls_err *err)
{
    const char *index = schema->store->config->index;
    LS_CLEANUP_FREE char *path = ls_asprintf("/%s", index);
    if (send_json(schema->store, "PUT", path, schema->expected, err) != 0)
        return -1;
    say(report, "index %s created", index);
    return 0;
}

/* Fields that the live mapping lacks; what it has stays as it is. */
static int add_fields(const struct es_schema *schema, struct report *report, struct ls_err *err)
{
    const char *index = schema->store->config->index;
    json_t *expected = json_object_get(json_object_get(schema->expected, "mappings"), "properties");
    json_t *live = json_object_get(json_object_get(schema->live, "mappings"), "properties");
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
        rc = send_json(schema->store, "PUT", path, body, err);
        json_decref(body);
    }
    if (rc == 0) {
        json_object_foreach(missing, name, property)
        {
            say(report, "index %s: field %s added", index, name);
        }
    }
    json_decref(missing);
    return rc;
}

/* Where the alias is already it stays: moving readers is a switch, not set-up. */
static int add_alias(const struct es_schema *schema, struct report *report, struct ls_err *err)
{
    struct es_store *store = schema->store;
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
        json_t *filter = parse_own(ls_es_alias_filter(store->schema));
        json_t *body = json_pack("{s:[{s:{s:s,s:s,s:o}}]}", "actions", "add", "index",
                                 config->index, "alias", config->alias, "filter", filter);
        rc = send_json(store, "POST", "/_aliases", body, err);
        json_decref(body);
        if (rc == 0)
            say(report, "alias %s put on index %s", config->alias, config->index);
    } else if (strcmp(holder, config->index) != 0) {
        say(report, "alias %s stays on index %s", config->alias, holder);
    }
    json_decref(all);
    return rc;
}

int ls_es_apply(struct ls_store *opaque, ls_line_fn *line, void *line_opaque, struct ls_err *err)
{
    struct es_store *store = (struct es_store *)opaque;
    struct es_schema schema;
    if (schema_load(store, &schema, err) != 0)
        return -1;
    struct report report = {line, line_opaque, 0};
    int rc = schema.live == NULL ? create_index(&schema, &report, err)
                                 : add_fields(&schema, &report, err);
    if (rc == 0)
        rc = add_alias(&schema, &report, err);
    schema_free(&schema);
    return rc;
}
