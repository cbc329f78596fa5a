/* The Elasticsearch side of a schema: mapping, index settings, node settings. Pure JSON text. */
#ifndef LS_SCHEMA_ES_MAPPING_H
#define LS_SCHEMA_ES_MAPPING_H

#include "schema/schema.h"

/*
 * Hidden fields of every document, beside the schema's and the key's: `_v_hi _v_lo _h_hi _h_lo`
 * (long: 32-bit halves), `_deleted` (boolean), `_at` (long, ms), `_shard` (integer). Mark documents
 * have `_mark` (keyword: genesis UUID), `_partition` (integer), `_home` (keyword: the data that the
 * mark speaks of, consumers/es_incarnation.h), `_v_hi`, `_v_lo`, `_at` and none of the others;
 * their _id is "{mark}:<partition>" (braces: no key can be that), routed by the partition's number
 * in decimal. The alias's filter hides marks and deleted documents.
 */

struct ls_es_plan {
    uint32_t shards;          /* primary shards: a multiple of nodes, each at most 50 GB */
    uint64_t bytes_per_shard; /* expected in the fullest one: routing fills them unevenly */
};
/*
 * Plans the index for the schema's expected records on this many data nodes (at least 1). There are
 * 1024 routing values, so 1024 shards are the most; where even these pass 50 GB, bytes_per_shard
 * says so.
 */
struct ls_es_plan ls_es_plan(const struct ls_schema *schema, uint32_t nodes);

/*
 * Body of PUT /<index>: settings (shards, replicas, routing, refresh, no memory of deletes by hand,
 * translog durability request) and the strict, keyword-only mapping with required routing. The
 * caller frees.
 */
char *ls_es_index_body(const struct ls_schema *schema, uint32_t nodes, uint32_t replicas);

/* Filter of the reading alias: not deleted, not a mark. JSON. The caller frees. */
char *ls_es_alias_filter(const struct ls_schema *schema);

/*
 * elasticsearch.yml lines for a node with this many cores: search pool cores*3/2+1, write pool
 * cores+1 at most (Elasticsearch refuses more), automatic index creation off. The caller frees.
 */
char *ls_es_node_file(uint32_t cores);

#endif
