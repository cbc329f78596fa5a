/* Rules and place of keys. Pure; any thread. */
#include "schema/key.h"

#include <librdkafka/rdkafka.h>

#include "schema/schema.h"
#include "schema/wire.h"

static int bad_key(struct ls_err *err, const char *text)
{
    return ls_err_set(err, LS_ERR_POISON, LS_REJECT_BAD_KEY, "key: %s", text);
}

int ls_key_check(const char *key, size_t len, struct ls_err *err)
{
    if (len == 0)
        return bad_key(err, "empty; a key has 1 to 255 bytes");
    if (len > LS_KEY_BYTES_MAX)
        return ls_err_set(err, LS_ERR_POISON, LS_REJECT_BAD_KEY,
                          "key: %zu bytes, more than the 255 that a key may have", len);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)key[i];
        if (c < 0x20 || c == 0x7f)
            return ls_err_set(err, LS_ERR_POISON, LS_REJECT_BAD_KEY,
                              "key: control character 0x%02x at byte %zu", c, i);
        if (c == '{' || c == '}')
            return ls_err_set(err, LS_ERR_POISON, LS_REJECT_BAD_KEY,
                              "key: brace at byte %zu; braces are reserved", i);
        /* C1, U+0080 to U+009F, is C2 80 to C2 9F. */
        if (c == 0xc2 && i + 1 < len && (unsigned char)key[i + 1] >= 0x80 &&
            (unsigned char)key[i + 1] <= 0x9f)
            return ls_err_set(err, LS_ERR_POISON, LS_REJECT_BAD_KEY,
                              "key: control character U+00%02X at byte %zu",
                              (unsigned char)key[i + 1], i);
    }
    if (ls_utf8_length(key, len) < 0)
        return bad_key(err, "not valid UTF-8");
    return 0;
}

uint16_t ls_shard_of(const char *key, size_t len)
{
    return (uint16_t)rd_kafka_msg_partitioner_murmur2(NULL, key, len, LS_SHARDS, NULL, NULL);
}

bool ls_partitions_valid(int64_t partitions)
{
    return partitions >= 1 && partitions <= LS_SHARDS && (partitions & (partitions - 1)) == 0;
}
