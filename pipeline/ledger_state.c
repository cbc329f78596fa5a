/*
 * What the ledger knows of itself, in LMDB beside its entries: of which log it is, how far each
 * partition was read, how many entries are deletes. In this machine's byte order, as the entries.
 *
 *     state: "identity" -> format, partitions, retired fields (4 each), genesis (37)
 *            "deleted"  -> entries that are deletes (8)
 *            "p" + partition (2 bytes, big-endian) -> next offset, max at_ms, poison (8 each)
 *
 * Threads and crashes: as ledger.h says. What is written here is of the caller's transaction, so
 * that entries and positions never part.
 */
#include <stdio.h>
#include <string.h>

#include "pipeline/ledger_internal.h"

enum { FORMAT = 2, POSITION_BYTES = 24 };

struct identity {
    uint32_t format;
    int32_t partitions;
    uint32_t retired; /* fields that the hashes leave out; the schema only ever adds to them */
    char genesis[37];
};

static uint32_t retired_fields(const struct ls_ledger *ledger)
{
    const struct ls_schema *schema = ledger->entity->schema;
    return schema != NULL ? (uint32_t)schema->n_reserved : 0;
}

static int get_state(struct ls_ledger *ledger, MDB_txn *txn, const char *name, size_t name_len,
                     void *ret, size_t size)
{
    char copy[16];
    memcpy(copy, name, name_len);
    MDB_val key = {name_len, copy}, value;
    int code = mdb_get(txn, ledger->env.state, &key, &value);
    if (code == MDB_SUCCESS && value.mv_size != size)
        return MDB_CORRUPTED;
    if (code == MDB_SUCCESS)
        memcpy(ret, value.mv_data, size);
    return code;
}

static int put_state(struct ls_ledger *ledger, MDB_txn *txn, const char *name, size_t name_len,
                     const void *data, size_t size)
{
    char copy[16], bytes[64];
    memcpy(copy, name, name_len);
    memcpy(bytes, data, size);
    MDB_val key = {name_len, copy}, value = {size, bytes};
    return mdb_put(txn, ledger->env.state, &key, &value, 0);
}

int ls_ledger_state_deleted(struct ls_ledger *ledger, MDB_txn *txn, uint64_t *ret)
{
    *ret = 0;
    int code = get_state(ledger, txn, "deleted", 7, ret, sizeof(*ret));
    return code == MDB_NOTFOUND ? MDB_SUCCESS : code;
}

static int get_position(struct ls_ledger *ledger, MDB_txn *txn, int32_t partition,
                        struct ls_ledger_position *ret)
{
    const char name[3] = {'p', (char)(partition >> 8), (char)partition};
    char bytes[POSITION_BYTES];
    *ret = (struct ls_ledger_position){0};
    int code = get_state(ledger, txn, name, sizeof(name), bytes, sizeof(bytes));
    if (code == MDB_NOTFOUND)
        return MDB_SUCCESS;
    if (code != MDB_SUCCESS)
        return code;
    memcpy(&ret->next, bytes, 8);
    memcpy(&ret->max_at_ms, bytes + 8, 8);
    memcpy(&ret->poison, bytes + 16, 8);
    return MDB_SUCCESS;
}

static int put_position(struct ls_ledger *ledger, MDB_txn *txn, int32_t partition,
                        const struct ls_ledger_position *position)
{
    const char name[3] = {'p', (char)(partition >> 8), (char)partition};
    char bytes[POSITION_BYTES];
    memcpy(bytes, &position->next, 8);
    memcpy(bytes + 8, &position->max_at_ms, 8);
    memcpy(bytes + 16, &position->poison, 8);
    return put_state(ledger, txn, name, sizeof(name), bytes, sizeof(bytes));
}

int ls_ledger_state_put(struct ls_ledger *ledger, MDB_txn *txn, uint64_t deleted,
                        const struct ls_ledger_position *positions)
{
    int code = put_state(ledger, txn, "deleted", 7, &deleted, sizeof(deleted));
    for (int32_t p = 0; code == MDB_SUCCESS && p < ledger->entity->partitions; p++)
        code = put_position(ledger, txn, p, &positions[p]);
    return code;
}

static int read_positions(struct ls_ledger *ledger, MDB_txn *txn,
                          struct ls_ledger_position *positions)
{
    for (int32_t p = 0; p < ledger->entity->partitions; p++) {
        int code = get_position(ledger, txn, p, &positions[p]);
        if (code != MDB_SUCCESS)
            return code;
    }
    return MDB_SUCCESS;
}

int ls_ledger_positions(struct ls_ledger *ledger, struct ls_ledger_position *positions,
                        struct ls_err *err)
{
    MDB_txn *txn;
    if (ls_ledger_env_read(&ledger->env, &txn, err) < 0)
        return -1;
    int code = read_positions(ledger, txn, positions);
    ls_ledger_env_abort(&ledger->env, txn);
    return code == MDB_SUCCESS ? 0
                               : ls_ledger_env_err(&ledger->env, code, "read its positions", err);
}

int ls_ledger_count(struct ls_ledger *ledger, struct ls_ledger_counts *ret, struct ls_err *err)
{
    MDB_txn *txn;
    if (ls_ledger_env_read(&ledger->env, &txn, err) < 0)
        return -1;
    MDB_stat stat = {0};
    struct ls_ledger_counts counts = {0};
    int code = mdb_stat(txn, ledger->env.log, &stat);
    if (code == MDB_SUCCESS)
        code = ls_ledger_state_deleted(ledger, txn, &counts.deleted);
    for (int32_t p = 0; code == MDB_SUCCESS && p < ledger->entity->partitions; p++) {
        struct ls_ledger_position position;
        code = get_position(ledger, txn, p, &position);
        counts.poison += position.poison;
    }
    ls_ledger_env_abort(&ledger->env, txn);
    if (code != MDB_SUCCESS)
        return ls_ledger_env_err(&ledger->env, code, "count", err);
    counts.live = stat.ms_entries - counts.deleted;
    *ret = counts;
    return 0;
}

int ls_ledger_genesis(struct ls_ledger *ledger, char ret[37], struct ls_err *err)
{
    MDB_txn *txn;
    if (ls_ledger_env_read(&ledger->env, &txn, err) < 0)
        return -1;
    struct identity identity = {0};
    int code = get_state(ledger, txn, "identity", 8, &identity, sizeof(identity));
    ls_ledger_env_abort(&ledger->env, txn);
    if (code != MDB_SUCCESS && code != MDB_NOTFOUND && code != MDB_CORRUPTED)
        return ls_ledger_env_err(&ledger->env, code, "read its identity", err);
    bool ours = code == MDB_SUCCESS && identity.format == FORMAT &&
                identity.partitions == ledger->entity->partitions &&
                identity.retired == retired_fields(ledger);
    snprintf(ret, 37, "%s", ours ? identity.genesis : code == MDB_NOTFOUND ? "" : "unknown");
    return 0;
}

int ls_ledger_state_reset(struct ls_ledger *ledger, MDB_txn *txn, const char *genesis)
{
    struct identity identity;
    memset(&identity, 0, sizeof(identity)); /* padding too: it is written as it stands */
    identity.format = FORMAT;
    identity.partitions = ledger->entity->partitions;
    identity.retired = retired_fields(ledger);
    snprintf(identity.genesis, sizeof(identity.genesis), "%s", genesis);
    int code = mdb_drop(txn, ledger->env.log, 0);
    if (code == MDB_SUCCESS)
        code = mdb_drop(txn, ledger->env.state, 0);
    if (code == MDB_SUCCESS)
        code = put_state(ledger, txn, "identity", 8, &identity, sizeof(identity));
    return code;
}
