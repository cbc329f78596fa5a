/* Keys: rules, place, versions. */
#include <criterion/criterion.h>

#include "schema/key.h"
#include "schema/schema.h"
#include "schema/wire.h"

static int check(const char *key, struct ls_err *err)
{
    return ls_key_check(key, strlen(key), err);
}

Test(key, says_what_is_wrong_and_where)
{
    struct ls_err err;
    cr_assert_eq(check("", &err), -1);
    cr_assert_str_eq(err.text, "key: empty; a key has 1 to 255 bytes");
    cr_assert_eq(check("ab{", &err), -1);
    cr_assert_str_eq(err.text, "key: brace at byte 2; braces are reserved");
    cr_assert_eq(check("a\tb", &err), -1);
    cr_assert_str_eq(err.text, "key: control character 0x09 at byte 1");
    cr_assert_eq(check("a\xc2\x80", &err), -1);
    cr_assert_str_eq(err.text, "key: control character U+0080 at byte 1");
    cr_assert_eq(check("a\xc3", &err), -1);
    cr_assert_str_eq(err.text, "key: not valid UTF-8");
    cr_assert_eq(err.class, LS_ERR_POISON);
    cr_assert_eq(err.code, LS_REJECT_BAD_KEY);
}

Test(key, length_limit_is_in_bytes)
{
    char key[LS_KEY_BYTES_MAX + 1];
    memset(key, 'k', sizeof(key));
    cr_assert_eq(ls_key_check(key, LS_KEY_BYTES_MAX, NULL), 0);
    cr_assert_eq(ls_key_check(key, LS_KEY_BYTES_MAX + 1, NULL), -1);
}

Test(key, trailing_space_and_case_make_other_keys)
{
    cr_assert_eq(check("A ", NULL), 0);
    cr_assert_neq(ls_shard_of("A", 1), ls_shard_of("a", 1));
    cr_assert_neq(ls_shard_of("A", 1), ls_shard_of("A ", 2));
}

Test(key, no_valid_key_is_the_genesis_key)
{
    cr_assert_eq(check(LS_GENESIS_KEY, NULL), -1);
}

/* Hashes as the tests of Kafka's Java client state them: Utils.murmur2. */
Test(key, shard_is_murmur2_of_the_java_client)
{
    static const struct {
        const char *key;
        int32_t hash;
    } known[] = {{"21", -973932308},
                 {"foobar", -790332482},
                 {"a-little-bit-long-string", -985981536},
                 {"a-little-bit-longer-string", -1486304829},
                 {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
                 {"abc", 479470107}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        cr_assert_eq(ls_shard_of(known[i].key, strlen(known[i].key)),
                     (known[i].hash & 0x7fffffff) % LS_SHARDS, "%s", known[i].key);
}

Test(key, partition_of_the_shard_is_the_partition_of_the_client)
{
    static const char *const keys[] = {"21", "foobar", "a-little-bit-long-string", "abc"};
    static const int32_t hashes[] = {-973932308, -790332482, -985981536, 479470107};
    for (int32_t partitions = 1; partitions <= LS_SHARDS; partitions *= 2)
        for (size_t i = 0; i < 4; i++)
            cr_assert_eq(ls_partition_of(ls_shard_of(keys[i], strlen(keys[i])), partitions),
                         (hashes[i] & 0x7fffffff) % partitions);
}

Test(key, partitions_must_divide_the_shards)
{
    for (int64_t n = 1; n <= 1024; n *= 2)
        cr_assert(ls_partitions_valid(n));
    static const int64_t bad[] = {0, -8, 3, 12, 1000, 2048, INT64_MAX};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_not(ls_partitions_valid(bad[i]));
}

Test(key, version_holds_generation_and_offset)
{
    uint64_t version = ls_version(3, 41);
    cr_assert_eq(version, (UINT64_C(3) << 48) + 42);
    cr_assert_eq(ls_version_generation(version), 3);
    cr_assert_eq(ls_version_offset(version), 41);
    cr_assert_gt(ls_version(1, 0), 0);
    cr_assert_gt(ls_version(2, 0), ls_version(1, INT64_C(0xffffffffffff) - 1));
}
