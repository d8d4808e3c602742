#include "iommu/pending.h"

#include <stdlib.h>
#include <string.h>

#include "iommu/iotlb.h"

/* Fields of a word: granule | state | permission asked for. */
enum { PERM = 3, STATE_SHIFT = 2, STATE = 3 << STATE_SHIFT };

/* Above so many granules a search of all words is cheaper than one for each granule. */
enum { PROBES_MAX = HG_PENDING_BUCKETS_N / 4 };

struct hg_pending *hg_pending_new(void)
{
    struct hg_pending *pending = aligned_alloc(HG_CACHE_LINE_BYTES, sizeof(*pending));

    if (pending == NULL)
        return NULL;
    memset(pending, 0, sizeof(*pending));
    pending->multiplier = hg_iotlb_random_odd();
    pending->next_ns = UINT64_MAX;
    return pending;
}

static enum hg_pending_state state_of(uint64_t word)
{
    return (enum hg_pending_state)((word & STATE) >> STATE_SHIFT);
}

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

/* The number of the granule's first (which: 0) or second (1) bucket. */
static unsigned bucket_of(const struct hg_pending *pending, uint64_t addr, unsigned which)
{
    uint64_t hash = hg_iotlb_hash(pending->multiplier, addr / HG_IOTLB_GRANULE);

    return (unsigned)(hash >> 32 * which) % HG_PENDING_BUCKETS_N;
}

enum hg_pending_state hg_pending_find(const struct hg_pending *pending, uint64_t addr,
                                      unsigned perm)
{
    uint64_t key = hg_iotlb_granule(addr) | perm;

    for (unsigned which = 0; which < 2; which++) {
        const struct hg_pending_bucket *bucket = &pending->bucket[bucket_of(pending, addr, which)];

        for (unsigned way = 0; way < HG_PENDING_WAYS; way++) {
            uint64_t word = load(&bucket->word[way]);

            if (word != 0 && (word & ~(uint64_t)STATE) == key)
                return state_of(word);
        }
    }
    return HG_PENDING_NOT;
}

/* Stores a word: what it says, and until when it holds (UINT64_MAX: no matter). */
static void set(struct hg_pending *pending, unsigned b, unsigned way, uint64_t word,
                uint64_t deadline_ns)
{
    _Atomic uint64_t *place = &pending->bucket[b].word[way];

    pending->asked_n -= state_of(load(place)) == HG_PENDING_ASKED;
    pending->asked_n += state_of(word) == HG_PENDING_ASKED;
    pending->deadline_ns[b][way] = deadline_ns;
    pending->next_ns = hg_min_u64(pending->next_ns, deadline_ns);
    /* Relaxed: the word says all. Who looks for the entry that an answer brought looks for the count of
     * answers first (hg_iotlb_answers()). */
    atomic_store_explicit(place, word, memory_order_relaxed);
}

/* Makes a fault of a miss. */
static void refuse(struct hg_pending *pending, unsigned b, unsigned way,
                   enum hg_pending_state state, uint64_t deadline_ns)
{
    uint64_t word = load(&pending->bucket[b].word[way]) & ~(uint64_t)STATE;

    pending->last_fault = word;
    set(pending, b, way, word | (uint64_t)state << STATE_SHIFT, deadline_ns);
}

static void forget(struct hg_pending *pending, unsigned b, unsigned way)
{
    set(pending, b, way, 0, UINT64_MAX);
}

bool hg_pending_add(struct hg_pending *pending, uint64_t addr, unsigned perm, uint64_t now_ns)
{
    uint64_t oldest_ns = UINT64_MAX;
    unsigned best_b = 0;
    unsigned best_way = HG_PENDING_WAYS;

    if (pending->asked_n == HG_PENDING_MAX)
        return false;
    for (unsigned which = 0; which < 2; which++) {
        unsigned b = bucket_of(pending, addr, which);

        for (unsigned way = 0; way < HG_PENDING_WAYS; way++) {
            uint64_t word = load(&pending->bucket[b].word[way]);
            uint64_t age_ns = word == 0 ? 0 : pending->deadline_ns[b][way];

            if (state_of(word) == HG_PENDING_ASKED || age_ns >= oldest_ns)
                continue;
            oldest_ns = age_ns;
            best_b = b;
            best_way = way;
        }
    }
    if (best_way == HG_PENDING_WAYS)
        return false;
    set(pending, best_b, best_way,
        hg_iotlb_granule(addr) | (uint64_t)HG_PENDING_ASKED << STATE_SHIFT | perm,
        now_ns + HG_IOTLB_MISS_TIMEOUT_NS);
    return true;
}

/* Calls `each` for every word about a granule in [first, last]. */
typedef void each_fn(struct hg_pending *pending, unsigned b, unsigned way, void *ctx);

static void visit_bucket(struct hg_pending *pending, unsigned b, uint64_t first, uint64_t last,
                         each_fn *each, void *ctx)
{
    for (unsigned way = 0; way < HG_PENDING_WAYS; way++) {
        uint64_t word = load(&pending->bucket[b].word[way]);

        if (word != 0 && hg_iotlb_granule(word) >= hg_iotlb_granule(first) &&
            hg_iotlb_granule(word) <= last)
            each(pending, b, way, ctx);
    }
}

static void visit(struct hg_pending *pending, uint64_t first, uint64_t last, each_fn *each,
                  void *ctx)
{
    uint64_t granules = (last - hg_iotlb_granule(first)) / HG_IOTLB_GRANULE; /* but one */

    if (granules >= PROBES_MAX) {
        for (unsigned b = 0; b < HG_PENDING_BUCKETS_N; b++)
            visit_bucket(pending, b, first, last, each, ctx);
        return;
    }
    for (uint64_t i = 0; i <= granules; i++) {
        uint64_t addr = hg_iotlb_granule(first) + i * HG_IOTLB_GRANULE;

        for (unsigned which = 0; which < 2; which++)
            visit_bucket(pending, bucket_of(pending, addr, which), addr, addr, each, ctx);
    }
}

/* A fault by an answer lasts as long as if the miss had not been answered. */
static void answer_one(struct hg_pending *pending, unsigned b, unsigned way, void *ctx)
{
    unsigned granted = *(const unsigned *)ctx;
    uint64_t word = load(&pending->bucket[b].word[way]);
    uint64_t more_ns = state_of(word) == HG_PENDING_ASKED ? HG_IOTLB_MISS_TIMEOUT_NS : 0;

    if ((word & PERM & ~granted) == 0)
        forget(pending, b, way);
    else
        refuse(pending, b, way, granted == 0 ? HG_PENDING_UNMAPPED : HG_PENDING_PERMISSION,
               pending->deadline_ns[b][way] + more_ns);
}

void hg_pending_answer(struct hg_pending *pending, uint64_t first, uint64_t last, unsigned perm)
{
    visit(pending, first, last, answer_one, &perm);
}

static void forget_one(struct hg_pending *pending, unsigned b, unsigned way, void *ctx)
{
    (void)ctx;
    forget(pending, b, way);
}

void hg_pending_forget(struct hg_pending *pending, uint64_t first, uint64_t last)
{
    visit(pending, first, last, forget_one, NULL);
}

unsigned hg_pending_list(const struct hg_pending *pending, uint64_t first, uint64_t last,
                         uint64_t *addr)
{
    unsigned n = 0;

    for (unsigned b = 0; b < HG_PENDING_BUCKETS_N; b++)
        for (unsigned way = 0; way < HG_PENDING_WAYS; way++) {
            uint64_t word = load(&pending->bucket[b].word[way]);

            if (state_of(word) == HG_PENDING_ASKED && hg_iotlb_granule(word) >= first &&
                hg_iotlb_granule(word) <= last)
                addr[n++] = hg_iotlb_granule(word);
        }
    return n;
}

unsigned hg_pending_expire(struct hg_pending *pending, uint64_t now_ns, uint64_t *next_ns)
{
    unsigned faults_n = 0;

    *next_ns = pending->next_ns;
    if (now_ns < pending->next_ns)
        return 0;
    pending->next_ns = UINT64_MAX;
    for (unsigned b = 0; b < HG_PENDING_BUCKETS_N; b++)
        for (unsigned way = 0; way < HG_PENDING_WAYS; way++) {
            uint64_t word = load(&pending->bucket[b].word[way]);
            uint64_t deadline_ns = pending->deadline_ns[b][way];

            if (word == 0)
                continue;
            if (now_ns < deadline_ns) {
                pending->next_ns = hg_min_u64(pending->next_ns, deadline_ns);
            } else if (state_of(word) == HG_PENDING_ASKED) {
                faults_n++;
                refuse(pending, b, way, HG_PENDING_UNMAPPED, now_ns + HG_IOTLB_MISS_TIMEOUT_NS);
            } else {
                forget(pending, b, way);
            }
        }
    *next_ns = pending->next_ns;
    return faults_n;
}

bool hg_pending_last_fault(const struct hg_pending *pending, uint64_t *addr, unsigned *perm)
{
    *addr = hg_iotlb_granule(pending->last_fault);
    *perm = pending->last_fault & PERM;
    return pending->last_fault != 0;
}

void hg_pending_clear(struct hg_pending *pending)
{
    for (unsigned b = 0; b < HG_PENDING_BUCKETS_N; b++)
        for (unsigned way = 0; way < HG_PENDING_WAYS; way++)
            forget(pending, b, way);
    pending->next_ns = UINT64_MAX;
}
