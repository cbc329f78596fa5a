/*
 * The kafka part of the configuration: brokers, and librdkafka's own properties, each tried on a
 * librdkafka configuration when the file is read, so that a typo names its line and not a client
 * that fails later. Properties that the laws rest on are refused with the reason.
 *
 * Threads: the one that reads the configuration. A crash leaves nothing behind.
 */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/config_options.h"

struct refused_property {
    const char *name;
    const char *why;
};

/* Sorted by name: it is a table of the document too. */
static const struct refused_property refused[] = {
    {"acks", "a record counts as published only when all in-sync replicas have it"},
    {"allow.auto.create.topics", "topics are made by `lockstep topics create`, with a genesis"},
    {"auto.commit.enable", "an offset is committed when its records have their final verdict"},
    {"auto.offset.reset", "a reader without a position starts at the first record"},
    {"bootstrap.servers", "the brokers are the option kafka.brokers"},
    {"client.id", "each client names itself `lockstep-<role>`"},
    {"delivery.report.only.error", "the publisher answers with each record's position"},
    {"enable.auto.commit", "an offset is committed when its records have their final verdict"},
    {"enable.auto.offset.store", "positions are stored when records have their final verdict"},
    {"enable.idempotence", "without it a retry may write a record twice or out of order"},
    {"enable.partition.eof", "the end of a partition counts for its watermark"},
    {"group.id", "each sink has its own group, `lockstep.<entity>.<generation>.<sink>`"},
    {"group.instance.id", "members of a group are told apart by lockstep"},
    {"isolation.level", "only committed records are part of the log"},
    {"message.max.bytes", "the largest record that the schema allows must fit"},
    {"metadata.broker.list", "the brokers are the option kafka.brokers"},
    {"partition.assignment.strategy", "sinks share partitions by cooperative rebalancing"},
    {"partitioner", "keys are spread by murmur2, as every other client of the log does"},
    {"request.required.acks", "a record counts as published only when all replicas have it"},
    {"transactional.id", "transactions are lockstep's own, by stable names"},
};

static const char *const secrets[] = {
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.password",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
};

static bool is_secret(const char *name)
{
    for (size_t i = 0; i < LS_COUNT(secrets); i++)
        if (strcmp(secrets[i], name) == 0)
            return true;
    return false;
}

/* `host`, `host:port` or `[address]:port`, after the protocol that librdkafka lets stand there. */
static bool is_broker(const char *text, size_t len)
{
    const char *end = text + len;
    const char *protocol = memmem(text, len, "://", 3);
    if (protocol != NULL)
        text = protocol + 3;
    const char *host = text;
    if (host < end && *host == '[') {
        text = memchr(host, ']', (size_t)(end - host));
        if (text == NULL)
            return false;
        text++;
    } else {
        text += strcspn(text, ":,");
    }
    if (text == host || text > end || memchr(host, ' ', (size_t)(end - host)))
        return false;
    if (text == end)
        return true;
    long port = 0;
    const char *digit = text + 1;
    for (; digit < end && *digit >= '0' && *digit <= '9' && port <= UINT16_MAX; digit++)
        port = port * 10 + (*digit - '0');
    return *text == ':' && digit == end && port >= 1 && port <= UINT16_MAX;
}

static int check_brokers(struct ls_config_reader *reader, const char *where, int line,
                         const char *brokers)
{
    const char *c = brokers;
    for (;;) {
        size_t len = strcspn(c, ",");
        if (!is_broker(c, len))
            return ls_config_fail(reader, line,
                                  "%s: expected host:port, several parted by commas, found '%.60s'",
                                  where, brokers);
        if (c[len] == '\0')
            return 0;
        c += len + 1;
    }
}

int ls_config_read_brokers(struct ls_config_reader *reader, const char *where,
                           const struct ls_yaml *node, void *target)
{
    struct ls_config *config = target;
    const struct ls_yaml *one = node;
    size_t n = node->kind == LS_YAML_LIST ? node->n_items : 1;
    struct ls_buf brokers = {0};
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        const struct ls_yaml *item = node->kind == LS_YAML_LIST ? node->items[i] : one;
        const char *text = NULL;
        char found[80];
        if (ls_yaml_text("", item, &text, NULL) < 0)
            rc = ls_config_fail(reader, item->line, "%s: expected host:port, found %s", where,
                                ls_config_describe(item, found, sizeof(found)));
        else
            ls_buf_printf(&brokers, "%s%s", i ? "," : "", text);
    }
    if (rc == 0)
        rc = check_brokers(reader, where, node->line, ls_buf_cstr(&brokers));
    if (rc == 0)
        config->brokers = ls_strdup(ls_buf_cstr(&brokers));
    ls_buf_free(&brokers);
    return rc;
}

int ls_config_read_kafka(struct ls_config_reader *reader, const char *where,
                         const struct ls_yaml *node, void *target)
{
    return ls_config_section(reader, &ls_section_kafka, where, -1, node, target);
}

/* Refuses a name that librdkafka does not know, with the likely one out of its own list. */
static int refuse_unknown(struct ls_config_reader *reader, int line, const char *name)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    const char **names = NULL;
    size_t n = 0;
    if (file) {
        rd_kafka_conf_properties_show(file);
        fclose(file);
        /* A line of its table starts with the name, then blanks and `|`. */
        char *save = NULL;
        for (char *row = strtok_r(text, "\n", &save); row; row = strtok_r(NULL, "\n", &save)) {
            char *bar = strchr(row, '|');
            if (bar == NULL || row[0] < 'a' || row[0] > 'z')
                continue;
            *strpbrk(row, " |") = '\0';
            names = ls_realloc(names, (n + 1) * sizeof(*names));
            names[n++] = row;
        }
    }
    const char *likely = ls_config_suggest(name, names, n);
    if (likely)
        ls_config_fail(reader, line,
                       "kafka.properties: librdkafka has no property '%.60s'; did you mean '%s'?",
                       name, likely);
    else
        ls_config_fail(reader, line,
                       "kafka.properties: librdkafka has no property '%.60s'; its CONFIGURATION.md "
                       "lists them",
                       name);
    free(names);
    free(text);
    return -1;
}

/* The property that `name` reads from a file or the environment: its length, or 0. */
static size_t secret_base(const char *name, bool *ret_file)
{
    size_t len = strlen(name);
    *ret_file = len > 5 && strcmp(name + len - 5, "_file") == 0;
    if (*ret_file)
        return len - 5;
    return len > 4 && strcmp(name + len - 4, "_env") == 0 ? len - 4 : 0;
}

static int check_allowed(struct ls_config_reader *reader, int line, const char *name,
                         bool from_secret)
{
    for (size_t i = 0; i < LS_COUNT(refused); i++)
        if (strcmp(refused[i].name, name) == 0)
            return ls_config_fail(reader, line, "kafka.properties: '%s' can't be set: %s", name,
                                  refused[i].why);
    if (is_secret(name) && !from_secret)
        return ls_config_fail(
            reader, line,
            "kafka.properties: a secret does not belong in this file; put it into "
            "a file and name that with '%s_file', or into the environment with "
            "'%s_env'",
            name, name);
    for (size_t i = 0; i < reader->config->n_properties; i++)
        if (strcmp(reader->config->properties[i].name, name) == 0)
            return ls_config_fail(reader, line, "kafka.properties: '%s' is given twice", name);
    return 0;
}

/* A property's value out of the file: files that TLS reads are named from the file's folder. */
static char *plain_value(struct ls_config_reader *reader, const char *name, const char *text)
{
    size_t len = strlen(name);
    if (strncmp(name, "ssl.", 4) == 0 && len > 9 && strcmp(name + len - 9, ".location") == 0 &&
        strcmp(text, "probe") != 0)
        return ls_config_path(reader, text);
    return ls_strdup(text);
}

/* Takes name and value over. */
static int add_property(struct ls_config_reader *reader, rd_kafka_conf_t *conf, int line,
                        char *name, char *value, bool secret)
{
    struct ls_config *config = reader->config;
    config->properties =
        ls_realloc(config->properties, (config->n_properties + 1) * sizeof(*config->properties));
    config->properties[config->n_properties++] = (struct ls_property){name, value};
    char text[256] = "";
    rd_kafka_conf_res_t rc = rd_kafka_conf_set(conf, name, value, text, sizeof(text));
    if (rc == RD_KAFKA_CONF_OK)
        return 0;
    if (rc == RD_KAFKA_CONF_UNKNOWN)
        return refuse_unknown(reader, line, name);
    return ls_config_fail(reader, line, "kafka.properties: '%s' is refused by librdkafka%s%s", name,
                          secret ? "" : ": ", secret ? "" : text);
}

static int read_property(struct ls_config_reader *reader, rd_kafka_conf_t *conf, const char *key,
                         int line, const struct ls_yaml *node)
{
    bool file = false;
    size_t base = secret_base(key, &file);
    LS_CLEANUP_FREE char *name = base ? ls_strndup(key, base) : ls_strdup(key);
    if (check_allowed(reader, line, name, base > 0) < 0)
        return -1;
    char where[LS_WHERE_MAX];
    snprintf(where, sizeof(where), "kafka.properties.%s", key);
    char *value = NULL;
    if (base > 0) {
        int rc = file ? ls_config_secret_file(reader, where, node, true, &value)
                      : ls_config_secret_env(reader, where, node, true, &value);
        if (rc < 0)
            return -1;
    } else if (node->kind == LS_YAML_SCALAR) {
        value = plain_value(reader, name, node->text);
    } else {
        char found[80];
        return ls_config_fail(reader, node->line, "%s: expected a text or a number, found %s",
                              where, ls_config_describe(node, found, sizeof(found)));
    }
    return add_property(reader, conf, line, ls_strdup(name), value, base > 0);
}

int ls_config_read_properties(struct ls_config_reader *reader, const char *where,
                              const struct ls_yaml *node, void *target)
{
    if (!ls_config_is_map(node)) {
        char found[80];
        return ls_config_fail(reader, node->line,
                              "%s: expected a map of librdkafka properties, found %s", where,
                              ls_config_describe(node, found, sizeof(found)));
    }
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    int rc = 0;
    for (size_t i = 0; i < node->n_items && rc == 0; i++)
        rc = read_property(reader, conf, node->keys[i], node->key_lines[i], node->items[i]);
    rd_kafka_conf_destroy(conf);
    return rc;
}

void ls_config_document_properties(struct ls_buf *buf)
{
    ls_buf_append_str(
        buf, "## Kafka properties\n\n"
             "`kafka.properties` takes librdkafka's own properties as its CONFIGURATION.md names\n"
             "them, for example `security.protocol: SASL_SSL`. A file that a property named\n"
             "`ssl.….location` points to is looked for from the configuration's folder. Any\n"
             "property may be read from a file or the environment by adding `_file` or `_env` to\n"
             "its name; these must be:\n\n");
    for (size_t i = 0; i < LS_COUNT(secrets); i++)
        ls_buf_printf(buf, "- `%s_file` or `%s_env`\n", secrets[i], secrets[i]);
    ls_buf_append_str(
        buf, "\n`SCRAM-SHA-256` and `SCRAM-SHA-512` need librdkafka 2.6.1 or later where the\n"
             "brokers are Kafka 4.0 or later: to these, earlier ones send a wrong nonce, and\n"
             "the answer is that the password is wrong. `PLAIN` over TLS works with both.\n");
    ls_buf_append_str(buf,
                      "\nThese are refused, because what lockstep guarantees rests on them:\n\n"
                      "| property | why |\n|---|---|\n");
    for (size_t i = 0; i < LS_COUNT(refused); i++)
        ls_buf_printf(buf, "| `%s` | %s |\n", refused[i].name, refused[i].why);
}
