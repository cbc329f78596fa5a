/* Bulk replies. Pure; see es_reply.h. */
#include "consumers/es_reply.h"

#include "consumers/es_json.h"
#include "pipeline/es_errors.h"

enum { REASON_MAX = 200 };

/* Cut before the refused value and to a bounded length, never inside a character. */
static struct ls_span tidy_reason(struct ls_span reason)
{
    size_t len = ls_es_reason_length(reason.data, reason.len);
    if (len > REASON_MAX) {
        len = REASON_MAX;
        while (len > 0 && ((unsigned char)reason.data[len] & 0xc0) == 0x80)
            len--;
    }
    return (struct ls_span){reason.data, (uint32_t)len};
}

static void read_error(struct ls_json *json, struct ls_es_item *item)
{
    if (ls_json_peek(json) != LS_JSON_OBJECT) {
        ls_json_skip(json, NULL);
        return;
    }
    struct ls_span key;
    for (ls_json_open(json, '{'); ls_json_key(json, &key);) {
        bool text = ls_json_peek(json) == LS_JSON_STRING;
        if (text && ls_json_is(key, "type")) {
            ls_json_string(json, NULL, &item->type);
        } else if (text && ls_json_is(key, "reason")) {
            struct ls_span reason;
            if (ls_json_string(json, NULL, &reason))
                item->reason = tidy_reason(reason);
        } else {
            ls_json_skip(json, NULL);
        }
    }
}

/* {"index": {"status": 201, ...}}: the action's name does not matter. */
static struct ls_es_item read_item(struct ls_json *json)
{
    struct ls_es_item item = {0};
    struct ls_span key;
    for (ls_json_open(json, '{'); ls_json_key(json, &key);) {
        for (ls_json_open(json, '{'); ls_json_key(json, &key);) {
            int64_t status;
            if (ls_json_is(key, "status")) {
                if (ls_json_i64(json, &status) && status >= 100 && status <= 599)
                    item.status = (int)status;
            } else if (ls_json_is(key, "error")) {
                read_error(json, &item);
            } else {
                ls_json_skip(json, NULL);
            }
        }
    }
    return item;
}

int ls_es_reply_read(const char *reply, size_t len, struct ls_es_item *items, size_t n_items,
                     struct ls_err *err)
{
    struct ls_json json = ls_json_begin(reply, len);
    struct ls_span key;
    size_t n_seen = 0;
    for (ls_json_open(&json, '{'); ls_json_key(&json, &key);) {
        if (!ls_json_is(key, "items")) {
            ls_json_skip(&json, NULL);
            continue;
        }
        for (ls_json_open(&json, '['); ls_json_item(&json); n_seen++) {
            struct ls_es_item item = read_item(&json);
            if (n_seen < n_items)
                items[n_seen] = item;
        }
    }
    if (json.failed)
        return ls_err_set(err, LS_ERR_RETRY, 0, "the bulk reply is cut or is not JSON");
    if (n_seen != n_items)
        return ls_err_set(err, LS_ERR_RETRY, 0, "the bulk reply has %zu items where %zu were sent",
                          n_seen, n_items);
    return 0;
}
