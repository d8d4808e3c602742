/*
 * Programs of operations on an IPv4 routing table, each run beside a plain model: a list of routes,
 * searched from one end to the other. For the fuzzer and for the unit tests. A program is bytes:
 * operation, address, depth, next hop, and again.
 *
 * Addresses differ in eight bits on either side of where the levels of the table meet, so that a
 * short program finds nested prefixes. Table and model are small, so that it finds their limits
 * too.
 */
#ifndef HG_TESTS_UNIT_TABLE_LPM4_RUN_H
#define HG_TESTS_UNIT_TABLE_LPM4_RUN_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "mem/arena.h"
#include "table/lpm4.h"

enum { LPM4_RUN_ROUTES_MAX = 48, LPM4_RUN_GROUPS_MAX = 5, LPM4_RUN_OPERATION_BYTES = 4 };

struct lpm4_run {
    struct hg_arena *arena;
    struct hg_lpm4 *lpm;
    struct hg_lpm4_route route[LPM4_RUN_ROUTES_MAX];
    unsigned route_n;
};

#define lpm4_run_check(truth)                                                                      \
    do {                                                                                           \
        if (!(truth)) {                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #truth);                    \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static inline uint32_t lpm4_run_mask(unsigned depth)
{
    return depth == 0 ? 0 : UINT32_MAX << (32 - depth);
}

static inline uint32_t lpm4_run_address(uint8_t choice)
{
    static const uint8_t place[8] = {0, 3, 7, 8, 9, 13, 17, 28};
    uint32_t address = 0x05000000;

    for (unsigned bit = 0; bit < 8; bit++)
        address |= (choice >> bit & 1u) << place[bit];
    return address;
}

static inline struct hg_lpm4_route *lpm4_run_find(struct lpm4_run *run, uint32_t prefix,
                                                  unsigned depth)
{
    for (unsigned i = 0; i < run->route_n; i++)
        if (run->route[i].prefix == prefix && run->route[i].depth == depth)
            return &run->route[i];
    return NULL;
}

static inline uint16_t lpm4_run_model(const struct lpm4_run *run, uint32_t address)
{
    uint16_t next_hop = HG_LPM4_NONE;
    int longest = -1;

    for (unsigned i = 0; i < run->route_n; i++) {
        const struct hg_lpm4_route *route = &run->route[i];

        if ((address & lpm4_run_mask(route->depth)) == route->prefix && route->depth > longest) {
            longest = route->depth;
            next_hop = route->next_hop;
        }
    }
    return next_hop;
}

/* /24s that have longer routes. */
static inline unsigned lpm4_run_groups(const struct lpm4_run *run)
{
    unsigned n = 0;

    for (unsigned i = 0; i < run->route_n; i++) {
        unsigned before = 0;

        if (run->route[i].depth <= 24)
            continue;
        while (before < i && (run->route[before].depth <= 24 ||
                              run->route[before].prefix >> 8 != run->route[i].prefix >> 8))
            before++;
        n += before == i;
    }
    return n;
}

static inline void lpm4_run_add(struct lpm4_run *run, struct hg_lpm4_route route)
{
    struct hg_lpm4_route *known = lpm4_run_find(run, route.prefix, route.depth);
    int rc = hg_lpm4_add(run->lpm, route.prefix, route.depth, route.next_hop, NULL);
    int expected = 0;

    if (known != NULL) {
        known->next_hop = route.next_hop;
    } else if (run->route_n == LPM4_RUN_ROUTES_MAX) {
        expected = -ENOSPC;
    } else {
        run->route[run->route_n++] = route;
        if (lpm4_run_groups(run) > LPM4_RUN_GROUPS_MAX) {
            run->route_n--;
            expected = -ENOSPC;
        }
    }
    lpm4_run_check(rc == expected);
}

static inline void lpm4_run_delete(struct lpm4_run *run, uint32_t prefix, unsigned depth)
{
    struct hg_lpm4_route *known = lpm4_run_find(run, prefix, depth);
    int rc = hg_lpm4_delete(run->lpm, prefix, depth);

    lpm4_run_check(rc == (known != NULL ? 0 : -ENOENT));
    if (known != NULL)
        *known = run->route[--run->route_n];
}

static inline bool lpm4_run_each(const struct hg_lpm4_route *route, void *ctx)
{
    struct lpm4_run *run = ctx;
    struct hg_lpm4_route *known = lpm4_run_find(run, route->prefix, route->depth);

    lpm4_run_check(known != NULL && known->next_hop == route->next_hop);
    return true;
}

/* Every address of the program's world, and those beside them, singly and in bulk. */
static inline void lpm4_run_compare(struct lpm4_run *run)
{
    struct hg_lpm4_info info = hg_lpm4_info(run->lpm);
    uint32_t address[512];
    uint16_t next_hop[512];

    lpm4_run_check(info.routes_n == run->route_n && info.groups_n == lpm4_run_groups(run));
    hg_lpm4_each(run->lpm, lpm4_run_each, run);
    for (unsigned i = 0; i < 512; i++)
        address[i] = lpm4_run_address((uint8_t)(i / 2)) ^ (i % 2 * 0x402);
    hg_lpm4_lookup_bulk(run->lpm, address, next_hop, 512);
    for (unsigned i = 0; i < 512; i++) {
        lpm4_run_check(next_hop[i] == lpm4_run_model(run, address[i]));
        lpm4_run_check(next_hop[i] == hg_lpm4_lookup(run->lpm, address[i]));
    }
}

static inline void lpm4_run_begin(struct lpm4_run *run)
{
    struct hg_lpm4_options options = {.routes_max = LPM4_RUN_ROUTES_MAX,
                                      .groups_max = LPM4_RUN_GROUPS_MAX};
    struct hg_arena_options memory = {.name = "lpm4_run", .bytes = hg_lpm4_bytes(&options)};

    run->route_n = 0;
    lpm4_run_check(hg_arena_new(&run->arena, &memory, NULL) == 0);
    lpm4_run_check(hg_lpm4_new(&run->lpm, run->arena, &options, NULL) == 0);
}

static inline void lpm4_run_end(struct lpm4_run *run)
{
    hg_arena_free(run->arena);
}

/* Runs a program on an empty table and empties it again. Depths are from `shallowest`: what is
 * shorter is right too, but takes long. */
static inline void lpm4_run_program(struct lpm4_run *run, const uint8_t *data, size_t size,
                                    unsigned shallowest)
{
    for (; size >= LPM4_RUN_OPERATION_BYTES;
         size -= LPM4_RUN_OPERATION_BYTES, data += LPM4_RUN_OPERATION_BYTES) {
        uint8_t depth = (uint8_t)(shallowest + data[2] % (33 - shallowest));
        uint32_t prefix = lpm4_run_address(data[1]) & lpm4_run_mask(depth);
        const struct hg_lpm4_route *known = lpm4_run_find(run, prefix, depth);

        lpm4_run_check(hg_lpm4_get(run->lpm, prefix, depth) ==
                       (known != NULL ? known->next_hop : HG_LPM4_NONE));
        switch (data[0] % 8) {
        case 0:
        case 1:
        case 2:
        case 3:
            lpm4_run_add(run, (struct hg_lpm4_route){prefix, depth, data[3]});
            break;
        case 4:
        case 5:
            lpm4_run_delete(run, prefix, depth);
            break;
        case 6: /* one that is surely there */
            if (run->route_n > 0) {
                struct hg_lpm4_route route = run->route[data[1] % run->route_n];

                lpm4_run_delete(run, route.prefix, route.depth);
            }
            break;
        default:
            lpm4_run_compare(run);
        }
    }
    lpm4_run_compare(run);
    while (run->route_n > 0)
        lpm4_run_delete(run, run->route[0].prefix, run->route[0].depth);
    lpm4_run_compare(run);
}

#endif
