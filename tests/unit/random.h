/* Numbers for tests that look random and are the same in every run: xorshift64 (Marsaglia,
 * "Xorshift RNGs", 2003). A state is not 0. */
#ifndef HG_TESTS_UNIT_RANDOM_H
#define HG_TESTS_UNIT_RANDOM_H

#include <stdint.h>

static inline uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* The upper half of the next one. */
static inline uint32_t random_u32(uint64_t *state)
{
    return (uint32_t)(random_next(state) >> 32);
}

#endif
