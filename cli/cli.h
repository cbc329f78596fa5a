/*
 * What all subcommands share: exit codes, the configuration, argument parsing over argp, and the
 * rule that results go to stdout, messages and progress to stderr.
 */
#ifndef LS_CLI_CLI_H
#define LS_CLI_CLI_H

#include <argp.h>
#include <jansson.h>
#include <stdatomic.h>

#include "pipeline/config.h"

enum ls_exit {
    LS_EXIT_OK = 0,
    LS_EXIT_DIFFERENT = 1, /* done, and something is not as it should be: differences, rejects */
    LS_EXIT_FAILED = 2,    /* could not be done, or could not tell */
    LS_EXIT_USAGE = 64,    /* wrong arguments */
    LS_EXIT_CONFIG = 78,   /* wrong configuration or schema file */
    LS_EXIT_INTERRUPTED = 130,
};

/* One per subcommand, in cli/cmd_<name>.c; argv[0] is "lockstep <name>". Returns the exit code. */
int ls_cmd_config(int argc, char **argv);
int ls_cmd_publish(int argc, char **argv);
int ls_cmd_quarantine(int argc, char **argv);
int ls_cmd_replay(int argc, char **argv);
int ls_cmd_resync(int argc, char **argv);
int ls_cmd_run(int argc, char **argv);
int ls_cmd_schema(int argc, char **argv);
int ls_cmd_status(int argc, char **argv);
int ls_cmd_topics(int argc, char **argv);
int ls_cmd_verify(int argc, char **argv);

/*
 * -c, --config FILE for every subcommand: use as an argp child (`{&ls_config_argp, 0, NULL, 0}`)
 * with a `const char **` as child input. Default: $LOCKSTEP_CONFIG, else ./lockstep.yaml.
 */
extern const struct argp ls_config_argp;

/* Reads the configuration or prints why not to stderr and returns NULL (exit LS_EXIT_CONFIG). */
struct ls_config *ls_cli_config(const char *path);

/*
 * Before the first thing that needs Kafka: where no broker answers within a second, says on stderr
 * what is waited for, and why; what follows then waits and fails by itself.
 */
void ls_cli_ask_kafka(const struct ls_config *config);

/* "lockstep <command>: text" on stderr, with what is not safe to show (base/text.h) escaped. */
void ls_cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A line of text on stdout, without its newline in the format; what is not safe is escaped. */
void ls_cli_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * A JSON document and a newline on stdout; json is given up. Values that are not safe to show stand
 * as \uXXXX: the same to a parser, and nothing to a terminal.
 */
void ls_cli_print_json(json_t *json, size_t flags);

/* Set by SIGINT and SIGTERM after ls_cli_catch_signals(); a second SIGINT ends the program. */
extern atomic_int ls_cli_stop;
void ls_cli_catch_signals(void);

#endif
