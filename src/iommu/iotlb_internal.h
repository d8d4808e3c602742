/*
 * What the parts of an IOTLB share. Private to this folder; control only.
 */
#ifndef HG_IOMMU_IOTLB_INTERNAL_H
#define HG_IOMMU_IOTLB_INTERNAL_H

#include "iommu/iotlb.h"

/* The table that control works on: it is the only one who publishes. */
static inline struct hg_iotlb_table *iotlb_table(const struct hg_iotlb *iotlb)
{
    return atomic_load_explicit(&iotlb->table, memory_order_relaxed);
}

static inline uint64_t iotlb_load_tag(const struct hg_iotlb_slot *slot)
{
    return atomic_load_explicit(&slot->tag, memory_order_relaxed);
}

static inline uint8_t *iotlb_load_host(const struct hg_iotlb_slot *slot)
{
    return atomic_load_explicit(&slot->host, memory_order_relaxed);
}

static inline void iotlb_announce(struct hg_iotlb *iotlb)
{
    uint64_t n = atomic_load_explicit(&iotlb->answers, memory_order_relaxed);

    /* Pairs with the acquire in hg_iotlb_answers(): who sees the count sees what it counts. */
    atomic_store_explicit(&iotlb->answers, n + 1, memory_order_release);
}

/* Lets a grace period pass and settles. */
void iotlb_wait(struct hg_iotlb *iotlb);

/* Puts a block in unless it is there, and makes room for it; waits for a grace period if it must. */
void iotlb_put(struct hg_iotlb *iotlb, uint64_t key, unsigned perm, uint8_t *host);

/* Whether a block that touches the range stays; it may be changed. */
typedef bool iotlb_keep_fn(struct hg_iotlb_slot *slot, void *ctx);

/* Takes the blocks that touch [first, last] and are not kept (NULL: none is) out of sight. Returns whether
 * there were any. */
bool iotlb_hide_range(struct hg_iotlb *iotlb, uint64_t first, uint64_t last, iotlb_keep_fn *keep,
                      void *ctx);

#endif
