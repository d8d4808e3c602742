/* What the files of this folder share. */
#ifndef HG_BRIDGE_INTERNAL_H
#define HG_BRIDGE_INTERNAL_H

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bridge/bridge.h"
#include "sync/qsbr.h"

/* The ports of a bridge: an immutable snapshot. */
struct hg_members {
    unsigned n;
    struct hg_port *port[HG_PORTS_MAX];  /* in the order of addition */
    struct hg_port *by_id[HG_PORTS_MAX]; /* NULL: not of this bridge */
};

struct hg_bridge {
    struct hg_members *_Atomic members; /* published by control, read by workers; one of: */
    struct hg_members snapshot[2];      /* the list in force and the next one */
    struct hg_fdb *fdb;
    struct hg_bridge_options options;
    char name[HG_BRIDGE_NAME_MAX + 1];
};

#endif
