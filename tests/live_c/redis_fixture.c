#include "redis_fixture.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "schema/redis_layout.h"

#define USER     "tester"
#define PASSWORD "open sesame"

static const char SCHEMA[] = "entity: pet\n"
                             "version: 1\n"
                             "redis_prefix: pet\n"
                             "expected_records: 1000\n"
                             "average_bytes: 100\n"
                             "fields:\n"
                             "  - {number: 1, name: id, type: string, key: true}\n"
                             "  - {number: 2, name: name, type: string, length: 2000}\n";

/* A port that nobody listens on. Another may take it before we do: then the boot fails loudly. */
static uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 &&
              getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void exec_server(const struct redis_fixture *f, int node)
{
    char port[8], bus[8], dir[96], nodes[32];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(port, sizeof(port), "%u", f->ports[node]);
    snprintf(bus, sizeof(bus), "%u", f->bus_ports[node]);
    snprintf(dir, sizeof(dir), "%s", f->dir);
    snprintf(nodes, sizeof(nodes), "nodes-%d.conf", node);
    char aof[16], log[16];
    snprintf(aof, sizeof(aof), "aof-%d", node);
    snprintf(log, sizeof(log), "log-%d", node);
    execlp("redis-server", "redis-server", "--port", port, "--cluster-port", bus, "--dir", dir,
           "--cluster-config-file", nodes, "--appenddirname", aof, "--logfile", log,
           "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--bind", "127.0.0.1",
           "--appendonly", "yes", "--save", "", "--user", USER, "on", ">" PASSWORD, "~*", "&*",
           "+@all", "--user", "default", "off", (char *)NULL);
    _exit(127);
}

void fixture_boot(struct redis_fixture *f, int node)
{
    pid_t pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0)
        exec_server(f, node);
    f->pids[node] = pid;
    int64_t deadline_ms = ls_mono_ms() + 20000;
    for (;;) {
        redisReply *reply = NULL;
        if (f->links[node] == NULL) {
            f->links[node] = redisConnect("127.0.0.1", f->ports[node]);
            reply = redisCommand(f->links[node], "AUTH %s %s", USER, PASSWORD);
        }
        bool ready = reply != NULL && reply->type == REDIS_REPLY_STATUS;
        freeReplyObject(reply);
        if (ready)
            return;
        redisFree(f->links[node]);
        f->links[node] = NULL;
        cr_assert(ls_mono_ms() < deadline_ms, "redis-server on port %u did not start; see %s",
                  f->ports[node], f->dir);
        poll(NULL, 0, 20); /* until it listens: the condition is the AUTH above */
    }
}

void fixture_kill(struct redis_fixture *f, int node)
{
    if (f->links[node])
        redisFree(f->links[node]);
    f->links[node] = NULL;
    if (f->pids[node] <= 0)
        return;
    kill(f->pids[node], SIGKILL);
    waitpid(f->pids[node], NULL, 0);
    f->pids[node] = 0;
}

static redisReply *command(struct redis_fixture *f, int node, const char *format, va_list args)
{
    redisReply *reply = redisvCommand(f->links[node], format, args);
    cr_assert_not_null(reply, "node %d: %s: %s", node, format, f->links[node]->errstr);
    return reply;
}

redisReply *fixture_command(struct redis_fixture *f, int node, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = command(f, node, format, args);
    va_end(args);
    return reply;
}

void fixture_do(struct redis_fixture *f, int node, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = command(f, node, format, args);
    va_end(args);
    cr_assert_neq(reply->type, REDIS_REPLY_ERROR, "node %d: %s: %s", node, format, reply->str);
    freeReplyObject(reply);
}

void fixture_wait_ok(struct redis_fixture *f)
{
    int64_t deadline_ms = ls_mono_ms() + 30000;
    for (int node = 0; node < FIXTURE_MASTERS;) {
        redisReply *reply = fixture_command(f, node, "CLUSTER INFO");
        bool ok = strstr(reply->str, "cluster_state:ok") != NULL &&
                  strstr(reply->str, "cluster_slots_ok:16384") != NULL;
        freeReplyObject(reply);
        if (ok) {
            node++;
            continue;
        }
        cr_assert(ls_mono_ms() < deadline_ms, "the cluster did not form; see %s", f->dir);
        poll(NULL, 0, 20);
    }
}

static int first_slot(int node)
{
    return LS_REDIS_SLOTS * node / FIXTURE_MASTERS;
}

int fixture_owner(uint16_t slot)
{
    int node = FIXTURE_MASTERS - 1;
    while (slot < first_slot(node))
        node--;
    return node;
}

static void configure(struct redis_fixture *f)
{
    struct ls_err err = {0};
    cr_assert_eq(ls_schema_parse("test", SCHEMA, sizeof(SCHEMA) - 1, &f->schema, &err), 0, "%s",
                 err.text);
    f->entity = (struct ls_entity_config){.name = (char *)"pet",
                                          .generation = 1,
                                          .partitions = FIXTURE_PARTITIONS,
                                          .schema = f->schema};
    for (int i = 0; i < FIXTURE_MASTERS; i++)
        f->nodes[i] = (struct ls_redis_node){.host = (char *)"127.0.0.1", .port = f->ports[i]};
    f->config = (struct ls_sink_config){.name = (char *)"redis-t",
                                        .kind = LS_SINK_REDIS,
                                        .entity = &f->entity,
                                        .batches_in_flight = 4,
                                        .connect_timeout_ms = 1000,
                                        .request_timeout_ms = 1500,
                                        .nodes = f->nodes,
                                        .n_nodes = FIXTURE_MASTERS,
                                        .user = (char *)USER,
                                        .password = (char *)PASSWORD};
}

void fixture_start(struct redis_fixture *f)
{
    memset(f, 0, sizeof(*f));
    snprintf(f->dir, sizeof(f->dir), "/tmp/lockstep-redis-XXXXXX");
    cr_assert_not_null(mkdtemp(f->dir));
    for (int i = 0; i < FIXTURE_MASTERS; i++) {
        f->ports[i] = free_port();
        f->bus_ports[i] = free_port();
        fixture_boot(f, i);
        fixture_do(f, i, "CLUSTER SET-CONFIG-EPOCH %d", i + 1);
        fixture_do(f, i, "CLUSTER ADDSLOTSRANGE %d %d", first_slot(i), first_slot(i + 1) - 1);
        if (i > 0)
            fixture_do(f, 0, "CLUSTER MEET 127.0.0.1 %d %d", f->ports[i], f->bus_ports[i]);
    }
    fixture_wait_ok(f);
    configure(f);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

void fixture_stop(struct redis_fixture *f)
{
    if (f->lane)
        fixture_lane_stop(f);
    for (int i = 0; i < FIXTURE_MASTERS; i++)
        fixture_kill(f, i);
    nftw(f->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    ls_schema_free(f->schema);
    ls_arena_free(&f->arena);
}

redisReply *fixture_get(struct redis_fixture *f, const char *key)
{
    char name[LS_REDIS_KEY_MAX];
    size_t len = ls_redis_entry_key(f->schema, key, strlen(key), name);
    return fixture_command(f, fixture_owner(ls_redis_slot(name, len)), "GET %b", name, len);
}

uint64_t fixture_version(struct redis_fixture *f, const char *key)
{
    redisReply *reply = fixture_get(f, key);
    uint64_t version = 0;
    if (reply->type == REDIS_REPLY_STRING && reply->len >= LS_REDIS_VERSION_BYTES)
        version = ls_redis_get_version(reply->str);
    freeReplyObject(reply);
    return version;
}

void fixture_lane_start(struct redis_fixture *f)
{
    struct ls_err err = {0};
    cr_assert_eq(ls_redis_sink_ops.open(&f->config, &f->sink, &err), 0, "%s", err.text);
    f->returns = ls_returns_new();
    f->lane = ls_lane_start(&ls_redis_sink_ops, f->sink, 0, f->returns, &err);
    cr_assert_not_null(f->lane, "%s", err.text);
}

void fixture_lane_stop(struct redis_fixture *f)
{
    cr_assert_null(ls_lane_stop(f->lane), "units were left in the lane");
    f->lane = NULL;
    ls_returns_free(f->returns);
    ls_redis_sink_ops.close(f->sink);
}

struct ls_record *fixture_record(struct redis_fixture *f, const char *key, uint64_t version,
                                 const char *name)
{
    struct ls_envelope envelope = {.schema_version = 1, .op = name ? LS_OP_PUT : LS_OP_DELETE};
    struct ls_value value = {.present = true};
    struct ls_buf body = {0};
    cr_assert(f->n_records < FIXTURE_RECORDS_MAX);
    if (name)
        value.text = (struct ls_span){name, (uint32_t)strlen(name)};
    ls_wire_encode(f->schema, &envelope, name ? &value : NULL, &body);
    char *bytes = ls_arena_alloc(&f->arena, body.len + strlen(key));
    memcpy(bytes, key, strlen(key));
    memcpy(bytes + strlen(key), body.data, body.len);
    struct ls_record *record = &f->records[f->n_records];
    f->pointers[f->n_records++] = record;
    *record = (struct ls_record){.key = bytes,
                                 .key_len = (uint16_t)strlen(key),
                                 .body = bytes + strlen(key),
                                 .body_len = (uint32_t)body.len,
                                 .version = version,
                                 .deleted = name == NULL};
    ls_buf_free(&body);
    return record;
}

void fixture_apply(struct redis_fixture *f, struct ls_unit *unit)
{
    unit->records = f->pointers;
    unit->n_records = f->n_records;
    f->n_records = 0;
    unit->err = (struct ls_err){0};
    ls_lane_submit(f->lane, unit);
    int64_t deadline_ms = ls_mono_ms() + 30000;
    for (;;) {
        struct ls_unit *back = ls_returns_take(f->returns);
        if (back != NULL) {
            cr_assert_eq(back, unit);
            break;
        }
        cr_assert(ls_mono_ms() < deadline_ms, "the unit did not come back");
        struct pollfd pfd = {.fd = ls_returns_fd(f->returns), .events = POLLIN};
        poll(&pfd, 1, 1000);
    }
    for (uint32_t i = 0; i < unit->n_records; i++)
        cr_assert_neq(unit->records[i]->verdict, LS_PENDING, "record %u has no verdict", i);
}

void fixture_look(struct redis_fixture *f, bool setup, struct ls_mark marks[FIXTURE_PARTITIONS],
                  struct ls_look *ret_look, struct ls_unit *ret_unit)
{
    for (int32_t i = 0; i < FIXTURE_PARTITIONS; i++)
        marks[i] = (struct ls_mark){.partition = i};
    *ret_look = (struct ls_look){.setup = setup};
    *ret_unit = (struct ls_unit){.marks = marks, .n_marks = FIXTURE_PARTITIONS, .look = ret_look};
    fixture_apply(f, ret_unit);
}

enum ls_verdict fixture_apply_one(struct redis_fixture *f, const char *key, uint64_t version,
                                  const char *name, struct ls_err *ret_err)
{
    struct ls_unit unit = {0};
    ls_arena_reset(&f->arena);
    const struct ls_record *record = fixture_record(f, key, version, name);
    fixture_apply(f, &unit);
    if (ret_err)
        *ret_err = unit.err;
    return record->verdict;
}

unsigned fixture_count(const struct redis_fixture *f, enum ls_verdict verdict)
{
    unsigned n = 0;
    for (uint32_t i = 0; i < FIXTURE_RECORDS_MAX; i++)
        n += f->records[i].key != NULL && f->records[i].verdict == verdict;
    return n;
}
