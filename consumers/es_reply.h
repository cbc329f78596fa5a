/* Bulk replies, item by item. Pure, and safe on any bytes. */
#ifndef LS_CONSUMERS_ES_REPLY_H
#define LS_CONSUMERS_ES_REPLY_H

#include <stddef.h>

#include "base/err.h"
#include "schema/value.h"

/*
 * What a bulk request asks to be answered: enough for a verdict of each item, and little else.
 * Every item has a status, so none is dropped from the reply and the order of items is the
 * request's.
 */
#define LS_ES_BULK_FILTER "filter_path=items.*.status,items.*.error.type,items.*.error.reason"

struct ls_es_item {
    int status;            /* HTTP status of this item; 0: the reply did not say */
    struct ls_span type;   /* of the error; empty when there is none */
    struct ls_span reason; /* raw JSON text, bounded, without values of fields */
};

/*
 * Reads the verdicts of n items, in order. -1 (RETRY) when the reply is not a bulk reply or has
 * another number of items: then nothing is known of any. Spans point into the reply.
 */
int ls_es_reply_read(const char *reply, size_t len, struct ls_es_item *items, size_t n_items,
                     struct ls_err *err);

#endif
