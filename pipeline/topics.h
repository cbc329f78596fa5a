/* Names of topics and consumer groups. */
#ifndef LS_PIPELINE_TOPICS_H
#define LS_PIPELINE_TOPICS_H

#include "pipeline/config.h"

#define LS_TOPIC_CONTROL "lockstep.control"

enum { LS_TOPIC_NAME_MAX = 250 };

/* `member.state.1` */
void ls_topic_state(const struct ls_entity_config *entity, char name[LS_TOPIC_NAME_MAX]);
/* `member.quarantine.es-primary` */
void ls_topic_quarantine(const struct ls_sink_config *sink, char name[LS_TOPIC_NAME_MAX]);
/* The sink's consumer group: `lockstep.member.1.es-primary` */
void ls_group_name(const struct ls_sink_config *sink, char name[LS_TOPIC_NAME_MAX]);

#endif
