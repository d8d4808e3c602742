/*
 * NUMA nodes: which there are, and memory from one of them. Private to the folder. Control only.
 *
 * The thread's memory policy is changed while an arena's pages are allocated and put back
 * afterwards. That is a system call and its inverse, so no library is needed; and a machine without
 * nodes, or with one, needs not even those: everything is on node 0 there.
 */
#ifndef HG_MEM_NODE_H
#define HG_MEM_NODE_H

#include <stdbool.h>

#include "base/err.h"

enum { HG_NODES_MAX = 1024 }; /* that Linux can be built for */

struct hg_node_policy {
    bool changed;
    int mode;
    unsigned long mask[HG_NODES_MAX / (8 * sizeof(unsigned long))];
};

/*
 * From here on pages that this thread allocates come from `node` or not at all; what held before is
 * noted in *before. Returns 0, -ENODEV when there is no such node, -EPERM when the process may not
 * choose, or another negative errno, with *err.
 */
int hg_node_enter(struct hg_node_policy *before, unsigned node, struct hg_err *err);

/* What held before holds again. */
void hg_node_leave(const struct hg_node_policy *before);

#endif
