#include "table/lpm6.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "lpm6_run.h"
#include "random.h"

static uint64_t random_state = 88172645463325252;

static uint32_t random_number(void)
{
    return random_u32(&random_state);
}

static struct hg_lpm6 *make(struct hg_arena **arena, struct hg_lpm6_options options)
{
    struct hg_arena_options memory = {.name = "test", .bytes = hg_lpm6_bytes(&options)};
    struct hg_lpm6 *lpm;

    assert_int_equal(hg_arena_new(arena, &memory, NULL), 0);
    assert_int_equal(hg_lpm6_new(&lpm, *arena, &options, NULL), 0);
    return lpm;
}

static int add(struct hg_lpm6 *lpm, const char *prefix, unsigned depth, uint16_t next_hop,
               struct hg_err *err)
{
    uint8_t bytes[16];

    assert_int_equal(inet_pton(AF_INET6, prefix, bytes), 1);
    return hg_lpm6_add(lpm, bytes, depth, next_hop, err);
}

static int delete (struct hg_lpm6 *lpm, const char *prefix, unsigned depth)
{
    uint8_t bytes[16];

    assert_int_equal(inet_pton(AF_INET6, prefix, bytes), 1);
    return hg_lpm6_delete(lpm, bytes, depth);
}

static unsigned look_up(const struct hg_lpm6 *lpm, const char *address)
{
    uint8_t bytes[16];

    assert_int_equal(inet_pton(AF_INET6, address, bytes), 1);
    return hg_lpm6_lookup(lpm, bytes);
}

static void agrees_with_a_plain_model(void **state)
{
    struct lpm6_run run;
    uint8_t program[800];

    (void)state;
    lpm6_run_begin(&run);
    for (unsigned round = 0; round < 120; round++) {
        for (unsigned i = 0; i < sizeof(program); i++)
            program[i] = (uint8_t)random_number();
        lpm6_run_program(&run, program, sizeof(program));
    }
    lpm6_run_end(&run);
}

static void shuffle(uint8_t *depth)
{
    for (unsigned i = 0; i <= 128; i++)
        depth[i] = (uint8_t)i;
    for (unsigned i = 128; i > 0; i--) {
        unsigned other = random_number() % (i + 1);
        uint8_t swapped = depth[i];

        depth[i] = depth[other];
        depth[other] = swapped;
    }
}

/* The longest of the depths that are there. */
static unsigned longest(const bool *there)
{
    for (unsigned depth = 129; depth-- > 0;)
        if (there[depth])
            return depth + 100;
    return HG_LPM6_NONE;
}

static void finds_the_longest_of_all_nested_prefixes(void **state)
{
    struct hg_arena *arena;
    struct hg_lpm6 *lpm =
        make(&arena, (struct hg_lpm6_options){.routes_max = 129, .nodes_max = 28});
    bool there[129] = {false};
    uint8_t address[16];
    uint8_t order[129];
    uint8_t prefix[16];

    (void)state;
    memset(address, 0xff, sizeof(address));
    shuffle(order);
    for (unsigned i = 0; i <= 128; i++) {
        lpm6_run_cut(prefix, address, order[i]);
        assert_int_equal(hg_lpm6_add(lpm, prefix, order[i], (uint16_t)(order[i] + 100), NULL), 0);
        there[order[i]] = true;
        assert_int_equal(hg_lpm6_lookup(lpm, address), longest(there));
    }
    for (unsigned depth = 1; depth <= 128; depth++) { /* one bit off leaves it to the shorter one */
        memcpy(prefix, address, sizeof(prefix));
        prefix[(depth - 1) / 8] ^= (uint8_t)(0x80 >> (depth - 1) % 8);
        assert_int_equal(hg_lpm6_lookup(lpm, prefix), depth - 1 + 100);
    }
    shuffle(order);
    for (unsigned i = 0; i <= 128; i++) {
        lpm6_run_cut(prefix, address, order[i]);
        assert_int_equal(hg_lpm6_delete(lpm, prefix, order[i]), 0);
        there[order[i]] = false;
        assert_int_equal(hg_lpm6_lookup(lpm, address), longest(there));
    }
    assert_int_equal(hg_lpm6_info(lpm).nodes_n, 0);
    hg_arena_free(arena);
}

enum { MANY = 3000 };

struct many {
    struct hg_lpm6_route route[MANY];
    bool there[MANY];
};

static uint16_t find_in(const struct many *many, const uint8_t *address)
{
    uint16_t next_hop = HG_LPM6_NONE;
    int depth = -1;

    for (unsigned i = 0; i < MANY; i++) {
        const struct hg_lpm6_route *route = &many->route[i];

        if (many->there[i] && route->depth > depth && lpm6_run_covers(route, address)) {
            depth = route->depth;
            next_hop = route->next_hop;
        }
    }
    return next_hop;
}

/* Bulks of every size, of addresses inside and outside of routes, against the model. */
static void compare_bulks(const struct hg_lpm6 *lpm, const struct many *many)
{
    for (unsigned n = 0; n <= 70; n++) {
        uint8_t address[70][16];
        uint16_t next_hop[71];

        for (unsigned i = 0; i < n; i++) {
            memcpy(address[i], many->route[random_number() % MANY].prefix, 16);
            for (unsigned flips = random_number() % 4; flips > 0; flips--)
                address[i][random_number() % 16] ^= (uint8_t)random_number();
        }
        next_hop[n] = 0x5555;
        hg_lpm6_lookup_bulk(lpm, (const uint8_t(*)[16])address, next_hop, n);
        for (unsigned i = 0; i < n; i++) {
            assert_int_equal(next_hop[i], find_in(many, address[i]));
            assert_int_equal(next_hop[i], hg_lpm6_lookup(lpm, address[i]));
        }
        assert_int_equal(next_hop[n], 0x5555);
    }
}

static void holds_all_it_promises_and_forgets_half(void **state)
{
    static struct many many;
    struct hg_arena *arena;
    struct hg_lpm6 *lpm =
        make(&arena, (struct hg_lpm6_options){.routes_max = MANY, .nodes_max = 2 * MANY});

    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        struct hg_lpm6_route *route = &many.route[i];

        do { /* close together, so that many are nested */
            uint8_t address[16];

            for (unsigned k = 0; k < 16; k++)
                address[k] = random_number() % 4 == 0 ? (uint8_t)(random_number() & 0x81) : 0;
            route->depth = (uint8_t)(random_number() % 129);
            lpm6_run_cut(route->prefix, address, route->depth);
        } while (hg_lpm6_get(lpm, route->prefix, route->depth) != HG_LPM6_NONE);
        route->next_hop = (uint16_t)(random_number() % (HG_LPM6_NEXT_HOP_MAX + 1));
        assert_int_equal(hg_lpm6_add(lpm, route->prefix, route->depth, route->next_hop, NULL), 0);
        many.there[i] = true;
    }
    assert_int_equal(hg_lpm6_info(lpm).routes_n, MANY);
    compare_bulks(lpm, &many);
    for (unsigned i = 0; i < MANY; i += 1 + random_number() % 3) {
        assert_int_equal(hg_lpm6_delete(lpm, many.route[i].prefix, many.route[i].depth), 0);
        many.there[i] = false;
    }
    compare_bulks(lpm, &many);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(hg_lpm6_get(lpm, many.route[i].prefix, many.route[i].depth),
                         many.there[i] ? many.route[i].next_hop : HG_LPM6_NONE);
    hg_arena_free(arena);
}

static void says_what_is_wrong_with_a_route(void **state)
{
    struct hg_arena *arena;
    struct hg_lpm6 *lpm = make(&arena, (struct hg_lpm6_options){.routes_max = 4, .nodes_max = 2});
    struct hg_err err;

    (void)state;
    assert_int_equal(add(lpm, "::", 129, 1, &err), -EINVAL);
    assert_non_null(strstr(err.text, "129 bits"));
    assert_int_equal(add(lpm, "2001:db8::1", 127, 1, &err), -EINVAL);
    assert_non_null(strstr(err.text, "2001:db8::1/127"));
    assert_int_equal(add(lpm, "8000::", 0, 1, &err), -EINVAL);
    assert_int_equal(add(lpm, "0:0:0:1::", 64, 1, &err), 0);
    assert_int_equal(delete (lpm, "0:0:0:1::", 64), 0);
    assert_int_equal(add(lpm, "::", 0, HG_LPM6_NONE, &err), -EINVAL);
    assert_non_null(strstr(err.text, "next hop 16383"));
    assert_int_equal(hg_lpm6_info(lpm).routes_n, 0);

    /* Two routes that part in between need three nodes; two nodes stay as they were. */
    assert_int_equal(add(lpm, "2001:db8:1::", 48, HG_LPM6_NEXT_HOP_MAX, &err), 0);
    assert_int_equal(add(lpm, "2001:db8:101::", 48, 1, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "2 nodes"));
    assert_int_equal(hg_lpm6_info(lpm).nodes_n, 1);
    assert_int_equal(look_up(lpm, "2001:db8:1:2::3"), HG_LPM6_NEXT_HOP_MAX);
    assert_int_equal(look_up(lpm, "2001:db8:101:2::3"), HG_LPM6_NONE);
    assert_int_equal(add(lpm, "2001:db8:2::", 48, 2, &err), 0); /* in the same node */
    assert_int_equal(add(lpm, "2001:db8::", 32, 3, &err), 0);
    assert_int_equal(add(lpm, "2001::", 16, 4, &err), 0);
    assert_int_equal(add(lpm, "2000::", 16, 5, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "4 routes"));
    assert_int_equal(add(lpm, "2001::", 16, 6, &err), 0); /* replacing needs no room */
    assert_int_equal(look_up(lpm, "2001:db8:101::"), 3);
    assert_int_equal(look_up(lpm, "2001:db9::"), 6);

    assert_int_equal(delete (lpm, "2000::", 16), -ENOENT);
    assert_int_equal(delete (lpm, "2001::", 17), -ENOENT);
    assert_int_equal(delete (lpm, "2001::1", 16), -ENOENT);
    assert_int_equal(delete (lpm, "2001::", 129), -ENOENT);
    hg_arena_free(arena);
}

static void says_what_is_wrong_with_a_table(void **state)
{
    struct hg_arena_options memory = {.name = "small", .bytes = 1 << 20};
    struct hg_lpm6_options options = {.routes_max = HG_LPM6_ROUTES_MAX + 1};
    struct hg_arena *arena;
    struct hg_lpm6 *lpm;
    struct hg_err err;

    (void)state;
    assert_int_equal(hg_arena_new(&arena, &memory, NULL), 0);
    assert_int_equal(hg_lpm6_new(&lpm, arena, &options, &err), -EINVAL);
    assert_non_null(strstr(err.text, "134217729"));
    options = (struct hg_lpm6_options){.nodes_max = HG_LPM6_NODES_MAX};
    assert_int_equal(hg_lpm6_new(&lpm, arena, &options, &err), -EINVAL);
    assert_non_null(strstr(err.text, "67108864"));
    assert_int_equal(hg_lpm6_new(&lpm, arena, NULL, &err), -ENOMEM);
    assert_non_null(strstr(err.text, "'small'"));
    hg_arena_free(arena);
}

static bool count_to_two(const struct hg_lpm6_route *route, void *ctx)
{
    unsigned *n = ctx;

    assert_int_equal(route->next_hop, route->depth);
    return ++*n < 2;
}

static void lists_until_told_to_stop_and_clears(void **state)
{
    struct hg_arena *arena;
    struct hg_lpm6 *lpm = make(&arena, (struct hg_lpm6_options){.routes_max = 4, .nodes_max = 3});
    unsigned n;

    (void)state;
    for (unsigned round = 0; round < 3; round++) { /* the nodes are there again each time */
        assert_int_equal(add(lpm, "2001:db8:1::", 128, 128, NULL), 0);
        assert_int_equal(add(lpm, "2001:db8:2::", 128, 128, NULL), 0);
        assert_int_equal(add(lpm, "::", 0, 0, NULL), 0);
        assert_int_equal(hg_lpm6_info(lpm).nodes_n, 3);
        n = 0;
        hg_lpm6_each(lpm, count_to_two, &n);
        assert_int_equal(n, 2);
        hg_lpm6_clear(lpm);
        assert_int_equal(hg_lpm6_info(lpm).routes_n, 0);
        assert_int_equal(hg_lpm6_info(lpm).nodes_n, 0);
        assert_int_equal(look_up(lpm, "2001:db8:1::"), HG_LPM6_NONE);
    }
    hg_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_a_plain_model),
        cmocka_unit_test(finds_the_longest_of_all_nested_prefixes),
        cmocka_unit_test(holds_all_it_promises_and_forgets_half),
        cmocka_unit_test(says_what_is_wrong_with_a_route),
        cmocka_unit_test(says_what_is_wrong_with_a_table),
        cmocka_unit_test(lists_until_told_to_stop_and_clears),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
