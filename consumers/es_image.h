/* Documents as images: what an index really holds for a key. Pure. */
#ifndef LS_CONSUMERS_ES_IMAGE_H
#define LS_CONSUMERS_ES_IMAGE_H

#include "base/buf.h"
#include "consumers/es_json.h"
#include "consumers/store.h"

/* A document of a search or a multi-get, before its content is read. Spans point into the reply. */
struct ls_es_doc {
    bool found;
    struct ls_span id;     /* unescaped, in the arena where it had escapes */
    struct ls_span sort;   /* first sort value, likewise; data NULL where there is none */
    struct ls_span source; /* raw JSON */
    struct ls_span error;  /* its type; empty when there is none */
    int64_t version;       /* `_version`: the guard; -1 where the reply does not say */
};

/* Reads one document object. False, and the reader failed, when it is not one. */
bool ls_es_doc_read(struct ls_json *json, struct ls_arena *arena, struct ls_es_doc *ret);

/*
 * The image of a found document: its content checked field by field and hashed anew. What is not a
 * record of this schema is undecodable, and `why` names the field, never a value. Values point into
 * the reply and the arena; scratch is reused memory of the caller.
 */
void ls_es_image(const struct ls_schema *schema, const struct ls_es_doc *doc,
                 struct ls_arena *arena, struct ls_buf *scratch, struct ls_image *ret);

#endif
