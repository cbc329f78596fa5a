/*
 * Applying units to one MySQL server: a lane's live state and the one call that works on a unit.
 * One thread per lane.
 */
#ifndef LS_CONSUMERS_MYSQL_APPLY_H
#define LS_CONSUMERS_MYSQL_APPLY_H

#include "consumers/mysql_encode.h"
#include "consumers/sink.h"
#include "pipeline/mysql_client.h"

struct ls_mysql_lane;

/* Nothing is connected yet. config and server are borrowed and must live as long. */
struct ls_mysql_lane *ls_mysql_lane_new(const struct ls_sink_config *config,
                                        const struct ls_mysql_server *server);
void ls_mysql_lane_free(struct ls_mysql_lane *lane);

/*
 * Writes the pending records and the marks of a unit in one transaction, connecting first where
 * needed, and gives every pending record its verdict. All of the unit's partitions must live on
 * the lane's server. Blocks at most for the timeouts of the configuration per packet.
 */
void ls_mysql_lane_apply(struct ls_mysql_lane *lane, struct ls_unit *unit);

/* The connection, for tests that cut it. */
struct ls_mysql *ls_mysql_lane_connection(struct ls_mysql_lane *lane);

#endif
