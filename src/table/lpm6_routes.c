#include "table/lpm6_routes.h"

#include <string.h>

/* Where the search for a route starts. The factors are odd and otherwise arbitrary (digits of the
 * golden ratio, of pi and of the square root of 3). */
static uint64_t home(const struct hg_lpm6_routes *routes, struct hg_lpm6_key prefix, unsigned depth)
{
    uint64_t hash = (prefix.high ^ depth) * UINT64_C(0x9e3779b97f4a7c15);

    hash = (hash ^ hash >> 32 ^ prefix.low) * UINT64_C(0x243f6a8885a308d3);
    return (hash ^ hash >> 29) * UINT64_C(0xbb67ae8584caa73b) >> routes->shift;
}

/* The route's slot, or the free one where it belongs. A quarter of the slots is free, so the search
 * ends. */
static struct hg_lpm6_slot *probe(const struct hg_lpm6_routes *routes, struct hg_lpm6_key prefix,
                                  unsigned depth)
{
    uint64_t at = home(routes, prefix, depth);

    for (;; at = (at + 1) & routes->mask) {
        struct hg_lpm6_slot *slot = &routes->slot[at];

        if (!slot->used || (slot->depth == depth && slot->prefix.high == prefix.high &&
                            slot->prefix.low == prefix.low))
            return slot;
    }
}

void hg_lpm6_routes_init(struct hg_lpm6_routes *routes, struct hg_lpm6_slot *slot, uint32_t max)
{
    uint64_t slots = hg_lpm6_routes_slots(max);

    *routes = (struct hg_lpm6_routes){
        .mask = slots - 1,
        .shift = 64 - (unsigned)__builtin_ctzll(slots),
        .max = max,
    };
    routes->slot = slot;
}

struct hg_lpm6_slot *hg_lpm6_routes_find(const struct hg_lpm6_routes *routes,
                                         struct hg_lpm6_key prefix, unsigned depth)
{
    struct hg_lpm6_slot *slot;

    if (routes->depth_n[depth] == 0)
        return NULL;
    slot = probe(routes, prefix, depth);
    return slot->used ? slot : NULL;
}

void hg_lpm6_routes_insert(struct hg_lpm6_routes *routes, struct hg_lpm6_key prefix, unsigned depth,
                           uint16_t next_hop)
{
    *probe(routes, prefix, depth) = (struct hg_lpm6_slot){
        .prefix = prefix, .used = 1, .depth = (uint8_t)depth, .next_hop = next_hop};
    routes->depth_n[depth]++;
    routes->n++;
}

void hg_lpm6_routes_remove(struct hg_lpm6_routes *routes, const struct hg_lpm6_slot *slot)
{
    uint64_t hole = (uint64_t)(slot - routes->slot);

    routes->depth_n[slot->depth]--;
    routes->n--;
    /* Whatever was pushed over the hole moves back, as in lpm4_routes.c. */
    for (uint64_t at = (hole + 1) & routes->mask; routes->slot[at].used;
         at = (at + 1) & routes->mask) {
        const struct hg_lpm6_slot *pushed = &routes->slot[at];
        uint64_t from_home = (at - home(routes, pushed->prefix, pushed->depth)) & routes->mask;

        if (from_home < ((at - hole) & routes->mask))
            continue; /* its home lies behind the hole */
        routes->slot[hole] = *pushed;
        hole = at;
    }
    routes->slot[hole].used = 0;
}

const struct hg_lpm6_slot *hg_lpm6_routes_cover(const struct hg_lpm6_routes *routes,
                                                struct hg_lpm6_key prefix, unsigned depth)
{
    while (depth-- > 0) {
        const struct hg_lpm6_slot *slot =
            hg_lpm6_routes_find(routes, hg_lpm6_cut(prefix, depth), depth);

        if (slot != NULL)
            return slot;
    }
    return NULL;
}

void hg_lpm6_routes_clear(struct hg_lpm6_routes *routes)
{
    memset(routes->slot, 0, (routes->mask + 1) * sizeof(routes->slot[0]));
    memset(routes->depth_n, 0, sizeof(routes->depth_n));
    routes->n = 0;
}
