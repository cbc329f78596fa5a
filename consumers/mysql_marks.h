/* What a lane does with marks on its own connection: look at them, and move them. */
#ifndef LS_CONSUMERS_MYSQL_MARKS_H
#define LS_CONSUMERS_MYSQL_MARKS_H

#include "consumers/mysql_link.h"

/*
 * Answers a look (sink.h) from the lane's server alone: with unit->look->setup the mark table and
 * the tables of the unit's partitions and whether they hold anything, and always the marks, which
 * the link remembers as seen. An error is in unit->err.
 */
void ls_mysql_look(struct ls_mysql_link *link, struct ls_unit *unit);

/*
 * Moves the marks of a unit, all in one packet and one transaction, each only where its row still
 * is as the link saw it last; one that is not sets marks_unexpected and the others are moved.
 * Nothing is written when the lane may not mark. An error is in unit->err.
 */
void ls_mysql_marks_write(struct ls_mysql_link *link, struct ls_unit *unit);

#endif
