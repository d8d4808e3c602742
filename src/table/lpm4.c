/*
 * Longest-prefix match for IPv4.
 *
 * An entry of either level is 16 bits: a next hop, HG_LPM4_NONE, or, in the first level and above
 * that, the number of a group. Beside each entry stands, in memory that no reader touches, the
 * depth of the route that it stems from. A route is added by storing to the entries below its
 * prefix that stem from a route not longer than it, and removed by storing the next shorter route
 * to those that stem from exactly its depth: there can be only one such route above an entry. That
 * one is found among the routes.
 *
 * Readers see single stores of 16 bits, so each address goes from one route to the other at once. A
 * group is filled before its number is stored with release. When its last route longer than 24 bits
 * goes, the entry of the first level takes back what all 256 entries hold by then, and the group
 * waits: a reader may still be on its way to it. It is used again after a grace period, one for all
 * that have gathered until no other group is free, so that nobody waits for each removal.
 */
#include "table/lpm4.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/bits.h"
#include "mem/arena.h"
#include "sync/qsbr.h"
#include "table/lpm4_routes.h"

enum {
    FIRST_BITS = 24,
    FIRST_N = 1 << FIRST_BITS,
    GROUP_N = 256,                 /* entries of a group */
    GROUP_BASE = HG_LPM4_NONE + 1, /* the entry that names group 0 */
    ROUTES_DEFAULT = 1 << 20,
    BULK_N = 32, /* more than a core has misses under way at a time */

    /* Depths of entries are stored plus one. */
    DEPTH_NONE = 0,
    DEPTH_GROUP = 0xff, /* of an entry of the first level: see the group's */
};

struct table {
    struct hg_lpm4 seen;
    uint8_t *first_depth;
    uint8_t *group_depth;
    uint16_t *group_route_n; /* routes longer than 24 bits */
    uint32_t group_max;
    /* group_max numbers: free groups from the start, those that wait from the end */
    uint16_t *idle;
    uint32_t free_n;
    uint32_t wait_n;
    struct hg_lpm4_routes routes;
};

/* What becomes of entries: those whose depth is from `lowest` to `highest` get another. Depths plus
 * one. */
struct change {
    uint8_t lowest;
    uint8_t highest;
    uint8_t depth;
    uint16_t entry;
};

static struct table *table_of(struct hg_lpm4 *lpm)
{
    return hg_container_of(lpm, struct table, seen);
}

static const struct table *const_table_of(const struct hg_lpm4 *lpm)
{
    return hg_container_of(lpm, const struct table, seen);
}

static struct hg_lpm4_options with_defaults(const struct hg_lpm4_options *options)
{
    struct hg_lpm4_options all = {0};

    if (options != NULL)
        all = *options;
    if (all.routes_max == 0)
        all.routes_max = ROUTES_DEFAULT;
    if (all.groups_max == 0)
        all.groups_max = HG_LPM4_GROUPS_MAX;
    return all;
}

/* The parts of a table, in the order in which they lie in its one allocation. */
enum part { HEAD, FIRST, GROUPS, FIRST_DEPTH, GROUP_DEPTH, GROUP_ROUTES, IDLE, ROUTES, PARTS_N };

/* Where each part starts, and at [PARTS_N] the end. */
static void lay_out(uint64_t at[PARTS_N + 1], const struct hg_lpm4_options *options)
{
    uint64_t groups = options->groups_max;
    uint64_t bytes[PARTS_N] = {
        [HEAD] = sizeof(struct table),
        [FIRST] = FIRST_N * sizeof(uint16_t),
        [GROUPS] = groups * GROUP_N * sizeof(uint16_t),
        [FIRST_DEPTH] = FIRST_N,
        [GROUP_DEPTH] = groups * GROUP_N,
        [GROUP_ROUTES] = groups * sizeof(uint16_t),
        [IDLE] = groups * sizeof(uint16_t),
        [ROUTES] = hg_lpm4_routes_slots(options->routes_max) * sizeof(uint64_t),
    };

    at[0] = 0;
    for (unsigned part = 0; part < PARTS_N; part++)
        at[part + 1] = at[part] + hg_round_up(bytes[part], HG_CACHE_LINE_BYTES);
}

uint64_t hg_lpm4_bytes(const struct hg_lpm4_options *options)
{
    struct hg_lpm4_options all = with_defaults(options);
    uint64_t at[PARTS_N + 1];

    lay_out(at, &all);
    return at[PARTS_N] + HG_CACHE_LINE_BYTES; /* to align it */
}

static void store(_Atomic(uint16_t) *entry, uint16_t value)
{
    atomic_store_explicit(entry, value, memory_order_relaxed);
}

/* Control's own view of what it has stored. */
static uint16_t load(const _Atomic(uint16_t) *entry)
{
    return atomic_load_explicit(entry, memory_order_relaxed);
}

static void empty(struct table *table)
{
    for (uint32_t i = 0; i < FIRST_N; i++)
        store(&table->seen.first[i], HG_LPM4_NONE);
    memset(table->first_depth, DEPTH_NONE, FIRST_N);
}

static int check_options(const struct hg_lpm4_options *options, struct hg_err *err)
{
    if (options->routes_max > HG_LPM4_ROUTES_MAX)
        return hg_err_set(err, EINVAL,
                          "a routing table of %" PRIu32 " IPv4 routes; expected at most %d",
                          options->routes_max, HG_LPM4_ROUTES_MAX);
    if (options->groups_max > HG_LPM4_GROUPS_MAX)
        return hg_err_set(err, EINVAL,
                          "a routing table with %" PRIu32 " groups for routes longer than 24 bits; "
                          "expected at most %d",
                          options->groups_max, HG_LPM4_GROUPS_MAX);
    return 0;
}

int hg_lpm4_new(struct hg_lpm4 **lpm, struct hg_arena *arena, const struct hg_lpm4_options *options,
                struct hg_err *err)
{
    struct hg_lpm4_options all = with_defaults(options);
    uint64_t at[PARTS_N + 1];
    struct table *table;
    uint8_t *memory;
    int rc = check_options(&all, err);

    if (rc < 0)
        return rc;
    lay_out(at, &all);
    memory = hg_arena_take(arena, "lpm4", at[PARTS_N], HG_CACHE_LINE_BYTES);
    if (memory == NULL)
        return hg_err_set(err, ENOMEM,
                          "a routing table of %" PRIu32 " IPv4 routes needs %" PRIu64
                          " bytes, the arena '%s' has less",
                          all.routes_max, at[PARTS_N], hg_arena_info(arena).name);
    table = (void *)(memory + at[HEAD]);
    table->seen.first = (void *)(memory + at[FIRST]);
    table->seen.group = (void *)(memory + at[GROUPS]);
    table->first_depth = memory + at[FIRST_DEPTH];
    table->group_depth = memory + at[GROUP_DEPTH];
    table->group_route_n = (void *)(memory + at[GROUP_ROUTES]);
    table->idle = (void *)(memory + at[IDLE]);
    table->group_max = all.groups_max;
    hg_lpm4_routes_init(&table->routes, (void *)(memory + at[ROUTES]), all.routes_max);
    for (table->free_n = 0; table->free_n < table->group_max; table->free_n++)
        table->idle[table->free_n] = (uint16_t)(table->group_max - 1 - table->free_n);
    empty(table);
    *lpm = &table->seen;
    return 0;
}

/* Applies a change to n entries that are not groups. */
static inline void change_group(struct table *table, unsigned group, unsigned start, unsigned n,
                                struct change change)
{
    for (unsigned i = group * GROUP_N + start; n-- > 0; i++) {
        if (table->group_depth[i] < change.lowest || table->group_depth[i] > change.highest)
            continue;
        table->group_depth[i] = change.depth;
        store(&table->seen.group[i], change.entry);
    }
}

static unsigned group_of(const struct table *table, uint32_t first)
{
    return load(&table->seen.first[first]) - (unsigned)GROUP_BASE;
}

/* Applies a change to every address below prefix/depth. */
static void apply(struct table *table, uint32_t prefix, unsigned depth, struct change change)
{
    uint32_t first = prefix >> 8;
    uint32_t end;

    if (depth > FIRST_BITS) {
        change_group(table, group_of(table, first), prefix & 0xff, 1u << (32 - depth), change);
        return;
    }
    end = first + (1u << (FIRST_BITS - depth));
    for (; first < end; first++) {
        uint8_t now = table->first_depth[first];

        if (now >= change.lowest && now <= change.highest) {
            table->first_depth[first] = change.depth;
            store(&table->seen.first[first], change.entry);
        } else if (now == DEPTH_GROUP) {
            change_group(table, group_of(table, first), 0, GROUP_N, change);
        }
    }
}

/* A group that no reader can be in any more, or -ENOSPC. */
static int take_group(struct table *table)
{
    if (table->free_n == 0 && table->wait_n > 0) {
        hg_qsbr_wait();
        memmove(table->idle, table->idle + table->group_max - table->wait_n,
                table->wait_n * sizeof(table->idle[0]));
        table->free_n = table->wait_n;
        table->wait_n = 0;
    }
    return table->free_n > 0 ? table->idle[--table->free_n] : -ENOSPC;
}

static void give_group(struct table *table, unsigned group)
{
    table->idle[table->group_max - ++table->wait_n] = (uint16_t)group;
}

/* Makes sure that an entry of the first level has a group. 0 or -ENOSPC. */
static int open_group(struct table *table, uint32_t first)
{
    uint16_t entry = load(&table->seen.first[first]);
    int group;

    if (table->first_depth[first] == DEPTH_GROUP)
        return 0;
    group = take_group(table);
    if (group < 0)
        return group;
    memset(&table->group_depth[group * GROUP_N], table->first_depth[first], GROUP_N);
    for (unsigned i = 0; i < GROUP_N; i++)
        store(&table->seen.group[group * GROUP_N + (int)i], entry);
    table->group_route_n[group] = 0;
    table->first_depth[first] = DEPTH_GROUP;
    /* Pairs with the acquire in hg_lpm4_lookup_group(). */
    atomic_store_explicit(&table->seen.first[first], (uint16_t)(GROUP_BASE + group),
                          memory_order_release);
    return 0;
}

/* Without routes of its own a group has 256 times the same entry, which goes back to the first
 * level. */
static void close_group(struct table *table, uint32_t first)
{
    unsigned group = group_of(table, first);

    table->first_depth[first] = table->group_depth[group * GROUP_N];
    store(&table->seen.first[first], load(&table->seen.group[group * GROUP_N]));
    give_group(table, group);
}

static int check_route(uint32_t prefix, unsigned depth, uint16_t next_hop, struct hg_err *err)
{
    if (depth > HG_LPM4_DEPTH_MAX)
        return hg_err_set(err, EINVAL, "a route of %u bits: an IPv4 address has 32", depth);
    if ((prefix & ~hg_lpm4_mask(depth)) != 0)
        return hg_err_set(err, EINVAL, "route %u.%u.%u.%u/%u: it has bits behind its depth",
                          prefix >> 24, prefix >> 16 & 0xff, prefix >> 8 & 0xff, prefix & 0xff,
                          depth);
    if (next_hop > HG_LPM4_NEXT_HOP_MAX)
        return hg_err_set(err, EINVAL, "next hop %u: the largest number is %d", next_hop,
                          HG_LPM4_NEXT_HOP_MAX);
    return 0;
}

int hg_lpm4_add(struct hg_lpm4 *lpm, uint32_t prefix, unsigned depth, uint16_t next_hop,
                struct hg_err *err)
{
    struct table *table = table_of(lpm);
    int rc = check_route(prefix, depth, next_hop, err);
    uint64_t *route;

    if (rc < 0)
        return rc;
    route = hg_lpm4_routes_find(&table->routes, prefix, depth);
    if (route != NULL) {
        *route = (*route & ~UINT64_C(0xffff)) | next_hop;
    } else {
        if (table->routes.n == table->routes.max)
            return hg_err_set(err, ENOSPC, "the routing table is full: it has %" PRIu32 " routes",
                              table->routes.n);
        if (depth > FIRST_BITS && open_group(table, prefix >> 8) < 0)
            return hg_err_set(err, ENOSPC,
                              "all %" PRIu32 " groups for routes longer than 24 bits are in use",
                              table->group_max);
        if (depth > FIRST_BITS)
            table->group_route_n[group_of(table, prefix >> 8)]++;
        hg_lpm4_routes_insert(&table->routes, prefix, depth, next_hop);
    }
    apply(table, prefix, depth,
          (struct change){DEPTH_NONE, (uint8_t)(depth + 1), (uint8_t)(depth + 1), next_hop});
    return 0;
}

int hg_lpm4_delete(struct hg_lpm4 *lpm, uint32_t prefix, unsigned depth)
{
    struct table *table = table_of(lpm);
    uint64_t *route = NULL;
    const uint64_t *cover;
    struct change change = {(uint8_t)(depth + 1), (uint8_t)(depth + 1), DEPTH_NONE, HG_LPM4_NONE};

    if (depth <= HG_LPM4_DEPTH_MAX)
        route = hg_lpm4_routes_find(&table->routes, prefix, depth);
    if (route == NULL)
        return -ENOENT;
    hg_lpm4_routes_remove(&table->routes, route);
    cover = hg_lpm4_routes_cover(&table->routes, prefix, depth);
    if (cover != NULL) {
        change.depth = (uint8_t)(hg_lpm4_route_of(*cover).depth + 1);
        change.entry = hg_lpm4_route_of(*cover).next_hop;
    }
    apply(table, prefix, depth, change);
    if (depth > FIRST_BITS && --table->group_route_n[group_of(table, prefix >> 8)] == 0)
        close_group(table, prefix >> 8);
    return 0;
}

void hg_lpm4_clear(struct hg_lpm4 *lpm)
{
    struct table *table = table_of(lpm);

    for (uint32_t i = 0; i < FIRST_N; i++)
        if (table->first_depth[i] == DEPTH_GROUP)
            give_group(table, group_of(table, i));
    empty(table);
    hg_lpm4_routes_clear(&table->routes);
}

uint16_t hg_lpm4_get(const struct hg_lpm4 *lpm, uint32_t prefix, unsigned depth)
{
    const struct table *table = const_table_of(lpm);
    const uint64_t *route = NULL;

    if (depth <= HG_LPM4_DEPTH_MAX)
        route = hg_lpm4_routes_find(&table->routes, prefix, depth);
    return route != NULL ? hg_lpm4_route_of(*route).next_hop : (uint16_t)HG_LPM4_NONE;
}

void hg_lpm4_each(const struct hg_lpm4 *lpm, bool (*each)(const struct hg_lpm4_route *, void *),
                  void *ctx)
{
    const struct hg_lpm4_routes *routes = &const_table_of(lpm)->routes;

    for (uint64_t i = 0; i <= routes->mask; i++) {
        struct hg_lpm4_route route = hg_lpm4_route_of(routes->slot[i]);

        if (routes->slot[i] != 0 && !each(&route, ctx))
            return;
    }
}

struct hg_lpm4_info hg_lpm4_info(const struct hg_lpm4 *lpm)
{
    const struct table *table = const_table_of(lpm);

    return (struct hg_lpm4_info){
        .routes_n = table->routes.n,
        .groups_n = table->group_max - table->free_n - table->wait_n,
    };
}

/* Up to BULK_N addresses. The entries are asked for first: n independent misses, and no branch in
 * between that could be mispredicted. Into the second-level cache, where there is room for more of
 * them under way. */
static inline void lookup(const struct hg_lpm4 *lpm, const uint32_t *address, uint16_t *next_hop,
                          unsigned n)
{
    unsigned ored = 0;

    for (unsigned i = 0; i < n; i++)
        hg_lpm4_prefetch(lpm, address[i]);
    for (unsigned i = 0; i < n; i++) {
        next_hop[i] = load(&lpm->first[address[i] >> 8]);
        ored |= next_hop[i];
    }
    if (hg_likely(ored <= HG_LPM4_NONE)) /* a mask of ones: no group's number is below */
        return;
    for (unsigned i = 0; i < n; i++)
        if (next_hop[i] > HG_LPM4_NONE)
            next_hop[i] = hg_lpm4_lookup_group(lpm, address[i]);
}

void hg_lpm4_lookup_bulk(const struct hg_lpm4 *lpm, const uint32_t *address, uint16_t *next_hop,
                         unsigned n)
{
    for (; n >= BULK_N; n -= BULK_N, address += BULK_N, next_hop += BULK_N)
        lookup(lpm, address, next_hop, BULK_N);
    lookup(lpm, address, next_hop, n);
}
