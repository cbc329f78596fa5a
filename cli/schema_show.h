/* What `lockstep schema show` prints of a schema: the fields, or what a kind of store makes of it.
 */
#ifndef LS_CLI_SCHEMA_SHOW_H
#define LS_CLI_SCHEMA_SHOW_H

#include "schema/schema.h"

void ls_schema_show_fields(const struct ls_schema *schema);
void ls_schema_show_json(const struct ls_schema *schema);
void ls_schema_show_mysql(const struct ls_schema *schema);
void ls_schema_show_es(const struct ls_schema *schema, uint32_t nodes, uint32_t replicas);
void ls_schema_show_redis(const struct ls_schema *schema);

#endif
