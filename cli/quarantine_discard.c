/*
 * discard: entries are closed without their records ever being applied, so it is written down
 * first, who did it, when and why: record `discard/<sink>/<topic>/<partition>/<offset>` of
 * lockstep.control, confirmed before the entry is closed. A crash in between leaves an entry open
 * that is written down as discarded; discarding it again replaces that record.
 */
#include <inttypes.h>
#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/progress.h"
#include "cli/cli.h"
#include "cli/quarantine_chunk.h"
#include "cli/quarantine_jobs.h"
#include "cli/quarantine_view.h"
#include "pipeline/quarantine_write.h"

struct discard {
    const struct ls_quarantine_job *job;
    const struct ls_sink_config *sink;
    struct ls_quarantine_writer *writer;
    char who[160]; /* user@host */
    struct ls_progress progress;
    uint64_t n;
};

/* The person who called, also through sudo. */
static void say_who(char *who, size_t size)
{
    char host[64] = "localhost";
    const char *user = getenv("SUDO_USER");
    const struct passwd *entry = getpwuid(getuid());
    gethostname(host, sizeof(host) - 1);
    if (user == NULL || *user == '\0')
        user = entry != NULL ? entry->pw_name : "unknown";
    snprintf(who, size, "%.64s@%s", user, host);
}

/* What lockstep.control keeps for ever: no personal field. NULL where the reason is no UTF-8. */
static char *record_json(const struct discard *discard, const struct ls_quarantine_entry *entry)
{
    struct ls_buf line = {0};
    struct ls_arena arena = {0};
    ls_quarantine_print_json(discard->sink, entry, false, false, &arena, &line);
    json_t *object = json_loadb(line.data, line.len, 0, NULL);
    json_t *reason = json_string(discard->job->reason), *who = json_string(discard->who);
    bool ok = json_object_set_new(object, "discard_reason", reason) == 0 &&
              json_object_set_new(object, "who", who) == 0;
    json_object_set_new(object, "time_ms", json_integer(ls_wall_us() / 1000));
    char *json = ok ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    ls_arena_free(&arena);
    ls_buf_free(&line);
    return json;
}

static int write_down(struct discard *discard, const struct ls_quarantine_entry *entry,
                      struct ls_err *err)
{
    char position[LS_QUARANTINE_KEY_MAX];
    ls_quarantine_entry_key(discard->sink->entity, entry->partition, entry->offset, position);
    LS_CLEANUP_FREE char *key = ls_asprintf("discard/%s/%s", discard->sink->name, position);
    LS_CLEANUP_FREE char *json = record_json(discard, entry);
    if (json == NULL)
        return ls_err_set(err, LS_ERR_FATAL, 0, "--reason is not UTF-8");
    return ls_quarantine_writer_control(discard->writer, key, json, err);
}

static int discard_chunk(void *opaque, const struct ls_quarantine_entry *entries, size_t n,
                         struct ls_err *err)
{
    struct discard *discard = opaque;
    for (size_t i = 0; i < n; i++)
        if (write_down(discard, &entries[i], err) < 0)
            return -1;
    if (ls_quarantine_writer_flush(discard->writer, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        struct ls_quarantine_entry closed = entries[i];
        closed.body = (struct ls_span){0};
        if (ls_quarantine_writer_put(discard->writer, &closed, err) < 0)
            return -1;
    }
    if (ls_quarantine_writer_flush(discard->writer, err) < 0)
        return -1;
    discard->n += n;
    ls_progress_update(&discard->progress, discard->n);
    return 0;
}

/* Whether the person agrees; 0 yes, else the exit code. */
static int ask(const struct ls_quarantine_job *job, const char *sink, uint64_t n)
{
    char count[32], answer[16] = "";
    ls_human_count(n, count, sizeof(count));
    if (n <= 1 || job->yes)
        return 0;
    if (!isatty(STDIN_FILENO)) {
        ls_cli_error("%s entries of %s would be discarded: say --yes where nobody can be asked",
                     count, sink);
        return LS_EXIT_USAGE;
    }
    fprintf(stderr, "%s entries of %s are closed without ever being applied. Discard them? [y/N] ",
            count, sink);
    if (fgets(answer, sizeof(answer), stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y'))
        return 0;
    ls_cli_error("nothing was discarded");
    return ls_cli_stop ? LS_EXIT_INTERRUPTED : LS_EXIT_DIFFERENT;
}

static void say_result(const struct ls_quarantine_job *job, const char *sink, uint64_t n)
{
    char count[32];
    if (job->json)
        printf("{\"sink\":\"%s\",\"%s\":%" PRIu64 "}\n", sink,
               job->dry_run ? "would_discard" : "discarded", n);
    else
        printf("%s: %s %s\n", sink, ls_human_count(n, count, sizeof(count)),
               job->dry_run ? "would be discarded" : "discarded");
}

static int run(struct discard *discard, uint64_t n)
{
    struct ls_err err = {0};
    const struct ls_quarantine_job *job = discard->job;
    discard->writer = ls_quarantine_writer_open(job->config, discard->sink, &err);
    int rc = -1;
    if (discard->writer != NULL) {
        ls_progress_start(&discard->progress, "discard", n, true);
        rc = ls_quarantine_chunks(job->config, discard->sink, &job->filter, discard_chunk, discard,
                                  &err);
        ls_progress_end(&discard->progress);
    }
    ls_quarantine_writer_close(discard->writer);
    say_result(job, discard->sink->name, discard->n);
    if (rc < 0) {
        ls_cli_error("%s; the rest is as it was", err.text);
        return LS_EXIT_FAILED;
    }
    return ls_cli_stop ? LS_EXIT_INTERRUPTED : LS_EXIT_OK;
}

int ls_quarantine_discard(const struct ls_quarantine_job *job)
{
    struct discard discard = {.job = job, .sink = job->sinks[0]};
    struct ls_err err = {0};
    uint64_t n;
    if (ls_quarantine_count(job->config, discard.sink, &job->filter, &n, &err) < 0) {
        ls_cli_error("%s", err.text);
        return LS_EXIT_FAILED;
    }
    if (ls_cli_stop)
        return LS_EXIT_INTERRUPTED;
    if (job->dry_run || n == 0) {
        say_result(job, discard.sink->name, n);
        return LS_EXIT_OK;
    }
    int code = ask(job, discard.sink->name, n);
    if (code != 0)
        return code;
    say_who(discard.who, sizeof(discard.who));
    return run(&discard, n);
}
