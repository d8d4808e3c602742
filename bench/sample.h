/* What benchmarks share: CPUs, samples with their order statistics, numbers that look random, and
 * the --smoke switch. */
#ifndef HG_BENCH_SAMPLE_H
#define HG_BENCH_SAMPLE_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline int sample_order(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static inline void sample_sort(uint64_t *samples, unsigned n)
{
    qsort(samples, n, sizeof(samples[0]), sample_order);
}

/* Of sorted samples; per_mille is 0 to 1000. */
static inline uint64_t sample_quantile(const uint64_t *sorted, unsigned n, unsigned per_mille)
{
    return sorted[(uint64_t)(n - 1) * per_mille / 1000];
}

static inline int sample_order_real(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* Sorts the values. */
static inline double sample_median(double *values, unsigned n)
{
    qsort(values, n, sizeof(values[0]), sample_order_real);
    return values[n / 2];
}

/* The first and the last CPU that the calling thread may use. */
static inline int first_cpu(void)
{
    cpu_set_t allowed;
    int cpu = 0;

    sched_getaffinity(0, sizeof(allowed), &allowed);
    while (!CPU_ISSET(cpu, &allowed))
        cpu++;
    return cpu;
}

static inline int last_cpu(void)
{
    cpu_set_t allowed;
    int cpu = CPU_SETSIZE - 1;

    sched_getaffinity(0, sizeof(allowed), &allowed);
    while (!CPU_ISSET(cpu, &allowed))
        cpu--;
    return cpu;
}

static inline void stay_on(int cpu)
{
    cpu_set_t only;

    CPU_ZERO(&only);
    CPU_SET(cpu, &only);
    if (sched_setaffinity(0, sizeof(only), &only) < 0)
        perror("sched_setaffinity");
}

/* The same in every run (xorshift64). */
static inline uint64_t draw(void)
{
    static uint64_t state = 88172645463325252u;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* Whether the only argument is --smoke: a run of some milliseconds that proves that it works. */
static inline bool wants_smoke(int argc, char **argv)
{
    return argc == 2 && strcmp(argv[1], "--smoke") == 0;
}

#endif
