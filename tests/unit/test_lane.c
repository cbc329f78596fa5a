/* Lanes and units: hand-over without servers; a sink that only gives verdicts stands in. */
#include <criterion/criterion.h>
#include <poll.h>

#include "base/mem.h"
#include "consumers/lane.h"

/* Applies everything whose key does not say otherwise. */
static void run_fake_lane(struct ls_sink *sink, unsigned index, struct ls_lane *lane)
{
    (void)sink;
    (void)index;
    while (!ls_lane_closing(lane)) {
        struct ls_unit *unit = ls_lane_take(lane, -1);
        if (unit == NULL)
            continue;
        for (uint32_t i = 0; i < unit->n_records; i++)
            if (unit->records[i]->verdict == LS_PENDING)
                unit->records[i]->verdict = LS_APPLIED;
        ls_lane_complete(lane, unit);
    }
}

/* Never takes anything. */
static void run_idle_lane(struct ls_sink *sink, unsigned index, struct ls_lane *lane)
{
    (void)sink;
    (void)index;
    struct pollfd wait = {.fd = ls_lane_fd(lane), .events = POLLIN};
    while (!ls_lane_closing(lane))
        poll(&wait, 1, 10);
}

static bool readable(int fd, int timeout_ms)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    return poll(&wait, 1, timeout_ms) == 1;
}

Test(lane, units_come_back_with_verdicts_and_wake_the_one_who_waits)
{
    static const struct ls_sink_ops ops = {.run_lane = run_fake_lane};
    struct ls_returns *returns = ls_returns_new();
    struct ls_err err = {0};
    struct ls_lane *lane = ls_lane_start(&ops, NULL, 0, returns, &err);
    cr_assert_not_null(lane);
    cr_assert(!readable(ls_returns_fd(returns), 0));
    struct ls_record record = {0}, *records[] = {&record};
    struct ls_unit units[100] = {0};
    for (size_t i = 0; i < LS_COUNT(units); i++) {
        units[i].records = records;
        units[i].n_records = i == 0;
        ls_lane_submit(lane, &units[i]);
    }
    size_t back = 0;
    while (back < LS_COUNT(units)) {
        cr_assert(readable(ls_returns_fd(returns), 10000));
        for (struct ls_unit *unit = ls_returns_take(returns); unit; unit = unit->next) {
            cr_assert_eq(unit, &units[back], "one lane keeps the order");
            back++;
        }
    }
    cr_assert_eq(record.verdict, LS_APPLIED);
    cr_assert(!readable(ls_returns_fd(returns), 0), "nothing is left, so nothing wakes");
    cr_assert_null(ls_lane_stop(lane));
    ls_returns_free(returns);
}

Test(lane, what_was_not_taken_is_given_back_at_the_stop)
{
    static const struct ls_sink_ops ops = {.run_lane = run_idle_lane};
    struct ls_returns *returns = ls_returns_new();
    struct ls_err err = {0};
    struct ls_lane *lane = ls_lane_start(&ops, NULL, 0, returns, &err);
    struct ls_unit units[2] = {0};
    ls_lane_submit(lane, &units[0]);
    ls_lane_submit(lane, &units[1]);
    struct ls_unit *left = ls_lane_stop(lane);
    cr_assert_eq(left, &units[0]);
    cr_assert_eq(left->next, &units[1]);
    cr_assert_null(left->next->next);
    ls_returns_free(returns);
}

Test(lane, marks_that_rest_on_what_was_known_before_a_doubt_are_not_written)
{
    static const struct ls_sink_ops ops = {.run_lane = run_idle_lane};
    struct ls_returns *returns = ls_returns_new();
    struct ls_err err = {0};
    struct ls_lane *lane = ls_lane_start(&ops, NULL, 0, returns, &err);
    struct ls_unit before = {0}, after = {0};
    uint64_t known = ls_lane_incarnation(lane);
    ls_lane_unsure(lane, "between the decision to write them and their handing over");
    ls_lane_submit_as(lane, &before, known);
    ls_lane_submit_as(lane, &after, ls_lane_incarnation(lane));
    cr_assert(!ls_lane_may_mark(lane, &before));
    cr_assert(ls_lane_may_mark(lane, &after));
    ls_lane_stop(lane);
    ls_returns_free(returns);
}

Test(unit, the_worst_failure_is_kept_and_final_verdicts_stay)
{
    struct ls_record records[3] = {{.verdict = LS_APPLIED}, {0}, {0}};
    struct ls_record *list[] = {&records[0], &records[1], &records[2]};
    struct ls_unit unit = {.records = list, .n_records = 3};
    ls_unit_poison(&unit, &records[1], 1406, "too long");
    cr_assert_eq(unit.err.class, LS_ERR_POISON);
    struct ls_err err;
    ls_err_set(&err, LS_ERR_RETRY, 1213, "deadlock");
    ls_unit_fail(&unit, &err);
    cr_assert_eq(records[0].verdict, LS_APPLIED);
    cr_assert_eq(records[1].verdict, LS_POISON);
    cr_assert_eq(records[1].reject, LS_REJECT_STORE);
    cr_assert_eq(records[2].verdict, LS_RETRY);
    cr_assert_eq(unit.err.code, 1213);
    ls_err_set(&err, LS_ERR_POISON, 1, "later and less");
    ls_unit_note(&unit, &err);
    cr_assert_eq(unit.err.code, 1213);
    cr_assert_eq(unit.n_refusals, 1);
    cr_assert_eq(ls_unit_refusal(&unit, &records[1]), &unit.refusals[0]);
    cr_assert_str_eq(ls_unit_refusal(&unit, &records[1])->text, "too long");
    cr_assert_null(ls_unit_refusal(&unit, &records[2]), "it was not refused");
    free(unit.refusals);
}
