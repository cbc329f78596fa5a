/*
 * The MySQL sink: lanes are connections. Each server has the same number of them, each partition
 * belongs to one lane of the server that its shards live on. So lanes never write the same table,
 * and a dead server stops only its own partitions. A pool of connections for all servers was
 * rejected: it needs locks, and one slow server would take all of them.
 *
 * The shared state is read-only after open(); all live handles belong to their lane's thread.
 */

#include "base/mem.h"
#include "consumers/mysql_apply.h"
#include "consumers/sink.h"

struct mysql_sink {
    const struct ls_sink_config *config;
    unsigned lanes_per_server;
    unsigned lane_of[LS_SHARDS]; /* by partition: there are at most as many as shards */
};

static const struct mysql_sink *of(const struct ls_sink *sink)
{
    return (const struct mysql_sink *)sink;
}

static int assign_lanes(struct mysql_sink *sink, struct ls_err *err)
{
    const struct ls_sink_config *config = sink->config;
    for (int32_t partition = 0; partition < config->entity->partitions; partition++) {
        unsigned owners = 0;
        for (size_t i = 0; i < config->n_servers; i++) {
            const struct ls_mysql_server *server = &config->servers[i];
            if (partition < server->partition_first || partition > server->partition_last)
                continue;
            unsigned within = (unsigned)(partition - server->partition_first);
            sink->lane_of[partition] =
                (unsigned)i * sink->lanes_per_server + within % sink->lanes_per_server;
            owners++;
        }
        if (owners != 1)
            return ls_err_set(err, LS_ERR_FATAL, 0,
                              "sink %s: partition %d lives on %u servers: each partition must be "
                              "in the `partitions` of exactly one",
                              config->name, partition, owners);
    }
    return 0;
}

static unsigned lanes_per_server(const struct ls_sink_config *config)
{
    return config->requests_in_flight > 0 ? config->requests_in_flight : 1;
}

static int sink_open(const struct ls_sink_config *config, struct ls_sink **ret, struct ls_err *err)
{
    struct mysql_sink *sink = ls_calloc(1, sizeof(*sink));
    sink->config = config;
    sink->lanes_per_server = lanes_per_server(config);
    if (assign_lanes(sink, err) != 0) {
        free(sink);
        return -1;
    }
    *ret = (struct ls_sink *)sink;
    return 0;
}

static void sink_close(struct ls_sink *sink)
{
    free(sink);
}

static unsigned n_lanes(const struct ls_sink *sink)
{
    return (unsigned)of(sink)->config->n_servers * of(sink)->lanes_per_server;
}

static unsigned lane_of(const struct ls_sink *sink, int32_t partition)
{
    return of(sink)->lane_of[partition];
}

static bool server_of(const struct ls_sink_config *config, unsigned lane, size_t i,
                      struct ls_buf *buf)
{
    unsigned number = lane / lanes_per_server(config);
    if (i > 0 || number >= config->n_servers)
        return false;
    ls_buf_printf(buf, "%s:%u", config->servers[number].host, config->servers[number].port);
    return true;
}

static uint32_t no_limit(const struct ls_sink *sink)
{
    return UINT32_MAX;
}

static void run_lane(struct ls_sink *sink, unsigned lane_index, struct ls_lane *lane)
{
    const struct mysql_sink *shared = of(sink);
    const struct ls_mysql_server *server =
        &shared->config->servers[lane_index / shared->lanes_per_server];
    struct ls_mysql_lane *mysql = ls_mysql_lane_new(shared->config, server, lane);
    struct ls_unit *unit;
    while ((unit = ls_lane_take(lane, -1)) != NULL) {
        ls_mysql_lane_work(mysql, unit);
        ls_lane_complete(lane, unit);
    }
    ls_mysql_lane_free(mysql);
    mysql_thread_end();
}

const struct ls_sink_ops ls_mysql_sink_ops = {
    .kind = LS_SINK_MYSQL,
    .wants_values = true,
    .wants_hash = true,
    .open = sink_open,
    .close = sink_close,
    .n_lanes = n_lanes,
    .lane_of = lane_of,
    .server = server_of,
    .unit_records = no_limit,
    .unit_bytes = no_limit,
    .run_lane = run_lane,
};
