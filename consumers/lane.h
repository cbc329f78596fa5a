/*
 * Lanes, the instance's side: a lane is a thread that runs a sink's run_lane, a queue of units for
 * it, and a place where finished units come back. sink.h has the lane's side.
 */
#ifndef LS_CONSUMERS_LANE_H
#define LS_CONSUMERS_LANE_H

#include "consumers/sink.h"

/* Where the lanes of one instance leave finished units. Made and read by the instance's thread. */
struct ls_returns;
struct ls_returns *ls_returns_new(void);
void ls_returns_free(struct ls_returns *returns);
/* All units that came back since the last call, oldest first, linked by next; NULL if none. */
struct ls_unit *ls_returns_take(struct ls_returns *returns);
/* An eventfd that is readable while units wait there. */
int ls_returns_fd(const struct ls_returns *returns);

/* Starts the thread. NULL and err when no thread can be had. */
struct ls_lane *ls_lane_start(const struct ls_sink_ops *ops, struct ls_sink *sink, unsigned index,
                              struct ls_returns *returns, struct ls_err *err);
/* The lane's incarnation: how often it was unsure. Thread-safe. */
uint64_t ls_lane_incarnation(const struct ls_lane *lane);
/* Why it was unsure last, into why[size]; "" if never. Thread-safe. */
void ls_lane_doubt(struct ls_lane *lane, char *why, size_t size);

/* What the lane warned of last, into text[size], "" if nothing; returns its `wrong`. Thread-safe.
 */
bool ls_lane_warning(struct ls_lane *lane, char *text, size_t size);

/* Gives a unit to the lane, which owns it until it comes back. */
void ls_lane_submit(struct ls_lane *lane, struct ls_unit *unit);
/*
 * The same for work that rests on what was known in that incarnation: marks that cover it are not
 * written when the lane has become unsure since, be it only just now.
 */
void ls_lane_submit_as(struct ls_lane *lane, struct ls_unit *unit, uint64_t incarnation);
/*
 * Tells the lane to close and waits for its thread (bounded by the sink's request timeout). Units
 * that it had not taken are returned, linked by next: the caller owns all units.
 */
struct ls_unit *ls_lane_stop(struct ls_lane *lane);

#endif
