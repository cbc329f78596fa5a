/*
 * The option tables of the configuration, and the reader that walks a YAML tree by them. Internal
 * to pipeline/config*.c. One thread: the one that calls ls_config_read.
 *
 * Rejected: a binding generator (libcyaml). It parses, but its messages name neither the option's
 * expected form nor a likely spelling, and it would need a second table for the document.
 */
#ifndef LS_PIPELINE_CONFIG_OPTIONS_H
#define LS_PIPELINE_CONFIG_OPTIONS_H

#include <stdbool.h>

#include "base/yaml.h"
#include "pipeline/config.h"

struct ls_config_reader {
    const char *path; /* of the file: for messages */
    char *folder;     /* that relative paths start from */
    struct ls_config *config;
    struct ls_schema **schemas; /* that no entity has taken yet (NULL: taken); owned */
    int *schema_lines;
    size_t n_schemas;
    struct ls_err *err;
};

enum ls_option_type {
    LS_OPTION_TEXT,        /* char * */
    LS_OPTION_PATH,        /* char *, from the file's folder */
    LS_OPTION_INT,         /* integer of `size` bytes, min to max */
    LS_OPTION_SECRET_FILE, /* char *: the content of the file that the option names */
    LS_OPTION_SECRET_ENV,  /* char *: the value of the variable that the option names */
    LS_OPTION_READ,        /* read() does it */
    LS_OPTION_REFUSED,     /* `meaning` says what to write instead; not in the document */
};

/* Options of all sink kinds have kinds 0, as have those of other sections. */
#define LS_OPTION_KIND(kind) (1u << (kind))

struct ls_option {
    const char *name;
    enum ls_option_type type;
    unsigned kinds;
    bool required;
    size_t offset, size;      /* of the member in the section's target */
    int64_t min, max;         /* INT */
    int64_t defaults[3];      /* INT: by sink kind; [0] in other sections */
    const char *default_text; /* TEXT, PATH: the default; others: how the document puts it */
    const char *expected;     /* READ, and TEXT where it is more than a text */
    const char *meaning;
    int (*read)(struct ls_config_reader *reader, const char *where, const struct ls_yaml *node,
                void *target);
};

struct ls_section {
    const char *title; /* of the document's part */
    const char *intro;
    const struct ls_option *options;
    size_t n_options;
};

extern const struct ls_section ls_section_file;
extern const struct ls_section ls_section_kafka;
extern const struct ls_section ls_section_entity;
extern const struct ls_section ls_section_sink;
extern const struct ls_section ls_section_server;
extern const struct ls_section ls_section_tls;

enum { LS_WHERE_MAX = 128 }; /* bytes of "sinks.mysql.servers[0]" */

/* Sets reader->err to "path:line: text", FATAL, and returns -1. */
int ls_config_fail(struct ls_config_reader *reader, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Adds "path:line: text" to the configuration's warnings. */
void ls_config_warn(struct ls_config_reader *reader, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * Reads a map into target by the section's table: unknown, missing and wrong options are refused.
 * `kind` is a sink's kind, or -1. `where` names the map in messages ("" for the file).
 */
int ls_config_section(struct ls_config_reader *reader, const struct ls_section *section,
                      const char *where, int kind, const struct ls_yaml *map, void *target);

/* What was found, for messages; a text in quotes is told from a number. buf holds the result. */
const char *ls_config_describe(const struct ls_yaml *node, char *buf, size_t size);

/* Whether the node is a map; nothing at all counts as an empty one. */
bool ls_config_is_map(const struct ls_yaml *node);

/* The candidate that `word` is most likely a typo of, or NULL. Candidates may be NULL. */
const char *ls_config_suggest(const char *word, const char *const *candidates, size_t n);

/* A path of the file, from the file's folder. The caller frees. */
char *ls_config_path(const struct ls_config_reader *reader, const char *path);

/* Whether text is [a-z] and then at most max - 1 of [a-z0-9] and `mark`. */
bool ls_config_is_name(const char *text, char mark, size_t max);

/*
 * Secrets: the content of the file (without the newline that ends it), or a variable's value.
 * `lines` allows more than one line (PEM). Unreadable and empty ones are refused; the secret never
 * reaches a message. *ret is fresh memory.
 */
int ls_config_secret_file(struct ls_config_reader *reader, const char *where,
                          const struct ls_yaml *node, bool lines, char **ret);
int ls_config_secret_env(struct ls_config_reader *reader, const char *where,
                         const struct ls_yaml *node, bool lines, char **ret);

/* Readers of the table's READ options. */
int ls_config_read_schemas(struct ls_config_reader *reader, const char *where,
                           const struct ls_yaml *node, void *target);
int ls_config_read_listen(struct ls_config_reader *reader, const char *where,
                          const struct ls_yaml *node, void *target);
int ls_config_read_kafka(struct ls_config_reader *reader, const char *where,
                         const struct ls_yaml *node, void *target);
int ls_config_read_brokers(struct ls_config_reader *reader, const char *where,
                           const struct ls_yaml *node, void *target);
int ls_config_read_properties(struct ls_config_reader *reader, const char *where,
                              const struct ls_yaml *node, void *target);
int ls_config_read_entities(struct ls_config_reader *reader, const char *where,
                            const struct ls_yaml *node, void *target);
int ls_config_read_partition_count(struct ls_config_reader *reader, const char *where,
                                   const struct ls_yaml *node, void *target);
int ls_config_read_sinks(struct ls_config_reader *reader, const char *where,
                         const struct ls_yaml *node, void *target);
int ls_config_read_kind(struct ls_config_reader *reader, const char *where,
                        const struct ls_yaml *node, void *target);
int ls_config_read_sink_entity(struct ls_config_reader *reader, const char *where,
                               const struct ls_yaml *node, void *target);
int ls_config_read_servers(struct ls_config_reader *reader, const char *where,
                           const struct ls_yaml *node, void *target);
int ls_config_read_partitions(struct ls_config_reader *reader, const char *where,
                              const struct ls_yaml *node, void *target);
int ls_config_read_nodes(struct ls_config_reader *reader, const char *where,
                         const struct ls_yaml *node, void *target);
int ls_config_read_urls(struct ls_config_reader *reader, const char *where,
                        const struct ls_yaml *node, void *target);
int ls_config_read_index(struct ls_config_reader *reader, const char *where,
                         const struct ls_yaml *node, void *target);
int ls_config_read_tls(struct ls_config_reader *reader, const char *where,
                       const struct ls_yaml *node, void *target);

/* What no single option can tell: checks one sink, whose YAML is map, after all were read. */
int ls_config_check_sink(struct ls_config_reader *reader, struct ls_sink_config *sink,
                         const struct ls_yaml *map);

/* The table of librdkafka properties that are refused, for the document. */
void ls_config_document_properties(struct ls_buf *buf);

#endif
