/* Mark documents. Pure; see es_marks.h. */
#include "consumers/es_marks.h"

#include "consumers/es_encode.h"
#include "consumers/es_json.h"
#include "pipeline/es_errors.h"

static void put_address(struct ls_buf *buf, int32_t partition)
{
    ls_buf_printf(buf, "\"_id\":\"{mark}:%d\",\"routing\":\"%d\"", partition, partition);
}

void ls_es_marks_ask(const struct ls_es_mark *marks, size_t n, struct ls_buf *buf)
{
    ls_buf_append_str(buf, "{\"docs\":[");
    for (size_t i = 0; i < n; i++) {
        ls_buf_append_str(buf, i > 0 ? ",{" : "{");
        put_address(buf, marks[i].mark.partition);
        ls_buf_append_char(buf, '}');
    }
    ls_buf_append_str(buf, "]}");
}

void ls_es_marks_void(struct ls_es_mark *marks, size_t n, const char *home)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(marks[i].home, home) == 0)
            continue;
        marks[i].mark.version = 0;
        marks[i].mark.at_ms = 0;
    }
}

void ls_es_marks_write(const struct ls_mark *mark, const char *home, const struct ls_es_mark *guard,
                       struct ls_buf *buf)
{
    bool create = guard != NULL && guard->mark.genesis[0] == '\0';
    ls_buf_append_str(buf, create ? "{\"create\":{" : "{\"index\":{");
    put_address(buf, mark->partition);
    if (guard != NULL && !create)
        ls_buf_printf(buf, ",\"if_seq_no\":%lld,\"if_primary_term\":%lld", (long long)guard->seq_no,
                      (long long)guard->primary_term);
    ls_buf_append_str(buf, "}}\n{\"_mark\":");
    ls_es_put_string(buf, mark->genesis, strlen(mark->genesis));
    ls_buf_append_str(buf, ",\"_home\":");
    ls_es_put_string(buf, home, strlen(home));
    ls_buf_printf(buf, ",\"_partition\":%d,\"_v_hi\":%u,\"_v_lo\":%u,\"_at\":%lld}\n",
                  mark->partition, (uint32_t)(mark->version >> 32), (uint32_t)mark->version,
                  (long long)mark->at_ms);
}

/* Copies a text that fits; false when it does not. */
static bool take_text(struct ls_span text, char *ret, size_t size)
{
    if (text.len >= size)
        return false;
    if (text.len > 0)
        memcpy(ret, text.data, text.len);
    ret[text.len] = '\0';
    return true;
}

/* A mark's own fields. False when it is not a mark of this partition. */
static bool read_source(struct ls_json *json, struct ls_es_mark *ret)
{
    int64_t high = -1, low = -1, partition = -1, at_ms = 0;
    struct ls_span key, genesis = {0}, home = {0};
    struct ls_mark *mark = &ret->mark;
    for (ls_json_open(json, '{'); ls_json_key(json, &key);) {
        if (ls_json_is(key, "_mark"))
            ls_json_string(json, NULL, &genesis);
        else if (ls_json_is(key, "_home"))
            ls_json_string(json, NULL, &home);
        else if (ls_json_is(key, "_partition"))
            ls_json_i64(json, &partition);
        else if (ls_json_is(key, "_v_hi"))
            ls_json_i64(json, &high);
        else if (ls_json_is(key, "_v_lo"))
            ls_json_i64(json, &low);
        else if (ls_json_is(key, "_at"))
            ls_json_i64(json, &at_ms);
        else
            ls_json_skip(json, NULL);
    }
    if (json->failed || partition != mark->partition || high < 0 || high > INT32_MAX || low < 0 ||
        low > UINT32_MAX || genesis.len == 0 ||
        !take_text(genesis, mark->genesis, sizeof(mark->genesis)) ||
        !take_text(home, ret->home, sizeof(ret->home)))
        return false;
    mark->version = (uint64_t)high << 32 | (uint64_t)low;
    mark->at_ms = at_ms;
    return true;
}

struct es_got {
    bool found;
    struct ls_span type, source;
    int64_t seq_no, primary_term;
};

static struct es_got read_doc(struct ls_json *json)
{
    struct es_got got = {.seq_no = -1, .primary_term = -1};
    struct ls_span key;
    for (ls_json_open(json, '{'); ls_json_key(json, &key);) {
        enum ls_json_kind kind = ls_json_peek(json);
        if (ls_json_is(key, "found")) {
            got.found = kind == LS_JSON_TRUE;
            ls_json_skip(json, NULL);
        } else if (ls_json_is(key, "_seq_no")) {
            ls_json_i64(json, &got.seq_no);
        } else if (ls_json_is(key, "_primary_term")) {
            ls_json_i64(json, &got.primary_term);
        } else if (ls_json_is(key, "_source")) {
            ls_json_skip(json, &got.source);
        } else if (ls_json_is(key, "error") && kind == LS_JSON_OBJECT) {
            struct ls_span name;
            for (ls_json_open(json, '{'); ls_json_key(json, &name);) {
                if (ls_json_is(name, "type") && ls_json_peek(json) == LS_JSON_STRING)
                    ls_json_string(json, NULL, &got.type);
                else
                    ls_json_skip(json, NULL);
            }
        } else {
            ls_json_skip(json, NULL);
        }
    }
    return got;
}

static int take_doc(const struct es_got *got, struct ls_es_mark *mark, struct ls_err *err)
{
    *mark = (struct ls_es_mark){.mark = {.partition = mark->mark.partition}};
    if (got->type.len > 0) {
        /* An item of _mget has no status of its own; 400 stands for "it was refused". */
        struct ls_es_judgement judged = ls_es_judge(400, got->type.data, got->type.len);
        bool fatal = judged.class == LS_ERR_FATAL;
        ls_err_set(err, fatal ? LS_ERR_FATAL : LS_ERR_RETRY, 0, "%.*s%s", (int)got->type.len,
                   got->type.data, judged.advice);
        ls_err_name(err, got->type.data, got->type.len);
        return -1;
    }
    if (!got->found)
        return 0;
    struct ls_json source = ls_json_begin(got->source.data, got->source.len);
    mark->seq_no = got->seq_no;
    mark->primary_term = got->primary_term;
    if (got->seq_no < 0 || got->source.len == 0 || !read_source(&source, mark))
        return ls_err_set(
            err, LS_ERR_FATAL, 0,
            "document {mark}:%d is not a mark of lockstep; remove it or give the sink "
            "another index",
            mark->mark.partition);
    return 0;
}

int ls_es_marks_read(const char *reply, size_t len, struct ls_es_mark *marks, size_t n,
                     struct ls_err *err)
{
    struct ls_json json = ls_json_begin(reply, len);
    struct ls_span key;
    size_t seen = 0;
    for (ls_json_open(&json, '{'); ls_json_key(&json, &key);) {
        if (!ls_json_is(key, "docs")) {
            ls_json_skip(&json, NULL);
            continue;
        }
        for (ls_json_open(&json, '['); ls_json_item(&json); seen++) {
            struct es_got got = read_doc(&json);
            if (seen < n && !json.failed && take_doc(&got, &marks[seen], err) != 0)
                return -1;
        }
    }
    if (json.failed || seen != n)
        return ls_err_set(err, LS_ERR_RETRY, 0, "the answer about marks is cut or is not JSON");
    return 0;
}

struct es_write {
    int64_t status, seq_no, primary_term;
    struct ls_span type, reason;
};

static struct es_write read_write(struct ls_json *json)
{
    struct es_write write = {.status = 0, .seq_no = -1, .primary_term = -1};
    struct ls_span key, name;
    ls_json_open(json, '{');
    if (!ls_json_key(json, &key))
        return write;
    for (ls_json_open(json, '{'); ls_json_key(json, &key);) {
        if (ls_json_is(key, "status"))
            ls_json_i64(json, &write.status);
        else if (ls_json_is(key, "_seq_no"))
            ls_json_i64(json, &write.seq_no);
        else if (ls_json_is(key, "_primary_term"))
            ls_json_i64(json, &write.primary_term);
        else if (ls_json_is(key, "error") && ls_json_peek(json) == LS_JSON_OBJECT)
            for (ls_json_open(json, '{'); ls_json_key(json, &name);) {
                if (ls_json_is(name, "type"))
                    ls_json_string(json, NULL, &write.type);
                else if (ls_json_is(name, "reason"))
                    ls_json_string(json, NULL, &write.reason);
                else
                    ls_json_skip(json, NULL);
            }
        else
            ls_json_skip(json, NULL);
    }
    ls_json_key(json, &key); /* the end of the outer object */
    return write;
}

static enum ls_es_mark_result take_write(const struct es_write *write, struct ls_es_mark *mark,
                                         struct ls_err *err)
{
    struct ls_es_judgement judged = ls_es_judge(write->status, write->type.data, write->type.len);
    if (judged.verdict == LS_STALE)
        return LS_ES_MARK_UNEXPECTED;
    if (judged.verdict == LS_APPLIED && write->seq_no >= 0 && write->primary_term >= 0) {
        mark->seq_no = write->seq_no;
        mark->primary_term = write->primary_term;
        return LS_ES_MARK_WRITTEN;
    }
    /* A mark that is refused as a document means a mapping without the hidden fields. */
    enum ls_err_class class = judged.class == LS_ERR_POISON ? LS_ERR_FATAL
                              : judged.class == LS_ERR_NONE ? LS_ERR_RETRY
                                                            : judged.class;
    ls_err_set(err, class, (int)write->status, "mark of partition %d: %.*s: %.*s%s",
               mark->mark.partition, (int)write->type.len,
               write->type.len > 0 ? write->type.data : "",
               write->reason.len < 200 ? (int)write->reason.len : 200,
               write->reason.len > 0 ? write->reason.data : "", judged.advice);
    ls_err_name(err, write->type.data, write->type.len);
    return write->status >= 400 && write->status < 500 ? LS_ES_MARK_REFUSED : LS_ES_MARK_FAILED;
}

int ls_es_marks_written(const char *reply, size_t len, struct ls_es_mark *marks,
                        enum ls_es_mark_result *results, size_t n, struct ls_err *err)
{
    struct ls_json json = ls_json_begin(reply, len);
    struct ls_span key;
    size_t seen = 0;
    for (ls_json_open(&json, '{'); ls_json_key(&json, &key);) {
        if (!ls_json_is(key, "items")) {
            ls_json_skip(&json, NULL);
            continue;
        }
        for (ls_json_open(&json, '['); ls_json_item(&json); seen++) {
            struct es_write write = read_write(&json);
            if (seen < n && !json.failed)
                results[seen] = take_write(&write, &marks[seen], err);
        }
    }
    if (json.failed || seen != n)
        return ls_err_set(err, LS_ERR_RETRY, 0, "the reply about marks is cut or is not JSON");
    return 0;
}
