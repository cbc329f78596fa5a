#include "pipeline/metrics.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"

const struct ls_buckets ls_buckets_request_s = {
    14, {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60}};
const struct ls_buckets ls_buckets_delay_s = {18,
                                              {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5,
                                               10, 30, 60, 300, 900, 3600, 14400, 86400}};
const struct ls_buckets ls_buckets_records = {9, {1, 4, 16, 64, 256, 1024, 4096, 16384, 65536}};

void ls_histogram_add(struct ls_histogram *histogram, double value, uint64_t times)
{
    size_t at = 0;
    while (at < histogram->buckets->n && value > histogram->buckets->bounds[at])
        at++;
    histogram->counts[at] += times;
    histogram->n += times;
    histogram->sum += value * (double)times;
}

void ls_metric_family(struct ls_buf *page, const char *name, enum ls_metric_type type,
                      const char *help)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    ls_buf_printf(page, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, types[type]);
}

static void append_label_value(struct ls_buf *page, const char *value)
{
    for (; *value != '\0'; value++) {
        if (*value == '\\' || *value == '"')
            ls_buf_append_char(page, '\\');
        if (*value == '\n')
            ls_buf_append_str(page, "\\n");
        else
            ls_buf_append_char(page, *value);
    }
}

/* `name{a="b"} `; with `more`, a last label beside those of the sample. */
static void begin_sample(struct ls_buf *page, const char *name, const struct ls_labels *labels,
                         const char *more, const char *more_value)
{
    const char *before = "{";
    ls_buf_append_str(page, name);
    for (size_t i = 0; labels != NULL && i < LS_COUNT(labels->label); i++) {
        if (labels->label[i].name == NULL)
            break;
        ls_buf_printf(page, "%s%s=\"", before, labels->label[i].name);
        append_label_value(page, labels->label[i].value);
        ls_buf_append_char(page, '"');
        before = ",";
    }
    if (more != NULL) {
        ls_buf_printf(page, "%s%s=\"%s\"", before, more, more_value);
        before = ",";
    }
    ls_buf_append_str(page, *before == ',' ? "} " : " ");
}

static void append_number(struct ls_buf *page, double value)
{
    if (isfinite(value))
        ls_buf_printf(page, "%.12g\n", value);
    else
        ls_buf_append_str(page, isnan(value) ? "NaN\n" : value > 0 ? "+Inf\n" : "-Inf\n");
}

void ls_metric_count(struct ls_buf *page, const char *name, const struct ls_labels *labels,
                     uint64_t value)
{
    begin_sample(page, name, labels, NULL, NULL);
    ls_buf_append_u64(page, value);
    ls_buf_append_char(page, '\n');
}

void ls_metric_value(struct ls_buf *page, const char *name, const struct ls_labels *labels,
                     double value)
{
    begin_sample(page, name, labels, NULL, NULL);
    append_number(page, value);
}

void ls_metric_histogram(struct ls_buf *page, const char *name, const struct ls_labels *labels,
                         const struct ls_histogram *histogram)
{
    char sample[128], bound[32];
    uint64_t below = 0;
    snprintf(sample, sizeof(sample), "%s_bucket", name);
    for (size_t i = 0; i < histogram->buckets->n; i++) {
        below += histogram->counts[i];
        snprintf(bound, sizeof(bound), "%g", histogram->buckets->bounds[i]);
        begin_sample(page, sample, labels, "le", bound);
        ls_buf_printf(page, "%" PRIu64 "\n", below);
    }
    begin_sample(page, sample, labels, "le", "+Inf");
    ls_buf_printf(page, "%" PRIu64 "\n", histogram->n);
    snprintf(sample, sizeof(sample), "%s_sum", name);
    ls_metric_value(page, sample, labels, histogram->sum);
    snprintf(sample, sizeof(sample), "%s_count", name);
    ls_metric_count(page, sample, labels, histogram->n);
}

static void gauge(struct ls_buf *page, const char *name, const char *help, double value)
{
    ls_metric_family(page, name, LS_METRIC_GAUGE, help);
    ls_metric_value(page, name, NULL, value);
}

/* The fields of /proc/self/stat after the name in brackets, which may hold anything. */
static int read_stat(double field[24])
{
    char text[1024];
    FILE *file = fopen("/proc/self/stat", "re");
    if (file == NULL)
        return -1;
    size_t len = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[len] = '\0';
    char *at = strrchr(text, ')');
    if (at == NULL || at[1] != ' ' || at[2] == '\0')
        return -1;
    at += 3; /* behind the state, which is a letter */
    for (int i = 4; i < 24 + 4 && *at != '\0'; i++)
        field[i - 4] = strtod(at, &at);
    return 0;
}

static double boot_time_s(void)
{
    char line[256];
    double seconds = 0;
    FILE *file = fopen("/proc/stat", "re");
    while (file != NULL && seconds <= 0 && fgets(line, sizeof(line), file) != NULL)
        if (memcmp(line, "btime ", 6) == 0)
            seconds = strtod(line + 6, NULL);
    if (file != NULL)
        fclose(file);
    return seconds;
}

static void open_files(struct ls_buf *page)
{
    DIR *folder = opendir("/proc/self/fd");
    struct rlimit limit;
    double n = -3; /* itself, `.` and `..` */
    while (folder != NULL && readdir(folder) != NULL)
        n++;
    if (folder != NULL) {
        closedir(folder);
        gauge(page, "process_open_fds", "Number of open file descriptors.", n);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        gauge(page, "process_max_fds", "Maximum number of open file descriptors.",
              (double)limit.rlim_cur);
}

void ls_metric_process(struct ls_buf *page)
{
    /* Of field numbers in proc(5), from the fourth on. */
    enum {
        USER = 14 - 4,
        SYSTEM = 15 - 4,
        THREADS = 20 - 4,
        START = 22 - 4,
        VIRTUAL = 23 - 4,
        RESIDENT = 24 - 4
    };
    double field[24] = {0}, ticks = (double)sysconf(_SC_CLK_TCK), boot_s = boot_time_s();
    open_files(page);
    if (read_stat(field) < 0)
        return;
    ls_metric_family(page, "process_cpu_seconds_total", LS_METRIC_COUNTER,
                     "Total user and system CPU time spent in seconds.");
    ls_metric_value(page, "process_cpu_seconds_total", NULL, (field[USER] + field[SYSTEM]) / ticks);
    gauge(page, "process_resident_memory_bytes", "Resident memory size in bytes.",
          field[RESIDENT] * (double)sysconf(_SC_PAGESIZE));
    gauge(page, "process_virtual_memory_bytes", "Virtual memory size in bytes.", field[VIRTUAL]);
    gauge(page, "process_threads", "Number of threads.", field[THREADS]);
    if (boot_s > 0)
        gauge(page, "process_start_time_seconds",
              "Start time of the process since unix epoch in seconds.",
              boot_s + field[START] / ticks);
}
