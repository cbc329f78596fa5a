#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "consumers/verify.h"
#include "schema/key.h"

/* --- a store in memory --- */

enum { ROWS_MAX = 60000, PAGE = 7 };

struct row {
    struct ls_image image;
    uint16_t shard; /* where it stands, which is its key's place unless a test says otherwise */
    char key[32];
};

static struct row *rows;
static size_t n_rows;
static struct ls_mark marks[4];
static int fail_walk, fail_open, n_rounds;
static size_t largest_fetch;
static bool disordered;
static void (*on_marks)(void); /* what happens while verify works */
static void (*on_update)(void);

static char dir[] = "/tmp/lockstep-verify-XXXXXX";
static struct ls_schema schema = {.entity = (char *)"member"};
static struct ls_entity_config entity = {
    .name = (char *)"member", .generation = 1, .partitions = 4, .schema = &schema};
static struct ls_config config = {.state_dir = dir};
static struct ls_sink_config sink = {
    .name = (char *)"fake", .kind = LS_SINK_MYSQL, .entity = &entity};
static struct ls_ledger *ledger;
static struct ls_ledger_position positions[4];
static int64_t quarantined_offset = -1;
static struct ls_err err;

static int fake_open(const struct ls_sink_config *chosen, struct ls_store **ret,
                     struct ls_err *failure)
{
    if (fail_open)
        return ls_err_set(failure, LS_ERR_RETRY, 0, "connection refused");
    *ret = (struct ls_store *)&rows;
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
    if (on_marks)
        on_marks();
    n_rounds++;
    for (size_t i = 0; i < n; i++)
        ret[i] = marks[ret[i].partition];
    return 0;
}

static int fake_fetch(struct ls_store *store, const struct ls_span *keys, size_t n_keys,
                      struct ls_arena *arena, struct ls_image *images, struct ls_err *failure)
{
    if (n_keys > largest_fetch)
        largest_fetch = n_keys;
    for (size_t i = 0; i < n_keys; i++) {
        images[i] = (struct ls_image){.key = keys[i]};
        uint16_t shard = ls_shard_of(keys[i].data, keys[i].len);
        for (size_t r = 0; r < n_rows; r++)
            if (rows[r].shard == shard && rows[r].image.key.len == keys[i].len &&
                memcmp(rows[r].key, keys[i].data, keys[i].len) == 0)
                images[i] = rows[r].image;
    }
    return 0;
}

static int by_key(const void *a, const void *b)
{
    int order = strcmp(((const struct row *)a)->key, ((const struct row *)b)->key);
    return disordered ? -order : order;
}

static int fake_walk(struct ls_store *store, uint16_t shard, ls_page_fn *page, void *opaque,
                     struct ls_err *failure)
{
    struct ls_image images[PAGE];
    size_t n = 0;
    if (fail_walk && shard == 1000)
        return ls_err_set(failure, LS_ERR_RETRY, 0, "the server has gone away");
    for (size_t r = 0; r < n_rows; r++) {
        if (rows[r].shard != shard)
            continue;
        images[n++] = rows[r].image;
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
    for (size_t r = n_rows; r > 0; r--) {
        struct ls_image twice[2] = {{.key = rows[r - 1].image.key}, {.key = rows[r - 1].image.key}};
        int rc = page(opaque, twice, 2);
        if (rc != 0)
            return rc;
    }
    return 0;
}

#define FAKE_STORE                                                                         \
    .open = fake_open, .close = fake_close, .check = fake_check, .read_marks = fake_marks, \
    .refresh = fake_refresh, .fetch = fake_fetch
static const struct ls_store_ops ordered = {FAKE_STORE, .walks_in_order = true, .walk = fake_walk};
static const struct ls_store_ops unordered = {FAKE_STORE, .walk = fake_walk_keys};

static struct row *put_row(const char *key, uint64_t version, uint64_t hash, bool deleted)
{
    cr_assert_lt(n_rows, (size_t)ROWS_MAX);
    struct row *row = &rows[n_rows++];
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

/* Versions are offsets here: version n stands at offset n - 1 of its partition. */
static uint64_t version(int64_t offset)
{
    return ls_version(1, offset);
}

static void write_log(const char *const *keys, size_t n, int64_t offset, bool deleted)
{
    struct ls_ledger_entry *entries = ls_calloc(n, sizeof(*entries));
    for (size_t i = 0; i < n; i++)
        entries[i] = (struct ls_ledger_entry){
            .key = keys[i],
            .key_len = (uint16_t)strlen(keys[i]),
            .shard = ls_shard_of(keys[i], strlen(keys[i])),
            .version = version(offset),
            .hash = (uint64_t)offset * 3,
            .offset = offset,
            .deleted = deleted,
        };
    cr_assert_eq(ls_ledger_begin(ledger, &err), 0, "%s", err.text);
    cr_assert_eq(ls_ledger_write(ledger, entries, n, positions, &err), 0, "%s", err.text);
    cr_assert_eq(ls_ledger_end(ledger, &err), 0, "%s", err.text);
    free(entries);
}

static void log_one(const char *key, int64_t offset, bool deleted)
{
    write_log(&key, 1, offset, deleted);
}

static int fake_update(void *opaque, struct ls_err *failure)
{
    if (on_update)
        on_update();
    return 0;
}

static int fake_quarantined(void *opaque, const int32_t *partitions, const int64_t *offsets,
                            size_t n, bool *ret, struct ls_err *failure)
{
    for (size_t i = 0; i < n; i++)
        ret[i] = offsets[i] == quarantined_offset;
    return 0;
}

static void set_marks(int64_t offset)
{
    for (int32_t p = 0; p < 4; p++) {
        marks[p] = (struct ls_mark){.partition = p, .version = version(offset)};
        snprintf(marks[p].genesis, sizeof(marks[p].genesis), "genesis-one");
    }
}

static void set_up(void)
{
    cr_assert_not_null(mkdtemp(dir));
    rows = ls_calloc(ROWS_MAX, sizeof(*rows));
    cr_assert_eq(ls_ledger_open(&config, &entity, 0, &ledger, &err), 0, "%s", err.text);
    cr_assert_eq(ls_ledger_begin(ledger, &err), 0, "%s", err.text);
    cr_assert_eq(ls_ledger_reset(ledger, "genesis-one", NULL, &err), 0, "%s", err.text);
    cr_assert_eq(ls_ledger_end(ledger, &err), 0, "%s", err.text);
    set_marks(1000);
}

static void tear_down(void)
{
    ls_ledger_close(ledger);
    free(rows);
    pid_t pid = fork();
    if (pid == 0)
        execlp("rm", "rm", "-rf", dir, (char *)NULL);
    waitpid(pid, NULL, 0);
}

TestSuite(verify, .init = set_up, .fini = tear_down, .timeout = 60);

static struct ls_verify_job run(const struct ls_store_ops *ops, int64_t wait_ms)
{
    struct ls_verify_job job = {
        .model = {.ledger = ledger,
                  .update = fake_update,
                  .quarantined = fake_quarantined,
                  .wait_ms = wait_ms,
                  .examples = 2},
        .ops = ops,
        .report = {.sink = &sink},
    };
    qsort(rows, n_rows, sizeof(*rows), by_key);
    for (size_t i = 0; i < n_rows; i++)
        rows[i].image.key.data = rows[i].key;
    ls_verify_run(&job, 1, NULL, NULL);
    return job;
}

/* One key for each difference. */
static void make_one_of_each(void)
{
    log_one("equal", 10, false);
    put_row("equal", version(10), 30, false);
    log_one("gone", 11, true);
    put_row("gone", version(11), 33, true);
    log_one("missing", 12, false);
    log_one("older", 13, false);
    put_row("older", version(5), 15, false);
    log_one("content", 14, false);
    put_row("content", version(14), 999, false);
    log_one("ahead", 15, false);
    put_row("ahead", version(16), 48, false);
    put_row("extra", version(17), 51, false);
    log_one("back", 18, true);
    put_row("back", version(4), 12, false);
    log_one("garbled", 19, false);
    struct row *row = put_row("garbled", version(19), 0, false);
    row->image.undecodable = true;
    row->image.why = "not msgpack";
    log_one("late", 2000, false);
    put_row("late", version(3), 9, false);
    log_one("refused", 20, false);
    put_row("refused", version(2), 6, false);
    quarantined_offset = 20;
}

static void check_one_of_each(const struct ls_store_ops *ops)
{
    make_one_of_each();
    struct ls_verify_job job = run(ops, 0);
    const uint64_t *counts = job.report.counts;
    cr_assert_eq(job.report.err.class, LS_ERR_NONE, "%s", job.report.err.text);
    cr_expect_eq(counts[LS_DIFF_EQUAL], 2);
    cr_expect_eq(counts[LS_DIFF_MISSING], 1);
    cr_expect_eq(counts[LS_DIFF_DIVERGED], 2);
    cr_expect_eq(counts[LS_DIFF_AHEAD], 1);
    cr_expect_eq(counts[LS_DIFF_EXTRA], 1);
    cr_expect_eq(counts[LS_DIFF_RESURRECTED], 1);
    cr_expect_eq(counts[LS_DIFF_UNDECODABLE], 1);
    cr_expect_eq(counts[LS_DIFF_LAGGING], 1);
    cr_expect_eq(counts[LS_DIFF_QUARANTINED], 1);
    cr_expect_eq(job.report.live, 8);
    cr_expect_eq(job.report.deleted, 2);
    cr_expect(ls_verify_different(&job.report));
    cr_expect_not(ls_verify_equal(&job.report));
    ls_verify_report_free(&job.report);
}

Test(verify, finds_every_difference_by_merging_with_a_store_in_order)
{
    check_one_of_each(&ordered);
}

Test(verify, finds_every_difference_by_asking_a_store_without_order)
{
    check_one_of_each(&unordered);
}

static void check_lag_without_confirming(const struct ls_store_ops *ops)
{
    enum { LATE = 5 * LS_VERIFY_CANDIDATES };
    char(*names)[16] = ls_calloc(LATE, sizeof(*names));
    const char **keys = ls_calloc(LATE, sizeof(*keys));
    for (size_t i = 0; i < LATE; i++) {
        snprintf(names[i], sizeof(names[i]), "late-%zu", i);
        keys[i] = names[i];
    }
    write_log(keys, LATE, 2000, false); /* the marks stand at 1000 */
    log_one("missing", 12, false);
    n_rounds = 0;
    struct ls_verify_job job = run(ops, 0);
    cr_expect_eq(job.report.counts[LS_DIFF_LAGGING], LATE);
    cr_expect_eq(job.report.counts[LS_DIFF_MISSING], 1);
    cr_expect_leq(n_rounds, 3, "%d rounds", n_rounds);
    ls_verify_report_free(&job.report);
    free(names);
    free(keys);
}

Test(verify, a_store_far_behind_is_not_read_again_for_each_record_that_it_lacks)
{
    check_lag_without_confirming(&ordered);
    check_lag_without_confirming(&unordered);
}

Test(verify, says_equal_only_when_all_is_equal)
{
    log_one("a", 1, false);
    log_one("b", 2, true);
    put_row("a", version(1), 3, false);
    put_row("b", version(2), 6, true);
    struct ls_verify_job job = run(&ordered, 0);
    cr_expect(ls_verify_equal(&job.report));
    cr_expect_eq(job.report.counts[LS_DIFF_EQUAL], 2);
    cr_expect_eq(job.report.n_examples, 0);
    ls_verify_report_free(&job.report);
}

Test(verify, an_empty_log_and_an_empty_store_are_equal)
{
    struct ls_verify_job job = run(&ordered, 0);
    cr_expect(ls_verify_equal(&job.report));
    ls_verify_report_free(&job.report);
}

Test(verify, a_wrong_hash_beside_right_content_is_a_difference)
{
    log_one("a", 1, false);
    put_row("a", version(1), 3, false)->image.stored_hash = 4;
    struct ls_verify_job job = run(&ordered, 0);
    cr_expect_eq(job.report.counts[LS_DIFF_DIVERGED], 1);
    ls_verify_report_free(&job.report);
}

Test(verify, a_record_on_another_shard_than_its_keys_is_extra)
{
    log_one("a", 1, false);
    put_row("a", version(1), 3, false);
    put_row("a", version(1), 3, false)->shard = (uint16_t)((ls_shard_of("a", 1) + 1) % LS_SHARDS);
    struct ls_verify_job job = run(&ordered, 0);
    cr_expect_eq(job.report.counts[LS_DIFF_EQUAL], 1);
    cr_expect_eq(job.report.counts[LS_DIFF_EXTRA], 1);
    cr_expect(strstr(job.report.examples[0].why, "stands on shard") != NULL);
    ls_verify_report_free(&job.report);
}

static void log_catches_up(void)
{
    log_one("a", 9, false);
    log_one("new", 8, false);
}

Test(verify, what_was_in_flight_is_not_a_difference)
{
    /* The walk meets a store that is ahead of the ledger; the log has both records by then. */
    log_one("a", 1, false);
    put_row("a", version(9), 27, false);
    put_row("new", version(8), 24, false);
    on_update = log_catches_up;
    struct ls_verify_job job = run(&ordered, 0);
    cr_expect(ls_verify_equal(&job.report));
    cr_expect_eq(job.report.counts[LS_DIFF_EQUAL], 2);
    ls_verify_report_free(&job.report);
}

static void sink_catches_up(void)
{
    if (n_rounds < 3)
        return;
    set_marks(1000);
    rows[0].image.version = version(500);
    rows[0].image.hash = rows[0].image.stored_hash = 1500;
}

Test(verify, waits_for_what_the_sink_has_not_passed)
{
    log_one("a", 500, false);
    put_row("a", version(1), 3, false);
    set_marks(400);
    on_marks = sink_catches_up;
    struct ls_verify_job job = run(&ordered, 30000);
    cr_expect(ls_verify_equal(&job.report));
    cr_expect_geq(n_rounds, 3);
    ls_verify_report_free(&job.report);
}

Test(verify, a_store_without_marks_is_lagging_and_not_different)
{
    log_one("a", 1, false);
    memset(marks, 0, sizeof(marks));
    struct ls_verify_job job = run(&ordered, 0);
    cr_expect_eq(job.report.counts[LS_DIFF_LAGGING], 1);
    cr_expect_not(ls_verify_equal(&job.report));
    cr_expect_not(ls_verify_different(&job.report));
    ls_verify_report_free(&job.report);
}

Test(verify, marks_of_another_log_cannot_tell_anything)
{
    log_one("a", 1, false);
    snprintf(marks[2].genesis, sizeof(marks[2].genesis), "genesis-two");
    struct ls_verify_job job = run(&ordered, 0);
    cr_expect_eq(job.report.err.class, LS_ERR_FATAL);
    cr_expect(strstr(job.report.err.text, "lockstep resync --sink fake") != NULL);
    ls_verify_report_free(&job.report);
}

Test(verify, memory_and_requests_stay_bounded_when_everything_is_missing)
{
    enum { N = 20000 };
    const char **keys = ls_calloc(N, sizeof(*keys));
    for (int i = 0; i < N; i++)
        keys[i] = ls_asprintf("key-%d", i);
    write_log(keys, N, 7, false);
    struct ls_verify_job job = run(&ordered, 0);
    cr_expect_eq(job.report.counts[LS_DIFF_MISSING], N);
    cr_expect_eq(job.report.n_examples, 2);
    cr_expect_eq(largest_fetch, (size_t)LS_VERIFY_CANDIDATES);
    ls_verify_report_free(&job.report);
    for (int i = 0; i < N; i++)
        free((void *)(uintptr_t)keys[i]);
    free(keys);
}

Test(verify, a_store_that_fails_is_not_told_about)
{
    log_one("a", 1, false);
    put_row("a", version(1), 3, false);
    fail_walk = 1;
    struct ls_verify_job job = run(&ordered, 0);
    cr_expect_str_eq(job.report.err.text, "the server has gone away");
    cr_expect_not(ls_verify_equal(&job.report));
    ls_verify_report_free(&job.report);
    fail_open = 1;
    job = run(&ordered, 0);
    cr_expect_str_eq(job.report.err.text, "connection refused");
    ls_verify_report_free(&job.report);
}

Test(verify, a_store_that_breaks_the_order_of_keys_is_refused)
{
    for (int i = 0; i < 2; i++) {
        char key[8];
        snprintf(key, sizeof(key), "k%d", i);
        put_row(key, version(1), 3, false)->shard = 5;
    }
    disordered = true;
    struct ls_verify_job job = run(&ordered, 0);
    cr_expect_eq(job.report.err.class, LS_ERR_FATAL);
    cr_expect(strstr(job.report.err.text, "byte order") != NULL);
    ls_verify_report_free(&job.report);
}

Test(verify, stops_when_asked)
{
    atomic_int stop = 1;
    log_one("a", 1, false);
    struct ls_verify_job job = {
        .model = {.ledger = ledger,
                  .update = fake_update,
                  .quarantined = fake_quarantined,
                  .wait_ms = 60000,
                  .stop = &stop},
        .ops = &ordered,
        .report = {.sink = &sink},
    };
    ls_verify_run(&job, 1, NULL, NULL);
    cr_expect_str_eq(job.report.err.text, "interrupted");
    ls_verify_report_free(&job.report);
}

/* --- what is printed --- */

static struct ls_verify_report printed(const char *name, struct ls_sink_config *own)
{
    *own = sink;
    own->name = (char *)(uintptr_t)name;
    return (struct ls_verify_report){
        .sink = own,
        .live = 85021,
        .deleted = 1219,
        .seconds = 3.21,
        .finished = true,
        .counts = {[LS_DIFF_EQUAL] = 86240},
    };
}

static char *table_of(struct ls_verify_report *one, struct ls_verify_report *two, bool show_pii)
{
    const struct ls_verify_report *reports[] = {one, two};
    struct ls_verify_format format = {.show_pii = show_pii};
    struct ls_buf buf = {0};
    ls_verify_table(reports, 2, &format, &buf);
    return (char *)(uintptr_t)ls_buf_cstr(&buf);
}

Test(verify_report, prints_a_table_and_one_line_when_all_is_equal)
{
    struct ls_sink_config a, b;
    struct ls_verify_report one = printed("mysql", &a), two = printed("es-primary", &b);
    LS_CLEANUP_FREE char *text = table_of(&one, &two, false);
    cr_expect_str_eq(text,
                     "SINK            MEMBERS      DELETED        EQUAL      SECONDS\n"
                     "mysql            85,021        1,219       86,240          3.2\n"
                     "es-primary       85,021        1,219       86,240          3.2\n"
                     "\n"
                     "All 2 sinks equal the log: 85,021 members, 1,219 deleted, compared in full "
                     "by version and content.\n");
}

Test(verify_report, prints_what_is_wrong_and_what_mends_it)
{
    struct ls_sink_config a, b;
    struct ls_verify_report one = printed("mysql", &a), two = printed("es-primary", &b);
    struct ls_verify_example example = {
        .difference = LS_DIFF_MISSING,
        .key = "m\033[31m1",
        .shard = 9,
        .offset = 77,
        .log = {true, false, version(77), 0xabc},
        .why = "",
    };
    one.counts[LS_DIFF_MISSING] = 2;
    one.examples = &example;
    one.n_examples = 1;
    ls_err_set(&two.err, LS_ERR_RETRY, 0, "connection refused");
    LS_CLEANUP_FREE char *text = table_of(&one, &two, false);
    cr_expect(strstr(text, "MISSING") != NULL);
    cr_expect(strstr(text, "DIVERGED") == NULL, "a column without a number in it");
    cr_expect(strstr(text, "mysql differs from the log: 2 missing.\n") != NULL);
    cr_expect(strstr(text, "lockstep resync --sink mysql") != NULL);
    cr_expect(strstr(text, "es-primary: could not tell: connection refused\n") != NULL);
    cr_expect(strstr(text, "0 of 2 sinks equal the log.\n") != NULL);
    cr_expect(strstr(text,
                     "mysql missing m\\x1b[31m1 (shard 9, partition 1 offset 77): the log has "
                     "version 1:77 hash 0000000000000abc, the store has none\n") != NULL,
              "%s", text);
}

Test(verify_report, says_what_a_resync_mends_and_what_it_leaves)
{
    struct ls_sink_config a, b;
    struct ls_verify_report one = printed("mysql", &a), two = printed("redis-a", &b);
    one.counts[LS_DIFF_DIVERGED] = 1;
    two.counts[LS_DIFF_AHEAD] = 1;
    LS_CLEANUP_FREE char *text = table_of(&one, &two, false);
    cr_expect(strstr(text, "mysql differs from the log: 1 diverged.\n"
                           "  Mend it with `lockstep resync --sink mysql`, which writes what is "
                           "missing, older, or other at the log's version.\n"
                           "redis-a differs from the log: 1 ahead.\n"
                           "  A resync leaves what is newer than the log") != NULL,
              "%s", text);
}

Test(verify_report, tells_when_elasticsearch_refuses_what_was_deleted_by_hand)
{
    struct ls_sink_config a, b;
    struct ls_verify_report one = printed("mysql", &a), two = printed("es-primary", &b);
    a.kind = LS_SINK_MYSQL;
    b.kind = LS_SINK_ES;
    one.counts[LS_DIFF_MISSING] = 1;
    LS_CLEANUP_FREE char *other = table_of(&one, &two, false);
    cr_expect(strstr(other, "gc_deletes") == NULL, "%s", other);
    two.counts[LS_DIFF_MISSING] = 1;
    LS_CLEANUP_FREE char *text = table_of(&one, &two, false);
    cr_expect(strstr(text, "index.gc_deletes is not 0s") != NULL, "%s", text);
}

Test(verify_report, what_cannot_be_decoded_has_no_hash)
{
    struct ls_sink_config a, b;
    struct ls_verify_report one = printed("redis-a", &a), two = printed("redis-b", &b);
    struct ls_verify_example example = {
        .difference = LS_DIFF_UNDECODABLE,
        .key = "k",
        .offset = -1,
        .store = {.found = true},
        .why = "the value is shorter than a version",
    };
    one.counts[LS_DIFF_UNDECODABLE] = 1;
    one.examples = &example;
    one.n_examples = 1;
    LS_CLEANUP_FREE char *text = table_of(&one, &two, false);
    cr_expect(strstr(text, "the store has no version; the value is shorter") != NULL, "%s", text);
}

Test(verify_report, masks_personal_keys_unless_asked)
{
    struct ls_sink_config a, b;
    struct ls_verify_report one = printed("mysql", &a), two = printed("es-primary", &b);
    struct ls_verify_example example = {.difference = LS_DIFF_EXTRA, .key = "secret", .offset = -1};
    one.counts[LS_DIFF_EXTRA] = 1;
    one.examples = &example;
    one.n_examples = 1;
    schema.key.pii = true;
    LS_CLEANUP_FREE char *masked = table_of(&one, &two, false);
    cr_expect(strstr(masked, "secret") == NULL);
    LS_CLEANUP_FREE char *open = table_of(&one, &two, true);
    cr_expect(strstr(open, "secret") != NULL);
    const struct ls_verify_report *reports[] = {&one};
    struct ls_buf json = {0};
    ls_verify_json(reports, 1, &(struct ls_verify_format){0}, &json);
    cr_expect(strstr(ls_buf_cstr(&json), "secret") == NULL);
    ls_buf_free(&json);
    schema.key.pii = false;
}

Test(verify_report, gives_versions_to_programs_as_strings)
{
    struct ls_sink_config a;
    struct ls_verify_report one = printed("mysql", &a);
    struct ls_verify_example example = {
        .difference = LS_DIFF_DIVERGED,
        .key = "k\xff",
        .shard = 9,
        .offset = 77,
        .log = {true, false, version(77), 1},
        .store = {true, true, version(76), 2},
    };
    one.counts[LS_DIFF_DIVERGED] = 1;
    one.examples = &example;
    one.n_examples = 1;
    const struct ls_verify_report *reports[] = {&one};
    struct ls_buf buf = {0};
    ls_verify_json(reports, 1, &(struct ls_verify_format){0}, &buf);
    json_t *root = json_loadb(buf.data, buf.len, 0, NULL);
    cr_assert_not_null(root);
    cr_expect(json_is_false(json_object_get(root, "equal")));
    json_t *item = json_array_get(json_object_get(root, "sinks"), 0);
    cr_expect_str_eq(json_string_value(json_object_get(item, "result")), "different");
    cr_expect_eq(json_integer_value(json_object_get(json_object_get(item, "counts"), "diverged")),
                 1);
    json_t *shown = json_array_get(json_object_get(item, "examples"), 0);
    cr_expect(json_is_null(json_object_get(shown, "key")), "not UTF-8");
    cr_expect_str_eq(json_string_value(json_object_get(json_object_get(shown, "log"), "version")),
                     "281474976710734");
    json_decref(root);
    ls_buf_free(&buf);
}
