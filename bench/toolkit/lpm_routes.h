/*
 * The routes of DPDK's lpm_perf_autotest: a million, as many of each depth and address class as a
 * router of the Internet's core had, spread evenly over the class from a random start. What the two
 * have in common are the counts; so the look-ups of both find the same share of addresses, depths
 * and cache lines.
 */
#ifndef HG_BENCH_TOOLKIT_LPM_ROUTES_H
#define HG_BENCH_TOOLKIT_LPM_ROUTES_H

#include <stdint.h>

struct route {
    uint32_t prefix;
    uint8_t depth;
};

enum { ROUTES_MAX = 1100000 };

/* xorshift64* (Marsaglia; Vigna): the upper bits of the product are good random numbers. */
static inline uint32_t route_random(void)
{
    static uint64_t state = 88172645463325252;

    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)(state * UINT64_C(2685821657736338717) >> 32);
}

/* Number of routes with 1, 2, ... 32 bits below 0.0.0.0/1, 128.0.0.0/2 and 192.0.0.0/3. */
static const uint32_t route_counts[3][32] = {
    {0,     0,     1,   0,   2,    1,    3,    185,   26,    16,    39,
     144,   233,   528, 866, 3856, 3268, 5662, 17301, 22226, 11147, 16746,
     17120, 77578, 401, 656, 1107, 1121, 2316, 717,   10,    66},
    {0,    0,    0,    0,    1,    1,    1,    3,     3,   30,  25,  168, 305, 569, 1129, 50800,
     1645, 1820, 3506, 3258, 3424, 4971, 6885, 39771, 424, 170, 433, 92,  366, 377, 2,    200},
    {0,     0,      0,    0,    0,     0,    0,     12,    8,     9,     33,
     69,    237,    1007, 1717, 14663, 8070, 16185, 48261, 36870, 33960, 50638,
     61422, 466549, 1829, 4824, 4927,  5914, 10254, 4905,  1,     716},
};

/* The routes of one class and depth; returns how many. */
static inline unsigned routes_spread(struct route *route, unsigned class, unsigned depth)
{
    uint32_t n = route_counts[class][depth - 1];
    unsigned bits = depth - class - 1; /* behind those that make the class */
    uint32_t top = class == 0 ? 0 : class == 1 ? UINT32_C(2) << 30 : UINT32_C(6) << 29;
    uint64_t range = UINT64_C(1) << bits;
    uint64_t step = n == 0 || range <= n ? 1 : (range + n / 2) / n;
    uint64_t at = route_random();

    for (uint32_t i = 0; i < n; i++, at += step)
        route[i] =
            (struct route){top | (uint32_t)(at & (range - 1)) << (32 - depth), (uint8_t)depth};
    return n;
}

/* Fills `route`, which has room for ROUTES_MAX, class by class and from short to long; returns how
 * many. */
static inline unsigned routes_make(struct route *route)
{
    unsigned n = 0;

    for (unsigned class = 0; class < 3; class ++)
        for (unsigned depth = class + 1; depth <= 32; depth++)
            n += routes_spread(route + n, class, depth);
    route[n++] = (struct route){0, 8};
    route[n++] = (struct route){0x0a021793, 32};
    route[n++] = (struct route){0xc0a86400, 24};
    route[n++] = (struct route){0xc0a81900, 24};
    route[n++] = (struct route){0xc0a8817c, 32};
    return n;
}

#endif
