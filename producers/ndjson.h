/* Lines of NDJSON as changes. Pure: no I/O. One thread per parser. */
#ifndef LS_PRODUCERS_NDJSON_H
#define LS_PRODUCERS_NDJSON_H

#include <jansson.h>

#include "producers/change.h"

struct ls_ndjson {
    const struct ls_schema *schema; /* borrowed */
    json_t *root; /* of the last line: its strings are what the change points to */
    struct ls_value *values;
    struct ls_arena arena; /* lists */
    int *order; /* field at each place of the last line: lines of a file mostly have the same order
                 */
    size_t n_order;
};

void ls_ndjson_open(struct ls_ndjson *parser, const struct ls_schema *schema);
void ls_ndjson_free(struct ls_ndjson *parser);

/*
 * Reads one line: an object of field names and values, the key's field among them, and `_op`
 * ("put", the default, or "delete"; a delete has the key alone). null is the same as leaving the
 * field out. A time is a whole number of microseconds or RFC 3339 text. -1 (class POISON): no JSON,
 * an unknown or repeated field, a wrong type, a number out of range, no key. The text names the
 * field, never its value. Lengths and keys are checked by ls_publisher_take.
 */
int ls_ndjson_parse(struct ls_ndjson *parser, const char *line, size_t len, struct ls_change *ret,
                    struct ls_err *err);

#endif
