/*
 * The routes of an IPv4 table as they were given: a hash table by prefix and depth, with linear
 * probing. Control alone uses it.
 */
#ifndef HG_TABLE_LPM4_ROUTES_H
#define HG_TABLE_LPM4_ROUTES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bits.h"
#include "table/lpm4.h"

/* A slot: 0 when free, else prefix in bits 32-63, HG_LPM4_ROUTE_USED, depth in 16-23, next hop in
 * 0-15. */
#define HG_LPM4_ROUTE_USED (UINT64_C(1) << 31)

struct hg_lpm4_routes {
    uint64_t *slot;
    uint64_t mask;  /* slots - 1, a power of two of which at most three quarters are in use */
    unsigned shift; /* 64 - log2(slots) */
    uint32_t n;
    uint32_t max;
    uint32_t depth_n[HG_LPM4_DEPTH_MAX +
                     1]; /* routes of each depth: where there are none, nobody looks */
};

/* The slots that `max` routes need. */
static inline uint64_t hg_lpm4_routes_slots(uint32_t max)
{
    uint64_t slots = 16;

    while (slots * 3 / 4 < max)
        slots *= 2;
    return slots;
}

/* Over slots that are all 0, as many as hg_lpm4_routes_slots() says. */
void hg_lpm4_routes_init(struct hg_lpm4_routes *routes, uint64_t *slot, uint32_t max);

/* The route's slot, or NULL. Its next hop may be changed in place. */
uint64_t *hg_lpm4_routes_find(const struct hg_lpm4_routes *routes, uint32_t prefix, unsigned depth);

/* Adds one that is not there; there is room. */
void hg_lpm4_routes_insert(struct hg_lpm4_routes *routes, uint32_t prefix, unsigned depth,
                           uint16_t next_hop);

/* Removes what hg_lpm4_routes_find() has found. */
void hg_lpm4_routes_remove(struct hg_lpm4_routes *routes, const uint64_t *slot);

/* The longest route that covers `prefix` and is shorter than `depth`, or NULL. */
const uint64_t *hg_lpm4_routes_cover(const struct hg_lpm4_routes *routes, uint32_t prefix,
                                     unsigned depth);

void hg_lpm4_routes_clear(struct hg_lpm4_routes *routes);

static inline struct hg_lpm4_route hg_lpm4_route_of(uint64_t slot)
{
    return (struct hg_lpm4_route){
        .prefix = (uint32_t)(slot >> 32),
        .depth = (uint8_t)(slot >> 16),
        .next_hop = (uint16_t)slot,
    };
}

/* The first `depth` bits of an address. */
static inline uint32_t hg_lpm4_mask(unsigned depth)
{
    return depth == 0 ? 0 : UINT32_MAX << (32 - depth);
}

#endif
