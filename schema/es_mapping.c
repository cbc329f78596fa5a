/*
 * Elasticsearch index, alias and node settings of a schema. Pure JSON text; any thread.
 *
 * Documents are routed by the number of their key's shard, 1024 routing values for a few dozen
 * Elasticsearch shards, so these fill unevenly. The plan computes Elasticsearch's own placement of
 * the 1024 and counts the fullest shard, instead of hoping that the average stays under the limit.
 */
#include "schema/es_mapping.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "base/mem.h"

#define SHARD_BYTES_MAX UINT64_C(50000000000)

static uint32_t rotate_left(uint32_t number, unsigned bits)
{
    return number << bits | number >> (32 - bits);
}

static uint32_t mix(uint32_t word)
{
    return rotate_left(word * 0xcc9e2d51u, 15) * 0x1b873593u;
}

/*
 * What Elasticsearch hashes a routing value with: MurmurHash3 (x86, 32 bits, seed 0; Austin
 * Appleby, public domain) over the value as UTF-16, little-endian. For decimal digits.
 */
static uint32_t routing_hash(const char *routing)
{
    size_t chars = strlen(routing);
    uint32_t hash = 0, word = 0;
    for (size_t i = 0; i < chars; i++) {
        word |= (uint32_t)(unsigned char)routing[i] << (i % 2 ? 16 : 0);
        if (i % 2) {
            hash = rotate_left(hash ^ mix(word), 13) * 5 + 0xe6546b64u;
            word = 0;
        }
    }
    if (chars % 2)
        hash ^= mix(word);
    hash ^= (uint32_t)(2 * chars);
    hash = (hash ^ hash >> 16) * 0x85ebca6bu;
    hash = (hash ^ hash >> 13) * 0xc2b2ae35u;
    return hash ^ hash >> 16;
}

/* Elasticsearch's default: the shards doubled up to 1024, so that the index can be split. */
static uint32_t routing_shards(uint32_t shards)
{
    uint32_t number = shards * 2;
    while (number * 2 <= 1024)
        number *= 2;
    return number;
}

/* How many of our 1024 shards, whose routing hashes these are, fall into the fullest of `shards`.
 */
static uint32_t fullest(const int32_t *hashes, uint32_t shards)
{
    uint32_t count[LS_SHARDS] = {0}, most = 0;
    int64_t places = routing_shards(shards);
    for (unsigned i = 0; i < LS_SHARDS; i++) {
        int64_t place = (hashes[i] % places + places) % places;
        uint32_t now = ++count[place / (places / shards)];
        most = now > most ? now : most;
    }
    return most;
}

struct ls_es_plan ls_es_plan(const struct ls_schema *schema, uint32_t nodes)
{
    int32_t hashes[LS_SHARDS];
    for (unsigned i = 0; i < LS_SHARDS; i++) {
        char routing[8];
        snprintf(routing, sizeof(routing), "%u", i);
        hashes[i] = (int32_t)routing_hash(routing);
    }
    uint64_t bytes = schema->expected_records * schema->average_bytes;
    nodes = nodes == 0 ? 1 : nodes > LS_SHARDS ? LS_SHARDS : nodes;
    struct ls_es_plan plan = {0};
    do {
        plan.shards += nodes;
        plan.bytes_per_shard = (bytes / LS_SHARDS + 1) * fullest(hashes, plan.shards);
    } while (plan.bytes_per_shard > SHARD_BYTES_MAX && plan.shards + nodes <= LS_SHARDS);
    return plan;
}

/* A property; one that is not searched by is kept in _source alone. */
static void add(json_t *properties, const char *name, const char *type, bool index, bool doc_values)
{
    json_t *property = json_pack("{s:s}", "type", type);
    if (!index)
        json_object_set_new(property, "index", json_false());
    if (!doc_values)
        json_object_set_new(property, "doc_values", json_false());
    json_object_set_new(properties, name, property);
}

static const char *es_type(enum ls_type type)
{
    switch (type) {
    case LS_TYPE_STRING:
    case LS_TYPE_STRINGS: /* any field of Elasticsearch is a list */
        return "keyword";
    case LS_TYPE_INT:
    case LS_TYPE_TIME:
        return "long";
    case LS_TYPE_FLOAT:
        return "double";
    case LS_TYPE_BOOL:
        return "boolean";
    }
    return "keyword";
}

static json_t *properties_of(const struct ls_schema *schema)
{
    json_t *properties = json_object();
    add(properties, schema->key.name, "keyword", true, true);
    for (size_t i = 0; i < schema->n_fields; i++) {
        const struct ls_field *field = &schema->fields[i];
        add(properties, field->name, es_type(field->type), field->indexed, field->indexed);
    }
    /* Hidden: read by digests and marks; what nobody filters by has no index. */
    add(properties, "_v_hi", "long", false, true);
    add(properties, "_v_lo", "long", false, true);
    add(properties, "_h_hi", "long", false, true);
    add(properties, "_h_lo", "long", false, true);
    add(properties, "_at", "long", false, true);
    add(properties, "_deleted", "boolean", true, true);
    add(properties, "_shard", "integer", true, true);
    add(properties, "_mark", "keyword", true, true);
    add(properties, "_partition", "integer", true, true);
    add(properties, "_home", "keyword", false, false);
    return properties;
}

static char *dump(json_t *json)
{
    char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
    json_decref(json);
    if (text == NULL)
        abort(); /* out of memory, as everywhere else */
    return text;
}

char *ls_es_index_body(const struct ls_schema *schema, uint32_t nodes, uint32_t replicas)
{
    struct ls_es_plan plan = ls_es_plan(schema, nodes);
    /*
     * gc_deletes: soft deletes are documents, so the version of one that somebody deleted by hand
     * guards nothing: remembered, it would only refuse the resync that brings the document back.
     */
    return dump(json_pack("{s:{s:{s:I,s:I,s:I,s:s,s:s,s:{s:s}}},s:{s:s,s:{s:b},s:o}}", "settings",
                          "index", "number_of_shards", (json_int_t)plan.shards,
                          "number_of_routing_shards", (json_int_t)routing_shards(plan.shards),
                          "number_of_replicas", (json_int_t)replicas, "refresh_interval", "1s",
                          "gc_deletes", "0s", "translog", "durability", "request", "mappings",
                          "dynamic", "strict", "_routing", "required", 1, "properties",
                          properties_of(schema)));
}

char *ls_es_alias_filter(const struct ls_schema *schema)
{
    (void)schema; /* the hidden fields are the same in every entity */
    return dump(json_pack("{s:{s:[{s:{s:b}},{s:{s:s}}]}}", "bool", "must_not", "term", "_deleted",
                          1, "exists", "field", "_mark"));
}

char *ls_es_node_file(uint32_t cores)
{
    cores = cores == 0 ? 1 : cores;
    return ls_asprintf("# Elasticsearch node settings for %" PRIu32 " cores.\n"
                       "# No index without its strict mapping: a worker must never create one.\n"
                       "action.auto_create_index: false\n"
                       "# Searches wait for disks too: more threads than cores.\n"
                       "thread_pool.search.size: %" PRIu32 "\n"
                       "# The most that Elasticsearch takes.\n"
                       "thread_pool.write.size: %" PRIu32 "\n",
                       cores, cores * 3 / 2 + 1, cores + 1);
}
