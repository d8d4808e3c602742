/*
 * What a pool consists of, and what debug builds know of its objects. Private to the folder.
 */
#ifndef HG_PKT_POOL_STATE_H
#define HG_PKT_POOL_STATE_H

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bits.h"
#include "mem/arena.h"
#include "pkt/pool.h"

/* What has gone through the caches of one name: what is left of them when they are freed, and how
 * debug builds say who holds an object. */
struct hg_pool_account {
    char name[HG_MEM_NAME_MAX + 1];
    struct hg_pool_stats stats;
    struct hg_pool_account *next;
};

/* What a debug build knows of an object. */
struct hg_pool_object {
    /* Where it was taken or given back last. Written by its owner, or with the state below as the
     * lock. */
    void *place;
    const struct hg_pool_account *account;
    atomic_bool taken;
};

struct hg_pool {
    char name[HG_MEM_NAME_MAX + 1];
    struct hg_arena *arena;
    uint8_t *base; /* of the objects */
    uint32_t object_bytes;
    uint32_t stride_bytes;
    uint32_t n;
    uint32_t cache_n;
    struct hg_pool_object *object; /* of debug builds */
    struct hg_pool_account shared; /* for those without a cache; its name alone is used */

    /* Caches come and go under the mutex; who takes objects never waits for it. */
    pthread_mutex_t list_lock;
    struct hg_pool_cache *caches;
    struct hg_pool_account *accounts;

    alignas(HG_CACHE_LINE_BYTES) atomic_bool locked; /* guards the rest */
    uint32_t reserve_n;
    void **reserve;         /* a stack */
    uint64_t shared_take_n; /* objects taken without a cache */
    uint64_t shared_empty_n;
};

/* Of a cache, what its thread does not need for each call. The counters are written by that
 * thread. */
struct hg_pool_more {
    struct hg_pool_account *account;
    struct hg_pool_cache *next;      /* guarded by the pool's list_lock */
    _Atomic uint32_t checked_n;      /* hg_pool_cache.n of debug builds */
    _Atomic uint64_t from_reserve_n; /* objects */
    _Atomic uint64_t to_reserve_n;
    _Atomic uint64_t refill_n; /* times */
    _Atomic uint64_t spill_n;
    _Atomic uint64_t empty_n;
};

#ifdef HG_DEBUG
enum { HG_POOL_CHECKED = true };
#else
enum { HG_POOL_CHECKED = false };
#endif

static inline uint64_t hg_pool_load_(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Objects in a cache. In debug builds the inline functions find one that is empty and of size 0, so
 * that every call comes to the checks, whatever the caller was built with. */
static inline uint32_t hg_pool_cached_(const struct hg_pool_cache *cache)
{
    return atomic_load_explicit(HG_POOL_CHECKED ? &cache->more->checked_n : &cache->n,
                                memory_order_relaxed);
}

static inline void hg_pool_set_cached_(struct hg_pool_cache *cache, uint32_t n)
{
    atomic_store_explicit(HG_POOL_CHECKED ? &cache->more->checked_n : &cache->n, n,
                          memory_order_relaxed);
}

/* Gives objects back to the reserve. Any thread. */
void hg_pool_to_reserve_(struct hg_pool *pool, void *const *objects, uint32_t n);

/* How many objects are in the reserve, and what those without a cache have counted. Any thread. */
uint32_t hg_pool_look_(struct hg_pool *pool, struct hg_pool_stats *shared);

/* --- debug builds only --- */

/* Describes the objects and puts their marks on them, all free. False when there is no memory for
 * it. */
bool hg_pool_check_new(struct hg_pool *pool);
void hg_pool_check_free(struct hg_pool *pool);

/* Before the n objects are their taker's, and when they are nobody's any more. Abort when something
 * is wrong with one. `place` is the caller's caller. */
void hg_pool_check_take(struct hg_pool *pool, void *const *objects, uint32_t n,
                        const struct hg_pool_account *account, void *place);
void hg_pool_check_put(struct hg_pool *pool, void *const *objects, uint32_t n,
                       const struct hg_pool_account *account, void *place);

/* Logs who holds the objects that are taken, by account and place. */
void hg_pool_check_report(const struct hg_pool *pool);

#endif
