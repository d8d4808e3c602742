/*
 * Threads take, fill, check and give back buffers of one pool, and pass some to each other, which
 * give them back through their own caches. Nobody may find his buffer written by another.
 */
#include "pkt/pool.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"

enum { THREADS_N = 4, ROUNDS_N = 20000, BUFS_N = 2000, KEEP_N = 100 };

static struct hg_pool *pool;
static _Atomic(void *) mailbox; /* a filled buffer for whoever comes next */

struct user {
    pthread_t thread;
    struct hg_pool_cache *cache;
    uintptr_t id;
    void *bufs[KEEP_N];
    unsigned n;
    unsigned refused;
    unsigned wrong;
};

static void take(struct user *user, unsigned n)
{
    if (!hg_pool_take(user->cache, user->bufs + user->n, n)) {
        user->refused++;
        return;
    }
    while (n-- != 0)
        memset(user->bufs[user->n++], (int)user->id, 64);
}

static void give_back(struct user *user, unsigned n)
{
    char expected[64];

    memset(expected, (int)user->id, sizeof(expected));
    user->n -= n;
    for (unsigned i = 0; i < n; i++)
        user->wrong += memcmp(user->bufs[user->n + i], expected, sizeof(expected)) != 0;
    hg_pool_put(user->cache, user->bufs + user->n, n);
}

/* Swaps one buffer with whatever lies in the mailbox, and gives that back. */
static void pass_on(struct user *user)
{
    void *other;

    if (user->n == 0)
        return;
    other = atomic_exchange_explicit(&mailbox, user->bufs[--user->n], memory_order_acq_rel);
    if (other) {
        memset(other, 0, 64);
        hg_pool_put(user->cache, &other, 1);
    }
}

static void *use(void *arg)
{
    struct user *user = arg;
    unsigned seed = (unsigned)user->id;

    for (unsigned round = 0; round < ROUNDS_N; round++) {
        unsigned n = 1 + (unsigned)rand_r(&seed) % 33;

        if (user->n + n <= KEEP_N)
            take(user, n);
        pass_on(user);
        if (user->n != 0 && n % 2)
            give_back(user, n < user->n ? n : user->n);
    }
    give_back(user, user->n);
    return NULL;
}

static void new_pool(struct hg_arena **arena, uint32_t cache_n)
{
    const struct hg_pool_options options = {
        .name = "bufs", .object_bytes = 100, .n = BUFS_N, .cache_n = cache_n};
    const struct hg_arena_options memory = {
        .name = "test", .bytes = hg_pool_bytes(&options), .pages = HG_PAGES_4K};

    assert_int_equal(hg_arena_new(arena, &memory, NULL), 0);
    assert_int_equal(hg_pool_new(&pool, *arena, &options, NULL), 0);
}

static void run_users(uint32_t cache_n)
{
    static struct user users[THREADS_N];
    struct hg_arena *arena;
    void *left;

    new_pool(&arena, cache_n);
    memset(users, 0, sizeof(users));
    for (unsigned i = 0; i < THREADS_N; i++) {
        users[i].id = i + 1;
        assert_int_equal(hg_pool_cache_new(&users[i].cache, pool, "user", NULL), 0);
    }
    for (unsigned i = 0; i < THREADS_N; i++)
        assert_int_equal(pthread_create(&users[i].thread, NULL, use, &users[i]), 0);
    for (unsigned i = 0; i < 1000; i++) {
        assert_true(hg_pool_info(pool).n == BUFS_N);
        (void)hg_pool_stats(pool);
    }
    for (unsigned i = 0; i < THREADS_N; i++) {
        pthread_join(users[i].thread, NULL);
        assert_int_equal(users[i].wrong, 0);
        assert_int_equal(users[i].refused, 0); /* there are enough, with full caches too */
    }
    left = atomic_exchange(&mailbox, NULL);
    hg_pool_put(users[0].cache, &left, 1);
    assert_int_equal(hg_pool_info(pool).free_n, BUFS_N);
    for (unsigned i = 0; i < THREADS_N; i++)
        hg_pool_cache_free(users[i].cache);
    assert_int_equal(hg_pool_info(pool).free_n, BUFS_N);
    assert_int_equal(hg_pool_stats(pool).take_n, hg_pool_stats(pool).give_n);
    hg_pool_free(pool);
    hg_arena_free(arena);
}

static void threads_share_a_pool(void **state)
{
    (void)state;
    run_users(0);
    run_users(2); /* next to nothing is cached: the reserve has it all */
}

/* Half of the threads have no cache; the others come, take, leave their caches behind, and go. */
enum { LIVES_N = 40 };

static struct hg_pool_cache *_Atomic left_behind[LIVES_N];

static void *pass_by(void *arg)
{
    unsigned life = (unsigned)(uintptr_t)arg;
    struct hg_pool_cache *cache = NULL;
    void *bufs[64];

    if (life % 2 == 0 && hg_pool_cache_new(&cache, pool, "passer-by", NULL) != 0)
        return NULL;
    for (unsigned round = 0; round < 2000; round++) {
        uint32_t n = 1 + (round * 7 + life) % HG_ARRAY_N(bufs);
        bool got =
            cache != NULL ? hg_pool_take(cache, bufs, n) : hg_pool_take_shared(pool, bufs, n);

        for (uint32_t i = 0; got && i < n; i++)
            memset(bufs[i], (int)life, 64);
        if (got && cache != NULL && round % 3 != 0)
            hg_pool_put(cache, bufs, n);
        else if (got)
            hg_pool_put_shared(pool, bufs, n);
    }
    atomic_store(&left_behind[life], cache);
    return NULL;
}

static void threads_come_and_go(void **state)
{
    struct hg_arena *arena;
    pthread_t thread[4];
    unsigned freed = 0;

    (void)state;
    new_pool(&arena, 32);
    for (unsigned life = 0; life < LIVES_N; life += 4) {
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(
                pthread_create(&thread[i], NULL, pass_by, (void *)(uintptr_t)(life + i)), 0);
        for (unsigned i = 0; i < life; i++) { /* those of the dead, while others live */
            struct hg_pool_cache *cache = atomic_exchange(&left_behind[i], NULL);

            if (cache != NULL) {
                hg_pool_cache_free(cache);
                freed++;
            }
        }
        for (unsigned i = 0; i < 4; i++)
            pthread_join(thread[i], NULL);
    }
    for (unsigned i = 0; i < LIVES_N; i++)
        if (left_behind[i] != NULL)
            hg_pool_cache_free(left_behind[i]);
    assert_true(freed > 0);
    assert_int_equal(hg_pool_info(pool).free_n, BUFS_N);
    assert_int_equal(hg_pool_stats(pool).take_n, hg_pool_stats(pool).give_n);
    hg_pool_free(pool);
    hg_arena_free(arena);
}

/* What another thread may see in the middle of a take: the refill is counted, the objects are
 * not. */
static void nobody_has_given_less_than_nothing(void **state)
{
    struct hg_pool_cache *cache;
    struct hg_arena *arena;
    void *objects[32];
    uint64_t take_n;

    (void)state;
    new_pool(&arena, 0);
    assert_int_equal(hg_pool_cache_new(&cache, pool, "user", NULL), 0);
    assert_true(hg_pool_take(cache, objects, 32));
    take_n = atomic_exchange(&cache->take_n, 0);
    assert_int_equal(hg_pool_cache_stats(cache).give_n, 0);
    atomic_store(&cache->take_n, take_n);
    hg_pool_put(cache, objects, 32);
    assert_int_equal(hg_pool_cache_stats(cache).give_n, 32);
    hg_pool_cache_free(cache);
    hg_pool_free(pool);
    hg_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_a_pool),
        cmocka_unit_test(threads_come_and_go),
        cmocka_unit_test(nobody_has_given_less_than_nothing),
    };

    return cmocka_run_group_tests_name("pkt/pool_threads", tests, NULL, NULL);
}
