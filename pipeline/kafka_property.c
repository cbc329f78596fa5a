/* librdkafka's own list of properties, read once; see kafka_property.h. */
#include "pipeline/kafka_property.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static char *list; /* lives as long as the process */

static void read_list(void)
{
    size_t size = 0;
    FILE *file = open_memstream(&list, &size);
    if (file == NULL)
        return;
    rd_kafka_conf_properties_show(file);
    fclose(file);
}

/* "NAME   | C | …": what stands between the first two bars. 0 where there is no such line. */
static char column(const char *name)
{
    size_t len = strlen(name);
    for (const char *line = list; line != NULL && *line != '\0';) {
        const char *end = strchrnul(line, '\n');
        if (strncmp(line, name, len) == 0 && line[len] == ' ') {
            const char *at = line + len;
            at += strspn(at, " ");
            if (*at == '|')
                return at[1 + strspn(at + 1, " ")];
        }
        line = *end == '\n' ? end + 1 : end;
    }
    return 0;
}

bool ls_kafka_property_is_for(const char *name, rd_kafka_type_t type)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, read_list);
    return column(name) != (type == RD_KAFKA_CONSUMER ? 'P' : 'C');
}
