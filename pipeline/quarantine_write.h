/*
 * Writes to a sink's quarantine from outside its workers: entries that are closed or say something
 * new, and records of what was decided in lockstep.control. What was put counts only after a flush.
 * One thread. A crash between two flushes leaves entries open that were meant to be closed; doing
 * the same again is harmless.
 */
#ifndef LS_PIPELINE_QUARANTINE_WRITE_H
#define LS_PIPELINE_QUARANTINE_WRITE_H

#include "pipeline/quarantine_entry.h"

struct ls_quarantine_writer;

/* NULL and err when there is no client to be had. */
struct ls_quarantine_writer *ls_quarantine_writer_open(const struct ls_config *config,
                                                       const struct ls_sink_config *sink,
                                                       struct ls_err *err);
/* Without waiting for what was not flushed. Safe on NULL. */
void ls_quarantine_writer_close(struct ls_quarantine_writer *writer);

/* An entry as it shall stand there from now on; body NULL closes it. Copies it. */
int ls_quarantine_writer_put(struct ls_quarantine_writer *writer,
                             const struct ls_quarantine_entry *entry, struct ls_err *err);
/* A record of lockstep.control. Copies it. */
int ls_quarantine_writer_control(struct ls_quarantine_writer *writer, const char *key,
                                 const char *json, struct ls_err *err);
/* Waits until all that was put is confirmed; -1 when any of it was not. */
int ls_quarantine_writer_flush(struct ls_quarantine_writer *writer, struct ls_err *err);

#endif
