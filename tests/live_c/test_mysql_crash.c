/*
 * The MySQL sink and a server that dies: a mariadbd of the test's own in a temporary folder, killed
 * with SIGKILL while a unit is in the middle of its transaction. No grant tables, so an empty
 * folder is all that it needs.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "mysql_fixture.h"
#include "schema/mysql_ddl.h"

#define ENTITY "livecrash"

enum { START_TIMEOUT_MS = 60000, ROWS = 300 };

static struct mysql_fixture f;
static struct ls_mysql_server own;
static char folder[64];
static pid_t server_pid;

static uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, len), 0);
    getsockname(fd, (struct sockaddr *)&address, &len);
    close(fd);
    return ntohs(address.sin_port);
}

/* The server's newest words, for a failure's message. */
static const char *log_tail(void)
{
    static char tail[1500];
    char path[96];
    snprintf(path, sizeof(path), "%s/log", folder);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return "";
    fseek(file, 0, SEEK_END);
    long size = ftell(file),
         from = size > (long)sizeof(tail) - 1 ? size - (long)sizeof(tail) + 1 : 0;
    fseek(file, from, SEEK_SET);
    tail[fread(tail, 1, sizeof(tail) - 1, file)] = '\0';
    fclose(file);
    return tail;
}

static void start_server(void)
{
    char data[96], port[32], socket_path[96];
    snprintf(data, sizeof(data), "--datadir=%s", folder);
    snprintf(port, sizeof(port), "--port=%u", own.port);
    snprintf(socket_path, sizeof(socket_path), "--socket=%s/s", folder);
    server_pid = fork();
    if (server_pid == 0) {
        char log[96];
        snprintf(log, sizeof(log), "%s/log", folder);
        int null = open("/dev/null", O_RDONLY),
            out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(null, 0);
        dup2(out, 1);
        dup2(out, 2);
        setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
        execlp("mariadbd", "mariadbd", "--no-defaults", "--skip-grant-tables", data, port,
               socket_path, "--bind-address=127.0.0.1", "--innodb-log-file-size=16M",
               "--innodb-buffer-pool-size=32M", "--skip-log-bin",
               "--innodb-use-native-aio=0", /* io_uring may hold the files after the kill */
               geteuid() == 0 ? "--user=root" : "--skip-name-resolve", (char *)NULL);
        _exit(127);
    }
    struct ls_mysql mysql = {0};
    struct ls_err err = {0};
    int64_t end_ms = ls_mono_ms() + START_TIMEOUT_MS;
    while (ls_mysql_connect(&mysql, &f.sink, &own, &err) != 0) {
        cr_assert_eq(waitpid(server_pid, NULL, WNOHANG), 0, "mariadbd ended: %s", log_tail());
        cr_assert_lt(ls_mono_ms(), end_ms, "mariadbd does not answer: %s\n%s", err.text,
                     log_tail());
        poll(NULL, 0, 20);
    }
    ls_mysql_close(&mysql);
}

static void end_server(int number)
{
    kill(server_pid, number);
    waitpid(server_pid, NULL, 0);
}

static int remove_one(const char *path, const struct stat *info, int flag, struct FTW *walk)
{
    return remove(path);
}

static void setup(void)
{
    char database[96];
    mysql_fixture_init_bare(&f, ENTITY, 1);
    snprintf(folder, sizeof(folder), "/tmp/lockstep-crash-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    snprintf(database, sizeof(database), "%s/lockstep", folder); /* a folder is a database */
    mkdir(database, 0755);
    own = (struct ls_mysql_server){.host = (char *)"127.0.0.1",
                                   .port = free_port(),
                                   .database = (char *)"lockstep",
                                   .user = (char *)"any",
                                   .password = (char *)"",
                                   .partition_last = f.entity.partitions - 1};
    f.sink.tls.on = false;
    start_server();
    end_server(SIGTERM); /* its new files are whole on disk only after a clean stop */
    start_server();
}

static void teardown(void)
{
    end_server(SIGKILL);
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    mysql_fixture_free(&f);
}

TestSuite(mysql_crash, .init = setup, .fini = teardown, .timeout = 180);

struct job {
    struct ls_mysql_lane *lane;
    struct ls_unit unit;
};

static void *apply_job(void *opaque)
{
    struct job *job = opaque;
    ls_mysql_lane_work(job->lane, &job->unit);
    return NULL;
}

static uint64_t rows_there(void)
{
    static const char sql[] = "SELECT COUNT(*) FROM " ENTITY "_0003";
    struct ls_mysql mysql = {0};
    struct ls_err err = {0};
    MYSQL_RES *rows;
    cr_assert_eq(ls_mysql_connect(&mysql, &f.sink, &own, &err), 0, "%s", err.text);
    cr_assert_eq(ls_mysql_rows(&mysql, sql, sizeof(sql) - 1, &rows, &err), 0, "%s", err.text);
    uint64_t n = strtoull(mysql_fetch_row(rows)[0], NULL, 10);
    mysql_free_result(rows);
    ls_mysql_close(&mysql);
    return n;
}

Test(mysql_crash, a_server_killed_inside_the_transaction_means_retry_and_then_all_is_there)
{
    struct ls_record *records[ROWS];
    struct ls_mysql foreign = {0}, watcher = {0};
    struct ls_err err = {0};
    struct ls_buf ddl = {0};
    for (unsigned i = 0; i < ROWS; i++) {
        char *key = ls_arena_alloc(&f.arena, 16);
        int len = snprintf(key, 16, "k%06u", i);
        records[i] = mysql_put(&f, key, (size_t)len, 10, "crash");
        records[i]->shard = 3;
    }
    cr_assert_eq(ls_mysql_connect(&foreign, &f.sink, &own, &err), 0, "%s", err.text);
    cr_assert_eq(ls_mysql_connect(&watcher, &f.sink, &own, &err), 0, "%s", err.text);
    ls_mysql_create_shard(f.entity.schema, 3, &ddl);
    mysql_must(&foreign, "%s", ls_buf_cstr(&ddl));
    ls_buf_free(&ddl);
    /* The last row is somebody else's for now, so the unit stands still with 299 rows written. */
    mysql_must(&foreign,
               "INSERT INTO " ENTITY "_0003 (id, _at, _deleted, _h, _v) VALUES "
               "('%s', 1, 0, 0, 1), ('%s', 1, 0, 0, 1)",
               records[0]->key, records[ROWS - 1]->key);
    mysql_must(&foreign, "BEGIN; UPDATE " ENTITY "_0003 SET age = 1 WHERE id = '%s'",
               records[ROWS - 1]->key);
    struct job job = {.lane = ls_mysql_lane_new(&f.sink, &own, NULL),
                      .unit = {.records = records, .n_records = ROWS}};
    pthread_t thread;
    pthread_create(&thread, NULL, apply_job, &job);
    char probe[200];
    MYSQL_RES *rows;
    int len = snprintf(probe, sizeof(probe),
                       "SELECT 1 FROM " ENTITY "_0003 WHERE id = '%s' FOR UPDATE NOWAIT",
                       records[0]->key);
    while (ls_mysql_rows(&watcher, probe, (size_t)len, &rows, &err) == 0)
        mysql_free_result(rows); /* until the unit has locked its first row */
    end_server(SIGKILL);
    pthread_join(thread, NULL);
    cr_expect_eq(mysql_count(records, ROWS, LS_RETRY), ROWS);
    cr_expect_eq(job.unit.err.class, LS_ERR_RETRY, "%s", job.unit.err.text);

    for (unsigned i = 0; i < ROWS; i++)
        records[i]->verdict = LS_PENDING;
    job.unit.err = (struct ls_err){0};
    ls_mysql_lane_work(job.lane, &job.unit); /* still down: refused, and retried again */
    cr_expect_eq(mysql_count(records, ROWS, LS_RETRY), ROWS);

    start_server();
    cr_expect_eq(rows_there(), 2, "nothing of the unit stayed");
    for (unsigned i = 0; i < ROWS; i++)
        records[i]->verdict = LS_PENDING;
    job.unit.err = (struct ls_err){0};
    ls_mysql_lane_work(job.lane, &job.unit);
    cr_expect_eq(mysql_count(records, ROWS, LS_APPLIED), ROWS, "%s", job.unit.err.text);
    cr_expect_eq(rows_there(), ROWS);
    cr_expect_eq(ls_mysql_lane_link(job.lane)->doubts, 1, "the server had started again");
    ls_mysql_close(&foreign);
    ls_mysql_close(&watcher);
    ls_mysql_lane_free(job.lane);
}
