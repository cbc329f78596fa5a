/*
 * A Redis Cluster of a test's own: three masters with a password in a fresh folder, on free ports,
 * which die with the test. Not the local stack's, because these tests kill nodes, empty them and
 * move slots. And a lane over it, with units made from a few words.
 */
#ifndef LS_TESTS_LIVE_C_REDIS_FIXTURE_H
#define LS_TESTS_LIVE_C_REDIS_FIXTURE_H

#include <hiredis/hiredis.h>
#include <sys/types.h>

#include "consumers/lane.h"
#include "consumers/store.h"

enum { FIXTURE_MASTERS = 3, FIXTURE_RECORDS_MAX = 4096 };

struct redis_fixture {
    char dir[64];
    uint16_t ports[FIXTURE_MASTERS], bus_ports[FIXTURE_MASTERS];
    pid_t pids[FIXTURE_MASTERS];
    redisContext *links[FIXTURE_MASTERS]; /* NULL until used, and after a kill */
    struct ls_schema *schema;
    struct ls_entity_config entity;
    struct ls_redis_node nodes[FIXTURE_MASTERS];
    struct ls_sink_config config;

    struct ls_sink *sink; /* the lane, between fixture_lane_start and _stop */
    struct ls_lane *lane;
    struct ls_returns *returns;
    struct ls_record records[FIXTURE_RECORDS_MAX]; /* of the next unit */
    struct ls_record *pointers[FIXTURE_RECORDS_MAX];
    uint32_t n_records;
    struct ls_arena arena; /* keys and bodies of the records */
};

/* Boots the cluster and waits until all nodes serve all slots. Fails the test otherwise. */
void fixture_start(struct redis_fixture *f);
void fixture_stop(struct redis_fixture *f);

/* Kills a node, and starts it again on its files (with no wait for the cluster's state). */
void fixture_kill(struct redis_fixture *f, int node);
void fixture_boot(struct redis_fixture *f, int node);
/* Until the nodes that live agree that the cluster is ok. */
void fixture_wait_ok(struct redis_fixture *f);

/* A command to one node by hiredis's own client; the caller frees the reply. */
redisReply *fixture_command(struct redis_fixture *f, int node, const char *format, ...);
/* The same where an error fails the test and the answer does not matter. */
void fixture_do(struct redis_fixture *f, int node, const char *format, ...);
/* The node that owned the slot when the cluster was made. */
int fixture_owner(uint16_t slot);
/* The entry of a member's key as it stands in its first owner; NIL where there is none. */
redisReply *fixture_get(struct redis_fixture *f, const char *key);
/* The version that the entry starts with; 0 where there is none. */
uint64_t fixture_version(struct redis_fixture *f, const char *key);

void fixture_lane_start(struct redis_fixture *f);
void fixture_lane_stop(struct redis_fixture *f);

/* Adds a record to the next unit: a put of `name`, or a delete where it is NULL. */
struct ls_record *fixture_record(struct redis_fixture *f, const char *key, uint64_t version,
                                 const char *name);
/* Submits the unit and waits for it (30 s at most). The records stay readable until the next one.
 */
void fixture_apply(struct redis_fixture *f, struct ls_unit *unit);
/* One record, one unit; returns its verdict. unit->err goes to ret_err unless that is NULL. */
enum ls_verdict fixture_apply_one(struct redis_fixture *f, const char *key, uint64_t version,
                                  const char *name, struct ls_err *ret_err);
/* Lets the lane look at all partitions; the unit's err is for the caller. */
enum { FIXTURE_PARTITIONS = 4 };
void fixture_look(struct redis_fixture *f, bool setup, struct ls_mark marks[FIXTURE_PARTITIONS],
                  struct ls_look *ret_look, struct ls_unit *ret_unit);
/* How many of the last unit's records have that verdict. */
unsigned fixture_count(const struct redis_fixture *f, enum ls_verdict verdict);

#endif
