/*
 * Where the IPv4 table has to wait for its readers (grace.h): a reader has the number of a group,
 * and is about to load the group's entry. The group's last route goes, by a delete or a clear; the
 * add that takes the group for other addresses waits (lpm4.c:take_group()).
 */
#include "grace.h"
#include "mem/arena.h"
#include "table/lpm4.h"

enum {
    HELD = 0x0a000007,
    NEXT = 0x14000007,
    DEFAULT_HOP = 1,
    HELD_HOP = 7,
    NEXT_HOP = 9,
};

static struct hg_arena *arena;
static struct hg_lpm4 *lpm;
static uint16_t entry; /* that names the group */

/* One group, and a route that has it. */
static void begin(void)
{
    struct hg_lpm4_options options = {.routes_max = 100, .groups_max = 1};
    struct hg_arena_options memory = {
        .name = "grace", .bytes = hg_lpm4_bytes(&options), .pages = HG_PAGES_4K};

    assert_int_equal(hg_arena_new(&arena, &memory, NULL), 0);
    assert_int_equal(hg_lpm4_new(&lpm, arena, &options, NULL), 0);
    assert_int_equal(hg_lpm4_add(lpm, 0, 0, DEFAULT_HOP, NULL), 0);
    assert_int_equal(hg_lpm4_add(lpm, HELD, 32, HELD_HOP, NULL), 0);
}

static void end(void)
{
    hg_arena_free(arena);
}

static uint16_t held_hop(void)
{
    return atomic_load(&lpm->group[(entry - HG_LPM4_NONE - 1u) << 8 | (HELD & 0xff)]);
}

static bool hold_group(void)
{
    entry = atomic_load(&lpm->first[HELD >> 8]);
    return entry > HG_LPM4_NONE && held_hop() == HELD_HOP;
}

static bool is_group_intact(void)
{
    return held_hop() == HELD_HOP || held_hop() == DEFAULT_HOP;
}

static bool is_default_for_both(void)
{
    return hg_lpm4_lookup(lpm, HELD) == DEFAULT_HOP && hg_lpm4_lookup(lpm, NEXT) == DEFAULT_HOP;
}

static void delete_and_add(void)
{
    assert_int_equal(hg_lpm4_delete(lpm, HELD, 32), 0);
    assert_int_equal(grace.waits_n, 0);
    assert_int_equal(hg_lpm4_add(lpm, NEXT, 32, NEXT_HOP, NULL), 0);
}

static void a_group_that_was_deleted_from_is_waited_for(void **state)
{
    static const struct grace_scene scene = {hold_group, is_group_intact, is_default_for_both,
                                             delete_and_add};

    (void)state;
    begin();
    run_scene(&scene);
    assert_int_equal(hg_lpm4_lookup(lpm, NEXT), NEXT_HOP);
    assert_int_equal(held_hop(), NEXT_HOP); /* the same group: that is what was waited for */
    end();
}

static bool is_none_for_both(void)
{
    return hg_lpm4_lookup(lpm, HELD) == HG_LPM4_NONE && hg_lpm4_lookup(lpm, NEXT) == HG_LPM4_NONE;
}

static void clear_and_add(void)
{
    hg_lpm4_clear(lpm);
    assert_int_equal(grace.waits_n, 0);
    assert_int_equal(hg_lpm4_add(lpm, NEXT, 32, NEXT_HOP, NULL), 0);
}

static void a_group_that_was_cleared_is_waited_for(void **state)
{
    static const struct grace_scene scene = {hold_group, is_group_intact, is_none_for_both,
                                             clear_and_add};

    (void)state;
    begin();
    run_scene(&scene);
    assert_int_equal(hg_lpm4_lookup(lpm, NEXT), NEXT_HOP);
    assert_int_equal(held_hop(), NEXT_HOP);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_that_was_deleted_from_is_waited_for),
        cmocka_unit_test(a_group_that_was_cleared_is_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
