/*
 * How fast the lane is beside the ceiling: a bare client that sends the same guarded sets, encoded
 * beforehand, to the same three masters. Reported, never asserted: `meson compile redis_lane_bench`
 * and run it on a quiet machine. LOCKSTEP_BENCH_RECORDS sets how many (300,000).
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "consumers/redis_encode.h"
#include "redis_fixture.h"

enum { UNIT = 4000, IN_FLIGHT = 4, KEYS = 100000, BODY = 250, KEY_MAX = 24, ROUNDS = 3 };

TestSuite(bench, .timeout = 600);

struct bench {
    struct redis_fixture f;
    uint32_t n;
    struct ls_record *records;
    struct ls_record **pointers;
    char *keys;
    char body[BODY];
};

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* CPU seconds that the masters have used: says more than the rate does on a busy machine. */
static double servers_cpu_s(struct redis_fixture *f)
{
    double sum = 0;
    for (int i = 0; i < FIXTURE_MASTERS; i++) {
        redisReply *reply = fixture_command(f, i, "INFO cpu");
        sum += strtod(strstr(reply->str, "used_cpu_user:") + strlen("used_cpu_user:"), NULL);
        sum += strtod(strstr(reply->str, "used_cpu_sys:") + strlen("used_cpu_sys:"), NULL);
        freeReplyObject(reply);
    }
    return sum;
}

struct stopwatch {
    int64_t start_us;
    double cpu_s, servers_cpu_s;
};

static struct stopwatch start(struct bench *b)
{
    double servers_s = servers_cpu_s(&b->f);
    return (struct stopwatch){ls_mono_us(), cpu_s(), servers_s};
}

static void report(struct bench *b, const char *what, struct stopwatch watch, unsigned applied)
{
    double s = (double)(ls_mono_us() - watch.start_us) / 1e6, used_s = cpu_s() - watch.cpu_s;
    double servers_s = servers_cpu_s(&b->f) - watch.servers_cpu_s;
    fprintf(stderr,
            "%-20s %8.0f records/s  CPU-s per million: client %.2f, masters %.2f  %u applied\n",
            what, b->n / s, used_s * 1e6 / b->n, servers_s * 1e6 / b->n, applied);
}

/* Records over skewed keys (the product of two uniform numbers). */
static void make(struct bench *b)
{
    const char *n = getenv("LOCKSTEP_BENCH_RECORDS");
    b->n = n ? (uint32_t)strtoul(n, NULL, 10) : 300000;
    b->records = calloc(b->n, sizeof(*b->records));
    b->pointers = calloc(b->n, sizeof(*b->pointers));
    b->keys = calloc(b->n, KEY_MAX);
    memset(b->body, 'b', sizeof(b->body));
    unsigned seed = 1;
    for (uint32_t i = 0; i < b->n; i++) {
        double at = (double)rand_r(&seed) / RAND_MAX * rand_r(&seed) / RAND_MAX;
        char *key = b->keys + (size_t)i * KEY_MAX;
        int len = snprintf(key, KEY_MAX, "member-%07u", (unsigned)(at * (KEYS - 1)));
        b->records[i] = (struct ls_record){.key = key,
                                           .key_len = (uint16_t)len,
                                           .body = b->body,
                                           .body_len = BODY,
                                           .version = i + 1};
        b->pointers[i] = &b->records[i];
    }
}

static void run_lane(struct bench *b, const char *what)
{
    uint32_t n_units = (b->n + UNIT - 1) / UNIT, sent = 0, back = 0;
    struct ls_unit *units = calloc(n_units, sizeof(*units));
    unsigned applied = 0;
    for (uint32_t i = 0; i < b->n; i++)
        b->records[i].verdict = LS_PENDING;
    for (uint32_t u = 0; u < n_units; u++) {
        units[u].records = b->pointers + (size_t)u * UNIT;
        units[u].n_records = u + 1 < n_units ? UNIT : b->n - u * UNIT;
    }
    struct stopwatch watch = start(b);
    while (back < n_units) {
        while (sent < n_units && sent - back < IN_FLIGHT + 2)
            ls_lane_submit(b->f.lane, &units[sent++]);
        struct pollfd pfd = {.fd = ls_returns_fd(b->f.returns), .events = POLLIN};
        cr_assert_eq(poll(&pfd, 1, 30000), 1);
        for (struct ls_unit *unit = ls_returns_take(b->f.returns); unit; unit = unit->next) {
            cr_assert_eq(unit->err.class, LS_ERR_NONE, "%s", unit->err.text);
            back++;
        }
    }
    for (uint32_t i = 0; i < b->n; i++)
        applied += b->records[i].verdict == LS_APPLIED;
    report(b, what, watch, applied);
    free(units);
}

/* Sends what fits and counts the answers (a line each); -1 on a lost connection. */
static void serve(struct pollfd *pfd, const struct ls_buf *out, size_t *sent, unsigned *lines,
                  unsigned *applied)
{
    char bytes[65536];
    if (pfd->revents & POLLOUT) {
        ssize_t n =
            send(pfd->fd, out->data + *sent, out->len - *sent < 262144 ? out->len - *sent : 262144,
                 MSG_NOSIGNAL | MSG_DONTWAIT);
        cr_assert(n > 0 || errno == EAGAIN);
        *sent += n > 0 ? (size_t)n : 0;
    }
    if (pfd->revents & POLLIN) {
        ssize_t n = recv(pfd->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        cr_assert(n > 0);
        for (ssize_t i = 0; i < n; i++) {
            *lines += bytes[i] == '\n';
            *applied += bytes[i] == '1';
        }
    }
    pfd->events = (short)(POLLIN | (*sent < out->len ? POLLOUT : 0));
}

static void run_ceiling(struct bench *b, const char *what)
{
    struct ls_buf out[FIXTURE_MASTERS] = {0};
    struct pollfd pfds[FIXTURE_MASTERS];
    size_t sent[FIXTURE_MASTERS] = {0};
    unsigned lines = 0, applied = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        const struct ls_record *record = &b->records[i];
        int node = fixture_owner(ls_redis_slot(record->key, record->key_len));
        ls_redis_encode_entry(&out[node], b->f.schema, record, false);
    }
    for (int i = 0; i < FIXTURE_MASTERS; i++)
        pfds[i] = (struct pollfd){.fd = b->f.links[i]->fd, .events = POLLIN | POLLOUT};
    struct stopwatch watch = start(b);
    while (lines < b->n) {
        cr_assert(poll(pfds, FIXTURE_MASTERS, 30000) > 0);
        for (int i = 0; i < FIXTURE_MASTERS; i++)
            serve(&pfds[i], &out[i], &sent[i], &lines, &applied);
    }
    report(b, what, watch, applied);
    for (int i = 0; i < FIXTURE_MASTERS; i++)
        ls_buf_free(&out[i]);
}

static void empty(struct bench *b)
{
    for (int i = 0; i < FIXTURE_MASTERS; i++)
        fixture_do(&b->f, i, "FLUSHALL");
}

Test(bench, guarded_sets_through_the_lane_beside_the_ceiling)
{
    static struct bench b;
    fixture_start(&b.f);
    make(&b);
    fixture_lane_start(&b.f);
    cr_assert_eq(fixture_apply_one(&b.f, "warm", 1, "x", NULL), LS_APPLIED); /* loads the script */
    for (int i = 0; i < FIXTURE_MASTERS; i++)
        fixture_do(&b.f, i, "SCRIPT LOAD %s", ls_redis_script_text(LS_REDIS_SET_NEWER));
    for (int round = 0; round < ROUNDS; round++) {
        empty(&b);
        run_ceiling(&b, "ceiling, first load");
        run_ceiling(&b, "ceiling, all stale");
        empty(&b);
        run_lane(&b, "lane, first load");
        run_lane(&b, "lane, all stale");
    }
    fixture_stop(&b.f);
    free(b.records);
    free(b.pointers);
    free(b.keys);
}
