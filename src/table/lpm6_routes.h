/*
 * The routes of an IPv6 table as they were given: a hash table by prefix and depth, with linear
 * probing, like that of lpm4_routes.h. Control alone uses it.
 */
#ifndef HG_TABLE_LPM6_ROUTES_H
#define HG_TABLE_LPM6_ROUTES_H

#include <stdbool.h>
#include <stdint.h>

#include "table/lpm6.h"

/* An address or a prefix as two numbers, the first byte on the wire uppermost. */
struct hg_lpm6_key {
    uint64_t high;
    uint64_t low;
};

struct hg_lpm6_slot {
    struct hg_lpm6_key prefix;
    uint8_t used;
    uint8_t depth;
    uint16_t next_hop;
};

struct hg_lpm6_routes {
    struct hg_lpm6_slot *slot;
    uint64_t mask;  /* slots - 1, a power of two of which at most three quarters are in use */
    unsigned shift; /* 64 - log2(slots) */
    uint32_t n;
    uint32_t max;
    uint32_t depth_n[HG_LPM6_DEPTH_MAX +
                     1]; /* routes of each depth: where there are none, nobody looks */
};

/* The slots that `max` routes need. */
static inline uint64_t hg_lpm6_routes_slots(uint32_t max)
{
    uint64_t slots = 16;

    while (slots * 3 / 4 < max)
        slots *= 2;
    return slots;
}

/* The first `bits` bits of a key, at most 128. */
static inline struct hg_lpm6_key hg_lpm6_cut(struct hg_lpm6_key key, unsigned bits)
{
    key.high = bits == 0 ? 0 : bits >= 64 ? key.high : key.high & UINT64_MAX << (64 - bits);
    key.low = bits <= 64 ? 0 : key.low & UINT64_MAX << (128 - bits);
    return key;
}

/* Over slots that are all 0, as many as hg_lpm6_routes_slots() says. */
void hg_lpm6_routes_init(struct hg_lpm6_routes *routes, struct hg_lpm6_slot *slot, uint32_t max);

/* The route, or NULL. Its next hop may be changed in place. */
struct hg_lpm6_slot *hg_lpm6_routes_find(const struct hg_lpm6_routes *routes,
                                         struct hg_lpm6_key prefix, unsigned depth);

/* Adds one that is not there; there is room. */
void hg_lpm6_routes_insert(struct hg_lpm6_routes *routes, struct hg_lpm6_key prefix, unsigned depth,
                           uint16_t next_hop);

/* Removes what hg_lpm6_routes_find() has found. */
void hg_lpm6_routes_remove(struct hg_lpm6_routes *routes, const struct hg_lpm6_slot *slot);

/* The longest route that covers `prefix` and is shorter than `depth`, or NULL. */
const struct hg_lpm6_slot *hg_lpm6_routes_cover(const struct hg_lpm6_routes *routes,
                                                struct hg_lpm6_key prefix, unsigned depth);

void hg_lpm6_routes_clear(struct hg_lpm6_routes *routes);

#endif
