/*
 * What an instance says of itself, for the files that make it up: log lines, its state, heartbeats,
 * and the view that metrics are made of. All of it runs in the instance's thread.
 *
 *   report.c    states, failures, heartbeats
 *   observe.c   the view: lag, age, what is in hand; what a sink waits for that does not move
 *   failures.c  which failures were told lately
 *   mask.c      no personal data in any of it
 */
#ifndef LS_CONSUMERS_REPORT_H
#define LS_CONSUMERS_REPORT_H

#include "pipeline/heartbeat.h"

struct ls_instance;
struct ls_lane_state;
struct ls_report;

struct ls_report *ls_report_open(const struct ls_instance *instance);
/* Tells what was counted and not told. Safe on NULL. */
void ls_report_close(struct ls_report *report);

/*
 * Sets the state; a change is logged and reported at once. reason may be NULL. RUNNING is a claim
 * that is looked into: a sink whose log does not answer becomes WAITING, one that has something to
 * do and does nothing of it becomes STUCK.
 */
void ls_report_state(struct ls_instance *instance, enum ls_state state, const char *reason);

/*
 * Whether the lane has something in hand and the store has settled nothing of it for a while: a
 * twelfth of what makes it STUCK, which is 5 s.
 */
bool ls_report_is_silent(const struct ls_instance *instance, const struct ls_lane_state *lane);
/*
 * Keeps err as the last error, counts it, and logs it unless it was told lately. record is the one
 * that failed, or the first of `records` that failed together; NULL where it is of no record. Of a
 * record that is poison each is counted and so told.
 */
void ls_report_failure(struct ls_instance *instance, const struct ls_err *err,
                       const struct ls_record *record, uint32_t records);
/* The same where no record is known. */
void ls_report_error(struct ls_instance *instance, const struct ls_err *err);

/* The failure's text as people may see it. */
void ls_report_text(const struct ls_instance *instance, const struct ls_err *err, char *ret,
                    size_t size);

/*
 * The loop turns. Sends a heartbeat and publishes the view when they are due (now: at once). What
 * waits for Kafka inside a turn calls it first, so that several such waits do not pass for an
 * instance that is gone; another long wait calls ls_report_turn, so as not to pass for a loop that
 * hangs.
 */
void ls_report_beat(struct ls_instance *instance, bool now);
void ls_report_turn(struct ls_instance *instance);

/* For the counts of the view. */
void ls_report_batch(struct ls_instance *instance, uint32_t records);
void ls_report_request(struct ls_instance *instance, int64_t us);
/* A record that was appended at at_ms is in the store at wall_ms. */
void ls_report_applied(struct ls_instance *instance, int64_t at_ms, int64_t wall_ms);
void ls_report_look(struct ls_instance *instance);
/* Kafka has confirmed a heartbeat, or will never take it. */
void ls_report_beaten(struct ls_instance *instance, bool confirmed);

#endif
