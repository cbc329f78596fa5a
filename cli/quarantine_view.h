/*
 * Entries of a quarantine as people and programs read them. What the schema calls personal (pii) is
 * masked unless it was asked for: fields, the key, bytes that cannot be decoded, and what a store
 * quotes in its reason. Nothing in a record reaches the terminal as control. Pure.
 */
#ifndef LS_CLI_QUARANTINE_VIEW_H
#define LS_CLI_QUARANTINE_VIEW_H

#include "base/buf.h"
#include "base/mem.h"
#include "pipeline/quarantine_entry.h"

/* Titles of the table, then a line for each entry, newline and all. */
void ls_quarantine_print_titles(struct ls_buf *buf);
void ls_quarantine_print_line(const struct ls_sink_config *sink,
                              const struct ls_quarantine_entry *entry, int64_t now_ms,
                              bool show_pii, struct ls_buf *buf);

/* One entry in full, its record's fields decoded. The arena is scratch. */
void ls_quarantine_print_entry(const struct ls_sink_config *sink,
                               const struct ls_quarantine_entry *entry, int64_t now_ms,
                               bool show_pii, struct ls_arena *arena, struct ls_buf *buf);

/* One JSON object on one line; with_record: the decoded record or the raw bytes too. */
void ls_quarantine_print_json(const struct ls_sink_config *sink,
                              const struct ls_quarantine_entry *entry, bool show_pii,
                              bool with_record, struct ls_arena *arena, struct ls_buf *buf);

/* The reason, with what it may quote of the record masked. */
void ls_quarantine_print_reason(const struct ls_schema *schema, struct ls_span text, bool show_pii,
                                struct ls_buf *buf);

#endif
