/* What the benchmarks of the scheduler share, ours and DPDK's: the packets, the counts, the
 * median. */
#ifndef HG_BENCH_SCHED_LOAD_H
#define HG_BENCH_SCHED_LOAD_H

#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "../sample.h"

/* A round is a millisecond or so: most of them see no other process. */
enum {
    BURST = 32,
    ROUNDS_N = 201,
    QUICK_ROUNDS_N = 5,
    ROUND_PACKETS = 1 << 14,
    LENGTHS_N = 4096,
    LENGTH_MEAN = 787,
    WAITING = 8, /* packets in each queue, on average */
};

static uint32_t lengths[LENGTHS_N];
static volatile unsigned seen; /* what the compiler may not drop */

static inline uint32_t draw_below(uint32_t n)
{
    return (uint32_t)((draw() >> 32) * n >> 32);
}

static inline void draw_lengths(void)
{
    for (unsigned i = 0; i < LENGTHS_N; i++)
        lengths[i] = 60 + draw_below(1455);
}

static inline unsigned waiting_in(unsigned queues_n)
{
    return queues_n * WAITING < 4 * BURST ? 4 * BURST : queues_n * WAITING;
}

static inline void report(const char *cell, uint64_t *cycles, unsigned rounds_n)
{
    sample_sort(cycles, rounds_n);
    printf("%s\t%.1f\n", cell, (double)sample_quantile(cycles, rounds_n, 500) / ROUND_PACKETS);
}

struct args {
    int cpu; /* -1: wherever the system lets it run */
    unsigned rounds_n;
    unsigned seconds;
};

static inline struct args parse_args(int argc, char **argv)
{
    static const struct option known[] = {{"cpus", required_argument, NULL, 'c'},
                                          {"quick", no_argument, NULL, 'q'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {NULL, 0, NULL, 0}};
    struct args args = {.cpu = -1, .rounds_n = ROUNDS_N};
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 'c')
            args.cpu = (int)strtol(optarg, NULL, 10);
        else if (option == 'q')
            args.rounds_n = QUICK_ROUNDS_N;
        else if (option == 's')
            args.seconds = (unsigned)strtoul(optarg, NULL, 10);
        else
            exit(2);
    }
    return args;
}

#endif
