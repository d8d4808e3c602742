/*
 * The shaper's token bucket. As in sched/meter.h a tick brings rate_bps tokens and a byte costs 8 *
 * clock_hz of them, so nothing is rounded. Unlike a meter's, buckets here are so small that 64 bits
 * hold them, and they know when they will have enough: by a reciprocal, since a division in every
 * packet that has to wait would be its dearest instruction.
 */
#ifndef HG_SCHED_BUCKET_H
#define HG_SCHED_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

#include "sched/meter.h"

struct bucket {
    uint64_t rate_bps; /* 0: unlimited, and nothing else here has a meaning */
    uint64_t tokens;
    uint64_t full;
    uint64_t filled;  /* the tick up to which tokens are counted */
    uint64_t inverse; /* 2^64 / rate_bps, rounded up */
};

static inline void bucket_fill(struct bucket *bucket, uint64_t now)
{
    hg_u128 tokens;

    if (now <= bucket->filled)
        return;
    tokens = (hg_u128)(now - bucket->filled) * bucket->rate_bps + bucket->tokens;
    bucket->tokens = tokens < bucket->full ? (uint64_t)tokens : bucket->full;
    bucket->filled = now;
}

/* The first tick at which a filled bucket has `cost` tokens, of which it has fewer now; or the
 * tick after it. */
static inline uint64_t bucket_ready_at(const struct bucket *bucket, uint64_t cost)
{
    hg_u128 ticks = (hg_u128)(cost - bucket->tokens) * bucket->inverse >> 64;

    return bucket->filled + (uint64_t)ticks + 1;
}

/* Gives the bucket a rate and the burst that it may hold, in tokens. It keeps the tokens that it
 * has room for; one that was unlimited is full. */
static inline void bucket_set(struct bucket *bucket, uint64_t rate_bps, uint64_t full)
{
    if (bucket->rate_bps == 0) {
        bucket->tokens = full;
        bucket->filled = 0;
    }
    bucket->rate_bps = rate_bps;
    bucket->full = full;
    bucket->inverse = rate_bps == 0 ? 0 : UINT64_MAX / rate_bps + 1;
    if (bucket->tokens > full)
        bucket->tokens = full;
}

#endif
