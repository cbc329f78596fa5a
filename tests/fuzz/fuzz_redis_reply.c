/*
 * libFuzzer target: what a Redis node answers, as far as it is parsed here: errors and redirects,
 * the cluster's map, INFO fields. Whatever a node sends, the map names only connections that there
 * are. One thread.
 */
#include <stdlib.h>

#include "pipeline/redis_cluster.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(int condition)
{
    if (!condition)
        abort();
}

static void check_map(const struct ls_redis_cluster *cluster)
{
    static uint16_t nodes[LS_REDIS_NODES_MAX];
    for (size_t slot = 0; slot < LS_REDIS_SLOTS; slot++)
        need(cluster->owner[slot] == LS_REDIS_NO_NODE || cluster->owner[slot] < cluster->n_conns);
    need(ls_redis_cluster_masters(cluster, nodes) <= cluster->n_conns);
    need(ls_redis_cluster_uncovered(cluster) <= LS_REDIS_SLOTS);
    ls_redis_cluster_gone(cluster);
}

static void take(struct ls_redis_cluster *cluster, const redisReply *reply)
{
    struct ls_redis_redirect redirect;
    struct ls_err err = {0};
    enum ls_redis_answer answer = ls_redis_judge(reply);
    if (answer != LS_REDIS_OK)
        need(ls_redis_reply_err(&err, reply, "node") == -1 && err.text[0] != '\0');
    if (answer == LS_REDIS_MOVED || answer == LS_REDIS_ASK) {
        if (ls_redis_redirect_parse(reply, &redirect) == 0)
            need(redirect.slot < LS_REDIS_SLOTS && redirect.port > 0);
        int to = ls_redis_cluster_moved(cluster, reply, 0);
        need(to >= -1 && to < (int)cluster->n_conns);
        to = ls_redis_cluster_asked(cluster, reply, 0);
        need(to >= -1 && to < (int)cluster->n_conns);
    }
    ls_redis_cluster_take_map(cluster, reply, 0, &err);
    check_map(cluster);
    const char *value;
    size_t len;
    if (reply->type == REDIS_REPLY_STRING &&
        ls_redis_info_field(reply->str, reply->len, "run_id", &value, &len))
        need(value >= reply->str && value + len <= reply->str + reply->len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ls_redis_node seed = {.host = (char[]){"127.0.0.1"}, .port = 1};
    struct ls_entity_config entity = {.partitions = 8};
    struct ls_sink_config config = {.name = (char[]){"redis"},
                                    .kind = LS_SINK_REDIS,
                                    .entity = &entity,
                                    .nodes = &seed,
                                    .n_nodes = 1};
    struct ls_redis_cluster *cluster;
    struct ls_err err = {0};
    need(ls_redis_cluster_new(&config, &cluster, &err) == 0);
    redisReader *reader = redisReaderCreate();
    redisReaderFeed(reader, (const char *)data, size);
    void *reply;
    while (redisReaderGetReply(reader, &reply) == REDIS_OK && reply != NULL) {
        take(cluster, reply);
        freeReplyObject(reply);
    }
    redisReaderFree(reader);
    ls_redis_cluster_free(cluster);
    return 0;
}
