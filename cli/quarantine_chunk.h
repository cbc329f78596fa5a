/*
 * Open entries of a sink in chunks, copied so that work can be done on many at once: as many as fit
 * a bounded number and bounded memory. One thread.
 */
#ifndef LS_CLI_QUARANTINE_CHUNK_H
#define LS_CLI_QUARANTINE_CHUNK_H

#include "cli/quarantine_filter.h"

enum { LS_QUARANTINE_CHUNK = 256 }; /* entries at once */

/* Gets entries, valid during the call; non-zero ends the reading with that value. */
typedef int ls_quarantine_chunk_fn(void *opaque, const struct ls_quarantine_entry *entries,
                                   size_t n, struct ls_err *err);

/*
 * Calls each() for the open entries that the filter takes, in the order of the topic, until
 * ls_cli_stop is set. Returns what each() returned if not 0, -1 when the topic can't be read.
 */
int ls_quarantine_chunks(const struct ls_config *config, const struct ls_sink_config *sink,
                         const struct ls_quarantine_filter *filter, ls_quarantine_chunk_fn *each,
                         void *opaque, struct ls_err *err);

/* How many there are. */
int ls_quarantine_count(const struct ls_config *config, const struct ls_sink_config *sink,
                        const struct ls_quarantine_filter *filter, uint64_t *ret,
                        struct ls_err *err);

#endif
