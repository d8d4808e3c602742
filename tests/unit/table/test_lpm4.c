#include "table/lpm4.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "lpm4_run.h"
#include "random.h"

static uint64_t random_state = 88172645463325252;

static uint32_t random_number(void)
{
    return random_u32(&random_state);
}

static struct hg_lpm4 *make(struct hg_arena **arena, struct hg_lpm4_options options)
{
    struct hg_arena_options memory = {.name = "test", .bytes = hg_lpm4_bytes(&options)};
    struct hg_lpm4 *lpm;

    assert_int_equal(hg_arena_new(arena, &memory, NULL), 0);
    assert_int_equal(hg_lpm4_new(&lpm, *arena, &options, NULL), 0);
    return lpm;
}

static void agrees_with_a_plain_model(void **state)
{
    struct lpm4_run run;
    uint8_t program[1200];

    (void)state;
    lpm4_run_begin(&run);
    for (unsigned round = 0; round < 300; round++) {
        for (unsigned i = 0; i < sizeof(program); i++)
            program[i] = (uint8_t)random_number();
        lpm4_run_program(&run, program, sizeof(program), 12);
    }
    lpm4_run_end(&run);
}

static void agrees_with_it_for_short_prefixes(void **state)
{
    struct lpm4_run run;
    uint8_t program[240];

    (void)state;
    lpm4_run_begin(&run);
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < sizeof(program); i++)
            program[i] = (uint8_t)random_number();
        lpm4_run_program(&run, program, sizeof(program), 0);
    }
    lpm4_run_end(&run);
}

static void shuffle(uint8_t *depth)
{
    for (unsigned i = 0; i <= 32; i++)
        depth[i] = (uint8_t)i;
    for (unsigned i = 32; i > 0; i--) {
        unsigned other = random_number() % (i + 1);
        uint8_t swapped = depth[i];

        depth[i] = depth[other];
        depth[other] = swapped;
    }
}

/* The longest of the depths that are there. */
static uint16_t longest(const bool *there)
{
    for (unsigned depth = 33; depth-- > 0;)
        if (there[depth])
            return (uint16_t)(depth + 100);
    return HG_LPM4_NONE;
}

static void finds_the_longest_of_all_nested_prefixes(void **state)
{
    struct hg_arena *arena;
    struct hg_lpm4 *lpm = make(&arena, (struct hg_lpm4_options){.routes_max = 33, .groups_max = 1});
    uint32_t address = 0xffffffff; /* the last entry of each level */
    bool there[33] = {false};
    uint8_t order[33];

    (void)state;
    shuffle(order);
    for (unsigned i = 0; i < 33; i++) {
        uint32_t prefix = address & lpm4_run_mask(order[i]);

        assert_int_equal(hg_lpm4_add(lpm, prefix, order[i], (uint16_t)(order[i] + 100), NULL), 0);
        there[order[i]] = true;
        assert_int_equal(hg_lpm4_lookup(lpm, address), longest(there));
    }
    for (unsigned depth = 1; depth <= 32; depth++) /* one bit off leaves it to the shorter one */
        assert_int_equal(hg_lpm4_lookup(lpm, address ^ 1u << (32 - depth)), depth - 1 + 100);
    shuffle(order);
    for (unsigned i = 0; i < 33; i++) {
        assert_int_equal(hg_lpm4_delete(lpm, address & lpm4_run_mask(order[i]), order[i]), 0);
        there[order[i]] = false;
        assert_int_equal(hg_lpm4_lookup(lpm, address), longest(there));
    }
    assert_int_equal(hg_lpm4_info(lpm).groups_n, 0);
    hg_arena_free(arena);
}

struct many {
    struct hg_lpm4_route route[4000];
    bool there[4000];
};

static uint16_t find_in(const struct many *many, uint32_t address)
{
    uint16_t next_hop = HG_LPM4_NONE;
    int depth = -1;

    for (unsigned i = 0; i < HG_ARRAY_N(many->route); i++) {
        const struct hg_lpm4_route *route = &many->route[i];

        if (many->there[i] && route->depth > depth &&
            ((route->prefix ^ address) & lpm4_run_mask(route->depth)) == 0) {
            depth = route->depth;
            next_hop = route->next_hop;
        }
    }
    return next_hop;
}

/* Bulks of every size, of addresses inside and outside of routes, against the model. */
static void compare_bulks(const struct hg_lpm4 *lpm, const struct many *many)
{
    for (unsigned n = 0; n <= 70; n++) {
        uint32_t address[70] = {0};
        uint16_t next_hop[71];

        for (unsigned i = 0; i < n; i++)
            address[i] = many->route[random_number() % HG_ARRAY_N(many->route)].prefix ^
                         (random_number() & 0x7ff & random_number() >> 16);
        next_hop[n] = 0x5555;
        hg_lpm4_lookup_bulk(lpm, address, next_hop, n);
        for (unsigned i = 0; i < n; i++) {
            assert_int_equal(next_hop[i], find_in(many, address[i]));
            assert_int_equal(next_hop[i], hg_lpm4_lookup(lpm, address[i]));
        }
        assert_int_equal(next_hop[n], 0x5555);
    }
}

static void holds_all_it_promises_and_forgets_half(void **state)
{
    static struct many many;
    struct hg_arena *arena;
    struct hg_lpm4 *lpm = make(&arena, (struct hg_lpm4_options){.routes_max = 4000});

    (void)state;
    for (unsigned i = 0; i < HG_ARRAY_N(many.route); i++) {
        struct hg_lpm4_route *route = &many.route[i];

        do { /* close together, so that many are nested */
            route->depth = (uint8_t)(9 + random_number() % 24);
            route->prefix = (random_number() & 0x0f0fff0f) & lpm4_run_mask(route->depth);
        } while (hg_lpm4_get(lpm, route->prefix, route->depth) != HG_LPM4_NONE);
        route->next_hop = (uint16_t)(random_number() % (HG_LPM4_NEXT_HOP_MAX + 1));
        assert_int_equal(hg_lpm4_add(lpm, route->prefix, route->depth, route->next_hop, NULL), 0);
        many.there[i] = true;
    }
    assert_int_equal(hg_lpm4_info(lpm).routes_n, HG_ARRAY_N(many.route));
    compare_bulks(lpm, &many);
    for (unsigned i = 0; i < HG_ARRAY_N(many.route); i += 1 + random_number() % 3) {
        assert_int_equal(hg_lpm4_delete(lpm, many.route[i].prefix, many.route[i].depth), 0);
        many.there[i] = false;
    }
    compare_bulks(lpm, &many);
    for (unsigned i = 0; i < HG_ARRAY_N(many.route); i++)
        assert_int_equal(hg_lpm4_get(lpm, many.route[i].prefix, many.route[i].depth),
                         many.there[i] ? many.route[i].next_hop : HG_LPM4_NONE);
    hg_arena_free(arena);
}

static void replaces_a_next_hop_where_the_route_is_seen(void **state)
{
    struct hg_arena *arena;
    struct hg_lpm4 *lpm = make(&arena, (struct hg_lpm4_options){.routes_max = 4, .groups_max = 1});

    (void)state;
    assert_int_equal(hg_lpm4_add(lpm, 0x0a000000, 16, 1, NULL), 0);
    assert_int_equal(hg_lpm4_add(lpm, 0x0a000100, 24, 2, NULL), 0);
    assert_int_equal(hg_lpm4_add(lpm, 0x0a000280, 25, 3, NULL), 0);
    assert_int_equal(hg_lpm4_add(lpm, 0x0a000000, 16, 7, NULL), 0);
    assert_int_equal(hg_lpm4_info(lpm).routes_n, 3);
    assert_int_equal(hg_lpm4_get(lpm, 0x0a000000, 16), 7);
    assert_int_equal(hg_lpm4_lookup(lpm, 0x0a000001), 7);
    assert_int_equal(hg_lpm4_lookup(lpm, 0x0a000101), 2);
    assert_int_equal(hg_lpm4_lookup(lpm, 0x0a000201), 7); /* in the group, outside of the /25 */
    assert_int_equal(hg_lpm4_lookup(lpm, 0x0a000281), 3);
    hg_arena_free(arena);
}

static void says_what_is_wrong_with_a_route(void **state)
{
    struct hg_arena *arena;
    struct hg_lpm4 *lpm = make(&arena, (struct hg_lpm4_options){.routes_max = 3, .groups_max = 1});
    struct hg_err err;

    (void)state;
    assert_int_equal(hg_lpm4_add(lpm, 0, 33, 1, &err), -EINVAL);
    assert_non_null(strstr(err.text, "33 bits"));
    assert_int_equal(hg_lpm4_add(lpm, 0x0a000001, 31, 1, &err), -EINVAL);
    assert_non_null(strstr(err.text, "10.0.0.1/31"));
    assert_int_equal(hg_lpm4_add(lpm, 0x80000000, 0, 1, &err), -EINVAL);
    assert_int_equal(hg_lpm4_add(lpm, 0, 0, HG_LPM4_NONE, &err), -EINVAL);
    assert_non_null(strstr(err.text, "next hop 16383"));
    assert_int_equal(hg_lpm4_info(lpm).routes_n, 0);

    assert_int_equal(hg_lpm4_add(lpm, 0x0a000080, 25, HG_LPM4_NEXT_HOP_MAX, &err), 0);
    assert_int_equal(hg_lpm4_lookup(lpm, 0x0a000080), HG_LPM4_NEXT_HOP_MAX);
    assert_int_equal(hg_lpm4_add(lpm, 0x0a000180, 25, 1, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "all 1 groups"));
    assert_int_equal(hg_lpm4_lookup(lpm, 0x0a000180), HG_LPM4_NONE);
    assert_int_equal(hg_lpm4_add(lpm, 0x0a000000, 8, 1, &err), 0);
    assert_int_equal(hg_lpm4_add(lpm, 0x0b000000, 8, 1, &err), 0);
    assert_int_equal(hg_lpm4_add(lpm, 0x0c000000, 8, 1, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "3 routes"));
    assert_int_equal(hg_lpm4_add(lpm, 0x0b000000, 8, 2, &err), 0); /* replacing needs no room */

    assert_int_equal(hg_lpm4_delete(lpm, 0x0c000000, 8), -ENOENT);
    assert_int_equal(hg_lpm4_delete(lpm, 0x0a000000, 9), -ENOENT);
    assert_int_equal(hg_lpm4_delete(lpm, 0x0a000001, 8), -ENOENT);
    assert_int_equal(hg_lpm4_delete(lpm, 0, 33), -ENOENT);
    assert_int_equal(hg_lpm4_get(lpm, 0, 40), HG_LPM4_NONE);
    hg_arena_free(arena);
}

static void says_what_is_wrong_with_a_table(void **state)
{
    struct hg_arena_options memory = {.name = "small", .bytes = 1 << 20};
    struct hg_lpm4_options options = {.routes_max = HG_LPM4_ROUTES_MAX + 1};
    struct hg_arena *arena;
    struct hg_lpm4 *lpm;
    struct hg_err err;

    (void)state;
    assert_int_equal(hg_arena_new(&arena, &memory, NULL), 0);
    assert_int_equal(hg_lpm4_new(&lpm, arena, &options, &err), -EINVAL);
    assert_non_null(strstr(err.text, "134217729"));
    options = (struct hg_lpm4_options){.groups_max = HG_LPM4_GROUPS_MAX + 1};
    assert_int_equal(hg_lpm4_new(&lpm, arena, &options, &err), -EINVAL);
    assert_non_null(strstr(err.text, "49153"));
    assert_int_equal(hg_lpm4_new(&lpm, arena, NULL, &err), -ENOMEM);
    assert_non_null(strstr(err.text, "'small'"));
    hg_arena_free(arena);
}

static bool count_to_two(const struct hg_lpm4_route *route, void *ctx)
{
    unsigned *n = ctx;

    assert_int_equal(route->next_hop, route->depth);
    return ++*n < 2;
}

static void lists_until_told_to_stop_and_clears(void **state)
{
    struct hg_arena *arena;
    struct hg_lpm4 *lpm = make(&arena, (struct hg_lpm4_options){.routes_max = 9, .groups_max = 2});
    unsigned n = 0;

    (void)state;
    for (unsigned round = 0; round < 3; round++) { /* the groups are there again each time */
        for (uint32_t i = 0; i < 2; i++)
            assert_int_equal(hg_lpm4_add(lpm, i << 8, 32, 32, NULL), 0);
        assert_int_equal(hg_lpm4_add(lpm, 0, 0, 0, NULL), 0);
        n = 0;
        hg_lpm4_each(lpm, count_to_two, &n);
        assert_int_equal(n, 2);
        assert_int_equal(hg_lpm4_info(lpm).groups_n, 2);
        hg_lpm4_clear(lpm);
        assert_int_equal(hg_lpm4_info(lpm).routes_n, 0);
        assert_int_equal(hg_lpm4_info(lpm).groups_n, 0);
        assert_int_equal(hg_lpm4_lookup(lpm, 0), HG_LPM4_NONE);
        assert_int_equal(hg_lpm4_lookup(lpm, 0xffffffff), HG_LPM4_NONE);
    }
    hg_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_a_plain_model),
        cmocka_unit_test(agrees_with_it_for_short_prefixes),
        cmocka_unit_test(finds_the_longest_of_all_nested_prefixes),
        cmocka_unit_test(holds_all_it_promises_and_forgets_half),
        cmocka_unit_test(replaces_a_next_hop_where_the_route_is_seen),
        cmocka_unit_test(says_what_is_wrong_with_a_route),
        cmocka_unit_test(says_what_is_wrong_with_a_table),
        cmocka_unit_test(lists_until_told_to_stop_and_clears),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
