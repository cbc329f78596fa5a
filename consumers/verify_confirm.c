/*
 * Confirming candidates, in rounds. A round reads the sink's marks, then the store, then brings the
 * ledger up to date and looks the keys up, and the order is the proof:
 *
 *   the ledger was read after the store: what the store has beyond it is not in the log;
 *   the marks were read before the store: what a mark had passed, the store had been given.
 *
 * What is left is newer in the log than the mark: it may be on its way. It is waited for within the
 * sink's allowance, and then called lagging. Once the allowance is used up, what the walk finds
 * lacking beyond the mark is lagging at once: reading it again could not say otherwise. Reading
 * store and ledger at one moment was rejected: there is no such moment.
 *
 * In the sink's thread.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "consumers/verify_internal.h"
#include "schema/key.h"

enum {
    ROUND_PAUSE_MS = 200,
    MARKS_FRESH_MS = 1000, /* marks that are not older than this need not be read again */
};

/* A verdict with its reason. */
static enum ls_difference say(enum ls_difference difference, char why[160], const char *text)
{
    snprintf(why, 160, "%s", text);
    return difference;
}

enum ls_difference ls_verify_compare(const struct ls_ledger_entry *entry,
                                     const struct ls_image *image, char why[160])
{
    if (!image->found && !entry->found)
        return say(LS_DIFF_EQUAL, why, "");
    if (!image->found)
        return say(LS_DIFF_MISSING, why, "");
    if (!entry->found)
        return say(LS_DIFF_EXTRA, why, image->undecodable ? "and it is no record" : "");
    if (image->undecodable)
        return say(LS_DIFF_UNDECODABLE, why, image->why ? image->why : "");
    if (image->version > entry->version)
        return say(LS_DIFF_AHEAD, why, "");
    if (entry->deleted && !image->deleted)
        return say(LS_DIFF_RESURRECTED, why, "");
    if (image->version < entry->version)
        return say(LS_DIFF_DIVERGED, why, "the store's version is older");
    if (image->deleted != entry->deleted)
        return say(LS_DIFF_DIVERGED, why, "deleted in the store only");
    if (image->hash != entry->hash)
        return say(LS_DIFF_DIVERGED, why, "same version, other content");
    if (image->stored_hash != 0 && image->stored_hash != image->hash)
        return say(LS_DIFF_DIVERGED, why, "the content is right, the hash stored beside it is not");
    return say(LS_DIFF_EQUAL, why, "");
}

int ls_verify_read_marks(struct ls_verify *verify, struct ls_err *err)
{
    int32_t n = ls_ledger_entity(verify->model->ledger)->partitions;
    char genesis[37];
    for (int32_t p = 0; p < n; p++)
        verify->marks[p] = (struct ls_mark){.partition = p};
    if (ls_ledger_genesis(verify->model->ledger, genesis, err) < 0 ||
        verify->ops->read_marks(verify->confirmer, verify->marks, (size_t)n, err) < 0)
        return -1;
    for (int32_t p = 0; p < n; p++) {
        struct ls_mark *mark = &verify->marks[p];
        if (mark->genesis[0] == '\0')
            mark->version = 0; /* no mark: nothing is known to be passed */
        else if (strcmp(mark->genesis, genesis) != 0)
            return ls_err_set(
                err, LS_ERR_FATAL, 0,
                "its mark of partition %d is of another log (genesis %s, ours is %s); "
                "`lockstep resync --sink %s` starts it over on this one",
                p, mark->genesis, genesis, verify->report->sink->name);
    }
    verify->marks_read_ms = ls_mono_ms();
    return 0;
}

/* Whether the sink had passed the log's record before the store was read. */
static bool passed(const struct ls_verify *verify, const struct ls_ledger_entry *entry)
{
    const struct ls_entity_config *entity = ls_ledger_entity(verify->model->ledger);
    const struct ls_mark *mark = &verify->marks[ls_partition_of(entry->shard, entity->partitions)];
    return mark->version >= ls_version(entity->generation, entry->offset);
}

/* Whether the store still lacks the log's newest record of the key. */
static bool lacks(const struct ls_ledger_entry *entry, const struct ls_image *image)
{
    return entry->found && (!image->found || image->undecodable || image->version < entry->version);
}

int ls_verify_suspect(struct ls_verify *verify, struct ls_span key, struct ls_err *err)
{
    /* Redis may give a key twice while it rehashes. */
    const struct ls_span *last =
        verify->n_candidates > 0 ? &verify->candidates[verify->n_candidates - 1] : NULL;
    if (last != NULL && last->len == key.len && memcmp(last->data, key.data, key.len) == 0)
        return 0;
    char *copy = ls_arena_alloc(&verify->keys, key.len);
    memcpy(copy, key.data, key.len);
    verify->candidates[verify->n_candidates++] = (struct ls_span){copy, key.len};
    return verify->n_candidates == LS_VERIFY_CANDIDATES ? ls_verify_confirm(verify, err) : 0;
}

int ls_verify_differ(struct ls_verify *verify, const struct ls_ledger_entry *entry,
                     const struct ls_image *image, struct ls_err *err)
{
    if (verify->waited_ms >= verify->model->wait_ms && lacks(entry, image)) {
        if (ls_mono_ms() - verify->marks_read_ms > MARKS_FRESH_MS &&
            ls_verify_read_marks(verify, err) < 0)
            return -1;
        if (!passed(verify, entry)) {
            ls_verify_note(verify, LS_DIFF_LAGGING, entry, image, "");
            return 0;
        }
    }
    return ls_verify_suspect(verify, (struct ls_span){entry->key, entry->key_len}, err);
}

static int ask_quarantine(struct ls_verify *verify, size_t n, const bool *settled, bool *ret,
                          struct ls_err *err)
{
    const struct ls_verify_model *model = verify->model;
    int32_t partitions[LS_VERIFY_CANDIDATES];
    int64_t offsets[LS_VERIFY_CANDIDATES];
    size_t which[LS_VERIFY_CANDIDATES], asked = 0;
    bool answers[LS_VERIFY_CANDIDATES] = {0};
    memset(ret, 0, n * sizeof(*ret));
    for (size_t i = 0; i < n; i++) {
        if (!settled[i] || !lacks(&verify->entries[i], &verify->images[i]))
            continue;
        partitions[asked] =
            ls_partition_of(verify->entries[i].shard, ls_ledger_entity(model->ledger)->partitions);
        offsets[asked] = verify->entries[i].offset;
        which[asked++] = i;
    }
    if (asked == 0)
        return 0;
    if (model->quarantined(model->opaque, partitions, offsets, asked, answers, err) < 0)
        return -1;
    for (size_t i = 0; i < asked; i++)
        ret[which[i]] = answers[i];
    return 0;
}

/*
 * One round over all that are noted. Those that are settled get their verdict and leave; with
 * `last` all do.
 */
static int confirm_round(struct ls_verify *verify, bool last, struct ls_err *err)
{
    const struct ls_verify_model *model = verify->model;
    size_t n = verify->n_candidates, left = 0;
    bool settled[LS_VERIFY_CANDIDATES], quarantined[LS_VERIFY_CANDIDATES];
    ls_arena_reset(&verify->arena);
    if (ls_verify_read_marks(verify, err) < 0 || verify->ops->refresh(verify->confirmer, err) < 0 ||
        verify->ops->fetch(verify->confirmer, verify->candidates, n, &verify->arena, verify->images,
                           err) < 0 ||
        model->update(model->opaque, err) < 0 ||
        ls_ledger_lookup(model->ledger, verify->candidates, n, verify->entries, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        settled[i] =
            !lacks(&verify->entries[i], &verify->images[i]) || passed(verify, &verify->entries[i]);
    if (ask_quarantine(verify, n, settled, quarantined, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        char why[160];
        enum ls_difference difference =
            ls_verify_compare(&verify->entries[i], &verify->images[i], why);
        if (!settled[i] && !last) {
            verify->candidates[left++] = verify->candidates[i];
            continue;
        }
        if (!settled[i])
            difference = say(LS_DIFF_LAGGING, why, "");
        else if (quarantined[i])
            difference = say(LS_DIFF_QUARANTINED, why, "");
        ls_verify_note(verify, difference, &verify->entries[i], &verify->images[i], why);
    }
    verify->n_candidates = left;
    return 0;
}

int ls_verify_confirm(struct ls_verify *verify, struct ls_err *err)
{
    while (verify->n_candidates > 0) {
        bool last = verify->waited_ms >= verify->model->wait_ms;
        int64_t started_ms = ls_mono_ms();
        if (confirm_round(verify, last, err) < 0)
            return -1;
        if (verify->n_candidates == 0)
            break;
        if (ls_verify_stopped(verify))
            return ls_err_set(err, LS_ERR_RETRY, 0, "interrupted");
        nanosleep(&(struct timespec){.tv_nsec = ROUND_PAUSE_MS * 1000 * 1000}, NULL);
        verify->waited_ms += ls_mono_ms() - started_ms;
    }
    ls_arena_reset(&verify->keys);
    return 0;
}
