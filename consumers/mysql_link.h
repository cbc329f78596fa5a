/*
 * A lane's connection to its MySQL server, and what the lane knows of that server (law 6): which
 * incarnation of it is written to, and the marks as they were seen there last. One thread at a
 * time.
 */
#ifndef LS_CONSUMERS_MYSQL_LINK_H
#define LS_CONSUMERS_MYSQL_LINK_H

#include "consumers/sink.h"
#include "pipeline/mysql_client.h"

/* Who answers. Two that differ may differ in what they hold. */
struct ls_mysql_identity {
    char name[768]; /* host, port, server_id, data folder, and server_uuid where there is */
    /*
     * When it started, by its own clock: in the second `started_s`, or, where one passed while it
     * was asked, up to `started_by_s`.
     */
    int64_t started_s;
    int64_t started_by_s;
    uint64_t connection_id; /* the server counts them up from its start */
};

/* The mark of a partition as the lane saw it last, by a look or by its own writing. */
struct ls_mysql_seen {
    bool known;          /* it was looked at in this incarnation */
    struct ls_mark mark; /* the row; genesis "": none */
};

struct ls_mysql_link {
    const struct ls_sink_config *config;
    const struct ls_mysql_server *server;
    struct ls_lane *lane; /* is told of doubts; NULL: nobody */
    struct ls_mysql mysql;
    int64_t used_ms; /* when the connection was last used */
    bool identified; /* identity is that of the server that was connected to last */
    struct ls_mysql_identity identity;
    unsigned doubts;            /* how often the server was another one */
    struct ls_mysql_seen *seen; /* by partition */
};

/* Nothing is connected yet. All is borrowed and must live as long. */
void ls_mysql_link_init(struct ls_mysql_link *link, const struct ls_sink_config *config,
                        const struct ls_mysql_server *server, struct ls_lane *lane);
void ls_mysql_link_free(struct ls_mysql_link *link);

/*
 * Sees to a connection, and after a new one to the server's identity. If that is another than
 * before, all seen marks are forgotten and the lane is unsure (ls_lane_unsure): the caller goes on,
 * since every write is guarded. -1 when there is no connection.
 */
int ls_mysql_link_use(struct ls_mysql_link *link, struct ls_err *err);

/* Asks again on the connection that there is, which a proxy may have led elsewhere. */
int ls_mysql_link_identify(struct ls_mysql_link *link, struct ls_err *err);

/* After an error: ends an open transaction, or the connection where that is not sure to work. */
void ls_mysql_link_reset(struct ls_mysql_link *link);

/* Why b is another incarnation than a, for people, into why[size]; false if it is not. Pure. */
bool ls_mysql_identity_differs(const struct ls_mysql_identity *a, const struct ls_mysql_identity *b,
                               bool reconnected, char *why, size_t size);

#endif
