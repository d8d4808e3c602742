/*
 * Threads take, fill, check and give back buffers of one pool, and pass some to each other, which give
 * them back through their own caches. Nobody may find his buffer written by another.
 */
#include "pkt/pool.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { THREADS_N = 4, ROUNDS_N = 30000, BUFS_N = 1500, KEEP_N = 100 };

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

static void threads_share_a_pool(void **state)
{
    const struct hg_arena_options options = {
        .name = "test", .bytes = 4 << 20, .pages = HG_PAGES_4K};
    static struct user users[THREADS_N];
    struct hg_arena *arena;
    void *left;

    (void)state;
    assert_int_equal(hg_arena_new(&arena, &options, NULL), 0);
    assert_int_equal(hg_pool_new(&pool, arena, "bufs", HG_POOL_BUF_MIN, BUFS_N, NULL), 0);
    for (unsigned i = 0; i < THREADS_N; i++) {
        users[i].id = i + 1;
        assert_int_equal(hg_pool_cache_new(&users[i].cache, pool, NULL), 0);
    }
    for (unsigned i = 0; i < THREADS_N; i++)
        assert_int_equal(pthread_create(&users[i].thread, NULL, use, &users[i]), 0);
    for (unsigned i = 0; i < 1000; i++)
        assert_true(hg_pool_info(pool).n == BUFS_N);
    for (unsigned i = 0; i < THREADS_N; i++) {
        pthread_join(users[i].thread, NULL);
        assert_int_equal(users[i].wrong, 0);
        assert_int_equal(users[i].refused, 0); /* there are enough, with full caches too */
    }
    left = atomic_load(&mailbox);
    hg_pool_put(users[0].cache, &left, 1);
    assert_int_equal(hg_pool_info(pool).free_n, BUFS_N);
    for (unsigned i = 0; i < THREADS_N; i++)
        hg_pool_cache_free(users[i].cache);
    assert_int_equal(hg_pool_info(pool).free_n, BUFS_N);
    hg_pool_free(pool);
    hg_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_a_pool),
    };

    return cmocka_run_group_tests_name("pkt/pool_threads", tests, NULL, NULL);
}
