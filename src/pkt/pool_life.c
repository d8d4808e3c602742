/*
 * Pools and caches come and go, and are counted.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "pkt/pool.h"
#include "pkt/pool_state.h"

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
        .take_n = hg_pool_load_(&cache->take_n),
        .refill_n = hg_pool_load_(&more->refill_n),
        .spill_n = hg_pool_load_(&more->spill_n),
        .empty_n = hg_pool_load_(&more->empty_n),
    };
    uint64_t out_n;

    /* What came in has gone out, or is there; so givers need not count. What was read before its thread took
     * from the reserve may be less than what it took. */
    out_n = stats.take_n + hg_pool_load_(&more->to_reserve_n) + hg_pool_cached_(cache);
    stats.give_n = out_n - hg_min_u64(out_n, hg_pool_load_(&more->from_reserve_n));
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
    account = open_account(pool, name != NULL ? name : "unnamed");
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
    hg_pool_to_reserve_(pool, cache->object, hg_pool_cached_(cache));
    pthread_mutex_unlock(&pool->list_lock);
    free(cache);
}

/* Objects that nobody has. Under the list's lock; *sum receives what
 * takers have counted. */
static uint32_t count_free(struct hg_pool *pool, struct hg_pool_stats *sum)
{
    uint32_t free_n = hg_pool_look_(pool, sum);

    for (const struct hg_pool_account *account = pool->accounts; account; account = account->next)
        add_stats(sum, &account->stats);
    for (const struct hg_pool_cache *cache = pool->caches; cache; cache = cache->more->next) {
        struct hg_pool_stats stats = hg_pool_cache_stats(cache);

        add_stats(sum, &stats);
        free_n += hg_pool_cached_(cache);
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

static const char *name_of(const struct hg_pool_options *options)
{
    return options->name != NULL ? options->name : "pool";
}

static int check(const struct hg_pool_options *options, struct hg_err *err)
{
    if (options->cache_n > HG_POOL_CACHE_N_MAX)
        return hg_err_set(err, EINVAL,
                          "pool '%s': caches of %" PRIu32 " objects; expected at most %d",
                          name_of(options), options->cache_n, HG_POOL_CACHE_N_MAX);
    if (hg_pool_bytes(options) == 0)
        return hg_err_set(err, EINVAL,
                          "pool '%s': %" PRIu32 " objects of %" PRIu32
                          " bytes; expected at least 1, of 1 byte to 4 GiB",
                          name_of(options), options->n, options->object_bytes);
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
        return hg_err_set(err, ENOMEM, "pool '%s': no memory to describe it", name_of(options));
    memset(made, 0, sizeof(*made));
    snprintf(made->name, sizeof(made->name), "%s", name_of(options));
    snprintf(made->shared.name, sizeof(made->shared.name), "no cache");
    pthread_mutex_init(&made->list_lock, NULL);
    made->object_bytes = options->object_bytes;
    made->stride_bytes = stride_of(options->object_bytes);
    made->n = options->n;
    made->cache_n = options->cache_n == 0 ? HG_POOL_CACHE_N : options->cache_n;
    made->arena = arena;
    made->base = hg_arena_take(arena, made->name, bytes, HG_CACHE_LINE_BYTES);
    if (made->base == NULL || (HG_POOL_CHECKED && !hg_pool_check_new(made))) {
        free(made);
        return hg_err_set(err, ENOMEM,
                          "pool '%s': %" PRIu64 " bytes are needed, memory '%s' has %" PRIu64
                          " left",
                          name_of(options), bytes, info.name, info.bytes - info.used_bytes);
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
