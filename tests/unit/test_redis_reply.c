#include <criterion/criterion.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/redis_cluster.h"

static redisReply error_reply(const char *text)
{
    return (redisReply){.type = REDIS_REPLY_ERROR, .str = (char *)text, .len = strlen(text)};
}

Test(redis_reply, errors_are_judged_by_their_first_word)
{
    static const struct {
        const char *text;
        enum ls_redis_answer answer;
        enum ls_err_class class;
    } cases[] = {
        {"MOVED 3999 127.0.0.1:6381", LS_REDIS_MOVED, LS_ERR_RETRY},
        {"ASK 3999 127.0.0.1:6381", LS_REDIS_ASK, LS_ERR_RETRY},
        {"TRYAGAIN Multiple keys request during rehashing of slot", LS_REDIS_TRYAGAIN,
         LS_ERR_RETRY},
        {"CLUSTERDOWN The cluster is down", LS_REDIS_HEALS, LS_ERR_RETRY},
        {"LOADING Redis is loading the dataset in memory", LS_REDIS_HEALS, LS_ERR_RETRY},
        {"READONLY You can't write against a read only replica.", LS_REDIS_HEALS, LS_ERR_RETRY},
        {"MASTERDOWN Link with MASTER is down", LS_REDIS_HEALS, LS_ERR_RETRY},
        {"BUSY Redis is busy running a script.", LS_REDIS_HEALS, LS_ERR_RETRY},
        {"OOM command not allowed when used memory > 'maxmemory'.", LS_REDIS_HEALS, LS_ERR_RETRY},
        {"MISCONF Redis is configured to save RDB snapshots", LS_REDIS_HEALS, LS_ERR_RETRY},
        {"ERR max number of clients reached", LS_REDIS_HEALS, LS_ERR_RETRY},
        {"NOSCRIPT No matching script.", LS_REDIS_NOSCRIPT, LS_ERR_RETRY},
        {"NOAUTH Authentication required.", LS_REDIS_SETUP, LS_ERR_FATAL},
        {"WRONGPASS invalid username-password pair", LS_REDIS_SETUP, LS_ERR_FATAL},
        {"NOPERM this user has no permissions", LS_REDIS_SETUP, LS_ERR_FATAL},
        {"ERR The user executing the script can't run this command", LS_REDIS_SETUP, LS_ERR_FATAL},
        {"ERR This instance has cluster support disabled", LS_REDIS_SETUP, LS_ERR_FATAL},
        {"ERR something new", LS_REDIS_UNKNOWN, LS_ERR_UNKNOWN},
        {"MOVED", LS_REDIS_UNKNOWN, LS_ERR_UNKNOWN},
        {"", LS_REDIS_UNKNOWN, LS_ERR_UNKNOWN},
    };
    for (size_t i = 0; i < LS_COUNT(cases); i++) {
        redisReply reply = error_reply(cases[i].text);
        struct ls_err err = {0};
        cr_assert_eq(ls_redis_judge(&reply), cases[i].answer, "%s", cases[i].text);
        cr_assert_eq(ls_redis_reply_err(&err, &reply, "redis-a h:1"), -1);
        cr_assert_eq(err.class, cases[i].class, "%s", cases[i].text);
        cr_assert_not_null(strstr(err.text, "redis-a h:1"));
        cr_assert_not_null(strstr(err.text, cases[i].text));
        size_t word = strcspn(cases[i].text, " ");
        cr_assert_eq(strlen(err.name), word, "%s", err.name);
        cr_assert_arr_eq(err.name, cases[i].text, word, "%s", err.name);
    }
    redisReply fine = {.type = REDIS_REPLY_STRING, .str = (char *)"NOAUTH", .len = 6};
    cr_assert_eq(ls_redis_judge(&fine), LS_REDIS_OK, "a value that looks like an error");
}

Test(redis_reply, refusals_for_load_are_told_from_outages)
{
    static const struct {
        const char *text;
        bool overload;
    } cases[] = {
        {"OOM command not allowed when used memory > 'maxmemory'.", true},
        {"BUSY Redis is busy running a script.", true},
        {"CLUSTERDOWN The cluster is down", false},
        {"READONLY You can't write against a read only replica.", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        redisReply reply = error_reply(cases[i].text);
        struct ls_err err;
        ls_redis_reply_err(&err, &reply, "redis-a: 10.0.0.1:6379");
        cr_expect_eq(err.overload, cases[i].overload, "%s", cases[i].text);
    }
}

Test(redis_reply, a_message_is_bounded_and_on_one_line)
{
    char text[4096];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    memcpy(text, "ERR a\x1b[31m\n", 11);
    redisReply reply = error_reply(text);
    struct ls_err err = {0};
    ls_redis_reply_err(&err, &reply, "where");
    cr_assert_null(strpbrk(err.text, "\x1b\n"));
    cr_assert(strlen(err.text) < 300);
}

Test(redis_reply, a_refusal_says_what_a_person_does_about_it)
{
    static const char *const cases[][2] = {
        {"OOM command not allowed when used memory > 'maxmemory'.", "raise `maxmemory`"},
        {"WRONGPASS invalid username-password pair", "restart its workers"},
        {"NOAUTH Authentication required.", "restart its workers"},
    };
    for (size_t i = 0; i < LS_COUNT(cases); i++) {
        redisReply reply = error_reply(cases[i][0]);
        struct ls_err err = {0};
        ls_redis_reply_err(&err, &reply, "where");
        cr_expect_not_null(strstr(err.text, cases[i][1]), "%s", err.text);
    }
}

Test(redis_reply, redirects_are_parsed_or_refused)
{
    struct ls_redis_redirect to;
    redisReply reply = error_reply("MOVED 16383 10.0.0.7:65535");
    cr_assert_eq(ls_redis_redirect_parse(&reply, &to), 0);
    cr_assert(to.slot == 16383 && to.port == 65535);
    cr_assert_str_eq(to.host, "10.0.0.7");
    reply = error_reply("ASK 0 2001:db8::1:6379");
    cr_assert_eq(ls_redis_redirect_parse(&reply, &to), 0);
    cr_assert_str_eq(to.host, "2001:db8::1");
    reply = error_reply("MOVED 5 :6379");
    cr_assert_eq(ls_redis_redirect_parse(&reply, &to), 0);
    cr_assert_str_eq(to.host, "", "the host that answered");
    static const char *const bad[] = {
        "MOVED ",          "MOVED 1",      "MOVED 16384 h:1", "MOVED -1 h:1",
        "MOVED x h:1",     "MOVED 1 h",    "MOVED 1 h:",      "MOVED 1 h:0",
        "MOVED 1 h:65536", "MOVED 1 h:1x", "MOVED 1 ?:6379",  "MOVED 1 h:99999999999999999999",
    };
    for (size_t i = 0; i < LS_COUNT(bad); i++) {
        reply = error_reply(bad[i]);
        cr_assert_eq(ls_redis_redirect_parse(&reply, &to), -1, "%s", bad[i]);
    }
}

Test(redis_reply, a_field_of_info_is_found_whole)
{
    static const char info[] =
        "# Memory\r\nmaxmemory_policy_x:no\r\nmaxmemory_policy:noeviction\r\n"
        "loading:0\r\nlast:";
    const char *value;
    size_t len;
    cr_assert(ls_redis_info_field(info, sizeof(info) - 1, "maxmemory_policy", &value, &len));
    cr_assert(len == 10 && memcmp(value, "noeviction", 10) == 0);
    cr_assert(ls_redis_info_field(info, sizeof(info) - 1, "last", &value, &len));
    cr_assert_eq(len, 0);
    cr_assert_not(ls_redis_info_field(info, sizeof(info) - 1, "maxmemory", &value, &len));
    cr_assert_not(ls_redis_info_field(info, 0, "loading", &value, &len));
}

/* The map, from answers made by hiredis's own reader. */

struct map {
    struct ls_redis_cluster *cluster;
    redisReader *reader;
    redisReply *reply;
};

static void map_init(struct map *map)
{
    static struct ls_redis_node seed = {.host = (char *)"seed", .port = 7000};
    struct ls_sink_config config = {.name = (char *)"r", .nodes = &seed, .n_nodes = 1};
    struct ls_err err = {0};
    *map = (struct map){.reader = redisReaderCreate()};
    cr_assert_eq(ls_redis_cluster_new(&config, &map->cluster, &err), 0, "%s", err.text);
}

static int take(struct map *map, const char *resp, struct ls_err *err)
{
    if (map->reply)
        freeReplyObject(map->reply);
    redisReaderFeed(map->reader, resp, strlen(resp));
    cr_assert_eq(redisReaderGetReply(map->reader, (void **)&map->reply), REDIS_OK);
    cr_assert_not_null(map->reply);
    return ls_redis_cluster_take_map(map->cluster, map->reply, 0, err);
}

static void map_free(struct map *map)
{
    freeReplyObject(map->reply);
    redisReaderFree(map->reader);
    ls_redis_cluster_free(map->cluster);
}

#define RANGE(first, last, host_len, host, port)                                     \
    "*3\r\n:" #first "\r\n:" #last "\r\n*4\r\n$" #host_len "\r\n" host "\r\n:" #port \
    "\r\n$2\r\nid\r\n*0\r\n"

Test(redis_map, slots_belong_to_the_masters_that_are_named)
{
    struct map map;
    struct ls_err err = {0};
    map_init(&map);
    cr_assert_eq(ls_redis_cluster_uncovered(map.cluster), LS_REDIS_SLOTS);
    cr_assert_eq(take(&map, "*2\r\n" RANGE(0, 8191, 1, "a", 1) RANGE(8192, 16383, 0, "", 2), &err),
                 0, "%s", err.text);
    cr_assert_eq(ls_redis_cluster_uncovered(map.cluster), 0);
    const struct ls_redis_conn *first = map.cluster->conns[map.cluster->owner[8191]];
    const struct ls_redis_conn *second = map.cluster->conns[map.cluster->owner[8192]];
    cr_assert_str_eq(first->host, "a");
    cr_assert_eq(first->port, 1);
    cr_assert_str_eq(second->host, "seed", "no host: the one that was asked");
    cr_assert_eq(second->port, 2);

    redisReply moved = error_reply("MOVED 5 b:3");
    int node = ls_redis_cluster_moved(map.cluster, &moved, 0);
    cr_assert_eq(map.cluster->owner[5], node);
    cr_assert_str_eq(map.cluster->conns[node]->host, "b");
    redisReply ask = error_reply("ASK 6 c:4");
    node = ls_redis_cluster_asked(map.cluster, &ask, 0);
    cr_assert_neq(map.cluster->owner[6], node, "an ASK leaves the map alone");

    /* Nodes that came and went leave no trace beyond their number at once. */
    for (int i = 0; i < 50; i++) {
        char resp[256];
        snprintf(resp, sizeof(resp),
                 "*1\r\n*4\r\n:0\r\n:16383\r\n*2\r\n$1\r\nz\r\n:%d\r\n*2\r\n$1\r\nr\r\n:1\r\n",
                 100 + i);
        cr_assert_eq(take(&map, resp, &err), 0, "%s", err.text);
    }
    cr_assert(map.cluster->n_conns < 8, "%zu", map.cluster->n_conns);
    map_free(&map);
}

Test(redis_map, a_wrong_answer_leaves_the_old_map)
{
    static const char *const bad[] = {
        "*0\r\n",
        "-ERR This instance has cluster support disabled\r\n",
        ":1\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n" RANGE(0, 16384, 1, "a", 1),
        "*1\r\n" RANGE(-1, 5, 1, "a", 1),
        "*1\r\n" RANGE(6, 5, 1, "a", 1),
        "*1\r\n" RANGE(0, 5, 1, "a", 0),
        "*1\r\n" RANGE(0, 5, 1, "a", 65536),
        "*1\r\n*3\r\n:0\r\n:5\r\n*0\r\n",
        "*1\r\n*2\r\n:0\r\n:5\r\n",
        "*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n:1\r\n:1\r\n",
    };
    struct map map;
    struct ls_err err = {0};
    map_init(&map);
    cr_assert_eq(take(&map, "*1\r\n" RANGE(0, 16383, 1, "a", 1), &err), 0, "%s", err.text);
    uint16_t node = map.cluster->owner[0];
    for (size_t i = 0; i < LS_COUNT(bad); i++) {
        cr_assert_eq(take(&map, bad[i], &err), -1, "%zu", i);
        cr_assert_neq(err.text[0], '\0');
        cr_assert_eq(ls_redis_cluster_uncovered(map.cluster), 0);
        cr_assert_eq(map.cluster->owner[0], node);
    }
    map_free(&map);
}
