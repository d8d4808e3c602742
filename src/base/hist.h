/*
 * A histogram of durations: any value from 0 to 2^64 - 1, in buckets whose width is an eighth of
 * their value, so that a quantile is right within 12.5 %. Fixed memory, constant time to add to.
 *
 * Not atomic: one thread, or a lock of the caller's.
 */
#ifndef HG_BASE_HIST_H
#define HG_BASE_HIST_H

#include <stdint.h>

enum {
    HG_HIST_SUB_BITS = 3, /* 8 buckets for each power of two */
    HG_HIST_BUCKETS_N = (64 - HG_HIST_SUB_BITS + 1) << HG_HIST_SUB_BITS,
};

/* All zero: empty. */
struct hg_hist {
    uint64_t n;
    uint64_t max;
    uint64_t bucket[HG_HIST_BUCKETS_N];
};

void hg_hist_add(struct hg_hist *hist, uint64_t value);

/* The smallest bucket's upper end, at most max, below or at which `permille` of 1,000 values lie; 0
 * for an empty histogram. permille is at most 1000. */
uint64_t hg_hist_quantile(const struct hg_hist *hist, unsigned permille);

#endif
