/*
 * Physical addresses of our own memory, from /proc/self/pagemap (proc_pid_pagemap(5)). Private to
 * the folder.
 */
#ifndef HG_MEM_IOVA_H
#define HG_MEM_IOVA_H

#include <stdint.h>

#include "base/err.h"

/*
 * Writes the physical address of each of n pages of page_bytes from `base` on, all present, into
 * `page_iova`. Returns 0, or -EPERM with *err when the kernel does not tell this process, or
 * another negative errno.
 */
int hg_iova_physical(const uint8_t *base, uint64_t page_bytes, uint64_t n, uint64_t *page_iova,
                     struct hg_err *err);

#endif
