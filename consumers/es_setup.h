/*
 * The set-up of an index, compared with what the schema needs: what a sink checks before it runs,
 * and what `schema diff` tells. Pure: the answers of the cluster are given as JSON, so a look of a
 * lane (es_look.c) and the blocking store (es_schema.c) judge alike. What is expected is what
 * schema/es_mapping.h would create, so that there is one truth.
 */
#ifndef LS_CONSUMERS_ES_SETUP_H
#define LS_CONSUMERS_ES_SETUP_H

#include <jansson.h>
#include <stdbool.h>

#include "consumers/store.h"

struct ls_es_setup {
    const struct ls_sink_config *config;
    json_t *expected;  /* body of PUT /<index> */
    json_t *live;      /* {"mappings", "settings", "defaults", "aliases"}; NULL: no such index */
    bool auto_creates; /* a write would create the index without its mapping */
};

/* What to GET; the answers go to the functions of these names. The caller frees the second. */
#define LS_ES_SETUP_SETTINGS_PATH \
    "/_cluster/settings?include_defaults=true&filter_path=**.auto_create_index"
char *ls_es_setup_index_path(const struct ls_sink_config *config);

void ls_es_setup_settings(struct ls_es_setup *setup, const struct ls_sink_config *config,
                          const json_t *reply);
/* Takes references. A missing index is no error here; FATAL when `index` is an alias. */
int ls_es_setup_index(struct ls_es_setup *setup, const struct ls_sink_config *config,
                      const json_t *reply, struct ls_err *err);
void ls_es_setup_free(struct ls_es_setup *setup);

/* What correctness rests on: FATAL names the first thing that is wrong. */
int ls_es_setup_check(const struct ls_es_setup *setup, struct ls_err *err);

/*
 * Whether readers see what the sink writes: the answer to GET this path, of status 200 or 404. What
 * is not as it is after `schema apply` goes into text[size], with what to do; "" where all is. No
 * reason to stop: what is written stays right. Returns whether it is wrong in any case; an alias
 * that is elsewhere may have been switched there. The caller frees the path.
 */
char *ls_es_setup_readers_path(const struct ls_sink_config *config);
bool ls_es_setup_readers(const struct ls_sink_config *config, const json_t *reply, char *text,
                         size_t size);

/* Lines of a report, counted. */
struct ls_es_report {
    ls_line_fn *line; /* may be NULL */
    void *opaque;
    size_t n_lines;
};
void ls_es_say(struct ls_es_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Everything about the index that differs. */
void ls_es_setup_diff(const struct ls_es_setup *setup, struct ls_es_report *report);

/* JSON of es_mapping.h, parsed; frees the text. */
json_t *ls_es_own_json(char *text);

#endif
