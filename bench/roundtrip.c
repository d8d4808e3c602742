/* Round trip of one cache line between two CPUs, in nanoseconds (median, and the 10th and 90th
 * percentile).
 *
 * Two virtual CPUs of a shared machine may lie on neighbouring cores at one minute and on far
 * ones at the next; every figure of two cores then changes by a factor of two to four. The
 * benchmark runs this before, between and after its measurements and compares only runs that
 * saw the same placement.
 *
 * One thread writes an odd number, the other answers with the next even one: each round trip is
 * two transfers of ownership, as for a ring's producer and consumer index.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BATCH = 100, SAMPLES = 1000, WARMUP_SAMPLES = 50 };

static _Alignas(64) _Atomic uint32_t ball;

static void pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set)) {
        fprintf(stderr, "roundtrip: cannot run on CPU %d\n", cpu);
        exit(1);
    }
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Waits for the other side's number. Acquire pairs with the release of throw_ball(). */
static void await(uint32_t number)
{
    while (atomic_load_explicit(&ball, memory_order_acquire) != number) {
    }
}

static void throw_ball(uint32_t number)
{
    atomic_store_explicit(&ball, number, memory_order_release);
}

static void *answer(void *cpu)
{
    pin(*(int *)cpu);
    for (uint32_t n = 1; n < 2u * BATCH * (SAMPLES + WARMUP_SAMPLES); n += 2) {
        await(n);
        throw_ball(n + 1);
    }
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static double sample_ns[SAMPLES];
    int cpu_a = argc > 1 ? atoi(argv[1]) : 0;
    int cpu_b = argc > 2 ? atoi(argv[2]) : 1;
    uint32_t n = 1;
    pthread_t other;

    pin(cpu_a);
    if (pthread_create(&other, NULL, answer, &cpu_b)) {
        fprintf(stderr, "roundtrip: cannot start a thread\n");
        return 1;
    }
    for (int s = -WARMUP_SAMPLES; s < SAMPLES; s++) {
        uint64_t begin_ns = now_ns();

        for (int i = 0; i < BATCH; i++, n += 2) {
            throw_ball(n);
            await(n + 1);
        }
        if (s >= 0)
            sample_ns[s] = (double)(now_ns() - begin_ns) / BATCH;
    }
    pthread_join(other, NULL);
    qsort(sample_ns, SAMPLES, sizeof(sample_ns[0]), by_value);
    printf("%.1f %.1f %.1f\n", sample_ns[SAMPLES / 2], sample_ns[SAMPLES / 10],
           sample_ns[SAMPLES * 9 / 10]);
    return 0;
}
