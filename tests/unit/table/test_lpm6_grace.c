/*
 * Where the IPv6 table has to wait for its readers (grace.h): a reader has an entry that names a
 * node, and goes on from there. The add that takes the node for another place waits
 * (lpm6_trie.c:reserve()), however the node was given up:
 *
 *   its last route was deleted
 *   it was passed by: its last route was deleted, and one node stands below it
 *   the table was cleared
 */
#include "grace.h"
#include "mem/arena.h"
#include "table/lpm6.h"
#include "table/lpm6_trie.h"

enum { DEFAULT_HOP = 1, UPPER_HOP = 7, LOWER_HOP = 8, NEXT_HOP = 9 };

static const uint8_t all[16];
static const uint8_t upper[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 1};       /* /48 */
static const uint8_t lower[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 2}; /* /64 */
static const uint8_t next[16] = {0x30, 0x01, 0x0d, 0xb8, 0, 1};        /* /48 */

static struct hg_arena *arena;
static struct hg_lpm6 *lpm;
static uint64_t entry; /* that names a node */
static struct hg_lpm6_head head;

static void begin(uint32_t nodes_max)
{
    struct hg_lpm6_options options = {.routes_max = 100, .nodes_max = nodes_max};
    struct hg_arena_options memory = {
        .name = "grace", .bytes = hg_lpm6_bytes(&options), .pages = HG_PAGES_4K};

    assert_int_equal(hg_arena_new(&arena, &memory, NULL), 0);
    assert_int_equal(hg_lpm6_new(&lpm, arena, &options, NULL), 0);
    assert_int_equal(hg_lpm6_add(lpm, all, 0, DEFAULT_HOP, NULL), 0);
    assert_int_equal(hg_lpm6_add(lpm, upper, 48, UPPER_HOP, NULL), 0);
}

static void end(void)
{
    hg_arena_free(arena);
}

/* Where a reader comes to that has the held entry in its hands; no address of these tests leaves
 * the way to its node. */
static uint16_t go_on(const uint8_t address[16])
{
    uint64_t at = entry;

    while ((at & HG_LPM6_IS_NODE) != 0) {
        unsigned nibble = hg_lpm6_nibble_of(at);
        unsigned value = address[nibble / 2] >> (~nibble % 2 * 4) & 15u;

        at = hg_lpm6_load(&lpm->entry[hg_lpm6_node_of(at) * HG_LPM6_NODE_N + value]);
    }
    return (uint16_t)at;
}

static bool hold_node(void)
{
    entry = hg_lpm6_load(&lpm->first[upper[0] << 8 | upper[1]]);
    head = lpm->head[hg_lpm6_node_of(entry)];
    return (entry & HG_LPM6_IS_NODE) != 0 && go_on(upper) == UPPER_HOP;
}

static bool is_head_intact(void)
{
    return memcmp(&lpm->head[hg_lpm6_node_of(entry)], &head, sizeof(head)) == 0;
}

static bool is_node_intact(void)
{
    uint16_t hop = go_on(upper);

    return is_head_intact() && (hop == UPPER_HOP || hop == DEFAULT_HOP);
}

static bool answers(uint16_t upper_hop, uint16_t lower_hop, uint16_t next_hop)
{
    return hg_lpm6_lookup(lpm, upper) == upper_hop && hg_lpm6_lookup(lpm, lower) == lower_hop &&
           hg_lpm6_lookup(lpm, next) == next_hop;
}

static bool is_default_for_all(void)
{
    return answers(DEFAULT_HOP, DEFAULT_HOP, DEFAULT_HOP);
}

static void add_next(void)
{
    assert_int_equal(grace.waits_n, 0);
    assert_int_equal(hg_lpm6_add(lpm, next, 48, NEXT_HOP, NULL), 0);
}

static void delete_and_add(void)
{
    assert_int_equal(hg_lpm6_delete(lpm, upper, 48), 0);
    add_next();
}

static void a_node_that_was_deleted_from_is_waited_for(void **state)
{
    static const struct grace_scene scene = {hold_node, is_node_intact, is_default_for_all,
                                             delete_and_add};

    (void)state;
    begin(1);
    run_scene(&scene);
    assert_true(answers(DEFAULT_HOP, DEFAULT_HOP, NEXT_HOP));
    assert_false(is_head_intact()); /* the same node: that is what was waited for */
    end();
}

/* Whoever came to the upper node before it was passed by still finds the lower one through it. */
static bool is_way_intact(void)
{
    return is_node_intact() && go_on(lower) == LOWER_HOP;
}

static bool is_lower_only(void)
{
    return answers(DEFAULT_HOP, LOWER_HOP, DEFAULT_HOP);
}

static void a_node_that_was_passed_by_is_waited_for(void **state)
{
    static const struct grace_scene scene = {hold_node, is_way_intact, is_lower_only,
                                             delete_and_add};

    (void)state;
    begin(2);
    assert_int_equal(hg_lpm6_add(lpm, lower, 64, LOWER_HOP, NULL), 0);
    run_scene(&scene);
    assert_true(answers(DEFAULT_HOP, LOWER_HOP, NEXT_HOP));
    assert_false(is_head_intact());
    end();
}

static bool is_none_for_all(void)
{
    return answers(HG_LPM6_NONE, HG_LPM6_NONE, HG_LPM6_NONE);
}

static void clear_and_add(void)
{
    hg_lpm6_clear(lpm);
    add_next();
}

static void a_node_that_was_cleared_is_waited_for(void **state)
{
    static const struct grace_scene scene = {hold_node, is_node_intact, is_none_for_all,
                                             clear_and_add};

    (void)state;
    begin(1);
    run_scene(&scene);
    assert_true(answers(HG_LPM6_NONE, HG_LPM6_NONE, NEXT_HOP));
    assert_false(is_head_intact());
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_that_was_deleted_from_is_waited_for),
        cmocka_unit_test(a_node_that_was_passed_by_is_waited_for),
        cmocka_unit_test(a_node_that_was_cleared_is_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
