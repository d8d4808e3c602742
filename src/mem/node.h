/*
 * NUMA nodes: which there are, and memory from one of them. Control only.
 *
 * The thread's memory policy is changed while an arena's pages are allocated and put back
 * afterwards. That is a system call and its inverse, so no library is needed; and a machine without
 * nodes, or with one, needs not even those: everything is on node 0 there.
 */
#ifndef HG_MEM_NODE_H
#define HG_MEM_NODE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum { HG_NODES_MAX = 1024 }; /* that Linux can be built for */

struct hg_node_policy {
    bool changed;
    int mode;
    unsigned long mask[HG_NODES_MAX / (8 * sizeof(unsigned long))];
};

/* Whether a node is there; and which are, in `online`, as the kernel lists them: "0-1,4". */
bool hg_node_is_online(unsigned node, char *online, size_t n);

/*
 * From here on pages that this thread allocates come from `node` or not at all; what held before is
 * noted in *before. Returns 0, -ENODEV when there is no such node, -EPERM when the process may not
 * choose, or another negative errno, with *err. Private to the folder, as is hg_node_leave().
 */
int hg_node_enter(struct hg_node_policy *before, unsigned node, struct hg_err *err);

/* What held before holds again. */
void hg_node_leave(const struct hg_node_policy *before);

#endif
