/*
 * Marks as documents of the index that they speak of: how they are asked for, written and read
 * back. Pure text; es_apply_marks.c, es_look.c and es_store.c do the talking.
 *
 * A mark is guarded by the sequence number that its writer saw last (`if_seq_no`, or `create` where
 * it saw none), which is a compare-and-set: a zombie's number is old, so it can't move a mark back;
 * a mark that is gone (an emptied index) or older (a restored one) refuses the write too, so the
 * loss is seen at the next mark. External versions as guard were rejected: they would make the mark
 * again in an emptied index as if nothing had happened, and Elasticsearch has no way to lower one
 * at once: even a delete leaves its version behind for index.gc_deletes. So a reset is a plain
 * write.
 *
 * `_home` names the data that a mark speaks of; es_incarnation.h says why.
 */
#ifndef LS_CONSUMERS_ES_MARKS_H
#define LS_CONSUMERS_ES_MARKS_H

#include "base/buf.h"
#include "consumers/es_incarnation.h"
#include "pipeline/record.h"

/* A mark as the index holds it, and its guard. */
struct ls_es_mark {
    struct ls_mark mark; /* genesis "": the index has none for mark.partition */
    int64_t seq_no;
    int64_t primary_term;
    char home[LS_ES_HOME_SIZE]; /* "": it names none */
};

/* Body of POST /<index>/_mget for the marks of these partitions. */
void ls_es_marks_ask(const struct ls_es_mark *marks, size_t n, struct ls_buf *buf);

/*
 * Reads the answer into marks[0..n), whose mark.partition is filled in. -1: RETRY when it is cut,
 * FATAL when the index is missing or a mark is not one.
 */
int ls_es_marks_read(const char *reply, size_t len, struct ls_es_mark *marks, size_t n,
                     struct ls_err *err);

/* Marks that speak of other data than `home` count as marks at zero; their guards stay. */
void ls_es_marks_void(struct ls_es_mark *marks, size_t n, const char *home);

/*
 * Bulk lines of one mark. It is written only where the index still holds what `guard` says (which
 * may be none); unguarded where guard is NULL.
 */
void ls_es_marks_write(const struct ls_mark *mark, const char *home, const struct ls_es_mark *guard,
                       struct ls_buf *buf);

#define LS_ES_MARKS_FILTER                                                                 \
    "filter_path=items.*.status,items.*._seq_no,items.*._primary_term,items.*.error.type," \
    "items.*.error.reason"

enum ls_es_mark_result {
    LS_ES_MARK_WRITTEN,
    LS_ES_MARK_UNEXPECTED, /* the index holds another one than the guard says, or none */
    LS_ES_MARK_REFUSED,    /* not written: what the index holds is what it held */
    LS_ES_MARK_FAILED,     /* nobody knows */
};

/*
 * Reads the answer to n marks written together: results[i], and for WRITTEN the new guard in
 * marks[i] (its seq_no and primary_term). REFUSED and FAILED leave a reason in err. -1 when nothing
 * is known.
 */
int ls_es_marks_written(const char *reply, size_t len, struct ls_es_mark *marks,
                        enum ls_es_mark_result *results, size_t n, struct ls_err *err);

#endif
