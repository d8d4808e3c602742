/*
 * Two workers look up bursts while control replaces the rules again and again. The rules of set g say "data g" for
 * every key, each in its own way (many rules, few, with rows and without), so a burst that sees two values has seen
 * two sets, and a value that was never set is memory that was used too early.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sync/qsbr.h"
#include "table/acl.h"

enum { READERS_N = 2, SETS_N = 40, RULES_N = 700, BURST = 48 };

static struct hg_acl *acl;
static atomic_uint wrong;
static atomic_uint newest; /* that a reader has seen */
static atomic_bool stop;

static void *look_up_on(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg;

    hg_qsbr_register();
    while (!atomic_load(&stop)) {
        struct hg_acl_key4 keys[BURST];
        uint32_t data[BURST];

        for (unsigned i = 0; i < BURST; i++) {
            seed = seed * 1664525 + 1013904223;
            keys[i] = (struct hg_acl_key4){
                seed, seed * 7, (uint16_t)(seed >> 9), (uint16_t)(seed >> 13), 6, 0, 0};
        }
        hg_acl_lookup4(acl, keys, data, BURST);
        for (unsigned i = 0; i < BURST; i++)
            if (data[i] != data[0] || data[i] == 0 || data[i] > SETS_N)
                atomic_fetch_add(&wrong, 1);
        atomic_store(&newest, data[0]);
        hg_qsbr_quiescent();
    }
    hg_qsbr_unregister();
    return NULL;
}

static void replace(uint32_t generation)
{
    static struct hg_acl_rule rules[RULES_N];
    uint32_t n = generation % 3 == 0 ? RULES_N : generation % 3 * 20;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t spread = (i + generation) * UINT32_C(2654435761);

        rules[i] = hg_acl_rule_any(HG_ACL_IP4);
        if (i + 1 < n) { /* the last one is for the rest */
            rules[i].src = hg_acl_prefix4(spread, 4 + i % 20);
            rules[i].dst = hg_acl_prefix4(spread * 7, i % 9);
            rules[i].dst_port.first = (uint16_t)spread;
        }
        rules[i].data = generation;
    }
    assert_int_equal(hg_acl_set(acl, rules, n, NULL), 0);
}

static void no_burst_sees_two_sets(void **state)
{
    struct hg_acl_options options = {.rules_max = RULES_N, .memory_bytes = UINT64_C(16) << 20};
    struct hg_arena_options of = {
        .name = "test", .bytes = hg_acl_bytes(&options), .pages = HG_PAGES_4K};
    pthread_t thread[READERS_N];
    struct hg_arena *arena;

    (void)state;
    assert_int_equal(hg_arena_new(&arena, &of, NULL), 0);
    assert_int_equal(hg_acl_new(&acl, arena, &options, NULL), 0);
    replace(1);
    for (uintptr_t i = 0; i < READERS_N; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, look_up_on, (void *)(i + 1)), 0);
    for (uint32_t generation = 2; generation <= SETS_N; generation++)
        replace(generation);
    while (atomic_load(&newest) != SETS_N && atomic_load(&wrong) == 0)
        sched_yield();
    atomic_store(&stop, true);
    for (unsigned i = 0; i < READERS_N; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(atomic_load(&wrong), 0);
    hg_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_burst_sees_two_sets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
