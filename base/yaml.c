#include "base/yaml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/buf.h"
#include "base/mem.h"

enum { MAX_DEPTH = 16, MAX_BYTES = 4 << 20 };

struct reader {
    const char *path;
    yaml_parser_t parser;
    struct ls_err *err;
};

static int parse_node(struct reader *reader, const yaml_event_t *event, int depth,
                      struct ls_yaml **ret);

static int next_event(struct reader *reader, yaml_event_t *event)
{
    if (yaml_parser_parse(&reader->parser, event))
        return 0;
    return ls_err_set(reader->err, LS_ERR_FATAL, 0, "%s:%zu: not valid YAML: %s", reader->path,
                      reader->parser.problem_mark.line + 1,
                      reader->parser.problem ? reader->parser.problem : "unreadable");
}

static void add_item(struct ls_yaml *node, char *key, int key_line, struct ls_yaml *item)
{
    size_t count = node->n_items + 1;
    node->items = ls_realloc(node->items, count * sizeof(*node->items));
    node->items[node->n_items] = item;
    if (node->kind == LS_YAML_MAP) {
        node->keys = ls_realloc(node->keys, count * sizeof(*node->keys));
        node->key_lines = ls_realloc(node->key_lines, count * sizeof(*node->key_lines));
        node->keys[node->n_items] = key;
        node->key_lines[node->n_items] = key_line;
    }
    node->n_items = count;
}

/* Reads one key event and the value that follows it. */
static int parse_pair(struct reader *reader, struct ls_yaml *map, const yaml_event_t *key_event,
                      int depth)
{
    int line = (int)key_event->start_mark.line + 1;
    if (key_event->type != YAML_SCALAR_EVENT)
        return ls_err_set(reader->err, LS_ERR_FATAL, 0, "%s:%d: expected a plain key", reader->path,
                          line);
    const char *name = (const char *)key_event->data.scalar.value;
    if (ls_yaml_get(map, name))
        return ls_err_set(reader->err, LS_ERR_FATAL, 0, "%s:%d: key '%s' is there twice",
                          reader->path, line, name);
    yaml_event_t event;
    if (next_event(reader, &event) < 0)
        return -1;
    struct ls_yaml *value = NULL;
    int rc = parse_node(reader, &event, depth + 1, &value);
    yaml_event_delete(&event);
    if (rc == 0)
        add_item(map, ls_strdup(name), line, value);
    return rc;
}

static int parse_children(struct reader *reader, struct ls_yaml *node, int depth)
{
    yaml_event_type_t end =
        node->kind == LS_YAML_MAP ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    for (;;) {
        yaml_event_t event;
        if (next_event(reader, &event) < 0)
            return -1;
        bool done = event.type == end;
        int rc = 0;
        if (!done && node->kind == LS_YAML_MAP) {
            rc = parse_pair(reader, node, &event, depth);
        } else if (!done) {
            struct ls_yaml *item = NULL;
            rc = parse_node(reader, &event, depth + 1, &item);
            if (rc == 0)
                add_item(node, NULL, 0, item);
        }
        yaml_event_delete(&event);
        if (rc < 0 || done)
            return rc;
    }
}

static int parse_node(struct reader *reader, const yaml_event_t *event, int depth,
                      struct ls_yaml **ret)
{
    int line = (int)event->start_mark.line + 1;
    if (depth > MAX_DEPTH)
        return ls_err_set(reader->err, LS_ERR_FATAL, 0, "%s:%d: nested deeper than %d",
                          reader->path, line, MAX_DEPTH);
    struct ls_yaml *node = ls_calloc(1, sizeof(*node));
    node->line = line;
    int rc = 0;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        node->kind = LS_YAML_SCALAR;
        node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        node->text = ls_strndup((const char *)event->data.scalar.value, event->data.scalar.length);
        break;
    case YAML_SEQUENCE_START_EVENT:
        node->kind = LS_YAML_LIST;
        rc = parse_children(reader, node, depth);
        break;
    case YAML_MAPPING_START_EVENT:
        node->kind = LS_YAML_MAP;
        rc = parse_children(reader, node, depth);
        break;
    default:
        rc = ls_err_set(reader->err, LS_ERR_FATAL, 0, "%s:%d: %s", reader->path, line,
                        event->type == YAML_ALIAS_EVENT ? "aliases are not supported"
                                                        : "expected a value");
    }
    if (rc < 0) {
        ls_yaml_free(node);
        return -1;
    }
    *ret = node;
    return 0;
}

/* Skips stream and document start, then reads the one root node and what must follow it. */
static int parse_stream(struct reader *reader, struct ls_yaml **ret)
{
    struct ls_yaml *root = NULL;
    for (;;) {
        yaml_event_t event;
        if (next_event(reader, &event) < 0)
            break;
        int rc = 0;
        yaml_event_type_t type = event.type;
        if (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT &&
            type != YAML_DOCUMENT_END_EVENT && type != YAML_STREAM_END_EVENT)
            rc = parse_node(reader, &event, 0, &root);
        else if (type == YAML_DOCUMENT_START_EVENT && root != NULL)
            rc = ls_err_set(reader->err, LS_ERR_FATAL, 0, "%s:%zu: a second document", reader->path,
                            event.start_mark.line + 1);
        yaml_event_delete(&event);
        if (rc < 0)
            break;
        if (type == YAML_STREAM_END_EVENT) {
            if (root == NULL)
                return ls_err_set(reader->err, LS_ERR_FATAL, 0, "%s:1: the file is empty",
                                  reader->path);
            *ret = root;
            return 0;
        }
    }
    ls_yaml_free(root);
    return -1;
}

int ls_yaml_parse(const char *path, const char *text, size_t len, struct ls_yaml **ret,
                  struct ls_err *err)
{
    struct reader reader = {.path = path, .err = err};
    if (!yaml_parser_initialize(&reader.parser))
        return ls_err_set(err, LS_ERR_FATAL, 0, "%s: no memory for the YAML parser", path);
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, len);
    int rc = parse_stream(&reader, ret);
    yaml_parser_delete(&reader.parser);
    return rc;
}

int ls_yaml_read(const char *path, struct ls_yaml **ret, struct ls_err *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return ls_err_set(err, LS_ERR_FATAL, errno, "%s: %s", path, strerror(errno));
    struct ls_buf text = {0};
    size_t got;
    do {
        got = fread(ls_buf_reserve(&text, 8192), 1, 8192, file);
        text.len += got;
    } while (got > 0 && text.len <= MAX_BYTES);
    int failed = ferror(file) ? errno : 0;
    fclose(file);
    int rc;
    if (failed)
        rc = ls_err_set(err, LS_ERR_FATAL, failed, "%s: %s", path, strerror(failed));
    else if (text.len > MAX_BYTES)
        rc = ls_err_set(err, LS_ERR_FATAL, 0, "%s: larger than %d bytes", path, MAX_BYTES);
    else
        rc = ls_yaml_parse(path, text.data, text.len, ret, err);
    ls_buf_free(&text);
    return rc;
}

void ls_yaml_free(struct ls_yaml *node)
{
    if (node == NULL)
        return;
    for (size_t i = 0; i < node->n_items; i++) {
        ls_yaml_free(node->items[i]);
        if (node->keys)
            free(node->keys[i]);
    }
    free(node->items);
    free(node->keys);
    free(node->key_lines);
    free(node->text);
    free(node);
}

struct ls_yaml *ls_yaml_get(const struct ls_yaml *map, const char *key)
{
    if (map == NULL || map->kind != LS_YAML_MAP)
        return NULL;
    for (size_t i = 0; i < map->n_items; i++)
        if (strcmp(map->keys[i], key) == 0)
            return map->items[i];
    return NULL;
}

const char *ls_yaml_describe(const struct ls_yaml *node, char *buf, size_t size)
{
    if (node->kind == LS_YAML_LIST)
        return "a list";
    if (node->kind == LS_YAML_MAP)
        return "a map";
    if (node->text[0] == '\0')
        return "nothing";
    snprintf(buf, size, "'%.60s'", node->text);
    return buf;
}

int ls_yaml_i64(const char *path, const struct ls_yaml *node, int64_t min, int64_t max,
                int64_t *ret, struct ls_err *err)
{
    if (node->kind == LS_YAML_SCALAR && !node->quoted && node->text[0] != '\0') {
        char *end;
        errno = 0;
        long long number = strtoll(node->text, &end, 10);
        if (*end == '\0' && errno == 0 && number >= min && number <= max) {
            *ret = number;
            return 0;
        }
    }
    char found[80];
    return ls_err_set(
        err, LS_ERR_FATAL, 0, "%s:%d: expected a whole number from %lld to %lld, found %s", path,
        node->line, (long long)min, (long long)max, ls_yaml_describe(node, found, sizeof(found)));
}

int ls_yaml_bool(const char *path, const struct ls_yaml *node, bool *ret, struct ls_err *err)
{
    if (node->kind == LS_YAML_SCALAR && !node->quoted) {
        if (strcmp(node->text, "true") == 0 || strcmp(node->text, "false") == 0) {
            *ret = node->text[0] == 't';
            return 0;
        }
    }
    char found[80];
    return ls_err_set(err, LS_ERR_FATAL, 0, "%s:%d: expected true or false, found %s", path,
                      node->line, ls_yaml_describe(node, found, sizeof(found)));
}

int ls_yaml_text(const char *path, const struct ls_yaml *node, const char **ret, struct ls_err *err)
{
    if (node->kind == LS_YAML_SCALAR && node->text[0] != '\0') {
        *ret = node->text;
        return 0;
    }
    char found[80];
    return ls_err_set(err, LS_ERR_FATAL, 0, "%s:%d: expected a text, found %s", path, node->line,
                      ls_yaml_describe(node, found, sizeof(found)));
}
