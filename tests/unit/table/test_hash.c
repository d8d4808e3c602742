#include "table/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "table/hash_internal.h"

#include "hash_run.h"

struct made {
    struct hg_arena *arena;
    struct hg_hash *hash;
};

static struct made make(uint32_t max, uint32_t key_bytes, uint64_t seed)
{
    struct hg_hash_options options = {.keys_max = max, .key_bytes = key_bytes, .seed = seed};
    struct hg_arena_options memory = {
        .name = "test", .bytes = hg_hash_bytes(&options), .pages = HG_PAGES_4K};
    struct made made;

    assert_int_equal(hg_arena_new(&made.arena, &memory, NULL), 0);
    assert_int_equal(hg_hash_new(&made.hash, made.arena, &options, NULL), 0);
    return made;
}

static uint32_t next_random(void)
{
    static uint64_t state = 20;

    state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(state >> 32);
}

static void agrees_with_a_plain_model_for_every_key_size(void **state)
{
    enum { BYTES = 3 + 2 * 4000 };
    static uint8_t program[BYTES];

    (void)state;
    for (unsigned key_bytes = 1; key_bytes <= HG_HASH_KEY_BYTES_MAX; key_bytes++) {
        for (unsigned kind = 0; kind < 4; kind++) {
            for (unsigned i = 0; i < BYTES; i++)
                program[i] = (uint8_t)next_random();
            program[0] = (uint8_t)(key_bytes - 1);
            program[2] = (uint8_t)kind;
            run_program(program, BYTES);
        }
    }
}

/* Keys that count up, as addresses and flows do, are the ones that weak hashes crowd. */
static void holds_what_it_promises(void **state)
{
    static const uint32_t maxes[] = {1, 2, 7, 14, 15, 28, 64, 100, 1000, 5000};

    (void)state;
    for (unsigned m = 0; m < HG_ARRAY_N(maxes); m++) {
        for (uint32_t key_bytes = 2; key_bytes <= HG_HASH_KEY_BYTES_MAX; key_bytes += 7) {
            struct made made = make(maxes[m], key_bytes, 0);
            uint8_t key[HG_HASH_KEY_BYTES_MAX] = {0};

            for (uint32_t i = 0; i < maxes[m]; i++) {
                memcpy(key, &(uint16_t){(uint16_t)i}, sizeof(uint16_t));
                assert_int_equal(hg_hash_add(made.hash, key, i), 0);
            }
            assert_int_equal(hg_hash_n(made.hash), maxes[m]);
            hg_arena_free(made.arena);
        }
    }
}

static void fills_up_before_it_refuses(void **state)
{
    struct made made = make(1 << 20, 16, 0);
    struct hg_hash_info info;
    uint64_t key[2] = {0, 0};
    uint64_t value;

    (void)state;
    while (hg_hash_add(made.hash, key, key[0]) == 0)
        key[0]++;
    assert_int_equal(hg_hash_add(made.hash, key, 0), -ENOSPC);
    info = hg_hash_info(made.hash);
    assert_int_equal(info.keys_n, key[0]);
    assert_true(info.keys_n >= info.keys_max);
    assert_true(info.keys_n > info.slots_n / 100 * 95);
    assert_false(hg_hash_lookup(made.hash, key, &value));
    while (key[0]-- > 0) {
        assert_true(hg_hash_lookup(made.hash, key, &value));
        assert_int_equal(value, key[0]);
    }
    hg_arena_free(made.arena);
}

static void colliding_keys_fill_two_buckets_and_no_more(void **state)
{
    struct made made = make(1000, 4, 1);
    const uint64_t h = UINT64_C(0x123456789abcdef0);
    uint64_t value = 7;
    uint32_t key;

    (void)state;
    for (key = 0; key < 2 * HG_HASH_WAYS; key++)
        assert_int_equal(hg_hash_add_hashed(made.hash, &key, h, key), 0);
    assert_int_equal(hg_hash_add_hashed(made.hash, &key, h, key), -ENOSPC);
    assert_false(hg_hash_lookup_hashed(made.hash, &key, h, &value));
    assert_int_equal(value, 7);
    key = 3;
    assert_int_equal(hg_hash_delete_hashed(made.hash, &key, h, &value), 0);
    assert_int_equal(value, 3);
    assert_int_equal(hg_hash_info(made.hash).retired_n, 1);
    key = 100; /* takes the slot of the deleted key, after a grace period */
    assert_int_equal(hg_hash_add_hashed(made.hash, &key, h, key), 0);
    assert_int_equal(hg_hash_info(made.hash).retired_n, 0);
    for (key = 0; key < 2 * HG_HASH_WAYS; key++)
        assert_int_equal(hg_hash_lookup_hashed(made.hash, &key, h, &value), key != 3);
    hg_arena_free(made.arena);
}

static void a_key_is_replaced_not_doubled(void **state)
{
    struct made made = make(10, 6, 1);
    uint64_t value;

    (void)state;
    assert_int_equal(hg_hash_add(made.hash, "abcdef", 1), 0);
    assert_int_equal(hg_hash_add(made.hash, "abcdef", 2), 1);
    assert_int_equal(hg_hash_n(made.hash), 1);
    assert_int_equal(hg_hash_delete(made.hash, "abcdef", &value), 0);
    assert_int_equal(value, 2);
    assert_int_equal(hg_hash_delete(made.hash, "abcdef", NULL), -ENOENT);
    hg_arena_free(made.arena);
}

static void vectors_match_as_plain_code_does(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100000; i++) {
        struct hg_hash_tags tags;
        uint16_t tag = (uint16_t)(next_random() % 3);
        unsigned expected = 0;

        for (unsigned w = 0; w < 2; w++) {
            tags.word[w] = 0;
            for (unsigned lane = 0; lane < 4; lane++) {
                uint16_t at = (uint16_t)(tag + next_random() % 3 - 1 + (next_random() % 2 << 15));

                tags.word[w] |= (uint64_t)at << 16 * lane;
                if (at == tag && 4 * w + lane > 0)
                    expected |= 1u << (4 * w + lane - 1);
            }
        }
        assert_int_equal(hg_hash_match_plain(tags, tag), expected);
        assert_int_equal(hg_hash_match(tags, tag), expected);
    }
}

static void the_other_bucket_of_the_other_is_the_first(void **state)
{
    (void)state;
    for (uint32_t max = 1; max < 3000; max += 1 + max / 3) {
        struct made made = make(max, 8, 1);

        for (uint32_t tag = HG_HASH_TAG_FIRST; tag < 1 << 16; tag += 5) {
            uint32_t bucket = next_random() % made.hash->bucket_n;
            uint32_t other = hg_hash_other(made.hash, bucket, (uint16_t)tag);

            assert_true(other < made.hash->bucket_n && other != bucket);
            assert_int_equal(hg_hash_other(made.hash, other, (uint16_t)tag), bucket);
        }
        hg_arena_free(made.arena);
    }
}

static void says_what_is_wrong_with_its_options(void **state)
{
    static const struct hg_hash_options bad[] = {
        {.keys_max = 0, .key_bytes = 4},
        {.keys_max = HG_HASH_KEYS_MAX + 1, .key_bytes = 4},
        {.keys_max = 1, .key_bytes = 0},
        {.keys_max = 1, .key_bytes = HG_HASH_KEY_BYTES_MAX + 1},
    };
    struct hg_arena_options memory = {.name = "small", .bytes = 4096, .pages = HG_PAGES_4K};
    struct hg_hash_options big = {.keys_max = 1000, .key_bytes = 64};
    struct hg_arena *arena;
    struct hg_hash *hash;
    struct hg_err err;

    (void)state;
    assert_int_equal(hg_arena_new(&arena, &memory, NULL), 0);
    for (unsigned i = 0; i < HG_ARRAY_N(bad); i++) {
        assert_int_equal(hg_hash_new(&hash, arena, &bad[i], &err), -EINVAL);
        assert_non_null(strstr(err.text, "expected 1 to"));
        assert_int_equal(hg_hash_bytes(&bad[i]), 0);
    }
    assert_int_equal(hg_hash_new(&hash, arena, &big, &err), -ENOMEM);
    assert_non_null(strstr(err.text, "arena 'small'"));
    assert_int_equal(hg_arena_info(arena).used_bytes, 0);
    hg_arena_free(arena);
}

/* An arena with hg_hash_bytes() left and not more, behind what somebody else has taken. */
static void fits_into_what_it_says_it_needs(void **state)
{
    struct hg_arena_options memory = {.name = "rest", .bytes = 1 << 20, .pages = HG_PAGES_4K};
    struct hg_hash_options options = {.keys_max = 100, .key_bytes = 64};
    struct hg_arena_info info;
    struct hg_arena *arena;
    struct hg_hash *hash;
    uint8_t key[64] = {1};
    uint64_t value = 0;

    (void)state;
    assert_int_equal(hg_arena_new(&arena, &memory, NULL), 0);
    info = hg_arena_info(arena);
    assert_non_null(hg_arena_take(arena, "filler", info.bytes - hg_hash_bytes(&options) - 64, 64));
    assert_int_equal(hg_hash_new(&hash, arena, &options, NULL), 0);
    assert_int_equal(hg_hash_add(hash, key, 7), 0);
    assert_true(hg_hash_lookup(hash, key, &value));
    assert_int_equal(value, 7);
    hg_arena_free(arena);
}

static void two_tables_hash_apart_and_a_seed_repeats(void **state)
{
    struct made made[] = {make(8, 8, 0), make(8, 8, 0), make(8, 8, 5), make(8, 8, 5)};

    (void)state;
    assert_int_not_equal(hg_hash_of(made[0].hash, "12345678"),
                         hg_hash_of(made[1].hash, "12345678"));
    assert_int_equal(hg_hash_of(made[2].hash, "12345678"), hg_hash_of(made[3].hash, "12345678"));
    for (unsigned i = 0; i < HG_ARRAY_N(made); i++)
        hg_arena_free(made[i].arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_a_plain_model_for_every_key_size),
        cmocka_unit_test(holds_what_it_promises),
        cmocka_unit_test(fills_up_before_it_refuses),
        cmocka_unit_test(colliding_keys_fill_two_buckets_and_no_more),
        cmocka_unit_test(a_key_is_replaced_not_doubled),
        cmocka_unit_test(vectors_match_as_plain_code_does),
        cmocka_unit_test(the_other_bucket_of_the_other_is_the_first),
        cmocka_unit_test(says_what_is_wrong_with_its_options),
        cmocka_unit_test(fits_into_what_it_says_it_needs),
        cmocka_unit_test(two_tables_hash_apart_and_a_seed_repeats),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
