/*
 * Marks move by compare-and-set: a row is changed only where it still has the version and the log
 * that this lane saw there last. So a zombie that wakes up cannot set a mark back, a mark cannot
 * cover what a server lost when it went back in time (its row is older then than the lane
 * remembers), and a worker of another log moves nothing.
 *
 * "Only forward" in the statement itself was rejected: after a restore the older row would take the
 * next mark, which covers writes that are gone.
 *
 * All marks of a unit are one transaction in one packet: 1024 partitions are one round trip. If
 * the answer to the commit is lost, the lane goes on remembering the older row; the next mark is
 * then unexpected, and a look tells what is there. A crash does the same.
 */
#include "consumers/mysql_marks.h"

#include "base/mem.h"
#include "consumers/mysql_encode.h"

struct writing {
    struct ls_mysql_link *link;
    struct ls_unit *unit;
    uint32_t *sent; /* of the unit's marks, in the order of the statements */
    uint32_t n_sent;
    bool *moved; /* by mark */
};

static struct ls_mysql_seen *seen_of(const struct writing *writing, uint32_t mark)
{
    return &writing->link->seen[writing->unit->marks[mark].partition];
}

/* Counts the row of each statement; BEGIN is the first and COMMIT the last. */
static int take_count(void *opaque, size_t index, MYSQL_RES *rows, struct ls_err *err)
{
    struct writing *writing = opaque;
    if (index >= 1 && index <= writing->n_sent)
        writing->moved[writing->sent[index - 1]] =
            mysql_affected_rows(writing->link->mysql.handle) == 1;
    return 0;
}

static int send_marks(struct writing *writing, struct ls_err *err)
{
    const struct ls_schema *schema = writing->link->config->entity->schema;
    struct ls_buf sql = {0};
    ls_buf_append_str(&sql, "BEGIN");
    for (uint32_t i = 0; i < writing->unit->n_marks; i++) {
        const struct ls_mysql_seen *seen = seen_of(writing, i);
        if (!seen->known)
            continue;
        writing->sent[writing->n_sent++] = i;
        ls_buf_append_char(&sql, ';');
        ls_mysql_encode_mark(schema, &writing->unit->marks[i], &seen->mark, &sql);
    }
    ls_buf_append_str(&sql, ";COMMIT");
    int rc = 0;
    ls_mysql_hurry(writing->link->config);
    if (writing->n_sent > 0)
        rc = ls_mysql_many(&writing->link->mysql, sql.data, sql.len, take_count, writing, err);
    ls_buf_free(&sql);
    return rc;
}

static void settle(const struct writing *writing)
{
    struct ls_unit *unit = writing->unit;
    for (uint32_t i = 0; i < unit->n_marks; i++) {
        struct ls_mysql_seen *seen = seen_of(writing, i);
        if (!writing->moved[i]) {
            unit->marks_unexpected = true;
            continue;
        }
        seen->mark = unit->marks[i];
    }
    unit->marks_written = !unit->marks_unexpected;
}

void ls_mysql_marks_write(struct ls_mysql_link *link, struct ls_unit *unit)
{
    struct writing writing = {.link = link, .unit = unit};
    struct ls_err err = {0};
    writing.sent = ls_calloc(unit->n_marks + 1, sizeof(*writing.sent));
    writing.moved = ls_calloc(unit->n_marks + 1, sizeof(*writing.moved));
    int rc = ls_mysql_link_use(link, &err);
    /* Asked after connecting: that is where a doubt comes from. */
    if (rc == 0 && (link->lane == NULL || ls_lane_may_mark(link->lane, unit))) {
        rc = send_marks(&writing, &err);
        if (rc == 0)
            settle(&writing);
        else
            ls_mysql_link_reset(link);
    }
    if (rc != 0) {
        if (err.class == LS_ERR_POISON) { /* nothing in a mark comes from a record */
            err.class = LS_ERR_FATAL;
            ls_err_prefix(&err, "the mark table is not as it should be (`lockstep schema diff`)");
        }
        ls_unit_note(unit, &err);
    }
    free(writing.sent);
    free(writing.moved);
}
