#include "consumers/flow.h"

#include <assert.h>

void ls_flow_init(struct ls_flow *flow, uint32_t max_records)
{
    uint32_t max = max_records > 0 ? max_records : 1;
    *flow = (struct ls_flow){.max = max, .limit = max, .steady = max};
}

uint32_t ls_flow_room(struct ls_flow *flow, uint32_t waiting)
{
    uint32_t limit = (uint32_t)flow->limit;
    uint32_t room = flow->out < limit ? limit - flow->out : 0;
    if (room >= waiting)
        return waiting;
    flow->held = true;
    /* A few records between large units would be requests for nothing. */
    return room < limit / LS_FLOW_LARGEST_PIECES ? 0 : room;
}

void ls_flow_sent(struct ls_flow *flow, uint32_t records, int64_t now_us,
                  struct ls_flow_ticket *ret_ticket)
{
    flow->out += records;
    *ret_ticket =
        (struct ls_flow_ticket){.records = records, .ahead = flow->out, .sent_us = now_us};
}

/* What a unit usually takes with so much ahead of it; 0 while nobody knows. */
static double usual_us(const struct ls_flow *flow, uint32_t ahead)
{
    int64_t unit_us = 0;
    double record_us = 0;
    for (unsigned i = 0; i < 2; i++) {
        if (flow->usual[i].unit_us == 0)
            continue;
        if (unit_us == 0 || flow->usual[i].unit_us < unit_us)
            unit_us = flow->usual[i].unit_us;
        if (record_us == 0 || flow->usual[i].record_us < record_us)
            record_us = flow->usual[i].record_us;
    }
    return unit_us == 0 ? 0 : (double)unit_us + record_us * ahead;
}

static void note_usual(struct ls_flow *flow, const struct ls_flow_ticket *ticket, int64_t took_us,
                       int64_t now_us)
{
    if (now_us - flow->window_us > 1000LL * LS_FLOW_WINDOW_MS) {
        flow->usual[1] = flow->usual[0];
        flow->usual[0].unit_us = 0;
        flow->usual[0].record_us = 0;
        flow->window_us = now_us;
    }
    double record_us = (double)took_us / ticket->ahead;
    if (flow->usual[0].unit_us == 0 || took_us < flow->usual[0].unit_us)
        flow->usual[0].unit_us = took_us;
    if (flow->usual[0].record_us == 0 || record_us < flow->usual[0].record_us)
        flow->usual[0].record_us = record_us;
}

/* Halves the limit, but not below the floor. */
static void cut(struct ls_flow *flow, double floor, int64_t now_us)
{
    double half = flow->limit / 2 > floor ? flow->limit / 2 : floor;
    if (half < flow->limit)
        flow->limit = half;
    flow->cut_us = now_us;
    flow->answered = false;
    flow->slow = 0;
    flow->cuts++;
}

static void grow(struct ls_flow *flow, uint32_t records)
{
    if (flow->limit < flow->steady) {
        flow->limit += records; /* a limit's worth of answers doubles it */
        if (flow->limit > flow->steady)
            flow->limit = flow->steady;
    } else {
        double step = flow->steady / LS_FLOW_STEPS;
        flow->limit += (step > 1 ? step : 1) * records / flow->limit;
        /* Past the place where it was refused once, that place says nothing any more. */
        if (flow->limit > 2 * flow->steady)
            flow->steady = flow->limit;
    }
    if (flow->limit > flow->max)
        flow->limit = flow->max;
    flow->held = false;
}

static void judge_time(struct ls_flow *flow, const struct ls_flow_ticket *ticket, int64_t now_us)
{
    int64_t took_us = now_us > ticket->sent_us ? now_us - ticket->sent_us : 1;
    double usual = usual_us(flow, ticket->ahead);
    note_usual(flow, ticket, took_us, now_us);
    flow->latency_us += (took_us - flow->latency_us) / 8;
    bool slow = usual > 0 && took_us > LS_FLOW_SLOW_FACTOR * usual &&
                took_us > usual + 1000.0 * LS_FLOW_SLOW_MS;
    if (!slow) {
        flow->slow = 0;
        if (flow->held && (usual == 0 || took_us < 2 * usual + 1000.0 * LS_FLOW_SLOW_MS))
            grow(flow, ticket->records);
        return;
    }
    /* Units that were out together are slow together. */
    if (ticket->sent_us < flow->slow_us || ticket->sent_us < flow->cut_us)
        return;
    flow->slow_us = now_us;
    double floor = (double)flow->max / LS_FLOW_LATENCY_FLOOR;
    if (++flow->slow < LS_FLOW_SLOW_ANSWERS || flow->limit <= floor)
        return;
    cut(flow, floor, now_us);
    flow->steady = flow->limit;
    flow->latency_cuts++;
}

void ls_flow_rest(struct ls_flow *flow, int64_t now_us)
{
    int64_t since_us = flow->cut_us > flow->rest_us ? flow->cut_us : flow->rest_us;
    if (flow->limit >= flow->max || now_us - since_us < 1000LL * LS_FLOW_REST_MS)
        return;
    flow->rest_us = now_us;
    flow->limit = 2 * flow->limit < flow->max ? 2 * flow->limit : flow->max;
    if (flow->steady < flow->limit)
        flow->steady = flow->limit;
}

static void judge_refusal(struct ls_flow *flow, const struct ls_flow_ticket *ticket,
                          enum ls_flow_outcome outcome, int64_t now_us)
{
    if (outcome == LS_FLOW_REJECTED)
        flow->rejections++;
    if (ticket->sent_us < flow->cut_us)
        return;
    /* In a long outage nothing is learnt of where the store would refuse. */
    if (outcome == LS_FLOW_REJECTED || flow->answered)
        flow->steady = flow->limit / 2 > 1 ? flow->limit / 2 : 1;
    cut(flow, 1, now_us);
}

void ls_flow_back(struct ls_flow *flow, const struct ls_flow_ticket *ticket,
                  enum ls_flow_outcome outcome, int64_t now_us)
{
    assert(flow->out >= ticket->records);
    flow->out -= ticket->records;
    if (ticket->records == 0)
        return;
    switch (outcome) {
    case LS_FLOW_OK:
        if (ticket->sent_us >= flow->cut_us)
            flow->answered = true;
        judge_time(flow, ticket, now_us);
        return;
    case LS_FLOW_REJECTED:
    case LS_FLOW_FAILED:
        judge_refusal(flow, ticket, outcome, now_us);
        return;
    case LS_FLOW_DROPPED:
        return;
    }
}
