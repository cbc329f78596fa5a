#include "verify_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "schema/key.h"

enum { ROWS_MAX = 60000, PAGE = 7 };

struct verify_fake verify_fake = {.quarantined_offset = -1};

static char dir[] = "/tmp/lockstep-verify-XXXXXX";
static struct ls_schema schema = {.entity = (char *)"member"};
static struct ls_entity_config entity = {
    .name = (char *)"member", .generation = 1, .partitions = 4, .schema = &schema};
static struct ls_config config = {.state_dir = dir};
static struct ls_sink_config sink = {
    .name = (char *)"fake", .kind = LS_SINK_MYSQL, .entity = &entity};
static struct ls_ledger_position positions[4];
static struct ls_err err;

/* --- a store in memory --- */

static int fake_open(const struct ls_sink_config *chosen, struct ls_store **ret,
                     struct ls_err *failure)
{
    if (verify_fake.fail_open)
        return ls_err_set(failure, LS_ERR_RETRY, 0, "connection refused");
    *ret = (struct ls_store *)&verify_fake.rows;
    return 0;
}

static void fake_close(struct ls_store *store)
{
}

static int fake_check(struct ls_store *store, struct ls_err *failure)
{
    return 0;
}

static int fake_refresh(struct ls_store *store, struct ls_err *failure)
{
    return 0;
}

static int fake_marks(struct ls_store *store, struct ls_mark *ret, size_t n, struct ls_err *failure)
{
    if (verify_fake.on_marks)
        verify_fake.on_marks();
    verify_fake.n_rounds++;
    for (size_t i = 0; i < n; i++)
        ret[i] = verify_fake.marks[ret[i].partition];
    return 0;
}

static int fake_fetch(struct ls_store *store, const struct ls_span *keys, size_t n_keys,
                      struct ls_arena *arena, struct ls_image *images, struct ls_err *failure)
{
    if (n_keys > verify_fake.largest_fetch)
        verify_fake.largest_fetch = n_keys;
    for (size_t i = 0; i < n_keys; i++) {
        images[i] = (struct ls_image){.key = keys[i]};
        uint16_t shard = ls_shard_of(keys[i].data, keys[i].len);
        for (size_t r = 0; r < verify_fake.n_rows; r++)
            if (verify_fake.rows[r].shard == shard &&
                verify_fake.rows[r].image.key.len == keys[i].len &&
                memcmp(verify_fake.rows[r].key, keys[i].data, keys[i].len) == 0)
                images[i] = verify_fake.rows[r].image;
    }
    return 0;
}

static int by_key(const void *a, const void *b)
{
    int order = strcmp(((const struct verify_row *)a)->key, ((const struct verify_row *)b)->key);
    return verify_fake.disordered ? -order : order;
}

static int fake_walk(struct ls_store *store, uint16_t shard, ls_page_fn *page, void *opaque,
                     struct ls_err *failure)
{
    struct ls_image images[PAGE];
    size_t n = 0;
    if (verify_fake.fail_walk && shard == 1000)
        return ls_err_set(failure, LS_ERR_RETRY, 0, "the server has gone away");
    for (size_t r = 0; r < verify_fake.n_rows; r++) {
        if (verify_fake.rows[r].shard != shard)
            continue;
        images[n++] = verify_fake.rows[r].image;
        int rc = n == PAGE ? page(opaque, images, n) : 0;
        if (rc != 0)
            return rc;
        n = n == PAGE ? 0 : n;
    }
    return n > 0 ? page(opaque, images, n) : 0;
}

/* As redis does: no shards, keys only, some of them twice. */
static int fake_walk_keys(struct ls_store *store, uint16_t shard, ls_page_fn *page, void *opaque,
                          struct ls_err *failure)
{
    for (size_t r = verify_fake.n_rows; r > 0; r--) {
        struct ls_image twice[2] = {{.key = verify_fake.rows[r - 1].image.key},
                                    {.key = verify_fake.rows[r - 1].image.key}};
        int rc = page(opaque, twice, 2);
        if (rc != 0)
            return rc;
    }
    return 0;
}

#define FAKE_STORE                                                                         \
    .open = fake_open, .close = fake_close, .check = fake_check, .read_marks = fake_marks, \
    .refresh = fake_refresh, .fetch = fake_fetch
const struct ls_store_ops verify_ordered = {FAKE_STORE, .walks_in_order = true, .walk = fake_walk};
const struct ls_store_ops verify_unordered = {FAKE_STORE, .walk = fake_walk_keys};

struct verify_row *verify_put_row(const char *key, uint64_t version, uint64_t hash, bool deleted)
{
    cr_assert_lt(verify_fake.n_rows, (size_t)ROWS_MAX);
    struct verify_row *row = &verify_fake.rows[verify_fake.n_rows++];
    snprintf(row->key, sizeof(row->key), "%s", key);
    row->shard = ls_shard_of(key, strlen(key));
    row->image = (struct ls_image){
        .key = {row->key, (uint32_t)strlen(row->key)},
        .found = true,
        .deleted = deleted,
        .version = version,
        .hash = hash,
        .stored_hash = hash,
    };
    return row;
}

/* --- the log --- */

uint64_t verify_version(int64_t offset)
{
    return ls_version(1, offset);
}

void verify_log(const char *const *keys, size_t n, int64_t offset, bool deleted)
{
    struct ls_ledger_entry *entries = ls_calloc(n, sizeof(*entries));
    for (size_t i = 0; i < n; i++)
        entries[i] = (struct ls_ledger_entry){
            .key = keys[i],
            .key_len = (uint16_t)strlen(keys[i]),
            .shard = ls_shard_of(keys[i], strlen(keys[i])),
            .version = verify_version(offset),
            .hash = (uint64_t)offset * 3,
            .offset = offset,
            .deleted = deleted,
        };
    cr_assert_eq(ls_ledger_begin(verify_fake.ledger, &err), 0, "%s", err.text);
    cr_assert_eq(ls_ledger_write(verify_fake.ledger, entries, n, positions, &err), 0, "%s",
                 err.text);
    cr_assert_eq(ls_ledger_end(verify_fake.ledger, &err), 0, "%s", err.text);
    free(entries);
}

void verify_log_one(const char *key, int64_t offset, bool deleted)
{
    verify_log(&key, 1, offset, deleted);
}

static int fake_update(void *opaque, struct ls_err *failure)
{
    if (verify_fake.on_update)
        verify_fake.on_update();
    return 0;
}

static int fake_quarantined(void *opaque, const int32_t *partitions, const int64_t *offsets,
                            size_t n, bool *ret, struct ls_err *failure)
{
    for (size_t i = 0; i < n; i++)
        ret[i] = offsets[i] == verify_fake.quarantined_offset;
    return 0;
}

void verify_set_marks(int64_t offset)
{
    for (int32_t p = 0; p < 4; p++) {
        verify_fake.marks[p] = (struct ls_mark){.partition = p, .version = verify_version(offset)};
        snprintf(verify_fake.marks[p].genesis, sizeof(verify_fake.marks[p].genesis), "genesis-one");
    }
}

void verify_setup(void)
{
    cr_assert_not_null(mkdtemp(dir));
    verify_fake.rows = ls_calloc(ROWS_MAX, sizeof(*verify_fake.rows));
    cr_assert_eq(ls_ledger_open(&config, &entity, 0, &verify_fake.ledger, &err), 0, "%s", err.text);
    cr_assert_eq(ls_ledger_begin(verify_fake.ledger, &err), 0, "%s", err.text);
    cr_assert_eq(ls_ledger_reset(verify_fake.ledger, "genesis-one", NULL, &err), 0, "%s", err.text);
    cr_assert_eq(ls_ledger_end(verify_fake.ledger, &err), 0, "%s", err.text);
    verify_set_marks(1000);
}

void verify_teardown(void)
{
    ls_ledger_close(verify_fake.ledger);
    free(verify_fake.rows);
    pid_t pid = fork();
    if (pid == 0)
        execlp("rm", "rm", "-rf", dir, (char *)NULL);
    waitpid(pid, NULL, 0);
}

struct ls_verify_job verify_job(const struct ls_store_ops *ops, int64_t wait_ms)
{
    return (struct ls_verify_job){
        .model = {.ledger = verify_fake.ledger,
                  .update = fake_update,
                  .quarantined = fake_quarantined,
                  .wait_ms = wait_ms,
                  .examples = 2},
        .ops = ops,
        .report = {.sink = &sink},
    };
}

struct ls_verify_job verify_run(const struct ls_store_ops *ops, int64_t wait_ms)
{
    struct ls_verify_job job = verify_job(ops, wait_ms);
    qsort(verify_fake.rows, verify_fake.n_rows, sizeof(*verify_fake.rows), by_key);
    for (size_t i = 0; i < verify_fake.n_rows; i++)
        verify_fake.rows[i].image.key.data = verify_fake.rows[i].key;
    ls_verify_run(&job, 1, NULL, NULL);
    return job;
}
