/*
 * Metrics in Prometheus's text format, version 0.0.4, and histograms to count into. Pure: no I/O,
 * no state; one thread at a time uses a histogram. A crash loses the counts; whoever scrapes sees
 * counters start again, and knows that from their fall.
 *
 * Names follow Prometheus's rules: base units (seconds, bytes), `_total` for counters. The samples
 * of a family must follow each other, so a page is written family by family, not sink by sink.
 */
#ifndef LS_PIPELINE_METRICS_H
#define LS_PIPELINE_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { LS_BUCKETS_MAX = 20 };

struct ls_buckets { /* upper bounds, rising; one more without a bound follows them */
    size_t n;
    double bounds[LS_BUCKETS_MAX];
};

struct ls_histogram {
    const struct ls_buckets *buckets; /* borrowed, static */
    uint64_t counts[LS_BUCKETS_MAX + 1];
    uint64_t n;
    double sum;
};

extern const struct ls_buckets ls_buckets_request_s; /* 1 ms to 60 s: requests to stores */
extern const struct ls_buckets ls_buckets_delay_s;   /* 5 ms to a day: from log to store */
extern const struct ls_buckets ls_buckets_records;   /* 1 to 65,536, by 4 */

/* Counts `times` values of the same size. */
void ls_histogram_add(struct ls_histogram *histogram, double value, uint64_t times);

enum ls_metric_type { LS_METRIC_COUNTER, LS_METRIC_GAUGE, LS_METRIC_HISTOGRAM };

struct ls_label {
    const char *name;
    const char *value; /* any bytes; escaped */
};

struct ls_labels { /* of one sample; a list that ends at the first NULL name */
    struct ls_label label[6];
};

/* HELP and TYPE: before the family's first sample. help is one line of plain text. */
void ls_metric_family(struct ls_buf *page, const char *name, enum ls_metric_type type,
                      const char *help);
void ls_metric_count(struct ls_buf *page, const char *name, const struct ls_labels *labels,
                     uint64_t value);
void ls_metric_value(struct ls_buf *page, const char *name, const struct ls_labels *labels,
                     double value);
void ls_metric_histogram(struct ls_buf *page, const char *name, const struct ls_labels *labels,
                         const struct ls_histogram *histogram);

/* process_*: what the system knows of this process (Linux). Reads /proc; leaves out what it lacks.
 */
void ls_metric_process(struct ls_buf *page);

#endif
