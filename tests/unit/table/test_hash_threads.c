/*
 * Two readers look up while a writer adds, replaces, deletes and moves keys in a crowded table.
 * Some keys stay all the time: a reader must find them at every look, in a bulk and alone. A value
 * names its key, whoever's it is.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mem/arena.h"
#include "sync/qsbr.h"
#include "table/hash.h"

enum { STAY = 96, KEYS = 512, MAX = 224, READERS = 2, CHANGES = 10000, BULK = 40 };

static struct hg_hash *hash;
static uint64_t keys[KEYS][4]; /* of 24 bytes, or 32 */
static atomic_uint missed, wrong;
static atomic_uint looks;
static atomic_bool over;

static uint32_t step(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

static void judge(uint32_t number, bool hit, uint64_t value)
{
    if (!hit && number < STAY)
        atomic_fetch_add(&missed, 1);
    if (hit && value >> 32 != number)
        atomic_fetch_add(&wrong, 1);
}

static void *look_up(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg;

    hg_qsbr_register();
    while (!atomic_load(&over)) {
        uint32_t number[BULK];
        const void *key[BULK];
        uint64_t value[BULK];
        uint64_t hits;

        for (unsigned i = 0; i < BULK; i++) {
            number[i] = step(&seed) % (i % 2 == 0 ? STAY : KEYS);
            key[i] = keys[number[i]];
        }
        hg_hash_lookup_bulk(hash, key, BULK, value, &hits);
        for (unsigned i = 0; i < BULK; i++)
            judge(number[i], (hits >> i & 1) != 0, value[i]);
        for (unsigned i = 0; i < BULK / 4; i++) {
            bool hit = hg_hash_lookup(hash, key[i], &value[i]);

            judge(number[i], hit, value[i]);
        }
        atomic_fetch_add(&looks, 1);
        hg_qsbr_quiescent();
    }
    hg_qsbr_unregister();
    return NULL;
}

static uint64_t value_of(uint32_t number, uint32_t generation)
{
    return (uint64_t)number << 32 | generation;
}

/* Adds until there is no room, which moves keys; then deletes some. */
static void change(uint32_t changes_n)
{
    uint32_t seed = 9;

    for (uint32_t i = 0; i < changes_n || atomic_load(&looks) < 200; i++) {
        uint32_t number = step(&seed) % KEYS;

        if (number < STAY || step(&seed) % 2 == 0) {
            if (hg_hash_add(hash, keys[number], value_of(number, i)) >= 0)
                continue;
            for (unsigned k = 0; k < KEYS / 16; k++)
                hg_hash_delete(hash, keys[STAY + step(&seed) % (KEYS - STAY)], NULL);
        } else if (step(&seed) % 4 == 0) {
            hg_hash_delete(hash, keys[number], NULL);
        }
    }
}

static void run(uint32_t key_bytes)
{
    struct hg_hash_options options = {.keys_max = MAX, .key_bytes = key_bytes};
    struct hg_arena_options memory = {
        .name = "threads", .bytes = hg_hash_bytes(&options), .pages = HG_PAGES_4K};
    struct hg_arena *arena;
    pthread_t reader[READERS];

    assert_int_equal(hg_arena_new(&arena, &memory, NULL), 0);
    assert_int_equal(hg_hash_new(&hash, arena, &options, NULL), 0);
    for (uint32_t i = 0; i < KEYS; i++)
        keys[i][0] = keys[i][2] = i;
    for (uint32_t i = 0; i < STAY; i++)
        assert_int_equal(hg_hash_add(hash, keys[i], value_of(i, 0)), 0);
    atomic_store(&over, false);
    atomic_store(&looks, 0);
    for (uintptr_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&reader[i], NULL, look_up, (void *)(i + 1)), 0);
    change(CHANGES);
    atomic_store(&over, true);
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(reader[i], NULL);
    assert_int_equal(atomic_load(&missed), 0);
    assert_int_equal(atomic_load(&wrong), 0);
    hg_arena_free(arena);
}

static void readers_always_find_what_stays(void **state)
{
    (void)state;
    run(8);
    run(24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_always_find_what_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
