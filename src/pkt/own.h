/*
 * Owned packets, for those that outlive their burst: copies in objects of a pool.
 */
#ifndef HG_PKT_OWN_H
#define HG_PKT_OWN_H

#include <stdint.h>

#include "base/api.h"
#include "pkt/pkt.h"
#include "pkt/pool.h"

HG_API_BEGIN

enum {
    HG_OWN_BUF_MIN = 1536, /* bytes of the pool's objects at least, so that the list of the longest
                              frame's pieces fits into the first */
    HG_OWN_BUF_BYTES = 35 * HG_CACHE_LINE_BYTES, /* where a frame of full size fits into one, beside
                                                    what describes it */
};

/*
 * An owned packet, in buffers of a pool: this in the first one, behind it the list of pieces,
 * behind that the frame from its head on, as far as it fits; the rest in further buffers. `pkt` is
 * complete and can be transmitted as it is, any number of times.
 */
struct hg_owned {
    struct hg_pkt pkt; /* pkt.seg is the list right behind this */
    uint32_t buf_n;
};

/*
 * Makes an owned copy of a borrowed packet: its fields, its head and what its segments hold now.
 * Returns NULL, and has taken nothing, when the pool has not enough buffers. The caller owns the
 * copy until hg_owned_free(). The cache's thread.
 */
struct hg_owned *hg_pkt_own(struct hg_pool_cache *cache, const struct hg_pkt *pkt);

/* Gives the packet's buffers back, through any cache of its pool. The cache's thread. */
void hg_owned_free(struct hg_pool_cache *cache, struct hg_owned *owned);

HG_API_END

#endif
