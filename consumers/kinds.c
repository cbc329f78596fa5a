/* The table of kinds: the one place that knows all of them. */
#include <stddef.h>

#include "consumers/sink.h"
#include "consumers/store.h"

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
