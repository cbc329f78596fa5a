/* Which entries of a quarantine a command is about. Pure. */
#ifndef LS_CLI_QUARANTINE_FILTER_H
#define LS_CLI_QUARANTINE_FILTER_H

#include "pipeline/quarantine_entry.h"

struct ls_quarantine_filter {
    const char *class; /* NULL: any; of ls_reject_name */
    const char *key;   /* NULL: any; the record's, whole */
    int64_t since_ms;  /* when it was quarantined: from here, 0: any */
    int64_t until_ms;  /* to before here, 0: any */
    int32_t partition; /* of the log; -1: any */
    int64_t offset;    /* -1: any */
};

bool ls_quarantine_filter_takes(const struct ls_quarantine_filter *filter,
                                const struct ls_quarantine_entry *entry);

/* Whether it is about everything. */
bool ls_quarantine_filter_is_empty(const struct ls_quarantine_filter *filter);

/* Whether that is a class of records in quarantine. */
bool ls_quarantine_is_class(const char *name);

/*
 * A time as people write it, in UTC: `2026-03-01`, `2026-03-01 08:30`, with seconds, with a T and
 * with a Z if they like; or how long ago, `90s`, `15m`, `2h`, `7d`. False when it is neither.
 */
bool ls_quarantine_parse_time(const char *text, int64_t now_ms, int64_t *ret_ms);

/* `partition/offset`, as the commands print it; false when it is none. */
bool ls_quarantine_parse_position(const char *text, int32_t *ret_partition, int64_t *ret_offset);

#endif
