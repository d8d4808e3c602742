#include "table/lpm6.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "mem/arena.h"
#include "table/lpm6_trie.h"

enum {
    ROUTES_DEFAULT = 1 << 18,
    BULK_N = 32,
};

static struct hg_lpm6_options with_defaults(const struct hg_lpm6_options *options)
{
    struct hg_lpm6_options all = {0};

    if (options != NULL)
        all = *options;
    if (all.routes_max == 0)
        all.routes_max = ROUTES_DEFAULT;
    if (all.nodes_max == 0)
        all.nodes_max = hg_min_u32(all.routes_max, HG_LPM6_NODES_MAX - 1);
    return all;
}

/* The parts of a table, in the order in which they lie in its one allocation. */
enum part { TABLE, FIRST, HEADS, ENTRIES, STATES, FIRST_DEPTH, ENTRY_DEPTH, IDLE, ROUTES, PARTS_N };

/* Where each part starts, and at [PARTS_N] the end. */
static void lay_out(uint64_t at[PARTS_N + 1], const struct hg_lpm6_options *options)
{
    uint64_t nodes = (uint64_t)options->nodes_max + 1; /* 0 is none */
    uint64_t bytes[PARTS_N] = {
        [TABLE] = sizeof(struct hg_lpm6),
        [FIRST] = HG_LPM6_FIRST_N * sizeof(uint64_t),
        [HEADS] = nodes * sizeof(struct hg_lpm6_head),
        [ENTRIES] = nodes * HG_LPM6_NODE_N * sizeof(uint64_t),
        [STATES] = nodes * sizeof(struct hg_lpm6_state),
        [FIRST_DEPTH] = HG_LPM6_FIRST_N,
        [ENTRY_DEPTH] = nodes * HG_LPM6_NODE_N,
        [IDLE] = nodes * sizeof(uint32_t),
        [ROUTES] = hg_lpm6_routes_slots(options->routes_max) * sizeof(struct hg_lpm6_slot),
    };

    at[0] = 0;
    for (unsigned part = 0; part < PARTS_N; part++)
        at[part + 1] = at[part] + hg_round_up(bytes[part], HG_CACHE_LINE_BYTES);
}

uint64_t hg_lpm6_bytes(const struct hg_lpm6_options *options)
{
    struct hg_lpm6_options all = with_defaults(options);
    uint64_t at[PARTS_N + 1];

    lay_out(at, &all);
    return at[PARTS_N] + HG_CACHE_LINE_BYTES; /* to align it */
}

static int check_options(const struct hg_lpm6_options *options, struct hg_err *err)
{
    if (options->routes_max > HG_LPM6_ROUTES_MAX)
        return hg_err_set(err, EINVAL,
                          "a routing table of %" PRIu32 " IPv6 routes; expected at most %d",
                          options->routes_max, HG_LPM6_ROUTES_MAX);
    if (options->nodes_max >= HG_LPM6_NODES_MAX)
        return hg_err_set(err, EINVAL,
                          "a routing table of %" PRIu32 " nodes; expected less than %d",
                          options->nodes_max, HG_LPM6_NODES_MAX);
    return 0;
}

int hg_lpm6_new(struct hg_lpm6 **lpm, struct hg_arena *arena, const struct hg_lpm6_options *options,
                struct hg_err *err)
{
    struct hg_lpm6_options all = with_defaults(options);
    uint64_t at[PARTS_N + 1];
    struct hg_lpm6 *made;
    uint8_t *memory;
    int rc = check_options(&all, err);

    if (rc < 0)
        return rc;
    lay_out(at, &all);
    memory = hg_arena_take(arena, "lpm6", at[PARTS_N], HG_CACHE_LINE_BYTES);
    if (memory == NULL)
        return hg_err_set(err, ENOMEM,
                          "a routing table of %" PRIu32 " IPv6 routes needs %" PRIu64
                          " bytes, the arena '%s' has less",
                          all.routes_max, at[PARTS_N], hg_arena_info(arena).name);
    made = (void *)(memory + at[TABLE]);
    made->first = (void *)(memory + at[FIRST]);
    made->head = (void *)(memory + at[HEADS]);
    made->entry = (void *)(memory + at[ENTRIES]);
    made->state = (void *)(memory + at[STATES]);
    made->first_depth = memory + at[FIRST_DEPTH];
    made->entry_depth = memory + at[ENTRY_DEPTH];
    made->idle = (void *)(memory + at[IDLE]);
    made->node_max = all.nodes_max;
    hg_lpm6_routes_init(&made->routes, (void *)(memory + at[ROUTES]), all.routes_max);
    for (made->free_n = 0; made->free_n < made->node_max; made->free_n++)
        made->idle[made->free_n] = made->node_max - made->free_n;
    hg_lpm6_trie_empty(made);
    *lpm = made;
    return 0;
}

static uint64_t load_be64(const uint8_t *p)
{
    uint64_t raw;

    memcpy(&raw, p, sizeof(raw));
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap64(raw) : raw;
}

static struct hg_lpm6_key key_of(const uint8_t address[16])
{
    return (struct hg_lpm6_key){load_be64(address), load_be64(address + 8)};
}

static int check_route(const uint8_t prefix[16], unsigned depth, uint16_t next_hop,
                       struct hg_err *err)
{
    struct hg_lpm6_key key = key_of(prefix);
    char text[INET6_ADDRSTRLEN] = "";

    if (depth > HG_LPM6_DEPTH_MAX)
        return hg_err_set(err, EINVAL, "a route of %u bits: an IPv6 address has 128", depth);
    if (hg_lpm6_cut(key, depth).high != key.high || hg_lpm6_cut(key, depth).low != key.low) {
        inet_ntop(AF_INET6, prefix, text, sizeof(text));
        return hg_err_set(err, EINVAL, "route %s/%u: it has bits behind its depth", text, depth);
    }
    if (next_hop > HG_LPM6_NEXT_HOP_MAX)
        return hg_err_set(err, EINVAL, "next hop %u: the largest number is %d", next_hop,
                          HG_LPM6_NEXT_HOP_MAX);
    return 0;
}

int hg_lpm6_add(struct hg_lpm6 *lpm, const uint8_t prefix[16], unsigned depth, uint16_t next_hop,
                struct hg_err *err)
{
    struct hg_lpm6_key key = key_of(prefix);
    int rc = check_route(prefix, depth, next_hop, err);
    struct hg_lpm6_slot *route;

    if (rc < 0)
        return rc;
    route = hg_lpm6_routes_find(&lpm->routes, key, depth);
    if (route == NULL && lpm->routes.n == lpm->routes.max)
        return hg_err_set(err, ENOSPC, "the routing table is full: it has %" PRIu32 " routes",
                          lpm->routes.n);
    if (hg_lpm6_trie_add(lpm, key, depth, next_hop, route == NULL) < 0)
        return hg_err_set(err, ENOSPC,
                          "the routing table is full: of its %" PRIu32
                          " nodes there are too few left for this route",
                          lpm->node_max);
    if (route == NULL)
        hg_lpm6_routes_insert(&lpm->routes, key, depth, next_hop);
    else
        route->next_hop = next_hop;
    return 0;
}

int hg_lpm6_delete(struct hg_lpm6 *lpm, const uint8_t prefix[16], unsigned depth)
{
    struct hg_lpm6_key key = key_of(prefix);
    const struct hg_lpm6_slot *route = NULL;

    if (depth <= HG_LPM6_DEPTH_MAX)
        route = hg_lpm6_routes_find(&lpm->routes, key, depth);
    if (route == NULL)
        return -ENOENT;
    hg_lpm6_routes_remove(&lpm->routes, route);
    hg_lpm6_trie_delete(lpm, key, depth, hg_lpm6_routes_cover(&lpm->routes, key, depth));
    return 0;
}

void hg_lpm6_clear(struct hg_lpm6 *lpm)
{
    hg_lpm6_trie_clear(lpm);
    hg_lpm6_routes_clear(&lpm->routes);
}

uint16_t hg_lpm6_get(const struct hg_lpm6 *lpm, const uint8_t prefix[16], unsigned depth)
{
    const struct hg_lpm6_slot *route = NULL;

    if (depth <= HG_LPM6_DEPTH_MAX)
        route = hg_lpm6_routes_find(&lpm->routes, key_of(prefix), depth);
    return route != NULL ? route->next_hop : (uint16_t)HG_LPM6_NONE;
}

void hg_lpm6_each(const struct hg_lpm6 *lpm, bool (*each)(const struct hg_lpm6_route *, void *),
                  void *ctx)
{
    for (uint64_t i = 0; i <= lpm->routes.mask; i++) {
        const struct hg_lpm6_slot *slot = &lpm->routes.slot[i];
        uint32_t word[4] = {
            htonl((uint32_t)(slot->prefix.high >> 32)), htonl((uint32_t)slot->prefix.high),
            htonl((uint32_t)(slot->prefix.low >> 32)), htonl((uint32_t)slot->prefix.low)};
        struct hg_lpm6_route route = {.depth = slot->depth, .next_hop = slot->next_hop};

        memcpy(route.prefix, word, sizeof(word));
        if (slot->used && !each(&route, ctx))
            return;
    }
}

struct hg_lpm6_info hg_lpm6_info(const struct hg_lpm6 *lpm)
{
    return (struct hg_lpm6_info){
        .routes_n = lpm->routes.n,
        .nodes_n = lpm->node_max - lpm->free_n - lpm->wait_n,
    };
}

/* Whether an address agrees with the nibbles that lead to a node. */
static inline bool agrees(const struct hg_lpm6_head *head, const uint8_t address[16])
{
    struct hg_lpm6_key key = key_of(address);

    return (((key.high ^ head->prefix.high) & head->mask.high) |
            ((key.low ^ head->prefix.low) & head->mask.low)) == 0;
}

/* The entry of a node that is an address's. */
static inline const _Atomic uint64_t *entry_at(const struct hg_lpm6 *lpm, uint64_t entry,
                                               const uint8_t address[16])
{
    unsigned nibble = hg_lpm6_nibble_of(entry);
    unsigned value = address[nibble / 2] >> (~nibble % 2 * 4) & 15u;

    return &lpm->entry[hg_lpm6_node_of(entry) * HG_LPM6_NODE_N + value];
}

/* From an entry that names a node to the next one on an address's way, or to the same one without
 * the node. */
static inline uint64_t step(const struct hg_lpm6 *lpm, uint64_t entry, const _Atomic uint64_t *next,
                            const uint8_t address[16])
{
    if ((entry & HG_LPM6_SKIPS) != 0 && !agrees(&lpm->head[hg_lpm6_node_of(entry)], address))
        return entry & HG_LPM6_LEAF_MASK;
    return hg_lpm6_load(next);
}

static inline unsigned first_index(const uint8_t address[16])
{
    return (unsigned)address[0] << 8 | address[1];
}

uint16_t hg_lpm6_lookup(const struct hg_lpm6 *lpm, const uint8_t address[16])
{
    uint64_t entry = hg_lpm6_load(&lpm->first[first_index(address)]);

    while ((entry & HG_LPM6_IS_NODE) != 0)
        entry = step(lpm, entry, entry_at(lpm, entry, address), address);
    return (uint16_t)entry;
}

/* An address under way, and where its next entry is. */
struct way {
    uint64_t entry;
    const _Atomic uint64_t *next;
};

/* Comes to an entry and asks for what the next step is going to read; of a leaf, for what is there
 * anyway. */
static inline struct way arrive(const struct hg_lpm6 *lpm, uint64_t entry,
                                const uint8_t address[16])
{
    struct way way = {entry, entry_at(lpm, entry, address)};

    __builtin_prefetch((const void *)way.next, 0, 3);
    __builtin_prefetch(&lpm->head[hg_lpm6_node_of(entry)], 0, 3);
    return way;
}

/* Up to BULK_N addresses, a level at a time. Those that have not come to their leaf stand at the
 * front of open[]; the list is made without branches, because how deep an address goes cannot be
 * predicted. */
static inline void lookup(const struct hg_lpm6 *lpm, const uint8_t (*address)[16],
                          uint16_t *next_hop, unsigned n)
{
    struct way way[BULK_N];
    uint8_t open[BULK_N] = {0};
    unsigned open_n = 0;

    for (unsigned i = 0; i < n; i++)
        __builtin_prefetch((const void *)&lpm->first[first_index(address[i])], 0, 3);
    for (unsigned i = 0; i < n; i++) {
        way[i] = arrive(lpm, hg_lpm6_load(&lpm->first[first_index(address[i])]), address[i]);
        open[open_n] = (uint8_t)i;
        open_n += way[i].entry >> 63;
    }
    while (open_n > 0) {
        unsigned still_n = 0;

        for (unsigned k = 0; k < open_n; k++) {
            unsigned i = open[k];

            way[i] = arrive(lpm, step(lpm, way[i].entry, way[i].next, address[i]), address[i]);
            open[still_n] = (uint8_t)i;
            still_n += way[i].entry >> 63;
        }
        open_n = still_n;
    }
    for (unsigned i = 0; i < n; i++)
        next_hop[i] = (uint16_t)way[i].entry;
}

void hg_lpm6_lookup_bulk(const struct hg_lpm6 *lpm, const uint8_t (*address)[16],
                         uint16_t *next_hop, unsigned n)
{
    for (; n >= BULK_N; n -= BULK_N, address += BULK_N, next_hop += BULK_N)
        lookup(lpm, address, next_hop, BULK_N);
    lookup(lpm, address, next_hop, n);
}
