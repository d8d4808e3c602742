/*
 * Longest-prefix match for IPv4: from a destination address to a next hop, in one access to memory,
 * two for addresses with routes longer than 24 bits.
 *
 * The table is DIR-24-8 (Gupta, Lin, McKeown: Routing lookups in hardware at memory access speeds,
 * INFOCOM 1998): an entry for each of the 2^24 leading parts of an address, and groups of 256
 * entries for those that have longer routes. Entries are 16 bits, so the first level is 32 MiB:
 * what a look-up waits for is a cache line of it, and half the bytes are found in a cache more
 * often (docs/decisions/0016-routing-tables.md).
 *
 * Who may do what at once: one control thread changes the table, any number of readers look up
 * without locks or stores. A reader is a reader in the sense of sync/qsbr.h: it registers, and
 * passes a quiescent state between bursts. For each address a look-up answers with the route before
 * a change or with the one after it, never with anything else; addresses under one prefix change
 * one after another.
 *
 * All memory is taken at creation, from an arena; that of two-megabyte pages is what makes the
 * table fast. Addresses and prefixes are numbers in host order.
 */
#ifndef HG_TABLE_LPM4_H
#define HG_TABLE_LPM4_H

#include <stdbool.h>
#include <stdint.h>

#include "base/api.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/err.h"

enum {
    HG_LPM4_DEPTH_MAX = 32,
    HG_LPM4_NEXT_HOP_MAX = 0x3ffe, /* next hops are numbers from 0 to this */
    HG_LPM4_NONE = 0x3fff,         /* what a look-up says where no route matches */
    HG_LPM4_GROUPS_MAX = 0xc000,   /* the other numbers of 16 bits */
    HG_LPM4_ROUTES_MAX = 1 << 27,
};

struct hg_arena;

HG_API_BEGIN

struct hg_lpm4_options {
    uint32_t routes_max; /* 0: 1,048,576 */
    /* /24s that have routes longer than 24 bits; 0: as many as there can be, 49,152 */
    uint32_t groups_max;
};

/* The part of a table that readers see; the rest is lpm4.c's. Internal: use the functions. */
struct hg_lpm4 {
    _Atomic(uint16_t) *first; /* 2^24 entries */
    _Atomic(uint16_t) *group; /* of 256 entries each */
};

/* Bytes that hg_lpm4_new() takes of an arena: 48 MiB, 16 to 43 for each route, and 768 for each
 * group. Any thread. */
uint64_t hg_lpm4_bytes(const struct hg_lpm4_options *options);

/*
 * Makes an empty table. It lives as long as the arena; there is nothing else to free. NULL options
 * mean the defaults. Returns 0 or a negative errno with *err: -EINVAL for a number above its
 * maximum, -ENOMEM when the arena has no room. Control.
 */
int hg_lpm4_new(struct hg_lpm4 **lpm, struct hg_arena *arena, const struct hg_lpm4_options *options,
                struct hg_err *err);

/*
 * Adds the route prefix/depth, or gives it another next hop. Returns 0 or a negative errno with
 * *err, and then nothing has changed: -EINVAL for a depth above 32, a prefix with bits behind its
 * depth, or a next hop above HG_LPM4_NEXT_HOP_MAX; -ENOSPC when there are routes_max routes, or
 * groups_max groups, already. Control; may wait for a grace period, when only groups given up
 * lately are left.
 */
int hg_lpm4_add(struct hg_lpm4 *lpm, uint32_t prefix, unsigned depth, uint16_t next_hop,
                struct hg_err *err);

/* Removes the route prefix/depth; the next shorter one takes its place. Returns 0, or -ENOENT when
 * there is no such route. Control; never waits. */
int hg_lpm4_delete(struct hg_lpm4 *lpm, uint32_t prefix, unsigned depth);

/* Removes every route. Control; never waits. */
void hg_lpm4_clear(struct hg_lpm4 *lpm);

/* The next hop of the route prefix/depth itself, HG_LPM4_NONE when there is no such route.
 * Control. */
uint16_t hg_lpm4_get(const struct hg_lpm4 *lpm, uint32_t prefix, unsigned depth);

struct hg_lpm4_route {
    uint32_t prefix;
    uint8_t depth;
    uint16_t next_hop;
};

/* Calls `each` for every route, in no order, until it returns false. It must not change the table.
 * Control. */
void hg_lpm4_each(const struct hg_lpm4 *lpm, bool (*each)(const struct hg_lpm4_route *, void *),
                  void *ctx);

struct hg_lpm4_info {
    uint32_t routes_n;
    uint32_t groups_n; /* in use; those given up lately not counted */
};

struct hg_lpm4_info hg_lpm4_info(const struct hg_lpm4 *lpm);

/* The answer of a group, read again with acquire: pairs with the release by which hg_lpm4_add()
 * publishes a group that it has filled. Internal. */
static inline uint16_t hg_lpm4_lookup_group(const struct hg_lpm4 *lpm, uint32_t address)
{
    uint16_t entry = atomic_load_explicit(&lpm->first[address >> 8], memory_order_acquire);

    if (hg_unlikely(entry <= HG_LPM4_NONE)) /* the group went meanwhile */
        return entry;
    return atomic_load_explicit(&lpm->group[(entry - HG_LPM4_NONE - 1u) << 8 | (address & 0xff)],
                                memory_order_relaxed);
}

/* The next hop for an address, or HG_LPM4_NONE. Readers. */
static inline uint16_t hg_lpm4_lookup(const struct hg_lpm4 *lpm, uint32_t address)
{
    uint16_t entry = atomic_load_explicit(&lpm->first[address >> 8], memory_order_relaxed);

    return hg_likely(entry <= HG_LPM4_NONE) ? entry : hg_lpm4_lookup_group(lpm, address);
}

/* Asks for what a look-up of the address is going to read, for who has other work until then.
 * Readers. */
static inline void hg_lpm4_prefetch(const struct hg_lpm4 *lpm, uint32_t address)
{
    __builtin_prefetch((const void *)&lpm->first[address >> 8], 0, 2);
}

/*
 * Looks up n addresses, of which all accesses to memory are under way together: what packets use, a
 * burst at a time. Any n; it works on 32 at a time. Readers.
 */
void hg_lpm4_lookup_bulk(const struct hg_lpm4 *lpm, const uint32_t *address, uint16_t *next_hop,
                         unsigned n);

HG_API_END

#endif
