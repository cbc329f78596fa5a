/*
 * Records of CSV (RFC 4180) as changes. The header line names the fields. Pure: no I/O; lines.h has
 * cut the input into records. One thread per parser.
 */
#ifndef LS_PRODUCERS_CSV_H
#define LS_PRODUCERS_CSV_H

#include "producers/change.h"

struct ls_csv {
    const struct ls_schema *schema; /* borrowed */
    int *columns;                   /* field of each column, or one of the CSV_ values of csv.c */
    size_t n_columns;
    struct ls_value *values;
    struct ls_arena arena; /* lists, and texts that had doubled quotes */
};

void ls_csv_open(struct ls_csv *parser, const struct ls_schema *schema);
void ls_csv_free(struct ls_csv *parser);

/*
 * Reads the header: names of fields, the key's among them, and `_op` if there are deletes. -1
 * (FATAL) names the column that is unknown, repeated or missing: then no record can be read.
 */
int ls_csv_header(struct ls_csv *parser, const char *line, size_t len, struct ls_err *err);

/*
 * Reads one record. An empty column without quotes is absent, "" is an empty string; a list is the
 * text of a JSON array; `_op` is put (also when empty) or delete, which has the key alone. -1
 * (class POISON) names the column, never its value.
 */
int ls_csv_parse(struct ls_csv *parser, const char *line, size_t len, struct ls_change *ret,
                 struct ls_err *err);

#endif
