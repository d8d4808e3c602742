#include "pkt/pool.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/log.h"
#include "sync/spin.h"

enum { TRANSFER_N = HG_POOL_CACHE_N / 2 }; /* between cache and reserve */

struct hg_pool {
    uint8_t *base; /* of the buffers */
    uint32_t buf_bytes;
    uint32_t n;
#ifdef HG_DEBUG
    atomic_bool *taken; /* by buffer */
#endif

    /* Guarded by the lock. */
    alignas(HG_CACHE_LINE_BYTES) struct hg_spin lock;
    uint32_t reserve_n;
    void **reserve; /* a stack */
    struct hg_pool_cache *caches;
};

struct hg_pool_cache {
    struct hg_pool *pool;
    struct hg_pool_cache *next; /* guarded by the pool's lock */
    _Atomic uint32_t n;         /* written by the cache's thread, read by hg_pool_info() */
    void *buf[HG_POOL_CACHE_N]; /* a stack */
};

#ifdef HG_DEBUG
static void mark(struct hg_pool *pool, void *const *bufs, unsigned n, bool taken)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t offset = (uint64_t)((uint8_t *)bufs[i] - pool->base);
        uint64_t index = offset / pool->buf_bytes;

        if (index >= pool->n || offset % pool->buf_bytes != 0) {
            hg_log(HG_LOG_ERROR, "pool", "%p is no buffer of the pool", bufs[i]);
            abort();
        }
        if (atomic_exchange_explicit(&pool->taken[index], taken, memory_order_relaxed) == taken) {
            hg_log(HG_LOG_ERROR, "pool", "buffer %" PRIu64 " is %s twice", index,
                   taken ? "taken" : "given back");
            abort();
        }
    }
}

static bool describe_marks(struct hg_pool *pool)
{
    pool->taken = calloc(pool->n, sizeof(pool->taken[0]));
    return pool->taken != NULL;
}
#else
#define describe_marks(pool)       true
#define mark(pool, bufs, n, taken) ((void)0)
#endif

static struct hg_pool *describe(uint32_t buf_bytes, uint32_t n)
{
    struct hg_pool *pool = aligned_alloc(alignof(struct hg_pool), sizeof(*pool));

    if (!pool)
        return NULL;
    memset(pool, 0, sizeof(*pool));
    pool->buf_bytes = buf_bytes;
    pool->n = n;
    pool->reserve = calloc(n, sizeof(pool->reserve[0]));
    if (!pool->reserve || !describe_marks(pool)) {
        hg_pool_free(pool);
        return NULL;
    }
    return pool;
}

int hg_pool_new(struct hg_pool **pool, struct hg_arena *arena, const char *name, uint32_t buf_bytes,
                uint32_t n, struct hg_err *err)
{
    uint64_t bytes = hg_round_up(buf_bytes, HG_CACHE_LINE_BYTES);
    struct hg_arena_info info = hg_arena_info(arena);
    struct hg_pool *made;
    uint8_t *base;

    *pool = NULL;
    if (buf_bytes < HG_POOL_BUF_MIN || bytes > UINT32_MAX || n == 0)
        return hg_err_set(err, EINVAL,
                          "pool '%s': %" PRIu32 " buffers of %" PRIu32
                          " bytes, expected at least 1 of at least %d",
                          name, n, buf_bytes, HG_POOL_BUF_MIN);
    base = hg_arena_take(arena, name, bytes * n, HG_CACHE_LINE_BYTES);
    if (!base)
        return hg_err_set(err, ENOMEM,
                          "pool '%s': %" PRIu64 " bytes are needed, memory '%s' has %" PRIu64
                          " left",
                          name, bytes * n, info.name, info.bytes - info.used_bytes);
    made = describe((uint32_t)bytes, n);
    if (!made)
        return hg_err_set(err, ENOMEM, "pool '%s': no memory to describe it", name);
    made->base = base;
    for (uint32_t i = 0; i < n; i++)
        made->reserve[i] = made->base + bytes * (n - 1 - i); /* the first buffer on top */
    made->reserve_n = n;
    *pool = made;
    return 0;
}

void hg_pool_free(struct hg_pool *pool)
{
    assert(!pool->caches);
#ifdef HG_DEBUG
    free(pool->taken);
#endif
    free(pool->reserve);
    free(pool);
}

struct hg_pool_info hg_pool_info(struct hg_pool *pool)
{
    struct hg_pool_info info = {.buf_bytes = pool->buf_bytes, .n = pool->n};

    hg_spin_lock(&pool->lock);
    info.free_n = pool->reserve_n;
    for (struct hg_pool_cache *cache = pool->caches; cache; cache = cache->next)
        info.free_n += atomic_load_explicit(&cache->n, memory_order_relaxed);
    hg_spin_unlock(&pool->lock);
    return info;
}

int hg_pool_cache_new(struct hg_pool_cache **cache, struct hg_pool *pool, struct hg_err *err)
{
    struct hg_pool_cache *made =
        aligned_alloc(HG_CACHE_LINE_BYTES, hg_round_up(sizeof(*made), HG_CACHE_LINE_BYTES));

    *cache = made;
    if (!made)
        return hg_err_set(err, ENOMEM, "no memory for a cache of packet buffers");
    memset(made, 0, sizeof(*made));
    made->pool = pool;
    hg_spin_lock(&pool->lock);
    made->next = pool->caches;
    pool->caches = made;
    hg_spin_unlock(&pool->lock);
    return 0;
}

static uint32_t cached(const struct hg_pool_cache *cache)
{
    return atomic_load_explicit(&cache->n, memory_order_relaxed);
}

static void set_cached(struct hg_pool_cache *cache, uint32_t n)
{
    atomic_store_explicit(&cache->n, n, memory_order_relaxed);
}

/* Moves the n topmost buffers from one stack to the other, under the lock. */
static void to_reserve(struct hg_pool_cache *cache, uint32_t n)
{
    struct hg_pool *pool = cache->pool;
    uint32_t left = cached(cache) - n;

    memcpy(pool->reserve + pool->reserve_n, cache->buf + left, n * sizeof(cache->buf[0]));
    pool->reserve_n += n;
    set_cached(cache, left);
}

static void from_reserve(struct hg_pool_cache *cache, uint32_t n)
{
    struct hg_pool *pool = cache->pool;
    uint32_t have = cached(cache);

    pool->reserve_n -= n;
    memcpy(cache->buf + have, pool->reserve + pool->reserve_n, n * sizeof(cache->buf[0]));
    set_cached(cache, have + n);
}

void hg_pool_cache_free(struct hg_pool_cache *cache)
{
    struct hg_pool *pool = cache->pool;
    struct hg_pool_cache **link = &pool->caches;

    hg_spin_lock(&pool->lock);
    while (*link != cache)
        link = &(*link)->next;
    *link = cache->next;
    to_reserve(cache, cached(cache));
    hg_spin_unlock(&pool->lock);
    free(cache);
}

/* Fetches so many that n are there and TRANSFER_N remain; fewer remain when the reserve is low. */
static bool refill(struct hg_pool_cache *cache, uint32_t n)
{
    struct hg_pool *pool = cache->pool;
    uint32_t missing = n - cached(cache);
    bool enough;

    hg_spin_lock(&pool->lock);
    enough = pool->reserve_n >= missing;
    if (enough)
        from_reserve(cache, hg_min_u32(missing + TRANSFER_N, pool->reserve_n));
    hg_spin_unlock(&pool->lock);
    return enough;
}

uint32_t hg_pool_buf_bytes(const struct hg_pool_cache *cache)
{
    return cache->pool->buf_bytes;
}

bool hg_pool_take(struct hg_pool_cache *cache, void **bufs, unsigned n)
{
    uint32_t left;

    assert(n <= HG_POOL_TAKE_MAX);
    if (cached(cache) < n && !refill(cache, n))
        return false;
    left = cached(cache) - n;
    memcpy(bufs, cache->buf + left, n * sizeof(bufs[0]));
    set_cached(cache, left);
    mark(cache->pool, bufs, n, true);
    return true;
}

void hg_pool_put(struct hg_pool_cache *cache, void *const *bufs, unsigned n)
{
    assert(n <= HG_POOL_TAKE_MAX);
    mark(cache->pool, bufs, n, false);
    if (cached(cache) + n > HG_POOL_CACHE_N) {
        hg_spin_lock(&cache->pool->lock);
        to_reserve(cache, TRANSFER_N);
        hg_spin_unlock(&cache->pool->lock);
    }
    memcpy(cache->buf + cached(cache), bufs, n * sizeof(bufs[0]));
    set_cached(cache, cached(cache) + n);
}
