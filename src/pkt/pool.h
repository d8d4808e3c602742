/*
 * Pools: a number of objects of one size, all made at creation, taken and given back while packets
 * flow.
 *
 * Free objects lie in the pool's reserve, which all threads share, or in caches, of which each
 * thread has its own. Taking and giving back through a cache is a copy of pointers, inline, without
 * an atomic read-modify-write; cache and reserve exchange half a cache at a time. A thread without
 * a cache uses the reserve directly (_shared). Objects may be given back through another cache than
 * they were taken from, or without one. Caches come and go at any time, and the cache of a thread
 * that has ended may be freed, or gone on using, by another.
 *
 *   who                   what
 *   control               creates and frees the pool
 *   any thread            creates and frees caches, takes and gives back without one, reads info
 *                         and stats
 *   one thread a cache    takes and gives back through it
 *
 * The reserve is a stack under a lock held for one copy of pointers, so that what was used last,
 * and may still be in a processor's cache, is used next; decision 0014 has the figures and why it
 * is no ring. A thread that loses its processor in between holds up those who come to the reserve
 * then; they yield theirs. Caches are stacks too; what is exchanged with the reserve is what has
 * lain longest.
 *
 * Objects begin an odd number of cache lines apart. Memory channels and sets of caches are chosen
 * by low bits of the line's number, so that at an even distance, as 2048 bytes are, the heads of
 * all packets would share a half of them, or one in 32, and be fetched one after the other; an odd
 * distance visits all.
 *
 * Free objects that lie in one thread's cache are not seen by others: a pool serves n objects to
 * its users for certain only when it has n, and cache_n more for each cache.
 *
 * Debug builds (HG_DEBUG) know each object's state. They abort, and say which object and who took
 * it or gave it back, when one is given back twice, is not the pool's, was written behind its end,
 * or was written while it was free; contents of fresh and freed objects are destroyed;
 * AddressSanitizer reports at once who touches what he has not. hg_pool_free() names who has not
 * given back what he took, by cache and calling place.
 */
#ifndef HG_PKT_POOL_H
#define HG_PKT_POOL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/api.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/err.h"
#include "mem/arena.h"

HG_API_BEGIN

enum {
    HG_POOL_CACHE_N = 256,     /* objects in a cache at most, when nothing else is said, */
    HG_POOL_CACHE_N_MAX = 512, /* and what can be said at most */
};

/* Zero is the default, where there is one. */
struct hg_pool_options {
    const char *name;      /* for people; cut at HG_MEM_NAME_MAX bytes; NULL: "pool" */
    uint32_t object_bytes; /* of each object; 1 or more */
    uint32_t n;            /* objects; 1 or more */
    uint32_t cache_n;      /* objects in a cache at most; 0: HG_POOL_CACHE_N */
};

struct hg_pool;

/* A cache; its fields are the pool's. A line that every call writes, then the stack. */
struct hg_pool_cache {
    _Atomic(uint32_t) n; /* objects in the stack; written by the cache's thread */
    uint32_t max;
    _Atomic(uint64_t) take_n; /* objects taken so far; likewise */
    struct hg_pool *pool;
    struct hg_pool_more *more; /* what is seldom needed */
    void *fill[4];
    void *object[HG_POOL_CACHE_N_MAX];
};

/* The bytes that a pool takes from its arena, whose multiple of 64 it begins at; 0 when there can
 * be no such pool. Any thread. */
uint64_t hg_pool_bytes(const struct hg_pool_options *options);

/*
 * Makes a pool of options->n objects, each at a multiple of 64, from the arena, which must outlive
 * it. Returns 0 or a negative errno with *err: -ENOMEM when the arena has no room, -EINVAL for
 * options that make no pool.
 */
int hg_pool_new(struct hg_pool **pool, struct hg_arena *arena,
                const struct hg_pool_options *options, struct hg_err *err);

/*
 * Frees the pool, whose caches are freed, and which nobody uses any more; the objects' memory stays
 * with the arena. Objects that have not been given back are leaks: the log says how many there are,
 * and who is known to have taken more than he gave back.
 */
void hg_pool_free(struct hg_pool *pool);

struct hg_pool_info {
    const char *name;
    uint32_t object_bytes;
    uint32_t stride_bytes; /* from an object to the next */
    uint32_t n;
    uint32_t free_n; /* in the reserve and in caches; a moment old while threads work */
    uint32_t cache_n;
};

/* Any thread. */
struct hg_pool_info hg_pool_info(struct hg_pool *pool);

/* Sums over all caches, those that are gone too, and what went without one; each a moment old while
 * threads work. */
struct hg_pool_stats {
    uint64_t take_n;   /* objects taken, */
    uint64_t give_n;   /* and given back */
    uint64_t refill_n; /* times that a cache was filled from the reserve, */
    uint64_t spill_n;  /* and emptied into it */
    uint64_t empty_n;  /* takes that were refused: too few objects */
};

/* Of the pool, and of one cache while it lasts. Any thread. */
struct hg_pool_stats hg_pool_stats(struct hg_pool *pool);
struct hg_pool_stats hg_pool_cache_stats(const struct hg_pool_cache *cache);

/*
 * A cache for one thread at a time. The name, cut at HG_MEM_NAME_MAX, says in reports who takes;
 * several may have the same; NULL: "unnamed". Returns 0, or -ENOMEM with *err. Freeing it gives its
 * objects back to the reserve. Any thread.
 */
int hg_pool_cache_new(struct hg_pool_cache **cache, struct hg_pool *pool, const char *name,
                      struct hg_err *err);
void hg_pool_cache_free(struct hg_pool_cache *cache);

/* Bytes of each object that comes from this cache. */
uint32_t hg_pool_object_bytes(const struct hg_pool_cache *cache);

/* hg_pool_take() and hg_pool_put() where the cache alone does not do. */
bool hg_pool_take_more_(struct hg_pool_cache *cache, void **objects, uint32_t n);
void hg_pool_put_more_(struct hg_pool_cache *cache, void *const *objects, uint32_t n);

/* A copy of pointers without the call that memcpy() of a variable size is. */
static inline void hg_pool_copy_(void **to, void *const *from, uint32_t n)
{
    while (n >= 4) {
        memcpy(to, from, 4 * sizeof(*to));
        to += 4;
        from += 4;
        n -= 4;
    }
    if (n >= 2) {
        memcpy(to, from, 2 * sizeof(*to));
        to += 2;
        from += 2;
        n -= 2;
    }
    if (n != 0)
        to[0] = from[0];
}

/*
 * Takes n objects into an array: all of them, or none and false when cache and reserve have not
 * enough. The caller owns them; their contents are undefined. The cache's thread.
 */
static inline bool hg_pool_take(struct hg_pool_cache *cache, void **objects, uint32_t n)
{
    uint32_t have = atomic_load_explicit(&cache->n, memory_order_relaxed);
    uint64_t take_n = atomic_load_explicit(&cache->take_n, memory_order_relaxed);

    if (hg_unlikely(n > have))
        return hg_pool_take_more_(cache, objects, n);
    hg_pool_copy_(objects, cache->object + (have - n), n);
    atomic_store_explicit(&cache->n, have - n, memory_order_relaxed);
    atomic_store_explicit(&cache->take_n, take_n + n, memory_order_relaxed);
    return true;
}

/* Gives n objects of the pool back; they are nobody's from then on. The cache's thread. */
static inline void hg_pool_put(struct hg_pool_cache *cache, void *const *objects, uint32_t n)
{
    uint32_t have = atomic_load_explicit(&cache->n, memory_order_relaxed);

    if (hg_unlikely(n > cache->max - have)) {
        hg_pool_put_more_(cache, objects, n);
        return;
    }
    hg_pool_copy_(cache->object + have, objects, n);
    atomic_store_explicit(&cache->n, have + n, memory_order_relaxed);
}

/* The same without a cache, on the reserve alone: what lies in others' caches is not seen. Any
 * thread. */
bool hg_pool_take_shared(struct hg_pool *pool, void **objects, uint32_t n);
void hg_pool_put_shared(struct hg_pool *pool, void *const *objects, uint32_t n);

HG_API_END

#endif
