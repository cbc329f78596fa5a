/* What is derived from a schema for each store: DDL, mapping, plan, node file, Redis names. */
#include <criterion/criterion.h>
#include <jansson.h>

#include "base/mem.h"
#include "schema/es_mapping.h"
#include "schema/mysql_ddl.h"
#include "schema/redis_layout.h"
#include "tests/unit/schema_fixture.h"

static const char schema_text[] =
    "entity: thing\nversion: 3\nredis_prefix: th\nexpected_records: 10\naverage_bytes: 100\n"
    "fields:\n"
    "  - {number: 1, name: key, type: string, key: true}\n"
    "  - {number: 2, name: short, type: string, length: 20, indexed: true}\n"
    "  - {number: 3, name: middle, type: string, length: 1024, indexed: true}\n"
    "  - {number: 4, name: long, type: string, length: 1025, indexed: true}\n"
    "  - {number: 5, name: plain, type: string, length: 191}\n"
    "  - {number: 6, name: points, type: int, indexed: true}\n"
    "  - {number: 7, name: balance, type: float}\n"
    "  - {number: 8, name: active, type: bool, indexed: true}\n"
    "  - {number: 9, name: joined, type: time}\n"
    "  - {number: 10, name: tags, type: strings, length: 8, max_items: 100, indexed: true}\n";

static struct ls_schema *schema;

static void set_up(void)
{
    schema = schema_of(schema_text);
}

static void tear_down(void)
{
    ls_schema_free(schema);
}

TestSuite(layout, .init = set_up, .fini = tear_down);

#define TEXT_KIND "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL"
#define TABLE_KIND \
    "ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"

Test(layout, mysql_shard_table)
{
    struct ls_buf buf = {0};
    ls_mysql_create_shard(schema, 7, &buf);
    cr_assert_str_eq(ls_buf_cstr(&buf), "CREATE TABLE IF NOT EXISTS `thing_0007` (\n"
                                        "  `key` VARBINARY(255) NOT NULL,\n"
                                        "  `short` VARCHAR(20) " TEXT_KIND ",\n"
                                        "  `middle` VARCHAR(1024) " TEXT_KIND ",\n"
                                        "  `long` TEXT " TEXT_KIND ",\n"
                                        "  `plain` VARCHAR(191) " TEXT_KIND ",\n"
                                        "  `points` BIGINT NULL,\n"
                                        "  `balance` DOUBLE NULL,\n"
                                        "  `active` TINYINT NULL,\n"
                                        "  `joined` BIGINT NULL,\n"
                                        "  `tags` MEDIUMTEXT " TEXT_KIND ",\n"
                                        "  `_at` BIGINT NOT NULL,\n"
                                        "  `_deleted` TINYINT NOT NULL,\n"
                                        "  `_h` BIGINT UNSIGNED NOT NULL,\n"
                                        "  `_v` BIGINT UNSIGNED NOT NULL,\n"
                                        "  PRIMARY KEY (`key`),\n"
                                        "  KEY `short` (`short`),\n"
                                        "  KEY `middle` (`middle`(191)),\n"
                                        "  KEY `long` (`long`(191)),\n"
                                        "  KEY `points` (`points`)\n"
                                        ") " TABLE_KIND);
    ls_buf_free(&buf);
}

Test(layout, mysql_mark_table)
{
    struct ls_buf buf = {0};
    ls_mysql_create_marks(schema, &buf);
    cr_assert_str_eq(ls_buf_cstr(&buf),
                     "CREATE TABLE IF NOT EXISTS `thing_mark` (\n"
                     "  `_partition` INT NOT NULL,\n"
                     "  `_genesis` CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,\n"
                     "  `_at` BIGINT NOT NULL,\n"
                     "  `_v` BIGINT UNSIGNED NOT NULL,\n"
                     "  PRIMARY KEY (`_partition`)\n"
                     ") " TABLE_KIND);
    ls_buf_free(&buf);
}

Test(layout, mysql_table_names)
{
    char name[48];
    ls_mysql_table_name(schema, 1023, name, sizeof(name));
    cr_assert_str_eq(name, "thing_1023");
    ls_mysql_mark_table_name(schema, name, sizeof(name));
    cr_assert_str_eq(name, "thing_mark");
}

/* The JSON text at a path of object keys, or "" where there is nothing. */
static char *at(const json_t *json, const char *const *path)
{
    for (; *path; path++)
        json = json_object_get(json, *path);
    char *text = json ? json_dumps(json, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    return text ? text : ls_strdup("");
}
#define EXPECT_AT(json, expected, ...)                                   \
    do {                                                                 \
        char *text = at(json, (const char *const[]){__VA_ARGS__, NULL}); \
        cr_expect_str_eq(text, expected);                                \
        free(text);                                                      \
    } while (0)

Test(layout, es_index_body)
{
    char *body = ls_es_index_body(schema, 3, 1);
    json_t *json = json_loads(body, 0, NULL);
    cr_assert_not_null(json);
    EXPECT_AT(json, "3", "settings", "index", "number_of_shards");
    EXPECT_AT(json, "768", "settings", "index", "number_of_routing_shards");
    EXPECT_AT(json, "1", "settings", "index", "number_of_replicas");
    EXPECT_AT(json, "\"request\"", "settings", "index", "translog", "durability");
    EXPECT_AT(json, "\"0s\"", "settings", "index", "gc_deletes");
    EXPECT_AT(json, "\"strict\"", "mappings", "dynamic");
    EXPECT_AT(json, "{\"required\":true}", "mappings", "_routing");
    json_decref(json);
    free(body);
}

Test(layout, es_properties)
{
    char *body = ls_es_index_body(schema, 1, 0);
    json_t *json = json_loads(body, 0, NULL);
    const json_t *properties = json_object_get(json_object_get(json, "mappings"), "properties");
    EXPECT_AT(json, "1024", "settings", "index", "number_of_routing_shards");
    cr_assert_eq(json_object_size(properties), 10 + 10);
    EXPECT_AT(properties, "{\"type\":\"keyword\"}", "key");
    EXPECT_AT(properties, "{\"type\":\"keyword\"}", "short");
    EXPECT_AT(properties, "{\"doc_values\":false,\"index\":false,\"type\":\"keyword\"}", "plain");
    EXPECT_AT(properties, "{\"type\":\"long\"}", "points");
    EXPECT_AT(properties, "{\"doc_values\":false,\"index\":false,\"type\":\"double\"}", "balance");
    EXPECT_AT(properties, "{\"type\":\"boolean\"}", "active");
    EXPECT_AT(properties, "{\"doc_values\":false,\"index\":false,\"type\":\"long\"}", "joined");
    EXPECT_AT(properties, "{\"type\":\"keyword\"}", "tags");
    EXPECT_AT(properties, "{\"index\":false,\"type\":\"long\"}", "_v_hi");
    EXPECT_AT(properties, "{\"index\":false,\"type\":\"long\"}", "_h_lo");
    EXPECT_AT(properties, "{\"type\":\"boolean\"}", "_deleted");
    EXPECT_AT(properties, "{\"type\":\"integer\"}", "_shard");
    EXPECT_AT(properties, "{\"type\":\"keyword\"}", "_mark");
    EXPECT_AT(properties, "{\"type\":\"integer\"}", "_partition");
    EXPECT_AT(properties, "{\"doc_values\":false,\"index\":false,\"type\":\"keyword\"}", "_home");
    json_decref(json);
    free(body);
}

Test(layout, es_alias_hides_marks_and_deleted)
{
    char *filter = ls_es_alias_filter(schema);
    json_t *json = json_loads(filter, 0, NULL);
    EXPECT_AT(json, "[{\"term\":{\"_deleted\":true}},{\"exists\":{\"field\":\"_mark\"}}]", "bool",
              "must_not");
    json_decref(json);
    free(filter);
}

Test(layout, es_plan_keeps_the_fullest_shard_below_50_gb)
{
    struct ls_schema big = *schema;
    big.average_bytes = 1000;
    for (uint64_t millions = 1; millions <= 4096; millions *= 4) {
        big.expected_records = millions * 1000000;
        for (uint32_t nodes = 1; nodes <= 7; nodes++) {
            struct ls_es_plan plan = ls_es_plan(&big, nodes);
            cr_assert_eq(plan.shards % nodes, 0);
            cr_assert_leq(plan.bytes_per_shard, UINT64_C(50000000000));
            cr_assert_geq(plan.bytes_per_shard * plan.shards,
                          big.expected_records * big.average_bytes);
        }
    }
    big.expected_records = 10;
    cr_assert_eq(ls_es_plan(&big, 1).shards, 1);
    cr_assert_eq(ls_es_plan(&big, 0).shards, 1);
}

Test(layout, es_plan_counts_the_uneven_fill)
{
    struct ls_schema big = *schema;
    big.average_bytes = 1000;
    big.expected_records = 1000000000; /* 1 TB: 20 shards if they filled evenly */
    struct ls_es_plan plan = ls_es_plan(&big, 1);
    cr_assert_gt(plan.shards, 20);
}

/*
 * How many of the 1024 routing values fall into the fullest shard: seen with _search_shards on
 * Elasticsearch 8.19 for each of these numbers of shards.
 */
Test(layout, es_plan_places_routing_values_as_elasticsearch_does)
{
    static const struct {
        uint32_t shards, fullest;
    } seen[] = {{1, 1024}, {3, 363}, {7, 157}, {24, 51}};
    struct ls_schema big = *schema;
    big.average_bytes = 1024;
    big.expected_records = 1000000; /* 1 MB in each routing value */
    for (size_t i = 0; i < sizeof(seen) / sizeof(seen[0]); i++) {
        struct ls_es_plan plan = ls_es_plan(&big, seen[i].shards);
        cr_assert_eq(plan.shards, seen[i].shards);
        cr_assert_eq(plan.bytes_per_shard / 1000001, seen[i].fullest);
    }
}

Test(layout, es_node_file)
{
    char *text = ls_es_node_file(8);
    cr_assert_not_null(strstr(text, "\nthread_pool.search.size: 13\n"));
    cr_assert_not_null(strstr(text, "\nthread_pool.write.size: 9\n"));
    cr_assert_not_null(strstr(text, "\naction.auto_create_index: false\n"));
    free(text);
}

static unsigned slot(const char *key)
{
    return ls_redis_slot(key, strlen(key));
}

Test(layout, redis_slots_are_the_cluster_specification_s)
{
    cr_assert_eq(slot("foo"), 12182);
    cr_assert_eq(slot("bar"), 5061);
    cr_assert_eq(slot("123456789"), 0x31c3 % 16384);
    cr_assert_eq(slot(""), 0);
    cr_assert_eq(slot("m:{foo}"), 12182);
    cr_assert_eq(slot("m:{foo}:g"), 12182);
    cr_assert_eq(slot("{user1000}.following"), slot("{user1000}.followers"));
    cr_assert_eq(slot("foo{{bar}}zap"), slot("{bar"));
    cr_assert_eq(slot("foo{bar}{zap}"), slot("bar"));
    cr_assert_eq(slot("foo{}{bar}"), 8363); /* an empty tag is none: the whole key */
    cr_assert_neq(slot("{foo"), slot("foo"));
}

Test(layout, redis_keys)
{
    char name[LS_REDIS_KEY_MAX];
    size_t len = ls_redis_entry_key(schema, "m-1", 3, name);
    cr_assert_eq(len, 8);
    cr_assert_arr_eq(name, "th:{m-1}", 8);
    char longest[LS_KEY_BYTES_MAX];
    memset(longest, 'k', sizeof(longest));
    cr_assert_leq(ls_redis_entry_key(schema, longest, sizeof(longest), name), sizeof(name));
    len = ls_redis_mark_key(schema, 5, 0, name);
    cr_assert_eq(len, 14);
    cr_assert_arr_eq(name, "th:mark:5:{14}", 14); /* fixed for ever: stores hold them */
}

Test(layout, redis_marks_cover_every_range_of_slots)
{
    enum { RANGE = LS_REDIS_SLOTS / LS_REDIS_MARK_TAGS };
    for (unsigned tag = 0; tag < LS_REDIS_MARK_TAGS; tag++) {
        char name[LS_REDIS_KEY_MAX];
        size_t len = ls_redis_mark_key(schema, 1023, tag, name);
        cr_assert_eq(ls_redis_mark_slot(tag), ls_redis_slot(name, len));
        cr_assert_eq(ls_redis_mark_slot(tag) / RANGE, tag);
    }
}

Test(layout, redis_version_orders_as_bytes)
{
    char low[LS_REDIS_VERSION_BYTES], high[LS_REDIS_VERSION_BYTES];
    ls_redis_put_version(UINT64_C(0x00010000000000ff), low);
    ls_redis_put_version(UINT64_C(0x0001000000000100), high);
    cr_assert_lt(memcmp(low, high, sizeof(low)), 0);
    cr_assert_eq(ls_redis_get_version(high), UINT64_C(0x0001000000000100));
}
