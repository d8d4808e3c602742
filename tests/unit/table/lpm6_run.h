/*
 * Programs of operations on an IPv6 routing table, each run beside a plain model: a list of routes,
 * searched from one end to the other. For the fuzzer and for the unit tests. A program is bytes:
 * operation, address, depth, next hop, and again.
 *
 * Addresses differ in eight bits, some next to each other and some far apart, so that a short
 * program makes nodes that skip nibbles, splits them and passes them by. Table and model are small,
 * so that it finds their limits too; the model knows how many nodes there have to be.
 */
#ifndef HG_TESTS_UNIT_TABLE_LPM6_RUN_H
#define HG_TESTS_UNIT_TABLE_LPM6_RUN_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem/arena.h"
#include "table/lpm6.h"

enum { LPM6_RUN_ROUTES_MAX = 40, LPM6_RUN_NODES_MAX = 14, LPM6_RUN_OPERATION_BYTES = 4 };

struct lpm6_run {
    struct hg_arena *arena;
    struct hg_lpm6 *lpm;
    struct hg_lpm6_route route[LPM6_RUN_ROUTES_MAX];
    unsigned route_n;
};

#define lpm6_run_check(truth)                                                                      \
    do {                                                                                           \
        if (!(truth)) {                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #truth);                    \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* The first `depth` bits of an address, bit by bit. */
static inline void lpm6_run_cut(uint8_t out[16], const uint8_t address[16], unsigned depth)
{
    for (unsigned i = 0; i < 16; i++)
        out[i] = 0;
    for (unsigned bit = 0; bit < depth; bit++)
        out[bit / 8] |= (uint8_t)(address[bit / 8] & 0x80 >> bit % 8);
}

static inline bool lpm6_run_covers(const struct hg_lpm6_route *route, const uint8_t address[16])
{
    unsigned bytes = route->depth / 8;
    unsigned rest = route->depth % 8; /* bits of the byte behind them */

    return memcmp(route->prefix, address, bytes) == 0 &&
           (rest == 0 || (route->prefix[bytes] ^ address[bytes]) >> (8 - rest) == 0);
}

static inline void lpm6_run_address(uint8_t address[16], uint8_t choice)
{
    static const uint8_t bit[8] = {2, 15, 16, 24, 43, 63, 64, 127};

    for (unsigned i = 0; i < 16; i++)
        address[i] = (uint8_t)(0x20 + i * 7);
    for (unsigned i = 0; i < 8; i++)
        if (choice >> i & 1)
            address[bit[i] / 8] ^= (uint8_t)(0x80 >> bit[i] % 8);
}

static inline struct hg_lpm6_route *lpm6_run_find(struct lpm6_run *run, const uint8_t prefix[16],
                                                  unsigned depth)
{
    for (unsigned i = 0; i < run->route_n; i++)
        if (memcmp(run->route[i].prefix, prefix, 16) == 0 && run->route[i].depth == depth)
            return &run->route[i];
    return NULL;
}

static inline uint16_t lpm6_run_model(const struct lpm6_run *run, const uint8_t address[16])
{
    uint16_t next_hop = HG_LPM6_NONE;
    int longest = -1;

    for (unsigned i = 0; i < run->route_n; i++) {
        const struct hg_lpm6_route *route = &run->route[i];

        if (route->depth > longest && lpm6_run_covers(route, address)) {
            longest = route->depth;
            next_hop = route->next_hop;
        }
    }
    return next_hop;
}

static inline unsigned lpm6_run_nibble(const uint8_t address[16], unsigned nibble)
{
    return nibble % 2 == 0 ? address[nibble / 2] >> 4 : address[nibble / 2] & 15u;
}

struct lpm6_run_nodes {
    uint8_t prefix[4 * LPM6_RUN_ROUTES_MAX * LPM6_RUN_ROUTES_MAX][16];
    uint8_t nibble[4 * LPM6_RUN_ROUTES_MAX * LPM6_RUN_ROUTES_MAX];
    unsigned n;
};

static inline void lpm6_run_note(struct lpm6_run_nodes *nodes, const uint8_t address[16],
                                 unsigned nibble)
{
    uint8_t prefix[16];

    lpm6_run_cut(prefix, address, nibble * 4);
    for (unsigned i = 0; i < nodes->n; i++)
        if (nodes->nibble[i] == nibble && memcmp(nodes->prefix[i], prefix, 16) == 0)
            return;
    memcpy(nodes->prefix[nodes->n], prefix, 16);
    nodes->nibble[nodes->n++] = (uint8_t)nibble;
}

/* How many nodes there have to be: where a route ends, and where the ways to two of those part. */
static inline unsigned lpm6_run_node_n(const struct lpm6_run *run)
{
    static struct lpm6_run_nodes nodes;
    unsigned ends_n;

    nodes.n = 0;
    for (unsigned i = 0; i < run->route_n; i++)
        if (run->route[i].depth > 16)
            lpm6_run_note(&nodes, run->route[i].prefix, (run->route[i].depth - 1u) / 4);
    ends_n = nodes.n;
    for (unsigned a = 0; a < ends_n; a++) {
        for (unsigned b = 0; b < a; b++) {
            unsigned fork = 0;

            while (fork < nodes.nibble[a] && fork < nodes.nibble[b] &&
                   lpm6_run_nibble(nodes.prefix[a], fork) == lpm6_run_nibble(nodes.prefix[b], fork))
                fork++;
            if (fork >= 4 && fork < nodes.nibble[a] && fork < nodes.nibble[b])
                lpm6_run_note(&nodes, nodes.prefix[a], fork);
        }
    }
    return nodes.n;
}

static inline void lpm6_run_add(struct lpm6_run *run, const struct hg_lpm6_route *route)
{
    struct hg_lpm6_route *known = lpm6_run_find(run, route->prefix, route->depth);
    int rc = hg_lpm6_add(run->lpm, route->prefix, route->depth, route->next_hop, NULL);
    int expected = 0;

    if (known != NULL) {
        known->next_hop = route->next_hop;
    } else if (run->route_n == LPM6_RUN_ROUTES_MAX) {
        expected = -ENOSPC;
    } else {
        run->route[run->route_n++] = *route;
        if (lpm6_run_node_n(run) > LPM6_RUN_NODES_MAX) {
            run->route_n--;
            expected = -ENOSPC;
        }
    }
    lpm6_run_check(rc == expected);
}

static inline void lpm6_run_delete(struct lpm6_run *run, const uint8_t prefix[16], unsigned depth)
{
    struct hg_lpm6_route *known = lpm6_run_find(run, prefix, depth);
    int rc = hg_lpm6_delete(run->lpm, prefix, depth);

    lpm6_run_check(rc == (known != NULL ? 0 : -ENOENT));
    if (known != NULL)
        *known = run->route[--run->route_n];
}

static inline bool lpm6_run_each(const struct hg_lpm6_route *route, void *ctx)
{
    struct lpm6_run *run = ctx;
    struct hg_lpm6_route *known = lpm6_run_find(run, route->prefix, route->depth);

    lpm6_run_check(known != NULL && known->next_hop == route->next_hop);
    return true;
}

/* Every address of the program's world, and those beside them, singly and in bulk. */
static inline void lpm6_run_compare(struct lpm6_run *run)
{
    struct hg_lpm6_info info = hg_lpm6_info(run->lpm);
    static uint8_t address[512][16];
    uint16_t next_hop[512];

    lpm6_run_check(info.routes_n == run->route_n && info.nodes_n == lpm6_run_node_n(run));
    hg_lpm6_each(run->lpm, lpm6_run_each, run);
    for (unsigned i = 0; i < 512; i++) {
        lpm6_run_address(address[i], (uint8_t)(i / 2));
        address[i][(i * 7) % 16] ^= (uint8_t)(i % 2 << i / 2 % 8);
    }
    hg_lpm6_lookup_bulk(run->lpm, (const uint8_t(*)[16])address, next_hop, 512);
    for (unsigned i = 0; i < 512; i++) {
        lpm6_run_check(next_hop[i] == lpm6_run_model(run, address[i]));
        lpm6_run_check(next_hop[i] == hg_lpm6_lookup(run->lpm, address[i]));
    }
}

static inline void lpm6_run_begin(struct lpm6_run *run)
{
    struct hg_lpm6_options options = {.routes_max = LPM6_RUN_ROUTES_MAX,
                                      .nodes_max = LPM6_RUN_NODES_MAX};
    struct hg_arena_options memory = {.name = "lpm6_run", .bytes = hg_lpm6_bytes(&options)};

    run->route_n = 0;
    lpm6_run_check(hg_arena_new(&run->arena, &memory, NULL) == 0);
    lpm6_run_check(hg_lpm6_new(&run->lpm, run->arena, &options, NULL) == 0);
}

static inline void lpm6_run_end(struct lpm6_run *run)
{
    hg_arena_free(run->arena);
}

/* Runs a program on an empty table and empties it again. */
static inline void lpm6_run_program(struct lpm6_run *run, const uint8_t *data, size_t size)
{
    for (; size >= LPM6_RUN_OPERATION_BYTES;
         size -= LPM6_RUN_OPERATION_BYTES, data += LPM6_RUN_OPERATION_BYTES) {
        struct hg_lpm6_route route = {.depth = (uint8_t)(data[2] % 129), .next_hop = data[3]};
        const struct hg_lpm6_route *known;
        uint8_t address[16];

        lpm6_run_address(address, data[1]);
        lpm6_run_cut(route.prefix, address, route.depth);
        known = lpm6_run_find(run, route.prefix, route.depth);
        lpm6_run_check(hg_lpm6_get(run->lpm, route.prefix, route.depth) ==
                       (known != NULL ? known->next_hop : HG_LPM6_NONE));
        switch (data[0] % 8) {
        case 0:
        case 1:
        case 2:
        case 3:
            lpm6_run_add(run, &route);
            break;
        case 4:
            lpm6_run_delete(run, route.prefix, route.depth);
            break;
        case 5:
        case 6: /* one that is surely there */
            if (run->route_n > 0) {
                route = run->route[data[1] % run->route_n];
                lpm6_run_delete(run, route.prefix, route.depth);
            }
            break;
        default:
            lpm6_run_compare(run);
        }
    }
    lpm6_run_compare(run);
    while (run->route_n > 0) {
        struct hg_lpm6_route route = run->route[0];

        lpm6_run_delete(run, route.prefix, route.depth);
    }
    lpm6_run_compare(run);
}

#endif
