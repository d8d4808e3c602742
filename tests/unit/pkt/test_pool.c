#include "pkt/pool.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "listen.h"

enum { OBJECT_BYTES = 2000, OBJECTS_N = 1000 };

static const struct hg_pool_options options = {
    .name = "objects", .object_bytes = OBJECT_BYTES, .n = OBJECTS_N};
static struct hg_arena *arena;
static struct hg_pool *pool;
static struct hg_pool_cache *cache;

static int new_memory(void **state)
{
    const struct hg_arena_options memory = {
        .name = "test", .bytes = 4 << 20, .pages = HG_PAGES_4K, .shared = true};

    (void)state;
    return hg_arena_new(&arena, &memory, NULL);
}

static int setup(void **state)
{
    return new_memory(state) || hg_pool_new(&pool, arena, &options, NULL) ||
           hg_pool_cache_new(&cache, pool, "first", NULL);
}

static int teardown(void **state)
{
    (void)state;
    hg_pool_cache_free(cache);
    hg_pool_free(pool);
    hg_arena_free(arena);
    return 0;
}

static void objects_are_aligned_distinct_and_all_there(void **state)
{
    static void *objects[OBJECTS_N];
    uint8_t *base = hg_arena_info(arena).base;

    (void)state;
    assert_int_equal(hg_pool_info(pool).object_bytes, OBJECT_BYTES);
    assert_int_equal(hg_pool_object_bytes(cache), OBJECT_BYTES);
    assert_int_equal(hg_pool_info(pool).free_n, OBJECTS_N);
    for (unsigned i = 0; i < OBJECTS_N; i++) {
        assert_true(hg_pool_take(cache, &objects[i], 1));
        assert_int_equal((uintptr_t)objects[i] % 64, 0);
        assert_in_range((uint8_t *)objects[i] - base, 0, hg_pool_bytes(&options));
        memset(objects[i], 0, OBJECT_BYTES);
    }
    for (unsigned i = 0; i < OBJECTS_N; i++)
        (*(unsigned *)objects[i])++; /* twice the same object would become 2 */
    for (unsigned i = 0; i < OBJECTS_N; i++)
        assert_int_equal(*(unsigned *)objects[i], 1);
    assert_int_equal(hg_pool_info(pool).free_n, 0);
    for (unsigned i = 0; i < OBJECTS_N; i++)
        hg_pool_put(cache, &objects[i], 1);
    assert_int_equal(hg_pool_info(pool).free_n, OBJECTS_N);
}

/* Whatever the size: equal offsets of any 64 neighbours lie in 64 different sets of 64. */
static void neighbours_share_no_set(void **state)
{
    static const uint32_t sizes[] = {1, 8, 64, 65, 128, 1536, 1984, 2000, 2048, 4096};

    for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        const struct hg_pool_options sized = {.name = "sized", .object_bytes = sizes[s], .n = 64};
        struct hg_pool *spread;
        uint64_t sets = 0;
        void *object;

        assert_int_equal(new_memory(state), 0);
        assert_int_equal(hg_pool_new(&spread, arena, &sized, NULL), 0);
        assert_true(hg_pool_info(spread).stride_bytes >= sizes[s]);
        for (unsigned i = 0; i < 64; i++) {
            assert_true(hg_pool_take_shared(spread, &object, 1));
            sets |= UINT64_C(1) << ((uintptr_t)object / 64 % 64);
            memset(object, 0, sizes[s]);
        }
        assert_true(sets == UINT64_MAX);
        for (unsigned i = 0; i < 64; i++) {
            object = hg_arena_info(arena).base + i * (uint64_t)hg_pool_info(spread).stride_bytes;
            hg_pool_put_shared(spread, &object, 1);
        }
        hg_pool_free(spread);
        hg_arena_free(arena);
    }
}

static void takes_all_or_nothing(void **state)
{
    static void *objects[OBJECTS_N];
    void *more[128];

    (void)state;
    for (unsigned i = 0; i < OBJECTS_N - 10; i += 10)
        assert_true(hg_pool_take(cache, objects + i, 10));
    assert_false(hg_pool_take(cache, more, 11));
    assert_false(hg_pool_take(cache, more, 128));
    assert_int_equal(hg_pool_info(pool).free_n, 10);
    assert_int_equal(hg_pool_stats(pool).empty_n, 2);
    assert_true(hg_pool_take(cache, objects + OBJECTS_N - 10, 10));
    assert_false(hg_pool_take(cache, more, 1));
    assert_false(hg_pool_take_shared(pool, more, 1));
    assert_true(hg_pool_take_shared(pool, more, 0));
    assert_true(hg_pool_take(cache, more, 0));
    for (unsigned i = 0; i < OBJECTS_N; i += 100)
        hg_pool_put(cache, objects + i, 100);
    assert_int_equal(hg_pool_info(pool).free_n, OBJECTS_N);
}

/* Against a model: who holds which object. Any sizes of calls, caches that come and go, no
 * cache. */
enum { CACHES_N = 3, STEPS_N = 20000, CALL_MAX = 700 };

static struct hg_pool *model_pool;
static struct hg_pool_cache *model_cache[CACHES_N];
static void *held[OBJECTS_N];
static uint32_t held_n;

static void check_against_model(uint64_t taken_n, uint64_t given_n)
{
    struct hg_pool_stats stats = hg_pool_stats(model_pool);

    assert_int_equal(hg_pool_info(model_pool).free_n, OBJECTS_N - held_n);
    assert_int_equal(stats.take_n, taken_n);
    assert_int_equal(stats.give_n, given_n);
}

/* A newly taken object bears nobody's number; then its holder's place in the list. */
static void write_numbers(uint32_t from)
{
    for (uint32_t i = from; i < held_n; i++)
        *(uint32_t *)held[i] = i;
    for (uint32_t i = 0; i < held_n; i++)
        assert_int_equal(*(uint32_t *)held[i], i); /* else two hold the same */
}

static void run_against_model(uint32_t cache_n, unsigned seed)
{
    const struct hg_pool_options sized = {
        .name = "model", .object_bytes = 40, .n = OBJECTS_N, .cache_n = cache_n};
    uint64_t taken_n = 0, given_n = 0;

    assert_int_equal(hg_pool_new(&model_pool, arena, &sized, NULL), 0);
    held_n = 0;
    for (unsigned step = 0; step < STEPS_N; step++) {
        uint32_t c = (uint32_t)rand_r(&seed) % CACHES_N;
        uint32_t limit = (unsigned)rand_r(&seed) % 8 == 0 ? CALL_MAX : 40;
        uint32_t n = (uint32_t)rand_r(&seed) % limit;
        unsigned what = (unsigned)rand_r(&seed) % 100;

        if (model_cache[c] == NULL && what < 30) {
            assert_int_equal(hg_pool_cache_new(&model_cache[c], model_pool, "c", NULL), 0);
        } else if (model_cache[c] != NULL && what == 99) {
            hg_pool_cache_free(model_cache[c]);
            model_cache[c] = NULL;
        } else if (what < 50 && n <= OBJECTS_N - held_n) {
            bool got = model_cache[c] != NULL && what % 8 != 0
                           ? hg_pool_take(model_cache[c], held + held_n, n)
                           : hg_pool_take_shared(model_pool, held + held_n, n);

            held_n += got ? n : 0;
            taken_n += got ? n : 0;
            write_numbers(held_n - (got ? n : 0));
        } else if (n <= held_n) {
            held_n -= n;
            given_n += n;
            if (model_cache[c] != NULL && what % 8 != 0)
                hg_pool_put(model_cache[c], held + held_n, n);
            else
                hg_pool_put_shared(model_pool, held + held_n, n);
        }
        check_against_model(taken_n, given_n);
    }
    for (unsigned c = 0; c < CACHES_N; c++)
        if (model_cache[c] != NULL)
            hg_pool_cache_free(model_cache[c]);
    memset(model_cache, 0, sizeof(model_cache));
    hg_pool_put_shared(model_pool, held, held_n);
    assert_int_equal(hg_pool_info(model_pool).free_n, OBJECTS_N);
    assert_true(hg_pool_take_shared(model_pool, held, OBJECTS_N)); /* each is there once */
    held_n = OBJECTS_N;
    write_numbers(0);
    hg_pool_put_shared(model_pool, held, OBJECTS_N);
    hg_pool_free(model_pool);
}

static void any_calls_keep_the_books(void **state)
{
    static const uint32_t cache_n[] = {0, 1, 2, 3, 31, HG_POOL_CACHE_N_MAX};

    (void)state;
    for (unsigned i = 0; i < sizeof(cache_n) / sizeof(cache_n[0]); i++)
        run_against_model(cache_n[i], i);
}

/* What was given back last is taken next, and what makes room in a cache is what lay longest. */
static void what_was_used_last_is_used_next(void **state)
{
    void *objects[HG_POOL_CACHE_N + 8], *again[8];

    (void)state;
    assert_true(hg_pool_take(cache, objects, HG_POOL_CACHE_N + 8));
    hg_pool_put(cache, objects, HG_POOL_CACHE_N);
    hg_pool_put(cache, objects + HG_POOL_CACHE_N, 8);
    assert_true(hg_pool_take(cache, again, 8));
    assert_memory_equal(again, objects + HG_POOL_CACHE_N, sizeof(again));
    hg_pool_put(cache, again, 8);
}

static void a_cache_rarely_sees_the_reserve(void **state)
{
    void *objects[32];
    struct hg_pool_stats stats;

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        assert_true(hg_pool_take(cache, objects, 32));
        hg_pool_put(cache, objects, 32);
    }
    stats = hg_pool_cache_stats(cache);
    assert_int_equal(stats.take_n, 32000);
    assert_int_equal(stats.give_n, 32000);
    assert_int_equal(stats.refill_n, 1);
    assert_int_equal(stats.spill_n, 0);
}

static void a_freed_cache_gives_its_objects_back(void **state)
{
    struct hg_pool_cache *other;
    static void *objects[OBJECTS_N];

    (void)state;
    assert_int_equal(hg_pool_cache_new(&other, pool, "other", NULL), 0);
    assert_true(hg_pool_take(other, objects, 100));
    hg_pool_put(cache, objects, 100); /* through another one than they came from */
    assert_int_equal(hg_pool_info(pool).free_n, OBJECTS_N);
    hg_pool_cache_free(other);
    for (unsigned i = 0; i < OBJECTS_N; i += 100)
        assert_true(hg_pool_take(cache, objects + i, 100));
    for (unsigned i = 0; i < OBJECTS_N; i += 100)
        hg_pool_put(cache, objects + i, 100);
}

static int errno_of_new(uint32_t object_bytes, uint32_t n, uint32_t cache_n, struct hg_err *err)
{
    const struct hg_pool_options wrong = {
        .name = "wrong", .object_bytes = object_bytes, .n = n, .cache_n = cache_n};
    struct hg_pool *none;
    int rc = hg_pool_new(&none, arena, &wrong, err);

    assert_null(none);
    return rc;
}

static void refuses_what_cannot_be(void **state)
{
    struct hg_err err;

    (void)state;
    assert_int_equal(errno_of_new(0, 1, 0, &err), -EINVAL);
    assert_int_equal(errno_of_new(2048, 0, 0, &err), -EINVAL);
    assert_int_equal(errno_of_new(UINT32_MAX, 1, 0, &err), -EINVAL);
    assert_int_equal(errno_of_new(2048, 1, HG_POOL_CACHE_N_MAX + 1, &err), -EINVAL);
    assert_string_equal(err.text, "pool 'wrong': caches of 513 objects; expected at most 512");
    assert_int_equal(errno_of_new(2048, 1 << 30, 0, &err), -ENOMEM);
    assert_non_null(
        strstr(err.text, "pool 'wrong': 2276332666880 bytes are needed, memory 'test'"));
}

static void leak_three(void)
{
    struct hg_pool *leaky;
    struct hg_pool_cache *careful, *careless;
    void *objects[10];

    assert_int_equal(hg_pool_new(&leaky, arena, &options, NULL), 0);
    assert_int_equal(hg_pool_cache_new(&careful, leaky, "careful", NULL), 0);
    assert_int_equal(hg_pool_cache_new(&careless, leaky, "careless", NULL), 0);
    assert_true(hg_pool_take(careful, objects, 10));
    hg_pool_put(careful, objects, 10);
    assert_true(hg_pool_take(careless, objects, 10));
    hg_pool_put(careless, objects, 8);
    hg_pool_cache_free(careful);
    hg_pool_cache_free(careless);
    assert_true(hg_pool_take_shared(leaky, objects, 1));
    hg_pool_free(leaky);
}

static void names_who_has_not_given_back(void **state)
{
    char text[2048];

    assert_int_equal(new_memory(state), 0);
    listen_to(leak_three, text, sizeof(text));
    assert_non_null(
        strstr(text, "warn: pool: 'objects': 3 of 1000 objects have not been given back\n"));
    assert_null(strstr(text, "careful"));
#ifdef HG_DEBUG
    assert_non_null(strstr(text, "'objects': 2 taken through 'careless' at test_pkt_pool(+0x"));
    assert_non_null(strstr(text, "'objects': 1 taken through 'no cache' at test_pkt_pool(+0x"));
#else
    assert_non_null(
        strstr(text, "'objects': 10 taken through 'careless', 8 given back through it\n"));
    assert_non_null(strstr(text, "'objects': 1 taken without a cache, 0 given back without one\n"));
#endif
    hg_arena_free(arena);
}

#ifdef HG_DEBUG
/* Whether a child that does this to a pool of its own comes to a bad end; *text is what it says. */
static bool dies_of(void (*offend)(void), char *text, size_t n)
{
    int status, pipes[2];
    pid_t child;
    size_t at = 0;

    assert_int_equal(pipe(pipes), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(pipes[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        if (setup(NULL) == 0) /* memory of the parent's arena is the child's too */
            offend();
        _exit(0);
    }
    close(pipes[1]);
    for (ssize_t got = 1; got > 0; at += (size_t)got)
        got = read(pipes[0], text + at, n - 1 - at);
    text[at] = '\0';
    close(pipes[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static void *take_one(void)
{
    void *object;

    if (!hg_pool_take(cache, &object, 1))
        _exit(0);
    return object;
}

static void put_one(void *object)
{
    hg_pool_put(cache, &object, 1);
}

static void use_as_allowed(void)
{
    uint8_t *object = take_one();

    memset(object, 1, OBJECT_BYTES);
    put_one(object);
    put_one(take_one());
}

static void put_twice(void)
{
    void *object = take_one();

    put_one(object);
    put_one(object);
}

static void put_twice_in_one_call(void)
{
    void *object = take_one();

    hg_pool_put_shared(pool, (void *[]){object, object}, 2);
}

static void put_the_inside(void)
{
    put_one((uint8_t *)take_one() + 64);
}

static void put_a_stranger(void)
{
    int stranger;

    put_one(&stranger);
}

static void write_beyond(void)
{
    volatile uint8_t *object = take_one();

    object[OBJECT_BYTES] = 1;
    put_one((void *)object);
}

static void write_when_free(void)
{
    volatile uint8_t *object = take_one();

    put_one((void *)object);
    object[17] = 1;
    take_one();
}

static void debug_builds_find_misuse(void **state)
{
    static const struct {
        void (*offend)(void);
        const char *says; /* or AddressSanitizer was faster */
    } cases[] = {
        {put_twice, "is given back twice"},
        {put_twice_in_one_call, "is given back twice"},
        {put_the_inside, "is none of its objects, but lies inside one"},
        {put_a_stranger, "is none of its objects"},
        {write_beyond, "was written beyond its end (byte 2000 of 2000)"},
        {write_when_free, "was written while it was free (byte 17 of 2000)"},
    };
    static char text[1 << 16];

    (void)state;
    assert_false(dies_of(use_as_allowed, text, sizeof(text)));
    assert_string_equal(text, "");
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(dies_of(cases[i].offend, text, sizeof(text)));
        assert_true(strstr(text, cases[i].says) != NULL ||
                    strstr(text, "AddressSanitizer: use-after-poison") != NULL);
    }
}
#endif

#define WITH_POOL(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_POOL(objects_are_aligned_distinct_and_all_there),
        cmocka_unit_test(neighbours_share_no_set),
        WITH_POOL(takes_all_or_nothing),
        WITH_POOL(any_calls_keep_the_books),
        WITH_POOL(what_was_used_last_is_used_next),
        WITH_POOL(a_cache_rarely_sees_the_reserve),
        WITH_POOL(a_freed_cache_gives_its_objects_back),
        WITH_POOL(refuses_what_cannot_be),
        cmocka_unit_test(names_who_has_not_given_back),
#ifdef HG_DEBUG
        cmocka_unit_test(debug_builds_find_misuse),
#endif
    };

    return cmocka_run_group_tests_name("pkt/pool", tests, NULL, NULL);
}
