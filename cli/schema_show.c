/* Prints schemas, for people and for other programs. Pure but for stdout. */
#include "cli/schema_show.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "base/mem.h"
#include "schema/es_mapping.h"
#include "schema/mysql_ddl.h"
#include "schema/redis_layout.h"

static void show_field(const struct ls_field *field, const char *more)
{
    char length[32] = "";
    if (field->max_items)
        snprintf(length, sizeof(length), "%" PRIu32 " x %" PRIu32, field->max_items, field->length);
    else if (field->length)
        snprintf(length, sizeof(length), "%" PRIu32, field->length);
    printf("%6" PRIu32 "  %-24s  %-8s  %-10s  %s%s%s%s\n", field->number, field->name,
           ls_type_name(field->type), length, more, field->indexed ? "indexed" : "",
           field->indexed && field->pii ? ", " : "", field->pii ? "pii" : "");
}

void ls_schema_show_fields(const struct ls_schema *schema)
{
    printf("%s version %" PRIu32 " (%s)\n\n", schema->entity, schema->version, schema->path);
    printf("%6s  %-24s  %-8s  %-10s\n", "number", "name", "type", "length");
    show_field(&schema->key, "key, ");
    for (size_t i = 0; i < schema->n_fields; i++)
        show_field(&schema->fields[i], "");
    if (schema->n_reserved > 0) {
        printf("\nremoved, never to be used again:");
        for (size_t i = 0; i < schema->n_reserved; i++)
            printf(" %" PRIu32, schema->reserved[i]);
        printf("\n");
    }
}

/* JSON text as it is or, if it is JSON at all, indented. */
static void print_json(const char *text)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    if (json)
        json_dumpf(json, stdout, JSON_INDENT(2));
    else
        fputs(text, stdout);
    putchar('\n');
    json_decref(json);
}

void ls_schema_show_json(const struct ls_schema *schema)
{
    LS_CLEANUP_FREE char *json = ls_schema_to_json(schema);
    print_json(json);
}

void ls_schema_show_mysql(const struct ls_schema *schema)
{
    struct ls_buf buf = {0};
    char last[64];
    ls_mysql_table_name(schema, LS_SHARDS - 1, last, sizeof(last));
    ls_mysql_create_shard(schema, 0, &buf);
    printf("-- the first of %d tables; the last is %s\n%s;\n\n", LS_SHARDS, last,
           ls_buf_cstr(&buf));
    ls_buf_clear(&buf);
    ls_mysql_create_marks(schema, &buf);
    printf("-- on every server\n%s;\n", ls_buf_cstr(&buf));
    ls_buf_free(&buf);
}

void ls_schema_show_es(const struct ls_schema *schema, uint32_t nodes, uint32_t replicas)
{
    LS_CLEANUP_FREE char *body = ls_es_index_body(schema, nodes, replicas);
    LS_CLEANUP_FREE char *filter = ls_es_alias_filter(schema);
    struct ls_es_plan plan = ls_es_plan(schema, nodes);
    fprintf(stderr,
            "%" PRIu64 " records of %" PRIu32 " bytes on %" PRIu32 " data node%s: %" PRIu32
            " shard%s of %.1f GB\n",
            schema->expected_records, schema->average_bytes, nodes, nodes == 1 ? "" : "s",
            plan.shards, plan.shards == 1 ? "" : "s", (double)plan.bytes_per_shard / 1e9);
    LS_CLEANUP_FREE char *both = ls_asprintf("{\"index\":%s,\"alias_filter\":%s}", body, filter);
    print_json(both);
}

void ls_schema_show_redis(const struct ls_schema *schema)
{
    char mark[LS_REDIS_KEY_MAX];
    size_t len = ls_redis_mark_key(schema, 0, 0, mark);
    printf("entry key   %s:{<key>}\n"
           "entry value %d bytes of version, big-endian, then the record's wire value\n"
           "mark key    %.*s (partition 0, first of %d tags)\n"
           "mark value  %d bytes: version, LogAppendTime in ms, UUID of the log\n"
           "mode        full: no entry expires, deleted ones are kept with their version\n",
           schema->redis_prefix, LS_REDIS_VERSION_BYTES, (int)len, mark, LS_REDIS_MARK_TAGS,
           LS_REDIS_MARK_BYTES);
}
