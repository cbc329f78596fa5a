/*
 * Reads a map of the configuration by its option table: refuses what the table does not know, sets
 * defaults, and says file, line and what was expected.
 *
 * Threads: the one that reads the configuration. A crash leaves nothing behind.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/config_options.h"

int ls_config_fail(struct ls_config_reader *reader, int line, const char *format, ...)
{
    char text[sizeof(reader->err->text)];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return ls_err_set(reader->err, LS_ERR_FATAL, 0, "%s:%d: %s", reader->path, line, text);
}

void ls_config_warn(struct ls_config_reader *reader, int line, const char *format, ...)
{
    struct ls_config *config = reader->config;
    char text[sizeof(reader->err->text)];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    config->warnings =
        ls_realloc(config->warnings, (config->n_warnings + 1) * sizeof(*config->warnings));
    config->warnings[config->n_warnings++] = ls_asprintf("%s:%d: %s", reader->path, line, text);
}

const char *ls_config_describe(const struct ls_yaml *node, char *buf, size_t size)
{
    if (node->kind != LS_YAML_SCALAR || !node->quoted || node->text[0] == '\0')
        return ls_yaml_describe(node, buf, size);
    snprintf(buf, size, "'%.60s' in quotes", node->text);
    return buf;
}

bool ls_config_is_map(const struct ls_yaml *node)
{
    return node->kind == LS_YAML_MAP ||
           (node->kind == LS_YAML_SCALAR && !node->quoted && node->text[0] == '\0');
}

bool ls_config_is_name(const char *text, char mark, size_t max)
{
    if (text[0] < 'a' || text[0] > 'z' || strlen(text) > max)
        return false;
    for (const char *c = text; *c; c++)
        if ((*c < 'a' || *c > 'z') && (*c < '0' || *c > '9') && *c != mark)
            return false;
    return true;
}

char *ls_config_path(const struct ls_config_reader *reader, const char *path)
{
    if (path[0] == '/' || strcmp(reader->folder, ".") == 0)
        return ls_strdup(path);
    return ls_asprintf("%s/%s", strcmp(reader->folder, "/") == 0 ? "" : reader->folder, path);
}

/* Edits between two words, a swap of neighbours being one; more than WORD_MAX bytes: many. */
static unsigned distance(const char *a, const char *b)
{
    enum { WORD_MAX = 64 };
    size_t n = strlen(a), m = strlen(b);
    if (n > WORD_MAX || m > WORD_MAX)
        return WORD_MAX;
    unsigned rows[3][WORD_MAX + 1];
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *second = rows[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                second[j - 2] + 1 < best)
                best = second[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[n % 3][m];
}

const char *ls_config_suggest(const char *word, const char *const *candidates, size_t n)
{
    const char *found = NULL;
    unsigned best = (unsigned)strlen(word) / 3 + 1;
    for (size_t i = 0; i < n; i++) {
        if (candidates[i] == NULL)
            continue;
        unsigned edits = distance(word, candidates[i]);
        if (edits <= best && (found == NULL || edits < best)) {
            best = edits;
            found = candidates[i];
        }
    }
    return found;
}

static bool applies(const struct ls_option *option, int kind)
{
    return option->kinds == 0 || (kind >= 0 && (option->kinds & LS_OPTION_KIND(kind)));
}

static const struct ls_option *find_option(const struct ls_section *section, const char *name)
{
    for (size_t i = 0; i < section->n_options; i++)
        if (strcmp(section->options[i].name, name) == 0)
            return &section->options[i];
    return NULL;
}

/* "sinks.mysql.port", or "port" at the top level. */
static const char *full_name(const char *where, const char *name, char buf[LS_WHERE_MAX])
{
    snprintf(buf, LS_WHERE_MAX, "%s%s%s", where, where[0] ? "." : "", name);
    return buf;
}

static int refuse_unknown(struct ls_config_reader *reader, const struct ls_section *section,
                          const char *where, int kind, const char *key, int line)
{
    const char *names[64];
    size_t n = 0;
    struct ls_buf list = {0};
    for (size_t i = 0; i < section->n_options && n < LS_COUNT(names); i++) {
        const struct ls_option *option = &section->options[i];
        if (option->type == LS_OPTION_REFUSED || !applies(option, kind))
            continue;
        ls_buf_printf(&list, "%s%s", n ? ", " : "", option->name);
        names[n++] = option->name;
    }
    const char *likely = ls_config_suggest(key, names, n);
    const char *in = where[0] ? where : "the file";
    if (likely)
        ls_config_fail(reader, line, "unknown option '%.60s' in %s; did you mean '%s'?", key, in,
                       likely);
    else
        ls_config_fail(reader, line, "unknown option '%.60s' in %s; it knows %s", key, in,
                       ls_buf_cstr(&list));
    ls_buf_free(&list);
    return -1;
}

static int refuse_other_kind(struct ls_config_reader *reader, const struct ls_option *option,
                             const char *where, int kind, int line)
{
    char kinds[64] = "";
    size_t len = 0;
    for (int other = 0; other <= LS_SINK_ES; other++)
        if (applies(option, other))
            len += (size_t)snprintf(kinds + len, sizeof(kinds) - len, "%s%s", len ? " and " : "",
                                    ls_sink_kind_name((enum ls_sink_kind)other));
    return ls_config_fail(reader, line, "%s: '%s' is an option of kind %s, not of %s", where,
                          option->name, kinds, ls_sink_kind_name((enum ls_sink_kind)kind));
}

static int check_keys(struct ls_config_reader *reader, const struct ls_section *section,
                      const char *where, int kind, const struct ls_yaml *map)
{
    for (size_t i = 0; i < map->n_items; i++) {
        const char *key = map->keys[i];
        int line = map->key_lines[i];
        const struct ls_option *option = find_option(section, key);
        if (option == NULL)
            return refuse_unknown(reader, section, where, kind, key, line);
        if (option->type == LS_OPTION_REFUSED)
            return ls_config_fail(reader, line, "%s: %s", where, option->meaning);
        if (!applies(option, kind))
            return refuse_other_kind(reader, option, where, kind, line);
    }
    return 0;
}

static void store_int(void *field, size_t size, int64_t number)
{
    if (size == sizeof(uint16_t)) {
        uint16_t narrow = (uint16_t)number;
        memcpy(field, &narrow, sizeof(narrow));
    } else if (size == sizeof(uint64_t)) {
        memcpy(field, &number, sizeof(number));
    } else {
        uint32_t narrow = (uint32_t)number;
        memcpy(field, &narrow, sizeof(narrow));
    }
}

static void set_default(struct ls_config_reader *reader, const struct ls_option *option, int kind,
                        char *field)
{
    if (option->type == LS_OPTION_INT)
        store_int(field, option->size, option->defaults[kind < 0 ? 0 : kind]);
    else if (option->type == LS_OPTION_TEXT && option->default_text)
        *(char **)(void *)field = ls_strdup(option->default_text);
    else if (option->type == LS_OPTION_PATH && option->default_text)
        *(char **)(void *)field = ls_config_path(reader, option->default_text);
}

static int read_int(struct ls_config_reader *reader, const struct ls_option *option,
                    const char *name, const struct ls_yaml *node, char *field)
{
    int64_t number = 0;
    if (ls_yaml_i64("", node, option->min, option->max, &number, NULL) < 0) {
        char found[80];
        return ls_config_fail(reader, node->line,
                              "%s: expected a whole number from %lld to %lld, found %s", name,
                              (long long)option->min, (long long)option->max,
                              ls_config_describe(node, found, sizeof(found)));
    }
    store_int(field, option->size, number);
    return 0;
}

static int read_text(struct ls_config_reader *reader, const struct ls_option *option,
                     const char *name, const struct ls_yaml *node, char **field)
{
    const char *text = NULL;
    if (ls_yaml_text("", node, &text, NULL) < 0) {
        char found[80];
        return ls_config_fail(reader, node->line, "%s: expected %s, found %s", name,
                              option->type == LS_OPTION_PATH ? "a path" : "a text",
                              ls_config_describe(node, found, sizeof(found)));
    }
    *field = option->type == LS_OPTION_PATH ? ls_config_path(reader, text) : ls_strdup(text);
    return 0;
}

static int read_option(struct ls_config_reader *reader, const struct ls_option *option,
                       const char *where, const struct ls_yaml *node, void *target)
{
    char name[LS_WHERE_MAX];
    full_name(where, option->name, name);
    char *field = (char *)target + option->offset;
    char **text = (char **)(void *)field;
    switch (option->type) {
    case LS_OPTION_INT:
        return read_int(reader, option, name, node, field);
    case LS_OPTION_TEXT:
    case LS_OPTION_PATH:
        return read_text(reader, option, name, node, text);
    case LS_OPTION_SECRET_FILE:
    case LS_OPTION_SECRET_ENV:
        if (*text)
            return ls_config_fail(reader, node->line,
                                  "%s: the secret is given twice; keep the file or the environment "
                                  "variable",
                                  name);
        if (option->type == LS_OPTION_SECRET_FILE)
            return ls_config_secret_file(reader, name, node, false, text);
        return ls_config_secret_env(reader, name, node, false, text);
    case LS_OPTION_READ:
        return option->read(reader, name, node, target);
    case LS_OPTION_REFUSED:
        break;
    }
    return 0;
}

int ls_config_section(struct ls_config_reader *reader, const struct ls_section *section,
                      const char *where, int kind, const struct ls_yaml *map, void *target)
{
    if (!ls_config_is_map(map)) {
        char found[80];
        return ls_config_fail(reader, map->line, "%s: expected a map of options, found %s",
                              where[0] ? where : "the file",
                              ls_config_describe(map, found, sizeof(found)));
    }
    if (check_keys(reader, section, where, kind, map) < 0)
        return -1;
    for (size_t i = 0; i < section->n_options; i++) {
        const struct ls_option *option = &section->options[i];
        if (option->type == LS_OPTION_REFUSED || !applies(option, kind))
            continue;
        const struct ls_yaml *node = ls_yaml_get(map, option->name);
        char name[LS_WHERE_MAX];
        if (node == NULL && option->required)
            return ls_config_fail(reader, map->line, "%s is missing; expected %s",
                                  full_name(where, option->name, name),
                                  option->expected ? option->expected : "a text");
        if (node == NULL)
            set_default(reader, option, kind, (char *)target + option->offset);
        else if (read_option(reader, option, where, node, target) < 0)
            return -1;
    }
    return 0;
}
