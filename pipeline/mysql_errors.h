/* What a MySQL or MariaDB error number means for the sink: one table, no I/O, any thread. */
#ifndef LS_PIPELINE_MYSQL_ERRORS_H
#define LS_PIPELINE_MYSQL_ERRORS_H

#include <stdbool.h>

#include "base/err.h"

/*
 * Class of an error number of the server (1000-1999, 3000-4999) or of the client library
 * (2000-2999). UNKNOWN where the table does not have it, or where it may be an outage as well as a
 * wrong set-up (a TLS failure).
 */
enum ls_err_class ls_mysql_classify(unsigned code);

/* Whether the table's numbers ascend, as the search in it needs: for its test. */
bool ls_mysql_table_sorted(void);

/* What to do about an error, to follow a colon in a message; "" where nobody has to do anything. */
const char *ls_mysql_advice(unsigned code);

/*
 * Fills err: "<where>: <server's text> (1146): <advice>", class and code from the table; a TLS
 * failure whose text is of a certificate is FATAL. where names the server, e.g. "mysql
 * 127.0.0.1:3306". Returns -1.
 */
int ls_mysql_err(struct ls_err *err, const char *where, unsigned code, const char *text);

#endif
