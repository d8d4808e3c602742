/*
 * The device IOTLB: what a virtual IOMMU has told us of one device's addresses.
 *
 *   front-end --UPDATE, INVALIDATE--> control --entries--> workers        (hg_iotlb_update, _unpublish)
 *   front-end <---------MISS--------- control <---asks---- workers        (hg_iotlb_next_miss, hg_asks)
 *
 * Who may do what at once: one control thread changes the table; any number of workers look up at any
 * time, without a lock or an atomic read-modify-write. A worker may use what a look-up gave it until it
 * passes its next quiescent state, that is to the end of its burst, and no longer.
 *
 * What an invalidation promises. hg_iotlb_unpublish() makes sure that no look-up that begins after a grace
 * period finds the range; after hg_qsbr_wait() no worker uses, or ever again will use, what it found
 * before. Only then may the invalidation be acknowledged, and only then are the slots used again
 * (hg_iotlb_settle()), so that a reader never sees one entry's tag with another one's address.
 *
 * Shape. Ranges are cut into naturally aligned blocks of 4 KiB, 2 MiB and 1 GiB. A block is a slot of 16
 * bytes {tag, host} in a hash table of one-line buckets, so a look-up costs one or two lines for each size in
 * use, whatever the number of live pages. Contiguous blocks behave as one because a look-up goes on to the
 * next block while the host addresses go on too; nothing is merged in the table, so nothing has to be
 * split when a part is invalidated. A block of which a part is invalidated goes as a whole: what
 * is left of it is asked for again.
 *
 * Bounds. A device has at most entries_max blocks; further ones evict old ones, at the expense of
 * control time that is bounded for each UPDATE. The table belongs to one device: a guest that
 * thrashes evicts its own entries.
 */
#ifndef HG_IOMMU_IOTLB_H
#define HG_IOMMU_IOTLB_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bits.h"
#include "base/err.h"
#include "iommu/fault.h"
#include "iommu/iotlb_table.h"
#include "iommu/pending.h"
#include "iommu/perm.h"
#include "sync/qsbr.h"

enum {
    HG_IOTLB_GRANULE = 4096,     /* bytes: the smallest block; UPDATEs are multiples of it */
    HG_IOTLB_ENTRIES_MIN = 1024, /* of the option */
    HG_IOTLB_ENTRIES_PRESET = 65536,
    HG_IOTLB_ENTRIES_MAX = 1 << 20,
    HG_IOTLB_ASKS_N = 128, /* misses that a queue can have asked for and control not yet read */
};

/* The first address of the granule that holds addr. */
static inline uint64_t hg_iotlb_granule(uint64_t addr)
{
    return addr & -(uint64_t)HG_IOTLB_GRANULE;
}

/* How long a miss may stay unanswered before it counts as a fault, and how long it is remembered as one. */
#define HG_IOTLB_MISS_TIMEOUT_NS UINT64_C(1000000000)

struct hg_space;

enum { HG_IOTLB_GONE_MAX = 256, HG_IOTLB_TAKEN_N = 64 };

/* A range that the front-end has taken back. */
struct hg_iotlb_taken {
    uint64_t first;
    uint64_t last;
    uint32_t answers; /* the count since then, cut */
};

/* The fields are here for the look-ups, which are inline; nobody outside this folder touches them. */
struct hg_iotlb {
    /* What readers follow. */
    _Atomic(struct hg_iotlb_table *) table;
    struct hg_pending *pending;

    alignas(HG_CACHE_LINE_BYTES) _Atomic uint64_t answers;

    /* Control's own. */
    alignas(HG_CACHE_LINE_BYTES) uint32_t entries_max;
    bool unsettled;  /* something was taken out of sight since the last grace period */
    uint32_t gone_n; /* slots of the table that are GONE */
    uint32_t hand;   /* the slot that eviction looks at next */
    uint64_t evictions;
    uint64_t updates;
    uint64_t timeouts;
    struct hg_iotlb_table *retired;   /* tables that readers may still follow */
    uint32_t gone[HG_IOTLB_GONE_MAX]; /* the first of the gone slots' numbers */
    uint64_t taken_n;                 /* ranges taken back so far; the last ones: */
    struct hg_iotlb_taken taken[HG_IOTLB_TAKEN_N];
};

/* A translation that has been found: [base, base + size) lies at host. */
struct hg_iotlb_block {
    uint64_t base;
    uint64_t size;
    uint8_t *host;
    unsigned perm; /* HG_PERM_* */
};

/* Looks one address up. False when there is no entry for it. Workers and control; lock-free. The result
 * holds until the caller's next quiescent state. */
bool hg_iotlb_find(const struct hg_iotlb *iotlb, uint64_t addr, struct hg_iotlb_block *block);

/* The block of this class that holds addr, if it is in its first bucket. */
static inline bool hg_iotlb_find_first(const struct hg_iotlb_table *table, uint64_t addr,
                                       unsigned class, struct hg_iotlb_block *block)
{
    block->size = hg_iotlb_class_size(class);
    block->base = addr & -block->size;
    return hg_iotlb_table_find_first(table, addr, class, &block->perm, &block->host);
}

/* hg_iotlb_find() where it is short: in the first buckets of the sizes that are common, which the compiler
 * knows. False says nothing: ask hg_iotlb_find() then. Nearly all look-ups end here. */
static inline bool hg_iotlb_find_quick(const struct hg_iotlb *iotlb, uint64_t addr,
                                       struct hg_iotlb_block *block)
{
    const struct hg_iotlb_table *table = hg_qsbr_read(&iotlb->table);
    uint32_t classes = atomic_load_explicit(&table->classes, memory_order_relaxed);

    return ((classes & 1u << HG_IOTLB_4K) != 0 &&
            hg_iotlb_find_first(table, addr, HG_IOTLB_4K, block)) ||
           ((classes & 1u << HG_IOTLB_2M) != 0 &&
            hg_iotlb_find_first(table, addr, HG_IOTLB_2M, block));
}

/* ---- control: entries ---- */

/* A table that is empty and grows to entries_max blocks at most. 0 or -ENOMEM with *err. */
int hg_iotlb_new(struct hg_iotlb **iotlb, uint32_t entries_max, struct hg_err *err);

/* No worker may hold it any more. NULL is allowed. */
void hg_iotlb_free(struct hg_iotlb *iotlb);

/*
 * Makes [iova, iova + size) known, at [user_addr, user_addr + size) of the front-end, which must lie inside
 * the memory table of `space`. Replaces what was known of the range, and settles the misses that it answers; a
 * miss whose permission it does not grant becomes a fault. perm 0 maps nothing: it refuses the range.
 * Returns 0, or a negative errno with *err and nothing changed: -EINVAL for a range that is empty,
 * misaligned, wraps or has an unknown permission, -EFAULT for memory that is not in the table. Waits for a
 * grace period when it must replace or evict entries.
 */
int hg_iotlb_update(struct hg_iotlb *iotlb, const struct hg_space *space, uint64_t iova,
                    uint64_t size, uint64_t user_addr, unsigned perm, struct hg_err *err);

/* Takes every block that touches [iova, iova + size) out of sight, and forgets misses and faults there: who
 * waits for one comes again and asks. size 0 means everything, ends saturate.
 * True when the caller must let a grace period pass and call hg_iotlb_settle() before he promises
 * anything: a block was taken out now, or by an earlier call that has not settled. */
bool hg_iotlb_unpublish(struct hg_iotlb *iotlb, uint64_t iova, uint64_t size);

/* The same for all blocks whose host address touches [host, host + bytes). */
bool hg_iotlb_unpublish_host(struct hg_iotlb *iotlb, const uint8_t *host, uint64_t bytes);

/* After hg_qsbr_wait(): what was unpublished before it is free again. Several calls of unpublish, for several
 * devices too, may share one grace period; none may come between the wait and this. */
void hg_iotlb_settle(struct hg_iotlb *iotlb);

struct hg_iotlb_info {
    uint64_t entries; /* blocks */
    uint64_t entries_max;
    uint64_t evictions;
    uint64_t updates;
    uint64_t pending; /* misses sent and not answered */
    uint64_t timeouts;
};
struct hg_iotlb_info hg_iotlb_info(const struct hg_iotlb *iotlb);

/* ---- misses: from workers to control ---- */

struct hg_ask {
    uint64_t addr; /* of the granule */
    unsigned perm;
    uint32_t answers; /* the count when it was asked, cut */
};

/*
 * What one queue asks for: a ring with one producer, the queue's user, and one consumer, control. All
 * zero, except wake_fd and control, is its initial state; control may put it back there while the queue has no user.
 */
struct hg_asks {
    int wake_fd;  /* eventfd of the control loop */
    bool control; /* the producer is control too */
    uint32_t put; /* producer: entries written, published or not */
    alignas(HG_CACHE_LINE_BYTES) _Atomic uint32_t tail; /* published by the producer */
    alignas(HG_CACHE_LINE_BYTES) _Atomic uint32_t head; /* taken by control */
    struct hg_ask ask[HG_IOTLB_ASKS_N];
};

enum hg_lack {
    HG_LACK_MISS, /* not known yet: has been asked for, or will be when the caller comes again */
    HG_LACK_FAULT_UNMAPPED,
    HG_LACK_FAULT_PERMISSION,
};

/*
 * What to do about an address for which a look-up found nothing, or nothing with this permission: asks for
 * its granule unless that is under way, or says that it was refused. The queue's user. Nothing is asked twice:
 * while an earlier batch of this queue lies unread, or the miss is pending, this only answers HG_LACK_MISS.
 */
enum hg_lack hg_iotlb_ask(struct hg_iotlb *iotlb, struct hg_asks *asks, uint64_t addr,
                          unsigned perm);

/* Publishes what was asked for since the last call and wakes control for it; no system call when there is
 * nothing new. The queue's user, at the end of the pass that asked. */
void hg_asks_flush(struct hg_asks *asks);

/* Counts what may have changed the answer to an ask: updates, refusals, invalidations, asks read. A queue
 * reads it before it looks an address up; when it stops at a miss, it need not look again before the
 * count has moved on from there. Any thread. */
static inline uint64_t hg_iotlb_answers(const struct hg_iotlb *iotlb)
{
    return atomic_load_explicit(&iotlb->answers, memory_order_acquire);
}

/* Takes the next miss that has to be sent, skipping those that are known, pending or taken back by now, and
 * notes it as pending from now_ns on. False when there is none, or no room for another pending one: then it stays with
 * its queue, which does not wake control for it again, so control asks again whenever updates or
 * hg_iotlb_expire() have made room. Control. */
bool hg_iotlb_next_miss(struct hg_iotlb *iotlb, struct hg_asks *asks, uint64_t now_ns,
                        struct hg_ask *miss);

/* Turns misses that have been pending too long into faults, and forgets faults that are old. Returns whether
 * any miss became a fault; *next_ns is when to call again, UINT64_MAX for never. Control. */
bool hg_iotlb_expire(struct hg_iotlb *iotlb, uint64_t now_ns, uint64_t *next_ns);

/* The miss that became a fault last, to be told to people. False when none did. Control. */
bool hg_iotlb_last_fault(const struct hg_iotlb *iotlb, struct hg_ask *fault);

/* Forgets all pending misses and faults, when nobody is left to answer. Control. */
void hg_iotlb_forget_misses(struct hg_iotlb *iotlb);

#endif
