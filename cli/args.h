/*
 * Arguments that several subcommands take, each parsed in one place: which sinks, --json, numbers.
 */
#ifndef LS_CLI_ARGS_H
#define LS_CLI_ARGS_H

#include <argp.h>

#include "pipeline/config.h"

/* Filled by the argps below; ls_cli_choice_free() frees it. */
struct ls_cli_choice {
    bool required; /* set before parsing: one of --sink and --all has to be given */
    char **names;  /* of --sink; views of argv */
    size_t n_names;
    bool all;
    bool json;
};

/*
 * --sink NAME (any number), --all and --json: argp children with a struct ls_cli_choice. A command
 * lists those that it takes, then ls_config_argp, and calls ls_cli_inputs() at ARGP_KEY_INIT.
 */
extern const struct argp ls_sink_argp, ls_all_argp, ls_json_argp;

/* The inputs of a command's children: n with the choice, and after them the configuration's path.
 */
void ls_cli_inputs(struct argp_state *state, size_t n, struct ls_cli_choice *choice,
                   const char **path);

/*
 * The sinks that were chosen, each once, all where none was named: a fresh array that the caller
 * frees. Prints and returns -1 on an unknown name (exit LS_EXIT_USAGE).
 */
int ls_cli_sinks(const struct ls_config *config, const struct ls_cli_choice *choice,
                 const struct ls_sink_config ***ret, size_t *ret_n);

void ls_cli_choice_free(struct ls_cli_choice *choice);

/* The whole number from min to max that the text is; else says what is expected, and exits. */
int64_t ls_cli_number(const char *option, const char *text, int64_t min, int64_t max,
                      const struct argp_state *state);

#endif
