/*
 * The flow against a store that is simulated: it takes so many records at once and refuses a unit
 * that would be more, and it answers at a rate. Time is the simulation's own.
 */
#include <criterion/criterion.h>

#include "base/mem.h"
#include "consumers/flow.h"

enum { MAX = 16384, UNIT_MAX = 1000, OUT_MAX = 64 };

struct sent {
    struct ls_flow_ticket ticket;
    int64_t due_us;
    bool refused;
};

struct store {
    struct ls_flow flow;
    uint32_t capacity; /* records at once */
    double records_per_ms;
    int64_t trip_us;         /* of each unit, beside its work */
    int64_t now_us, free_us; /* free: when the store has done all it took */
    uint32_t inside;
    struct sent out[OUT_MAX];
    size_t n_out;
    uint64_t taken, refused; /* units */
    uint64_t records;        /* taken */
};

static void store_init(struct store *store, uint32_t capacity, double records_per_ms)
{
    *store = (struct store){
        .capacity = capacity, .records_per_ms = records_per_ms, .trip_us = 1000, .now_us = 1000000};
    ls_flow_init(&store->flow, MAX);
}

/* Sends all that the flow lets out; there is always more to send. */
static void send_all(struct store *store)
{
    uint32_t n;
    while (store->n_out < OUT_MAX && (n = ls_flow_room(&store->flow, UNIT_MAX)) > 0) {
        struct sent *sent = &store->out[store->n_out++];
        ls_flow_sent(&store->flow, n, store->now_us, &sent->ticket);
        sent->refused = store->inside + n > store->capacity;
        sent->due_us = store->now_us + store->trip_us;
        if (sent->refused)
            continue;
        store->inside += n;
        if (store->free_us < store->now_us)
            store->free_us = store->now_us;
        store->free_us += (int64_t)(1000.0 * n / store->records_per_ms);
        sent->due_us = store->free_us + store->trip_us;
    }
}

/* The next answer, whichever is due first. */
static void answer(struct store *store)
{
    size_t first = 0;
    for (size_t i = 1; i < store->n_out; i++)
        if (store->out[i].due_us < store->out[first].due_us)
            first = i;
    struct sent sent = store->out[first];
    store->out[first] = store->out[--store->n_out];
    if (sent.due_us > store->now_us)
        store->now_us = sent.due_us;
    ls_flow_back(&store->flow, &sent.ticket, sent.refused ? LS_FLOW_REJECTED : LS_FLOW_OK,
                 store->now_us);
    if (sent.refused) {
        store->refused++;
        store->now_us += 10000; /* the breaker's short wait */
        return;
    }
    store->inside -= sent.ticket.records;
    store->taken++;
    store->records += sent.ticket.records;
}

static void run_for(struct store *store, int64_t ms)
{
    int64_t end_us = store->now_us + 1000 * ms;
    store->taken = store->refused = store->records = 0;
    while (store->now_us < end_us) {
        send_all(store);
        cr_assert_gt(store->n_out, 0, "something can always be sent");
        answer(store);
    }
}

static void check_settles_at(uint32_t capacity)
{
    struct store store;
    store_init(&store, capacity, 50);
    run_for(&store, 5000);
    run_for(&store, 20000);
    cr_expect_leq(store.flow.limit, 2.0 * capacity, "capacity %u: limit %f", capacity,
                  store.flow.limit);
    cr_expect_geq(store.flow.limit, capacity / 4.0, "capacity %u: limit %f", capacity,
                  store.flow.limit);
    cr_expect_lt(10 * store.refused, 2 * (store.taken + store.refused),
                 "capacity %u: %lu of %lu are refused", capacity, store.refused,
                 store.taken + store.refused);
}

Test(flow, it_settles_near_what_the_store_takes)
{
    static const uint32_t capacities[] = {20, 100, 500, 3000, 10000};
    for (size_t i = 0; i < LS_COUNT(capacities); i++)
        check_settles_at(capacities[i]);
}

Test(flow, most_of_what_the_store_can_do_is_used)
{
    struct store store;
    store_init(&store, 3000, 50);
    run_for(&store, 5000);
    run_for(&store, 20000);
    cr_expect_gt(store.records, 20000 * 50 * 0.8, "%lu records", store.records);
}

Test(flow, nothing_is_held_back_where_nothing_is_refused)
{
    struct store store;
    store_init(&store, UINT32_MAX, 50);
    run_for(&store, 20000);
    cr_expect_eq((uint32_t)store.flow.limit, MAX);
    cr_expect_eq(store.flow.cuts, 0);
}

Test(flow, it_recovers_when_the_store_takes_more_again)
{
    struct store store;
    store_init(&store, 100, 50);
    run_for(&store, 10000);
    cr_expect_leq(store.flow.limit, 200);
    store.capacity = UINT32_MAX;
    run_for(&store, 60000);
    cr_expect_eq((uint32_t)store.flow.limit, MAX, "limit %f", store.flow.limit);
}

Test(flow, a_store_that_takes_one_record_at_a_time_gets_one)
{
    struct store store;
    store_init(&store, 1, 50);
    run_for(&store, 5000);
    run_for(&store, 5000);
    cr_expect_geq(store.taken, 50, "it goes on: %lu taken, %lu refused", store.taken,
                  store.refused);
    cr_expect_leq(store.flow.limit, 3);
}

Test(flow, the_floor_is_one_record)
{
    struct ls_flow flow;
    ls_flow_init(&flow, MAX);
    int64_t now_us = 1000000;
    for (int i = 0; i < 100; i++) {
        struct ls_flow_ticket ticket;
        uint32_t n = ls_flow_room(&flow, UNIT_MAX);
        cr_assert_geq(n, 1);
        ls_flow_sent(&flow, n, now_us, &ticket);
        now_us += 1000;
        ls_flow_back(&flow, &ticket, i % 2 ? LS_FLOW_REJECTED : LS_FLOW_FAILED, now_us);
    }
    cr_expect_eq((uint32_t)flow.limit, 1);
    cr_expect_eq(flow.out, 0);
}

Test(flow, one_slow_answer_changes_nothing)
{
    struct store store;
    store_init(&store, UINT32_MAX, 50);
    run_for(&store, 5000);
    store.free_us += 20000000; /* a checkpoint, a collection of garbage */
    run_for(&store, 60000);
    cr_expect_eq((uint32_t)store.flow.limit, MAX);
    cr_expect_eq(store.flow.cuts, 0);
}

Test(flow, answers_that_stay_slow_cut_it_but_not_to_a_crawl)
{
    struct store store;
    store_init(&store, UINT32_MAX, 50);
    run_for(&store, 5000);
    store.records_per_ms = 2;
    run_for(&store, 60000);
    cr_expect_gt(store.flow.latency_cuts, 0);
    cr_expect_lt(store.flow.limit, MAX);
    cr_expect_geq(store.flow.limit, MAX / LS_FLOW_LATENCY_FLOOR);
}

Test(flow, what_is_slow_for_good_becomes_usual)
{
    struct store store;
    store_init(&store, UINT32_MAX, 50);
    run_for(&store, 5000);
    store.records_per_ms = 2;
    run_for(&store, 400000);
    cr_expect_eq((uint32_t)store.flow.limit, MAX, "limit %f", store.flow.limit);
}

Test(flow, units_of_every_size_are_compared_with_what_is_usual_for_their_size)
{
    struct ls_flow flow;
    ls_flow_init(&flow, MAX);
    int64_t now_us = 1000000;
    for (int i = 0; i < 1000; i++) {
        struct ls_flow_ticket ticket;
        uint32_t n = i % 3 == 0 ? 1 : i % 3 == 1 ? 100 : 10000;
        ls_flow_sent(&flow, n, now_us, &ticket);
        now_us += 2000 + 100 * n; /* a second for the large one, 2 ms for one record */
        ls_flow_back(&flow, &ticket, LS_FLOW_OK, now_us);
    }
    cr_expect_eq(flow.cuts, 0);
}

Test(flow, what_was_refused_together_is_one_cut)
{
    struct ls_flow flow;
    struct ls_flow_ticket tickets[8];
    ls_flow_init(&flow, MAX);
    for (int i = 0; i < 8; i++)
        ls_flow_sent(&flow, 1000, 1000000 + i, &tickets[i]);
    for (int i = 0; i < 8; i++)
        ls_flow_back(&flow, &tickets[i], LS_FLOW_REJECTED, 1100000 + i);
    cr_expect_eq(flow.cuts, 1);
    cr_expect_eq((uint32_t)flow.limit, MAX / 2);
    cr_expect_eq(flow.rejections, 8);
}

Test(flow, after_a_long_outage_it_is_back_within_a_few_round_trips)
{
    struct store store;
    store_init(&store, UINT32_MAX, 50);
    run_for(&store, 1000);
    store.capacity = 0;
    while (store.n_out > 0)
        answer(&store);
    for (int i = 0; i < 1000; i++) {
        struct ls_flow_ticket ticket;
        ls_flow_sent(&store.flow, ls_flow_room(&store.flow, 16), store.now_us, &ticket);
        store.now_us += 5000000;
        ls_flow_back(&store.flow, &ticket, LS_FLOW_FAILED, store.now_us);
    }
    cr_expect_eq((uint32_t)store.flow.limit, 1);
    store.capacity = UINT32_MAX;
    run_for(&store, 2000);
    cr_expect_geq(store.flow.limit, MAX / 2, "limit %f", store.flow.limit);
}

Test(flow, what_was_dropped_gives_its_room_back_and_says_nothing)
{
    struct ls_flow flow;
    struct ls_flow_ticket ticket;
    ls_flow_init(&flow, 10);
    ls_flow_sent(&flow, 10, 1, &ticket);
    cr_expect_eq(ls_flow_room(&flow, 5), 0);
    ls_flow_back(&flow, &ticket, LS_FLOW_DROPPED, 2);
    cr_expect_eq(ls_flow_room(&flow, 5), 5);
    cr_expect_eq((uint32_t)flow.limit, 10);
}

Test(flow, a_store_that_nobody_writes_to_is_not_crawled_at_for_what_was_long_ago)
{
    struct store store;
    store_init(&store, 20, 50);
    run_for(&store, 5000);
    cr_assert_leq(store.flow.limit, 40);
    store.now_us += 1000LL * LS_FLOW_REST_MS;
    ls_flow_rest(&store.flow, store.now_us - 1000000);
    cr_expect_leq(store.flow.limit, 40, "not yet");
    for (int minutes = 0; minutes < 12; minutes++, store.now_us += 1000LL * LS_FLOW_REST_MS)
        for (int again = 0; again < 3; again++)
            ls_flow_rest(&store.flow, store.now_us + again);
    cr_expect_eq((uint32_t)store.flow.limit, MAX);
}

Test(flow, a_store_that_refuses_is_not_tried_by_time)
{
    struct store store;
    store_init(&store, 20, 50);
    run_for(&store, 5000);
    uint64_t cuts = store.flow.cuts;
    for (int i = 0; i < 1000; i++) {
        run_for(&store, 500);
        ls_flow_rest(&store.flow, store.now_us);
    }
    cr_expect_gt(store.flow.cuts, cuts);
    cr_expect_leq(store.flow.limit, 40);
}
