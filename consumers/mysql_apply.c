/*
 * One unit, one transaction, one server.
 *
 * The pending records are sorted by shard and key (so that all writers lock rows in one order) and
 * become statements of one shard each; many statements go in one packet, since with 1024 tables a
 * round trip per statement would be most of the time. BEGIN leads the first packet and COMMIT ends
 * the last, so a small unit is one round trip.
 *
 * The server stops at the first statement of a packet that fails. InnoDB undoes that statement
 * alone and keeps the transaction, so a bad row is searched inside the transaction: the statement
 * is split (at the row that the message names, else in halves) until one row is left, and
 * everything else goes on around it. Savepoints were rejected: they would repeat what InnoDB does,
 * with two more statements each. Running the unit again from the start was rejected: it doubles the
 * work for one bad row. That the transaction still is open is checked at every answer, since a
 * server that rolled it back by itself would otherwise lose rows silently.
 *
 * How many rows were stale is counted, not known by row. An upsert counts 1 for a new row, 2 for
 * one that it changed, 0 for one left as it was, and mysql_info() gives as "Duplicates" the changed
 * ones:
 *
 *     affected = new + 2 * changed
 *     applied = affected - duplicates = new + changed
 *
 * A statement of one row has no mysql_info(): there 0 means stale. Tested against MariaDB 10.11
 * (tests/live_c/test_mysql_sink.c); MySQL 8 documents the same in "INSERT ... ON DUPLICATE KEY
 * UPDATE" and "mysql_info()", for connections without CLIENT_FOUND_ROWS.
 *
 * Verdicts are given after the commit only. Whatever ends the transaction, a commit that was
 * not confirmed included, makes all of it RETRY: the guards make the second time harmless. A crash
 * of this program or of the server does the same.
 */
#include "consumers/mysql_apply.h"

#include <stdio.h>
#include <string.h>

#include "consumers/mysql_encode.h"
#include "consumers/mysql_marks.h"

enum {
    /* Bytes of a packet of several statements: enough to hide the round trip (measured), small
     * enough that a bad row costs little to send again. */
    PACKET_BYTES = 512 << 10,
    PACKET_SLACK = 64 << 10, /* room for BEGIN and COMMIT below the server's limit */
};

/* Rows sorted[from..to) of one shard, still to be sent. */
struct range {
    uint32_t from, to;
    bool suspect; /* part of a statement that failed: sent apart, to fail cheaply */
};

enum step_kind { STEP_BEGIN, STEP_ROWS, STEP_COMMIT };

struct step { /* one statement of the packet */
    enum step_kind kind;
    struct range rows;
};

struct refused {
    uint32_t index;
    int code;
    char text[256];
};

struct ls_mysql_lane {
    struct ls_mysql_link link;
    struct ls_mysql_encoder encoder;

    /* Of the unit in hand. */
    struct ls_unit *unit;
    struct ls_record **sorted;
    uint8_t *outcome; /* verdict of each sorted record, to be given after the commit */
    uint32_t n, cap;
    struct range *todo; /* a stack: the next range is the last */
    size_t n_todo, cap_todo;
    struct step *steps;
    size_t n_steps, cap_steps;
    struct refused *refused;
    size_t n_refused;
    struct ls_buf packet;
    bool begun, committed;
};

struct ls_mysql_lane *ls_mysql_lane_new(const struct ls_sink_config *config,
                                        const struct ls_mysql_server *server,
                                        struct ls_lane *handle)
{
    struct ls_mysql_lane *lane = ls_calloc(1, sizeof(*lane));
    ls_mysql_link_init(&lane->link, config, server, handle);
    ls_mysql_encoder_init(&lane->encoder, config->entity->schema);
    return lane;
}

void ls_mysql_lane_free(struct ls_mysql_lane *lane)
{
    if (lane == NULL)
        return;
    ls_mysql_link_free(&lane->link);
    ls_mysql_encoder_free(&lane->encoder);
    ls_buf_free(&lane->packet);
    free(lane->sorted);
    free(lane->outcome);
    free(lane->todo);
    free(lane->steps);
    free(lane->refused);
    free(lane);
}

struct ls_mysql_link *ls_mysql_lane_link(struct ls_mysql_lane *lane)
{
    return &lane->link;
}

static int by_key(const void *left, const void *right)
{
    const struct ls_record *a = *(struct ls_record *const *)left;
    const struct ls_record *b = *(struct ls_record *const *)right;
    size_t len = a->key_len < b->key_len ? a->key_len : b->key_len;
    int order = memcmp(a->key, b->key, len);
    return order != 0 ? order : (int)a->key_len - (int)b->key_len;
}

static void push_todo(struct ls_mysql_lane *lane, struct range range)
{
    if (range.from == range.to)
        return;
    if (lane->n_todo == lane->cap_todo) {
        lane->cap_todo = lane->cap_todo ? 2 * lane->cap_todo : 64;
        lane->todo = ls_realloc(lane->todo, lane->cap_todo * sizeof(*lane->todo));
    }
    lane->todo[lane->n_todo++] = range;
}

/* Pending records into sorted, by shard (counting sort) and key, and a range for each shard. */
static void sort_unit(struct ls_mysql_lane *lane, struct ls_unit *unit)
{
    if (lane->cap < unit->n_records) {
        lane->cap = unit->n_records;
        lane->sorted = ls_realloc(lane->sorted, lane->cap * sizeof(struct ls_record *));
        lane->outcome = ls_realloc(lane->outcome, lane->cap);
    }
    uint32_t start[LS_SHARDS + 1] = {0};
    for (uint32_t i = 0; i < unit->n_records; i++)
        if (unit->records[i]->verdict == LS_PENDING)
            start[unit->records[i]->shard + 1]++;
    for (uint32_t shard = 0; shard < LS_SHARDS; shard++)
        start[shard + 1] += start[shard];
    lane->n = start[LS_SHARDS];
    uint32_t fill[LS_SHARDS];
    memcpy(fill, start, sizeof(fill));
    for (uint32_t i = 0; i < unit->n_records; i++) {
        struct ls_record *record = unit->records[i];
        if (record->verdict == LS_PENDING)
            lane->sorted[fill[record->shard]++] = record;
    }
    for (uint32_t shard = LS_SHARDS; shard-- > 0;) {
        uint32_t from = start[shard], to = start[shard + 1];
        if (to - from > 1)
            qsort(lane->sorted + from, to - from, sizeof(struct ls_record *), by_key);
        push_todo(lane, (struct range){.from = from, .to = to});
    }
}

static void start_unit(struct ls_mysql_lane *lane, struct ls_unit *unit)
{
    lane->unit = unit;
    lane->n_todo = lane->n_steps = lane->n_refused = 0;
    lane->begun = lane->committed = false;
    sort_unit(lane, unit);
    if (lane->n > 0)
        memset(lane->outcome, LS_PENDING, lane->n);
}

static void add_step(struct ls_mysql_lane *lane, enum step_kind kind, struct range rows)
{
    if (lane->n_steps == lane->cap_steps) {
        lane->cap_steps = lane->cap_steps ? 2 * lane->cap_steps : 64;
        lane->steps = ls_realloc(lane->steps, lane->cap_steps * sizeof(*lane->steps));
    }
    lane->steps[lane->n_steps++] = (struct step){.kind = kind, .rows = rows};
}

/* The row is poison once the transaction is committed; its text is for the quarantine. */
static void refuse(struct ls_mysql_lane *lane, uint32_t index, int code, const char *text)
{
    lane->refused = ls_realloc(lane->refused, (lane->n_refused + 1) * sizeof(*lane->refused));
    struct refused *refused = &lane->refused[lane->n_refused++];
    refused->index = index;
    refused->code = code;
    snprintf(refused->text, sizeof(refused->text), "%s", text);
    lane->outcome[index] = LS_POISON;
}

/*
 * Adds the next range, or as much of it as fits. False when the packet is full: nothing was added,
 * or the range was cut.
 */
static bool add_range(struct ls_mysql_lane *lane)
{
    struct range *range = &lane->todo[lane->n_todo - 1];
    size_t hard = lane->link.mysql.packet_max - PACKET_SLACK, soft = PACKET_BYTES;
    struct ls_record **rows = lane->sorted + range->from;
    uint32_t n = range->to - range->from;
    size_t room = lane->packet.len < soft ? soft - lane->packet.len : 0;
    size_t taken =
        ls_mysql_encode_rows(&lane->encoder, rows, n, lane->unit->repair, room, &lane->packet);
    if (taken == 0 && lane->n_steps > 0 && lane->steps[lane->n_steps - 1].kind == STEP_ROWS)
        return false;
    if (taken == 0) /* a single row larger than a usual packet */
        taken = ls_mysql_encode_rows(&lane->encoder, rows, 1, lane->unit->repair,
                                     hard - lane->packet.len, &lane->packet);
    if (taken == 0) {
        char text[256];
        snprintf(text, sizeof(text),
                 "the row does not fit into the server's max_allowed_packet of %zu bytes",
                 lane->link.mysql.packet_max);
        refuse(lane, range->from, 1153, text);
        if (++range->from == range->to)
            lane->n_todo--;
        return true;
    }
    struct range sent = {.from = range->from, .to = range->from + (uint32_t)taken};
    ls_buf_append_char(&lane->packet, ';');
    add_step(lane, STEP_ROWS, sent);
    range->from += (uint32_t)taken;
    if (range->from == range->to)
        lane->n_todo--;
    return taken == n;
}

static void add_end(struct ls_mysql_lane *lane)
{
    static const struct range none;
    ls_buf_append_str(&lane->packet, "COMMIT");
    add_step(lane, STEP_COMMIT, none);
}

static void build_packet(struct ls_mysql_lane *lane)
{
    static const struct range none;
    ls_buf_clear(&lane->packet);
    lane->n_steps = 0;
    if (!lane->begun) {
        ls_buf_append_str(&lane->packet, "BEGIN;");
        add_step(lane, STEP_BEGIN, none);
    }
    bool suspects = false, room = true;
    while (room && lane->n_todo > 0) {
        bool suspect = lane->todo[lane->n_todo - 1].suspect;
        if (suspects && !suspect)
            break;
        suspects = suspects || suspect;
        room = add_range(lane);
    }
    if (lane->n_todo == 0)
        add_end(lane);
    else
        lane->packet.len--; /* an empty statement after the last semicolon would be one more */
}

/* The numbers of "Records: 4  Duplicates: 1  Warnings: 0"; 0 where there is no text. */
static uint64_t duplicates(MYSQL *handle)
{
    const char *info = mysql_info(handle);
    const char *colon = info != NULL ? strchr(info, ':') : NULL;
    colon = colon != NULL ? strchr(colon + 1, ':') : NULL;
    return colon != NULL ? strtoull(colon + 1, NULL, 10) : 0;
}

/* Counts the rows of a statement that succeeded; -1 where the answer cannot be. */
static int count_rows(struct ls_mysql_lane *lane, const struct range *rows, struct ls_err *err)
{
    MYSQL *handle = lane->link.mysql.handle;
    uint64_t affected = mysql_affected_rows(handle), n = rows->to - rows->from, applied;
    if (n == 1)
        applied = affected > 0;
    else
        applied = affected - duplicates(handle);
    if (affected > 2 * n || applied > n)
        return ls_err_set(
            err, LS_ERR_FATAL, 0,
            "%s: the server counts %llu changed rows in a statement of %llu: a trigger "
            "or a proxy between? lockstep cannot tell what was applied",
            lane->link.mysql.where, (unsigned long long)affected, (unsigned long long)n);
    for (uint64_t i = 0; i < n; i++)
        lane->outcome[rows->from + i] = i < applied ? LS_APPLIED : LS_STALE;
    return 0;
}

static int step_done(struct ls_mysql_lane *lane, const struct step *step, struct ls_err *err)
{
    bool open = (lane->link.mysql.handle->server_status & SERVER_STATUS_IN_TRANS) != 0;
    if (step->kind == STEP_COMMIT) {
        lane->committed = true;
        return 0;
    }
    if (!open)
        return ls_err_set(err, LS_ERR_RETRY, 0,
                          "%s: the server ended the transaction by itself: it is sent again",
                          lane->link.mysql.where);
    if (step->kind == STEP_BEGIN)
        lane->begun = true;
    return step->kind == STEP_ROWS ? count_rows(lane, &step->rows, err) : 0;
}

/* The row that "... at row 3" names, counted from 0 in a statement of n rows; n where none is. */
static uint32_t named_row(const char *text, uint32_t n)
{
    const char *found = NULL;
    for (const char *at = strstr(text, " at row "); at != NULL; at = strstr(at + 1, " at row "))
        found = at; /* the last: a value in the text may have the words too */
    unsigned long row = found != NULL ? strtoul(found + 8, NULL, 10) : 0;
    return row >= 1 && row <= n ? (uint32_t)row - 1 : n;
}

/* Splits the statement that failed, and puts back those after it that were not run. */
static void split_step(struct ls_mysql_lane *lane, size_t failed, const struct ls_err *err)
{
    for (size_t i = lane->n_steps; i-- > failed + 1;)
        if (lane->steps[i].kind == STEP_ROWS)
            push_todo(lane, lane->steps[i].rows);
    struct range rows = lane->steps[failed].rows;
    uint32_t n = rows.to - rows.from;
    if (n == 1) {
        refuse(lane, rows.from, err->code, err->text);
        return;
    }
    uint32_t row = named_row(mysql_error(lane->link.mysql.handle), n);
    if (row < n) {
        uint32_t bad = rows.from + row;
        push_todo(lane, (struct range){.from = bad + 1, .to = rows.to});
        push_todo(lane, (struct range){.from = bad, .to = bad + 1, .suspect = true});
        push_todo(lane, (struct range){.from = rows.from, .to = bad});
        return;
    }
    uint32_t middle = rows.from + n / 2;
    push_todo(lane, (struct range){.from = middle, .to = rows.to, .suspect = true});
    push_todo(lane, (struct range){.from = rows.from, .to = middle, .suspect = true});
}

/* A statement failed: 0 when the transaction goes on without it, else -1. */
static int step_failed(struct ls_mysql_lane *lane, size_t failed, struct ls_err *err)
{
    ls_mysql_fail(&lane->link.mysql, err);
    if (err->class != LS_ERR_POISON)
        return -1;
    if (lane->steps[failed].kind == STEP_ROWS) {
        split_step(lane, failed, err);
        return 0;
    }
    err->class = LS_ERR_RETRY;
    return -1;
}

/* Sends the packet and reads the answer to each of its statements. */
static int run_packet(struct ls_mysql_lane *lane, struct ls_err *err)
{
    MYSQL *handle = lane->link.mysql.handle;
    ls_mysql_hurry(lane->link.config);
    int rc = mysql_real_query(handle, lane->packet.data, lane->packet.len);
    for (size_t i = 0; i < lane->n_steps; i++) {
        if (i > 0)
            rc = mysql_next_result(handle);
        if (rc > 0 || (i == 0 && rc != 0)) /* below 0: not even sent, or no more answers */
            return step_failed(lane, i, err);
        if (rc < 0)
            return ls_err_set(err, LS_ERR_RETRY, 0, "%s: the server answered %zu of %zu statements",
                              lane->link.mysql.where, i, lane->n_steps);
        if (step_done(lane, &lane->steps[i], err) != 0) {
            ls_mysql_close(&lane->link.mysql); /* the rest of the answer is not read */
            return -1;
        }
    }
    return 0;
}

static void give_verdicts(struct ls_mysql_lane *lane)
{
    for (uint32_t i = 0; i < lane->n; i++)
        if (lane->outcome[i] != LS_POISON)
            lane->sorted[i]->verdict = lane->outcome[i];
    for (size_t i = 0; i < lane->n_refused; i++) {
        const struct refused *refused = &lane->refused[i];
        ls_unit_poison(lane->unit, lane->sorted[refused->index], refused->code, refused->text);
    }
}

static void give_up(struct ls_mysql_lane *lane, const struct ls_err *err)
{
    ls_mysql_link_reset(&lane->link);
    ls_unit_fail(lane->unit, err);
}

static void apply(struct ls_mysql_lane *lane, struct ls_unit *unit)
{
    struct ls_err err = {0};
    if (ls_mysql_link_use(&lane->link, &err) != 0) {
        ls_unit_fail(unit, &err);
        return;
    }
    start_unit(lane, unit);
    if (lane->n == 0)
        return;
    while (!lane->committed) {
        build_packet(lane);
        if (run_packet(lane, &err) != 0) {
            give_up(lane, &err);
            return;
        }
    }
    give_verdicts(lane);
}

void ls_mysql_lane_work(struct ls_mysql_lane *lane, struct ls_unit *unit)
{
    if (unit->look != NULL)
        ls_mysql_look(&lane->link, unit);
    else if (unit->n_marks > 0)
        ls_mysql_marks_write(&lane->link, unit);
    else
        apply(lane, unit);
    ls_mysql_rest();
}
