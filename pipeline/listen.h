/*
 * Where a process listens for HTTP: `ADDRESS:PORT`, `[IPv6]:PORT`, `:PORT` or `PORT`. Without an
 * address it is loopback, since what is shown (names, lags, failures) is for the machine's own
 * scraper unless somebody decides otherwise. Port 0 takes any free one.
 */
#ifndef LS_PIPELINE_LISTEN_H
#define LS_PIPELINE_LISTEN_H

#include <stdint.h>

#include "base/err.h"

struct ls_listen {
    char host[256]; /* a name or an address, without brackets */
    char port[8];
    uint32_t answer_ms; /* 0: LS_HTTP_ANSWER_MS (metrics_http.h); for tests */
};

/* FATAL with what was expected. Pure. */
int ls_listen_parse(const char *text, struct ls_listen *ret, struct ls_err *err);

#endif
