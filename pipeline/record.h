/*
 * A state record as the pipeline carries it from the log to a store, and its verdict. A record
 * copies nothing: key, body and values point into the Kafka message and the batch's arena, and are
 * valid until the batch is released.
 */
#ifndef LS_PIPELINE_RECORD_H
#define LS_PIPELINE_RECORD_H

#include "base/err.h"
#include "schema/value.h"
#include "schema/wire.h"

enum ls_verdict {
    LS_PENDING = 0, /* none yet */
    LS_APPLIED,     /* the store took it */
    LS_STALE,       /* the store has this version or a newer one: success */
    LS_SUPERSEDED,  /* a newer record of the key is in the same batch */
    LS_RETRY,       /* not final: only these records go again */
    LS_POISON,      /* final once the quarantine has it */
    LS_FATAL,       /* not final: the sink halts */
    LS_VERDICTS,
};
/* "applied", "stale", ...: names of counters. */
const char *ls_verdict_name(enum ls_verdict verdict);

struct ls_record {
    const char *key;
    const char *body;              /* wire value */
    const struct ls_value *values; /* schema's order; NULL when deleted */
    uint64_t version;
    uint64_t hash;               /* `_h`; 0 unless the sink asked for it (ls_sink_ops.wants_hash) */
    int64_t at_ms;               /* LogAppendTime of the record's original: `_at` */
    int64_t offset;              /* where it stands in the topic that is read */
    struct ls_record *displaced; /* the next older record of the key in this batch, or NULL */
    uint32_t body_len;
    int32_t partition;
    uint16_t key_len;
    uint16_t shard;
    uint8_t verdict; /* enum ls_verdict */
    uint8_t reject;  /* enum ls_reject: when verdict is POISON */
    uint16_t attempts;
    bool deleted;
};

/*
 * The mark of one partition in one store: everything before `version`'s offset, and that record
 * itself, has its final verdict in that store. It moves by compare-and-set (consumers/sink.h): a
 * writer that knows an older state of the store moves nothing. version 0 with a genesis means
 * "nothing yet, and this log"; an empty genesis means that the store has no mark for the partition.
 */
struct ls_mark {
    int32_t partition;
    uint64_t version;
    /*
     * LogAppendTime of that record. Of version 0: when the mark was made, by the wall clock of who
     * made it, so that one that was lost and made again is another.
     */
    int64_t at_ms;
    char genesis[37]; /* identity of the log, or "" */
};

#endif
