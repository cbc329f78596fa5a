/*
 * The Elasticsearch lane, for the files that make it up and nobody else:
 *   es_sink.c        configuration → the shared, read-only sink
 *   es_apply.c       the lane's loop: units → bulk requests → verdicts
 *   es_apply_marks.c marks beside them
 *   es_look.c        looks beside them: what the index holds
 * Everything here belongs to the lane's thread, save es_sink, which is read-only.
 */
#ifndef LS_CONSUMERS_ES_APPLY_H
#define LS_CONSUMERS_ES_APPLY_H

#include "consumers/es_encode.h"
#include "consumers/es_marks.h"
#include "consumers/es_reply.h"
#include "consumers/sink.h"
#include "pipeline/es_client.h"

enum {
    LS_ES_UNIT_RECORDS = 2000,       /* of one bulk */
    LS_ES_BULK_BYTES_MIN = 64 << 10, /* a refusal of large requests shrinks them no further */
    LS_ES_REQUESTS_MAX = 64,
};

struct es_sink {
    const struct ls_sink_config *config;
    struct ls_es_encoder *encoder;
};

/* A stretch of a unit's records that is still to be sent: [begin, end). */
struct es_range {
    uint32_t begin, end;
};

/* A unit in hand. */
struct es_job {
    struct ls_unit *unit;
    struct es_range *ranges; /* a stack */
    uint32_t n_ranges, cap_ranges;
    unsigned n_out;    /* bulks of it in flight */
    bool marks_open;   /* its marks are neither written nor given up */
    struct ls_err err; /* why records of it were not sent or not answered */
    struct es_job *next;
};

/* A bulk request's slot. */
struct es_bulk {
    struct ls_es_call *call;
    struct es_job *job; /* NULL: free */
    struct ls_buf body;
    struct ls_es_item *items;
    uint32_t *rows; /* index in the unit's records, by position in the request */
    uint32_t n_rows, cap_rows;
};

struct es_lane_marks;
struct es_lane_look;

struct es_lane {
    const struct es_sink *sink;
    struct ls_lane *lane;
    struct ls_es_client *client;
    char *bulk_path;
    size_t bulk_bytes; /* where a request is cut; shrinks when the server refuses its size */
    struct es_bulk bulks[LS_ES_REQUESTS_MAX];
    unsigned n_bulks, n_busy;
    struct es_job *oldest, **newest;
    struct es_lane_marks *marks;
    struct es_lane_look *look;

    struct ls_es_incarnation incarnation; /* as seen last; n_primaries 0: not yet */
    uint64_t n_failed;   /* exchanges that failed, so that nobody knows what came of them */
    uint64_t n_compared; /* ... when the incarnation was compared last: then the lane was sure */
    bool answered;       /* a bulk was answered since a failure: the index is back */
};

/* The lane's whole life: ls_sink_ops.run_lane. */
void ls_es_run_lane(struct ls_sink *sink, unsigned lane_index, struct ls_lane *lane);

/* es_apply.c */
/* An exchange failed: the index may be another one when it is back. */
void ls_es_lane_failed(struct es_lane *lane);
/* Whether it failed since the index was last asked which data it holds. Then no mark is written. */
bool ls_es_lane_in_doubt(const struct es_lane *lane);

/* es_apply_marks.c */
struct es_lane_marks *ls_es_lane_marks_new(struct es_lane *lane);
void ls_es_lane_marks_free(struct es_lane_marks *marks);
/* Writes the marks of a job in hand, if none are being written, or says why they can't be. */
void ls_es_lane_marks_start(struct es_lane_marks *marks);
/* A request has finished. True when `call` was the marks'. */
bool ls_es_lane_marks_finish(struct es_lane_marks *marks, struct ls_es_call *call);
bool ls_es_lane_marks_writing(const struct es_lane_marks *marks);
/* Whether marks in hand are not being written yet. */
bool ls_es_lane_marks_waiting(const struct es_lane_marks *marks);
/* What a look found; the next marks are compared with that. */
void ls_es_lane_marks_saw(struct es_lane_marks *marks, const struct ls_es_mark *held, size_t n);
void ls_es_lane_marks_forget(struct es_lane_marks *marks);
/* Gives up the marks that are not being written yet. */
void ls_es_lane_marks_drop(struct es_lane_marks *marks, const struct ls_err *why);

/* es_look.c */
struct es_lane_look *ls_es_lane_look_new(struct es_lane *lane);
void ls_es_lane_look_free(struct es_lane_look *look);
/* Takes a unit that is a look; it is completed when all is answered, or something failed. */
void ls_es_lane_look_add(struct es_lane_look *look, struct ls_unit *unit);
/* Sends what is to be asked now. */
void ls_es_lane_look_serve(struct es_lane_look *look);
/* A request has finished. True when `call` was the look's. */
bool ls_es_lane_look_finish(struct es_lane_look *look, struct ls_es_call *call);
/* Whether marks are being read: none may be written meanwhile. */
bool ls_es_lane_look_reads_marks(const struct es_lane_look *look);
/* The lane is closing: gives all looks back. */
void ls_es_lane_look_drop(struct es_lane_look *look);

#endif
