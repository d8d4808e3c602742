/*
 * Marks that debug builds leave in memory which nobody may write, to find out who did.
 */
#ifndef HG_MEM_MARK_H
#define HG_MEM_MARK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    HG_MARK_FENCE = 0xfd, /* between allocations, behind objects */
    HG_MARK_FREE = 0xdd,  /* what was given back */
    HG_MARK_FRESH = 0xcd, /* what was just taken, where the contents are undefined */
};

/* The first of n bytes that is not `mark`; NULL: all are. */
static inline const uint8_t *hg_mark_broken(const uint8_t *from, size_t n, uint8_t mark)
{
    if (n == 0 || (from[0] == mark && memcmp(from, from + 1, n - 1) == 0))
        return NULL;
    while (*from == mark)
        from++;
    return from;
}

#endif
