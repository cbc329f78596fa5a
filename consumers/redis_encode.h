/*
 * Redis, the pure half: guarded sets as bytes of Redis's protocol, appended to an output buffer.
 * One copy of the body, no allocation once the buffer has grown. Any thread.
 */
#ifndef LS_CONSUMERS_REDIS_ENCODE_H
#define LS_CONSUMERS_REDIS_ENCODE_H

#include "consumers/redis_marks.h"
#include "pipeline/record.h"
#include "schema/redis_layout.h"

/*
 * The guarded set, one Lua script per rule. KEYS[1] is an entry, ARGV[1] its whole new value, which
 * starts with the version. Answers 1 when it was set, 0 when the guard refused it.
 * A key that holds something without a version (shorter than 8 bytes, or another type) is not ours:
 * nothing of ours can be lost by replacing it, and refusing it would leave the member missing until
 * a person looks.
 */
enum ls_redis_script {
    LS_REDIS_SET_NEWER,         /* the version must be newer than what is there */
    LS_REDIS_SET_NEWER_OR_SAME, /* repair: an equal one too */
    LS_REDIS_SET_MARKS,         /* marks: by compare-and-set, on the server that is expected */
    LS_REDIS_SCRIPTS,
};

/* The script's text, and its SHA-1 in hex, by which EVALSHA names it. */
const char *ls_redis_script_text(enum ls_redis_script script);
const char *ls_redis_script_sha(enum ls_redis_script script);

/* Appends `SCRIPT LOAD text`. */
void ls_redis_encode_load(struct ls_buf *out, enum ls_redis_script script);

/* Appends `ASKING`: the next command may touch a slot that is on its way to the node. */
void ls_redis_encode_asking(struct ls_buf *out);

/*
 * Appends the guarded set of a record's entry (a delete too: it is a body like any other). The key
 * has no braces (law 10, asserted), or it would choose its own slot.
 */
void ls_redis_encode_entry(struct ls_buf *out, const struct ls_schema *schema,
                           const struct ls_record *record, bool repair);

/* Appends `MGET` of the marks of n partitions under one of the tags, 0..LS_REDIS_MARK_TAGS-1. */
void ls_redis_encode_marks_get(struct ls_buf *out, const struct ls_schema *schema,
                               const struct ls_mark *marks, size_t n, unsigned tag);

/*
 * Appends the compare-and-set of n partitions' marks under one tag: all are written where each
 * stands as `table` (redis_marks.h; by partition) has seen it, on the server with that replication
 * id; else none. Answers LS_REDIS_MARKS_WRITTEN and so on.
 */
enum {
    LS_REDIS_MARKS_OTHER_SERVER = -1,
    LS_REDIS_MARKS_UNEXPECTED = 0,
    LS_REDIS_MARKS_WRITTEN = 1,
};
void ls_redis_encode_marks_set(struct ls_buf *out, const struct ls_schema *schema,
                               const struct ls_mark *marks, size_t n, unsigned tag,
                               const char *replid, const struct ls_redis_seen *table);

/* A mark's value. The genesis is not empty: a mark of no log is no mark. */
void ls_redis_put_mark(const struct ls_mark *mark, char bytes[LS_REDIS_MARK_BYTES]);
/* Reads it back into version, at_ms and genesis. False when the bytes are no mark. */
bool ls_redis_get_mark(const char *bytes, size_t len, struct ls_mark *mark);

/*
 * What the first bytes of an entry's value say: 0 and whether it is a delete, or -1 when they are
 * not the beginning of an entry. LS_REDIS_HEAD_BYTES are always enough.
 */
enum { LS_REDIS_HEAD_BYTES = LS_REDIS_VERSION_BYTES + 16 };
int ls_redis_peek_deleted(const char *bytes, size_t len, bool *ret_deleted);

#endif
