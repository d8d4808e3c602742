/*
 * Cycles per byte of the checksum's kernels, plain C and vector in turns on the same bytes, by
 * length. The median over the rounds of each and of their ratio. Takes about two seconds.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/bits.h"
#include "base/clock.h"
#include "sample.h"
#include "wire/csum_kernel.h"

enum { ROUNDS_N = 9, BYTES_PER_ROUND = 8 << 20 };

static uint8_t bytes[65536 + 64];
static uint64_t seen;

static double cycles_per_byte(const struct hg_csum_kernel *kernel, size_t n)
{
    unsigned calls_n = (unsigned)(BYTES_PER_ROUND / (n + 64)) + 1;
    uint64_t start = hg_cycles();

    /* From places 2 bytes off a word, as headers are. */
    for (unsigned i = 0; i < calls_n; i++)
        seen += kernel->sum(bytes + 2 + (i & 7) * 4, n);
    return (double)(hg_cycles() - start) / ((double)calls_n * (double)n);
}

static void compare(const struct hg_csum_kernel *kernel, const struct hg_csum_kernel *plain)
{
    static const size_t lengths[] = {20, 64, 128, 256, 512, 1460, 4096, 16384, 65536 - 8};

    for (unsigned l = 0; l < HG_ARRAY_N(lengths); l++) {
        double ours[ROUNDS_N];
        double theirs[ROUNDS_N];
        double ratio[ROUNDS_N];

        for (unsigned r = 0; r < ROUNDS_N; r++) {
            ours[r] = cycles_per_byte(kernel, lengths[l]);
            theirs[r] = cycles_per_byte(plain, lengths[l]);
            ratio[r] = theirs[r] / ours[r];
        }
        printf("%6zu bytes  %-6s %.3f cycles/byte  %-6s %.3f  speed-up %.2f\n", lengths[l],
               kernel->name, sample_median(ours, ROUNDS_N), plain->name,
               sample_median(theirs, ROUNDS_N), sample_median(ratio, ROUNDS_N));
    }
}

int main(void)
{
    const struct hg_csum_kernel *plain = &hg_csum_kernels[hg_csum_kernel_n - 1];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 31 + 7);
    for (unsigned i = 0; i < hg_csum_kernel_n; i++) {
        if (hg_csum_kernels[i].usable() && (&hg_csum_kernels[i] != plain || hg_csum_kernel_n == 1))
            compare(&hg_csum_kernels[i], plain);
    }
    printf("(sum %016" PRIx64 ")\n", seen);
    return 0;
}
