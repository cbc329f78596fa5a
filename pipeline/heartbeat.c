/*
 * Heartbeats as JSON. Pure: no I/O, no state, any thread. A crash of the writer leaves its newest
 * heartbeat in the topic; readers see by its time that the instance is gone.
 *
 * What is read comes from a topic that others may write to, so it is bounded in size and count, and
 * types are checked. Unknown members are ignored: a newer worker may say more. Texts that a store
 * gave us may hold any bytes; they are cleaned to UTF-8 on the way out, since JSON can hold nothing
 * else and a heartbeat that cannot be written would look like a dead worker.
 */
#include "pipeline/heartbeat.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "schema/schema.h"

enum { JSON_BYTES_MAX = 1 << 20 };

static const char *const state_names[] = {
    [LS_STATE_STARTING] = "STARTING", [LS_STATE_RUNNING] = "RUNNING",
    [LS_STATE_WAITING] = "WAITING",   [LS_STATE_RETRYING] = "RETRYING",
    [LS_STATE_HALTED] = "HALTED",     [LS_STATE_STOPPED] = "STOPPED",
    [LS_STATE_STUCK] = "STUCK",
};

const char *ls_state_name(enum ls_state state)
{
    return (size_t)state < LS_COUNT(state_names) ? state_names[state] : "UNKNOWN";
}

/* Bytes of the UTF-8 character that starts at text, or 0 where none does. */
static size_t character_bytes(const char *text, size_t left)
{
    for (size_t n = 1; n <= 4 && n <= left; n++)
        if (ls_utf8_length(text, n) == 1)
            return n;
    return 0;
}

/* A JSON string of the text; a byte that is not UTF-8 becomes '?'. */
static json_t *clean_string(const char *text, size_t size)
{
    size_t len = strnlen(text, size);
    LS_CLEANUP_FREE char *clean = ls_strndup(text, len);
    for (size_t i = 0; i < len;) {
        size_t n = character_bytes(text + i, len - i);
        if (n == 0)
            clean[i] = '?';
        i += n ? n : 1;
    }
    return json_stringn_nocheck(clean, len);
}

static json_t *encode_partitions(const struct ls_heartbeat *heartbeat)
{
    json_t *list = json_array();
    for (size_t i = 0; i < heartbeat->n_partitions; i++) {
        const struct ls_heartbeat_partition *part = &heartbeat->partitions[i];
        json_t *item = json_object();
        json_object_set_new(item, "partition", json_integer(part->partition));
        json_object_set_new(item, "low", json_integer(part->low));
        json_object_set_new(item, "end", json_integer(part->end));
        json_object_set_new(item, "low_at_ms", json_integer(part->low_at_ms));
        json_array_append_new(list, item);
    }
    return list;
}

/* What only newer readers know: they leave out what they do not find. */
static void encode_later(const struct ls_heartbeat *heartbeat, json_t *root)
{
    if (heartbeat->state == LS_STATE_STUCK) {
        json_object_set_new(root, "state", json_string(ls_state_name(LS_STATE_WAITING)));
        json_object_set_new(root, "stuck", json_true());
    }
    if (heartbeat->breaker[0] != '\0') {
        json_object_set_new(root, "breaker",
                            clean_string(heartbeat->breaker, sizeof(heartbeat->breaker)));
        json_object_set_new(root, "openings", json_integer((json_int_t)heartbeat->openings));
    }
    if (heartbeat->flow_max > 0) {
        json_object_set_new(root, "flow_limit", json_integer(heartbeat->flow_limit));
        json_object_set_new(root, "flow_max", json_integer(heartbeat->flow_max));
    }
    json_object_set_new(root, "rewinds", json_integer((json_int_t)heartbeat->rewinds));
    if (heartbeat->rewound_ms != 0)
        json_object_set_new(root, "rewound_ms", json_integer(heartbeat->rewound_ms));
    if (heartbeat->last_error_ms != 0)
        json_object_set_new(root, "last_error_ms", json_integer(heartbeat->last_error_ms));
}

static int dump_to_buf(const char *data, size_t len, void *opaque)
{
    ls_buf_append(opaque, data, len);
    return 0;
}

void ls_heartbeat_encode(const struct ls_heartbeat *heartbeat, struct ls_buf *buf)
{
    json_t *root = json_object();
    json_object_set_new(root, "entity", clean_string(heartbeat->entity, sizeof(heartbeat->entity)));
    json_object_set_new(root, "sink", clean_string(heartbeat->sink, sizeof(heartbeat->sink)));
    json_object_set_new(root, "instance",
                        clean_string(heartbeat->instance, sizeof(heartbeat->instance)));
    json_object_set_new(root, "state", json_string(ls_state_name(heartbeat->state)));
    json_object_set_new(root, "reason", clean_string(heartbeat->reason, sizeof(heartbeat->reason)));
    json_object_set_new(root, "last_error",
                        clean_string(heartbeat->last_error, sizeof(heartbeat->last_error)));
    json_object_set_new(root, "time_ms", json_integer(heartbeat->time_ms));
    json_object_set_new(root, "started_ms", json_integer(heartbeat->started_ms));
    json_object_set_new(root, "consumed", json_integer((json_int_t)heartbeat->consumed));
    json_object_set_new(root, "rate", json_real(isfinite(heartbeat->rate) ? heartbeat->rate : 0));
    json_t *counts = json_object();
    for (int v = LS_APPLIED; v < LS_VERDICTS; v++)
        json_object_set_new(counts, ls_verdict_name((enum ls_verdict)v),
                            json_integer((json_int_t)heartbeat->counts[v]));
    json_object_set_new(root, "counts", counts);
    json_object_set_new(root, "partitions", encode_partitions(heartbeat));
    encode_later(heartbeat, root);
    json_dump_callback(root, dump_to_buf, buf, JSON_COMPACT);
    json_decref(root);
}

static int bad(struct ls_err *err, const char *name, const char *expected)
{
    return ls_err_set(err, LS_ERR_POISON, 0, "heartbeat: '%s' is not %s", name, expected);
}

/* A name: refused when it does not fit, since half a name is another name. */
static int get_name(const json_t *object, const char *name, char *ret, size_t size,
                    struct ls_err *err)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_string(value) || json_string_length(value) == 0)
        return bad(err, name, "a text");
    if (json_string_length(value) >= size)
        return bad(err, name, "short enough");
    memcpy(ret, json_string_value(value), json_string_length(value) + 1);
    return 0;
}

/* A message for people: cut between characters when it does not fit. */
static int get_text(const json_t *object, const char *name, char *ret, size_t size,
                    struct ls_err *err)
{
    const json_t *value = json_object_get(object, name);
    if (value == NULL)
        return 0;
    if (!json_is_string(value))
        return bad(err, name, "a text");
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    if (len >= size)
        for (len = size - 1; len > 0 && (text[len] & 0xc0) == 0x80;)
            len--;
    memcpy(ret, text, len);
    ret[len] = '\0';
    return 0;
}

static int get_i64(const json_t *object, const char *name, int64_t min, int64_t *ret,
                   struct ls_err *err)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_integer(value) || json_integer_value(value) < min)
        return bad(err, name, min >= 0 ? "a whole number from 0" : "a whole number");
    *ret = json_integer_value(value);
    return 0;
}

static int get_state(const json_t *root, enum ls_state *ret, struct ls_err *err)
{
    const char *name = json_string_value(json_object_get(root, "state"));
    for (size_t i = 0; name != NULL && i < LS_COUNT(state_names); i++) {
        if (strcmp(name, state_names[i]) != 0)
            continue;
        *ret = (enum ls_state)i;
        return 0;
    }
    return bad(err, "state", "a state that is known here");
}

/* A verdict that is not there counts 0: an older worker may not have had it. */
static int get_counts(const json_t *root, struct ls_heartbeat *heartbeat, struct ls_err *err)
{
    const json_t *counts = json_object_get(root, "counts");
    if (!json_is_object(counts))
        return bad(err, "counts", "an object");
    for (int v = LS_APPLIED; v < LS_VERDICTS; v++) {
        const char *name = ls_verdict_name((enum ls_verdict)v);
        int64_t count = 0;
        if (json_object_get(counts, name) != NULL && get_i64(counts, name, 0, &count, err) < 0)
            return -1;
        heartbeat->counts[v] = (uint64_t)count;
    }
    return 0;
}

static int get_partition(const json_t *item, struct ls_heartbeat_partition *part,
                         struct ls_err *err)
{
    int64_t number;
    if (get_i64(item, "partition", 0, &number, err) < 0 ||
        get_i64(item, "low", 0, &part->low, err) < 0 ||
        get_i64(item, "end", -1, &part->end, err) < 0 ||
        get_i64(item, "low_at_ms", 0, &part->low_at_ms, err) < 0)
        return -1;
    if (number >= LS_SHARDS)
        return bad(err, "partition", "below 1024");
    part->partition = (int32_t)number;
    return 0;
}

static int get_partitions(const json_t *root, struct ls_heartbeat *heartbeat, struct ls_err *err)
{
    const json_t *list = json_object_get(root, "partitions");
    if (!json_is_array(list) || json_array_size(list) > LS_SHARDS)
        return bad(err, "partitions", "a list of at most 1024");
    size_t n = json_array_size(list);
    if (n == 0)
        return 0;
    struct ls_heartbeat_partition *parts = ls_calloc(n, sizeof(*parts));
    for (size_t i = 0; i < n; i++) {
        if (get_partition(json_array_get(list, i), &parts[i], err) < 0) {
            free(parts);
            return -1;
        }
    }
    heartbeat->partitions = parts;
    heartbeat->n_partitions = n;
    return 0;
}

/* A number that may be missing, 0 then. */
static int get_later(const json_t *root, const char *name, uint64_t max, uint64_t *ret,
                     struct ls_err *err)
{
    int64_t number = 0;
    if (json_object_get(root, name) != NULL && get_i64(root, name, 0, &number, err) < 0)
        return -1;
    if ((uint64_t)number > max)
        return bad(err, name, "small enough");
    *ret = (uint64_t)number;
    return 0;
}

static int decode_later(const json_t *root, struct ls_heartbeat *heartbeat, struct ls_err *err)
{
    uint64_t limit, max, rewound_ms, last_error_ms;
    if (get_text(root, "breaker", heartbeat->breaker, sizeof(heartbeat->breaker), err) < 0 ||
        get_later(root, "openings", INT64_MAX, &heartbeat->openings, err) < 0 ||
        get_later(root, "rewinds", INT64_MAX, &heartbeat->rewinds, err) < 0 ||
        get_later(root, "rewound_ms", INT64_MAX, &rewound_ms, err) < 0 ||
        get_later(root, "last_error_ms", INT64_MAX, &last_error_ms, err) < 0 ||
        get_later(root, "flow_limit", UINT32_MAX, &limit, err) < 0 ||
        get_later(root, "flow_max", UINT32_MAX, &max, err) < 0)
        return -1;
    heartbeat->rewound_ms = (int64_t)rewound_ms;
    heartbeat->last_error_ms = (int64_t)last_error_ms;
    heartbeat->flow_limit = (uint32_t)limit;
    heartbeat->flow_max = (uint32_t)max;
    if (heartbeat->state == LS_STATE_WAITING && json_is_true(json_object_get(root, "stuck")))
        heartbeat->state = LS_STATE_STUCK;
    return 0;
}

static int decode_object(const json_t *root, struct ls_heartbeat *heartbeat, struct ls_err *err)
{
    int64_t consumed;
    if (get_name(root, "entity", heartbeat->entity, sizeof(heartbeat->entity), err) < 0 ||
        get_name(root, "sink", heartbeat->sink, sizeof(heartbeat->sink), err) < 0 ||
        get_name(root, "instance", heartbeat->instance, sizeof(heartbeat->instance), err) < 0 ||
        get_state(root, &heartbeat->state, err) < 0 ||
        get_text(root, "reason", heartbeat->reason, sizeof(heartbeat->reason), err) < 0 ||
        get_text(root, "last_error", heartbeat->last_error, sizeof(heartbeat->last_error), err) <
            0 ||
        get_i64(root, "time_ms", 0, &heartbeat->time_ms, err) < 0 ||
        get_i64(root, "started_ms", 0, &heartbeat->started_ms, err) < 0 ||
        get_i64(root, "consumed", 0, &consumed, err) < 0 || get_counts(root, heartbeat, err) < 0)
        return -1;
    heartbeat->consumed = (uint64_t)consumed;
    const json_t *rate = json_object_get(root, "rate");
    if (!json_is_number(rate) || json_number_value(rate) < 0)
        return bad(err, "rate", "a number from 0");
    heartbeat->rate = json_number_value(rate);
    if (decode_later(root, heartbeat, err) < 0)
        return -1;
    return get_partitions(root, heartbeat, err);
}

int ls_heartbeat_decode(const char *json, size_t len, struct ls_heartbeat *ret, struct ls_err *err)
{
    if (len > JSON_BYTES_MAX)
        return ls_err_set(err, LS_ERR_POISON, 0,
                          "heartbeat: %zu bytes are more than the limit of %d", len,
                          JSON_BYTES_MAX);
    json_error_t why;
    json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES, &why);
    if (root == NULL)
        return ls_err_set(err, LS_ERR_POISON, 0, "heartbeat: byte %d: not JSON (%s)", why.position,
                          why.text);
    struct ls_heartbeat heartbeat = {0};
    int rc = json_is_object(root) ? decode_object(root, &heartbeat, err)
                                  : ls_err_set(err, LS_ERR_POISON, 0, "heartbeat: not an object");
    json_decref(root);
    if (rc == 0)
        *ret = heartbeat;
    return rc;
}
