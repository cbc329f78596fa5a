#include "consumers/failures.h"

#include <ctype.h>
#include <stddef.h>

/* FNV-1a of the text without digits and without what stands between quotes. */
static uint64_t shape_of(const char *text)
{
    uint64_t hash = 14695981039346656037u;
    char quote = 0;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == quote)
            quote = 0;
        else if (quote == 0 && (*c == '\'' || *c == '"' || *c == '`'))
            quote = *c;
        else if (quote == 0 && !isdigit((unsigned char)*c))
            hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    }
    return hash;
}

/* The place of this failure, or the one that it shall take. */
static struct ls_failure *find(struct ls_failures *failures, const struct ls_err *err,
                               uint64_t shape)
{
    struct ls_failure *oldest = &failures->place[0];
    for (size_t i = 0; i < LS_FAILURES_MAX; i++) {
        struct ls_failure *failure = &failures->place[i];
        if (failure->err.class == err->class && failure->err.code == err->code &&
            failure->shape == shape)
            return failure;
        bool freer = failure->err.class == LS_ERR_NONE && oldest->err.class != LS_ERR_NONE;
        if (freer || (oldest->err.class != LS_ERR_NONE && failure->met_ms < oldest->met_ms))
            oldest = failure;
    }
    *oldest = (struct ls_failure){0};
    return oldest;
}

struct ls_failure *ls_failures_note(struct ls_failures *failures, const struct ls_err *err,
                                    int64_t now_ms)
{
    const char *known_by = err->name[0] != '\0' ? err->name : err->code == 0 ? err->text : "";
    uint64_t shape = shape_of(known_by);
    struct ls_failure *failure = find(failures, err, shape);
    bool new =
        failure->err.class == LS_ERR_NONE || now_ms - failure->met_ms > 2 * LS_FAILURE_AGAIN_MAX_MS;
    failure->err = *err;
    failure->shape = shape;
    failure->met_ms = now_ms;
    if (new) {
        failure->again_ms = LS_FAILURE_AGAIN_MS / 2; /* doubled when it is told */
        return failure;
    }
    if (now_ms - failure->said_ms >= failure->again_ms)
        return failure;
    failure->unsaid++;
    return NULL;
}

struct ls_failure *ls_failures_due(struct ls_failures *failures, int64_t now_ms)
{
    for (size_t i = 0; i < LS_FAILURES_MAX; i++) {
        struct ls_failure *failure = &failures->place[i];
        if (failure->unsaid > 0 && now_ms - failure->said_ms >= failure->again_ms)
            return failure;
    }
    return NULL;
}

struct ls_failure *ls_failures_left(struct ls_failures *failures)
{
    for (size_t i = 0; i < LS_FAILURES_MAX; i++)
        if (failures->place[i].unsaid > 0)
            return &failures->place[i];
    return NULL;
}

void ls_failures_said(struct ls_failure *failure, int64_t now_ms)
{
    failure->unsaid = 0;
    failure->said_ms = now_ms;
    failure->again_ms *= 2;
    if (failure->again_ms > LS_FAILURE_AGAIN_MAX_MS)
        failure->again_ms = LS_FAILURE_AGAIN_MAX_MS;
}

bool ls_failures_unknown(const struct ls_failures *failures, int code)
{
    for (size_t i = 0; i < LS_FAILURES_MAX; i++)
        if (failures->place[i].err.class == LS_ERR_UNKNOWN && failures->place[i].err.code == code)
            return true;
    return false;
}
