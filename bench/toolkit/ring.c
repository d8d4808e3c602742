/*
 * Cycles of the ring in the cells of DPDK's ring_perf_autotest: one element, bursts and bulks of 8
 * and 32 in and out on one core; dequeues that find the ring empty; bulks from one core to another;
 * and two cores that both put bulks in and take them out. Pointers and values of 16 bytes, sides of
 * one and of many.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ring/ring.h"

#include "setup.h"

enum { SLOTS_N = 4096, ELEMS_MAX = 32, ELEM_BYTES_MAX = 16, SIZES_N = 2 };

enum op { OP_SINGLE, OP_BURST, OP_BULK };

/* Not known to the compiler, as there. */
static const volatile uint32_t sizes[SIZES_N] = {8, 32};

/* How long each cell takes. */
struct amount {
    unsigned single_n; /* operations */
    unsigned burst_n;
    unsigned empty_n;
    unsigned two_cores_n;
    uint64_t all_cores_ns;
};

static const struct amount whole = {1 << 24, 1 << 23, 1 << 26, 1 << 15, 100 * HG_NS_PER_MS};
static const struct amount quick = {1 << 10, 1 << 10, 1 << 10, 1 << 10, HG_NS_PER_MS};

static const struct amount *amount = &whole;
static int cpus[2];

/* size 0: the name has none. */
static void cell(uint32_t elem_bytes, bool single, const char *op, uint32_t size, double cycles)
{
    printf("ring_%u_%s_%s", elem_bytes, single ? "single" : "multi", op);
    if (size)
        printf("_%u", size);
    printf("\t%.2f\n", cycles);
}

static inline __attribute__((always_inline)) void in_and_out(struct hg_ring *ring, enum op op,
                                                             void *elems, uint32_t n)
{
    if (op == OP_BURST) {
        hg_ring_enqueue_burst(ring, elems, n);
        hg_ring_dequeue_burst(ring, elems, n);
    } else {
        hg_ring_enqueue_bulk(ring, elems, n);
        hg_ring_dequeue_bulk(ring, elems, n);
    }
}

static double measure_single(struct hg_ring *ring, void *elems)
{
    uint64_t start = hg_cycles();

    for (unsigned i = 0; i < amount->single_n; i++)
        in_and_out(ring, OP_SINGLE, elems, 1);
    return (double)(hg_cycles() - start) / amount->single_n;
}

static double measure_burst(struct hg_ring *ring, void *elems, uint32_t n)
{
    uint64_t start = hg_cycles();

    for (unsigned i = 0; i < amount->burst_n; i++)
        in_and_out(ring, OP_BURST, elems, n);
    return (double)(hg_cycles() - start) / amount->burst_n;
}

static double measure_bulk(struct hg_ring *ring, void *elems, uint32_t n)
{
    uint64_t start = hg_cycles();

    for (unsigned i = 0; i < amount->burst_n; i++)
        in_and_out(ring, OP_BULK, elems, n);
    return (double)(hg_cycles() - start) / amount->burst_n;
}

static double measure_empty(struct hg_ring *ring, void *elems)
{
    uint64_t start = hg_cycles();

    for (unsigned i = 0; i < amount->empty_n; i++)
        hg_ring_dequeue_bulk(ring, elems, sizes[0]);
    return (double)(hg_cycles() - start) / amount->empty_n;
}

/* --- two cores ------------------------------------------------------------------------------- */

/* What the threads of one measurement share, and what each found. */
struct pair {
    struct hg_ring *single;
    struct hg_ring *multi;
    uint32_t size;
    atomic_uint ready_n;
};

struct half {
    struct pair *pair;
    int cpu;
    bool producer;
    double single; /* cycles for each element */
    double multi;  /* or for each bulk in and out */
};

static void meet(struct pair *pair)
{
    atomic_fetch_add(&pair->ready_n, 1);
    while (atomic_load(&pair->ready_n) < 2)
        hg_relax();
}

static double pass_bulks(struct hg_ring *ring, bool producer, uint32_t n)
{
    _Alignas(HG_CACHE_LINE_BYTES) char elems[ELEMS_MAX * ELEM_BYTES_MAX] = {0};
    uint64_t start = hg_cycles();

    for (unsigned i = 0; i < amount->two_cores_n; i++) {
        if (producer) {
            while (hg_ring_enqueue_bulk(ring, elems, n) == 0)
                hg_relax();
        } else {
            while (hg_ring_dequeue_bulk(ring, elems, n) == 0)
                hg_relax();
        }
    }
    return (double)(hg_cycles() - start) / amount->two_cores_n / n;
}

static void *pass(void *arg)
{
    struct half *half = arg;

    stay_on(half->cpu);
    meet(half->pair);
    half->single = pass_bulks(half->pair->single, half->producer, half->pair->size);
    half->multi = pass_bulks(half->pair->multi, half->producer, half->pair->size);
    return NULL;
}

static uint64_t cycles_in(uint64_t ns)
{
    uint64_t start_ns = hg_now_ns();
    uint64_t start = hg_cycles();

    while (hg_now_ns() - start_ns < HG_NS_PER_MS)
        ;
    return (hg_cycles() - start) * ns / HG_NS_PER_MS;
}

static void *do_both(void *arg)
{
    _Alignas(HG_CACHE_LINE_BYTES) char elems[ELEMS_MAX * ELEM_BYTES_MAX] = {0};
    struct half *half = arg;
    struct hg_ring *ring = half->pair->multi;
    uint32_t n = half->pair->size;
    uint64_t cycles = 0;
    uint64_t both_n = 0;
    uint64_t enough = cycles_in(amount->all_cores_ns);
    uint64_t start;

    stay_on(half->cpu);
    meet(half->pair);
    start = hg_cycles();
    while (cycles < enough) {
        in_and_out(ring, OP_BULK, elems, n);
        both_n++;
        cycles = hg_cycles() - start; /* each time, as there */
    }
    half->multi = (double)cycles / (double)both_n;
    return NULL;
}

/* Runs `body` on both CPUs, on this thread the first half. */
static void run_halves(struct half *half, struct pair *pair, void *(*body)(void *))
{
    pthread_t other;

    atomic_store(&pair->ready_n, 0);
    for (unsigned i = 0; i < 2; i++)
        half[i] = (struct half){.pair = pair, .cpu = cpus[i], .producer = i == 0};
    if (pthread_create(&other, NULL, body, &half[1]) != 0) {
        perror("pthread_create");
        exit(1);
    }
    body(&half[0]);
    pthread_join(other, NULL);
}

static void measure_two_cores(struct pair *pair, uint32_t elem_bytes)
{
    struct half half[2];

    for (unsigned s = 0; s < SIZES_N; s++) {
        pair->size = sizes[s];
        run_halves(half, pair, pass);
        cell(elem_bytes, true, "two_cores_bulk", sizes[s], half[0].single + half[1].single);
        cell(elem_bytes, false, "two_cores_bulk", sizes[s], half[0].multi + half[1].multi);
    }
    for (unsigned s = 0; s < SIZES_N; s++) {
        pair->size = sizes[s];
        run_halves(half, pair, do_both);
        /* There: the cores' time over the sum of what they have done. */
        cell(elem_bytes, false, "all_cores_bulk", sizes[s],
             2 / (1 / half[0].multi + 1 / half[1].multi));
    }
}

/* --- all of it ------------------------------------------------------------------------------- */

static struct hg_ring *ring_new(uint32_t elem_bytes, bool single)
{
    struct hg_ring_options options = {.slots_n = SLOTS_N,
                                      .elem_bytes = elem_bytes,
                                      .single_producer = single,
                                      .single_consumer = single};
    struct hg_ring *ring;
    struct hg_err err;

    if (hg_ring_new(&ring, &options, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    return ring;
}

static void measure(uint32_t elem_bytes)
{
    _Alignas(HG_CACHE_LINE_BYTES) static char elems[ELEMS_MAX * ELEM_BYTES_MAX];
    struct pair pair = {.single = ring_new(elem_bytes, true), .multi = ring_new(elem_bytes, false)};

    for (unsigned i = 0; i < 2; i++) {
        struct hg_ring *ring = i == 0 ? pair.single : pair.multi;

        cell(elem_bytes, i == 0, "single", 0, measure_single(ring, elems));
        for (unsigned s = 0; s < SIZES_N; s++) {
            cell(elem_bytes, i == 0, "burst", sizes[s], measure_burst(ring, elems, sizes[s]));
            cell(elem_bytes, i == 0, "bulk", sizes[s], measure_bulk(ring, elems, sizes[s]));
        }
        cell(elem_bytes, i == 0, "empty_bulk", sizes[0], measure_empty(ring, elems));
    }
    if (cpus[0] != cpus[1])
        measure_two_cores(&pair, elem_bytes);
    hg_ring_free(pair.single);
    hg_ring_free(pair.multi);
}

int main(int argc, char **argv)
{
    struct setup setup = setup_begin(argc, argv);

    if (setup.quick)
        amount = &quick;
    memcpy(cpus, setup.cpu, sizeof(cpus));
    measure(sizeof(void *));
    measure(16);
    return 0;
}
