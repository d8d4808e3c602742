#include "pkt/pool.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "pkt/pool_state.h"

enum { WAITS_MAX = 16 }; /* pauses between two looks at the lock */

_Static_assert(offsetof(struct hg_pool_cache, object) == HG_CACHE_LINE_BYTES,
               "a call for one object touches two lines");

/* --- the reserve --- */

/* Waits longer and longer without looking: each look takes the line away from who works with it, and a thread
 * that is let alone does many calls in the time that it takes to hand the line over and back. */
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

/* Takes n objects and, beyond them, as many of `extra` as there are. Returns how many: 0 when not n. */
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

static void to_reserve(struct hg_pool *pool, void *const *objects, uint32_t n)
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

/* Apart, so that who need not wait saves no registers: stores before the lock are what the lock waits for. */
static __attribute__((noinline, cold)) bool take_in_turn(struct hg_pool *pool, void **objects,
                                                         uint32_t n)
{
    wait_for_lock(pool);
    return take_and_unlock(pool, objects, n);
}

static __attribute__((noinline, cold)) void put_in_turn(struct hg_pool *pool, void *const *objects,
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

/* --- caches, where the fast path ends --- */

static uint64_t load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* By the counter's only writer. */
static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, load(counter) + n, memory_order_relaxed);
}

/* In debug builds the inline functions find a cache that is empty and of size 0: every call comes here, whatever
 * the caller was built with. */
static _Atomic uint32_t *count_of(struct hg_pool_cache *cache)
{
    return HG_POOL_CHECKED ? &cache->more->checked_n : &cache->n;
}

static uint32_t cached(const struct hg_pool_cache *cache)
{
    return atomic_load_explicit(HG_POOL_CHECKED ? &cache->more->checked_n : &cache->n,
                                memory_order_relaxed);
}

static void set_cached(struct hg_pool_cache *cache, uint32_t n)
{
    atomic_store_explicit(count_of(cache), n, memory_order_relaxed);
}

/* Takes objects[have..n) from the reserve, and half a cache to go on with; then the cache's own. The caller has
 * seen that the cache holds fewer than n. */
static bool take_with_reserve(struct hg_pool_cache *cache, void **objects, uint32_t n)
{
    struct hg_pool *pool = cache->pool;
    uint32_t have = cached(cache);
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
    set_cached(cache, got - missing);
    add(&cache->more->from_reserve_n, got);
    add(&cache->more->refill_n, 1);
    return true;
}

bool hg_pool_take_more_(struct hg_pool_cache *cache, void **objects, uint32_t n)
{
    uint32_t have = cached(cache);

    if (n > have) {
        if (!take_with_reserve(cache, objects, n))
            return false;
    } else {
        hg_pool_copy_(objects, cache->object + (have - n), n);
        set_cached(cache, have - n);
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
    uint32_t have = cached(cache);

    if (HG_POOL_CHECKED)
        hg_pool_check_put(pool, objects, n, cache->more->account, __builtin_return_address(0));
    if (n > pool->cache_n - have) {
        /* What has lain longest makes room: half a cache, or all, or what comes does not stay at all. */
        bool stays = n <= pool->cache_n;
        uint32_t spill = hg_max_u32(have + n - pool->cache_n, pool->cache_n / 2);

        spill = stays ? hg_min_u32(spill, have) : n;
        to_reserve(pool, stays ? cache->object : objects, spill);
        add(&cache->more->to_reserve_n, spill);
        add(&cache->more->spill_n, 1);
        if (!stays)
            return;
        have -= spill;
        memmove(cache->object, cache->object + spill, have * sizeof(cache->object[0]));
    }
    hg_pool_copy_(cache->object + have, objects, n);
    set_cached(cache, have + n);
}

uint32_t hg_pool_object_bytes(const struct hg_pool_cache *cache)
{
    return cache->pool->object_bytes;
}

/* --- caches come and go --- */

static void add_stats(struct hg_pool_stats *sum, const struct hg_pool_stats *stats)
{
    sum->take_n += stats->take_n;
    sum->give_n += stats->give_n;
    sum->refill_n += stats->refill_n;
    sum->spill_n += stats->spill_n;
    sum->empty_n += stats->empty_n;
}

struct hg_pool_stats hg_pool_cache_stats(const struct hg_pool_cache *cache)
{
    const struct hg_pool_more *more = cache->more;
    struct hg_pool_stats stats = {
        .take_n = load(&cache->take_n),
        .refill_n = load(&more->refill_n),
        .spill_n = load(&more->spill_n),
        .empty_n = load(&more->empty_n),
    };

    /* What came in has gone out, or is there; so givers need not count. */
    stats.give_n =
        stats.take_n + load(&more->to_reserve_n) + cached(cache) - load(&more->from_reserve_n);
    return stats;
}

/* The account of that name, a new one if there is none. Under the list's lock. */
static struct hg_pool_account *open_account(struct hg_pool *pool, const char *name)
{
    struct hg_pool_account *account = pool->accounts;

    while (account != NULL && strncmp(account->name, name, HG_MEM_NAME_MAX) != 0)
        account = account->next;
    if (account != NULL)
        return account;
    account = calloc(1, sizeof(*account));
    if (account != NULL) {
        snprintf(account->name, sizeof(account->name), "%s", name);
        account->next = pool->accounts;
        pool->accounts = account;
    }
    return account;
}

int hg_pool_cache_new(struct hg_pool_cache **cache, struct hg_pool *pool, const char *name,
                      struct hg_err *err)
{
    struct hg_pool_cache *made = aligned_alloc(
        HG_CACHE_LINE_BYTES, hg_round_up(sizeof(*made) + sizeof(*made->more), HG_CACHE_LINE_BYTES));
    struct hg_pool_account *account;

    *cache = NULL;
    pthread_mutex_lock(&pool->list_lock);
    account = open_account(pool, name);
    if (made != NULL && account != NULL) {
        memset(made, 0, sizeof(*made) + sizeof(*made->more));
        made->max = HG_POOL_CHECKED ? 0 : pool->cache_n;
        made->pool = pool;
        made->more = (struct hg_pool_more *)(void *)(made + 1);
        made->more->account = account;
        made->more->next = pool->caches;
        pool->caches = made;
        *cache = made;
    }
    pthread_mutex_unlock(&pool->list_lock);
    if (*cache != NULL)
        return 0;
    free(made);
    return hg_err_set(err, ENOMEM, "pool '%s': no memory for a cache", pool->name);
}

void hg_pool_cache_free(struct hg_pool_cache *cache)
{
    struct hg_pool *pool = cache->pool;
    struct hg_pool_cache **link = &pool->caches;
    struct hg_pool_stats stats = hg_pool_cache_stats(cache);

    pthread_mutex_lock(&pool->list_lock);
    while (*link != cache)
        link = &(*link)->more->next;
    *link = cache->more->next;
    add_stats(&cache->more->account->stats, &stats);
    to_reserve(pool, cache->object, cached(cache));
    pthread_mutex_unlock(&pool->list_lock);
    free(cache);
}

/* Objects that nobody has. Under the list's lock; *sum receives what
 * takers have counted. */
static uint32_t count_free(struct hg_pool *pool, struct hg_pool_stats *sum)
{
    uint32_t free_n;

    lock(pool);
    free_n = pool->reserve_n;
    *sum = (struct hg_pool_stats){.take_n = pool->shared_take_n, .empty_n = pool->shared_empty_n};
    unlock(pool);
    for (const struct hg_pool_account *account = pool->accounts; account; account = account->next)
        add_stats(sum, &account->stats);
    for (const struct hg_pool_cache *cache = pool->caches; cache; cache = cache->more->next) {
        struct hg_pool_stats stats = hg_pool_cache_stats(cache);

        add_stats(sum, &stats);
        free_n += cached(cache);
    }
    return hg_min_u32(free_n, pool->n);
}

struct hg_pool_stats hg_pool_stats(struct hg_pool *pool)
{
    struct hg_pool_stats sum;
    uint32_t held_n;

    pthread_mutex_lock(&pool->list_lock);
    held_n = pool->n - count_free(pool, &sum);
    pthread_mutex_unlock(&pool->list_lock);
    /* What was taken is held, or has been given back. */
    sum.give_n = sum.take_n - hg_min_u64(held_n, sum.take_n);
    return sum;
}

struct hg_pool_info hg_pool_info(struct hg_pool *pool)
{
    struct hg_pool_stats unused;
    uint32_t free_n;

    pthread_mutex_lock(&pool->list_lock);
    free_n = count_free(pool, &unused);
    pthread_mutex_unlock(&pool->list_lock);
    return (struct hg_pool_info){
        .name = pool->name,
        .object_bytes = pool->object_bytes,
        .stride_bytes = pool->stride_bytes,
        .n = pool->n,
        .free_n = free_n,
        .cache_n = pool->cache_n,
    };
}

/* --- pools come and go --- */

/* Bytes from an object to the next: an odd number of cache lines; in debug builds with a line to spare, as a
 * fence. 0 when an object is too large. */
static uint32_t stride_of(uint32_t object_bytes)
{
    uint64_t lines = hg_round_up(object_bytes, HG_CACHE_LINE_BYTES) / HG_CACHE_LINE_BYTES;

    lines = (lines + HG_POOL_CHECKED) | 1;
    return lines <= UINT32_MAX / HG_CACHE_LINE_BYTES ? (uint32_t)lines * HG_CACHE_LINE_BYTES : 0;
}

uint64_t hg_pool_bytes(const struct hg_pool_options *options)
{
    uint64_t stride = stride_of(options->object_bytes);

    if (options->object_bytes == 0 || stride == 0 || options->cache_n > HG_POOL_CACHE_N_MAX)
        return 0;
    return options->n * (stride + sizeof(void *));
}

static int check(const struct hg_pool_options *options, struct hg_err *err)
{
    if (options->cache_n > HG_POOL_CACHE_N_MAX)
        return hg_err_set(err, EINVAL,
                          "pool '%s': caches of %" PRIu32 " objects, expected at most %d",
                          options->name, options->cache_n, HG_POOL_CACHE_N_MAX);
    if (hg_pool_bytes(options) == 0)
        return hg_err_set(err, EINVAL,
                          "pool '%s': %" PRIu32 " objects of %" PRIu32
                          " bytes, expected at least 1 of at least 1 and less than 4 GiB",
                          options->name, options->n, options->object_bytes);
    return 0;
}

static void fill_reserve(struct hg_pool *pool)
{
    pool->reserve = (void **)(void *)(pool->base + (uint64_t)pool->n * pool->stride_bytes);
    for (uint32_t i = 0; i < pool->n; i++) /* the first object on top */
        pool->reserve[i] = pool->base + (uint64_t)pool->stride_bytes * (pool->n - 1 - i);
    pool->reserve_n = pool->n;
}

int hg_pool_new(struct hg_pool **pool, struct hg_arena *arena,
                const struct hg_pool_options *options, struct hg_err *err)
{
    struct hg_arena_info info = hg_arena_info(arena);
    uint64_t bytes = hg_pool_bytes(options);
    int rc = check(options, err);
    struct hg_pool *made;

    *pool = NULL;
    if (rc != 0)
        return rc;
    made = aligned_alloc(alignof(struct hg_pool), sizeof(*made));
    if (made == NULL)
        return hg_err_set(err, ENOMEM, "pool '%s': no memory to describe it", options->name);
    memset(made, 0, sizeof(*made));
    snprintf(made->name, sizeof(made->name), "%s", options->name);
    snprintf(made->shared.name, sizeof(made->shared.name), "no cache");
    pthread_mutex_init(&made->list_lock, NULL);
    made->object_bytes = options->object_bytes;
    made->stride_bytes = stride_of(options->object_bytes);
    made->n = options->n;
    made->cache_n = options->cache_n == 0 ? HG_POOL_CACHE_N : options->cache_n;
    made->arena = arena;
    made->base = hg_arena_take(arena, options->name, bytes, HG_CACHE_LINE_BYTES);
    if (made->base == NULL || (HG_POOL_CHECKED && !hg_pool_check_new(made))) {
        free(made);
        return hg_err_set(err, ENOMEM,
                          "pool '%s': %" PRIu64 " bytes are needed, memory '%s' has %" PRIu64
                          " left",
                          options->name, bytes, info.name, info.bytes - info.used_bytes);
    }
    hg_arena_pin(arena, made->base);
    fill_reserve(made);
    *pool = made;
    return 0;
}

/* Of each name, and without a cache: whose balance is not even has not given back, or somebody else has done it
 * for him. */
static void report_leaks(const struct hg_pool *pool)
{
    uint32_t held_n = pool->n - pool->reserve_n;
    int64_t shared_n = held_n;

    hg_log(HG_LOG_WARN, "pool", "'%s': %" PRIu32 " of %" PRIu32 " objects have not been given back",
           pool->name, held_n, pool->n);
    if (HG_POOL_CHECKED) {
        hg_pool_check_report(pool);
        return;
    }
    for (const struct hg_pool_account *account = pool->accounts; account; account = account->next) {
        const struct hg_pool_stats *stats = &account->stats;

        shared_n -= (int64_t)(stats->take_n - stats->give_n);
        if (stats->take_n != stats->give_n)
            hg_log(HG_LOG_WARN, "pool",
                   "'%s': %" PRIu64 " taken through '%s', %" PRIu64 " given back through it",
                   pool->name, stats->take_n, account->name, stats->give_n);
    }
    if (shared_n != 0)
        hg_log(HG_LOG_WARN, "pool",
               "'%s': %" PRIu64 " taken without a cache, %" PRIu64 " given back without one",
               pool->name, pool->shared_take_n, pool->shared_take_n - (uint64_t)shared_n);
}

void hg_pool_free(struct hg_pool *pool)
{
    struct hg_pool_account *account;

    assert(pool->caches == NULL);
    if (pool->reserve_n != pool->n)
        report_leaks(pool);
    if (HG_POOL_CHECKED)
        hg_pool_check_free(pool);
    while ((account = pool->accounts) != NULL) {
        pool->accounts = account->next;
        free(account);
    }
    hg_arena_unpin(pool->arena, pool->base);
    pthread_mutex_destroy(&pool->list_lock);
    free(pool);
}
