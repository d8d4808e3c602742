/*
 * Changes of the trie. Readers may be anywhere in it, so each change is a series of stores of
 * single entries, after each of which every address has the route from before or from after the
 * change:
 *
 *   A new node is filled with its place's leaf, and published with release.
 *   A node that is put between two others names the lower one; what is below does not change.
 *   A leaf that changes is stored; those below which stem from the same route follow one by one.
 *   A node that is no longer needed is passed by: its place names the only node below it, or none
 *   and keeps the leaf, which is that of all the node's entries by then. It is used again after a
 *   grace period (reserve()).
 */
#include "table/lpm6_trie.h"

#include <errno.h>
#include <string.h>

#include "sync/qsbr.h"

/* Where an entry is, and what it belongs to. */
struct place {
    _Atomic uint64_t *entry;
    uint8_t *depth;
    uint32_t node;        /* 0: the first level */
    unsigned next_nibble; /* behind the entry's; a node there skips nothing */
};

/* What becomes of leaves: those whose depth is from `lowest` to `highest` get another. Depths plus
 * one. */
struct change {
    uint8_t lowest;
    uint8_t highest;
    uint8_t depth;
    uint16_t next_hop;
};

static void store(_Atomic uint64_t *entry, uint64_t value)
{
    atomic_store_explicit(entry, value, memory_order_relaxed);
}

/* Pairs with the acquire in hg_lpm6_load(). */
static void publish(struct place place, uint64_t value)
{
    atomic_store_explicit(place.entry, value, memory_order_release);
}

/* Control's own view of what it has stored. */
static uint64_t load(const _Atomic uint64_t *entry)
{
    return atomic_load_explicit(entry, memory_order_relaxed);
}

static unsigned nibble_at(struct hg_lpm6_key key, unsigned nibble)
{
    uint64_t half = nibble < 16 ? key.high : key.low;

    return half >> (60 - 4 * (nibble % 16)) & 15;
}

/* The first nibble in which two keys differ, 32 when there is none. */
static unsigned first_difference(struct hg_lpm6_key a, struct hg_lpm6_key b)
{
    if (a.high != b.high)
        return (unsigned)__builtin_clzll(a.high ^ b.high) / 4;
    return a.low != b.low ? 16 + (unsigned)__builtin_clzll(a.low ^ b.low) / 4 : 32;
}

static struct place in_first(struct hg_lpm6 *lpm, unsigned index)
{
    return (struct place){&lpm->first[index], &lpm->first_depth[index], 0, HG_LPM6_FIRST_NIBBLES};
}

static struct place in_node(struct hg_lpm6 *lpm, uint32_t node, unsigned index)
{
    uint64_t at = (uint64_t)node * HG_LPM6_NODE_N + index;

    return (struct place){&lpm->entry[at], &lpm->entry_depth[at], node,
                          lpm->state[node].nibble + 1u};
}

static uint64_t leaf_of(struct place place)
{
    return load(place.entry) & HG_LPM6_LEAF_MASK;
}

static bool is_node(struct place place)
{
    return (load(place.entry) & HG_LPM6_IS_NODE) != 0;
}

static uint32_t node_at(struct place place)
{
    return (uint32_t)hg_lpm6_node_of(load(place.entry));
}

/* What names a node at this place and keeps the place's leaf. */
static uint64_t entry_for(const struct hg_lpm6 *lpm, struct place place, uint32_t node)
{
    unsigned nibble = lpm->state[node].nibble;

    return HG_LPM6_IS_NODE | (nibble > place.next_nibble ? HG_LPM6_SKIPS : 0) |
           (uint64_t)nibble << 57 | (uint64_t)node << 31 | leaf_of(place);
}

/* Makes sure that n nodes can be taken. 0 or -ENOSPC. */
static int reserve(struct hg_lpm6 *lpm, unsigned n)
{
    if (lpm->free_n + lpm->wait_n < n)
        return -ENOSPC;
    if (lpm->free_n < n) {
        hg_qsbr_wait();
        memmove(lpm->idle + lpm->free_n, lpm->idle + lpm->node_max - lpm->wait_n,
                lpm->wait_n * sizeof(lpm->idle[0]));
        lpm->free_n += lpm->wait_n;
        lpm->wait_n = 0;
    }
    return 0;
}

/* Leaves a node, which no new reader can come to any more, for later use. */
static void give_node(struct hg_lpm6 *lpm, uint32_t node)
{
    lpm->idle[lpm->node_max - ++lpm->wait_n] = node;
}

/* Takes a reserved node and fills it with the leaf of the place that is going to name it. Nobody
 * else sees it yet. */
static uint32_t take_node(struct hg_lpm6 *lpm, struct place place, struct hg_lpm6_key key,
                          unsigned nibble)
{
    uint32_t node = lpm->idle[--lpm->free_n];
    static const struct hg_lpm6_key ones = {UINT64_MAX, UINT64_MAX};

    lpm->head[node].prefix = hg_lpm6_cut(key, 4 * nibble);
    lpm->head[node].mask = hg_lpm6_cut(ones, 4 * nibble);
    lpm->state[node] = (struct hg_lpm6_state){.nibble = (uint8_t)nibble};
    for (unsigned i = 0; i < HG_LPM6_NODE_N; i++) {
        store(in_node(lpm, node, i).entry, leaf_of(place));
        *in_node(lpm, node, i).depth = *place.depth;
    }
    return node;
}

/* Puts a node at `nibble` below a place that names none. */
static uint32_t grow(struct hg_lpm6 *lpm, struct place place, struct hg_lpm6_key key,
                     unsigned nibble)
{
    uint32_t node = take_node(lpm, place, key, nibble);

    lpm->state[place.node].child_n += place.node != 0;
    publish(place, entry_for(lpm, place, node));
    return node;
}

/* Puts a node at `nibble` between a place and the node that it names, which stands further
 * behind. */
static uint32_t split(struct hg_lpm6 *lpm, struct place place, unsigned nibble)
{
    uint32_t lower = node_at(place);
    struct hg_lpm6_key key = lpm->head[lower].prefix;
    uint32_t node = take_node(lpm, place, key, nibble);
    struct place below = in_node(lpm, node, nibble_at(key, nibble));

    store(below.entry, entry_for(lpm, below, lower));
    lpm->state[node].child_n = 1;
    publish(place, entry_for(lpm, place, node));
    return node;
}

/* Applies a change to n entries from `place` on, and to what is below them. */
static void apply(struct hg_lpm6 *lpm, struct place place, unsigned n, struct change change)
{
    for (; n-- > 0; place.entry++, place.depth++) {
        /* A node below one that stays holds nothing that comes from further above. */
        if (*place.depth < change.lowest || *place.depth > change.highest)
            continue;
        *place.depth = change.depth;
        /* The entry may name a node: who sees the new leaf must see that node too. */
        publish(place, (load(place.entry) & ~HG_LPM6_LEAF_MASK) | change.next_hop);
        if (is_node(place))
            apply(lpm, in_node(lpm, node_at(place), 0), HG_LPM6_NODE_N, change);
    }
}

/* The nibble in which a route of this depth ends; below HG_LPM6_FIRST_NIBBLES for those of the
 * first level. */
static unsigned last_nibble(unsigned depth)
{
    return depth == 0 ? 0 : (depth - 1) / 4;
}

static void apply_route(struct hg_lpm6 *lpm, uint32_t node, struct hg_lpm6_key prefix,
                        unsigned depth, struct change change)
{
    if (node == 0)
        apply(lpm, in_first(lpm, (unsigned)(prefix.high >> 48)), 1u << (16 - depth), change);
    else
        apply(lpm, in_node(lpm, node, nibble_at(prefix, last_nibble(depth))),
              1u << (4 * (last_nibble(depth) + 1) - depth), change);
}

/* Goes down from `place` as far as nodes agree with the key and stand before `nibble`. Notes the
 * places on the way in path[], when it is not NULL. Returns the last place: one that names no node,
 * or one that stands at or behind `nibble`, or that disagrees. */
static struct place descend(struct hg_lpm6 *lpm, struct hg_lpm6_key key, unsigned nibble,
                            struct place *path, unsigned *path_n)
{
    struct place place = in_first(lpm, (unsigned)(key.high >> 48));

    for (;;) {
        uint32_t node;

        if (path != NULL)
            path[(*path_n)++] = place;
        if (!is_node(place))
            return place;
        node = node_at(place);
        if (lpm->state[node].nibble >= nibble ||
            first_difference(key, lpm->head[node].prefix) < lpm->state[node].nibble)
            return place;
        place = in_node(lpm, node, nibble_at(key, lpm->state[node].nibble));
    }
}

/* The node at `nibble` on the way of the key, which is made if there is none. 0 when there are too
 * few. */
static uint32_t node_for(struct hg_lpm6 *lpm, struct hg_lpm6_key key, unsigned nibble)
{
    struct place place = descend(lpm, key, nibble, NULL, NULL);
    uint32_t node;
    unsigned fork;

    if (!is_node(place))
        return reserve(lpm, 1) == 0 ? grow(lpm, place, key, nibble) : 0;
    node = node_at(place);
    fork = hg_min_u32(first_difference(key, lpm->head[node].prefix), nibble);
    if (fork >= lpm->state[node].nibble)
        return node; /* it agrees, and so stands at `nibble` */
    if (reserve(lpm, fork == nibble ? 1 : 2) < 0)
        return 0;
    node = split(lpm, place, fork);
    return fork == nibble ? node : grow(lpm, in_node(lpm, node, nibble_at(key, fork)), key, nibble);
}

int hg_lpm6_trie_add(struct hg_lpm6 *lpm, struct hg_lpm6_key prefix, unsigned depth,
                     uint16_t next_hop, bool is_new)
{
    uint32_t node = 0;

    if (last_nibble(depth) >= HG_LPM6_FIRST_NIBBLES) {
        node = node_for(lpm, prefix, last_nibble(depth));
        if (node == 0)
            return -ENOSPC;
        lpm->state[node].route_n += is_new;
    }
    apply_route(
        lpm, node, prefix, depth,
        (struct change){HG_LPM6_DEPTH_NONE, (uint8_t)(depth + 1), (uint8_t)(depth + 1), next_hop});
    return 0;
}

/* The only node below one. */
static uint32_t only_child(struct hg_lpm6 *lpm, uint32_t node)
{
    unsigned i = 0;

    while (!is_node(in_node(lpm, node, i)))
        i++;
    return node_at(in_node(lpm, node, i));
}

/* Removes the nodes on a path, from its end up, that have lost their purpose. */
static void prune(struct hg_lpm6 *lpm, const struct place *path, unsigned path_n)
{
    while (path_n-- > 0) {
        struct place place = path[path_n];
        uint32_t node = node_at(place);
        const struct hg_lpm6_state *state = &lpm->state[node];

        if (state->route_n > 0 || state->child_n > 1)
            return;
        if (state->child_n == 1) {
            publish(place, entry_for(lpm, place, only_child(lpm, node)));
            give_node(lpm, node);
            return;
        }
        store(place.entry, leaf_of(place));
        lpm->state[place.node].child_n -= place.node != 0;
        give_node(lpm, node);
    }
}

void hg_lpm6_trie_delete(struct hg_lpm6 *lpm, struct hg_lpm6_key prefix, unsigned depth,
                         const struct hg_lpm6_slot *cover)
{
    struct change change = {(uint8_t)(depth + 1), (uint8_t)(depth + 1), HG_LPM6_DEPTH_NONE,
                            HG_LPM6_NONE};
    struct place path[32];
    unsigned path_n = 0;
    uint32_t node = 0;

    if (cover != NULL) {
        change.depth = (uint8_t)(cover->depth + 1);
        change.next_hop = cover->next_hop;
    }
    if (last_nibble(depth) >= HG_LPM6_FIRST_NIBBLES) {
        node = node_at(descend(lpm, prefix, last_nibble(depth), path, &path_n));
        lpm->state[node].route_n--;
    }
    apply_route(lpm, node, prefix, depth, change);
    prune(lpm, path, path_n);
}

void hg_lpm6_trie_empty(struct hg_lpm6 *lpm)
{
    for (unsigned i = 0; i < HG_LPM6_FIRST_N; i++)
        store(&lpm->first[i], HG_LPM6_NONE);
    memset(lpm->first_depth, HG_LPM6_DEPTH_NONE, HG_LPM6_FIRST_N);
}

static void give_all(struct hg_lpm6 *lpm, struct place place, unsigned n)
{
    for (; n-- > 0; place.entry++, place.depth++) {
        if (!is_node(place))
            continue;
        give_all(lpm, in_node(lpm, node_at(place), 0), HG_LPM6_NODE_N);
        give_node(lpm, node_at(place));
    }
}

void hg_lpm6_trie_clear(struct hg_lpm6 *lpm)
{
    give_all(lpm, in_first(lpm, 0), HG_LPM6_FIRST_N);
    hg_lpm6_trie_empty(lpm);
}
