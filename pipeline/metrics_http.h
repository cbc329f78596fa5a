/*
 * The one HTTP listener of a process: pages for Prometheus and for whoever restarts processes.
 * GET and HEAD only; no request body is read, nothing is changed by a request, and the number of
 * connections (of one address, too), their memory and their time are bounded, so that it cannot
 * harm the work beside it, and no client keeps it from the others.
 *
 * Clients are told apart by their address alone: all that come through one proxy, or one address
 * translation, are one and share 8 connections. Loopback is many by its nature and may have 48 of
 * the 64, for each of its addresses.
 *
 * It runs in a thread of its own, which calls the pages' functions one at a time; they must be
 * quick and use only what other threads may read. A crash takes it along, which is its loudest
 * answer. Rejected: serving from a sink's own loop, where a loop that hangs could not be seen to
 * hang.
 */
#ifndef LS_PIPELINE_METRICS_HTTP_H
#define LS_PIPELINE_METRICS_HTTP_H

#include "base/buf.h"
#include "base/err.h"
#include "pipeline/listen.h"

enum { LS_HTTP_ANSWER_MS = 10000 }; /* a connection without an answer for so long is cut */

struct ls_page {
    const char *path; /* "/metrics" */
    const char *type; /* Content-Type */
    /* Appends the body and returns the HTTP status. */
    unsigned (*write)(void *opaque, struct ls_buf *body);
};

struct ls_http;

/*
 * Listens and serves pages[0..n) (borrowed, as is opaque, until close). NULL and FATAL err when the
 * address cannot be had: taken, not ours, not allowed.
 */
struct ls_http *ls_http_open(const struct ls_listen *listen, const struct ls_page *pages, size_t n,
                             void *opaque, struct ls_err *err);
/* "127.0.0.1:9464", as it really is; valid until close. */
const char *ls_http_address(const struct ls_http *http);
/* Safe on NULL. */
void ls_http_close(struct ls_http *http);

#endif
