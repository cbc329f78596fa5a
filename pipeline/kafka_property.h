/*
 * Which clients a property of librdkafka is for. A person writes one list of properties for all of
 * them, and librdkafka warns at every start of each one that it ignores; so each client is given
 * its own. The list is librdkafka's, of the version that is linked: a table here would age.
 *
 * Any thread. A crash leaves nothing behind.
 */
#ifndef LS_PIPELINE_KAFKA_PROPERTY_H
#define LS_PIPELINE_KAFKA_PROPERTY_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

/* False only for a property that is the other type's alone; so a name that is none is told. */
bool ls_kafka_property_is_for(const char *name, rd_kafka_type_t type);

#endif
