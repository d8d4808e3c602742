/*
 * The ways to add up bytes: for csum.c, its test and its benchmark only.
 */
#ifndef HG_WIRE_CSUM_KERNEL_H
#define HG_WIRE_CSUM_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hg_csum_kernel {
    const char *name;
    /* The sum of the bytes as words in the processor's own order (a last odd byte counts as if a
     * zero followed), congruent modulo 2^16 - 1 and far from overflow: below 2^63 for n <= 2^31. */
    uint64_t (*sum)(const uint8_t *bytes, size_t n);
    bool (*usable)(void);
};

/* From the fastest to plain C, which is always usable. Static storage. */
extern const struct hg_csum_kernel hg_csum_kernels[];
extern const unsigned hg_csum_kernel_n;

#endif
