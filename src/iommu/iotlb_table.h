/*
 * The table of blocks behind an IOTLB: its layout, the look-up, and what control does to it. Who may do
 * what at once, and why a reader never sees one entry's tag with another's address, is said in
 * iommu/iotlb.h.
 *
 * A block has two buckets, given by two parts of its hash. The first is used until it is full, and a table
 * grows before it is crowded, so that nearly all look-ups touch one line. When both are full, control moves
 * one of the blocks in them to that block's other bucket, always from the first to the second:
 * the copy is there before the original goes, and a reader looks at the second bucket after the first, so
 * it never misses a block that is there. The hash is a multiplication by a random odd number,
 * chosen for each table, of which both halves count: a guest cannot know which addresses collide.
 *
 * Slot states, by tag:
 *   0             free
 *   has a class   live: base | permission | class. Its host was stored before (release, acquire)
 *   GONE          taken out of sight; a reader may still be about to load its host. Free after a
 *                 grace period, not before
 */
#ifndef HG_IOMMU_IOTLB_TABLE_H
#define HG_IOMMU_IOTLB_TABLE_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bits.h"

enum {
    HG_IOTLB_WAYS = 4,      /* slots of a bucket */
    HG_IOTLB_CLASS_N = 4,   /* block sizes, from 1: 4 KiB, 2 MiB, 1 GiB */
    HG_IOTLB_TAG_CLASS = 3, /* fields of a tag; the bits from 12 on are the block's base */
    HG_IOTLB_TAG_PERM_SHIFT = 2,
    HG_IOTLB_TAG_PERM = 3 << HG_IOTLB_TAG_PERM_SHIFT,
    HG_IOTLB_TAG_GONE = 1 << 11,
};

/* One line for two words that are read together, four times. */
struct hg_iotlb_slot {
    _Atomic uint64_t tag;
    _Atomic(uint8_t *) host;
};

struct hg_iotlb_bucket {
    alignas(HG_CACHE_LINE_BYTES) struct hg_iotlb_slot slot[HG_IOTLB_WAYS];
};

struct hg_iotlb_table {
    alignas(HG_CACHE_LINE_BYTES) uint64_t multiplier;
    uint64_t bucket_mask;
    _Atomic uint32_t classes; /* bit c: there are blocks of class c */

    /* Control's own, on a line that readers do not touch. */
    alignas(HG_CACHE_LINE_BYTES) uint32_t n; /* live blocks */
    uint32_t class_n[HG_IOTLB_CLASS_N];
    struct hg_iotlb_table *retired_next;

    struct hg_iotlb_bucket bucket[];
};

static inline unsigned hg_iotlb_class_shift(unsigned class)
{
    return 3 + 9 * class;
}

static inline uint64_t hg_iotlb_class_size(unsigned class)
{
    return UINT64_C(1) << hg_iotlb_class_shift(class);
}

/* What a tag must be, but for its permission, to be the block of this class that holds addr. */
static inline uint64_t hg_iotlb_key(uint64_t addr, unsigned class)
{
    return (addr & -hg_iotlb_class_size(class)) | class;
}

static inline uint64_t hg_iotlb_mix(uint64_t number, uint64_t multiplier)
{
    unsigned __int128 product = (unsigned __int128)number * multiplier;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* One round alone, with an unlucky multiplier, crowds regular strides; two are as good as chance. */
static inline uint64_t hg_iotlb_hash(uint64_t multiplier, uint64_t block_number)
{
    return hg_iotlb_mix(hg_iotlb_mix(block_number, multiplier), UINT64_C(0x9e3779b97f4a7c15));
}

static inline uint64_t hg_iotlb_first_bucket(const struct hg_iotlb_table *table, uint64_t hash)
{
    return hash & table->bucket_mask;
}

static inline uint64_t hg_iotlb_second_bucket(const struct hg_iotlb_table *table, uint64_t hash)
{
    return hash >> 32 & table->bucket_mask;
}

/*
 * The block with this key, if the bucket holds it. All four tags are compared before anything is decided:
 * which of them it is cannot be predicted, whether one of them is nearly always can. The tag is then
 * loaded again: it is what the host belongs to, whatever has happened meanwhile.
 *
 * The acquires pair with the releases in iotlb_table.c: who sees a tag sees its host, and who sees that a
 * block has left its first bucket sees it in the second.
 */
static inline bool hg_iotlb_bucket_find(const struct hg_iotlb_bucket *bucket, uint64_t key,
                                        uint64_t *tag, uint8_t **host)
{
    const uint64_t mask = ~(uint64_t)HG_IOTLB_TAG_PERM;
    const struct hg_iotlb_slot *slot;
    unsigned found = 0;

    for (unsigned way = 0; way < HG_IOTLB_WAYS; way++) {
        uint64_t other = atomic_load_explicit(&bucket->slot[way].tag, memory_order_acquire);

        found |= (unsigned)((other & mask) == key) << way;
    }
    if (found == 0)
        return false;
    slot = &bucket->slot[__builtin_ctz(found)];
    *tag = atomic_load_explicit(&slot->tag, memory_order_acquire);
    *host = atomic_load_explicit(&slot->host, memory_order_relaxed);
    return hg_likely((*tag & mask) == key);
}

/* The block of this class that holds addr. Any thread; see iommu/iotlb.h for how long it may be used. */
static inline bool hg_iotlb_table_find(const struct hg_iotlb_table *table, uint64_t addr,
                                       unsigned class, uint64_t *tag, uint8_t **host)
{
    uint64_t key = hg_iotlb_key(addr, class);
    uint64_t hash = hg_iotlb_hash(table->multiplier, addr >> hg_iotlb_class_shift(class));

    return hg_likely(hg_iotlb_bucket_find(&table->bucket[hg_iotlb_first_bucket(table, hash)], key,
                                          tag, host)) ||
           hg_iotlb_bucket_find(&table->bucket[hg_iotlb_second_bucket(table, hash)], key, tag,
                                host);
}

static inline void hg_iotlb_table_expect(const struct hg_iotlb_table *table, uint64_t addr,
                                         unsigned class)
{
    uint64_t hash = hg_iotlb_hash(table->multiplier, addr >> hg_iotlb_class_shift(class));

    __builtin_prefetch(&table->bucket[hg_iotlb_first_bucket(table, hash)]);
}

/* ---- control ---- */

static inline unsigned hg_iotlb_tag_class(uint64_t tag)
{
    return tag & HG_IOTLB_TAG_CLASS; /* 0: free or gone */
}

static inline unsigned hg_iotlb_tag_perm(uint64_t tag)
{
    return (tag & HG_IOTLB_TAG_PERM) >> HG_IOTLB_TAG_PERM_SHIFT;
}

static inline uint64_t hg_iotlb_tag_base(uint64_t tag)
{
    return tag & -UINT64_C(4096);
}

static inline uint64_t hg_iotlb_slots_n(const struct hg_iotlb_table *table)
{
    return (table->bucket_mask + 1) * HG_IOTLB_WAYS;
}

/* The slot of a number below hg_iotlb_slots_n(). */
static inline struct hg_iotlb_slot *hg_iotlb_slot(struct hg_iotlb_table *table, uint64_t i)
{
    return &table->bucket[i / HG_IOTLB_WAYS].slot[i % HG_IOTLB_WAYS];
}

/* A multiplier for hg_iotlb_hash(). */
uint64_t hg_iotlb_random_odd(void);

/* An empty table with `buckets_n` buckets, a power of two, or NULL. free() releases it. */
struct hg_iotlb_table *hg_iotlb_table_new(uint64_t buckets_n);

/* The slot with this key, or NULL. */
struct hg_iotlb_slot *hg_iotlb_table_slot(struct hg_iotlb_table *table, uint64_t key);

/* Puts a block in: a key that the table does not have. False when both its buckets are full. */
bool hg_iotlb_table_put(struct hg_iotlb_table *table, uint64_t key, unsigned perm, uint8_t *host);

/* Makes room for a key whose buckets are full: moves a block that stands in one of them. Returns the slot that
 * it leaves, which is GONE, or NULL when none can move. */
struct hg_iotlb_slot *hg_iotlb_table_move(struct hg_iotlb_table *table, uint64_t key);

/* One of the slots that stand in the way of a key whose buckets are full, another one for another n. */
struct hg_iotlb_slot *hg_iotlb_table_victim(struct hg_iotlb_table *table, uint64_t key, uint64_t n);

/* Takes a live block out of sight. The slot is GONE, and the caller sets it to 0 after a grace period. */
void hg_iotlb_table_hide(struct hg_iotlb_table *table, struct hg_iotlb_slot *slot);

#endif
