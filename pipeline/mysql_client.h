/*
 * A connection to one MySQL or MariaDB server, with the session that the laws rest on: strict
 * sql_mode, utf8mb4, READ COMMITTED, bounded lock waits, no automatic reconnect (a new session
 * would silently have lost the settings and the transaction). One thread at a time.
 */
#ifndef LS_PIPELINE_MYSQL_CLIENT_H
#define LS_PIPELINE_MYSQL_CLIENT_H

#include <mysql.h>
#include <stdbool.h>
#include <stddef.h>

#include "pipeline/config.h"
#include "pipeline/mysql_wait.h"

enum {
    /* The server's limit on one packet, bytes: below the minimum a sink refuses to run. */
    LS_MYSQL_PACKET_MIN = 4 << 20,
};

struct ls_mysql {
    MYSQL *handle;     /* NULL: not connected */
    bool open;         /* the server has let us in */
    size_t packet_max; /* the session's max_allowed_packet, bytes */
    char where[300];   /* "mysql 127.0.0.1:3306", for messages */
};

/*
 * Connects and sets and checks the session. Waits at most connect_timeout_ms to connect and
 * request_timeout_ms for any answer later (both rounded up to seconds, which is what the client
 * library has), and twice that for the whole of an answer that comes in pieces; afterwards none is
 * hurried (ls_mysql_rest). On -1 the connection is closed; err is RETRY for an outage, FATAL for
 * wrong credentials, TLS or settings. A connection that is open is closed first.
 */
int ls_mysql_connect(struct ls_mysql *mysql, const struct ls_sink_config *config,
                     const struct ls_mysql_server *server, struct ls_err *err);

/* Closes; safe on a zeroed or closed one. An open transaction is rolled back by the server. */
void ls_mysql_close(struct ls_mysql *mysql);

/* The handle's newest error as ours (table in mysql_errors.c). Returns -1. */
int ls_mysql_fail(struct ls_mysql *mysql, struct ls_err *err);

/* Whether the connection is unusable after the handle's newest error: close it. */
bool ls_mysql_lost(const struct ls_mysql *mysql);

/* One statement without a result set. */
int ls_mysql_run(struct ls_mysql *mysql, const char *sql, size_t len, struct ls_err *err);

/* One statement's rows, buffered; the caller frees with mysql_free_result. */
int ls_mysql_rows(struct ls_mysql *mysql, const char *sql, size_t len, MYSQL_RES **ret,
                  struct ls_err *err);

/*
 * Several statements in one packet, separated by semicolons. each() gets the rows of the statement
 * number `index` (NULL where it has none) and may not run statements; non-zero is returned once the
 * remaining results are read. The server stops at the first statement that fails: then -1 with
 * its error. Any other return is 0.
 */
typedef int ls_mysql_result_fn(void *opaque, size_t index, MYSQL_RES *rows, struct ls_err *err);
int ls_mysql_many(struct ls_mysql *mysql, const char *sql, size_t len, ls_mysql_result_fn *each,
                  void *opaque, struct ls_err *err);

/* Value of a server or session variable that SHOW VARIABLES gives; -1 FATAL when there is none. */
int ls_mysql_variable(struct ls_mysql *mysql, bool global, const char *name, char *value,
                      size_t size, struct ls_err *err);

#endif
