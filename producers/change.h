/* One change as a parser or a record builder hands it to the publisher. */
#ifndef LS_PRODUCERS_CHANGE_H
#define LS_PRODUCERS_CHANGE_H

#include "schema/wire.h"

/* Everything is borrowed: from the parser until its next line, or from the record. */
struct ls_change {
    enum ls_op op;
    struct ls_span key;
    struct ls_span trace;          /* may be empty */
    int64_t time_us;               /* of the change; 0: now */
    const struct ls_value *values; /* n_fields, schema's order; ignored for a delete */
};

/* A delete is written with this name as its operation, in NDJSON and CSV. */
#define LS_CHANGE_OP_FIELD "_op"

#endif
