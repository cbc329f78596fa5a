/*
 * docs/CONFIGURATION.md out of the option tables, so that the document can't differ from what is
 * parsed: `lockstep config document` prints it and a unit test compares.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "pipeline/config_options.h"

static const char intro[] =
    "# Configuration\n\n"
    "<!-- Made by `lockstep config document` from pipeline/config_options.c: change it there. "
    "-->\n\n"
    "One YAML file configures every command: `--config FILE`, else `$LOCKSTEP_CONFIG`, else\n"
    "`./lockstep.yaml`. `lockstep config check` reads it and says what it found. An unknown "
    "option,\n"
    "a wrong value or a missing one is refused with file, line and what was expected.\n\n"
    "Paths are looked for from the file's folder. Secrets are never written in the file: options\n"
    "that end in `_file` name a file that holds the secret (a newline at its end is dropped), "
    "those\n"
    "that end in `_env` an environment variable. They are read once, when the program starts, and\n"
    "never printed.\n\n"
    "```yaml\n"
    "state_dir: /var/lib/lockstep\n"
    "schemas: [member.yaml]\n"
    "kafka:\n"
    "  brokers: kafka-1:9092,kafka-2:9092,kafka-3:9092\n"
    "  properties:\n"
    "    security.protocol: SASL_SSL\n"
    "    sasl.mechanisms: SCRAM-SHA-512\n"
    "    sasl.username: lockstep\n"
    "    sasl.password_file: secrets/kafka\n"
    "entities:\n"
    "  member: {generation: 1, partitions: 64, replication: 3}\n"
    "sinks:\n"
    "  mysql:\n"
    "    kind: mysql\n"
    "    servers:\n"
    "      - host: mysql-1\n"
    "        database: members\n"
    "        user: lockstep\n"
    "        password_file: secrets/mysql\n"
    "        partitions: 0-31\n"
    "      - host: mysql-2\n"
    "        database: members\n"
    "        user: lockstep\n"
    "        password_file: secrets/mysql\n"
    "        partitions: 32-63\n"
    "  redis-a:\n"
    "    kind: redis\n"
    "    nodes: [redis-a-1:6379, redis-a-2:6379, redis-a-3:6379]\n"
    "    user: lockstep\n"
    "    password_env: LOCKSTEP_REDIS_PASSWORD\n"
    "  es-primary:\n"
    "    kind: elasticsearch\n"
    "    urls: [\"https://es-1:9200\", \"https://es-2:9200\", \"https://es-3:9200\"]\n"
    "    tls: {ca: es-ca.pem}\n"
    "    api_key_file: secrets/es\n"
    "    index: member-000001\n"
    "    alias: member\n"
    "    data_nodes: 3\n"
    "```\n\n";

static void put_type(struct ls_buf *buf, const struct ls_option *option)
{
    switch (option->type) {
    case LS_OPTION_INT:
        ls_buf_printf(buf, "%" PRId64 " to %" PRId64, option->min, option->max);
        return;
    case LS_OPTION_PATH:
    case LS_OPTION_SECRET_FILE:
        ls_buf_append_str(buf, "path");
        return;
    case LS_OPTION_SECRET_ENV:
        ls_buf_append_str(buf, "name of a variable");
        return;
    case LS_OPTION_TEXT:
    case LS_OPTION_READ:
    case LS_OPTION_REFUSED:
        ls_buf_append_str(buf, option->expected ? option->expected : "text");
    }
}

/* The default of a number, by kind where the kinds differ. */
static void put_number(struct ls_buf *buf, const struct ls_option *option)
{
    int64_t one = 0;
    unsigned n = 0;
    bool same = true;
    for (int kind = 0; kind <= LS_SINK_ES; kind++) {
        if (option->kinds != 0 && (option->kinds & LS_OPTION_KIND(kind)) == 0)
            continue;
        same &= n++ == 0 || option->defaults[kind] == one;
        one = option->defaults[kind];
    }
    if (same) {
        ls_buf_printf(buf, "%" PRId64, one);
        return;
    }
    n = 0;
    for (int kind = 0; kind <= LS_SINK_ES; kind++)
        if (option->kinds == 0 || (option->kinds & LS_OPTION_KIND(kind)))
            ls_buf_printf(buf, "%s%s %" PRId64, n++ ? ", " : "",
                          ls_sink_kind_name((enum ls_sink_kind)kind), option->defaults[kind]);
}

static void put_default(struct ls_buf *buf, const struct ls_option *option)
{
    if (option->required) {
        ls_buf_append_str(buf, "**required**");
    } else if (option->default_text) {
        bool literal = option->type == LS_OPTION_TEXT || option->type == LS_OPTION_PATH;
        ls_buf_printf(buf, literal ? "`%s`" : "%s", option->default_text);
    } else if (option->type == LS_OPTION_INT) {
        put_number(buf, option);
    } else {
        ls_buf_append_str(buf, "none");
    }
}

static void put_section(struct ls_buf *buf, const struct ls_section *section)
{
    bool kinds = section == &ls_section_sink;
    ls_buf_printf(buf, "## %s\n\n%s\n\n", section->title, section->intro);
    ls_buf_append_str(buf, kinds ? "| option | kinds | value | default | meaning |\n"
                                   "|---|---|---|---|---|\n"
                                 : "| option | value | default | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < section->n_options; i++) {
        const struct ls_option *option = &section->options[i];
        if (option->type == LS_OPTION_REFUSED)
            continue;
        ls_buf_printf(buf, "| `%s` | ", option->name);
        if (kinds && option->kinds == 0)
            ls_buf_append_str(buf, "all");
        bool first = true;
        for (int kind = 0; kinds && kind <= LS_SINK_ES; kind++) {
            if ((option->kinds & LS_OPTION_KIND(kind)) == 0)
                continue;
            ls_buf_printf(buf, "%s%s", first ? "" : ", ",
                          ls_sink_kind_name((enum ls_sink_kind)kind));
            first = false;
        }
        if (kinds)
            ls_buf_append_str(buf, " | ");
        put_type(buf, option);
        ls_buf_append_str(buf, " | ");
        put_default(buf, option);
        ls_buf_printf(buf, " | %s |\n", option->meaning);
    }
    ls_buf_append_char(buf, '\n');
}

void ls_config_document(struct ls_buf *buf)
{
    const struct ls_section *const sections[] = {&ls_section_file,   &ls_section_kafka,
                                                 &ls_section_entity, &ls_section_sink,
                                                 &ls_section_server, &ls_section_tls};
    ls_buf_append(buf, intro, sizeof(intro) - 1);
    for (size_t i = 0; i < LS_COUNT(sections); i++)
        put_section(buf, sections[i]);
    ls_config_document_properties(buf);
}
