/*
 * Two workers look up while control adds and removes routes, with so few nodes that each is used in
 * one place after the other, and routes so placed that nodes are split and passed by all the time.
 * Every route has a next hop of its own, so a worker can tell whether an answer is one that there
 * has ever been for its address.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mem/arena.h"
#include "sync/qsbr.h"
#include "table/lpm6.h"

enum { NETS_N = 64, NODES_N = 12, BATCH_N = 16, CHANGES_N = 20000, DEFAULT_HOP = 1 };

static struct hg_lpm6 *lpm;
static atomic_bool stop;
static atomic_uint wrong;
static atomic_uint seen_n[3]; /* answers: the default, a /48, a /125 */

/* Nets that differ in bytes 2 and 5. */
static void make_net(uint8_t address[16], uint32_t i)
{
    memset(address, 0, 16);
    address[0] = 0x20;
    address[1] = 0x01;
    address[2] = (uint8_t)(i >> 3);
    address[5] = (uint8_t)(i & 7);
}

static bool is_possible(uint32_t i, bool in_long, uint16_t next_hop)
{
    if (next_hop == DEFAULT_HOP || next_hop == 1000 + i)
        return true;
    return in_long && next_hop == 2000 + i;
}

static void *look_up(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg;
    uint8_t address[BATCH_N][16];
    uint16_t next_hop[BATCH_N];
    uint32_t net[BATCH_N];

    hg_qsbr_register();
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        for (unsigned i = 0; i < BATCH_N; i++) {
            seed = seed * 1664525 + 1013904223;
            net[i] = seed >> 8 & (NETS_N - 1);
            make_net(address[i], net[i]);
            address[i][15] = (uint8_t)(seed >> 20 & 0xf);
        }
        if (seed & 0x80000000)
            hg_lpm6_lookup_bulk(lpm, (const uint8_t(*)[16])address, next_hop, BATCH_N);
        else
            for (unsigned i = 0; i < BATCH_N; i++)
                next_hop[i] = hg_lpm6_lookup(lpm, address[i]);
        for (unsigned i = 0; i < BATCH_N; i++) {
            if (!is_possible(net[i], address[i][15] < 8, next_hop[i]))
                atomic_fetch_add(&wrong, 1);
            atomic_fetch_add_explicit(&seen_n[next_hop[i] / 1000 % 3], 1, memory_order_relaxed);
        }
        hg_qsbr_quiescent();
    }
    hg_qsbr_unregister();
    return NULL;
}

static void toggle(uint32_t net, unsigned depth, uint16_t next_hop)
{
    uint8_t prefix[16];

    make_net(prefix, net);
    if (hg_lpm6_get(lpm, prefix, depth) == HG_LPM6_NONE)
        hg_lpm6_add(lpm, prefix, depth, next_hop, NULL); /* nodes may be missing: all in use */
    else
        assert_int_equal(hg_lpm6_delete(lpm, prefix, depth), 0);
}

static void shows_no_route_of_another_address(void **state)
{
    struct hg_lpm6_options options = {.routes_max = 1000, .nodes_max = NODES_N};
    struct hg_arena_options memory = {.name = "test", .bytes = hg_lpm6_bytes(&options)};
    static const uint8_t all[16];
    struct hg_arena *arena;
    pthread_t thread[2];
    uint32_t seed = 1;

    (void)state;
    assert_int_equal(hg_arena_new(&arena, &memory, NULL), 0);
    assert_int_equal(hg_lpm6_new(&lpm, arena, &options, NULL), 0);
    assert_int_equal(hg_lpm6_add(lpm, all, 0, DEFAULT_HOP, NULL), 0);
    for (uintptr_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, look_up, (void *)(i + 1)), 0);
    for (unsigned change = 0; change < CHANGES_N || atomic_load(&seen_n[0]) == 0 ||
                              atomic_load(&seen_n[1]) == 0 || atomic_load(&seen_n[2]) == 0;
         change++) {
        uint32_t net;

        seed = seed * 1664525 + 1013904223;
        net = seed >> 16 & (NETS_N - 1);
        if (seed & 0x80000000)
            toggle(net, 48, (uint16_t)(1000 + net));
        else
            toggle(net, 125, (uint16_t)(2000 + net));
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(atomic_load(&wrong), 0);
    hg_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shows_no_route_of_another_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
