/*
 * The rejects file of `publish`: a line of JSON for each input line that was not published, with
 * its number, the reason and the text itself, so that it can be mended and published. It holds the
 * operator's own data, so only its owner may read it. Made when the first line is rejected. One
 * thread.
 */
#ifndef LS_CLI_REJECTS_H
#define LS_CLI_REJECTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

struct ls_rejects {
    const char *path; /* borrowed */
    bool append;      /* a run that goes on keeps what the earlier one rejected */
    FILE *file;       /* NULL until the first */
    uint64_t count;
};

/*
 * Writes {"line","reason","text"}; text that is no UTF-8 as "text_base64"; "truncated": true where
 * text is only the beginning. -1 (FATAL) when the file cannot be written.
 */
int ls_rejects_add(struct ls_rejects *rejects, uint64_t line, const char *reason, const char *text,
                   size_t len, bool truncated, struct ls_err *err);

/* Makes sure of what was written and closes. Fine when nothing was rejected. */
int ls_rejects_close(struct ls_rejects *rejects, struct ls_err *err);

#endif
