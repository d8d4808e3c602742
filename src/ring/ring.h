/*
 * Rings: queues of fixed size between threads, without locks and without waiting.
 *
 * A ring has a power of two of slots, all usable, for elements of one size: pointers, or values
 * that are copied. Each of its two sides, the producers' and the consumers', is made at creation
 * for one thread or for many. Positions count elements from the ring's creation on; position p lies
 * in slot p modulo the slots. Each operation has three steps:
 *
 *   claim      a run of positions, by moving the side's claim word: the next position, and how many
 *              from there on have been seen ready. A side of one stores it, a side of many
 *              exchanges it by compare-and-swap. No other side ever reads it.
 *   copy       the elements, or work on them in place
 *   publish    the run to the other side, by the sequence word of its first slot, which says what
 *              position may be used next there, and how many behind it
 *
 * Which positions are ready is read from the sequence words, one for each run that the other side
 * has published, so there is no line that every operation of both sides touches, and nobody waits
 * for his turn to publish. That turn is what makes threads of other rings spin when one loses its
 * processor between its claim and its publishing. Here:
 *
 *   a producer that stops in between    other producers go on, in the slots behind its own;
 *                                       consumers get what lies before its run, and then find the
 *                                       ring empty
 *   a consumer that stops in between    other consumers go on with what lies behind its run;
 *                                       producers find the ring full at its run, at most a round
 *                                       later
 *
 * until it goes on. Nobody spins: every operation is lock-free, since a claim is tried again only
 * when another thread's claim has succeeded.
 *
 * Guarantees
 *   A. What was written before an element was enqueued, and the element, is seen by who dequeues
 *      it. The release store that publishes (hg_ring_publish_) pairs with the acquire load that
 *      finds it (hg_ring_look_).
 *   B. A consumer's reads of a slot come before the next write to it. The same pair, from a
 *      consumer's publishing to a producer's look.
 *   C. What one thread has found ready, another one of its side may claim: the release of the
 *      compare-and-swap on a claim word pairs with the acquire loads of the word (hg_ring_claim_).
 *   D. A position is claimed once: the claim word of many changes by compare-and-swap only, and
 *      does not return to a value that it had (positions of 48 bits: three days at a billion
 *      elements a second, and a thread would have to sleep exactly that long inside one operation).
 *   E. Elements leave the ring in the order in which they were claimed: what one thread enqueues is
 *      dequeued in its order, and the elements of one call stay together.
 *   F. A thread that finds too few elements (or slots) has changed nothing. What was enqueued (or
 *      dequeued) before its call it does find, unless others take it, or a run before it is not
 *      published yet.
 *
 * Which operations may run at once
 *                          enqueue, reserve .. commit    dequeue, peek .. commit    count
 *   enqueue,  one producer           no                          yes                 yes
 *   enqueue,  many                   yes                         yes                 yes
 *   dequeue,  one consumer           yes                         no                  yes
 *   dequeue,  many                   yes                         yes                 yes
 * The part of the one may pass from thread to thread, if they synchronise. hg_ring_init() and
 * hg_ring_free() run alone.
 */
#ifndef HG_RING_RING_H
#define HG_RING_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/api.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/err.h"

HG_API_BEGIN

enum {
    HG_RING_ALIGN = 64, /* of the memory for a ring, and of its first element */
    HG_RING_SLOTS_MAX = 1 << 30,
    HG_RING_ELEM_BYTES_MAX = 65536,
    HG_RING_BULK_MAX = 32767, /* elements in one operation; bursts stop there */
};

/* Zero is the default: many producers, many consumers, pointers. */
struct hg_ring_options {
    uint32_t slots_n;     /* a power of two from 2 to HG_RING_SLOTS_MAX */
    uint32_t elem_bytes;  /* a multiple of 4; 0: a pointer's */
    bool single_producer; /* one thread at a time enqueues */
    bool single_consumer; /* one thread at a time dequeues */
};

struct hg_ring;

/*
 * A run of slots that a thread has for itself, to fill or read them in place: the first first_n
 * elements at `first`, the n - first_n others, if any, at `second` (the ring's beginning).
 */
struct hg_ring_span {
    void *first;
    void *second;
    uint32_t first_n;
    uint32_t n;
    uint64_t pos; /* of the first */
};

/* The bytes that a ring takes, or 0 with *err when the options make none. Any thread. */
size_t hg_ring_bytes(const struct hg_ring_options *options, struct hg_err *err);

/*
 * Makes a ring in memory of hg_ring_bytes() at a multiple of HG_RING_ALIGN. Nothing has to be
 * undone: the memory may be used for something else when no thread uses the ring any more. Returns
 * 0, or -EINVAL with *err. Before other threads know the ring.
 */
int hg_ring_init(struct hg_ring *ring, const struct hg_ring_options *options, struct hg_err *err);

/* The same in memory from the heap. Returns 0, -EINVAL or -ENOMEM with *err. hg_ring_free() takes
 * NULL too; elements that are left in the ring are the caller's. */
int hg_ring_new(struct hg_ring **ring, const struct hg_ring_options *options, struct hg_err *err);
void hg_ring_free(struct hg_ring *ring);

HG_API_END

#include "ring/ring_inline.h"

/*
 * Copies n elements into the ring, from an array of them (for pointers: of type void *). _bulk: all
 * of them, or none and 0. _burst: as many as there is room for. Return how many went in. A
 * producer.
 */
static inline uint32_t hg_ring_enqueue_bulk(struct hg_ring *ring, const void *elems, uint32_t n)
{
    return hg_ring_move_(ring, true, elems, NULL, n, n);
}

static inline uint32_t hg_ring_enqueue_burst(struct hg_ring *ring, const void *elems, uint32_t n)
{
    return hg_ring_move_(ring, true, elems, NULL, 1, n);
}

/*
 * Copies the n oldest elements out of the ring into an array. _bulk: all n, or none and 0. _burst:
 * as many as there are. Return how many came out. A consumer.
 */
static inline uint32_t hg_ring_dequeue_bulk(struct hg_ring *ring, void *elems, uint32_t n)
{
    return hg_ring_move_(ring, false, NULL, elems, n, n);
}

static inline uint32_t hg_ring_dequeue_burst(struct hg_ring *ring, void *elems, uint32_t n)
{
    return hg_ring_move_(ring, false, NULL, elems, 1, n);
}

HG_RING_INLINE_ uint32_t hg_ring_span_(struct hg_ring *ring, bool producer, uint32_t least,
                                       uint32_t n, struct hg_ring_span *span)
{
    uint64_t pos = 0;
    uint64_t slot;

    span->n = hg_ring_claim_(ring, producer, least, n, &pos);
    slot = hg_ring_slot_(ring, pos);
    span->pos = pos;
    span->first = ring->elems + slot * ring->elem_bytes;
    span->second = ring->elems;
    span->first_n = hg_min_u32(span->n, (uint32_t)(ring->slots_n - slot));
    return span->n;
}

/*
 * Reserves free slots for n elements, or as many as there are but not fewer than `least` (1: a
 * burst, n: bulk). Returns how many, or 0; the caller fills them and then commits, without much
 * delay: what others enqueue behind them is not seen before. A producer.
 */
static inline uint32_t hg_ring_enqueue_reserve(struct hg_ring *ring, uint32_t least, uint32_t n,
                                               struct hg_ring_span *span)
{
    return hg_ring_span_(ring, true, least, n, span);
}

/*
 * Enqueues the first n elements of a reserved span. With many producers n is span->n. A single
 * producer may also enqueue fewer, or none, and the other slots stay free; between reserve and
 * commit it does nothing else with the ring. Many producers may hold any number of spans, and
 * commit them in any order.
 */
static inline void hg_ring_enqueue_commit(struct hg_ring *ring, const struct hg_ring_span *span,
                                          uint32_t n)
{
    hg_ring_commit_(ring, true, span->pos, span->n, n);
}

/*
 * The n oldest elements in place, or as many as there are but not fewer than `least`. Returns how
 * many, or 0; their slots are the caller's until the commit. A consumer.
 */
static inline uint32_t hg_ring_dequeue_peek(struct hg_ring *ring, uint32_t least, uint32_t n,
                                            struct hg_ring_span *span)
{
    return hg_ring_span_(ring, false, least, n, span);
}

/*
 * Takes the first n elements of a peeked span out of the ring. With many consumers n is span->n. A
 * single consumer may also take fewer, or none, and the others stay the oldest of the ring; between
 * peek and commit it does nothing else with the ring.
 */
static inline void hg_ring_dequeue_commit(struct hg_ring *ring, const struct hg_ring_span *span,
                                          uint32_t n)
{
    hg_ring_commit_(ring, false, span->pos, span->n, n);
}

/*
 * How many elements have been enqueued and not dequeued, how many more there is room for, and of
 * how many slots. Operations under way count as done; a moment old while others work. Any thread.
 */
static inline uint32_t hg_ring_count(const struct hg_ring *ring)
{
    uint64_t dequeued = atomic_load_explicit(&ring->consumers, memory_order_acquire); /* first */
    uint64_t enqueued = atomic_load_explicit(&ring->producers, memory_order_relaxed);
    int64_t n = (int64_t)((enqueued & ~HG_RING_N_MASK_) - (dequeued & ~HG_RING_N_MASK_)) /
                (int64_t)(HG_RING_N_MASK_ + 1);

    /* A single consumer's claim may be seen before the producers' that it follows: nothing is left
     * then. */
    if (n < 0)
        return 0;
    return n < (int64_t)ring->slots_n ? (uint32_t)n : ring->slots_n;
}

static inline uint32_t hg_ring_free_count(const struct hg_ring *ring)
{
    return ring->slots_n - hg_ring_count(ring);
}

static inline uint32_t hg_ring_capacity(const struct hg_ring *ring)
{
    return ring->slots_n;
}

#endif
