/*
 * What switch.c (queues and workers) and switch_ports.c (ports that come, go and change) share.
 * Nobody else includes it.
 */
#ifndef HG_CTL_SWITCH_STATE_H
#define HG_CTL_SWITCH_STATE_H

#include "ctl/switch.h"

enum { SWITCH_POLLERS_MAX = HG_PORTS_MAX * HG_PORT_QUEUES_MAX };

struct switch_slot {
    struct hg_worker *worker;
    struct hg_path *path;
    unsigned assigned_n; /* queues that are this worker's, running or not */
    bool changed;        /* its set of pollers is to be made anew */
};

struct hg_switch {
    struct event_base *loop;
    struct event *tick;
    struct hg_port_host host;
    struct switch_slot worker[HG_CONFIG_WORKERS_MAX];
    unsigned worker_n;
    struct hg_bridge *bridge[HG_CONFIG_BRIDGES_MAX];
    unsigned bridge_n;
    struct hg_switch_port *port[HG_PORTS_MAX]; /* in the order of addition */
    unsigned port_n;
    struct hg_poller *poller[SWITCH_POLLERS_MAX]; /* scratch of switch.c's apply() */
};

/* Makes the workers poll what runs of a port that is attached, and nothing of another. 0 or a
 * negative errno with *err; what has not been done is then tried again every second. */
int switch_refresh(struct hg_switch *sw, struct hg_switch_port *entry, struct hg_err *err);

/* Hands the queues of a port that has joined its bridge to the workers. What fails is logged, and
 * tried again. */
void switch_attach(struct hg_switch *sw, struct hg_switch_port *entry);

/* Takes a port that no worker polls out of its bridge, closes it and frees it. Cannot fail. */
void switch_discard(struct hg_switch *sw, struct hg_switch_port *entry);

#endif
