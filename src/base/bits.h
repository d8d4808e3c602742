/*
 * Bit and range arithmetic that cannot overflow. Pure functions, any thread.
 */
#ifndef HG_BASE_BITS_H
#define HG_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/api.h"

HG_API_BEGIN

#define HG_CACHE_LINE_BYTES 64

#define hg_likely(condition)   __builtin_expect(!!(condition), 1)
#define hg_unlikely(condition) __builtin_expect(!!(condition), 0)

/* The structure that holds `member` at `pointer`. */
#define hg_container_of(pointer, type, member)                                                     \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#define HG_ARRAY_N(array) (sizeof(array) / sizeof((array)[0]))

/* Whether [start, start + len) lies inside [base, base + size). Correct for every argument: a
 * range that wraps 2^64 is outside. An empty range is inside when its start is. */
static inline bool hg_range_inside(uint64_t start, uint64_t len, uint64_t base, uint64_t size)
{
    uint64_t offset = start - base;

    return start >= base && offset <= size && len <= size - offset;
}

/* Whether two ranges share a byte. Neither range may wrap; check that first. */
static inline bool hg_range_overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
    return a_len != 0 && b_len != 0 && (a < b ? b - a < a_len : a - b < b_len);
}

static inline bool hg_is_power_of_two(uint64_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

/* Rounds up to a multiple of `unit`, a power of two. The caller knows that it cannot wrap. */
static inline uint64_t hg_round_up(uint64_t n, uint64_t unit)
{
    return (n + unit - 1) & ~(unit - 1);
}

/* A bijection whose output bits all depend on all input bits: the finaliser of splitmix64 (Steele,
 * Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). */
static inline uint64_t hg_mix64(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static inline uint32_t hg_min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static inline uint32_t hg_max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static inline uint64_t hg_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

HG_API_END

#endif
