/*
 * A YAML file as a tree of nodes that know their line, over libyaml. Used for the configuration and
 * the schema files, whose readers walk the tree and refuse what they do not know, naming file and
 * line. Anchors, aliases, tags and several documents are refused: these files do not need them.
 */
#ifndef LS_BASE_YAML_H
#define LS_BASE_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum ls_yaml_kind { LS_YAML_SCALAR, LS_YAML_LIST, LS_YAML_MAP };

struct ls_yaml {
    enum ls_yaml_kind kind;
    int line;               /* from 1 */
    bool quoted;            /* scalar: written in quotes, so not a number, bool or null */
    char *text;             /* scalar: its text, NUL-terminated, owned by the tree */
    char **keys;            /* map: key of each item; keys are unique, owned by the tree */
    int *key_lines;         /* map: line of each key */
    struct ls_yaml **items; /* list and map: the values, owned by the tree */
    size_t n_items;
};

/* Reads a whole file (at most 4 MiB, depth at most 16). The caller frees the tree. */
int ls_yaml_read(const char *path, struct ls_yaml **ret, struct ls_err *err);

/* The same from memory; `path` is only for messages. */
int ls_yaml_parse(const char *path, const char *text, size_t len, struct ls_yaml **ret,
                  struct ls_err *err);

void ls_yaml_free(struct ls_yaml *node);

/* The value of a map's key, or NULL where it has none (or is no map). Borrowed. */
struct ls_yaml *ls_yaml_get(const struct ls_yaml *map, const char *key);

/*
 * Scalars as values. On a wrong kind or text: -1 with "path:line: expected a whole number from 1 to
 * 9, found 'x'". `path` is only for messages.
 */
int ls_yaml_i64(const char *path, const struct ls_yaml *node, int64_t min, int64_t max,
                int64_t *ret, struct ls_err *err);
int ls_yaml_bool(const char *path, const struct ls_yaml *node, bool *ret, struct ls_err *err);
/* Borrowed from the tree; refuses an empty text. */
int ls_yaml_text(const char *path, const struct ls_yaml *node, const char **ret,
                 struct ls_err *err);

/* "a list", "a map" or the scalar's text in quotes: for messages. buf holds the result. */
const char *ls_yaml_describe(const struct ls_yaml *node, char *buf, size_t size);

#endif
