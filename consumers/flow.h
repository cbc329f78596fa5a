/*
 * The flow of a lane: how many records may be out at once, found by additive increase and
 * multiplicative decrease, the same for every kind of store.
 *
 * The configured limit is where it starts and the most it allows. A unit that was refused for the
 * store's load, or that failed or timed out, halves it; so does an answer time that stays far above
 * what is usual, down to an eighth of the most, since that alone is no reason to crawl. Units are
 * cut to what is allowed, down to one record: so a write queue of one, a small breaker limit, or a
 * link that carries little between two cuts is met with requests that pass. Answers let it grow
 * again: it doubles up to half of where it was refused, then goes up in steps. Where nothing waits
 * for the limit no answer tries it, so it doubles each minute without a cut: what was refused long
 * ago is no reason to begin the next rush with a crawl.
 *
 * What is usual: the least time that any unit took, and the least per record that was out, each
 * over the last minute or two, so that a link or a server that is slow for good becomes usual.
 * Comparing times per record alone was rejected (a unit of one would always look slow), as was
 * comparing units alone (a long one would).
 *
 * What was out together is refused, or slow, together: what was sent before the last time that
 * counted says nothing new. Pure: the time is passed in (monotonic, microseconds). One
 * thread: the instance's. A crash forgets it.
 */
#ifndef LS_CONSUMERS_FLOW_H
#define LS_CONSUMERS_FLOW_H

#include <stdbool.h>
#include <stdint.h>

enum {
    LS_FLOW_STEPS = 16,         /* rounds from half of a limit to all of it */
    LS_FLOW_SLOW_ANSWERS = 4,   /* in a row before they count */
    LS_FLOW_SLOW_FACTOR = 4,    /* far above the usual: this many times ... */
    LS_FLOW_SLOW_MS = 200,      /* ... and this much */
    LS_FLOW_LATENCY_FLOOR = 8,  /* slow answers cut to this part of the most at least */
    LS_FLOW_WINDOW_MS = 60000,  /* what is usual is found over one to two of these */
    LS_FLOW_REST_MS = 60000,    /* without a cut, after which the limit doubles by itself */
    LS_FLOW_LARGEST_PIECES = 4, /* no piece smaller than this part of the limit is sent */
};

enum ls_flow_outcome {
    LS_FLOW_OK,
    LS_FLOW_REJECTED, /* the store is there and refused some or all for its load */
    LS_FLOW_FAILED,   /* away, timed out, cut: nobody knows why */
    LS_FLOW_DROPPED,  /* nobody asked the store: only what was out is given back */
};

/* What was sent, kept by the sender until it comes back. */
struct ls_flow_ticket {
    uint32_t records;
    uint32_t ahead; /* records out when it was sent, its own included */
    int64_t sent_us;
};

struct ls_flow {
    uint32_t max;    /* records: the most, and where it starts */
    double limit;    /* records that may be out now: 1 to max */
    double steady;   /* it doubles up to here, then goes up in steps */
    uint32_t out;    /* records out now */
    bool held;       /* something waited for the limit since it grew last */
    bool answered;   /* anything was taken since the last cut */
    unsigned slow;   /* slow answers in a row */
    int64_t slow_us; /* when the last of them was counted */
    int64_t cut_us;  /* when it was cut last */
    int64_t rest_us; /* when it doubled by itself last */
    struct {
        int64_t unit_us;   /* the least of any unit */
        double record_us;  /* the least per record out */
    } usual[2];            /* of this window and the one before; 0: none yet */
    int64_t window_us;     /* when this window began */
    double latency_us;     /* of units, smoothed: for people */
    uint64_t rejections;   /* units, ever */
    uint64_t cuts;         /* ever */
    uint64_t latency_cuts; /* those among them that slow answers made */
};

void ls_flow_init(struct ls_flow *flow, uint32_t max_records);

/*
 * How many of `waiting` records may be sent now as one unit or several; 0: none. It may be less
 * than waiting. When nothing is out, it is 1 at least.
 */
uint32_t ls_flow_room(struct ls_flow *flow, uint32_t waiting);
void ls_flow_sent(struct ls_flow *flow, uint32_t records, int64_t now_us,
                  struct ls_flow_ticket *ret_ticket);
/* To be called every second or so, whether anything flows or not. */
void ls_flow_rest(struct ls_flow *flow, int64_t now_us);
void ls_flow_back(struct ls_flow *flow, const struct ls_flow_ticket *ticket,
                  enum ls_flow_outcome outcome, int64_t now_us);

#endif
