/*
 * Page sizes: which there are, how many are free, how to get a file made of them. Private to the
 * folder. Control only.
 */
#ifndef HG_MEM_PAGES_H
#define HG_MEM_PAGES_H

#include <stdint.h>

#include "base/err.h"
#include "mem/arena.h"

/* Bytes of a page; not for HG_PAGES_AUTO. */
uint64_t hg_pages_bytes(enum hg_pages pages);

/*
 * A memfd of `bytes`, a multiple of the page size, whose pages are all allocated, from NUMA node
 * `node` unless that is -1, and that can neither shrink nor grow. Returns the fd, or a negative
 * errno with *err: -ENOMEM and how to get the pages, or what hg_node_enter() says.
 */
int hg_pages_file(const char *name, enum hg_pages pages, uint64_t bytes, int node,
                  struct hg_err *err);

#endif
