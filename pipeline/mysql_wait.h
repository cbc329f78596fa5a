/*
 * How the MySQL client library waits for a server: by ls_mysql_wait, which knows when the whole of
 * an answer is due. All of it is of the calling thread alone.
 */
#ifndef LS_PIPELINE_MYSQL_WAIT_H
#define LS_PIPELINE_MYSQL_WAIT_H

#include <mysql.h>
#include <stdbool.h>

#include "pipeline/config.h"

/*
 * What this thread asks from now on, of any connection of the sink, must be answered within
 * LS_ANSWER_TIMES x request_timeout_ms, else the connection is lost (CR_SERVER_LOST): the library's
 * own timeout is one of each read, and a peer that sends a byte now and then is never late by it.
 * Call it again for each question; ls_mysql_rest ends it.
 */
void ls_mysql_hurry(const struct ls_sink_config *config);
void ls_mysql_rest(void);

/* Whether a wait of this thread has ended without what it waited for since ls_mysql_hurry. */
bool ls_mysql_late(void);

/*
 * For MARIADB_OPT_IO_WAIT: 1 when it is worth another try, 0 with errno ETIMEDOUT, -1 with errno.
 * timeout_ms <= 0 waits for ever; over TLS the socket's own timeout counts.
 */
int ls_mysql_wait(my_socket fd, my_bool is_read, int timeout_ms);

/* Reads and writes of this socket return at once from now on, so that ls_mysql_wait is asked. */
void ls_mysql_never_block(my_socket fd);

#endif
