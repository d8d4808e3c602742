#include "table/lpm4_rules.h"

#include <string.h>

/* Everything of a slot but the next hop. */
#define KEY_MASK (~UINT64_C(0xffff))

static uint64_t make_key(uint32_t prefix, unsigned depth)
{
    return (uint64_t)prefix << 32 | HG_LPM4_RULE_USED | (uint64_t)depth << 16;
}

/* Where the search for a key starts. The upper bits of a product depend on all bits below them; the
 * factor is odd and otherwise arbitrary (digits of the golden ratio). */
static uint64_t home(const struct hg_lpm4_rules *rules, uint64_t key)
{
    key ^= key >> 32;
    return key * UINT64_C(0x9e3779b97f4a7c15) >> rules->shift;
}

/* The key's slot, or the free one where it belongs. A quarter of the slots is free, so the search
 * ends. */
static uint64_t *probe(const struct hg_lpm4_rules *rules, uint64_t key)
{
    uint64_t at = home(rules, key);

    while (rules->slot[at] != 0 && (rules->slot[at] & KEY_MASK) != key)
        at = (at + 1) & rules->mask;
    return &rules->slot[at];
}

void hg_lpm4_rules_init(struct hg_lpm4_rules *rules, uint64_t *slot, uint32_t max)
{
    uint64_t slots = hg_lpm4_rules_slots(max);

    *rules = (struct hg_lpm4_rules){
        .mask = slots - 1,
        .shift = 64 - (unsigned)__builtin_ctzll(slots),
        .max = max,
    };
    rules->slot = slot;
}

uint64_t *hg_lpm4_rules_find(const struct hg_lpm4_rules *rules, uint32_t prefix, unsigned depth)
{
    uint64_t *slot;

    if (rules->depth_n[depth] == 0)
        return NULL;
    slot = probe(rules, make_key(prefix, depth));
    return *slot != 0 ? slot : NULL;
}

void hg_lpm4_rules_insert(struct hg_lpm4_rules *rules, uint32_t prefix, unsigned depth,
                          uint16_t next_hop)
{
    uint64_t key = make_key(prefix, depth);

    *probe(rules, key) = key | next_hop;
    rules->depth_n[depth]++;
    rules->n++;
}

void hg_lpm4_rules_remove(struct hg_lpm4_rules *rules, const uint64_t *slot)
{
    uint64_t hole = (uint64_t)(slot - rules->slot);

    rules->depth_n[hg_lpm4_rule_of(*slot).depth]--;
    rules->n--;
    /* Whatever was pushed over the hole moves back: every rule stays reachable from its home, and
     * no slot has to remember that something was there. */
    for (uint64_t at = (hole + 1) & rules->mask; rules->slot[at] != 0;
         at = (at + 1) & rules->mask) {
        uint64_t from_home = (at - home(rules, rules->slot[at] & KEY_MASK)) & rules->mask;

        if (from_home < ((at - hole) & rules->mask))
            continue; /* its home lies behind the hole */
        rules->slot[hole] = rules->slot[at];
        hole = at;
    }
    rules->slot[hole] = 0;
}

const uint64_t *hg_lpm4_rules_cover(const struct hg_lpm4_rules *rules, uint32_t prefix,
                                    unsigned depth)
{
    while (depth-- > 0) {
        const uint64_t *slot = hg_lpm4_rules_find(rules, prefix & hg_lpm4_mask(depth), depth);

        if (slot != NULL)
            return slot;
    }
    return NULL;
}

void hg_lpm4_rules_clear(struct hg_lpm4_rules *rules)
{
    memset(rules->slot, 0, (rules->mask + 1) * sizeof(rules->slot[0]));
    memset(rules->depth_n, 0, sizeof(rules->depth_n));
    rules->n = 0;
}
