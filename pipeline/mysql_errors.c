/*
 * Error numbers of MySQL and MariaDB as verdicts. What may heal without a person is RETRY, what is
 * wrong with one row is POISON, what a person has to mend is FATAL (docs/ARCHITECTURE.md,
 * "Verdicts"). SQLSTATE classes were rejected as the key: 22xxx and 23xxx mix bad rows with bad
 * tables, and HY000 says nothing at all. Pure, any thread.
 *
 * A number serves both servers, except where only one has it: MariaDB from 1900 to 1999 and from
 * 4000, MySQL from 3000 to 3999 and 4031.
 */
#include "pipeline/mysql_errors.h"

#include <stddef.h>

#include "base/mem.h"

#define APPLY "make what is missing with `lockstep schema apply`"
#define DIFF  "see `lockstep schema diff`; `lockstep schema apply` adds what is missing"
#define GRANT                                                                                       \
    "check user and password in the configuration (workers read them at their start: restart them " \
    "after a change), and grant SELECT, INSERT, UPDATE (and CREATE, ALTER, CREATE TEMPORARY "       \
    "TABLES for `lockstep schema apply`)"
#define TLS "check `host`, and ca, cert and key of the sink's `tls`"

enum { TLS_FAILED = 2026 };

struct entry {
    unsigned code;
    enum ls_err_class class;
    const char *advice; /* NULL: none */
    bool overload;      /* as struct ls_err has it */
};

/* Sorted by code. */
static const struct entry table[] = {
    {1020, LS_ERR_RETRY, NULL}, /* record has changed since last read */
    {1021, LS_ERR_RETRY, "free disk space on the server"},
    {1037, LS_ERR_RETRY, NULL, true}, /* out of memory */
    {1038, LS_ERR_RETRY, NULL, true}, /* out of sort memory */
    {1040, LS_ERR_RETRY, NULL, true}, /* too many connections */
    {1041, LS_ERR_RETRY, NULL, true}, /* out of resources */
    {1042, LS_ERR_RETRY, NULL},       /* bad host: the server's name service */
    {1043, LS_ERR_RETRY, NULL},       /* bad handshake: cut while connecting */
    {1044, LS_ERR_FATAL, GRANT},      /* access denied to database */
    {1045, LS_ERR_FATAL, GRANT},      /* access denied */
    {1047, LS_ERR_RETRY, NULL},       /* Galera: node not ready */
    {1048, LS_ERR_POISON, NULL},      /* column cannot be null */
    {1049, LS_ERR_FATAL, "create the database, then run `lockstep schema apply`"},
    {1053, LS_ERR_RETRY, NULL}, /* shutdown in progress */
    {1054, LS_ERR_FATAL, DIFF}, /* unknown column */
    {1062, LS_ERR_FATAL,
     "drop the unique index that is not the primary key (`lockstep schema diff`)"},
    {1064, LS_ERR_FATAL, "this server does not understand lockstep's SQL: report it"},
    {1114, LS_ERR_RETRY, "free disk space on the server"}, /* table is full */
    {1115, LS_ERR_FATAL, "the server must know utf8mb4"},
    {1118, LS_ERR_POISON, NULL}, /* row size too large */
    {1129, LS_ERR_FATAL, "unblock this host with `mysqladmin flush-hosts`"},
    {1130, LS_ERR_FATAL, GRANT},      /* host is not allowed */
    {1135, LS_ERR_RETRY, NULL, true}, /* cannot create a thread */
    {1136, LS_ERR_FATAL, DIFF},       /* column count */
    {1142, LS_ERR_FATAL, GRANT},      /* table access denied */
    {1143, LS_ERR_FATAL, GRANT},      /* column access denied */
    {1146, LS_ERR_FATAL, APPLY},      /* no such table */
    {1152, LS_ERR_RETRY, NULL},       /* aborting connection */
    {1153, LS_ERR_RETRY, NULL,
     true},                     /* packet too large: the limit shrank; reconnecting learns it */
    {1156, LS_ERR_RETRY, NULL}, /* packets out of order */
    {1157, LS_ERR_RETRY, NULL}, /* cannot uncompress */
    {1158, LS_ERR_RETRY, NULL}, /* read error */
    {1159, LS_ERR_RETRY, NULL}, /* read interrupted */
    {1160, LS_ERR_RETRY, NULL}, /* error on write */
    {1161, LS_ERR_RETRY, NULL}, /* write interrupted */
    {1180, LS_ERR_RETRY, NULL}, /* error during commit */
    {1184, LS_ERR_RETRY, NULL}, /* new connection aborted */
    {1193, LS_ERR_FATAL, "the server is too old: MariaDB 10.5 or MySQL 8.0 is needed"},
    {1194, LS_ERR_FATAL, "repair the table, or restore it and resync"}, /* crashed */
    {1195, LS_ERR_FATAL, "repair the table, or restore it and resync"}, /* repair failed */
    {1203, LS_ERR_RETRY, NULL, true}, /* too many connections of the user */
    {1205, LS_ERR_RETRY, NULL, true}, /* lock wait timeout */
    {1206, LS_ERR_RETRY, NULL, true}, /* lock table full */
    {1213, LS_ERR_RETRY, NULL, true}, /* deadlock */
    {1226, LS_ERR_RETRY, "raise the user's resource limits", true},
    {1227, LS_ERR_FATAL, GRANT}, /* privilege needed */
    {1231, LS_ERR_FATAL, "the server refuses a session setting that lockstep needs"},
    {1251, LS_ERR_FATAL, GRANT}, /* authentication protocol */
    {1264, LS_ERR_POISON, NULL}, /* out of range */
    {1265, LS_ERR_POISON, NULL}, /* data truncated */
    {1286, LS_ERR_FATAL, "the server must have InnoDB"},
    {1290, LS_ERR_RETRY, NULL},  /* read-only server */
    {1292, LS_ERR_POISON, NULL}, /* truncated wrong value */
    {1300, LS_ERR_POISON, NULL}, /* invalid character string */
    {1301, LS_ERR_POISON, NULL}, /* result larger than max_allowed_packet */
    {1317, LS_ERR_RETRY, NULL},  /* query interrupted */
    {1364, LS_ERR_FATAL, DIFF},  /* a column of somebody else's has no default */
    {1366, LS_ERR_POISON, NULL}, /* incorrect value */
    {1367, LS_ERR_POISON, NULL}, /* illegal number */
    {1406, LS_ERR_POISON, NULL}, /* data too long */
    {1411, LS_ERR_POISON, NULL}, /* incorrect value */
    {1412, LS_ERR_RETRY, NULL},  /* table definition has changed */
    {1451, LS_ERR_FATAL, "drop the foreign key from the table (`lockstep schema diff`)"},
    {1452, LS_ERR_FATAL, "drop the foreign key from the table (`lockstep schema diff`)"},
    {1524, LS_ERR_FATAL, GRANT},      /* plugin is not loaded */
    {1637, LS_ERR_RETRY, NULL, true}, /* too many transactions */
    {1665, LS_ERR_FATAL, "set binlog_format to ROW or MIXED"},
    {1690, LS_ERR_POISON, NULL}, /* value out of range */
    {1698, LS_ERR_FATAL, GRANT}, /* access denied, no password */
    {1792, LS_ERR_RETRY, NULL},  /* read-only transaction */
    {1820, LS_ERR_FATAL, GRANT}, /* must change password */
    {1836, LS_ERR_RETRY, NULL},  /* read-only mode */
    {1862, LS_ERR_FATAL, GRANT}, /* password expired */
    {1927, LS_ERR_RETRY, NULL},  /* connection was killed */
    {1932, LS_ERR_FATAL, "restore the table's file, or drop it, apply and resync"},
    {1969, LS_ERR_RETRY, NULL, true}, /* max_statement_time exceeded */
    {2001, LS_ERR_RETRY, NULL},       /* cannot make a socket */
    {2002, LS_ERR_RETRY, NULL},       /* cannot connect */
    {2003, LS_ERR_RETRY, NULL},       /* cannot connect to host */
    {2005, LS_ERR_RETRY, NULL},       /* unknown host: name service */
    {2006, LS_ERR_RETRY, NULL},       /* server has gone away */
    {2008, LS_ERR_RETRY, NULL},       /* client out of memory */
    {2011, LS_ERR_RETRY, NULL},       /* error in the TCP connection */
    {2012, LS_ERR_RETRY, NULL},       /* error in the handshake */
    {2013, LS_ERR_RETRY, NULL},       /* lost connection */
    {2019, LS_ERR_FATAL, "the client library must know utf8mb4"},
    {2026, LS_ERR_UNKNOWN, TLS},      /* TLS: a certificate, or cut while shaking hands */
    {2027, LS_ERR_RETRY, NULL},       /* malformed packet */
    {2049, LS_ERR_FATAL, GRANT},      /* old authentication */
    {2055, LS_ERR_RETRY, NULL},       /* lost connection at a named step */
    {2059, LS_ERR_FATAL, GRANT},      /* authentication plugin */
    {2061, LS_ERR_FATAL, GRANT},      /* authentication plugin error */
    {3024, LS_ERR_RETRY, NULL, true}, /* max_execution_time exceeded */
    {3118, LS_ERR_FATAL, GRANT},      /* account locked */
    {3140, LS_ERR_POISON, NULL},      /* invalid JSON text */
    {3159, LS_ERR_FATAL, TLS},        /* the server demands TLS */
    {3819, LS_ERR_POISON, NULL},      /* check constraint */
    {3988, LS_ERR_POISON, NULL},      /* cannot convert the string */
    {4025, LS_ERR_POISON, NULL},      /* check constraint */
    {4031, LS_ERR_RETRY, NULL},       /* disconnected for inactivity */
    {4151, LS_ERR_FATAL, GRANT},      /* account locked */
};

static const struct entry *find(unsigned code)
{
    size_t low = 0, high = LS_COUNT(table);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (table[middle].code == code)
            return &table[middle];
        if (table[middle].code < code)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

enum ls_err_class ls_mysql_classify(unsigned code)
{
    const struct entry *entry = find(code);
    return entry != NULL ? entry->class : LS_ERR_UNKNOWN;
}

bool ls_mysql_table_sorted(void)
{
    for (size_t i = 1; i < LS_COUNT(table); i++)
        if (table[i - 1].code >= table[i].code)
            return false;
    return true;
}

const char *ls_mysql_advice(unsigned code)
{
    const struct entry *entry = find(code);
    return entry != NULL && entry->advice != NULL ? entry->advice : "";
}

/* One number is a handshake that was cut and a certificate that is refused: only the text differs.
 */
static enum ls_err_class classify(unsigned code, const char *text)
{
    if (code == TLS_FAILED && strcasestr(text, "certificate") != NULL)
        return LS_ERR_FATAL;
    return ls_mysql_classify(code);
}

int ls_mysql_err(struct ls_err *err, const char *where, unsigned code, const char *text)
{
    const char *advice = ls_mysql_advice(code);
    const struct entry *entry = find(code);
    ls_err_set(err, classify(code, text), (int)code, "%s: %.300s (%u%s)%s%s", where, text, code,
               entry != NULL ? "" : ", unknown to lockstep", *advice ? ": " : "", advice);
    err->overload = entry != NULL && entry->overload;
    return -1;
}
