#include "pipeline/listen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pipeline/config_options.h"

static int refuse(const char *text, struct ls_err *err)
{
    return ls_err_set(err, LS_ERR_FATAL, 0,
                      "expected ADDRESS:PORT (or PORT, for loopback), such as 127.0.0.1:9464, "
                      "found '%.80s'",
                      text);
}

static int is_port(const char *text)
{
    size_t len = strlen(text);
    return len > 0 && len <= 5 && strspn(text, "0123456789") == len &&
           strtol(text, NULL, 10) <= 65535;
}

int ls_listen_parse(const char *text, struct ls_listen *ret, struct ls_err *err)
{
    const char *colon = strrchr(text, ':'), *port = colon != NULL ? colon + 1 : text,
               *host = "127.0.0.1";
    size_t len = strlen(host);
    if (colon != NULL && colon > text) {
        host = text;
        len = (size_t)(colon - text);
    }
    if (host[0] == '[') {
        if (len < 3 || host[len - 1] != ']')
            return refuse(text, err);
        host++;
        len -= 2;
    } else if (memchr(host, ':', len) != NULL) {
        return refuse(text, err); /* an IPv6 address without brackets: which colon is the port's? */
    }
    if (!is_port(port) || len >= sizeof(ret->host) || memchr(host, ' ', len) != NULL)
        return refuse(text, err);
    snprintf(ret->host, sizeof(ret->host), "%.*s", (int)len, host);
    snprintf(ret->port, sizeof(ret->port), "%s", port);
    ret->answer_ms = 0;
    return 0;
}

int ls_config_read_listen(struct ls_config_reader *reader, const char *where,
                          const struct ls_yaml *node, void *target)
{
    struct ls_config *config = target;
    struct ls_listen listen;
    struct ls_err err = {0};
    const char *text;
    char found[80];
    if (ls_yaml_text("", node, &text, NULL) < 0)
        return ls_config_fail(reader, node->line, "%s: expected address:port, found %s", where,
                              ls_config_describe(node, found, sizeof(found)));
    if (ls_listen_parse(text, &listen, &err) < 0)
        return ls_config_fail(reader, node->line, "%s: %s", where, err.text);
    config->listen = ls_strdup(text);
    return 0;
}
