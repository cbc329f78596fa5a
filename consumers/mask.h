/*
 * What a store says of a failure may quote the record: MySQL `Incorrect string value: '…'`,
 * Elasticsearch `Preview of field's value: '…'`. Logs, heartbeats and status are read by people and
 * systems that may not see personal data, so where a schema has pii fields such texts lose what
 * they quote. The quarantine keeps the whole text, beside the record itself.
 *
 * It works by what is known to be harmless (names of fields, tables, indices, types), not by
 * looking for the record's values: stores cut, escape and re-encode what they quote. So a text may
 * lose more than it had to, and never less. Pure; any thread.
 */
#ifndef LS_CONSUMERS_MASK_H
#define LS_CONSUMERS_MASK_H

#include "schema/schema.h"

enum { LS_MASKED_KEY_MAX = 300 };

/* Whether anything of a record of this schema must be masked. */
bool ls_mask_needed(const struct ls_schema *schema);

/*
 * The text as people may see it, into ret[size]. With all, whatever is quoted or in brackets and is
 * no known name becomes `***`, as do long numbers: for refusals of records, and failures that no
 * table knows. Without, only what follows words that stores put before values: for failures of
 * servers and set-ups, whose texts name users, hosts and settings.
 */
void ls_mask_text(const struct ls_schema *schema, bool all, const char *text, char *ret,
                  size_t size);

/*
 * How a log line names a record: *ret_name is "key" with the key itself (cut), or, where the key is
 * pii, "key_hash" with the first 48 bits of its XXH3-64 in hex, by which lines can be told
 * together.
 */
void ls_mask_key(const struct ls_schema *schema, const char *key, size_t len, const char **ret_name,
                 char ret[LS_MASKED_KEY_MAX]);

#endif
