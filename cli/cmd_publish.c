/*
 * lockstep publish: changes from a file or pipe, NDJSON or CSV, into an entity's log.
 *
 * One thread, beside the publisher's. Results go to stdout (--json), everything else to stderr.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/publish_job.h"
#include "producers/text_value.h"

enum {
    OPT_FORMAT = 256,
    OPT_STRICT,
    OPT_REJECTS,
    OPT_JSON,
    OPT_RATE,
    OPT_FROM_LINE,
    OPT_ORIGIN,
    OPT_TIMEOUT,
    OPT_VERBOSE
};
enum { TIMEOUT_S_DEFAULT = 120, TIMEOUT_S_MAX = 24 * 3600 };

struct arguments {
    const char *config;
    const char *entity;
    const char *file;
    const char *format;
    const char *rejects;
    const char *origin;
    bool strict;
    bool json;
    bool verbose;
    uint64_t rate;
    uint64_t from_line;
    uint64_t timeout_s;
};

static const struct argp_option options[] = {
    {"entity", 'e', "NAME", 0, "Entity whose changes these are (e.g. member)", 0},
    {"format", OPT_FORMAT, "FORMAT", 0,
     "ndjson or csv (default: csv for a FILE that ends in .csv, else ndjson)", 0},
    {"rejects", OPT_REJECTS, "FILE", 0,
     "Where rejected lines go (default: FILE.rejects, for standard input ./publish.rejects)", 0},
    {"strict", OPT_STRICT, NULL, 0, "Stop at the first bad line, and reject none", 0},
    {"from-line", OPT_FROM_LINE, "N", 0,
     "Begin at this line, as an earlier run said; rejects are added to the file", 0},
    {"rate", OPT_RATE, "N", 0, "At most N records a second", 0},
    {"timeout", OPT_TIMEOUT, "SECONDS", 0,
     "Give up when Kafka does not confirm a record for so long (default: 120)", 0},
    {"origin", OPT_ORIGIN, "NAME", 0,
     "Who publishes, kept in every record (default: lockstep-publish)", 0},
    {"json", OPT_JSON, NULL, 0, "Print the summary as JSON on standard output", 0},
    {"verbose", OPT_VERBOSE, NULL, 0, "Show the Kafka client's own log lines", 0},
    {0},
};

static const char doc[] =
    "Publishes changes from FILE, or from standard input where FILE is -, and waits until the log "
    "has them.\v"
    "NDJSON is one JSON object a line, with the fields of the schema by name; \"_op\" is \"put\" (the "
    "default: the full image) or \"delete\" (the key alone). Times are whole microseconds since 1970 or "
    "RFC 3339 text. In CSV the first line names the fields; an empty column is an absent field, \"\" "
    "an empty string, a list the text of a JSON array.\n\n"
    "A bad line is written to the rejects file with its number and reason, and the rest goes on. "
    "Publishing a line again is safe.\n\n"
    "Exit codes: 0 all published, 1 some lines rejected, 2 not all published (the message says from "
    "which line to go on), 64 wrong arguments, 78 wrong configuration, 130 interrupted.\n\n"
    "Examples:\n"
    "  lockstep publish --entity member members.ndjson\n"
    "  zcat dump.csv.gz | lockstep publish -e member --format csv --rate 5000 -\n"
    "  lockstep publish -e member --from-line 120001 members.ndjson";

static uint64_t parse_number(struct argp_state *state, const char *option, const char *text,
                             uint64_t max)
{
    int64_t number;
    if (!ls_text_int(text, strlen(text), &number) || number < 1 || (uint64_t)number > max)
        argp_error(state, "%s: expected a whole number from 1 to %" PRIu64 ", found '%s'", option,
                   max, text);
    return (uint64_t)number;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case 'e':
        arguments->entity = arg;
        return 0;
    case OPT_FORMAT:
        if (strcmp(arg, "ndjson") != 0 && strcmp(arg, "csv") != 0)
            argp_error(state, "--format: expected ndjson or csv, found '%s'", arg);
        arguments->format = arg;
        return 0;
    case OPT_REJECTS:
        arguments->rejects = arg;
        return 0;
    case OPT_STRICT:
        arguments->strict = true;
        return 0;
    case OPT_JSON:
        arguments->json = true;
        return 0;
    case OPT_VERBOSE:
        arguments->verbose = true;
        return 0;
    case OPT_ORIGIN:
        arguments->origin = arg;
        return 0;
    case OPT_RATE:
        arguments->rate = parse_number(state, "--rate", arg, 100000000);
        return 0;
    case OPT_FROM_LINE:
        arguments->from_line = parse_number(state, "--from-line", arg, INT64_MAX);
        return 0;
    case OPT_TIMEOUT:
        arguments->timeout_s = parse_number(state, "--timeout", arg, TIMEOUT_S_MAX);
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &arguments->config;
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->file != NULL)
            argp_error(state, "one FILE only");
        arguments->file = arg;
        return 0;
    case ARGP_KEY_END:
        if (arguments->entity == NULL)
            argp_error(state, "which entity? name it with --entity");
        if (arguments->file == NULL)
            argp_error(state, "which file? name it, or - for standard input");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Opens the input; its size goes to ret_size where it is known. -1 after a message. */
static int open_input(const struct arguments *arguments, uint64_t *ret_size)
{
    bool standard = strcmp(arguments->file, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(arguments->file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        ls_cli_error("%s: %s", arguments->file, strerror(errno));
        return -1;
    }
    struct stat status = {0};
    if (fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
        ls_cli_error("%s: %s", arguments->file, strerror(EISDIR));
        close(fd);
        return -1;
    }
    *ret_size = S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0;
    return fd;
}

/* Rejects over the input would destroy it. */
static bool same_file(int fd, const char *path)
{
    struct stat input, rejects;
    return fstat(fd, &input) == 0 && stat(path, &rejects) == 0 && S_ISREG(input.st_mode) &&
           input.st_dev == rejects.st_dev && input.st_ino == rejects.st_ino;
}

static bool is_csv(const struct arguments *arguments)
{
    if (arguments->format != NULL)
        return strcmp(arguments->format, "csv") == 0;
    size_t len = strlen(arguments->file);
    return len > 4 && strcasecmp(arguments->file + len - 4, ".csv") == 0;
}

static void on_log(void *opaque, int level, const char *text)
{
    ls_log(level <= 3 ? LS_LOG_ERROR : LS_LOG_INFO, text, NULL);
}

/* An exit code, after a message where it is not LS_EXIT_OK. */
static int open_publisher(const struct arguments *arguments, struct ls_publish_job *job)
{
    struct lockstep_error error = {0};
    struct lockstep_options publisher = LOCKSTEP_OPTIONS_INIT;
    publisher.config_file = arguments->config;
    publisher.origin = arguments->origin;
    publisher.delivery_timeout_ms = (int)arguments->timeout_s * 1000;
    publisher.on_delivery = ls_publish_job_delivery;
    publisher.delivery_opaque = job;
    publisher.on_log = arguments->verbose ? on_log : NULL;
    if (lockstep_publisher_open(&publisher, &job->publisher, &error) != LOCKSTEP_OK) {
        ls_cli_error("%s", error.text);
        return LS_EXIT_CONFIG;
    }
    if (ls_publisher_entity(job->publisher, arguments->entity, &job->entity, &error) !=
        LOCKSTEP_OK) {
        ls_cli_error("%s", error.text);
        lockstep_publisher_close(job->publisher, 0);
        return LS_EXIT_USAGE;
    }
    return LS_EXIT_OK;
}

static int exit_code(const struct ls_publish_job *job, enum ls_publish_end end)
{
    switch (end) {
    case LS_PUBLISH_DONE:
        return job->rejects.count > 0 ? LS_EXIT_DIFFERENT : LS_EXIT_OK;
    case LS_PUBLISH_REFUSED:
        return LS_EXIT_DIFFERENT;
    case LS_PUBLISH_FAILED:
        return LS_EXIT_FAILED;
    case LS_PUBLISH_INTERRUPTED:
        break;
    }
    return LS_EXIT_INTERRUPTED;
}

static void print_json(const struct arguments *arguments, struct ls_publish_job *job,
                       enum ls_publish_end end, double seconds)
{
    json_t *summary = json_object();
    uint64_t published = atomic_load(&job->published);
    json_object_set_new(summary, "entity", json_string(arguments->entity));
    json_object_set_new(summary, "file", json_string(arguments->file));
    json_object_set_new(summary, "lines", json_integer((json_int_t)job->lines_read));
    json_object_set_new(summary, "published", json_integer((json_int_t)published));
    json_object_set_new(summary, "rejected", json_integer((json_int_t)job->rejects.count));
    json_object_set_new(summary, "not_published",
                        json_integer((json_int_t)atomic_load(&job->not_published)));
    json_object_set_new(summary, "unknown", json_integer((json_int_t)atomic_load(&job->unknown)));
    json_object_set_new(summary, "rejects_file",
                        job->rejects.count ? json_string(job->rejects.path) : json_null());
    json_object_set_new(summary, "seconds", json_real(seconds));
    json_object_set_new(summary, "records_per_second",
                        json_real(seconds > 0 ? (double)published / seconds : 0));
    json_object_set_new(summary, "complete", json_boolean(end == LS_PUBLISH_DONE));
    json_object_set_new(summary, "resume_from_line",
                        end == LS_PUBLISH_DONE ? json_null()
                                               : json_integer((json_int_t)job->resume_line));
    json_object_set_new(summary, "error",
                        job->err.class ? json_string(job->err.text) : json_null());
    json_dumpf(summary, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(summary);
}

static void print_summary(const struct arguments *arguments, struct ls_publish_job *job,
                          enum ls_publish_end end, double seconds)
{
    char rate[32], time[48], more[64] = "";
    uint64_t published = atomic_load(&job->published), unknown = atomic_load(&job->unknown);
    ls_human_rate(seconds > 0 ? (double)published / seconds : 0, rate, sizeof(rate));
    ls_human_duration(seconds, time, sizeof(time));
    if (unknown > 0)
        snprintf(more, sizeof(more), ", %" PRIu64 " unknown", unknown);
    if (job->err.class != LS_ERR_NONE)
        ls_cli_error("%s", job->err.text);
    fprintf(stderr, "%s: %" PRIu64 " published, %" PRIu64 " rejected%s in %s, %s\n",
            arguments->entity, published, job->rejects.count, more, time, rate);
    if (job->rejects.count > 0)
        ls_cli_error("rejected lines and reasons are in %s", job->rejects.path);
    bool nothing = published + unknown == 0 && job->resume_line == job->from_line;
    if (end == LS_PUBLISH_FAILED && nothing)
        ls_cli_error("nothing was published: mend that, and run the same command again");
    else if (end != LS_PUBLISH_DONE)
        ls_cli_error("%s: go on with --from-line %" PRIu64
                     "; what is published twice by that does no harm",
                     end == LS_PUBLISH_INTERRUPTED ? "interrupted" : "stopped", job->resume_line);
}

static int run(const struct arguments *arguments)
{
    struct ls_publish_job job = {
        .csv = is_csv(arguments),
        .strict = arguments->strict,
        .from_line = arguments->from_line,
        .rate = arguments->rate,
    };
    bool standard = strcmp(arguments->file, "-") == 0;
    LS_CLEANUP_FREE char *beside =
        standard ? ls_strdup("./publish.rejects") : ls_asprintf("%s.rejects", arguments->file);
    job.rejects.path = arguments->rejects ? arguments->rejects : beside;
    job.rejects.append = arguments->from_line > 1;
    job.fd = open_input(arguments, &job.size);
    if (job.fd < 0)
        return LS_EXIT_FAILED;
    if (same_file(job.fd, job.rejects.path)) {
        ls_cli_error("%s is the input: name another file with --rejects", job.rejects.path);
        return LS_EXIT_USAGE;
    }
    ls_publish_job_init(&job);
    int code = open_publisher(arguments, &job);
    if (code != LS_EXIT_OK) {
        if (!standard)
            close(job.fd);
        return code;
    }
    ls_cli_catch_signals();
    int64_t start_us = ls_mono_us();
    enum ls_publish_end end = ls_publish_job_run(&job);
    double seconds = (double)(ls_mono_us() - start_us) / 1e6;
    print_summary(arguments, &job, end, seconds);
    if (arguments->json)
        print_json(arguments, &job, end, seconds);
    if (!standard)
        close(job.fd);
    return exit_code(&job, end);
}

int ls_cmd_publish(int argc, char **argv)
{
    struct arguments arguments = {
        .from_line = 1,
        .timeout_s = TIMEOUT_S_DEFAULT,
        .origin = "lockstep-publish",
    };
    static const struct argp_child children[] = {{&ls_config_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {options, parse_option, "FILE|-", doc, children, NULL, NULL};
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    struct ls_config *config = ls_cli_config(arguments.config);
    if (config == NULL)
        return LS_EXIT_CONFIG;
    ls_config_free(config); /* read for its messages; the publisher reads it for itself */
    return run(&arguments);
}
