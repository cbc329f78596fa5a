/* The program: finds the subcommand and hands over. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cli.h"

struct command {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
};

/* In the order in which a newcomer meets them. */
static const struct command commands[] = {
    {"config", "check the configuration, or document its options", ls_cmd_config},
    {"topics", "create, list and check the log's topics", ls_cmd_topics},
    {"schema", "check, show, apply and compare schemas", ls_cmd_schema},
    {"publish", "put changes from a file into the log", ls_cmd_publish},
    {"run", "apply the log to stores, until stopped", ls_cmd_run},
    {"replay", "read the log into stores again", ls_cmd_replay},
    {"resync", "fill a store from the log and give it marks", ls_cmd_resync},
    {"status", "show what is behind, and why", ls_cmd_status},
    {"quarantine", "list, show, requeue and discard what could not be applied", ls_cmd_quarantine},
    {"verify", "compare every store with the log, in full", ls_cmd_verify},
};

static void print_help(FILE *out)
{
    fputs(
        "Usage: lockstep COMMAND [OPTION...]\n"
        "Keeps MySQL shards, Redis Clusters and Elasticsearch clusters in step with one Kafka log.\n\n"
        "Commands:\n",
        out);
    for (size_t i = 0; i < LS_COUNT(commands); i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs(
        "\n`lockstep COMMAND --help` explains a command, with examples.\n"
        "Exit codes: 0 done, 1 done but something differs or was rejected, 2 failed or could not\n"
        "tell, 64 wrong arguments, 78 wrong configuration.\n",
        out);
}

/*
 * Where a standard descriptor is closed, the next file or connection would get its number, and
 * what is printed would go there. A reader's end of /dev/null refuses to be written instead.
 */
static void keep_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDONLY) < 0)
            _exit(LS_EXIT_FAILED);
}

/* Results that did not get out are no results. A pipe whose reader left (`| head`) is no news. */
static int finish(int code)
{
    struct stat out;
    bool failed = fflush(stdout) != 0;
    int why = errno; /* where it failed just now; else nobody knows any more */
    if ((!failed && !ferror(stdout)) || code > LS_EXIT_DIFFERENT)
        return code;
    if (fstat(STDOUT_FILENO, &out) != 0 || !S_ISFIFO(out.st_mode))
        ls_cli_error("cannot write the results to stdout%s%s", failed ? ": " : "",
                     failed ? strerror(why) : "");
    return LS_EXIT_FAILED;
}

int main(int argc, char **argv)
{
    keep_descriptors();
    const char *name = argc > 1 ? argv[1] : NULL;
    if (name == NULL) {
        print_help(stderr);
        return LS_EXIT_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help(stdout);
        return LS_EXIT_OK;
    }
    if (strcmp(name, "--version") == 0) {
        puts("lockstep " LS_VERSION);
        return LS_EXIT_OK;
    }
    for (size_t i = 0; i < LS_COUNT(commands); i++) {
        if (strcmp(name, commands[i].name) != 0)
            continue;
        LS_CLEANUP_FREE char *invocation = ls_asprintf("lockstep %s", name);
        program_invocation_name = invocation;
        argp_err_exit_status = LS_EXIT_USAGE;
        argv[1] = invocation;
        return finish(commands[i].run(argc - 1, argv + 1));
    }
    fprintf(stderr, "lockstep: unknown command '%s'; see `lockstep --help`\n", name);
    return LS_EXIT_USAGE;
}
