/*
 * The inside of ring.h, which says what it guarantees (A to F); only ring.h includes this. Names that
 * end in _ are not for users.
 *
 * Both sides are the same code, with `producer` a constant. Places to read first: hg_ring_claim_multi_,
 * hg_ring_ready_, hg_ring_publish_.
 */
#ifndef HG_RING_RING_INLINE_H
#define HG_RING_RING_INLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/atomic.h"
#include "base/bits.h"

#define HG_RING_INLINE_ static inline __attribute__((always_inline))

/* A claim word and a sequence word: a position, and in the low 16 bits a number of elements. */
#define HG_RING_POS_SHIFT_ 16
#define HG_RING_READY_MAX_ UINT64_C(0xffff)
#define HG_RING_RUN_MAX_   UINT64_C(0x7fff)
#define HG_RING_POS_MASK_  ((UINT64_C(1) << 48) - 1)

/*
 * Lines that different threads write lie 128 bytes apart, since processors fetch them in pairs.
 */
struct hg_ring_side_ {
    _Atomic(uint64_t) claim; /* many: the next position, and how many from there on are ready */
    uint64_t limit;          /* one: the positions below are ready */
    char pad0[112];
    _Atomic(uint64_t) tail; /* one: the positions below are published. The other side reads it. */
    char pad1[120];
};

struct hg_ring {
    uint64_t mask; /* from here to seq: written by hg_ring_init() alone */
    uint32_t slots_n;
    uint32_t elem_bytes;
    bool single_producer;
    bool single_consumer;
    char *elems;
    _Atomic(uint64_t) *seq; /* of each slot; NULL with sides of one only */
    char pad[96];
    struct hg_ring_side_ producers;
    struct hg_ring_side_ consumers;
};

/*
 * How many positions from `from` on the other side has published, as far as they are known: to a
 * producer free slots, to a consumer elements. Stops looking when it has found `want`.
 * The acquire loads pair with the release stores of hg_ring_publish_: guarantees A and B.
 */
HG_RING_INLINE_ uint64_t hg_ring_ready_(const struct hg_ring *ring, bool producer, uint64_t from,
                                        uint64_t want)
{
    const struct hg_ring_side_ *other = producer ? &ring->consumers : &ring->producers;
    uint64_t found = 0;

    if (producer ? ring->single_consumer : ring->single_producer) {
        uint64_t end = atomic_load_explicit(&other->tail, memory_order_acquire);

        return (end + (producer ? ring->slots_n : 0) - from) & HG_RING_POS_MASK_;
    }
    while (found < want) {
        uint64_t pos = from + found;
        uint64_t seq = atomic_load_explicit(&ring->seq[pos & ring->mask], memory_order_acquire);
        uint64_t run = seq - ((pos + (producer ? 0 : 1)) << HG_RING_POS_SHIFT_);

        if (run - 1 >= HG_RING_RUN_MAX_) /* what it says is not about this position */
            break;
        found += run;
    }
    return found;
}

/*
 * Publishes the claimed positions from `pos` on: elements to consumers, or to producers the free
 * slots, which they use one round later. A sequence word says p for a slot in which a producer may
 * write position p, and p + 1 for one that holds it.
 */
HG_RING_INLINE_ void hg_ring_publish_(struct hg_ring *ring, bool producer, uint64_t pos, uint32_t n)
{
    if (producer ? ring->single_producer : ring->single_consumer) {
        struct hg_ring_side_ *side = producer ? &ring->producers : &ring->consumers;

        atomic_store_explicit(&side->tail, pos + n, memory_order_release);
    } else {
        uint64_t next = pos + (producer ? 1 : ring->slots_n);

        atomic_store_explicit(&ring->seq[pos & ring->mask], next << HG_RING_POS_SHIFT_ | n,
                              memory_order_release);
    }
}

/* Claims n positions, or fewer but not below `least`. Returns how many, 0 for none; *first receives
 * the first of them. */
HG_RING_INLINE_ uint32_t hg_ring_claim_single_(struct hg_ring *ring, bool producer, uint32_t least,
                                               uint32_t n, uint64_t *first)
{
    struct hg_ring_side_ *side = producer ? &ring->producers : &ring->consumers;
    uint64_t pos = atomic_load_explicit(&side->tail, memory_order_relaxed); /* our own */
    uint64_t ready = side->limit - pos;

    *first = pos;
    if (ready < n) {
        ready += hg_ring_ready_(ring, producer, pos + ready, n - ready);
        side->limit = pos + ready;
        if (ready < least)
            return 0;
        if (ready < n)
            return (uint32_t)ready;
    }
    return n;
}

/*
 * The same against others of this side. Acquire loads of the word and the release of the
 * compare-and-swap pair with each other: guarantee C. A thread that found too little looks whether the
 * word is still what it was, since the sequence words of an old position say nothing: guarantee F.
 */
HG_RING_INLINE_ uint32_t hg_ring_claim_multi_(struct hg_ring *ring, bool producer, uint32_t least,
                                              uint32_t n, uint64_t *first)
{
    struct hg_ring_side_ *side = producer ? &ring->producers : &ring->consumers;
    uint64_t word = atomic_load_explicit(&side->claim, memory_order_acquire);
    uint64_t next;
    uint64_t take;

    if (hg_unlikely(least > HG_RING_RUN_MAX_))
        return 0;
    do {
        uint64_t pos = word >> HG_RING_POS_SHIFT_;
        uint64_t ready = word & HG_RING_READY_MAX_;

        take = n < HG_RING_RUN_MAX_ ? n : HG_RING_RUN_MAX_;
        while (ready < take) {
            uint64_t now;

            ready += hg_ring_ready_(ring, producer, pos + ready, take - ready);
            if (ready >= least)
                break;
            now = atomic_load_explicit(&side->claim, memory_order_acquire);
            if (now == word)
                return 0;
            word = now;
            pos = word >> HG_RING_POS_SHIFT_;
            ready = word & HG_RING_READY_MAX_;
        }
        if (ready > HG_RING_READY_MAX_)
            ready = HG_RING_READY_MAX_;
        if (take > ready)
            take = ready;
        *first = pos;
        next = (pos + take) << HG_RING_POS_SHIFT_ | (ready - take);
    } while (!atomic_compare_exchange_weak_explicit(&side->claim, &word, next, memory_order_release,
                                                    memory_order_acquire));
    return (uint32_t)take;
}

HG_RING_INLINE_ uint32_t hg_ring_claim_(struct hg_ring *ring, bool producer, uint32_t least,
                                        uint32_t n, uint64_t *first)
{
    return (producer ? ring->single_producer : ring->single_consumer)
               ? hg_ring_claim_single_(ring, producer, least, n, first)
               : hg_ring_claim_multi_(ring, producer, least, n, first);
}

/* Copies a multiple of 4 bytes in pieces as wide as the compiler's registers. */
HG_RING_INLINE_ void hg_ring_copy_(char *to, const char *from, size_t bytes)
{
    for (; bytes >= 64; bytes -= 64, to += 64, from += 64)
        memcpy(to, from, 64);
    if (bytes & 32) {
        memcpy(to, from, 32);
        to += 32;
        from += 32;
    }
    if (bytes & 16) {
        memcpy(to, from, 16);
        to += 16;
        from += 16;
    }
    if (bytes & 8) {
        memcpy(to, from, 8);
        to += 8;
        from += 8;
    }
    if (bytes & 4)
        memcpy(to, from, 4);
}

/*
 * Claims up to n positions, copies elements between their slots, which may wrap, and the caller's
 * array, and publishes. A producer copies from `from`, a consumer to `to`; the other one is NULL.
 */
HG_RING_INLINE_ uint32_t hg_ring_move_(struct hg_ring *ring, bool producer, const void *from,
                                       void *to, uint32_t least, uint32_t n)
{
    uint64_t pos;
    uint64_t slot;
    size_t bytes;
    size_t first_bytes; /* up to the end of the slots */
    const char *source;
    char *target;

    n = hg_ring_claim_(ring, producer, least, n, &pos);
    if (n == 0)
        return 0;
    slot = pos & ring->mask;
    bytes = (size_t)n * ring->elem_bytes;
    first_bytes = (ring->slots_n - slot) * ring->elem_bytes;
    source = producer ? (const char *)from : ring->elems + slot * ring->elem_bytes;
    target = producer ? ring->elems + slot * ring->elem_bytes : (char *)to;
    if (hg_likely(bytes <= first_bytes)) {
        hg_ring_copy_(target, source, bytes);
    } else {
        hg_ring_copy_(target, source, first_bytes);
        hg_ring_copy_(producer ? ring->elems : target + first_bytes,
                      producer ? source + first_bytes : ring->elems, bytes - first_bytes);
    }
    hg_ring_publish_(ring, producer, pos, n);
    return n;
}

/* How far a side has claimed. */
HG_RING_INLINE_ uint64_t hg_ring_position_(const struct hg_ring *ring, bool producer)
{
    const struct hg_ring_side_ *side = producer ? &ring->producers : &ring->consumers;

    return (producer ? ring->single_producer : ring->single_consumer)
               ? atomic_load_explicit(&side->tail, memory_order_acquire)
               : atomic_load_explicit(&side->claim, memory_order_acquire) >> HG_RING_POS_SHIFT_;
}

#endif
