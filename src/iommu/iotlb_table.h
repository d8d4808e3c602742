/*
 * The table of blocks behind an IOTLB: its layout, the look-up, and what control does to it. Who may do
 * what at once, and why a reader never sees one entry's tag with another's address, is said in
 * iommu/iotlb.h.
 *
 * A block has two buckets. The first is used until it is full, and a table grows before it is crowded, so that
 * nearly all look-ups touch one line. When both are full, control moves one of the blocks in them to
 * that block's other bucket, always from the first to the second: the copy is there before the original
 * goes, and a reader looks at the second bucket after the first, so it never misses a block that is
 * there.
 *
 * The first bucket is cheap to find: one multiplication by a random odd number, chosen for each table.
 * It spreads most regular strides better than chance, and crowds a few; the second bucket is as good as
 * chance for any, and when too many blocks end there the table is built anew with another number. A guest
 * cannot know which addresses collide, and if it guesses, its own look-ups take longer.
 *
 * Slot states, by tag:
 *   0             free
 *   has a class   live: base | class | permission. Its host was stored before (release, acquire)
 *   GONE          taken out of sight; a reader may still be about to load its host. Free after a
 *                 grace period, not before
 */
#ifndef HG_IOMMU_IOTLB_TABLE_H
#define HG_IOMMU_IOTLB_TABLE_H

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bits.h"

enum {
    HG_IOTLB_WAYS = 4,     /* slots of a bucket */
    HG_IOTLB_TAG_PERM = 3, /* fields of a tag; the bits from 12 on are the block's base */
    HG_IOTLB_TAG_CLASS_SHIFT = 2,
    HG_IOTLB_TAG_GONE = 1 << 11,
};

/* Classes of blocks, by size; 0 is none. */
enum { HG_IOTLB_4K = 1, HG_IOTLB_2M, HG_IOTLB_1G, HG_IOTLB_CLASS_N };

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
    uint64_t at_mask;         /* bytes of all buckets but one */
    _Atomic uint32_t classes; /* bit c: there are blocks of class c */

    /* Control's own, on a line that readers do not touch. */
    alignas(HG_CACHE_LINE_BYTES) uint32_t n; /* live blocks */
    uint32_t class_n[HG_IOTLB_CLASS_N];
    uint64_t put_n;      /* blocks ever put in, */
    uint64_t second_n;   /* and of them, into their second bucket */
    uint64_t patience_n; /* it is built anew for that after so many puts, twice as many each time */
    uint64_t judge_at;   /* which is at this one */
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
    return (addr & -hg_iotlb_class_size(class)) | class << HG_IOTLB_TAG_CLASS_SHIFT;
}

/* Where the first bucket of a block is, in bytes from the first of all. */
static inline uint64_t hg_iotlb_first_at(const struct hg_iotlb_table *table, uint64_t block_number)
{
    return block_number * table->multiplier >> 32 & table->at_mask;
}

static inline uint64_t hg_iotlb_mix(uint64_t number, uint64_t multiplier)
{
    unsigned __int128 product = (unsigned __int128)number * multiplier;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* A hash that is as good as chance, of which all bits count. */
static inline uint64_t hg_iotlb_hash(uint64_t multiplier, uint64_t number)
{
    return hg_iotlb_mix(hg_iotlb_mix(number, multiplier), UINT64_C(0x9e3779b97f4a7c15));
}

/* The same for the second bucket. */
static inline uint64_t hg_iotlb_second_at(const struct hg_iotlb_table *table, uint64_t block_number)
{
    return hg_iotlb_hash(table->multiplier, block_number) & table->at_mask;
}

static inline const struct hg_iotlb_bucket *hg_iotlb_bucket_at(const struct hg_iotlb_table *table,
                                                               uint64_t at)
{
    return (const void *)((const char *)table->bucket + at);
}

/* `other`, if it is the slot with this key, else `slot`. */
static inline const struct hg_iotlb_slot *
hg_iotlb_choose(const struct hg_iotlb_slot *slot, const struct hg_iotlb_slot *other, uint64_t key)
{
    uint64_t tag = atomic_load_explicit(&other->tag, memory_order_acquire);

    return tag - key <= HG_IOTLB_TAG_PERM ? other : slot;
}

/*
 * The block with this key, if the bucket holds it. Which of its slots it is cannot be predicted, so that is
 * chosen without a branch; whether it is one of them nearly always can. The tag is loaded again from the slot
 * that was chosen: it is what the host belongs to, whatever has happened meanwhile.
 *
 * The acquires pair with the releases in iotlb_table.c: who sees a tag sees its host, and who sees that a
 * block has left its first bucket sees it in the second.
 */
static inline bool hg_iotlb_bucket_find(const struct hg_iotlb_bucket *bucket, uint64_t key,
                                        unsigned *perm, uint8_t **host)
{
    const struct hg_iotlb_slot *slot = &bucket->slot[0];
    uint64_t rest;

    static_assert(HG_IOTLB_WAYS == 4, "each is looked at");
    slot = hg_iotlb_choose(slot, &bucket->slot[1], key);
    slot = hg_iotlb_choose(slot, &bucket->slot[2], key);
    slot = hg_iotlb_choose(slot, &bucket->slot[3], key);
    rest = atomic_load_explicit(&slot->tag, memory_order_acquire) - key;
    if (hg_unlikely(rest > HG_IOTLB_TAG_PERM))
        return false;
    *perm = (unsigned)rest;
    *host = atomic_load_explicit(&slot->host, memory_order_relaxed);
    return true;
}

/* Looks for the block of this class that holds addr where nearly all blocks are: in its first bucket. Any
 * thread; see iommu/iotlb.h for how long it may be used. */
static inline bool hg_iotlb_table_find_first(const struct hg_iotlb_table *table, uint64_t addr,
                                             unsigned class, unsigned *perm, uint8_t **host)
{
    uint64_t at = hg_iotlb_first_at(table, addr >> hg_iotlb_class_shift(class));

    return hg_iotlb_bucket_find(hg_iotlb_bucket_at(table, at), hg_iotlb_key(addr, class), perm,
                                host);
}

/* The same in both its buckets. */
bool hg_iotlb_table_find(const struct hg_iotlb_table *table, uint64_t addr, unsigned class,
                         unsigned *perm, uint8_t **host);

static inline void hg_iotlb_table_expect(const struct hg_iotlb_table *table, uint64_t addr,
                                         unsigned class)
{
    uint64_t at = hg_iotlb_first_at(table, addr >> hg_iotlb_class_shift(class));

    __builtin_prefetch(hg_iotlb_bucket_at(table, at));
}

/* ---- control ---- */

static inline unsigned hg_iotlb_tag_class(uint64_t tag)
{
    return tag >> HG_IOTLB_TAG_CLASS_SHIFT & 3; /* 0: free or gone */
}

static inline unsigned hg_iotlb_tag_perm(uint64_t tag)
{
    return tag & HG_IOTLB_TAG_PERM;
}

static inline uint64_t hg_iotlb_tag_base(uint64_t tag)
{
    return tag & -UINT64_C(4096);
}

static inline uint64_t hg_iotlb_buckets_n(const struct hg_iotlb_table *table)
{
    return table->at_mask / sizeof(struct hg_iotlb_bucket) + 1;
}

static inline uint64_t hg_iotlb_slots_n(const struct hg_iotlb_table *table)
{
    return hg_iotlb_buckets_n(table) * HG_IOTLB_WAYS;
}

/* The slot of a number below hg_iotlb_slots_n(). */
static inline struct hg_iotlb_slot *hg_iotlb_slot(struct hg_iotlb_table *table, uint64_t i)
{
    return &table->bucket[i / HG_IOTLB_WAYS].slot[i % HG_IOTLB_WAYS];
}

/* A multiplier. */
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

/* Whether so many blocks stand in their second bucket that another multiplier is worth a try. */
bool hg_iotlb_table_is_unlucky(const struct hg_iotlb_table *table);

/* Takes a live block out of sight. The slot is GONE, and the caller sets it to 0 after a grace period. */
void hg_iotlb_table_hide(struct hg_iotlb_table *table, struct hg_iotlb_slot *slot);

#endif
