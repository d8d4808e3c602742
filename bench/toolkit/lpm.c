/*
 * Cycles of the IPv4 routing table in the cells of DPDK's lpm_perf_autotest: per route added and
 * deleted, per look-up one by one, in bulks of 32 and in fours, and per route added and deleted
 * while a reader looks up. Also the cache lines of the first level that the routes use, of which
 * DPDK's entries need twice as many.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "base/bits.h"
#include "base/clock.h"
#include "sync/qsbr.h"
#include "table/lpm4.h"

#include "lpm_routes.h"
#include "setup.h"

enum {
    ROUNDS_N = 1 << 10,
    QUICK_ROUNDS_N = 4,
    BATCH_N = 1 << 12,
    BULK_N = 32,
    FOUR_N = 4,
    TABLE_ROUTES_MAX = 2000000,
    GROUPS_MAX = 2048, /* as there: most routes longer than 24 bits find no room */
    UPDATE_ROUNDS_N = 10,
    READER_N = 1024, /* look-ups between two quiescent states */
    NEXT_HOP = 0xaa,
    LINE_ENTRIES_N = HG_CACHE_LINE_BYTES / sizeof(uint16_t),
};

static struct route route[ROUTES_MAX];
static unsigned route_n;
static uint32_t address[BATCH_N];
static volatile unsigned missed;

static void cell(const char *name, double cycles)
{
    printf("%s\t%.2f\n", name, cycles);
}

static void measure_add(struct hg_lpm4 *lpm)
{
    uint64_t start = hg_cycles();

    for (unsigned i = 0; i < route_n; i++)
        hg_lpm4_add(lpm, route[i].prefix, route[i].depth, NEXT_HOP, NULL);
    cell("lpm_add", (double)(hg_cycles() - start) / route_n);
}

static void measure_delete(struct hg_lpm4 *lpm)
{
    uint64_t start = hg_cycles();

    for (unsigned i = 0; i < route_n; i++)
        hg_lpm4_delete(lpm, route[i].prefix, route[i].depth);
    cell("lpm_delete", (double)(hg_cycles() - start) / route_n);
}

static unsigned one_by_one(const struct hg_lpm4 *lpm)
{
    unsigned none_n = 0;

    for (unsigned i = 0; i < BATCH_N; i++)
        none_n += hg_lpm4_lookup(lpm, address[i]) == HG_LPM4_NONE;
    return none_n;
}

static inline unsigned in_bulks(const struct hg_lpm4 *lpm, unsigned n)
{
    unsigned none_n = 0;

    for (unsigned i = 0; i < BATCH_N; i += n) {
        uint16_t next_hop[BULK_N];

        hg_lpm4_lookup_bulk(lpm, address + i, next_hop, n);
        for (unsigned k = 0; k < n; k++)
            none_n += next_hop[k] == HG_LPM4_NONE;
    }
    return none_n;
}

static unsigned bulks_of_32(const struct hg_lpm4 *lpm)
{
    return in_bulks(lpm, BULK_N);
}

static unsigned fours(const struct hg_lpm4 *lpm)
{
    return in_bulks(lpm, FOUR_N);
}

static void measure_lookup(const char *name, const struct hg_lpm4 *lpm, unsigned rounds_n,
                           unsigned (*look_up)(const struct hg_lpm4 *))
{
    uint64_t cycles = 0;

    for (unsigned r = 0; r < rounds_n; r++) {
        uint64_t start;

        for (unsigned i = 0; i < BATCH_N; i++)
            address[i] = route_random();
        start = hg_cycles();
        missed += look_up(lpm);
        cycles += hg_cycles() - start;
    }
    cell(name, (double)cycles / ((double)rounds_n * BATCH_N));
}

/* Lines of the first level in which an address has a route. */
static void count_lines(const struct hg_lpm4 *lpm)
{
    unsigned lines_n = 0;

    for (uint32_t line = 0; line < (1u << 24) / LINE_ENTRIES_N; line++) {
        bool used = false;

        for (uint32_t i = 0; i < LINE_ENTRIES_N; i++)
            used |= hg_lpm4_lookup(lpm, (line * LINE_ENTRIES_N + i) << 8) != HG_LPM4_NONE;
        lines_n += used;
    }
    printf("# %u of %u cache lines in use, %u bytes\n", lines_n, (1u << 24) / LINE_ENTRIES_N,
           lines_n * HG_CACHE_LINE_BYTES);
}

struct reader {
    const struct hg_lpm4 *lpm;
    int cpu;
    atomic_bool ready;
    atomic_bool stop;
};

static void *look_up_all_the_time(void *ctx)
{
    struct reader *reader = ctx;
    uint64_t state = 1;

    stay_on(reader->cpu);
    hg_qsbr_register();
    atomic_store(&reader->ready, true);
    while (!atomic_load_explicit(&reader->stop, memory_order_relaxed)) {
        for (unsigned i = 0; i < READER_N; i++) {
            state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
            missed += hg_lpm4_lookup(reader->lpm, (uint32_t)(state >> 32)) == HG_LPM4_NONE;
        }
        hg_qsbr_quiescent();
    }
    hg_qsbr_unregister();
    return NULL;
}

/* All routes longer than 24 bits come and go, in a table of their own, while another thread
 * reads. */
static void measure_updates(const struct setup *setup)
{
    struct hg_lpm4_options options = {.routes_max = ROUTES_MAX};
    struct hg_arena *arena = setup_arena(hg_lpm4_bytes(&options));
    struct reader reader = {.cpu = setup->cpu[1]};
    unsigned rounds_n = setup->quick ? 1 : UPDATE_ROUNDS_N;
    struct hg_lpm4 *lpm;
    struct hg_err err;
    pthread_t thread;
    uint64_t start;
    unsigned n = 0;

    setup_check(hg_lpm4_new(&lpm, arena, &options, &err), &err);
    for (unsigned i = 0; i < route_n; i++)
        if (route[i].depth > 24)
            route[n++] = route[i];
    reader.lpm = lpm;
    if (pthread_create(&thread, NULL, look_up_all_the_time, &reader) != 0)
        exit(1);
    while (!atomic_load(&reader.ready))
        sched_yield();
    start = hg_cycles();
    for (unsigned r = 0; r < rounds_n; r++) {
        for (unsigned i = 0; i < n; i++)
            setup_check(hg_lpm4_add(lpm, route[i].prefix, route[i].depth, NEXT_HOP, &err), &err);
        for (unsigned i = 0; i < n; i++)
            hg_lpm4_delete(lpm, route[i].prefix, route[i].depth);
    }
    cell("lpm_rcu_add_delete", (double)(hg_cycles() - start) / ((double)n * rounds_n));
    atomic_store(&reader.stop, true);
    pthread_join(thread, NULL);
    hg_arena_free(arena);
}

int main(int argc, char **argv)
{
    struct setup setup = setup_begin(argc, argv);
    struct hg_lpm4_options options = {.routes_max = TABLE_ROUTES_MAX, .groups_max = GROUPS_MAX};
    struct hg_arena *arena = setup_arena(hg_lpm4_bytes(&options));
    unsigned rounds_n = setup.quick ? QUICK_ROUNDS_N : ROUNDS_N;
    struct hg_lpm4 *lpm;
    struct hg_err err;

    route_n = routes_make(route);
    setup_check(hg_lpm4_new(&lpm, arena, &options, &err), &err);
    measure_add(lpm);
    printf("# %u routes, %u unique and with room\n", route_n, hg_lpm4_info(lpm).routes_n);
    count_lines(lpm);
    measure_lookup("lpm_lookup", lpm, rounds_n, one_by_one);
    measure_lookup("lpm_lookup_bulk", lpm, rounds_n, bulks_of_32);
    measure_lookup("lpm_lookup_x4", lpm, rounds_n, fours);
    measure_delete(lpm);
    hg_arena_free(arena);
    measure_updates(&setup);
    return 0;
}
