/*
 * Applying units to one MySQL server: a lane's live state and the one call that works on a unit.
 * One thread per lane.
 */
#ifndef LS_CONSUMERS_MYSQL_APPLY_H
#define LS_CONSUMERS_MYSQL_APPLY_H

#include "consumers/mysql_link.h"
#include "consumers/sink.h"

struct ls_mysql_lane;

/*
 * Nothing is connected yet. All is borrowed and must live as long. handle is told of doubts; NULL
 * in tests: nobody is.
 */
struct ls_mysql_lane *ls_mysql_lane_new(const struct ls_sink_config *config,
                                        const struct ls_mysql_server *server,
                                        struct ls_lane *handle);
void ls_mysql_lane_free(struct ls_mysql_lane *lane);

/*
 * Does the work of a unit, connecting first where needed. Records: writes the pending ones in one
 * transaction and gives each its verdict. Marks, and looks: as mysql_marks.h says. All of the
 * unit's partitions must live on the lane's server. Blocks at most for the timeouts of the
 * configuration per packet.
 */
void ls_mysql_lane_work(struct ls_mysql_lane *lane, struct ls_unit *unit);

/* The lane's connection, for tests that cut it. */
struct ls_mysql_link *ls_mysql_lane_link(struct ls_mysql_lane *lane);

#endif
