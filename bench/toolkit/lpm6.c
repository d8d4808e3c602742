/*
 * Cycles of the IPv6 routing table in the cells of DPDK's lpm6_perf_autotest: 1,000 routes whose
 * depth is anything from 1 to 128, and 100,000 addresses, each below one of them. And the same
 * cells with a table as the Internet's is: 200,000 routes, most of them /48 and /32 to /44 below
 * the prefixes of the regional registries.
 */
#include "table/lpm6.h"
#include "base/bits.h"
#include "base/clock.h"

#include "lpm_routes.h"
#include "setup.h"

enum {
    FEW_N = 1000,
    MANY_N = 200000,
    ADDRESS_N = 100000,
    ROUNDS_N = 64,
    NEXT_HOP = 0xaa,
};

static struct hg_lpm6_route route[MANY_N];
static uint8_t address[ADDRESS_N][16];
static uint16_t next_hop[ADDRESS_N];
static volatile unsigned missed;

static void fill(uint8_t bytes[16])
{
    for (unsigned i = 0; i < 4; i++) {
        uint32_t word = route_random();

        memcpy(bytes + 4 * i, &word, 4);
    }
}

/* Takes the bits from `depth` on from another address. */
static void mix(uint8_t bytes[16], unsigned depth, const uint8_t other[16])
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned keep = depth <= 8 * i ? 0 : depth >= 8 * i + 8 ? 0xff : 0xff00u >> (depth - 8 * i);

        bytes[i] = (uint8_t)((bytes[i] & keep) | (other[i] & ~keep));
    }
}

static void make_few(void)
{
    static const uint8_t zero[16];

    for (unsigned i = 0; i < FEW_N; i++) {
        route[i].depth = (uint8_t)(1 + i % 128);
        fill(route[i].prefix);
        mix(route[i].prefix, route[i].depth, zero);
    }
}

/* Blocks of the registries, then holders' /32, then what they announce of it. */
static void make_many(void)
{
    static const uint8_t block[][2] = {{0x20, 0x01}, {0x24, 0x00}, {0x26, 0x00},
                                       {0x28, 0x00}, {0x2a, 0x00}, {0x2c, 0x0f}};
    static const uint8_t depth[] = {48, 48, 48, 48, 48, 48, 48, 48, 48, 32,
                                    32, 32, 44, 44, 40, 40, 36, 46, 47, 29};
    static const uint8_t zero[16];

    for (unsigned i = 0; i < MANY_N; i++) {
        uint8_t *prefix = route[i].prefix;
        uint32_t holder = (route_random() & 0x3fff) * UINT32_C(2654435761); /* one of 16,384 */

        fill(prefix);
        prefix[0] = block[holder % HG_ARRAY_N(block)][0];
        prefix[1] = (uint8_t)(block[holder % HG_ARRAY_N(block)][1] | (holder >> 8 & 0xf));
        prefix[2] = (uint8_t)(holder >> 16);
        prefix[3] = (uint8_t)(holder >> 24);
        route[i].depth = depth[route_random() % HG_ARRAY_N(depth)];
        mix(prefix, route[i].depth, zero);
    }
}

static void cell(const char *kind, const char *name, uint64_t cycles, double n)
{
    printf("%s_%s\t%.2f\n", kind, name, (double)cycles / n);
}

static unsigned count_missed(void)
{
    unsigned none_n = 0;

    for (unsigned i = 0; i < ADDRESS_N; i++)
        none_n += next_hop[i] == HG_LPM6_NONE;
    return none_n;
}

static void measure_lookups(const char *kind, const struct hg_lpm6 *lpm, unsigned rounds_n)
{
    uint64_t single = 0;
    uint64_t bulk = 0;

    for (unsigned r = 0; r < rounds_n; r++) {
        uint64_t start = hg_cycles();

        for (unsigned i = 0; i < ADDRESS_N; i++)
            next_hop[i] = hg_lpm6_lookup(lpm, address[i]);
        single += hg_cycles() - start;
        missed += count_missed();
        start = hg_cycles();
        hg_lpm6_lookup_bulk(lpm, (const uint8_t(*)[16])address, next_hop, ADDRESS_N);
        bulk += hg_cycles() - start;
        missed += count_missed();
    }
    cell(kind, "lookup", single, (double)rounds_n * ADDRESS_N);
    cell(kind, "lookup_bulk", bulk, (double)rounds_n * ADDRESS_N);
}

static void measure(const char *kind, unsigned route_n, unsigned rounds_n)
{
    struct hg_lpm6_options options = {.routes_max = route_n, .nodes_max = 2 * route_n};
    struct hg_arena *arena;
    struct hg_lpm6 *lpm;
    struct hg_err err;
    uint64_t start;

    arena = setup_arena(hg_lpm6_bytes(&options));
    setup_check(hg_lpm6_new(&lpm, arena, &options, &err), &err);
    for (unsigned i = 0; i < ADDRESS_N; i++) {
        const struct hg_lpm6_route *below = &route[route_random() % route_n];
        uint8_t rest[16];

        fill(rest);
        memcpy(address[i], below->prefix, 16);
        mix(address[i], below->depth, rest);
    }
    start = hg_cycles();
    for (unsigned i = 0; i < route_n; i++)
        setup_check(hg_lpm6_add(lpm, route[i].prefix, route[i].depth, NEXT_HOP, &err), &err);
    cell(kind, "add", hg_cycles() - start, route_n);
    printf("# %u routes, %u different, %u nodes\n", route_n, hg_lpm6_info(lpm).routes_n,
           hg_lpm6_info(lpm).nodes_n);
    measure_lookups(kind, lpm, rounds_n);
    start = hg_cycles();
    for (unsigned i = 0; i < route_n; i++)
        hg_lpm6_delete(lpm, route[i].prefix, route[i].depth);
    cell(kind, "delete", hg_cycles() - start, route_n);
    hg_arena_free(arena);
}

int main(int argc, char **argv)
{
    struct setup setup = setup_begin(argc, argv);
    unsigned rounds_n = setup.quick ? 1 : ROUNDS_N;

    make_few();
    measure("lpm6", FEW_N, rounds_n);
    make_many();
    measure("lpm6_internet", MANY_N, rounds_n);
    return 0;
}
