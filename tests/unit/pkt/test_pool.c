#include "pkt/pool.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { BUF_BYTES = 2000, BUFS_N = 1000 };

static struct hg_arena *arena;
static struct hg_pool *pool;
static struct hg_pool_cache *cache;

static int setup(void **state)
{
    const struct hg_arena_options options = {
        .name = "test", .bytes = 4 << 20, .pages = HG_PAGES_4K};

    (void)state;
    return hg_arena_new(&arena, &options, NULL) ||
           hg_pool_new(&pool, arena, "bufs", BUF_BYTES, BUFS_N, NULL) ||
           hg_pool_cache_new(&cache, pool, NULL);
}

static int teardown(void **state)
{
    (void)state;
    hg_pool_cache_free(cache);
    hg_pool_free(pool);
    hg_arena_free(arena);
    return 0;
}

static void buffers_are_aligned_distinct_and_all_there(void **state)
{
    static void *bufs[BUFS_N];
    uint8_t *base = hg_arena_info(arena).base;

    (void)state;
    assert_int_equal(hg_pool_info(pool).buf_bytes, 2048);
    assert_int_equal(hg_pool_info(pool).free_n, BUFS_N);
    for (unsigned i = 0; i < BUFS_N; i++) {
        assert_true(hg_pool_take(cache, &bufs[i], 1));
        assert_int_equal((uintptr_t)bufs[i] % 64, 0);
        assert_in_range((uint8_t *)bufs[i] - base, 0, 2048 * (BUFS_N - 1));
        memset(bufs[i], 0, 2048);
    }
    for (unsigned i = 0; i < BUFS_N; i++)
        (*(unsigned *)bufs[i])++; /* twice the same buffer would become 2 */
    for (unsigned i = 0; i < BUFS_N; i++)
        assert_int_equal(*(unsigned *)bufs[i], 1);
    assert_int_equal(hg_pool_info(pool).free_n, 0);
    for (unsigned i = 0; i < BUFS_N; i++)
        hg_pool_put(cache, &bufs[i], 1);
    assert_int_equal(hg_pool_info(pool).free_n, BUFS_N);
}

static void takes_all_or_nothing(void **state)
{
    static void *bufs[BUFS_N];
    void *more[HG_POOL_TAKE_MAX];

    (void)state;
    for (unsigned i = 0; i < BUFS_N - 10; i += 10)
        assert_true(hg_pool_take(cache, bufs + i, 10));
    assert_false(hg_pool_take(cache, more, 11));
    assert_false(hg_pool_take(cache, more, HG_POOL_TAKE_MAX));
    assert_int_equal(hg_pool_info(pool).free_n, 10);
    assert_true(hg_pool_take(cache, bufs + BUFS_N - 10, 10));
    assert_false(hg_pool_take(cache, more, 1));
    assert_true(hg_pool_take(cache, more, 0));
    for (unsigned i = 0; i < BUFS_N; i += 100)
        hg_pool_put(cache, bufs + i, 100);
    assert_int_equal(hg_pool_info(pool).free_n, BUFS_N);
}

/* The greatest calls in every state of the cache. */
static void caches_never_overflow(void **state)
{
    static void *bufs[BUFS_N];

    (void)state;
    for (unsigned n = 1; n <= HG_POOL_TAKE_MAX; n++) {
        unsigned taken = 0;

        for (; taken + n <= BUFS_N; taken += n)
            assert_true(hg_pool_take(cache, bufs + taken, n));
        while (taken > HG_POOL_TAKE_MAX) {
            taken -= HG_POOL_TAKE_MAX;
            hg_pool_put(cache, bufs + taken, HG_POOL_TAKE_MAX);
        }
        hg_pool_put(cache, bufs, taken);
        assert_int_equal(hg_pool_info(pool).free_n, BUFS_N);
    }
}

static void a_freed_cache_gives_its_buffers_back(void **state)
{
    struct hg_pool_cache *other;
    static void *bufs[BUFS_N];

    (void)state;
    assert_int_equal(hg_pool_cache_new(&other, pool, NULL), 0);
    assert_true(hg_pool_take(other, bufs, 100));
    hg_pool_put(cache, bufs, 100); /* through another one than they came from */
    assert_int_equal(hg_pool_info(pool).free_n, BUFS_N);
    hg_pool_cache_free(other);
    for (unsigned i = 0; i < BUFS_N; i += 100)
        assert_true(hg_pool_take(cache, bufs + i, 100));
    for (unsigned i = 0; i < BUFS_N; i += 100)
        hg_pool_put(cache, bufs + i, 100);
}

static void refuses_what_cannot_be(void **state)
{
    struct hg_pool *none;
    struct hg_err err;

    (void)state;
    assert_int_equal(hg_pool_new(&none, arena, "small", HG_POOL_BUF_MIN - 1, 1, &err), -EINVAL);
    assert_int_equal(hg_pool_new(&none, arena, "empty", 2048, 0, &err), -EINVAL);
    assert_int_equal(hg_pool_new(&none, arena, "huge", UINT32_MAX, 1, &err), -EINVAL);
    assert_null(none);
    assert_int_equal(hg_pool_new(&none, arena, "large", 2048, 1 << 30, &err), -ENOMEM);
    assert_string_equal(err.text, "pool 'large': 2199023255552 bytes are needed, memory 'test' has "
                                  "2146304 left");
}

#ifdef HG_DEBUG
/* How a child ends that gives back `buf`. */
static int signal_of_put(void *buf)
{
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        close(STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        hg_pool_put(cache, &buf, 1);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void giving_back_what_is_not_taken_aborts(void **state)
{
    void *buf;

    (void)state;
    assert_true(hg_pool_take(cache, &buf, 1));
    assert_int_equal(signal_of_put(buf), 0);
    assert_int_equal(signal_of_put((char *)buf + 64), SIGABRT);
    assert_int_equal(signal_of_put((char *)buf - (1 << 24)), SIGABRT);
    hg_pool_put(cache, &buf, 1);
    assert_int_equal(signal_of_put(buf), SIGABRT);
}
#endif

#define WITH_POOL(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_POOL(buffers_are_aligned_distinct_and_all_there),
        WITH_POOL(takes_all_or_nothing),
        WITH_POOL(caches_never_overflow),
        WITH_POOL(a_freed_cache_gives_its_buffers_back),
        WITH_POOL(refuses_what_cannot_be),
#ifdef HG_DEBUG
        WITH_POOL(giving_back_what_is_not_taken_aborts),
#endif
    };

    return cmocka_run_group_tests_name("pkt/pool", tests, NULL, NULL);
}
