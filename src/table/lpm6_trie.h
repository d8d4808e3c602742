/*
 * The trie of an IPv6 table: what readers and control share.
 *
 * An entry has a leaf, the next hop of all addresses that come so far, and may name a node that
 * knows more. A node stands at a nibble (four bits) of the address, 4 to 31; its 16 entries are for
 * that nibble's values. Nibbles are left out where all routes below agree: the node's head holds
 * them, and whoever skips some compares. An address that differs takes the leaf of the entry that
 * it came by. The leaf must be that entry's and not the node's: a reader may hold an entry that
 * control has since put another node in front of.
 *
 * Beside each entry stands, for control alone, the depth of the route that its leaf stems from.
 *
 * Invariants, between two changes:
 *   A node at nibble b holds the routes of depth 4b + 1 to 4b + 4 below its prefix; one without any
 *   has at least two nodes below itself. So there are at most twice as many nodes as routes. Leaves
 *   of a node that stem from routes not longer than 4b are the same as the leaf of the entry that
 *   names it. A node's nibble and prefix never change while a reader can come to it.
 */
#ifndef HG_TABLE_LPM6_TRIE_H
#define HG_TABLE_LPM6_TRIE_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/bits.h"
#include "table/lpm6_routes.h"

enum {
    HG_LPM6_FIRST_N = 1 << 16,
    HG_LPM6_NODE_N = 16,       /* entries of a node */
    HG_LPM6_FIRST_NIBBLES = 4, /* that the first level consumes */

    HG_LPM6_DEPTH_NONE = 0, /* depths of leaves are stored plus one */
};

/* An entry: leaf in bits 0-15, node in 31-56, its nibble in 57-61. Read and written as one. */
#define HG_LPM6_IS_NODE   (UINT64_C(1) << 63)
#define HG_LPM6_SKIPS     (UINT64_C(1) << 62) /* nibbles were left out: compare with the head */
#define HG_LPM6_LEAF_MASK UINT64_C(0xffff)

static inline uint64_t hg_lpm6_node_of(uint64_t entry)
{
    return entry >> 31 & ((1u << 26) - 1);
}

static inline unsigned hg_lpm6_nibble_of(uint64_t entry)
{
    return entry >> 57 & 31;
}

/* For readers that skip. */
struct hg_lpm6_head {
    alignas(32) struct hg_lpm6_key prefix;
    struct hg_lpm6_key mask; /* of ones as far as the prefix goes: up to the node's nibble */
};

/* For control. */
struct hg_lpm6_state {
    uint32_t route_n; /* routes that end in this node */
    uint8_t child_n;
    uint8_t nibble;
};

_Static_assert(sizeof(struct hg_lpm6_head) == 32, "two heads are a cache line");

struct hg_lpm6 {
    _Atomic uint64_t *first;   /* HG_LPM6_FIRST_N entries */
    _Atomic uint64_t *entry;   /* HG_LPM6_NODE_N of each node */
    struct hg_lpm6_head *head; /* of each node; 0 is none: it stands for the first level */
    struct hg_lpm6_state *state;
    uint8_t *first_depth;
    uint8_t *entry_depth;
    uint32_t node_max; /* nodes 1 to this */
    uint32_t *idle; /* node_max numbers: free nodes from the start, those that wait from the end */
    uint32_t free_n;
    uint32_t wait_n;
    struct hg_lpm6_routes routes;
};

/* Readers' load of an entry: pairs with the release by which control publishes a node. */
static inline uint64_t hg_lpm6_load(const _Atomic uint64_t *entry)
{
    return atomic_load_explicit(entry, memory_order_acquire);
}

/* Makes every entry of the first level a leaf without a route. Control. */
void hg_lpm6_trie_empty(struct hg_lpm6 *lpm);

/* Puts a route into the trie, or its next hop in the place of another. 0, or -ENOSPC when there are
 * too few nodes; nothing has changed then. Control. */
int hg_lpm6_trie_add(struct hg_lpm6 *lpm, struct hg_lpm6_key prefix, unsigned depth,
                     uint16_t next_hop, bool is_new);

/* Takes a route that is there out of it. `cover` is the next shorter one, or NULL. Control. */
void hg_lpm6_trie_delete(struct hg_lpm6 *lpm, struct hg_lpm6_key prefix, unsigned depth,
                         const struct hg_lpm6_slot *cover);

/* Takes everything out. Control. */
void hg_lpm6_trie_clear(struct hg_lpm6 *lpm);

#endif
