/*
 * Two workers look up while control adds and removes routes, with so few groups that each is given
 * from one /24 to the next all the time. Every route has a next hop of its own and every address is
 * below known routes, so a worker can tell whether an answer is one that there has ever been for
 * it.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "mem/arena.h"
#include "sync/qsbr.h"
#include "table/lpm4.h"

enum { NETS_N = 64, GROUPS_N = 3, BATCH_N = 16, CHANGES_N = 20000, DEFAULT_HOP = 1 };

static struct hg_lpm4 *lpm;
static atomic_bool stop;
static atomic_uint wrong;
static atomic_uint seen_n[3]; /* answers: the default, a /20, a /28 */

static uint32_t net(uint32_t i)
{
    return 0x0a000000 | i << 12;
}

static bool is_possible(uint32_t i, bool in_short, uint16_t next_hop)
{
    if (next_hop == DEFAULT_HOP)
        return true;
    if (next_hop == 1000 + i)
        return true;
    return in_short && next_hop == 2000 + i;
}

static void *look_up(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg;
    uint32_t address[BATCH_N];
    uint16_t next_hop[BATCH_N];

    hg_qsbr_register();
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        for (unsigned i = 0; i < BATCH_N; i++) {
            seed = seed * 1664525 + 1013904223;
            address[i] = net(seed >> 8 & (NETS_N - 1)) | (seed >> 20 & 0x1f);
        }
        if (seed & 0x80000000)
            hg_lpm4_lookup_bulk(lpm, address, next_hop, BATCH_N);
        else
            for (unsigned i = 0; i < BATCH_N; i++)
                next_hop[i] = hg_lpm4_lookup(lpm, address[i]);
        for (unsigned i = 0; i < BATCH_N; i++) {
            if (!is_possible(address[i] >> 12 & (NETS_N - 1), (address[i] & 0x10) == 0,
                             next_hop[i]))
                atomic_fetch_add(&wrong, 1);
            atomic_fetch_add_explicit(&seen_n[next_hop[i] / 1000 % 3], 1, memory_order_relaxed);
        }
        hg_qsbr_quiescent();
    }
    hg_qsbr_unregister();
    return NULL;
}

static void toggle(uint32_t prefix, unsigned depth, uint16_t next_hop)
{
    if (hg_lpm4_get(lpm, prefix, depth) == HG_LPM4_NONE)
        hg_lpm4_add(lpm, prefix, depth, next_hop, NULL); /* a group may be missing: all in use */
    else
        assert_int_equal(hg_lpm4_delete(lpm, prefix, depth), 0);
}

static void shows_no_route_of_another_address(void **state)
{
    struct hg_lpm4_options options = {.routes_max = 1000, .groups_max = GROUPS_N};
    struct hg_arena_options memory = {.name = "test", .bytes = hg_lpm4_bytes(&options)};
    struct hg_arena *arena;
    pthread_t thread[2];
    uint32_t seed = 1;

    (void)state;
    assert_int_equal(hg_arena_new(&arena, &memory, NULL), 0);
    assert_int_equal(hg_lpm4_new(&lpm, arena, &options, NULL), 0);
    assert_int_equal(hg_lpm4_add(lpm, 0x0a000000, 8, DEFAULT_HOP, NULL), 0);
    for (uintptr_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, look_up, (void *)(i + 1)), 0);
    for (unsigned change = 0; change < CHANGES_N || atomic_load(&seen_n[0]) == 0 ||
                              atomic_load(&seen_n[1]) == 0 || atomic_load(&seen_n[2]) == 0;
         change++) {
        uint32_t i;

        seed = seed * 1664525 + 1013904223;
        i = seed >> 16 & (NETS_N - 1);
        if (seed & 0x80000000)
            toggle(net(i), 20, (uint16_t)(1000 + i));
        else
            toggle(net(i), 28, (uint16_t)(2000 + i));
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(atomic_load(&wrong), 0);
    hg_arena_free(arena);
}

enum { FIRST = 0x0a000000, SECOND = 0x0b000000 }; /* the only group goes from one to the other */

static atomic_bool on_its_way;
static atomic_bool deleted;

/* A look-up that is interrupted between its two accesses for as long as control needs to change the
 * table. */
static void *look_up_slowly(void *arg)
{
    uint16_t *next_hop = arg;
    unsigned group;

    hg_qsbr_register();
    group = atomic_load_explicit(&lpm->first[FIRST >> 8], memory_order_acquire) - HG_LPM4_NONE - 1u;
    atomic_store(&on_its_way, true);
    while (!atomic_load(&deleted))
        sched_yield();
    usleep(20000);
    *next_hop = atomic_load_explicit(&lpm->group[group << 8], memory_order_relaxed);
    hg_qsbr_unregister();
    return NULL;
}

static void gives_no_group_away_that_a_reader_is_in(void **state)
{
    struct hg_lpm4_options options = {.routes_max = 2, .groups_max = 1};
    struct hg_arena_options memory = {.name = "test", .bytes = hg_lpm4_bytes(&options)};
    struct hg_arena *arena;
    uint16_t next_hop = HG_LPM4_NONE;
    pthread_t thread;

    (void)state;
    assert_int_equal(hg_arena_new(&arena, &memory, NULL), 0);
    assert_int_equal(hg_lpm4_new(&lpm, arena, &options, NULL), 0);
    assert_int_equal(hg_lpm4_add(lpm, FIRST, 32, 1, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, look_up_slowly, &next_hop), 0);
    while (!atomic_load(&on_its_way))
        sched_yield();
    assert_int_equal(hg_lpm4_delete(lpm, FIRST, 32), 0);
    atomic_store(&deleted, true);
    assert_int_equal(hg_lpm4_add(lpm, SECOND, 32, 2, NULL), 0);
    pthread_join(thread, NULL);
    assert_int_not_equal(next_hop, 2); /* 1, or none: the route went meanwhile */
    assert_int_equal(hg_lpm4_lookup(lpm, SECOND), 2);
    hg_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shows_no_route_of_another_address),
        cmocka_unit_test(gives_no_group_away_that_a_reader_is_in),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
