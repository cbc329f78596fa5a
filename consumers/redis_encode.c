/*
 * The guarded set and its encoding.
 *
 * The version is compared as two 32-bit halves: a Lua number is a double, exact up to 2^53 only,
 * and Lua's string `<` follows the server's locale. Version and body are one argument and one
 * string, because a hash of version and body costs the server half as much again and far more
 * memory. Rejected: EVAL (the script's text with every record), and Redis functions (Redis 7 only).
 */
#include "consumers/redis_encode.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/*
 * An error other than WRONGTYPE (permissions, say) is handed on: setting then would be unguarded.
 * '0' and '7' are strings because the server prints number arguments as floating point, which costs
 * a ninth of its time for the whole set.
 */
#define SCRIPT(refused)                                                    \
    "local old=redis.pcall('GETRANGE',KEYS[1],'0','7')\n"                  \
    "if type(old)=='table' then\n"                                         \
    "if not string.find(old.err,'WRONGTYPE',1,true) then return old end\n" \
    "elseif #old==8 then\n"                                                \
    "local oh,ol=struct.unpack('>I4I4',old)\n"                             \
    "local nh,nl=struct.unpack('>I4I4',ARGV[1])\n"                         \
    "if nh<oh or (nh==oh and nl" refused "ol) then return 0 end\n"         \
    "end\n"                                                                \
    "redis.call('SET',KEYS[1],ARGV[1])\n"                                  \
    "return 1\n"

/*
 * Marks under one tag, all or none: KEYS are the marks' keys, ARGV[1] the replication id that the
 * server must have, then for each key what must stand there ('' no mark, '!' no mark of ours) and
 * what it becomes. The replication id changes with every restart and every failover, so what was
 * acknowledged under it is in the same history as the mark: a server that loses the one loses the
 * other. A key of another type counts as no mark. One MSET, because several writes of a script are
 * a transaction in the append-only file, and Redis 7.0 loads none of those where its default user
 * is off. Answers 1 written, 0 not as expected, -1 another replication id.
 */
static const char set_marks[] =
    "local replication=redis.call('INFO','replication')\n"
    "if not string.find(replication,'master_replid:'..ARGV[1],1,true) then return -1 end\n"
    "for i=1,#KEYS do\n"
    "local old=redis.pcall('GET',KEYS[i])\n"
    "if type(old)=='table' then\n"
    "if not string.find(old.err,'WRONGTYPE',1,true) then return old end\n"
    "old=''\n"
    "elseif not old then old=''\n"
    "elseif #old~=52 or string.find(old,'\\0',17,true) then old='!' end\n"
    "if old~=ARGV[2*i] then return 0 end\n"
    "end\n"
    "local set={}\n"
    "for i=1,#KEYS do set[2*i-1],set[2*i]=KEYS[i],ARGV[2*i+1] end\n"
    "redis.call('MSET',unpack(set))\n"
    "return 1\n";

#define SHA_NEWER         "664f3abd63db545d022d9ec52223229df671e9c4"
#define SHA_NEWER_OR_SAME "9ed116670d79792503788065f1c3852826e6f21c"
#define SHA_SET_MARKS     "2225ec132c3dcf8836f03d79f5ece8b74424470c"
#define EVALSHA(sha)      "*5\r\n$7\r\nEVALSHA\r\n$40\r\n" sha "\r\n$1\r\n1\r\n$"

static const struct {
    const char *text;
    const char *sha;
    char evalsha[sizeof(EVALSHA(SHA_NEWER))];
} scripts[LS_REDIS_SCRIPTS] = {
    [LS_REDIS_SET_NEWER] = {SCRIPT("<="), SHA_NEWER, EVALSHA(SHA_NEWER)},
    [LS_REDIS_SET_NEWER_OR_SAME] = {SCRIPT("<"), SHA_NEWER_OR_SAME, EVALSHA(SHA_NEWER_OR_SAME)},
    [LS_REDIS_SET_MARKS] = {set_marks, SHA_SET_MARKS, ""},
};
enum { EVALSHA_BYTES = sizeof(scripts[0].evalsha) - 1, LENGTH_BYTES = 12 };

const char *ls_redis_script_text(enum ls_redis_script script)
{
    return scripts[script].text;
}

const char *ls_redis_script_sha(enum ls_redis_script script)
{
    return scripts[script].sha;
}

void ls_redis_encode_load(struct ls_buf *out, enum ls_redis_script script)
{
    ls_buf_append_str(out, "*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$");
    ls_buf_append_u64(out, strlen(scripts[script].text));
    ls_buf_append(out, "\r\n", 2);
    ls_buf_append_str(out, scripts[script].text);
    ls_buf_append(out, "\r\n", 2);
}

void ls_redis_encode_asking(struct ls_buf *out)
{
    ls_buf_append_str(out, "*1\r\n$6\r\nASKING\r\n");
}

static char *put(char *at, const void *data, size_t len)
{
    memcpy(at, data, len);
    return at + len;
}

/* Decimal digits and CRLF. */
static char *put_length(char *at, size_t number)
{
    char digits[20];
    size_t first = sizeof(digits);
    do {
        digits[--first] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    at = put(at, digits + first, sizeof(digits) - first);
    return put(at, "\r\n", 2);
}

/* Everything up to the value's first byte. */
static char *put_head(char *at, enum ls_redis_script script, const char *key, size_t key_len,
                      size_t value_len)
{
    at = put(at, scripts[script].evalsha, EVALSHA_BYTES);
    at = put_length(at, key_len);
    at = put(at, key, key_len);
    at = put(at, "\r\n$", 3);
    return put_length(at, value_len);
}

void ls_redis_encode_entry(struct ls_buf *out, const struct ls_schema *schema,
                           const struct ls_record *record, bool repair)
{
    char name[LS_REDIS_KEY_MAX];
    assert(memchr(record->key, '{', record->key_len) == NULL);
    assert(memchr(record->key, '}', record->key_len) == NULL);
    size_t name_len = ls_redis_entry_key(schema, record->key, record->key_len, name);
    char *start = ls_buf_reserve(out, EVALSHA_BYTES + 2 * LENGTH_BYTES + name_len + 3 +
                                          LS_REDIS_VERSION_BYTES + record->body_len + 2);
    char *at = put_head(start, repair ? LS_REDIS_SET_NEWER_OR_SAME : LS_REDIS_SET_NEWER, name,
                        name_len, LS_REDIS_VERSION_BYTES + record->body_len);
    ls_redis_put_version(record->version, at);
    at = put(at + LS_REDIS_VERSION_BYTES, record->body, record->body_len);
    at = put(at, "\r\n", 2);
    out->len += (size_t)(at - start);
}

static void put_word(struct ls_buf *out, const void *data, size_t len)
{
    char *at = ls_buf_reserve(out, LENGTH_BYTES + len + 3);
    char *start = at;
    *at++ = '$';
    at = put_length(at, len);
    at = put(at, data, len);
    at = put(at, "\r\n", 2);
    out->len += (size_t)(at - start);
}

static void put_mark_keys(struct ls_buf *out, const struct ls_schema *schema,
                          const struct ls_mark *marks, size_t n, unsigned tag)
{
    char name[LS_REDIS_KEY_MAX];
    for (size_t i = 0; i < n; i++)
        put_word(out, name, ls_redis_mark_key(schema, marks[i].partition, tag, name));
}

void ls_redis_encode_marks_get(struct ls_buf *out, const struct ls_schema *schema,
                               const struct ls_mark *marks, size_t n, unsigned tag)
{
    ls_buf_printf(out, "*%zu\r\n", 1 + n);
    put_word(out, "MGET", 4);
    put_mark_keys(out, schema, marks, n, tag);
}

void ls_redis_encode_marks_set(struct ls_buf *out, const struct ls_schema *schema,
                               const struct ls_mark *marks, size_t n, unsigned tag,
                               const char *replid, const struct ls_redis_seen *table)
{
    char digits[8], value[LS_REDIS_MARK_BYTES];
    ls_buf_printf(out, "*%zu\r\n", 4 + 3 * n);
    put_word(out, "EVALSHA", 7);
    put_word(out, SHA_SET_MARKS, strlen(SHA_SET_MARKS));
    put_word(out, digits, (size_t)snprintf(digits, sizeof(digits), "%zu", n));
    put_mark_keys(out, schema, marks, n, tag);
    put_word(out, replid, strlen(replid));
    for (size_t i = 0; i < n; i++) {
        size_t at = (size_t)marks[i].partition * LS_REDIS_MARK_TAGS + tag;
        assert(table[at].state != LS_REDIS_UNSEEN);
        if (table[at].state == LS_REDIS_MARK_SEEN)
            put_word(out, table[at].bytes, LS_REDIS_MARK_BYTES);
        else
            put_word(out, "!", table[at].state == LS_REDIS_GARBAGE);
        ls_redis_put_mark(&marks[i], value);
        put_word(out, value, sizeof(value));
    }
}

enum { AT_TIME = LS_REDIS_VERSION_BYTES, AT_GENESIS = AT_TIME + 8, UUID_BYTES = 36 };
_Static_assert(AT_GENESIS + UUID_BYTES == LS_REDIS_MARK_BYTES, "a mark's layout");

void ls_redis_put_mark(const struct ls_mark *mark, char bytes[LS_REDIS_MARK_BYTES])
{
    assert(strlen(mark->genesis) == UUID_BYTES);
    ls_redis_put_version(mark->version, bytes);
    ls_redis_put_version((uint64_t)mark->at_ms, bytes + AT_TIME);
    memcpy(bytes + AT_GENESIS, mark->genesis, UUID_BYTES);
}

bool ls_redis_get_mark(const char *bytes, size_t len, struct ls_mark *mark)
{
    if (len != LS_REDIS_MARK_BYTES || memchr(bytes + AT_GENESIS, '\0', UUID_BYTES) != NULL)
        return false;
    mark->version = ls_redis_get_version(bytes);
    mark->at_ms = (int64_t)ls_redis_get_version(bytes + AT_TIME);
    memcpy(mark->genesis, bytes + AT_GENESIS, UUID_BYTES);
    mark->genesis[UUID_BYTES] = '\0';
    return true;
}

/* Bytes of the msgpack unsigned integer at `at`, its value in ret; 0 when it is none. */
static size_t peek_uint(const unsigned char *at, const unsigned char *end, uint32_t *ret)
{
    size_t width;
    if (at >= end)
        return 0;
    if (*at < 0x80) {
        *ret = *at;
        return 1;
    }
    if (*at < 0xcc || *at > 0xce)
        return 0;
    width = (size_t)1 << (*at - 0xcc);
    if ((size_t)(end - at) < 1 + width)
        return 0;
    *ret = 0;
    for (size_t i = 1; i <= width; i++)
        *ret = *ret << 8 | at[i];
    return 1 + width;
}

int ls_redis_peek_deleted(const char *bytes, size_t len, bool *ret_deleted)
{
    enum { ARRAY_OF_7 = 0x97 };
    if (len <= LS_REDIS_VERSION_BYTES)
        return -1;
    const unsigned char *at = (const unsigned char *)bytes + LS_REDIS_VERSION_BYTES;
    const unsigned char *end = (const unsigned char *)bytes + len;
    if (*at++ != ARRAY_OF_7)
        return -1;
    uint32_t op = 0;
    for (int i = 0; i < 3; i++) { /* format, schema version, operation */
        size_t n = peek_uint(at, end, &op);
        if (n == 0)
            return -1;
        at += n;
    }
    if (op != LS_OP_PUT && op != LS_OP_DELETE)
        return -1;
    *ret_deleted = op == LS_OP_DELETE;
    return 0;
}
