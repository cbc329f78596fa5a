/* list and show: entries as they are read, nothing kept. */
#include "cli/quarantine_jobs.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/progress.h"
#include "cli/cli.h"
#include "cli/quarantine_view.h"
#include "pipeline/quarantine_read.h"

struct view {
    const struct ls_quarantine_job *job;
    const struct ls_sink_config *sink;
    int64_t now_ms;
    bool in_full; /* show */
    struct ls_arena arena;
    struct ls_buf buf;
    uint64_t n;
    uint64_t classes[LS_REJECT_STORE + 1]; /* [NONE]: a class that is not known here */
};

static bool print_entry(void *opaque, const struct ls_quarantine_entry *entry)
{
    struct view *view = opaque;
    const struct ls_quarantine_job *job = view->job;
    if (!ls_quarantine_filter_takes(&job->filter, entry))
        return true;
    ls_buf_clear(&view->buf);
    ls_arena_reset(&view->arena);
    if (job->json) {
        ls_quarantine_print_json(view->sink, entry, job->show_pii, view->in_full, &view->arena,
                                 &view->buf);
    } else if (view->in_full) {
        if (view->n > 0)
            ls_buf_append_char(&view->buf, '\n');
        ls_quarantine_print_entry(view->sink, entry, view->now_ms, job->show_pii, &view->arena,
                                  &view->buf);
    } else {
        if (view->n == 0)
            ls_quarantine_print_titles(&view->buf);
        ls_quarantine_print_line(view->sink, entry, view->now_ms, job->show_pii, &view->buf);
    }
    view->n++;
    view->classes[entry->reject]++;
    fwrite(view->buf.data, 1, view->buf.len, stdout);
    return !ferror(stdout); /* else nobody reads any more */
}

/* "12 open entries: store 10, undecodable 2" */
static void print_summary(const struct view *view)
{
    char count[32];
    if (view->n == 0) {
        puts("No open entries.");
        return;
    }
    printf("\n%s open %s:", ls_human_count(view->n, count, sizeof(count)),
           view->n == 1 ? "entry" : "entries");
    const char *comma = "";
    for (int reject = LS_REJECT_STORE; reject >= LS_REJECT_NONE; reject--) {
        if (view->classes[reject] == 0)
            continue;
        printf("%s %s %s", comma,
               reject == LS_REJECT_NONE ? "others" : ls_reject_name((enum ls_reject)reject),
               ls_human_count(view->classes[reject], count, sizeof(count)));
        comma = ",";
    }
    putchar('\n');
}

static int print_all(const struct ls_quarantine_job *job, bool in_full, uint64_t *ret_n)
{
    struct view view = {.job = job, .now_ms = ls_wall_us() / 1000, .in_full = in_full};
    int code = LS_EXIT_OK;
    for (size_t i = 0; i < job->n_sinks && code == LS_EXIT_OK && !ls_cli_stop; i++) {
        struct ls_err err = {0};
        view.sink = job->sinks[i];
        if (ls_quarantine_read(job->config, view.sink, print_entry, &view, &ls_cli_stop, &err) <
            0) {
            fflush(stdout);
            ls_cli_error("%s", err.text);
            code = LS_EXIT_FAILED;
        }
    }
    if (ls_cli_stop)
        code = LS_EXIT_INTERRUPTED;
    if (code == LS_EXIT_OK && !job->json && !in_full)
        print_summary(&view);
    fflush(stdout);
    ls_arena_free(&view.arena);
    ls_buf_free(&view.buf);
    *ret_n = view.n;
    return code;
}

int ls_quarantine_list(const struct ls_quarantine_job *job)
{
    uint64_t n;
    return print_all(job, false, &n);
}

int ls_quarantine_show(const struct ls_quarantine_job *job)
{
    uint64_t n;
    int code = print_all(job, true, &n);
    if (code != LS_EXIT_OK || n > 0)
        return code;
    ls_cli_error("no open entry of %s is like that; `lockstep quarantine list` shows them",
                 job->sinks[0]->name);
    return LS_EXIT_DIFFERENT;
}
