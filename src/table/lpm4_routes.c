#include "table/lpm4_routes.h"

#include <string.h>

/* Everything of a slot but the next hop. */
#define KEY_MASK (~UINT64_C(0xffff))

static uint64_t make_key(uint32_t prefix, unsigned depth)
{
    return (uint64_t)prefix << 32 | HG_LPM4_ROUTE_USED | (uint64_t)depth << 16;
}

/* Where the search for a key starts. The upper bits of a product depend on all bits below them; the
 * factor is odd and otherwise arbitrary (digits of the golden ratio). */
static uint64_t home(const struct hg_lpm4_routes *routes, uint64_t key)
{
    key ^= key >> 32;
    return key * UINT64_C(0x9e3779b97f4a7c15) >> routes->shift;
}

/* The key's slot, or the free one where it belongs. A quarter of the slots is free, so the search
 * ends. */
static uint64_t *probe(const struct hg_lpm4_routes *routes, uint64_t key)
{
    uint64_t at = home(routes, key);

    while (routes->slot[at] != 0 && (routes->slot[at] & KEY_MASK) != key)
        at = (at + 1) & routes->mask;
    return &routes->slot[at];
}

void hg_lpm4_routes_init(struct hg_lpm4_routes *routes, uint64_t *slot, uint32_t max)
{
    uint64_t slots = hg_lpm4_routes_slots(max);

    *routes = (struct hg_lpm4_routes){
        .mask = slots - 1,
        .shift = 64 - (unsigned)__builtin_ctzll(slots),
        .max = max,
    };
    routes->slot = slot;
}

uint64_t *hg_lpm4_routes_find(const struct hg_lpm4_routes *routes, uint32_t prefix, unsigned depth)
{
    uint64_t *slot;

    if (routes->depth_n[depth] == 0)
        return NULL;
    slot = probe(routes, make_key(prefix, depth));
    return *slot != 0 ? slot : NULL;
}

void hg_lpm4_routes_insert(struct hg_lpm4_routes *routes, uint32_t prefix, unsigned depth,
                           uint16_t next_hop)
{
    uint64_t key = make_key(prefix, depth);

    *probe(routes, key) = key | next_hop;
    routes->depth_n[depth]++;
    routes->n++;
}

void hg_lpm4_routes_remove(struct hg_lpm4_routes *routes, const uint64_t *slot)
{
    uint64_t hole = (uint64_t)(slot - routes->slot);

    routes->depth_n[hg_lpm4_route_of(*slot).depth]--;
    routes->n--;
    /* Whatever was pushed over the hole moves back: every route stays reachable from its home, and
     * no slot has to remember that something was there. */
    for (uint64_t at = (hole + 1) & routes->mask; routes->slot[at] != 0;
         at = (at + 1) & routes->mask) {
        uint64_t from_home = (at - home(routes, routes->slot[at] & KEY_MASK)) & routes->mask;

        if (from_home < ((at - hole) & routes->mask))
            continue; /* its home lies behind the hole */
        routes->slot[hole] = routes->slot[at];
        hole = at;
    }
    routes->slot[hole] = 0;
}

const uint64_t *hg_lpm4_routes_cover(const struct hg_lpm4_routes *routes, uint32_t prefix,
                                     unsigned depth)
{
    while (depth-- > 0) {
        const uint64_t *slot = hg_lpm4_routes_find(routes, prefix & hg_lpm4_mask(depth), depth);

        if (slot != NULL)
            return slot;
    }
    return NULL;
}

void hg_lpm4_routes_clear(struct hg_lpm4_routes *routes)
{
    memset(routes->slot, 0, (routes->mask + 1) * sizeof(routes->slot[0]));
    memset(routes->depth_n, 0, sizeof(routes->depth_n));
    routes->n = 0;
}
