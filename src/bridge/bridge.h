/*
 * The bridge: ports that learn from each other. The packet's way through it is in bridge/path.c.
 *
 * Control adds and removes ports; workers see an immutable snapshot of the port list (sync/qsbr.h)
 * and the forwarding table, which they also write (table/fdb.h). All functions here are control's.
 */
#ifndef HG_BRIDGE_BRIDGE_H
#define HG_BRIDGE_BRIDGE_H

#include <stdint.h>

#include "base/err.h"
#include "pkt/pkt.h"
#include "port/port.h"
#include "table/fdb.h"
#include "worker/worker.h"

enum { HG_BRIDGE_NAME_MAX = 31 };

struct hg_bridge_options {
    uint32_t fdb_age_s;    /* an address unseen for so long is forgotten; default 300 */
    uint32_t fdb_max;      /* addresses in all; default 65536 */
    uint32_t fdb_port_max; /* addresses behind one port, so that one guest cannot fill the table;
                              default 16384 */
};

struct hg_bridge;

/* Creates a bridge without ports. 0 or a negative errno with *err. */
int hg_bridge_new(struct hg_bridge **bridge, const char *name,
                  const struct hg_bridge_options *options, struct hg_err *err);

/* Frees it. It must have no ports, and no worker may poll a lane of it. */
void hg_bridge_free(struct hg_bridge *bridge);

const char *hg_bridge_name(const struct hg_bridge *bridge);
const struct hg_bridge_options *hg_bridge_options(const struct hg_bridge *bridge);

/* Adds an open port, or takes one out: on return of the latter no worker transmits to it any more
 * and its addresses are forgotten. Its lanes must have left the workers before. */
int hg_bridge_add(struct hg_bridge *bridge, struct hg_port *port, struct hg_err *err);
void hg_bridge_remove(struct hg_bridge *bridge, struct hg_port *port);

/* The ports, in the order of addition, up to `max`; returns how many there are. */
unsigned hg_bridge_ports(const struct hg_bridge *bridge, struct hg_port **ports, unsigned max);

/* To be called about once a second: lets addresses age. */
void hg_bridge_tick(struct hg_bridge *bridge);

/* The forwarding table, for `fdb show` (hg_fdb_each, hg_fdb_n). */
const struct hg_fdb *hg_bridge_fdb(const struct hg_bridge *bridge);

/* A worker's scratch memory: the burst under way. One per worker, made before it starts. */
struct hg_path;
int hg_path_new(struct hg_path **path, struct hg_err *err);
void hg_path_free(struct hg_path *path);

/* One receive queue's way into a bridge, as a worker polls it. The caller owns the lane and keeps
 * it until no worker polls it. */
struct hg_lane {
    struct hg_poller poller; /* hand &lane->poller to hg_worker_set() */
    struct hg_rxq *rxq;
    struct hg_bridge *bridge;
    struct hg_path *path;
};
void hg_lane_init(struct hg_lane *lane, struct hg_bridge *bridge, struct hg_rxq *rxq,
                  struct hg_path *path);

#endif
