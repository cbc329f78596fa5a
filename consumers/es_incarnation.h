/*
 * Which data an index holds, as far as Elasticsearch itself can tell: the identity of the index,
 * and of each primary shard the history that it continues and the term in which it is primary.
 * Pure: others ask, this reads the answers.
 *
 * A shard's history is another one once its copy was restored from a snapshot, or was taken from a
 * stale copy or from nothing: acknowledged writes may be missing then, in that shard alone. A mark
 * is a document, so it stands in one shard and outlives what another shard loses. Therefore each
 * mark carries the `home` of the data that it speaks of: index and histories, digested. A mark with
 * another home speaks of data that is not there any more, so it counts as one at zero. Copies of
 * each mark in every shard (as in Redis, which has no histories) were rejected: dozens of shards
 * times dozens of partitions, every second.
 *
 * A term is another one after every failover and restart. No acknowledged write is lost by those,
 * so it is not part of `home`; a lane that sees one reads the last second again to be sure.
 */
#ifndef LS_CONSUMERS_ES_INCARNATION_H
#define LS_CONSUMERS_ES_INCARNATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { LS_ES_UUID_SIZE = 32, LS_ES_HOME_SIZE = 17 };

struct ls_es_primary {
    char history[LS_ES_UUID_SIZE];
    int64_t term;
};

struct ls_es_incarnation {
    char uuid[LS_ES_UUID_SIZE]; /* of the index */
    uint32_t n_primaries;       /* 0: not known */
    struct ls_es_primary *primaries;
    char home[LS_ES_HOME_SIZE]; /* 16 hexadecimal digits */
};

/* Paths to GET, the first one first. The caller frees. */
char *ls_es_incarnation_state_path(const char *index);
char *ls_es_incarnation_stats_path(const char *index);

/*
 * The answers, one after the other, into *inc, which is cleared by the first and needs
 * ls_es_incarnation_free after it, whatever is returned. -1: FATAL when there is no such index;
 * RETRY when an answer is cut, a shard has no primary now, or the index changed in between. The
 * text does not name the index: who asked does.
 */
int ls_es_incarnation_state(struct ls_es_incarnation *inc, const char *index, const char *reply,
                            size_t len, struct ls_err *err);
int ls_es_incarnation_stats(struct ls_es_incarnation *inc, const char *index, const char *reply,
                            size_t len, struct ls_err *err);
void ls_es_incarnation_free(struct ls_es_incarnation *inc);

/* Whether all of it is the same; else `why`, bounded by size, says what is not, for people. */
bool ls_es_incarnation_same(const struct ls_es_incarnation *was,
                            const struct ls_es_incarnation *now, const char *index, char *why,
                            size_t size);

#endif
