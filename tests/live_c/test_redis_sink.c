/* The Redis lane against a real cluster: what is set, what is refused, and what a failure becomes.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>

#include "redis_fixture.h"
#include "schema/redis_layout.h"

TestSuite(redis_sink, .timeout = 120);

Test(redis_sink, takes_newer_versions_only_and_repairs_equal_ones)
{
    struct redis_fixture f;
    fixture_start(&f);
    fixture_lane_start(&f);
    cr_assert_eq(fixture_apply_one(&f, "rex", 10, "ten", NULL), LS_APPLIED);
    cr_assert_eq(fixture_apply_one(&f, "rex", 10, "other", NULL), LS_STALE);
    cr_assert_eq(fixture_apply_one(&f, "rex", 9, "nine", NULL), LS_STALE);
    cr_assert_eq(fixture_version(&f, "rex"), 10);
    redisReply *reply = fixture_get(&f, "rex");
    cr_assert_not_null(memmem(reply->str, reply->len, "ten", 3));
    freeReplyObject(reply);

    struct ls_unit repair = {.repair = true};
    const struct ls_record *equal = fixture_record(&f, "rex", 10, "mended");
    const struct ls_record *newer = fixture_record(&f, "tom", 10, "new");
    fixture_apply(&f, &repair);
    cr_assert_eq(equal->verdict, LS_APPLIED);
    cr_assert_eq(newer->verdict, LS_APPLIED);
    reply = fixture_get(&f, "rex");
    cr_assert_not_null(memmem(reply->str, reply->len, "mended", 6));
    freeReplyObject(reply);
    struct ls_unit late = {.repair = true};
    const struct ls_record *older = fixture_record(&f, "rex", 9, "late");
    fixture_apply(&f, &late);
    cr_assert_eq(older->verdict, LS_STALE);

    cr_assert_eq(fixture_apply_one(&f, "rex", 11, NULL, NULL), LS_APPLIED, "a delete");
    cr_assert_eq(fixture_version(&f, "rex"), 11, "a delete is kept");
    cr_assert_eq(fixture_apply_one(&f, "rex", 10, "back", NULL), LS_STALE, "no way back");
    fixture_stop(&f);
}

Test(redis_sink, compares_all_63_bits_of_a_version)
{
    static const uint64_t edges[] = {1u << 7,
                                     1u << 15,
                                     1ull << 31,
                                     1ull << 32,
                                     1ull << 39,
                                     1ull << 47,
                                     1ull << 53,
                                     1ull << 62,
                                     (1ull << 48) + (1u << 31),
                                     (1ull << 48) + (1ull << 32)};
    struct redis_fixture f;
    fixture_start(&f);
    fixture_lane_start(&f);
    for (size_t i = 0; i < LS_COUNT(edges); i++) {
        char key[32];
        snprintf(key, sizeof(key), "edge-%zu", i);
        for (int step = -1; step <= 1; step++) {
            uint64_t version = edges[i] + (uint64_t)step;
            cr_assert_eq(fixture_apply_one(&f, key, version, "x", NULL), LS_APPLIED, "%lu",
                         version);
            cr_assert_eq(fixture_apply_one(&f, key, version, "x", NULL), LS_STALE, "%lu", version);
            cr_assert_eq(fixture_apply_one(&f, key, version - 1, "x", NULL), LS_STALE, "%lu",
                         version);
            cr_assert_eq(fixture_version(&f, key), version);
        }
        /* Halves that pull in different directions. */
        cr_assert_eq(fixture_apply_one(&f, key, (1ull << 62) + (3ull << 32), "x", NULL),
                     LS_APPLIED);
        cr_assert_eq(
            fixture_apply_one(&f, key, (1ull << 62) + (2ull << 32) + UINT32_MAX, "x", NULL),
            LS_STALE);
    }
    fixture_stop(&f);
}

Test(redis_sink, replaces_what_has_no_version)
{
    struct redis_fixture f;
    fixture_start(&f);
    fixture_lane_start(&f);
    int node = fixture_owner(ls_redis_slot("odd", 3));
    fixture_do(&f, node, "SET pet:{odd} short");
    cr_assert_eq(fixture_apply_one(&f, "odd", 1, "x", NULL), LS_APPLIED);
    fixture_do(&f, node, "DEL pet:{odd}");
    fixture_do(&f, node, "HSET pet:{odd} field value");
    cr_assert_eq(fixture_apply_one(&f, "odd", 1, "x", NULL), LS_APPLIED);
    cr_assert_eq(fixture_version(&f, "odd"), 1);
    /* An expiry that somebody set would drop the member later. */
    fixture_do(&f, node, "EXPIRE pet:{odd} 1000");
    cr_assert_eq(fixture_apply_one(&f, "odd", 2, "x", NULL), LS_APPLIED);
    redisReply *reply = fixture_command(&f, node, "TTL pet:{odd}");
    cr_assert_eq(reply->integer, -1);
    freeReplyObject(reply);
    fixture_stop(&f);
}

Test(redis_sink, loads_its_scripts_again_after_a_flush)
{
    struct redis_fixture f;
    fixture_start(&f);
    fixture_lane_start(&f);
    cr_assert_eq(fixture_apply_one(&f, "rex", 1, "x", NULL), LS_APPLIED);
    for (int node = 0; node < FIXTURE_MASTERS; node++)
        fixture_do(&f, node, "SCRIPT FLUSH");
    struct ls_unit unit = {0};
    ls_arena_reset(&f.arena);
    for (int i = 0; i < 1000; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        fixture_record(&f, key, 5, "x");
    }
    fixture_apply(&f, &unit);
    cr_assert_eq(fixture_count(&f, LS_APPLIED), 1000);
    cr_assert_eq(unit.err.class, LS_ERR_NONE, "%s", unit.err.text);
    fixture_stop(&f);
}

/* The id of a node, as CLUSTER SETSLOT wants it. */
static void node_id(struct redis_fixture *f, int node, char id[64])
{
    redisReply *reply = fixture_command(f, node, "CLUSTER MYID");
    snprintf(id, 64, "%s", reply->str);
    freeReplyObject(reply);
}

Test(redis_sink, follows_a_slot_that_is_moved_under_it)
{
    struct redis_fixture f;
    char from_id[64], to_id[64];
    fixture_start(&f);
    fixture_lane_start(&f);
    uint16_t slot = ls_redis_slot("rex", 3);
    int from = fixture_owner(slot), to = (from + 1) % FIXTURE_MASTERS;
    node_id(&f, from, from_id);
    node_id(&f, to, to_id);
    cr_assert_eq(fixture_apply_one(&f, "rex", 1, "x", NULL), LS_APPLIED);

    fixture_do(&f, to, "CLUSTER SETSLOT %d IMPORTING %s", slot, from_id);
    fixture_do(&f, from, "CLUSTER SETSLOT %d MIGRATING %s", slot, to_id);
    cr_assert_eq(fixture_apply_one(&f, "rex", 2, "x", NULL), LS_APPLIED, "still at its old place");
    fixture_do(&f, from, "MIGRATE 127.0.0.1 %d %s 0 5000 AUTH2 tester %s KEYS pet:{rex}",
               f.ports[to], "", "open sesame");
    struct ls_err err;
    cr_assert_eq(fixture_apply_one(&f, "rex", 2, "x", &err), LS_STALE, "ASK: the guard came along");
    cr_assert_eq(err.class, LS_ERR_NONE, "%s", err.text);
    fixture_do(&f, to, "SCRIPT FLUSH");
    cr_assert_eq(fixture_apply_one(&f, "rex", 3, "x", &err), LS_APPLIED, "%s", err.text);

    fixture_do(&f, to, "CLUSTER SETSLOT %d NODE %s", slot, to_id);
    fixture_do(&f, from, "CLUSTER SETSLOT %d NODE %s", slot, to_id);
    cr_assert_eq(fixture_apply_one(&f, "rex", 4, "x", &err), LS_APPLIED, "MOVED: %s", err.text);
    cr_assert_eq(fixture_apply_one(&f, "rex", 4, "x", &err), LS_STALE, "%s", err.text);
    redisReply *reply = fixture_command(&f, to, "GETRANGE pet:{rex} 0 7");
    cr_assert_eq(reply->len, LS_REDIS_VERSION_BYTES);
    cr_assert_eq(ls_redis_get_version(reply->str), 4);
    freeReplyObject(reply);
    fixture_stop(&f);
}

/* A cluster and a lane, and "rex" applied with version 1; returns the node that has it. */
static int start_with_rex(struct redis_fixture *f)
{
    fixture_start(f);
    fixture_lane_start(f);
    cr_assert_eq(fixture_apply_one(f, "rex", 1, "x", NULL), LS_APPLIED);
    return fixture_owner(ls_redis_slot("rex", 3));
}

Test(redis_sink, a_dead_node_is_a_retry_and_its_return_heals_it)
{
    struct redis_fixture f;
    struct ls_err err;
    int node = start_with_rex(&f);
    fixture_kill(&f, node);
    cr_assert_eq(fixture_apply_one(&f, "rex", 2, "x", &err), LS_RETRY);
    cr_assert_eq(err.class, LS_ERR_RETRY);
    cr_assert_neq(err.text[0], '\0');
    cr_assert_eq(fixture_apply_one(&f, "rex", 2, "x", &err), LS_RETRY);

    fixture_boot(&f, node);
    fixture_wait_ok(&f);
    cr_assert_eq(fixture_apply_one(&f, "rex", 2, "x", &err), LS_APPLIED, "%s", err.text);
    cr_assert_eq(fixture_version(&f, "rex"), 2);

    /* All of them: the map itself has to be found again. */
    for (int i = 0; i < FIXTURE_MASTERS; i++)
        fixture_kill(&f, i);
    cr_assert_eq(fixture_apply_one(&f, "rex", 3, "x", &err), LS_RETRY);
    for (int i = 0; i < FIXTURE_MASTERS; i++)
        fixture_boot(&f, i);
    fixture_wait_ok(&f);
    cr_assert_eq(fixture_apply_one(&f, "rex", 3, "x", &err), LS_APPLIED, "%s", err.text);
    fixture_stop(&f);
}

Test(redis_sink, a_node_that_hangs_is_a_retry_within_the_request_timeout)
{
    struct redis_fixture f;
    struct ls_err err;
    int node = start_with_rex(&f);
    kill(f.pids[node], SIGSTOP);
    cr_assert_eq(fixture_apply_one(&f, "rex", 2, "x", &err), LS_RETRY);
    cr_assert_not_null(strstr(err.text, "answered none of 1 requests"), "%s", err.text);
    kill(f.pids[node], SIGCONT);
    fixture_wait_ok(&f);
    /* The first attempt may have been carried out after all: either is right, and nothing is lost.
     */
    enum ls_verdict verdict = fixture_apply_one(&f, "rex", 2, "x", &err);
    cr_assert(verdict == LS_APPLIED || verdict == LS_STALE, "%s", err.text);
    cr_assert_eq(fixture_version(&f, "rex"), 2);
    fixture_stop(&f);
}

Test(redis_sink, a_full_server_is_a_retry)
{
    struct redis_fixture f;
    struct ls_err err;
    int node = start_with_rex(&f);
    fixture_do(&f, node, "CONFIG SET maxmemory 1");
    cr_assert_eq(fixture_apply_one(&f, "rex", 2, "x", &err), LS_RETRY);
    cr_assert_not_null(strstr(err.text, "OOM"), "%s", err.text);
    fixture_do(&f, node, "CONFIG SET maxmemory 0");
    cr_assert_eq(fixture_apply_one(&f, "rex", 2, "x", &err), LS_APPLIED, "%s", err.text);
    fixture_stop(&f);
}

/* A lane of its own per attempt: settings are checked when a node is connected. */
static enum ls_verdict with_new_lane(struct redis_fixture *f, struct ls_err *ret_err)
{
    fixture_lane_start(f);
    enum ls_verdict verdict = fixture_apply_one(f, "rex", 1, "x", ret_err);
    fixture_lane_stop(f);
    return verdict;
}

Test(redis_sink, a_wrong_set_up_is_fatal_and_says_what_to_do)
{
    struct redis_fixture f;
    struct ls_err err;
    fixture_start(&f);
    char *password = f.config.password;
    f.config.password = (char *)"wrong";
    cr_assert_eq(with_new_lane(&f, &err), LS_FATAL);
    cr_assert_not_null(strstr(err.text, "WRONGPASS"), "%s", err.text);
    cr_assert_not_null(strstr(err.text, "password_file"), "%s", err.text);
    cr_assert_null(strstr(err.text, "wrong"), "a password in a message: %s", err.text);
    char *user = f.config.user;
    f.config.user = f.config.password = NULL;
    cr_assert_eq(with_new_lane(&f, &err), LS_FATAL);
    cr_assert_not_null(strstr(err.text, "NOAUTH"), "%s", err.text);
    f.config.user = user;
    f.config.password = password;
    cr_assert_eq(with_new_lane(&f, &err), LS_APPLIED, "%s", err.text);

    for (int i = 0; i < FIXTURE_MASTERS; i++)
        fixture_do(&f, i, "ACL SETUSER tester -evalsha");
    cr_assert_eq(with_new_lane(&f, &err), LS_FATAL);
    cr_assert_not_null(strstr(err.text, "NOPERM"), "%s", err.text);
    for (int i = 0; i < FIXTURE_MASTERS; i++)
        fixture_do(&f, i, "ACL SETUSER tester +evalsha -getrange");
    cr_assert_eq(with_new_lane(&f, &err), LS_FATAL, "what can't be compared is not set: %s",
                 err.text);
    for (int i = 0; i < FIXTURE_MASTERS; i++)
        fixture_do(&f, i, "ACL SETUSER tester +getrange -script");
    cr_assert_eq(with_new_lane(&f, &err), LS_FATAL, "the greeting is fine, what follows is not");
    cr_assert_not_null(strstr(err.text, "SCRIPT LOAD"), "%s", err.text);
    cr_assert_not_null(strstr(err.text, "NOPERM"), "%s", err.text);
    for (int i = 0; i < FIXTURE_MASTERS; i++)
        fixture_do(&f, i, "ACL SETUSER tester +script");

    int node = fixture_owner(ls_redis_slot("rex", 3));
    fixture_do(&f, node, "CONFIG SET maxmemory-policy allkeys-lru");
    cr_assert_eq(with_new_lane(&f, &err), LS_FATAL);
    cr_assert_not_null(strstr(err.text, "noeviction"), "%s", err.text);
    fixture_do(&f, node, "CONFIG SET maxmemory-policy noeviction");
    cr_assert_eq(with_new_lane(&f, &err), LS_STALE, "%s", err.text);

    f.config.tls.on = true;
    struct ls_sink *sink;
    cr_assert_eq(ls_redis_sink_ops.open(&f.config, &sink, &err), -1);
    cr_assert_eq(err.class, LS_ERR_FATAL);
    fixture_stop(&f);
}

Test(redis_sink, keeps_several_units_in_flight_and_leaves_verdicts_alone)
{
    enum { UNITS = 12, EACH = 300 };
    struct redis_fixture f;
    struct ls_unit units[UNITS] = {0};
    fixture_start(&f);
    fixture_lane_start(&f);
    for (int u = 0; u < UNITS; u++) {
        units[u].records = &f.pointers[f.n_records];
        for (int i = 0; i < EACH; i++) {
            char key[16];
            snprintf(key, sizeof(key), "k%d", i);
            fixture_record(&f, key, (uint64_t)(u + 1), "x");
        }
        units[u].n_records = EACH;
        units[u].records[0]->verdict = LS_SUPERSEDED;
        ls_lane_submit(f.lane, &units[u]);
    }
    int back = 0;
    while (back < UNITS) {
        struct pollfd pfd = {.fd = ls_returns_fd(f.returns), .events = POLLIN};
        cr_assert_eq(poll(&pfd, 1, 30000), 1, "%d of %d units came back", back, UNITS);
        for (struct ls_unit *unit = ls_returns_take(f.returns); unit; unit = unit->next) {
            cr_assert_eq(unit->err.class, LS_ERR_NONE, "%s", unit->err.text);
            back++;
        }
    }
    cr_assert_eq(fixture_count(&f, LS_SUPERSEDED), UNITS);
    cr_assert_eq(fixture_count(&f, LS_APPLIED) + fixture_count(&f, LS_STALE), UNITS * (EACH - 1));
    for (int i = 1; i < EACH; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        cr_assert_eq(fixture_version(&f, key), UNITS, "the newest wins, in whatever order");
    }
    cr_assert_eq(fixture_version(&f, "k0"), 0, "not pending, so not work");
    fixture_stop(&f);
}
