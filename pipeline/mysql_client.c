/*
 * Connections to MySQL: options, session, statements.
 *
 * The session's isolation is READ COMMITTED. Under REPEATABLE READ an upsert that meets an existing
 * row takes a next-key lock: the row and the gap before it, where another lane's insert then waits,
 * and two such lanes deadlock although no key is in both. READ COMMITTED locks the row only, so
 * transactions wait for one another only where they write the same key; nothing here reads a row
 * twice in a transaction, so nothing is lost by it. (It needs binlog_format ROW or MIXED.)
 *
 * CLIENT_FOUND_ROWS stays off: with it an update that changes nothing counts as 1, and the
 * arithmetic of mysql_apply.c (which rows were stale) would not hold.
 *
 * A crash leaves an open transaction to the server, which rolls it back.
 */
#include "pipeline/mysql_client.h"

#include <errmsg.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "pipeline/mysql_errors.h"

/* The same text in all sessions, so that what one server takes, every server takes. */
#define SQL_MODE                                                                 \
    "STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO," \
    "NO_ENGINE_SUBSTITUTION"

enum {
    LOCK_WAIT_MAX_S = 10, /* longer than any transaction of a lane, shorter than a stuck one */
};

static void library_start(void)
{
    mysql_library_init(0, NULL, NULL);
}

static unsigned timeout_s(uint32_t timeout_ms)
{
    return timeout_ms / 1000 + (timeout_ms % 1000 != 0 || timeout_ms == 0);
}

/* Below the answer's timeout: so the server says "lock wait", not the socket "lost". */
static unsigned lock_wait_s(const struct ls_sink_config *config)
{
    unsigned half = config->request_timeout_ms / 2000;
    return half < 1 ? 1 : half > LOCK_WAIT_MAX_S ? LOCK_WAIT_MAX_S : half;
}

void ls_mysql_close(struct ls_mysql *mysql)
{
    if (mysql->handle != NULL)
        mysql_close(mysql->handle);
    mysql->handle = NULL;
    mysql->open = false;
}

int ls_mysql_fail(struct ls_mysql *mysql, struct ls_err *err)
{
    unsigned code = mysql_errno(mysql->handle);
    /* Over TLS a lost connection has the code of a refused certificate. */
    if (code == CR_SSL_CONNECTION_ERROR && (mysql->open || ls_mysql_late()))
        code = CR_SERVER_LOST;
    const char *text = mysql_error(mysql->handle);
    return ls_mysql_err(err, mysql->where, code, *text ? text : "no error text");
}

bool ls_mysql_lost(const struct ls_mysql *mysql)
{
    unsigned code = mysql_errno(mysql->handle);
    /* The client library's own errors leave the stream in an unknown state. */
    return (code >= CR_MIN_ERROR && code < 3000) || code == 1053 || code == 1153 || code == 1927 ||
           code == 4031;
}

int ls_mysql_run(struct ls_mysql *mysql, const char *sql, size_t len, struct ls_err *err)
{
    if (mysql_real_query(mysql->handle, sql, len) != 0)
        return ls_mysql_fail(mysql, err);
    return 0;
}

int ls_mysql_rows(struct ls_mysql *mysql, const char *sql, size_t len, MYSQL_RES **ret,
                  struct ls_err *err)
{
    if (ls_mysql_run(mysql, sql, len, err) != 0)
        return -1;
    MYSQL_RES *rows = mysql_store_result(mysql->handle);
    if (rows == NULL)
        return ls_mysql_fail(mysql, err);
    *ret = rows;
    return 0;
}

int ls_mysql_many(struct ls_mysql *mysql, const char *sql, size_t len, ls_mysql_result_fn *each,
                  void *opaque, struct ls_err *err)
{
    if (mysql_real_query(mysql->handle, sql, len) != 0)
        return ls_mysql_fail(mysql, err);
    int rc = 0;
    for (size_t index = 0;; index++) {
        MYSQL_RES *rows = mysql_store_result(mysql->handle);
        if (rows == NULL && mysql_field_count(mysql->handle) != 0)
            return ls_mysql_fail(mysql, err);
        if (rc == 0 && each != NULL)
            rc = each(opaque, index, rows, err);
        if (rows != NULL)
            mysql_free_result(rows);
        int next = mysql_next_result(mysql->handle);
        if (next > 0)
            return ls_mysql_fail(mysql, err);
        if (next < 0)
            return rc;
    }
}

int ls_mysql_variable(struct ls_mysql *mysql, bool global, const char *name, char *value,
                      size_t size, struct ls_err *err)
{
    char sql[160];
    int len = snprintf(sql, sizeof(sql), "SHOW %s VARIABLES WHERE Variable_name = '%s'",
                       global ? "GLOBAL" : "SESSION", name);
    MYSQL_RES *rows;
    if (ls_mysql_rows(mysql, sql, (size_t)len, &rows, err) != 0)
        return -1;
    MYSQL_ROW row = mysql_fetch_row(rows);
    if (row != NULL && row[1] != NULL)
        snprintf(value, size, "%s", row[1]);
    mysql_free_result(rows);
    if (row == NULL)
        return ls_err_set(err, LS_ERR_FATAL, 0, "%s: the server has no variable %s", mysql->where,
                          name);
    return 0;
}

static void set_options(MYSQL *handle, const struct ls_sink_config *config)
{
    unsigned connect_s = timeout_s(config->connect_timeout_ms);
    unsigned request_s = timeout_s(config->request_timeout_ms);
    unsigned protocol = MYSQL_PROTOCOL_TCP; /* "localhost" must not mean a socket file */
    unsigned local_infile = 0;              /* a server may not ask for our files */
    unsigned long packet = 1UL << 30;       /* the server's limit is the one that counts */
    my_bool no = 0, yes = 1;
    mysql_options(handle, MYSQL_OPT_CONNECT_TIMEOUT, &connect_s);
    mysql_options(handle, MYSQL_OPT_READ_TIMEOUT, &request_s);
    mysql_options(handle, MYSQL_OPT_WRITE_TIMEOUT, &request_s);
    mysql_options(handle, MARIADB_OPT_IO_WAIT, (const void *)(uintptr_t)ls_mysql_wait);
    mysql_options(handle, MYSQL_OPT_PROTOCOL, &protocol);
    mysql_options(handle, MYSQL_OPT_LOCAL_INFILE, &local_infile);
    mysql_options(handle, MYSQL_OPT_MAX_ALLOWED_PACKET, &packet);
    mysql_options(handle, MYSQL_OPT_RECONNECT, &no);
    mysql_options(handle, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    mysql_options4(handle, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", "lockstep");
    if (config->tls.on) {
        mysql_options(handle, MYSQL_OPT_SSL_ENFORCE, &yes);
        mysql_options(handle, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &yes);
        mysql_ssl_set(handle, config->tls.key_file, config->tls.cert_file, config->tls.ca_file,
                      NULL, NULL);
    }
}

/* Whether a comma-separated list has a word. */
static bool has_word(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncasecmp(at, word, len) == 0 && (at[len] == ',' || at[len] == '\0'))
            return true;
    }
    return false;
}

struct session_check {
    struct ls_mysql *mysql;
    unsigned wait_s;
    unsigned right; /* settings that are as they must be */
};

enum { SESSION_SETTINGS = 7 };

static bool setting_is_right(struct session_check *check, const char *name, const char *value)
{
    char wait[16];
    snprintf(wait, sizeof(wait), "%u", check->wait_s);
    if (strcmp(name, "sql_mode") == 0)
        return has_word(value, "STRICT_ALL_TABLES") && !has_word(value, "NO_BACKSLASH_ESCAPES") &&
               !has_word(value, "ANSI_QUOTES");
    if (strcmp(name, "tx_isolation") == 0 || strcmp(name, "transaction_isolation") == 0)
        return strcmp(value, "READ-COMMITTED") == 0;
    if (strncmp(name, "character_set_", 14) == 0)
        return strcmp(value, "utf8mb4") == 0;
    if (strcmp(name, "innodb_lock_wait_timeout") == 0)
        return strcmp(value, wait) == 0;
    if (strcmp(name, "autocommit") == 0)
        return strcmp(value, "ON") == 0;
    if (strcmp(name, "max_allowed_packet") == 0) {
        check->mysql->packet_max = strtoull(value, NULL, 10);
        return check->mysql->packet_max >= LS_MYSQL_PACKET_MIN;
    }
    return true;
}

static int check_session(struct ls_mysql *mysql, unsigned wait_s, struct ls_err *err)
{
    static const char sql[] =
        "SHOW SESSION VARIABLES WHERE Variable_name IN ('sql_mode', 'tx_isolation', "
        "'transaction_isolation', 'character_set_client', 'character_set_connection', "
        "'character_set_results', 'innodb_lock_wait_timeout', 'autocommit', "
        "'max_allowed_packet')";
    MYSQL_RES *rows;
    if (ls_mysql_rows(mysql, sql, sizeof(sql) - 1, &rows, err) != 0)
        return -1;
    struct session_check check = {.mysql = mysql, .wait_s = wait_s};
    int rc = 0;
    MYSQL_ROW row;
    while (rc == 0 && (row = mysql_fetch_row(rows)) != NULL) {
        if (setting_is_right(&check, row[0], row[1] ? row[1] : ""))
            check.right++;
        else if (strcmp(row[0], "max_allowed_packet") == 0)
            rc = ls_err_set(err, LS_ERR_FATAL, 0,
                            "%s: max_allowed_packet is %s: raise it to %d or more on the server",
                            mysql->where, row[1], LS_MYSQL_PACKET_MIN);
        else
            rc = ls_err_set(err, LS_ERR_FATAL, 0,
                            "%s: the session's %s is '%s', though lockstep set it: check the "
                            "server (a proxy or init_connect changes it?)",
                            mysql->where, row[0], row[1]);
    }
    mysql_free_result(rows);
    if (rc == 0 && check.right < SESSION_SETTINGS)
        return ls_err_set(err, LS_ERR_FATAL, 0,
                          "%s: the server shows only %u of the session's settings: MariaDB 10.5 or "
                          "MySQL 8.0 is needed",
                          mysql->where, check.right);
    return rc;
}

static int set_session(struct ls_mysql *mysql, const struct ls_sink_config *config,
                       struct ls_err *err)
{
    unsigned wait_s = lock_wait_s(config);
    char sql[512];
    /*
     * lock_wait_timeout is the wait for a table that somebody alters: a day unless set. English
     * messages name the row of a statement that is wrong in a form that mysql_apply.c can read.
     */
    int len = snprintf(sql, sizeof(sql),
                       "SET NAMES utf8mb4 COLLATE utf8mb4_bin; "
                       "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; "
                       "SET SESSION sql_mode = '" SQL_MODE "', innodb_lock_wait_timeout = %u, "
                       "lock_wait_timeout = %u, autocommit = 1, lc_messages = 'en_US'",
                       wait_s, wait_s);
    if (ls_mysql_many(mysql, sql, (size_t)len, NULL, NULL, err) != 0)
        return -1;
    return check_session(mysql, wait_s, err);
}

int ls_mysql_connect(struct ls_mysql *mysql, const struct ls_sink_config *config,
                     const struct ls_mysql_server *server, struct ls_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, library_start);
    ls_mysql_close(mysql);
    snprintf(mysql->where, sizeof(mysql->where), "mysql %s:%u", server->host, server->port);
    mysql->handle = mysql_init(NULL);
    if (mysql->handle == NULL)
        return ls_err_set(err, LS_ERR_RETRY, CR_OUT_OF_MEMORY, "%s: out of memory", mysql->where);
    set_options(mysql->handle, config);
    ls_mysql_hurry(config);
    if (mysql_real_connect(mysql->handle, server->host, server->user, server->password,
                           server->database, server->port, NULL, CLIENT_MULTI_STATEMENTS) == NULL) {
        ls_mysql_fail(mysql, err);
        ls_mysql_close(mysql);
        ls_mysql_rest();
        return -1;
    }
    mysql->open = true;
    if (config->tls.on)
        ls_mysql_never_block(
            mysql_get_socket(mysql->handle)); /* if the greeting was there at once */
    ls_mysql_hurry(config);
    int rc = set_session(mysql, config, err);
    if (rc != 0)
        ls_mysql_close(mysql);
    ls_mysql_rest();
    return rc;
}
