/*
 * See redis_marks.h. A crash forgets the table; the next look fills it again.
 *
 * Rejected: one mark for each master under a tag that is chosen by today's map, because it would be
 * missing after slots move; and the oldest version alone in place of every tag's bytes, because a
 * tag that lost its mark would look like one that was never written.
 */
#include "consumers/redis_marks.h"

#include "base/mem.h"
#include "consumers/redis_encode.h"
#include "schema/key.h"

struct ls_redis_seen *ls_redis_seen_new(size_t n_partitions)
{
    return ls_calloc(n_partitions * LS_REDIS_MARK_TAGS, sizeof(struct ls_redis_seen));
}

bool ls_redis_seen_take(struct ls_redis_seen *seen, const redisReply *reply)
{
    struct ls_redis_seen before = *seen;
    struct ls_mark mark;
    if (reply->type != REDIS_REPLY_STRING)
        seen->state = LS_REDIS_NO_MARK;
    else if (!ls_redis_get_mark(reply->str, reply->len, &mark))
        seen->state = LS_REDIS_GARBAGE;
    else
        seen->state = LS_REDIS_MARK_SEEN;
    if (seen->state == LS_REDIS_MARK_SEEN)
        memcpy(seen->bytes, reply->str, LS_REDIS_MARK_BYTES);
    if (before.state != LS_REDIS_MARK_SEEN)
        return false;
    return seen->state != LS_REDIS_MARK_SEEN ||
           ls_redis_get_version(seen->bytes) < ls_redis_get_version(before.bytes);
}

void ls_redis_seen_put(struct ls_redis_seen *seen, const struct ls_mark *mark)
{
    seen->state = LS_REDIS_MARK_SEEN;
    ls_redis_put_mark(mark, seen->bytes);
}

/* Whether two marks of a partition are of one log, as far as they can tell. */
static bool same_log(const struct ls_mark *a, const struct ls_mark *b)
{
    bool other_generation = a->version != 0 && b->version != 0 &&
                            ls_version_generation(a->version) != ls_version_generation(b->version);
    return other_generation || strcmp(a->genesis, b->genesis) == 0;
}

bool ls_redis_seen_fold(const struct ls_redis_seen tags[LS_REDIS_MARK_TAGS], uint32_t generation,
                        struct ls_mark *mark, char log[37], char other[37])
{
    struct ls_mark oldest = {.partition = mark->partition};
    bool missing = false, garbage = false, one_log = true;
    for (unsigned tag = 0; tag < LS_REDIS_MARK_TAGS; tag++) {
        struct ls_mark here = {.partition = mark->partition};
        garbage |= tags[tag].state == LS_REDIS_GARBAGE;
        if (tags[tag].state != LS_REDIS_MARK_SEEN) {
            missing = true;
            continue;
        }
        ls_redis_get_mark(tags[tag].bytes, LS_REDIS_MARK_BYTES, &here);
        if (oldest.genesis[0] != '\0' && one_log && !same_log(&oldest, &here)) {
            one_log = false;
            memcpy(log, oldest.genesis, sizeof(oldest.genesis));
            memcpy(other, here.genesis, sizeof(here.genesis));
        }
        if (oldest.genesis[0] == '\0' || here.version < oldest.version)
            oldest = here;
    }
    *mark = (struct ls_mark){.partition = mark->partition};
    if (!one_log || garbage || oldest.genesis[0] == '\0')
        return one_log;
    *mark = oldest;
    if (missing) {
        uint32_t its = ls_version_generation(oldest.version);
        mark->version = oldest.version != 0 && its < generation ? ls_version(its, -1) : 0;
        mark->at_ms = 0;
    }
    return true;
}
