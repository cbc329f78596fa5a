/*
 * Records as Elasticsearch's bulk lines: an action line and a document, straight into a buffer.
 * Pure. The document holds the key, every present field, and the hidden fields of
 * schema/es_mapping.h; a deleted record's holds no field but the key.
 */
#ifndef LS_CONSUMERS_ES_ENCODE_H
#define LS_CONSUMERS_ES_ENCODE_H

#include "base/buf.h"
#include "pipeline/record.h"

/* Field names as they stand in a document, made once. Immutable, so any thread may use it. */
struct ls_es_encoder;
struct ls_es_encoder *ls_es_encoder_new(const struct ls_schema *schema); /* borrows the schema */
void ls_es_encoder_free(struct ls_es_encoder *encoder);                  /* NULL is fine */

/*
 * Appends both lines of a record, guarded by its version; `repair` takes an equal version too.
 * Needs record->values (unless deleted) and record->hash.
 */
void ls_es_encode(const struct ls_es_encoder *encoder, const struct ls_record *record, bool repair,
                  struct ls_buf *buf);

/* Appends text as a JSON string with its quotes. The text must be UTF-8. */
void ls_es_put_string(struct ls_buf *buf, const char *text, size_t len);

/* Appends a finite double, so that reading it gives the same bits; -0.0 becomes 0. */
void ls_es_put_real(struct ls_buf *buf, double real);

#endif
