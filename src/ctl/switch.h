/*
 * The running set: workers, bridges, ports, and which worker polls which receive queue.
 *
 * Everything happens on the control loop's thread. A receive queue is given to the worker that has
 * the fewest when it first runs, and stays there as long as its port lives, so that a guest that
 * resets its device finds its flows where they were.
 *
 * Ports come and go while packets flow. A port is opened, then joins its bridge, then its queues
 * join the workers; it leaves in the opposite order. Each step returns when no worker can still be
 * in the old state, so the other ports see nothing of it. A port whose options change leaves and
 * comes back.
 */
#ifndef HG_CTL_SWITCH_H
#define HG_CTL_SWITCH_H

#include <event2/event.h>
#include <stdbool.h>

#include "base/err.h"
#include "bridge/bridge.h"
#include "ctl/config.h"
#include "ctl/spec.h"
#include "port/port.h"
#include "worker/worker.h"

struct hg_switch;

/* A port as the switch keeps it. Read-only for others. */
struct hg_switch_port {
    struct hg_port port;
    struct hg_spec spec;
    struct hg_bridge *bridge;
    bool attached; /* in its bridge; its running queues are polled */
    struct {
        struct hg_lane lane;
        int worker; /* index, -1: none yet */
        bool polled;
    } queue[HG_PORT_QUEUES_MAX];
};

/* Starts the workers that the configuration lists. 0 or a negative errno with *err. */
int hg_switch_new(struct hg_switch **sw, struct event_base *loop, const struct hg_config *config,
                  struct hg_err *err);

/* Stops the workers, closes every port and frees everything. */
void hg_switch_free(struct hg_switch *sw);

int hg_switch_add_bridge(struct hg_switch *sw, const struct hg_config_bridge *bridge,
                         struct hg_err *err);

/* Adds a port made of a copy of the spec, or removes one. On failure nothing has changed. -EEXIST
 * for a name or path that is taken, -ENOENT for a bridge or port that does not exist. */
int hg_switch_add_port(struct hg_switch *sw, const struct hg_spec *spec, struct hg_err *err);
int hg_switch_remove_port(struct hg_switch *sw, const char *name, struct hg_err *err);

/* Makes the port of the spec's name what a copy of the spec says, by closing and opening it: its
 * peer has to connect again, its counters begin anew, the bridge learns its addresses again. A spec
 * that is the port's already changes nothing. On failure the port is open as it was, or, if the
 * system does not allow even that, gone, and *err says so. -ENOENT for a port or bridge that does
 * not exist, -EEXIST for a path that is taken. The spec's driver is the port's. */
int hg_switch_change_port(struct hg_switch *sw, const struct hg_spec *spec, struct hg_err *err);

/* All of one kind in turn, by index from 0 on; NULL behind the last. Ports come in the order of
 * their addition. */
const struct hg_switch_port *hg_switch_port(const struct hg_switch *sw, unsigned index);
const struct hg_bridge *hg_switch_bridge(const struct hg_switch *sw, unsigned index);
const struct hg_worker *hg_switch_worker(const struct hg_switch *sw, unsigned index);

/* Receive queues that the worker of that index polls now. */
unsigned hg_switch_worker_queues(const struct hg_switch *sw, unsigned index);

/* By name or id; NULL if there is none. */
const struct hg_switch_port *hg_switch_find_port(const struct hg_switch *sw, const char *name);
const struct hg_switch_port *hg_switch_port_by_id(const struct hg_switch *sw, uint16_t id);

#endif
