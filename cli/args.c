#include "cli/args.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/cli.h"

static const struct argp_option sink_options[] = {
    {"sink", 's', "NAME", 0, "This sink (may be given several times)", 80},
    {0},
};
static const struct argp_option all_options[] = {
    {"all", 'a', NULL, 0, "All sinks of the configuration", 80},
    {0},
};
static const struct argp_option json_options[] = {
    {"json", 'j', NULL, 0, "Results as JSON on stdout", 80},
    {0},
};

static error_t parse_choice(int key, char *arg, struct argp_state *state)
{
    struct ls_cli_choice *choice = state->input;
    switch (key) {
    case 's':
        choice->names = ls_realloc(choice->names, (choice->n_names + 1) * sizeof(char *));
        choice->names[choice->n_names++] = arg;
        return 0;
    case 'a':
        choice->all = true;
        return 0;
    case 'j':
        choice->json = true;
        return 0;
    case ARGP_KEY_END:
        if (choice->all && choice->n_names > 0)
            argp_error(state, "give either --sink or --all");
        if (choice->required && !choice->all && choice->n_names == 0)
            argp_error(state, "name the sinks with --sink NAME, or all of them with --all");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp ls_sink_argp = {.options = sink_options, .parser = parse_choice};
const struct argp ls_all_argp = {.options = all_options, .parser = parse_choice};
const struct argp ls_json_argp = {.options = json_options, .parser = parse_choice};

void ls_cli_inputs(struct argp_state *state, size_t n, struct ls_cli_choice *choice,
                   const char **path)
{
    for (size_t i = 0; i < n; i++)
        state->child_inputs[i] = choice;
    state->child_inputs[n] = path;
}

int ls_cli_sinks(const struct ls_config *config, const struct ls_cli_choice *choice,
                 const struct ls_sink_config ***ret, size_t *ret_n)
{
    bool all = choice->n_names == 0;
    size_t count = all ? config->n_sinks : choice->n_names;
    const struct ls_sink_config **sinks = ls_calloc(count, sizeof(const struct ls_sink_config *));
    size_t chosen = 0;
    for (size_t i = 0; i < count; i++) {
        struct ls_err err = {0};
        const struct ls_sink_config *sink =
            all ? &config->sinks[i] : ls_config_sink(config, choice->names[i], &err);
        if (sink == NULL) {
            ls_cli_error("%s", err.text);
            free(sinks);
            return -1;
        }
        bool twice = false;
        for (size_t j = 0; j < chosen; j++)
            twice |= sinks[j] == sink;
        if (!twice)
            sinks[chosen++] = sink;
    }
    *ret = sinks;
    *ret_n = chosen;
    return 0;
}

void ls_cli_choice_free(struct ls_cli_choice *choice)
{
    free(choice->names);
    choice->names = NULL;
    choice->n_names = 0;
}

int64_t ls_cli_number(const char *option, const char *text, int64_t min, int64_t max,
                      const struct argp_state *state)
{
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    /* strtoll takes blanks and a plus before the digits; nobody means them. */
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || number < min || number > max)
        argp_error(state, "%s '%s': expected a whole number from %" PRId64 " to %" PRId64, option,
                   text, min, max);
    return number;
}
