/*
 * Values below 8 have a bucket each. Above, a value whose highest bit is b lies in one of the eight
 * buckets of [2^b, 2^(b+1)), chosen by the three bits behind the highest.
 */
#include "base/hist.h"

#include "base/bits.h"

enum { SUB_N = 1 << HG_HIST_SUB_BITS };

static unsigned bucket_of(uint64_t value)
{
    unsigned shift;

    if (value < SUB_N)
        return (unsigned)value;
    shift = 63 - (unsigned)__builtin_clzll(value) - HG_HIST_SUB_BITS;
    return (shift << HG_HIST_SUB_BITS) + (unsigned)(value >> shift);
}

/* The largest value of a bucket. */
static uint64_t end_of(unsigned bucket)
{
    unsigned shift;

    if (bucket < 2 * SUB_N)
        return bucket;
    shift = (bucket >> HG_HIST_SUB_BITS) - 1;
    return ((uint64_t)(bucket - (shift << HG_HIST_SUB_BITS) + 1) << shift) - 1;
}

void hg_hist_add(struct hg_hist *hist, uint64_t value)
{
    hist->n++;
    hist->bucket[bucket_of(value)]++;
    if (value > hist->max)
        hist->max = value;
}

uint64_t hg_hist_quantile(const struct hg_hist *hist, unsigned permille)
{
    /* How many values must lie at or below the answer; in two steps, so that nothing wraps. */
    uint64_t wanted = hist->n / 1000 * permille + (hist->n % 1000 * permille + 999) / 1000;
    uint64_t seen = 0;

    if (hist->n == 0)
        return 0;
    for (unsigned i = 0; i < HG_HIST_BUCKETS_N; i++) {
        seen += hist->bucket[i];
        if (seen >= wanted && seen != 0)
            return hg_min_u64(end_of(i), hist->max);
    }
    return hist->max;
}
