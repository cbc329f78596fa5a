/*
 * What Elasticsearch's errors mean for the one who met them: by HTTP status and error type, one
 * table. Pure.
 */
#ifndef LS_PIPELINE_ES_ERRORS_H
#define LS_PIPELINE_ES_ERRORS_H

#include <stdbool.h>
#include <stddef.h>

#include "pipeline/record.h"

/* What an answer's status and error type mean. */
struct ls_es_judgement {
    enum ls_verdict verdict; /* APPLIED, STALE, RETRY, POISON or FATAL */
    enum ls_err_class class; /* NONE for APPLIED and STALE; RETRY may be UNKNOWN: in no table */
    bool overload;           /* of RETRY: as struct ls_err has it */
    const char *advice;      /* end of a sentence, "; create it with ...", or "" */
};

/*
 * Judges one item, or a request as a whole. STALE is a 409 because of a version, and only that.
 * `type` is the error's type ("" where there is none) and need not end in NUL.
 */
struct ls_es_judgement ls_es_judge(long status, const char *type, size_t len);

/*
 * Length of the part of an error's reason that may be kept: Elasticsearch ends some reasons with
 * the refused value, which may be a person's data.
 */
size_t ls_es_reason_length(const char *reason, size_t len);

/*
 * The error of a whole reply that is not 2xx, from its JSON if it is JSON, as class and text with
 * status as code. What only an item can be (stale, poison) is UNKNOWN here; 413 is FATAL, as it is
 * for those whose requests can be no smaller. Returns -1.
 */
int ls_es_reply_err(struct ls_err *err, long status, const char *body, size_t len);

#endif
