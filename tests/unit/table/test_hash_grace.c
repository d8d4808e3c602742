/*
 * Where the hash table has to wait for its readers (grace.h):
 *
 *   a reader compares the words of a slot, or loads its value, while the key is deleted:
 *       the delete that fills the list of retired slots     hash_update.c:hg_hash_reclaim()
 *       an add that finds no other slot                     the same
 *       hg_hash_reclaim() itself                            the same
 *       hg_hash_clear()                                     hg_hash_clear()
 *   a reader has loaded a bucket's change counter, and must not see it come round:
 *       an add, after so many moves                         make_room()
 */
#include <errno.h>

#include "grace.h"
#include "mem/arena.h"
#include "table/hash_internal.h"

enum { HELD = 7, NEXT = 1000000 }; /* keys, and their values */

static struct hg_arena *arena;
static struct hg_hash *hash;

static void begin(uint32_t max)
{
    struct hg_hash_options options = {.keys_max = max, .key_bytes = 8, .seed = 1};
    struct hg_arena_options memory = {
        .name = "grace", .bytes = hg_hash_bytes(&options), .pages = HG_PAGES_4K};

    assert_int_equal(hg_arena_new(&arena, &memory, NULL), 0);
    assert_int_equal(hg_hash_new(&hash, arena, &options, NULL), 0);
    grace.waits_n = 0;
}

static void end(void)
{
    hg_arena_free(arena);
}

static void add(uint64_t first, uint64_t n)
{
    for (uint64_t key = first; key < first + n; key++)
        assert_int_equal(hg_hash_add(hash, &key, key), 0);
}

static void delete (uint64_t first, uint64_t n)
{
    for (uint64_t key = first; key < first + n; key++)
        assert_int_equal(hg_hash_delete(hash, &key, NULL), 0);
}

/* ---- a slot ---- */

static const _Atomic uint64_t *slot;

/* A reader that is in the middle of a look-up: it has found the tag, and goes on to the slot. */
static bool hold_slot(void)
{
    const uint64_t key = HELD;
    struct hg_hash_place place;

    for (place.bucket = 0; place.bucket < hash->bucket_n; place.bucket++) {
        struct hg_hash_tags tags = hg_hash_tags_load(&hash->bucket[place.bucket]);

        for (place.way = 0; place.way < HG_HASH_WAYS; place.way++) {
            slot = hg_hash_slot(hash, place, hash->kind);
            if (hg_hash_tag_of(tags, place.way) >= HG_HASH_TAG_FIRST &&
                hg_hash_equal(slot, &key, sizeof(key), hash->kind))
                return true;
        }
    }
    return false;
}

static bool is_slot_intact(void)
{
    const uint64_t key = HELD;

    return hg_hash_equal(slot, &key, sizeof(key), hash->kind) &&
           atomic_load(hg_hash_value(hash, slot, hash->kind)) == HELD;
}

static bool is_missing(uint64_t key)
{
    uint64_t value;

    return !hg_hash_lookup(hash, &key, &value);
}

static bool is_held_missing(void)
{
    return is_missing(HELD);
}

static void delete_held(void)
{
    delete (HELD, 1);
}

static void a_delete_waits_when_slots_have_gathered(void **state)
{
    static const struct grace_scene scene = {hold_slot, is_slot_intact, is_held_missing,
                                             delete_held};

    (void)state;
    begin(1000);
    add(0, 300);
    delete (HELD + 1, HG_HASH_RETIRED_MAX - 1);
    assert_int_equal(grace.waits_n, 0);
    run_scene(&scene);
    assert_int_equal(hg_hash_info(hash).retired_n, 0);
    end();
}

static void delete_and_reclaim(void)
{
    delete (HELD, 1);
    hg_hash_reclaim(hash);
}

static void reclaim_waits(void **state)
{
    static const struct grace_scene scene = {hold_slot, is_slot_intact, is_held_missing,
                                             delete_and_reclaim};

    (void)state;
    begin(1000);
    add(0, 20);
    run_scene(&scene);
    hg_hash_reclaim(hash);
    assert_int_equal(grace.waits_n, 1); /* there was nothing to wait for */
    end();
}

static bool is_empty(void)
{
    for (uint64_t key = 0; key < 20; key++)
        if (!is_missing(key))
            return false;
    return true;
}

static void clear(void)
{
    hg_hash_clear(hash);
}

static void clear_waits(void **state)
{
    static const struct grace_scene scene = {hold_slot, is_slot_intact, is_empty, clear};

    (void)state;
    begin(1000);
    add(0, 20);
    run_scene(&scene);
    add(0, 20);
    end();
}

/* ---- no other slot: all keys of this test say that they have the same hash, and so two buckets
 * for themselves, whose slots they fill ---- */

static const uint64_t same_hash = UINT64_C(0x1234567800004321);

static bool is_next_not_there_yet(void)
{
    const uint64_t held = HELD, next = NEXT;
    uint64_t value;

    return !hg_hash_lookup_hashed(hash, &held, same_hash, &value) &&
           !hg_hash_lookup_hashed(hash, &next, same_hash, &value);
}

static void replace_held(void)
{
    const uint64_t held = HELD, next = NEXT;

    assert_int_equal(hg_hash_delete_hashed(hash, &held, same_hash, NULL), 0);
    assert_int_equal(hg_hash_add_hashed(hash, &next, same_hash, NEXT), 0);
}

static void an_add_waits_when_there_is_no_other_slot(void **state)
{
    static const struct grace_scene scene = {hold_slot, is_slot_intact, is_next_not_there_yet,
                                             replace_held};
    const uint64_t next = NEXT;

    (void)state;
    begin(1000);
    for (uint64_t key = 0; key < 2 * HG_HASH_WAYS; key++)
        assert_int_equal(hg_hash_add_hashed(hash, &key, same_hash, key), 0);
    assert_int_equal(hg_hash_add_hashed(hash, &next, same_hash, NEXT), -ENOSPC);
    assert_int_equal(grace.waits_n, 0);
    run_scene(&scene);
    assert_false(is_slot_intact()); /* it is the next key's: that is what was waited for */
    end();
}

/* ---- moves ---- */

static bool hold_key(void)
{
    return !is_missing(HELD);
}

static bool is_key_found(void)
{
    uint64_t key = HELD, value = 0;

    return hg_hash_lookup(hash, &key, &value) && value == HELD;
}

/* Two counts for each move, and the reader may see all those of one grace period. */
static bool is_counter_unambiguous(void)
{
    return hash->moves >= HG_HASH_MOVES_MAX && hash->moves * 2 < UINT16_MAX;
}

static void add_until_it_waits(void)
{
    for (uint64_t key = NEXT; grace.waits_n == 0; key++)
        if (hg_hash_add(hash, &key, key) < 0)
            return;
}

static void an_add_waits_after_many_moves(void **state)
{
    static const struct grace_scene scene = {hold_key, is_key_found, is_counter_unambiguous,
                                             add_until_it_waits};

    (void)state;
    begin(1 << 18);
    add(HELD, 1);
    run_scene(&scene);
    end();
}

/* ---- and where it does not wait ---- */

static void one_thread_waits_for_nobody(void **state)
{
    struct hg_hash_options options = {.keys_max = 1000, .key_bytes = 8, .one_thread = true};
    struct hg_arena_options memory = {
        .name = "grace", .bytes = hg_hash_bytes(&options), .pages = HG_PAGES_4K};

    (void)state;
    assert_int_equal(hg_arena_new(&arena, &memory, NULL), 0);
    assert_int_equal(hg_hash_new(&hash, arena, &options, NULL), 0);
    grace.waits_n = 0;
    add(0, 1000);
    delete (0, 1000);
    hg_hash_clear(hash);
    assert_int_equal(grace.waits_n, 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_delete_waits_when_slots_have_gathered),
        cmocka_unit_test(reclaim_waits),
        cmocka_unit_test(clear_waits),
        cmocka_unit_test(an_add_waits_when_there_is_no_other_slot),
        cmocka_unit_test(an_add_waits_after_many_moves),
        cmocka_unit_test(one_thread_waits_for_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
