/*
 * The pool beside DPDK's mempool_perf_autotest (22.11): objects are taken in calls of `get` until
 * `keep` are held, and given back in calls of `put`; in one thread or two, without a cache, with
 * one of the pool's size (512 objects there and here), and with a cache that lasts for one
 * measurement. `const`: the sizes of calls are constants to the compiler.
 *
 *   pool_KIND_CORESc_getG_putP_keepK[_const]    cycles of a core for each object taken and given
 *                                               back
 *
 * `cache` and `owncache` differ in DPDK by where the cache lies, in the pool or with the user; here
 * they differ by its age alone.
 *
 *   pool [--cpus A[,B]] [--quick]
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "mem/arena.h"
#include "pkt/pool.h"

#include "setup.h"

enum {
    CORES_MAX = 2,
    KEEP_MAX = 512,
    TURN_OBJECTS_N = 65536, /* between two looks at the clock */
    OBJECT_BYTES = 2048,
    OBJECTS_N = CORES_MAX * (KEEP_MAX + HG_POOL_CACHE_N_MAX) - 1,
};

#define CELL_CYCLES (UINT64_C(20) * 1000 * 1000)

enum kind { NO_CACHE, CACHE, OWN_CACHE, KINDS_N };
static const char *const kind_names[KINDS_N] = {"nocache", "cache", "owncache"};

static struct hg_pool *pool;
static uint64_t cell_cycles;
static atomic_uint ready_n;

struct cell {
    enum kind kind;
    unsigned core_n;
    uint32_t get, put, keep;
    bool constant;
};

struct core {
    pthread_t thread;
    struct hg_pool_cache *lasting; /* for CACHE */
    const struct cell *cell;
    int cpu;
    uint64_t object_n;
    uint64_t cycles;
};

static void die(const char *what)
{
    fprintf(stderr, "pool: %s\n", what);
    exit(1);
}

static inline __attribute__((always_inline)) void take(struct hg_pool_cache *cache, void **objects,
                                                       uint32_t n)
{
    bool got =
        cache != NULL ? hg_pool_take(cache, objects, n) : hg_pool_take_shared(pool, objects, n);

    if (hg_unlikely(!got))
        die("too few objects");
}

static inline __attribute__((always_inline)) void give(struct hg_pool_cache *cache,
                                                       void *const *objects, uint32_t n)
{
    if (cache != NULL)
        hg_pool_put(cache, objects, n);
    else
        hg_pool_put_shared(pool, objects, n);
}

static inline __attribute__((always_inline)) void turn(struct hg_pool_cache *cache, uint32_t keep,
                                                       uint32_t get, uint32_t put)
{
    void *objects[KEEP_MAX];

    for (uint32_t done = 0; done < TURN_OBJECTS_N; done += keep) {
        for (uint32_t i = 0; i < keep; i += get)
            take(cache, objects + i, get);
        for (uint32_t i = 0; i < keep; i += put)
            give(cache, objects + i, put);
    }
}

/* Whether there is a cache is the caller's to know when it is compiled: DPDK's calls branch on it
 * too, but its test has one copy of the loop for each size that is constant, and not more. */
static __attribute__((noinline)) void turn_variable(struct hg_pool_cache *cache, uint32_t keep,
                                                    uint32_t get, uint32_t put)
{
    turn(cache, keep, get, put);
}

static __attribute__((noinline)) void turn_constant(struct hg_pool_cache *cache, uint32_t keep,
                                                    uint32_t n)
{
    switch (n) {
    case 1:
        turn(cache, keep, 1, 1);
        break;
    case 4:
        turn(cache, keep, 4, 4);
        break;
    case 8:
        turn(cache, keep, 8, 8);
        break;
    default:
        turn(cache, keep, 32, 32);
    }
}

static void *run_core(void *arg)
{
    struct core *core = arg;
    const struct cell *cell = core->cell;
    struct hg_pool_cache *cache = cell->kind == CACHE ? core->lasting : NULL;
    uint64_t start, end;

    stay_on(core->cpu);
    if (cell->kind == OWN_CACHE && hg_pool_cache_new(&cache, pool, "own", NULL) != 0)
        die("no memory for a cache");
    atomic_fetch_add(&ready_n, 1);
    while (atomic_load(&ready_n) < cell->core_n)
        hg_relax();

    core->object_n = 0;
    start = hg_cycles();
    do {
        if (cell->constant)
            turn_constant(cache, cell->keep, cell->get);
        else
            turn_variable(cache, cell->keep, cell->get, cell->put);
        core->object_n += TURN_OBJECTS_N;
        end = hg_cycles();
    } while (end - start < cell_cycles);
    core->cycles = end - start;
    if (cell->kind == OWN_CACHE)
        hg_pool_cache_free(cache);
    return NULL;
}

/* As the rates of the cores add up. */
static void measure(const struct cell *cell, struct core *cores)
{
    double per_cycle = 0;

    atomic_store(&ready_n, 0);
    for (unsigned i = 0; i < cell->core_n; i++)
        cores[i].cell = cell;
    for (unsigned i = 1; i < cell->core_n; i++)
        if (pthread_create(&cores[i].thread, NULL, run_core, &cores[i]) != 0)
            die("cannot start a thread");
    run_core(&cores[0]);
    for (unsigned i = 1; i < cell->core_n; i++)
        pthread_join(cores[i].thread, NULL);
    for (unsigned i = 0; i < cell->core_n; i++)
        per_cycle += (double)cores[i].object_n / (double)cores[i].cycles;
    printf("pool_%s_%uc_get%u_put%u_keep%u%s\t%.2f\n", kind_names[cell->kind], cell->core_n,
           cell->get, cell->put, cell->keep, cell->constant ? "_const" : "",
           cell->core_n / per_cycle);
}

/* All sizes, in the order of DPDK's test. */
static void measure_sizes(enum kind kind, unsigned core_n, struct core *cores)
{
    static const uint32_t bulks[] = {1, 4, 8, 32};
    static const uint32_t keeps[] = {32, 128, 512};

    for (unsigned g = 0; g < HG_ARRAY_N(bulks); g++)
        for (unsigned p = 0; p < HG_ARRAY_N(bulks); p++)
            for (unsigned k = 0; k < HG_ARRAY_N(keeps); k++) {
                struct cell cell = {kind, core_n, bulks[g], bulks[p], keeps[k], false};

                measure(&cell, cores);
                cell.constant = true;
                if (cell.get == cell.put)
                    measure(&cell, cores);
            }
}

static void make_pool(struct hg_arena **arena)
{
    const struct hg_pool_options options = {.name = "objects",
                                            .object_bytes = OBJECT_BYTES,
                                            .n = OBJECTS_N,
                                            .cache_n = HG_POOL_CACHE_N_MAX};
    const struct hg_arena_options memory = {.name = "pool", .bytes = hg_pool_bytes(&options)};
    struct hg_err err;

    if (hg_arena_new(arena, &memory, &err) != 0 || hg_pool_new(&pool, *arena, &options, &err) != 0)
        die(err.text);
}

int main(int argc, char **argv)
{
    struct setup setup = setup_begin(argc, argv);
    unsigned core_n = setup.cpu[0] != setup.cpu[1] ? 2 : 1;
    struct core cores[CORES_MAX];
    struct hg_arena *arena;

    cell_cycles = setup.quick ? 1 : CELL_CYCLES;
    make_pool(&arena);
    for (enum kind kind = NO_CACHE; kind < KINDS_N; kind++) {
        for (unsigned i = 0; i < core_n; i++) {
            cores[i] = (struct core){.cpu = setup.cpu[i]};
            if (kind == CACHE && hg_pool_cache_new(&cores[i].lasting, pool, "lasting", NULL) != 0)
                die("no memory for a cache");
        }
        for (unsigned n = 1; n <= core_n; n++)
            measure_sizes(kind, n, cores);
        for (unsigned i = 0; i < core_n && kind == CACHE; i++)
            hg_pool_cache_free(cores[i].lasting);
    }
    hg_pool_free(pool);
    hg_arena_free(arena);
    return 0;
}
