/*
 * An IPv4 router on one core: frames of 64 bytes from a generator, random destinations, a million
 * routes, a sink. Each frame is made, parsed, validated, its TTL and checksum changed, its
 * destination looked up, its Ethernet addresses rewritten, and checked by the sink. Prints cycles
 * for each frame that is forwarded; then for what it is made of:
 *
 *   l3fwd             the whole, for each frame that arrives
 *   l3fwd_local       the same to 256 destinations: every entry is in the cache
 *   l3fwd_empty       generator, parsing, sink; nothing is routed
 *   l3fwd_miss        the machine's limit: cycles for each of many independent loads at random
 *                     places of as much memory as the first level of the table has
 *
 * An eighth of all addresses are groups or reserved, and fall out as martians; they count as
 * received, not forwarded.
 */
#include <inttypes.h>

#include "base/bits.h"
#include "base/clock.h"
#include "flow/route.h"
#include "program/program.h"
#include "table/lpm4.h"

#include "lpm_routes.h"
#include "setup.h"

enum {
    ADJACENCIES_N = 256,
    MISS_ROUNDS_N = 512,
    MISS_N = 4096,
    MISS_PLACES_N = 1 << 23, /* of 4 bytes: 32 MiB */
};

static struct route route[ROUTES_MAX];
static struct hg_adjacency adjacency[ADJACENCIES_N];
static volatile uint32_t sum;

static void make_routes(struct hg_lpm4 *lpm)
{
    unsigned n = routes_make(route);
    struct hg_err err;

    for (unsigned i = 0; i < n; i++)
        setup_check(
            hg_lpm4_add(lpm,
                        route[i].prefix & (uint32_t) ~((UINT64_C(1) << (32 - route[i].depth)) - 1),
                        route[i].depth, (uint16_t)(route_random() % ADJACENCIES_N), &err),
            &err);
    for (unsigned i = 0; i < ADJACENCIES_N; i++)
        adjacency[i] =
            (struct hg_adjacency){.link = {2, 0, 0, 0, 1, (uint8_t)i, 2, 0, 0, 0, 0, 1}, .out = 1};
    printf("# %" PRIu32 " routes\n", hg_lpm4_info(lpm).routes_n);
}

/* Cycles for each nanosecond. */
static double cycles_rate(void)
{
    uint64_t start_ns = hg_now_ns();
    uint64_t start = hg_cycles();
    uint64_t cycles;
    uint64_t ns;

    do {
        cycles = hg_cycles() - start;
        ns = hg_now_ns() - start_ns;
    } while (ns < 20 * HG_NS_PER_MS);
    return (double)cycles / (double)ns;
}

static void measure(const char *name, const char *generator, struct hg_route4 *router,
                    const struct setup *setup)
{
    char cpus[16];
    struct hg_program_options options = {
        .cpus = cpus, .poll = true, .run_ns = (setup->quick ? 20 : 2000) * HG_NS_PER_MS};
    struct hg_program_totals totals;
    struct hg_program *program;
    struct hg_pipe *pipe;
    struct hg_err err;
    double forwarded_rate;
    uint16_t in;

    snprintf(cpus, sizeof(cpus), "%d", setup->cpu[0]);
    setup_check(hg_program_new(&program, &options, &err), &err);
    in = hg_program_open(program, generator);
    hg_program_open(program, "sink");
    pipe = hg_program_receive(program, in, 0, 0);
    hg_pipe_stage(pipe, "parse", hg_stage_parse, NULL);
    if (router != NULL)
        hg_pipe_stage(pipe, "route", hg_route4, router);
    hg_pipe_transmit(pipe, router != NULL ? HG_OUT_BY_PACKET : in + 1);
    setup_check(hg_program_run(program, &err), &err);
    hg_program_totals(program, &totals);
    forwarded_rate = (double)totals.transmitted / (double)totals.run_ns;
    printf("%s\t%.2f\n", name, cycles_rate() / forwarded_rate);
    printf("# %.2f Mpps received, %.2f forwarded\n",
           (double)totals.received * 1e3 / (double)totals.run_ns, forwarded_rate * 1e3);
    if (totals.lost != 0)
        printf("# %" PRIu64 " refused by the sink\n", totals.lost);
    hg_program_free(program);
}

/* Batches of addresses are made outside of the time. The loads depend on nothing, so the processor
 * has as many of them under way as it can. */
static void measure_misses(const struct setup *setup)
{
    struct hg_arena *arena = setup_arena(MISS_PLACES_N * sizeof(uint32_t));
    uint32_t *place = hg_arena_take(arena, "places", MISS_PLACES_N * sizeof(uint32_t), 64);
    unsigned rounds_n = setup->quick ? 4 : MISS_ROUNDS_N;
    uint64_t cycles = 0;

    for (uint32_t i = 0; i < MISS_PLACES_N; i++)
        place[i] = i;
    for (unsigned r = 0; r < rounds_n; r++) {
        static uint32_t at[MISS_N];
        uint32_t found = 0;
        uint64_t start;

        for (unsigned i = 0; i < MISS_N; i++)
            at[i] = route_random() % MISS_PLACES_N;
        start = hg_cycles();
        for (unsigned i = 0; i < MISS_N; i++)
            found += place[at[i]];
        cycles += hg_cycles() - start;
        sum += found;
    }
    printf("l3fwd_miss\t%.2f\n", (double)cycles / ((double)rounds_n * MISS_N));
    hg_arena_free(arena);
}

int main(int argc, char **argv)
{
    struct setup setup = setup_begin(argc, argv);
    struct hg_lpm4_options options = {.routes_max = ROUTES_MAX};
    struct hg_arena *arena = setup_arena(hg_lpm4_bytes(&options));
    struct hg_route4 router = {.adjacency = adjacency, .adjacency_n = ADJACENCIES_N};
    struct hg_lpm4 *lpm;
    struct hg_err err;

    setup_check(hg_lpm4_new(&lpm, arena, &options, &err), &err);
    make_routes(lpm);
    router.lpm = lpm;
    measure("l3fwd", "generator:size=64,flows=0,dst=0.0.0.0/0", &router, &setup);
    measure("l3fwd_local", "generator:size=64,flows=0,dst=192.168.1.0/24", &router, &setup);
    measure("l3fwd_empty", "generator:size=64,flows=0,dst=0.0.0.0/0", NULL, &setup);
    measure_misses(&setup);
    for (unsigned i = 0; i < HG_ROUTE_DROP_N; i++)
        if (hg_count_get(&router.drops[i]) != 0)
            printf("# %s: %" PRIu64 "\n", hg_route_drop_names[i], hg_count_get(&router.drops[i]));
    hg_arena_free(arena);
    return 0;
}
