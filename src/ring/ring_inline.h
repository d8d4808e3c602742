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

#include "base/api.h"
#include "base/atomic.h"
#include "base/bits.h"

struct hg_ring;

HG_API_BEGIN

/* Copies n elements between the slots from `slot` on, of which there are fewer up to the end, and an
 * array: into the slots if `from` is not NULL, else out of them. */
void hg_ring_move_wrapped_(const struct hg_ring *ring, uint32_t slot, const void *from, void *to,
                           uint32_t n);

HG_API_END

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
    char pad[88];
    struct hg_ring_side_ producers;
    struct hg_ring_side_ consumers;
};

/*
 * How far the other side has published, as far as that is known: to a producer free slots, to a consumer
 * elements. The positions below `limit` are known to be; behind a side of many this looks as far as
 * `enough`, behind one it is a load.
 * The acquire loads pair with the release stores of hg_ring_publish_: guarantees A and B.
 */
HG_RING_INLINE_ uint64_t hg_ring_look_(const struct hg_ring *ring, bool producer, uint64_t limit,
                                       uint64_t enough)
{
    const struct hg_ring_side_ *other = producer ? &ring->consumers : &ring->producers;

    if (producer ? ring->single_consumer : ring->single_producer)
        return atomic_load_explicit(&other->tail, memory_order_acquire) +
               (producer ? ring->slots_n : 0);
    do {
        uint64_t seq = atomic_load_explicit(&ring->seq[limit & ring->mask], memory_order_acquire);
        uint64_t run = seq - ((limit + (producer ? 0 : 1)) << HG_RING_POS_SHIFT_);

        if (run - 1 >= HG_RING_RUN_MAX_) /* what it says is not about this position */
            break;
        limit += run;
    } while ((int64_t)(enough - limit) > 0);
    return limit;
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
        side->limit = hg_ring_look_(ring, producer, pos + ready, pos + n);
        ready = side->limit - pos;
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

    if (hg_unlikely(least > HG_RING_RUN_MAX_))
        return 0;
    for (;;) {
        uint64_t pos = word >> HG_RING_POS_SHIFT_;
        uint64_t ready = word & HG_RING_READY_MAX_;
        uint64_t take = n < HG_RING_RUN_MAX_ ? n : HG_RING_RUN_MAX_;
        uint64_t next = word + take * HG_RING_READY_MAX_; /* take further, as many fewer ready */

        if (ready < take) {
            uint64_t limit = hg_ring_look_(ring, producer, pos + ready, pos + take);

            ready = (limit - pos) & HG_RING_POS_MASK_;
            if (ready < least) {
                uint64_t now = atomic_load_explicit(&side->claim, memory_order_acquire);

                if (now == word)
                    return 0;
                word = now;
                continue;
            }
            if (ready < take)
                take = ready;
            next = (pos + take) << HG_RING_POS_SHIFT_;
            if (ready != take) /* a branch: the usual case shall not wait for what the look loads */
                next |= (ready < HG_RING_READY_MAX_ ? ready : HG_RING_READY_MAX_) - take;
        }
        *first = pos;
        if (atomic_compare_exchange_weak_explicit(&side->claim, &word, next, memory_order_release,
                                                  memory_order_acquire))
            return (uint32_t)take;
    }
}

HG_RING_INLINE_ uint32_t hg_ring_claim_(struct hg_ring *ring, bool producer, uint32_t least,
                                        uint32_t n, uint64_t *first)
{
    return (producer ? ring->single_producer : ring->single_consumer)
               ? hg_ring_claim_single_(ring, producer, least, n, first)
               : hg_ring_claim_multi_(ring, producer, least, n, first);
}

/* Copies n elements in pieces as wide as the compiler's registers. With constant elem_bytes, the
 * pieces smaller than that go. */
HG_RING_INLINE_ void hg_ring_copy_(char *to, const char *from, size_t elem_bytes, uint32_t n)
{
    size_t bytes = n * elem_bytes;

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
    uint32_t elem_bytes = ring->elem_bytes;

    n = hg_ring_claim_(ring, producer, least, n, &pos);
    if (n == 0)
        return 0;
    slot = pos & ring->mask;
    if (hg_unlikely(n > ring->slots_n - slot)) {
        hg_ring_move_wrapped_(ring, (uint32_t)slot, from, to, n);
    } else if (hg_likely(elem_bytes == 8)) {
        char *at = ring->elems + slot * 8;

        hg_ring_copy_(producer ? at : (char *)to, producer ? (const char *)from : at, 8, n);
    } else {
        char *at = ring->elems + slot * elem_bytes;

        hg_ring_copy_(producer ? at : (char *)to, producer ? (const char *)from : at, elem_bytes,
                      n);
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
