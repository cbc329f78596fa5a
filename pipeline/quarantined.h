/*
 * What stands in a sink's quarantine topic, as a bounded set of positions in the log: for status,
 * which counts them, and for verify, which must not call a quarantined record missing. One thread.
 */
#ifndef LS_PIPELINE_QUARANTINED_H
#define LS_PIPELINE_QUARANTINED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "base/err.h"
#include "pipeline/config.h"
#include "schema/wire.h"

enum { LS_QUARANTINED_MAX = 1 << 20 }; /* positions that are remembered: 16 MiB */

struct ls_quarantined {
    uint64_t *slots; /* open addressing; 0 is free */
    size_t cap;      /* a power of two, or 0 */
    size_t n;
    bool more; /* there were more than the limit; the rest was not looked at */
};

/*
 * Reads the topic of that sink whole and replaces what the set held: the entries of the log with
 * these genesis records (by partition), not those of one that was there before it under its name. A
 * topic that is not there is an empty one. On -1 the set is as it was.
 */
int ls_quarantined_read(const struct ls_config *config, const struct ls_sink_config *sink,
                        const struct ls_genesis *genesis, struct ls_quarantined *set,
                        struct ls_err *err);
/*
 * The same for all entries that are open, whichever log they are of: reads only what came since the
 * newest reading on this machine, and asks only for the topic's ends where nothing did
 * (quarantined_file.h). It is not told when a topic was deleted, made again and has grown beyond
 * where it ended, unless the message there is another one: good for showing, not for deciding.
 * client is for requests.
 */
int ls_quarantined_follow(const struct ls_config *config, rd_kafka_t *client,
                          const struct ls_sink_config *sink, struct ls_quarantined *set,
                          struct ls_err *err);
void ls_quarantined_free(struct ls_quarantined *set);

/* By position in the state topic of the sink's entity. */
bool ls_quarantined_has(const struct ls_quarantined *set, int32_t partition, int64_t offset);
void ls_quarantined_add(struct ls_quarantined *set, int32_t partition, int64_t offset);
void ls_quarantined_remove(struct ls_quarantined *set, int32_t partition, int64_t offset);

/* A position as one number, never 0; and a number whose bits are spread, for tables of them. */
uint64_t ls_quarantined_pack(int32_t partition, int64_t offset);
uint64_t ls_quarantined_mix(uint64_t value);

/*
 * Reads an entry's key, `<topic>/<partition>/<offset>`; false when it is not one of that topic.
 */
bool ls_quarantined_parse(const char *key, size_t len, const char *topic, int32_t *ret_partition,
                          int64_t *ret_offset);

#endif
