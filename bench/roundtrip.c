/* Round trip of one cache line between two CPUs, in nanoseconds (median, and the 10th and 90th
 * percentile).
 *
 * Two virtual CPUs of a shared machine may lie on neighbouring cores at one minute and on far
 * ones at the next; every figure of two cores then changes by a factor of two to four. The
 * benchmark runs this before, between and after its measurements and compares only runs that
 * saw the same placement.
 *
 * One thread writes an odd number, the other answers with the next even one: each round trip is
 * two transfers of ownership, as for a ring's producer and consumer index. Nothing is allowed for
 * time slices that other work takes: the median of many short samples does not see them.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BATCH = 100, SAMPLES_MIN = 20, SAMPLES_MAX = 1000, WARMUP_SAMPLES = 10 };

static const uint64_t ENOUGH_NS = 200000000; /* on a busy machine, few samples must do */
static const uint32_t STOP = UINT32_MAX;

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

/* The number that the other side threw. Acquire pairs with the release of throw_ball(). */
static uint32_t await_other_than(uint32_t mine)
{
    uint32_t number;

    do
        number = atomic_load_explicit(&ball, memory_order_acquire);
    while (number == mine);
    return number;
}

static void throw_ball(uint32_t number)
{
    atomic_store_explicit(&ball, number, memory_order_release);
}

static void *answer(void *cpu)
{
    uint32_t mine = 0;

    pin(*(int *)cpu);
    for (;;) {
        uint32_t number = await_other_than(mine);

        if (number == STOP)
            return NULL;
        mine = number + 1;
        throw_ball(mine);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Fills sample_ns with nanoseconds per round trip; returns how many. */
static int play(double *sample_ns)
{
    uint64_t begin_ns = now_ns();
    uint64_t then_ns = begin_ns;
    uint32_t n = 1;
    int sample_n = -WARMUP_SAMPLES;

    while (sample_n < SAMPLES_MAX) {
        for (int i = 0; i < BATCH; i++, n += 2) {
            throw_ball(n);
            await_other_than(n);
        }
        uint64_t t_ns = now_ns();

        if (sample_n >= 0)
            sample_ns[sample_n] = (double)(t_ns - then_ns) / BATCH;
        sample_n++;
        then_ns = t_ns;
        if (t_ns - begin_ns > ENOUGH_NS && sample_n >= SAMPLES_MIN)
            break;
    }
    throw_ball(STOP);
    return sample_n;
}

int main(int argc, char **argv)
{
    static double sample_ns[SAMPLES_MAX];
    int cpu_a = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0;
    int cpu_b = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 1;
    pthread_t other;
    int n;

    pin(cpu_a);
    if (pthread_create(&other, NULL, answer, &cpu_b)) {
        fprintf(stderr, "roundtrip: cannot start a thread\n");
        return 1;
    }
    n = play(sample_ns);
    pthread_join(other, NULL);
    qsort(sample_ns, (size_t)n, sizeof(sample_ns[0]), by_value);
    printf("%.1f %.1f %.1f\n", sample_ns[n / 2], sample_ns[n / 10], sample_ns[n * 9 / 10]);
    return 0;
}
