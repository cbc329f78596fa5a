#include "consumers/poison_rate.h"

#include <stddef.h>

static struct ls_poison_share sum_up(const struct ls_poison_rate *rate, int64_t now_ms)
{
    struct ls_poison_share sum = {0};
    int64_t oldest = now_ms / LS_POISON_SLOT_MS - LS_POISON_SLOTS + 1;
    for (size_t i = 0; i < LS_POISON_SLOTS; i++) {
        if (rate->slots[i].number < oldest)
            continue;
        sum.poison += rate->slots[i].poison;
        sum.records += rate->slots[i].poison + rate->slots[i].taken;
    }
    return sum;
}

static void note(struct ls_poison_rate *rate, int64_t now_ms, uint32_t poison, uint32_t taken)
{
    int64_t number = now_ms / LS_POISON_SLOT_MS;
    size_t at = (size_t)(number % LS_POISON_SLOTS);
    if (rate->slots[at].number != number) {
        rate->slots[at].number = number;
        rate->slots[at].poison = rate->slots[at].taken = 0;
    }
    rate->slots[at].poison += poison;
    rate->slots[at].taken += taken;
}

/* How many a tripped sink lets through now, beside the limit. */
static uint64_t allowance(const struct ls_poison_rate *rate, int64_t now_ms)
{
    return rate->taken / LS_POISON_SHARE + (now_ms >= rate->next_trial_ms);
}

static void spend(struct ls_poison_rate *rate, int64_t now_ms, uint32_t poison)
{
    if (poison > 0 && now_ms >= rate->next_trial_ms) {
        rate->next_trial_ms = now_ms + LS_POISON_TRIAL_MS;
        poison--;
    }
    rate->taken -= (uint64_t)poison * LS_POISON_SHARE;
    if (rate->proof >= rate->limit)
        rate->tripped = false;
}

static void trip(struct ls_poison_rate *rate, int64_t now_ms)
{
    if (!rate->tripped)
        rate->next_trial_ms = now_ms + LS_POISON_TRIAL_MS;
    rate->tripped = true;
    rate->taken = rate->proof = 0;
}

bool ls_poison_rate_take(struct ls_poison_rate *rate, int64_t now_ms, uint32_t poison,
                         uint32_t taken, struct ls_poison_share *ret)
{
    if (rate->limit == 0)
        return true;
    struct ls_poison_share share = sum_up(rate, now_ms);
    share.poison += poison;
    share.records += (uint64_t)poison + taken;
    if (rate->tripped) {
        rate->taken += taken;
        rate->proof += taken;
    }
    if (poison > 0 &&
        (share.poison > rate->limit || (rate->tripped && poison > allowance(rate, now_ms)))) {
        trip(rate, now_ms);
        *ret = share;
        return false;
    }
    if (rate->tripped)
        spend(rate, now_ms, poison);
    note(rate, now_ms, poison, taken);
    return true;
}
