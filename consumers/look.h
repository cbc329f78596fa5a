/*
 * A look through a store handle of the lane's own: what a lane does with a unit that is a look when
 * its writing connection has no quicker way to answer it.
 */
#ifndef LS_CONSUMERS_LOOK_H
#define LS_CONSUMERS_LOOK_H

#include "consumers/sink.h"
#include "consumers/store.h"

/*
 * Answers a look (sink.h) by the store's ops, blocking as those do. *store is the lane's handle:
 * opened when it is NULL, closed and NULL again after a failure; the lane closes it at its end.
 */
void ls_look_by_store(const struct ls_store_ops *ops, const struct ls_sink_config *config,
                      struct ls_store **store, struct ls_unit *unit);

#endif
