#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pipeline/ledger_internal.h"
#include "schema/key.h"

static char dir[] = "/tmp/lockstep-ledger-XXXXXX";
static struct ls_entity_config entity = {
    .name = (char *)"member", .generation = 1, .partitions = 4};
static struct ls_config config = {.state_dir = dir};
static struct ls_ledger *ledger;
static struct ls_ledger_position positions[4];
static struct ls_err err;

#define OK(call) cr_assert_eq((call), 0, "%s", err.text)

static void remove_tree(const char *path)
{
    pid_t pid = fork();
    if (pid == 0)
        execlp("rm", "rm", "-rf", path, (char *)NULL);
    waitpid(pid, NULL, 0);
}

static void open_ledger(void)
{
    OK(ls_ledger_open(&config, &entity, 0, &ledger, &err));
}

static void reopen(void)
{
    ls_ledger_close(ledger);
    open_ledger();
}

static void set_up(void)
{
    cr_assert_not_null(mkdtemp(dir));
    open_ledger();
    OK(ls_ledger_begin(ledger, &err));
    OK(ls_ledger_reset(ledger, "genesis-one", NULL, &err));
    OK(ls_ledger_end(ledger, &err));
}

static void tear_down(void)
{
    ls_ledger_close(ledger);
    remove_tree(dir);
}

TestSuite(ledger, .init = set_up, .fini = tear_down);

static struct ls_ledger_entry entry(const char *key, uint64_t version, bool deleted)
{
    return (struct ls_ledger_entry){
        .key = key,
        .key_len = (uint16_t)strlen(key),
        .shard = ls_shard_of(key, strlen(key)),
        .version = version,
        .hash = version * 7,
        .offset = (int64_t)version - 1,
        .at_ms = 5,
        .deleted = deleted,
    };
}

static void write_entries(struct ls_ledger_entry *entries, size_t n)
{
    OK(ls_ledger_begin(ledger, &err));
    OK(ls_ledger_write(ledger, entries, n, positions, &err));
    OK(ls_ledger_end(ledger, &err));
}

static struct ls_ledger_entry find(const char *key)
{
    struct ls_ledger_entry found;
    struct ls_span span = {key, (uint32_t)strlen(key)};
    OK(ls_ledger_lookup(ledger, &span, 1, &found, &err));
    return found;
}

static struct ls_ledger_counts count(void)
{
    struct ls_ledger_counts counts;
    OK(ls_ledger_count(ledger, &counts, &err));
    return counts;
}

Test(ledger, gives_back_what_was_written)
{
    struct ls_ledger_entry in[] = {entry("one", 10, false), entry("two", 11, true)};
    write_entries(in, 2);
    struct ls_ledger_entry one = find("one"), two = find("two"), none = find("three");
    cr_expect(one.found && !one.deleted);
    cr_expect_eq(one.version, 10);
    cr_expect_eq(one.hash, 70);
    cr_expect_eq(one.offset, 9);
    cr_expect_eq(one.at_ms, 5);
    cr_expect(two.found && two.deleted);
    cr_expect_not(none.found);
    cr_expect_eq(count().live, 1);
    cr_expect_eq(count().deleted, 1);
}

Test(ledger, the_higher_version_wins_in_whatever_order_they_come)
{
    struct ls_ledger_entry newer[] = {entry("k", 20, false)}, older[] = {entry("k", 15, true)};
    write_entries(newer, 1);
    write_entries(older, 1);
    cr_expect_eq(find("k").version, 20);
    cr_expect_eq(count().deleted, 0);
    struct ls_ledger_entry mixed[] = {entry("k", 40, true), entry("k", 30, false),
                                      entry("k", 35, false)};
    write_entries(mixed, 3);
    cr_expect_eq(find("k").version, 40);
    cr_expect(find("k").deleted);
    cr_expect_eq(count().live, 0);
    cr_expect_eq(count().deleted, 1);
}

Test(ledger, a_deleted_member_that_comes_back_counts_as_live)
{
    struct ls_ledger_entry gone[] = {entry("k", 1, true)}, back[] = {entry("k", 2, false)};
    write_entries(gone, 1);
    write_entries(back, 1);
    cr_expect_eq(count().live, 1);
    cr_expect_eq(count().deleted, 0);
}

Test(ledger, a_purge_takes_the_key_out_unless_a_newer_record_came)
{
    struct ls_ledger_entry in[] = {entry("a", 5, true), entry("b", 9, false)};
    write_entries(in, 2);
    struct ls_ledger_entry purge[] = {entry("a", 7, false), entry("b", 7, false),
                                      entry("c", 7, false)};
    for (size_t i = 0; i < 3; i++)
        purge[i].purged = true;
    write_entries(purge, 3);
    cr_expect_not(find("a").found);
    cr_expect(find("b").found);
    cr_expect_not(find("c").found);
    cr_expect_eq(count().live, 1);
    cr_expect_eq(count().deleted, 0);
}

Test(ledger, walks_each_shard_in_byte_order_and_misses_nothing)
{
    enum { N = 20000 };
    struct ls_ledger_entry *in = ls_calloc(N, sizeof(*in));
    char(*keys)[16] = ls_calloc(N, sizeof(*keys));
    /* All in one shard, so that it takes many pages. */
    for (int i = 0; i < N; i++) {
        snprintf(keys[i], sizeof(keys[i]), "k%d", i);
        in[i] = entry(keys[i], (uint64_t)i + 1, i % 3 == 0);
        in[i].shard = i < N - 1 ? 7 : 8;
    }
    write_entries(in, N);
    struct ls_ledger_cursor cursor;
    const struct ls_ledger_entry *at;
    char last[16] = "";
    size_t seen = 0;
    ls_ledger_cursor_init(&cursor, ledger);
    ls_ledger_cursor_begin(&cursor, 7);
    int rc;
    while ((rc = ls_ledger_cursor_next(&cursor, &at, &err)) > 0) {
        char key[16] = "";
        memcpy(key, at->key, at->key_len);
        cr_assert(strcmp(last, key) < 0, "%s before %s", last, key);
        memcpy(last, key, sizeof(last));
        seen++;
    }
    OK(rc);
    cr_expect_eq(seen, N - 1);
    cr_expect_eq(ls_ledger_cursor_next(&cursor, &at, &err), 0);
    ls_ledger_cursor_begin(&cursor, 8);
    cr_expect_eq(ls_ledger_cursor_next(&cursor, &at, &err), 1);
    cr_expect_eq(ls_ledger_cursor_next(&cursor, &at, &err), 0);
    ls_ledger_cursor_begin(&cursor, 1023);
    cr_expect_eq(ls_ledger_cursor_next(&cursor, &at, &err), 0);
    ls_ledger_cursor_free(&cursor);
    free(in);
    free(keys);
}

Test(ledger, remembers_positions_and_identity_over_a_restart)
{
    positions[2] = (struct ls_ledger_position){.next = 99, .max_at_ms = 1234, .poison = 3};
    struct ls_ledger_entry in[] = {entry("one", 10, false)};
    write_entries(in, 1);
    reopen();
    struct ls_ledger_position back[4];
    char genesis[37];
    OK(ls_ledger_positions(ledger, back, &err));
    cr_expect_eq(back[2].next, 99);
    cr_expect_eq(back[2].max_at_ms, 1234);
    cr_expect_eq(count().poison, 3);
    OK(ls_ledger_genesis(ledger, genesis, &err));
    cr_expect_str_eq(genesis, "genesis-one");
    cr_expect(find("one").found);
    cr_expect_null(ls_ledger_rebuilt(ledger));
}

Test(ledger, another_log_empties_it_and_says_so)
{
    struct ls_ledger_entry in[] = {entry("one", 10, true)};
    positions[0].next = 11;
    write_entries(in, 1);
    OK(ls_ledger_begin(ledger, &err));
    OK(ls_ledger_reset(ledger, "genesis-two", "it was of another log", &err));
    OK(ls_ledger_end(ledger, &err));
    struct ls_ledger_position back[4];
    OK(ls_ledger_positions(ledger, back, &err));
    cr_expect_eq(back[0].next, 0);
    cr_expect_not(find("one").found);
    cr_expect_eq(count().deleted, 0);
    cr_expect_str_eq(ls_ledger_rebuilt(ledger), "it was of another log");
}

Test(ledger, another_number_of_partitions_is_another_log)
{
    entity.partitions = 2;
    reopen();
    char genesis[37];
    OK(ls_ledger_genesis(ledger, genesis, &err));
    cr_expect_str_eq(genesis, "unknown");
    entity.partitions = 4;
}

Test(ledger, hashes_with_a_field_that_was_retired_since_are_built_again)
{
    struct ls_schema retired = {.n_reserved = 1};
    entity.schema = &retired;
    reopen();
    char genesis[37];
    OK(ls_ledger_genesis(ledger, genesis, &err));
    cr_expect_str_eq(genesis, "unknown");
    entity.schema = NULL;
}

/* The child is killed with a transaction committed and nothing synced. */
Test(ledger, keeps_committed_records_when_the_process_is_killed)
{
    ls_ledger_close(ledger);
    pid_t pid = fork();
    if (pid == 0) {
        struct ls_ledger_entry in[] = {entry("one", 10, false)};
        positions[1].next = 11;
        if (ls_ledger_open(&config, &entity, 0, &ledger, &err) == 0 &&
            ls_ledger_begin(ledger, &err) == 0)
            ls_ledger_write(ledger, in, 1, positions, &err);
        kill(getpid(), SIGKILL);
    }
    waitpid(pid, NULL, 0);
    open_ledger();
    struct ls_ledger_position back[4];
    OK(ls_ledger_positions(ledger, back, &err));
    cr_expect_eq(back[1].next, 11);
    cr_expect(find("one").found);
    cr_expect_null(ls_ledger_rebuilt(ledger));
}

static char *path_of(const char *name)
{
    return ls_asprintf("%s/%s", ledger->env.dir, name);
}

Test(ledger, says_unsynced_only_while_commits_are_in_memory_only)
{
    LS_CLEANUP_FREE char *unsynced = path_of("unsynced");
    struct ls_ledger_entry in[] = {entry("one", 10, false)};
    OK(ls_ledger_begin(ledger, &err));
    cr_expect_eq(access(unsynced, F_OK), -1);
    OK(ls_ledger_write(ledger, in, 1, positions, &err));
    cr_expect_eq(access(unsynced, F_OK), 0);
    OK(ls_ledger_end(ledger, &err));
    cr_expect_eq(access(unsynced, F_OK), -1);
}

static void plant(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    fputs(text, file);
    fclose(file);
}

Test(ledger, is_built_again_when_the_machine_went_down_with_commits_unsynced)
{
    struct ls_ledger_entry in[] = {entry("one", 10, false)};
    write_entries(in, 1);
    LS_CLEANUP_FREE char *unsynced = path_of("unsynced");
    plant(unsynced, "00000000-0000-0000-0000-000000000000");
    reopen();
    cr_expect_not(find("one").found);
    cr_assert_not_null(ls_ledger_rebuilt(ledger));
    cr_expect(strstr(ls_ledger_rebuilt(ledger), "machine went down") != NULL);
    char genesis[37];
    OK(ls_ledger_genesis(ledger, genesis, &err));
    cr_expect_str_eq(genesis, "");
    reopen();
    cr_expect_null(ls_ledger_rebuilt(ledger), "thrown away twice");
}

Test(ledger, is_built_again_when_its_file_is_not_one)
{
    LS_CLEANUP_FREE char *data = path_of("data.mdb");
    ls_ledger_close(ledger);
    char garbage[9000];
    memset(garbage, 'x', sizeof(garbage) - 1);
    garbage[sizeof(garbage) - 1] = '\0';
    plant(data, garbage);
    open_ledger();
    cr_assert_not_null(ls_ledger_rebuilt(ledger));
    cr_expect(strstr(ls_ledger_rebuilt(ledger), "damaged") != NULL);
}

Test(ledger, grows_its_map_when_it_is_full)
{
    enum { N = 5000 };
    ls_ledger_close(ledger);
    remove_tree(dir);
    OK(ls_ledger_open(&config, &entity, 64 * 1024, &ledger, &err));
    OK(ls_ledger_begin(ledger, &err));
    OK(ls_ledger_reset(ledger, "g", NULL, &err));
    OK(ls_ledger_end(ledger, &err));
    struct ls_ledger_entry *in = ls_calloc(N, sizeof(*in));
    char(*keys)[16] = ls_calloc(N, sizeof(*keys));
    for (int i = 0; i < N; i++) {
        snprintf(keys[i], sizeof(keys[i]), "k%d", i);
        in[i] = entry(keys[i], (uint64_t)i + 1, false);
    }
    write_entries(in, N);
    cr_expect_eq(count().live, N);
    cr_expect_eq(find("k4999").version, 5000);
    free(in);
    free(keys);
}

Test(ledger, a_second_updater_is_told_who_is_first)
{
    LS_CLEANUP_FREE char *lock = path_of("update.lock");
    OK(ls_ledger_begin(ledger, &err));
    OK(ls_ledger_end(ledger, &err));
    int fd = open(lock, O_RDWR);
    cr_assert_geq(fd, 0);
    cr_assert_eq(flock(fd, LOCK_EX), 0);
    ledger->env.lock_wait_ms = 0;
    cr_expect_eq(ls_ledger_begin(ledger, &err), -1);
    cr_expect_eq(err.class, LS_ERR_RETRY);
    char pid[32];
    snprintf(pid, sizeof(pid), "process %ld ", (long)getpid());
    cr_expect(strstr(err.text, pid) != NULL, "%s", err.text);
    close(fd);
    OK(ls_ledger_begin(ledger, &err));
    OK(ls_ledger_end(ledger, &err));
}
