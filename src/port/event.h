/*
 * What drivers do alike with the events of the control loop.
 */
#ifndef HG_PORT_EVENT_H
#define HG_PORT_EVENT_H

#include <event2/event.h>
#include <stddef.h>

/* Frees an event and forgets it; NULL is allowed. Control only. */
static inline void hg_event_free(struct event **event)
{
    if (*event != NULL)
        event_free(*event);
    *event = NULL;
}

#endif
