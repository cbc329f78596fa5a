/* The Elasticsearch sink: its ops table and shared state. One lane serves all partitions. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "consumers/es_apply.h"

static int es_open(const struct ls_sink_config *config, struct ls_sink **ret, struct ls_err *err)
{
    /* Urls and credentials are checked now rather than by each lane. */
    struct ls_es_client *client;
    if (ls_es_client_new(config, &client, err) != 0)
        return -1;
    ls_es_client_free(client);
    struct es_sink *sink = ls_calloc(1, sizeof(*sink));
    sink->config = config;
    sink->encoder = ls_es_encoder_new(config->entity->schema);
    *ret = (struct ls_sink *)sink;
    return 0;
}

static void es_close(struct ls_sink *opaque)
{
    struct es_sink *sink = (struct es_sink *)opaque;
    if (sink == NULL)
        return;
    ls_es_encoder_free(sink->encoder);
    free(sink);
}

static unsigned es_n_lanes(const struct ls_sink *sink)
{
    return 1; /* requests in flight overlap within it; the cluster is one target */
}

static unsigned es_lane_of(const struct ls_sink *sink, int32_t partition)
{
    return 0;
}

static bool es_server(const struct ls_sink_config *config, unsigned lane, size_t i,
                      struct ls_buf *buf)
{
    if (i >= config->n_urls)
        return false;
    const char *host = strstr(config->urls[i], "://");
    ls_buf_append_str(buf, host != NULL ? host + 3 : config->urls[i]);
    return true;
}

static uint32_t es_unit_records(const struct ls_sink *sink)
{
    return LS_ES_UNIT_RECORDS;
}

static uint32_t es_unit_bytes(const struct ls_sink *opaque)
{
    return ((const struct es_sink *)opaque)->config->bulk_bytes;
}

const struct ls_sink_ops ls_es_sink_ops = {
    .kind = LS_SINK_ES,
    .wants_values = true,
    .wants_hash = true,
    .open = es_open,
    .close = es_close,
    .n_lanes = es_n_lanes,
    .lane_of = es_lane_of,
    .server = es_server,
    .unit_records = es_unit_records,
    .unit_bytes = es_unit_bytes,
    .run_lane = ls_es_run_lane,
};
