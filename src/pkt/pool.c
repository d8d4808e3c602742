#include "pkt/pool.h"

#include <assert.h>
#include <sched.h>
#include <string.h>

#include "base/clock.h"
#include "pkt/pool_state.h"

enum { WAITS_MAX = 16 }; /* pauses between two looks at the lock */

_Static_assert(offsetof(struct hg_pool_cache, object) == HG_CACHE_LINE_BYTES,
               "a call for one object touches two lines");

/* --- the reserve --- */

/* Waits longer and longer without looking: each look takes the line away from who works with it,
 * and a thread that is let alone does many calls in the time that it takes to hand the line over
 * and back. */
static __attribute__((noinline, cold)) void wait_for_lock(struct hg_pool *pool)
{
    unsigned waits = 1;

    do {
        for (unsigned i = 0; i < waits; i++)
            hg_relax();
        if (waits < WAITS_MAX)
            waits *= 2;
        else
            sched_yield();
    } while (atomic_load_explicit(&pool->locked, memory_order_relaxed) ||
             atomic_exchange_explicit(&pool->locked, true, memory_order_acquire));
}

/* Acquire, here and above: pairs with the release in unlock(). */
static inline bool try_lock(struct hg_pool *pool)
{
    return hg_likely(!atomic_exchange_explicit(&pool->locked, true, memory_order_acquire));
}

static inline void unlock(struct hg_pool *pool)
{
    atomic_store_explicit(&pool->locked, false, memory_order_release);
}

static void lock(struct hg_pool *pool)
{
    if (!try_lock(pool))
        wait_for_lock(pool);
}

static inline void pop(struct hg_pool *pool, void **objects, uint32_t n)
{
    pool->reserve_n -= n;
    hg_pool_copy_(objects, pool->reserve + pool->reserve_n, n);
}

static inline void push_and_unlock(struct hg_pool *pool, void *const *objects, uint32_t n)
{
    assert(n <= pool->n - pool->reserve_n); /* else some were given back twice */
    hg_pool_copy_(pool->reserve + pool->reserve_n, objects, n);
    pool->reserve_n += n;
    unlock(pool);
}

/* Takes n objects and, beyond them, as many of `extra` as there are. Returns how many: 0 when not
 * n. */
static uint32_t from_reserve(struct hg_pool *pool, void **objects, uint32_t n, uint32_t extra)
{
    uint32_t got = 0;

    lock(pool);
    if (n <= pool->reserve_n) {
        got = n + hg_min_u32(extra, pool->reserve_n - n);
        pop(pool, objects, got);
    }
    unlock(pool);
    return got;
}

void hg_pool_to_reserve_(struct hg_pool *pool, void *const *objects, uint32_t n)
{
    lock(pool);
    push_and_unlock(pool, objects, n);
}

static inline bool take_and_unlock(struct hg_pool *pool, void **objects, uint32_t n)
{
    bool enough = n <= pool->reserve_n;

    if (hg_likely(enough)) {
        pop(pool, objects, n);
        pool->shared_take_n += n;
    } else {
        pool->shared_empty_n++;
    }
    unlock(pool);
    return enough;
}

/* Apart, so that who need not wait saves no registers: stores before the lock are what the lock
 * waits for. */
static __attribute__((noinline)) bool take_in_turn(struct hg_pool *pool, void **objects, uint32_t n)
{
    wait_for_lock(pool);
    return take_and_unlock(pool, objects, n);
}

static __attribute__((noinline)) void put_in_turn(struct hg_pool *pool, void *const *objects,
                                                  uint32_t n)
{
    wait_for_lock(pool);
    push_and_unlock(pool, objects, n);
}

bool hg_pool_take_shared(struct hg_pool *pool, void **objects, uint32_t n)
{
    bool got = try_lock(pool) ? take_and_unlock(pool, objects, n) : take_in_turn(pool, objects, n);

    if (HG_POOL_CHECKED && got)
        hg_pool_check_take(pool, objects, n, &pool->shared, __builtin_return_address(0));
    return got;
}

void hg_pool_put_shared(struct hg_pool *pool, void *const *objects, uint32_t n)
{
    if (HG_POOL_CHECKED)
        hg_pool_check_put(pool, objects, n, &pool->shared, __builtin_return_address(0));
    if (try_lock(pool))
        push_and_unlock(pool, objects, n);
    else
        put_in_turn(pool, objects, n);
}

uint32_t hg_pool_look_(struct hg_pool *pool, struct hg_pool_stats *shared)
{
    uint32_t reserve_n;

    lock(pool);
    reserve_n = pool->reserve_n;
    *shared =
        (struct hg_pool_stats){.take_n = pool->shared_take_n, .empty_n = pool->shared_empty_n};
    unlock(pool);
    return reserve_n;
}

/* --- caches, where the fast path ends --- */

/* By the counter's only writer. */
static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, hg_pool_load_(counter) + n, memory_order_relaxed);
}

/* Takes objects[have..n) from the reserve, and half a cache to go on with; then the cache's own.
 * The caller has seen that the cache holds fewer than n. */
static bool take_with_reserve(struct hg_pool_cache *cache, void **objects, uint32_t n)
{
    struct hg_pool *pool = cache->pool;
    uint32_t have = hg_pool_cached_(cache);
    void *fresh[HG_POOL_CACHE_N_MAX];
    uint32_t missing = n - have;
    uint32_t got;

    if (missing > HG_POOL_CACHE_N_MAX / 2) { /* more than caches are for */
        got = from_reserve(pool, objects + have, missing, 0);
        hg_pool_copy_(objects, cache->object, got == 0 ? 0 : have);
    } else {
        got = from_reserve(pool, fresh, missing, pool->cache_n / 2);
        if (got != 0) {
            hg_pool_copy_(objects, cache->object, have);
            hg_pool_copy_(objects + have, fresh + (got - missing), missing);
            hg_pool_copy_(cache->object, fresh, got - missing);
        }
    }
    if (got == 0) {
        add(&cache->more->empty_n, 1);
        return false;
    }
    hg_pool_set_cached_(cache, got - missing);
    add(&cache->more->from_reserve_n, got);
    add(&cache->more->refill_n, 1);
    return true;
}

bool hg_pool_take_more_(struct hg_pool_cache *cache, void **objects, uint32_t n)
{
    uint32_t have = hg_pool_cached_(cache);

    if (n > have) {
        if (!take_with_reserve(cache, objects, n))
            return false;
    } else {
        hg_pool_copy_(objects, cache->object + (have - n), n);
        hg_pool_set_cached_(cache, have - n);
    }
    atomic_store_explicit(&cache->take_n,
                          atomic_load_explicit(&cache->take_n, memory_order_relaxed) + n,
                          memory_order_relaxed);
    if (HG_POOL_CHECKED)
        hg_pool_check_take(cache->pool, objects, n, cache->more->account,
                           __builtin_return_address(0));
    return true;
}

void hg_pool_put_more_(struct hg_pool_cache *cache, void *const *objects, uint32_t n)
{
    struct hg_pool *pool = cache->pool;
    uint32_t have = hg_pool_cached_(cache);

    if (HG_POOL_CHECKED)
        hg_pool_check_put(pool, objects, n, cache->more->account, __builtin_return_address(0));
    if (n > pool->cache_n - have) {
        /* What has lain longest makes room: half a cache, or all, or what comes does not stay at
         * all. */
        bool stays = n <= pool->cache_n;
        uint32_t spill = hg_max_u32(have + n - pool->cache_n, pool->cache_n / 2);

        spill = stays ? hg_min_u32(spill, have) : n;
        hg_pool_to_reserve_(pool, stays ? cache->object : objects, spill);
        add(&cache->more->to_reserve_n, spill);
        add(&cache->more->spill_n, 1);
        if (!stays)
            return;
        have -= spill;
        memmove(cache->object, cache->object + spill, have * sizeof(cache->object[0]));
    }
    hg_pool_copy_(cache->object + have, objects, n);
    hg_pool_set_cached_(cache, have + n);
}
