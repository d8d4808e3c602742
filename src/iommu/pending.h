/*
 * What is known of addresses that are not mapped: the misses of one device that its front-end has been
 * asked for and has not answered, and those that it refused.
 *
 * One word says all about one granule and direction, so that a worker reads it without a lock and control
 * may change or free it at any time: nothing here needs a grace period. States of a word:
 *
 *   0           nothing is known
 *   PENDING     asked for; becomes a fault after HG_IOTLB_MISS_TIMEOUT_NS
 *   UNMAPPED,   faults: the miss was not answered, or answered with less than it asked for;
 *   PERMISSION  forgotten after as long again, when the front-end says something new of the address, or
 *               when the room is needed
 *
 * An invalidation forgets misses too. The front-end may have read one after the address was unmapped, and then
 * there is no answer; the address may be mapped and used again at once, which must not wait for that.
 *
 * The table has a fixed size: what does not fit waits with the queue that asks for it.
 */
#ifndef HG_IOMMU_PENDING_H
#define HG_IOMMU_PENDING_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bits.h"

enum {
    HG_PENDING_MAX = 512, /* misses; faults may be more */
    HG_PENDING_BUCKETS_N = 128,
    HG_PENDING_WAYS = 8, /* words of a bucket, which is one line */
};

enum hg_pending_state {
    HG_PENDING_NOT,
    HG_PENDING_ASKED,
    HG_PENDING_UNMAPPED,
    HG_PENDING_PERMISSION,
};

struct hg_pending_bucket {
    alignas(HG_CACHE_LINE_BYTES) _Atomic uint64_t word[HG_PENDING_WAYS];
};

struct hg_pending {
    uint64_t multiplier; /* odd, random, constant */
    struct hg_pending_bucket bucket[HG_PENDING_BUCKETS_N];

    /* Control's own. */
    uint64_t deadline_ns[HG_PENDING_BUCKETS_N][HG_PENDING_WAYS];
    uint64_t next_ns; /* no deadline is earlier */
    unsigned asked_n;
    uint64_t last_fault; /* the word of the miss that became a fault last; 0: none did */
};

/* An empty one, or NULL. free() releases it. */
struct hg_pending *hg_pending_new(void);

/* What is known of the granule at addr for one direction. Any thread. */
enum hg_pending_state hg_pending_find(const struct hg_pending *pending, uint64_t addr,
                                      unsigned perm);

/* The rest is control's. */

/* Notes a miss that is being sent; it is not known yet. False when there is no room. */
bool hg_pending_add(struct hg_pending *pending, uint64_t addr, unsigned perm, uint64_t now_ns);

/* The front-end has said of [first, last] that it grants `perm`: misses and faults that ask for no more are
 * settled, others become faults. */
void hg_pending_answer(struct hg_pending *pending, uint64_t first, uint64_t last, unsigned perm);

/* The front-end has taken [first, last] back: forgets the misses and faults there. Who still wants an
 * address asks again. */
void hg_pending_forget(struct hg_pending *pending, uint64_t first, uint64_t last);

/* Writes the granules of misses in [first, last] to addr, which has room for HG_PENDING_MAX; returns how
 * many. */
unsigned hg_pending_list(const struct hg_pending *pending, uint64_t first, uint64_t last,
                         uint64_t *addr);

/* Makes faults of misses that are overdue, forgets faults that are. Returns how many misses became
 * faults; *next_ns is when there is something to do again, at the earliest. */
unsigned hg_pending_expire(struct hg_pending *pending, uint64_t now_ns, uint64_t *next_ns);

/* The granule and the direction that were refused last. False when there was none. */
bool hg_pending_last_fault(const struct hg_pending *pending, uint64_t *addr, unsigned *perm);

void hg_pending_clear(struct hg_pending *pending);

#endif
