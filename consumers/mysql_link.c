/*
 * The connection of a lane, and the identity of what it leads to.
 *
 * What was written since the last mark may be gone when the server is another one than before: a
 * replica that was promoted without the last writes, a backup that was put back, a disk that lied.
 * The next mark would cover what is lost, and nobody would ever miss it. So every new connection is
 * asked who answers: host, port, server_id and data folder, and the time of its start, since
 * nothing goes back without a restart. That time is exact to the second, as the server's clock is
 * asked before and after its uptime, and stays so when the clock is set. The number of the
 * connection is a second witness, for a server that starts twice within a second: numbers count up
 * for as long as it runs. A planned restart is taken for a doubt, too; that costs one look and a
 * second of records that are read again and found STALE.
 *
 * MySQL's server_uuid alone was rejected: MariaDB has none, and a data folder that is copied back
 * keeps it. GTID positions were rejected: they need binary logs, and prove nothing without them.
 *
 * The lane's thread. A crash forgets all of it: the next start looks.
 */
#include "consumers/mysql_link.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

enum { IDLE_PING_MS = 30 * 1000 }; /* a connection unused for longer is tried before it is used */

void ls_mysql_link_init(struct ls_mysql_link *link, const struct ls_sink_config *config,
                        const struct ls_mysql_server *server, struct ls_lane *lane)
{
    *link = (struct ls_mysql_link){.config = config, .server = server, .lane = lane};
    link->seen = ls_calloc((size_t)config->entity->partitions, sizeof(*link->seen));
}

void ls_mysql_link_free(struct ls_mysql_link *link)
{
    ls_mysql_close(&link->mysql);
    free(link->seen);
}

bool ls_mysql_identity_differs(const struct ls_mysql_identity *a, const struct ls_mysql_identity *b,
                               bool reconnected, char *why, size_t size)
{
    if (strcmp(a->name, b->name) != 0) {
        snprintf(why, size, "another server answers: %.90s, before it was %.90s", b->name, a->name);
        return true;
    }
    bool counts_anew =
        reconnected ? b->connection_id <= a->connection_id : b->connection_id != a->connection_id;
    bool same_start = a->started_s <= b->started_by_s && b->started_s <= a->started_by_s;
    if (same_start && !counts_anew)
        return false;
    snprintf(why, size, "the server has started again (its start differs by %" PRId64 " s)",
             b->started_s - a->started_s);
    return true;
}

static int take_answer(void *opaque, size_t index, MYSQL_RES *rows, struct ls_err *err)
{
    struct ls_mysql_identity *identity = opaque;
    MYSQL_ROW row = rows != NULL ? mysql_fetch_row(rows) : NULL;
    size_t len = strlen(identity->name);
    if (row == NULL)
        return 0; /* no server_uuid: MariaDB */
    if (index == 0) {
        identity->connection_id = strtoull(row[0], NULL, 10);
        identity->started_s += strtoll(row[1], NULL, 10);
        snprintf(identity->name, sizeof(identity->name), "%s:%s server_id %s %s", row[2], row[3],
                 row[4], row[5]);
    } else if (index == 1) {
        identity->started_s -= strtoll(row[1], NULL, 10);
        identity->started_by_s -= strtoll(row[1], NULL, 10);
    } else if (index == 2) {
        identity->started_by_s += strtoll(row[0], NULL, 10);
    } else {
        snprintf(identity->name + len, sizeof(identity->name) - len, " %s", row[1]);
    }
    return 0;
}

/* Compares who answers with who did before; reconnected: on another connection. */
static int identify(struct ls_mysql_link *link, bool reconnected, struct ls_err *err)
{
    static const char sql[] =
        "SELECT CONNECTION_ID(), UNIX_TIMESTAMP(), IFNULL(@@hostname, ''), @@port, @@server_id, "
        "IFNULL(@@datadir, ''); SHOW GLOBAL STATUS LIKE 'Uptime'; "
        "SELECT UNIX_TIMESTAMP(); SHOW GLOBAL VARIABLES LIKE 'server_uuid'";
    struct ls_mysql_identity now = {0};
    ls_mysql_hurry(link->config);
    if (ls_mysql_many(&link->mysql, sql, sizeof(sql) - 1, take_answer, &now, err) != 0)
        return -1;
    char why[220], doubt[256];
    if (link->identified &&
        ls_mysql_identity_differs(&link->identity, &now, reconnected, why, sizeof(why))) {
        memset(link->seen, 0, (size_t)link->config->entity->partitions * sizeof(*link->seen));
        link->doubts++;
        snprintf(doubt, sizeof(doubt), "%.60s: %.190s", link->mysql.where, why);
        if (link->lane != NULL)
            ls_lane_unsure(link->lane, doubt);
    }
    link->identity = now;
    link->identified = true;
    return 0;
}

int ls_mysql_link_identify(struct ls_mysql_link *link, struct ls_err *err)
{
    return identify(link, false, err);
}

int ls_mysql_link_use(struct ls_mysql_link *link, struct ls_err *err)
{
    struct ls_mysql *mysql = &link->mysql;
    int64_t now_ms = ls_mono_ms();
    ls_mysql_hurry(link->config);
    if (mysql->handle != NULL && now_ms - link->used_ms > IDLE_PING_MS &&
        mysql_ping(mysql->handle) != 0)
        ls_mysql_close(mysql); /* closed by the server or a firewall meanwhile */
    link->used_ms = now_ms;
    if (mysql->handle != NULL)
        return 0;
    if (ls_mysql_connect(mysql, link->config, link->server, err) != 0)
        return -1;
    if (identify(link, true, err) == 0)
        return 0;
    ls_mysql_close(mysql);
    return -1;
}

void ls_mysql_link_reset(struct ls_mysql_link *link)
{
    ls_mysql_hurry(link->config);
    if (link->mysql.handle != NULL &&
        (ls_mysql_lost(&link->mysql) || mysql_real_query(link->mysql.handle, "ROLLBACK", 8) != 0))
        ls_mysql_close(&link->mysql);
}
