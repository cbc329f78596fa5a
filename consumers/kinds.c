/* The table of kinds: the one place that knows all of them. */
#include <stddef.h>

#include "consumers/sink.h"
#include "consumers/store.h"

enum { SERVERS_NAMED = 4 };

const struct ls_sink_ops *ls_sink_ops_for(enum ls_sink_kind kind)
{
    switch (kind) {
    case LS_SINK_MYSQL:
        return &ls_mysql_sink_ops;
    case LS_SINK_REDIS:
        return &ls_redis_sink_ops;
    case LS_SINK_ES:
        return &ls_es_sink_ops;
    }
    return NULL;
}

void ls_sink_servers(const struct ls_sink_ops *ops, const struct ls_sink_config *config,
                     unsigned lane_index, struct ls_buf *buf)
{
    for (size_t i = 0; i < SERVERS_NAMED; i++) {
        size_t before = buf->len;
        if (i > 0)
            ls_buf_append_char(buf, ',');
        if (!ops->server(config, lane_index, i, buf)) {
            buf->len = before;
            return;
        }
    }
}

const struct ls_store_ops *ls_store_ops_for(enum ls_sink_kind kind)
{
    switch (kind) {
    case LS_SINK_MYSQL:
        return &ls_mysql_store_ops;
    case LS_SINK_REDIS:
        return &ls_redis_store_ops;
    case LS_SINK_ES:
        return &ls_es_store_ops;
    }
    return NULL;
}
