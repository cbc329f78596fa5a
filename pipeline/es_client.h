/*
 * HTTP to one Elasticsearch cluster over libcurl: a list of nodes, credentials, TLS, timeouts,
 * bounded replies. Requests are spread over the nodes in turn; a node that cannot be reached is
 * passed over for a while. It knows nothing of documents: what a reply means is said by es_errors.h
 * and by those who asked.
 *
 * A client is used by one thread at a time. It retries nothing, save that a blocking request goes
 * to the next node when a node could not be reached at all; who calls decides on the rest.
 */
#ifndef LS_PIPELINE_ES_CLIENT_H
#define LS_PIPELINE_ES_CLIENT_H

#include <jansson.h>

#include "base/buf.h"
#include "pipeline/config.h"

enum {
    LS_ES_REPLY_MAX = 64 << 20, /* bytes of one reply; more is refused */
    LS_ES_NODE_REST_MS = 2000,  /* how long a node that failed is passed over */
};

struct ls_es_client;

/* Checks urls and credentials; no I/O. The configuration must outlive the client. */
int ls_es_client_new(const struct ls_sink_config *config, struct ls_es_client **ret,
                     struct ls_err *err);
/* All calls must have been freed. NULL is fine. */
void ls_es_client_free(struct ls_es_client *client);

/*
 * Blocking request. `path` starts with '/'; body may be NULL; text is sent as JSON. 0 with any HTTP
 * status; -1 when no node gave a whole answer (RETRY; FATAL for what only a person can mend, such
 * as a certificate that is not trusted). err->code is the curl code. `reply` is cleared first.
 * ret_too_large (may be NULL) is written always: the answer passed LS_ES_REPLY_MAX, ask for less.
 */
int ls_es_request(struct ls_es_client *client, const char *method, const char *path,
                  const char *body, size_t body_len, long *ret_status, struct ls_buf *reply,
                  bool *ret_too_large, struct ls_err *err);

/*
 * The same, for an answer that must be 2xx and JSON: anything else is an error by es_errors.h, with
 * the HTTP status as err->code. ret may be NULL. The caller owns *ret.
 */
int ls_es_json(struct ls_es_client *client, const char *method, const char *path, const char *body,
               json_t **ret, struct ls_err *err);

/*
 * A request that runs beside others of the same client: a slot that is used again and again, so
 * that its handle, reply buffer and connection are kept.
 */
struct ls_es_call;
struct ls_es_call *ls_es_call_new(struct ls_es_client *client, void *owner);
/* Ends it if it is still running. NULL is fine. */
void ls_es_call_free(struct ls_es_call *call);
void *ls_es_call_owner(const struct ls_es_call *call);

/* Starts POST path with newline-delimited JSON. The body must stay until the call has finished. */
void ls_es_call_start(struct ls_es_call *call, const char *path, const char *body, size_t body_len);

/* The same for any request; the body is JSON, or NULL. */
void ls_es_call_send(struct ls_es_call *call, const char *method, const char *path,
                     const char *body, size_t body_len);

/* Moves all running calls, waiting up to timeout_ms for something to do or `fd` to be readable. */
void ls_es_poll(struct ls_es_client *client, int fd, int timeout_ms);

/* A call that has finished since it was started, or NULL. Each is given once. */
struct ls_es_call *ls_es_finished(struct ls_es_client *client);

enum ls_es_outcome {
    LS_ES_ANSWERED,  /* status and reply are there */
    LS_ES_FAILED,    /* no whole answer: err says why */
    LS_ES_TOO_LARGE, /* the answer passed LS_ES_REPLY_MAX: ask for less */
};
/* How a finished call ended. status and reply are borrowed until its next start. */
enum ls_es_outcome ls_es_call_outcome(struct ls_es_call *call, long *ret_status,
                                      struct ls_span *ret_reply, struct ls_err *err);

#endif
