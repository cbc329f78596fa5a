/* Verdicts of a unit: what lanes call to give them, and the reasons they gave. Pure. */
#include <stdio.h>

#include "base/mem.h"
#include "consumers/sink.h"

void ls_unit_note(struct ls_unit *unit, const struct ls_err *err)
{
    static const int weight[] = {
        [LS_ERR_NONE] = 0,    [LS_ERR_POISON] = 1, [LS_ERR_RETRY] = 2,
        [LS_ERR_UNKNOWN] = 3, [LS_ERR_FATAL] = 4,
    };
    bool overload = unit->err.overload || err->overload;
    if (weight[err->class] > weight[unit->err.class])
        unit->err = *err;
    unit->err.overload = overload;
}

void ls_unit_poison(struct ls_unit *unit, struct ls_record *record, int code, const char *text)
{
    record->verdict = LS_POISON;
    record->reject = LS_REJECT_STORE;
    unit->refusals = ls_realloc(unit->refusals, (unit->n_refusals + 1) * sizeof(*unit->refusals));
    struct ls_refusal *refusal = &unit->refusals[unit->n_refusals++];
    refusal->record = record;
    refusal->code = code;
    snprintf(refusal->text, sizeof(refusal->text), "%s", text);
    struct ls_err err;
    ls_err_set(&err, LS_ERR_POISON, code, "%s", text);
    ls_unit_note(unit, &err);
}

const struct ls_refusal *ls_unit_refusal(const struct ls_unit *unit, const struct ls_record *record)
{
    for (uint32_t i = 0; i < unit->n_refusals; i++)
        if (unit->refusals[i].record == record)
            return &unit->refusals[i];
    return NULL;
}

void ls_unit_fail(struct ls_unit *unit, const struct ls_err *err)
{
    enum ls_verdict verdict = err->class == LS_ERR_FATAL ? LS_FATAL : LS_RETRY;
    for (uint32_t i = 0; i < unit->n_records; i++)
        if (unit->records[i]->verdict == LS_PENDING)
            unit->records[i]->verdict = verdict;
    ls_unit_note(unit, err);
}
