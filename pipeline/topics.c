#include "pipeline/topics.h"

#include <stdio.h>

void ls_topic_state(const struct ls_entity_config *entity, char name[LS_TOPIC_NAME_MAX])
{
    snprintf(name, LS_TOPIC_NAME_MAX, "%s.state.%u", entity->name, entity->generation);
}

void ls_topic_quarantine(const struct ls_sink_config *sink, char name[LS_TOPIC_NAME_MAX])
{
    snprintf(name, LS_TOPIC_NAME_MAX, "%s.quarantine.%s", sink->entity->name, sink->name);
}

void ls_group_name(const struct ls_sink_config *sink, char name[LS_TOPIC_NAME_MAX])
{
    snprintf(name, LS_TOPIC_NAME_MAX, "lockstep.%s.%u.%s", sink->entity->name,
             sink->entity->generation, sink->name);
}
