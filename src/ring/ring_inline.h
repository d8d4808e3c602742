/*
 * The inside of ring.h, which says what it guarantees (A to F) and is the only file to include
 * this. Names that end in _ are not for users.
 *
 * Both sides are the same code, with `producer` a constant.
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

/*
 * A position in the upper 48 bits of a word, and in the lower 16 a number of elements: claim words
 * and sequence words are such, and positions are kept in this form, with no elements.
 */
#define HG_RING_POS_SHIFT_ 16
#define HG_RING_N_MASK_    UINT64_C(0xffff)
#define HG_RING_RUN_MAX_   UINT64_C(0x7fff)

/* The lines that each side writes lie 128 bytes apart, since processors fetch them in pairs. */
struct hg_ring {
    uint32_t slots_n; /* from here to seq: written by hg_ring_init() alone */
    uint32_t elem_bytes;
    uint64_t mask;
    bool single_producer;
    bool single_consumer;
    char *elems;
    _Atomic(uint64_t) *seq; /* of each slot */
    char pad0[88];
    _Atomic(uint64_t)
        producers;  /* claim words: the next position to claim, and how many from there */
    char pad1[120]; /* on have been seen ready */
    _Atomic(uint64_t) consumers;
    char pad2[120];
};

HG_API_BEGIN

/* Copies n elements of whatever size between the slots from `slot` on, perhaps beyond the end, and
 * an array: into the slots if `from` is not NULL, else out of them. */
void hg_ring_copy_any_(const struct hg_ring *ring, uint64_t slot, const void *from, void *to,
                       uint32_t n);

HG_API_END

#define HG_RING_INLINE_ static inline __attribute__((always_inline))

HG_RING_INLINE_ uint64_t hg_ring_pos_(uint64_t n)
{
    return n << HG_RING_POS_SHIFT_;
}

HG_RING_INLINE_ uint64_t hg_ring_slot_(const struct hg_ring *ring, uint64_t pos)
{
    return pos >> HG_RING_POS_SHIFT_ & ring->mask;
}

HG_RING_INLINE_ _Atomic(uint64_t) *hg_ring_claim_word_(struct hg_ring *ring, bool producer)
{
    return producer ? &ring->producers : &ring->consumers;
}

HG_RING_INLINE_ bool hg_ring_is_single_(const struct hg_ring *ring, bool producer)
{
    return producer ? ring->single_producer : ring->single_consumer;
}

/*
 * How many positions from `pos` on the other side has published, to a producer as free slots, to a
 * consumer as elements. Looks no further when it has found enough_n.
 * The acquire loads pair with the release stores of hg_ring_publish_: guarantees A and B.
 */
HG_RING_INLINE_ uint64_t hg_ring_look_(const struct hg_ring *ring, bool producer, uint64_t pos,
                                       uint64_t enough_n)
{
    uint64_t found_n = 0;

    do {
        uint64_t seq = atomic_load_explicit(
            &ring->seq[hg_ring_slot_(ring, pos + hg_ring_pos_(found_n))], memory_order_acquire);
        uint64_t run_n = seq - pos - hg_ring_pos_(found_n + (producer ? 0 : 1));

        if (run_n - 1 >= HG_RING_RUN_MAX_) /* what it says is not about this position */
            break;
        found_n += run_n;
    } while (found_n < enough_n);
    return found_n;
}

/*
 * Publishes the n > 0 claimed positions from `pos` on, which lies in `slot`: elements to consumers,
 * or to producers free slots, which they use one round later. A sequence word says p for a slot in
 * which a producer may write position p, and p + 1 for one that holds it.
 */
HG_RING_INLINE_ void hg_ring_publish_(struct hg_ring *ring, bool producer, uint64_t pos,
                                      uint64_t slot, uint32_t n)
{
    uint64_t next = pos + hg_ring_pos_(producer ? 1 : ring->slots_n);

    atomic_store_explicit(&ring->seq[slot], next + n, memory_order_release);
}

/*
 * Claims n positions, or fewer but not below `least`. Returns how many, 0 for none; *first receives
 * the first of them.
 *
 * The acquire loads of the word and the release of the compare-and-swap pair with each other
 * (guarantee C). A thread that found too little looks whether the word is still what it was, since
 * the sequence words at positions that others have claimed meanwhile say nothing (guarantee F).
 */
HG_RING_INLINE_ uint32_t hg_ring_claim_(struct hg_ring *ring, bool producer, uint32_t least,
                                        uint32_t n, uint64_t *first)
{
    _Atomic(uint64_t) *claim = hg_ring_claim_word_(ring, producer);
    uint64_t word = atomic_load_explicit(claim, memory_order_acquire);

    if (hg_unlikely(least > HG_RING_RUN_MAX_))
        return 0;
    for (;;) {
        uint64_t ready = word & HG_RING_N_MASK_;
        uint64_t pos = word - ready;
        uint64_t take = n < HG_RING_RUN_MAX_ ? n : HG_RING_RUN_MAX_;
        uint64_t next = word + hg_ring_pos_(take) - take; /* further, and as many fewer ready */

        if (ready < take) {
            ready += hg_ring_look_(ring, producer, pos + hg_ring_pos_(ready), take - ready);
            next = pos + hg_ring_pos_(take);
            /* A branch, so that the usual case need not wait for what the look loads. */
            if (hg_unlikely(ready != take)) {
                if (ready < least) {
                    uint64_t now = atomic_load_explicit(claim, memory_order_acquire);

                    if (now == word)
                        return 0;
                    word = now;
                    continue;
                }
                take = ready < take ? ready : take;
                next = pos + hg_ring_pos_(take) + ready - take;
            }
        }
        *first = pos;
        if (hg_ring_is_single_(ring, producer)) {
            atomic_store_explicit(claim, next, memory_order_relaxed); /* nobody else writes it */
            return (uint32_t)take;
        }
        if (atomic_compare_exchange_weak_explicit(claim, &word, next, memory_order_release,
                                                  memory_order_acquire))
            return (uint32_t)take;
    }
}

/* Copies multiples of 4 bytes: up to 128 in pieces as wide as the compiler's registers, more with the
 * C library's copy, which is as wide as the processor's. */
HG_RING_INLINE_ void hg_ring_copy_bytes_(char *to, const char *from, size_t bytes)
{
    if (bytes >= 128) {
        memcpy(to, from, bytes);
        return;
    }
    if (bytes & 64) {
        memcpy(to, from, 64);
        to += 64;
        from += 64;
    }
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

/* Copies n elements that do not wrap, of a size that the compiler knows. */
HG_RING_INLINE_ void hg_ring_copy_(const struct hg_ring *ring, bool producer, uint64_t slot,
                                   const void *from, void *to, uint64_t elem_bytes, uint32_t n)
{
    char *at = ring->elems + slot * elem_bytes;

    if (producer)
        hg_ring_copy_bytes_(at, (const char *)from, n * elem_bytes);
    else
        hg_ring_copy_bytes_((char *)to, at, n * elem_bytes);
}

/* Claims, copies and publishes. A producer copies from `from`, a consumer to `to`; the other is
 * NULL. */
HG_RING_INLINE_ uint32_t hg_ring_move_(struct hg_ring *ring, bool producer, const void *from,
                                       void *to, uint32_t least, uint32_t n)
{
    uint32_t elem_bytes = ring->elem_bytes; /* behind the claim's atomics, that would be late */
    uint64_t pos;
    uint64_t slot;

    /* The compiler does not know which size it is; what it knows of the array would make it warn. */
    __asm__("" : "+r"(from), "+r"(to));
    n = hg_ring_claim_(ring, producer, least, n, &pos);
    if (n == 0)
        return 0;
    slot = hg_ring_slot_(ring, pos);
    /* Pointers and what takes two are short in line. More sizes, or one that is not constant, and the
     * compiler no longer keeps what the short ones need in registers: twice as slow. */
    if (hg_unlikely(slot + n > ring->slots_n))
        // NOLINTNEXTLINE(bugprone-branch-clone): what goes round comes before any size
        hg_ring_copy_any_(ring, slot, from, to, n);
    else if (hg_likely(elem_bytes == 8))
        hg_ring_copy_(ring, producer, slot, from, to, 8, n);
    else if (elem_bytes == 16)
        hg_ring_copy_(ring, producer, slot, from, to, 16, n);
    else
        hg_ring_copy_any_(ring, slot, from, to, n);
    hg_ring_publish_(ring, producer, pos, slot, n);
    return n;
}

/* Publishes the first n of `claimed_n` positions. On a side of one, the rest is given back. */
HG_RING_INLINE_ void hg_ring_commit_(struct hg_ring *ring, bool producer, uint64_t pos,
                                     uint32_t claimed_n, uint32_t n)
{
    if (n != 0)
        hg_ring_publish_(ring, producer, pos, hg_ring_slot_(ring, pos), n);
    if (n < claimed_n && hg_ring_is_single_(ring, producer)) {
        _Atomic(uint64_t) *claim = hg_ring_claim_word_(ring, producer);
        uint64_t word = atomic_load_explicit(claim, memory_order_relaxed);

        atomic_store_explicit(claim, word - hg_ring_pos_(claimed_n - n) + (claimed_n - n),
                              memory_order_relaxed);
    }
}

#endif
