/*
 * Classes of Elasticsearch's errors. Pure.
 *
 * The type decides and the status is only the fallback, because one status means several things: a
 * 409 can be a version or a race of set-up, a 403 a missing privilege or a full disk, a 400 a bad
 * document or a closed index. What is in no line is UNKNOWN: the instance bounds how often it tries
 * that, so that neither a new kind of outage ends in the quarantine nor a wrong set-up loops for
 * ever.
 */
#include "pipeline/es_errors.h"

#include <jansson.h>
#include <string.h>

#include "base/mem.h"

#define LOGIN                                                                                   \
    "; check user, password or api key of the sink (workers read them at their start: restart " \
    "them after a change)"

#define TOO_LARGE                                                                             \
    "; it refuses the size of the request: raise http.max_content_length, or the limit of a " \
    "proxy before it (nginx: client_max_body_size)"

static const struct es_error {
    const char *type;
    const char *advice;
    enum ls_verdict verdict;
    bool overload;
} es_errors[] = {
    {"version_conflict_engine_exception", "", LS_STALE},

    {"document_parsing_exception", "", LS_POISON},
    {"mapper_parsing_exception", "", LS_POISON},
    {"illegal_argument_exception", "", LS_POISON}, /* of an item: a term too long, a bad value */

    {"strict_dynamic_mapping_exception",
     "; the mapping lacks a field of the schema: `lockstep schema apply` adds it", LS_FATAL},
    {"index_not_found_exception", "; `lockstep schema apply` creates it", LS_FATAL},
    {"index_closed_exception", "; open the index", LS_FATAL},
    {"invalid_index_name_exception", "; mend `index` of the sink", LS_FATAL},
    {"routing_missing_exception", "; the index is not one that this program writes", LS_FATAL},
    {"security_exception", LOGIN, LS_FATAL},

    /* Blocks come and go with disks that fill, snapshots and masters that are elected. */
    {"cluster_block_exception", "; free disk space on its nodes, or lift the block", LS_RETRY},
    {"es_rejected_execution_exception", "", LS_RETRY, true},
    {"rejected_execution_exception", "", LS_RETRY, true},
    {"circuit_breaking_exception", "", LS_RETRY, true},
    {"unavailable_shards_exception", "", LS_RETRY},
    {"no_shard_available_action_exception", "", LS_RETRY},
    {"master_not_discovered_exception", "", LS_RETRY},
    {"process_cluster_event_timeout_exception", "", LS_RETRY},
};

static const struct es_error *find(const char *type, size_t len)
{
    for (size_t i = 0; i < LS_COUNT(es_errors); i++)
        if (strlen(es_errors[i].type) == len && memcmp(es_errors[i].type, type, len) == 0)
            return &es_errors[i];
    return NULL;
}

static struct ls_es_judgement judgement(enum ls_verdict verdict, const char *advice)
{
    static const enum ls_err_class classes[LS_VERDICTS] = {
        [LS_RETRY] = LS_ERR_RETRY, [LS_POISON] = LS_ERR_POISON, [LS_FATAL] = LS_ERR_FATAL};
    return (struct ls_es_judgement){
        .verdict = verdict, .class = classes[verdict], .advice = advice};
}

struct ls_es_judgement ls_es_judge(long status, const char *type, size_t len)
{
    if (status >= 200 && status < 300)
        return judgement(LS_APPLIED, "");
    const struct es_error *error = find(type, len);
    if (status == 408 || status == 429 || status >= 500) {
        bool known = error != NULL && error->verdict == LS_RETRY;
        struct ls_es_judgement later = judgement(LS_RETRY, known ? error->advice : "");
        /* A full disk answers 429, too: less at a time does not help there. */
        later.overload = error != NULL ? error->overload : status == 429;
        return later;
    }
    if (error != NULL && (error->verdict != LS_STALE || status == 409) &&
        (error->verdict != LS_POISON || status == 400)) {
        struct ls_es_judgement judged = judgement(error->verdict, error->advice);
        judged.overload = error->overload;
        return judged;
    }
    if (status == 401 || status == 403)
        return judgement(LS_FATAL, LOGIN);
    struct ls_es_judgement unknown = judgement(LS_RETRY, "");
    unknown.class = LS_ERR_UNKNOWN;
    return unknown;
}

size_t ls_es_reason_length(const char *reason, size_t len)
{
    static const char *const tails[] = {
        " Preview of field's value",
        " For input string",
    };
    for (size_t i = 0; i < LS_COUNT(tails); i++) {
        const char *found = memmem(reason, len, tails[i], strlen(tails[i]));
        if (found != NULL)
            len = (size_t)(found - reason);
    }
    return len;
}

int ls_es_reply_err(struct ls_err *err, long status, const char *body, size_t len)
{
    json_t *root = json_loadb(body != NULL ? body : "", len, JSON_REJECT_DUPLICATES, NULL);
    json_t *error = json_object_get(root, "error");
    const char *type = json_string_value(json_object_get(error, "type"));
    const char *reason = json_string_value(json_object_get(error, "reason"));
    if (reason == NULL)
        reason = json_string_value(error);
    if (type == NULL)
        type = "";
    if (reason == NULL)
        reason = "no reason given";

    struct ls_es_judgement judged = ls_es_judge(status, type, strlen(type));
    /* Bulks of documents are cut smaller instead; what comes here is small as it is. */
    if (status == 413)
        judged = judgement(LS_FATAL, TOO_LARGE);
    enum ls_err_class class = judged.class;
    if (class == LS_ERR_NONE || class == LS_ERR_POISON)
        class = LS_ERR_UNKNOWN;
    ls_err_set(err, class, (int)status, "HTTP %ld%s%s: %.*s%s", status, *type ? " " : "", type,
               (int)ls_es_reason_length(reason, strnlen(reason, 240)), reason, judged.advice);
    err->overload = judged.overload;
    ls_err_name(err, type, strlen(type));
    json_decref(root);
    return -1;
}
