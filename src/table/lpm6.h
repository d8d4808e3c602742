/*
 * Longest-prefix match for IPv6: from a destination address to a next hop.
 *
 * The table is a trie that consumes four bits of the address at each node, behind a first level of
 * 2^16 entries. Bits on which no two routes differ have no node: a node carries the bits that lead
 * to it, and a look-up compares them where some have been left out. So the number of accesses to
 * memory follows the routes' number and nesting, not their length: a /128 among nothing else is
 * found with three.
 *
 * Who may do what at once: as in table/lpm4.h. One control thread changes the table; readers
 * (sync/qsbr.h) look up without locks or stores and see for each address the route before or after
 * a change.
 *
 * All memory is taken at creation, from an arena. Addresses and prefixes are 16 bytes as on the
 * wire, at any alignment. Next hops are the same numbers as in table/lpm4.h, so that both can point
 * into one table of neighbours.
 */
#ifndef HG_TABLE_LPM6_H
#define HG_TABLE_LPM6_H

#include <stdbool.h>
#include <stdint.h>

#include "base/api.h"
#include "base/err.h"

enum {
    HG_LPM6_DEPTH_MAX = 128,
    HG_LPM6_NEXT_HOP_MAX = 0x3ffe, /* next hops are numbers from 0 to this */
    HG_LPM6_NONE = 0x3fff,         /* what a look-up says where no route matches */
    HG_LPM6_NODES_MAX = 1 << 26,
    HG_LPM6_ROUTES_MAX = 1 << 27,
};

struct hg_arena;
struct hg_lpm6;

HG_API_BEGIN

struct hg_lpm6_options {
    uint32_t routes_max; /* 0: 262,144 */
    /* 0: routes_max. Twice the number of routes is always enough, a third to a tenth usual */
    uint32_t nodes_max;
};

/* Bytes that hg_lpm6_new() takes of an arena: 32 to 64 for each route, 188 for each node, 576 KiB.
 * Any thread. */
uint64_t hg_lpm6_bytes(const struct hg_lpm6_options *options);

/*
 * Makes an empty table. It lives as long as the arena; there is nothing else to free. NULL options
 * mean the defaults. Returns 0 or a negative errno with *err: -EINVAL for a number above its
 * maximum, -ENOMEM when the arena has no room. Control.
 */
int hg_lpm6_new(struct hg_lpm6 **lpm, struct hg_arena *arena, const struct hg_lpm6_options *options,
                struct hg_err *err);

/*
 * Adds the route prefix/depth, or gives it another next hop. Returns 0 or a negative errno with
 * *err, and then nothing has changed: -EINVAL for a depth above 128, a prefix with bits behind its
 * depth, or a next hop above HG_LPM6_NEXT_HOP_MAX; -ENOSPC when there are routes_max routes already,
 * or too few nodes. Control; may wait for a grace period, when only nodes given up lately are left.
 */
int hg_lpm6_add(struct hg_lpm6 *lpm, const uint8_t prefix[16], unsigned depth, uint16_t next_hop,
                struct hg_err *err);

/* Removes the route prefix/depth; the next shorter one takes its place. Returns 0, or -ENOENT when
 * there is no such route. Control; never waits. */
int hg_lpm6_delete(struct hg_lpm6 *lpm, const uint8_t prefix[16], unsigned depth);

/* Removes every route. Control; never waits. */
void hg_lpm6_clear(struct hg_lpm6 *lpm);

/* The next hop of the route prefix/depth itself, HG_LPM6_NONE when there is no such route.
 * Control. */
uint16_t hg_lpm6_get(const struct hg_lpm6 *lpm, const uint8_t prefix[16], unsigned depth);

struct hg_lpm6_route {
    uint8_t prefix[16];
    uint8_t depth;
    uint16_t next_hop;
};

/* Calls `each` for every route, in no order, until it returns false. It must not change the table.
 * Control. */
void hg_lpm6_each(const struct hg_lpm6 *lpm, bool (*each)(const struct hg_lpm6_route *, void *),
                  void *ctx);

struct hg_lpm6_info {
    uint32_t routes_n;
    uint32_t nodes_n; /* in use; those given up lately not counted */
};

struct hg_lpm6_info hg_lpm6_info(const struct hg_lpm6 *lpm);

/* The next hop for an address, or HG_LPM6_NONE. Readers. */
uint16_t hg_lpm6_lookup(const struct hg_lpm6 *lpm, const uint8_t address[16]);

/*
 * The same for n addresses, which go down together, a level at a time, so that their accesses to
 * memory are under way together. Any n; it works on 32 at a time. Readers.
 */
void hg_lpm6_lookup_bulk(const struct hg_lpm6 *lpm, const uint8_t (*address)[16],
                         uint16_t *next_hop, unsigned n);

HG_API_END

#endif
