#include "table/lpm6_rules.h"

#include <string.h>

/* Where the search for a rule starts. The factors are odd and otherwise arbitrary (digits of the
 * golden ratio, of pi and of the square root of 3). */
static uint64_t home(const struct hg_lpm6_rules *rules, struct hg_lpm6_key prefix, unsigned depth)
{
    uint64_t hash = (prefix.high ^ depth) * UINT64_C(0x9e3779b97f4a7c15);

    hash = (hash ^ hash >> 32 ^ prefix.low) * UINT64_C(0x243f6a8885a308d3);
    return (hash ^ hash >> 29) * UINT64_C(0xbb67ae8584caa73b) >> rules->shift;
}

/* The rule's slot, or the free one where it belongs. A quarter of the slots is free, so the search
 * ends. */
static struct hg_lpm6_slot *probe(const struct hg_lpm6_rules *rules, struct hg_lpm6_key prefix,
                                  unsigned depth)
{
    uint64_t at = home(rules, prefix, depth);

    for (;; at = (at + 1) & rules->mask) {
        struct hg_lpm6_slot *slot = &rules->slot[at];

        if (!slot->used || (slot->depth == depth && slot->prefix.high == prefix.high &&
                            slot->prefix.low == prefix.low))
            return slot;
    }
}

void hg_lpm6_rules_init(struct hg_lpm6_rules *rules, struct hg_lpm6_slot *slot, uint32_t max)
{
    uint64_t slots = hg_lpm6_rules_slots(max);

    *rules = (struct hg_lpm6_rules){
        .mask = slots - 1,
        .shift = 64 - (unsigned)__builtin_ctzll(slots),
        .max = max,
    };
    rules->slot = slot;
}

struct hg_lpm6_slot *hg_lpm6_rules_find(const struct hg_lpm6_rules *rules,
                                        struct hg_lpm6_key prefix, unsigned depth)
{
    struct hg_lpm6_slot *slot;

    if (rules->depth_n[depth] == 0)
        return NULL;
    slot = probe(rules, prefix, depth);
    return slot->used ? slot : NULL;
}

void hg_lpm6_rules_insert(struct hg_lpm6_rules *rules, struct hg_lpm6_key prefix, unsigned depth,
                          uint16_t next_hop)
{
    *probe(rules, prefix, depth) = (struct hg_lpm6_slot){
        .prefix = prefix, .used = 1, .depth = (uint8_t)depth, .next_hop = next_hop};
    rules->depth_n[depth]++;
    rules->n++;
}

void hg_lpm6_rules_remove(struct hg_lpm6_rules *rules, const struct hg_lpm6_slot *slot)
{
    uint64_t hole = (uint64_t)(slot - rules->slot);

    rules->depth_n[slot->depth]--;
    rules->n--;
    /* Whatever was pushed over the hole moves back, as in lpm4_rules.c. */
    for (uint64_t at = (hole + 1) & rules->mask; rules->slot[at].used;
         at = (at + 1) & rules->mask) {
        const struct hg_lpm6_slot *pushed = &rules->slot[at];
        uint64_t from_home = (at - home(rules, pushed->prefix, pushed->depth)) & rules->mask;

        if (from_home < ((at - hole) & rules->mask))
            continue; /* its home lies behind the hole */
        rules->slot[hole] = *pushed;
        hole = at;
    }
    rules->slot[hole].used = 0;
}

const struct hg_lpm6_slot *hg_lpm6_rules_cover(const struct hg_lpm6_rules *rules,
                                               struct hg_lpm6_key prefix, unsigned depth)
{
    while (depth-- > 0) {
        const struct hg_lpm6_slot *slot =
            hg_lpm6_rules_find(rules, hg_lpm6_cut(prefix, depth), depth);

        if (slot != NULL)
            return slot;
    }
    return NULL;
}

void hg_lpm6_rules_clear(struct hg_lpm6_rules *rules)
{
    memset(rules->slot, 0, (rules->mask + 1) * sizeof(rules->slot[0]));
    memset(rules->depth_n, 0, sizeof(rules->depth_n));
    rules->n = 0;
}
