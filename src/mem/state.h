/*
 * What an arena consists of, and the list of all. Private to the folder.
 */
#ifndef HG_MEM_STATE_H
#define HG_MEM_STATE_H

#include "mem/arena.h"

struct hg_arena {
    char name[HG_MEM_NAME_MAX + 1];
    int fd;
    uint8_t *base;
    uint64_t bytes;
    uint64_t asked_bytes; /* of bytes, what the caller counts on; the rest is for fences */
    uint64_t used_bytes;
    uint64_t page_bytes;
    enum hg_iova iova;
    bool fenced;            /* debug builds put marks around allocations, and check them */
    int node;               /* -1: none was named */
    uint64_t *page_iova;    /* of each page, for physical addresses; else NULL */
    uint64_t account_bytes; /* what used_bytes would be without fences */

    /* Address space: the arena, what aligns it, and a guard page on either side. */
    void *reserved;
    uint64_t reserved_bytes;

    struct hg_allocation *allocation;
    unsigned allocation_n;
    unsigned allocation_max;

    struct hg_arena *next; /* in the list of all; guarded by its lock */
};

/* Puts an arena into the list of all and has it mapped by every mapper. 0, or what a mapper
 * returned with *err; then it is not in the list and no mapper holds it. */
int hg_arenas_add(struct hg_arena *arena, struct hg_err *err);

/* Has it unmapped by every mapper and takes it out. */
void hg_arenas_remove(struct hg_arena *arena);

#endif
