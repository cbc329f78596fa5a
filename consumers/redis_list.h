/*
 * A list of requests of a Redis lane: first in, first out, and a way in at its head. It owns
 * nothing; a request is in one list at most. One thread: the lane's.
 */
#ifndef LS_CONSUMERS_REDIS_LIST_H
#define LS_CONSUMERS_REDIS_LIST_H

#include "consumers/redis_apply.h"

static inline void ls_redis_list_init(struct ls_redis_list *list)
{
    list->head = NULL;
    list->tail = &list->head;
}

static inline void ls_redis_list_append(struct ls_redis_list *list,
                                        struct ls_redis_request *request)
{
    request->next = NULL;
    *list->tail = request;
    list->tail = &request->next;
}

static inline void ls_redis_list_prepend(struct ls_redis_list *list,
                                         struct ls_redis_request *request)
{
    request->next = list->head;
    if (list->head == NULL)
        list->tail = &request->next;
    list->head = request;
}

/* The first request, out of the list; NULL if it is empty. */
static inline struct ls_redis_request *ls_redis_list_pop(struct ls_redis_list *list)
{
    struct ls_redis_request *request = list->head;
    if (request != NULL) {
        list->head = request->next;
        if (list->head == NULL)
            list->tail = &list->head;
    }
    return request;
}

#endif
