/*
 * Releasing a schema: its JSON in lockstep.control under `schema/<entity>`, which workers and
 * publishers take as the newest version that records may have. Blocking; any thread.
 */
#ifndef LS_PIPELINE_SCHEMA_RELEASE_H
#define LS_PIPELINE_SCHEMA_RELEASE_H

#include "pipeline/kafka.h"

/*
 * The released schema of an entity: its version, and its JSON (which the caller frees) if ret_json
 * is not NULL. Version 0 when none is released. RETRY when nothing new comes for timeout_ms.
 */
int ls_schema_released(const struct ls_config *config, const char *entity, int timeout_ms,
                       uint32_t *ret_version, char **ret_json, struct ls_err *err);

/*
 * Whether `schema` may follow what is released: 0 and the released version (0: none). -1 with FATAL
 * and code LS_SCHEMA_INCOMPATIBLE where it may not, naming the line of its file.
 */
enum { LS_SCHEMA_INCOMPATIBLE = -1000 };
int ls_schema_check_released(const struct ls_config *config, const struct ls_schema *schema,
                             uint32_t *ret_released, struct ls_err *err);

/*
 * Releases the schema unless it is released already (ret_new false). Two at a time are put in
 * order: the later one is compared with what the earlier one released.
 */
int ls_schema_release(const struct ls_config *config, const struct ls_schema *schema, bool *ret_new,
                      struct ls_err *err);

#endif
