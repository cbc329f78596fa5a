#include "pipeline/record.h"

const char *ls_verdict_name(enum ls_verdict verdict)
{
    static const char *const names[LS_VERDICTS] = {
        [LS_PENDING] = "pending",       [LS_APPLIED] = "applied", [LS_STALE] = "stale",
        [LS_SUPERSEDED] = "superseded", [LS_RETRY] = "retry",     [LS_POISON] = "poison",
        [LS_FATAL] = "fatal",
    };
    return verdict < LS_VERDICTS ? names[verdict] : "unknown";
}
