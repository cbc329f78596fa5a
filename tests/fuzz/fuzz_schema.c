/*
 * libFuzzer target: a schema file. One that is accepted must survive its own JSON, be compatible
 * with itself, and give DDL and mapping. One thread.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "schema/es_mapping.h"
#include "schema/mysql_ddl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(int condition)
{
    if (!condition)
        abort();
}

static void check_derived(const struct ls_schema *schema)
{
    struct ls_buf ddl = {0};
    ls_mysql_create_shard(schema, 1023, &ddl);
    ls_mysql_create_marks(schema, &ddl);
    need(ddl.len > 0);
    ls_buf_free(&ddl);
    LS_CLEANUP_FREE char *body = ls_es_index_body(schema, 3, 1);
    need(body[0] == '{');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ls_schema *schema, *again;
    struct ls_err err = {0};
    if (ls_schema_parse("fuzz", (const char *)data, size, &schema, &err) < 0) {
        need(err.class == LS_ERR_FATAL && strncmp(err.text, "fuzz:", 5) == 0);
        return 0;
    }
    char *json = ls_schema_to_json(schema);
    need(ls_schema_parse("json", json, strlen(json), &again, &err) == 0);
    char *json_again = ls_schema_to_json(again);
    need(strcmp(json, json_again) == 0);
    need(ls_schema_compatible(schema, again, &err) == 0);
    check_derived(again);
    free(json);
    free(json_again);
    ls_schema_free(schema);
    ls_schema_free(again);
    return 0;
}
