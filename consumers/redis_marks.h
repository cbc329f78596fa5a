/*
 * What is known of the marks in a Redis Cluster, tag by tag, and what the tags say together. Pure;
 * belongs to one thread.
 *
 * A partition's mark stands under LS_REDIS_MARK_TAGS tags (schema/redis_layout.h), because a
 * cluster can lose what one master had and keep the rest: the mark is the oldest of them. A lane
 * keeps each tag's bytes as it saw or wrote them last, and writes a tag only where those still
 * stand.
 */
#ifndef LS_CONSUMERS_REDIS_MARKS_H
#define LS_CONSUMERS_REDIS_MARKS_H

#include <hiredis/hiredis.h>

#include "pipeline/record.h"
#include "schema/redis_layout.h"

enum ls_redis_seen_state {
    LS_REDIS_UNSEEN = 0,
    LS_REDIS_NO_MARK,
    LS_REDIS_MARK_SEEN, /* bytes are what stood there */
    LS_REDIS_GARBAGE,   /* a string that is no mark of ours */
};

struct ls_redis_seen { /* of one partition under one tag */
    uint8_t state;     /* enum ls_redis_seen_state */
    char bytes[LS_REDIS_MARK_BYTES];
};

/* A table of n partitions * LS_REDIS_MARK_TAGS, all UNSEEN. The caller frees it with free(). */
struct ls_redis_seen *ls_redis_seen_new(size_t n_partitions);

static inline struct ls_redis_seen *ls_redis_seen_at(struct ls_redis_seen *table, size_t partition,
                                                     unsigned tag)
{
    return &table[partition * LS_REDIS_MARK_TAGS + tag];
}

/*
 * Takes what GET or MGET answered for the tag: nil, a string, or anything else (a key of another
 * type, which is no mark). Returns true when the tag went back: it lost the mark that was seen
 * there, or has an older one.
 */
bool ls_redis_seen_take(struct ls_redis_seen *seen, const redisReply *reply);

/* Takes what this lane has written there itself. */
void ls_redis_seen_put(struct ls_redis_seen *seen, const struct ls_mark *mark);

/*
 * What the tags of one partition say together: the oldest mark, into *mark (whose partition stays).
 * - Some tags have a mark, others none (a master was emptied): nothing is sure to be there, but the
 *   log is known. Version 0 with its genesis, or the beginning of its generation where that is
 * older than `generation`, the one that is read.
 * - No tag has one, or a tag holds garbage: no mark, genesis "".
 * - Two tags of one generation name different logs: no mark, and false; other[37] gets the second
 *   log and mark->genesis "" all the same.
 */
bool ls_redis_seen_fold(const struct ls_redis_seen tags[LS_REDIS_MARK_TAGS], uint32_t generation,
                        struct ls_mark *mark, char log[37], char other[37]);

#endif
