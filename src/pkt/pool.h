/*
 * Owned packet buffers, for packets that outlive their burst.
 *
 * A pool is a number of buffers of one size in an arena, all made at creation. Free buffers lie in the
 * pool's reserve, which is shared and guarded by a spinlock, or in caches, of which each thread has
 * its own and passes it along; reserve and cache exchange buffers by the hundred, so the lock is
 * rarely seen. A buffer may be given back through another cache than it was taken from.
 *
 *   who                 what
 *   control             creates and frees pools and caches, reads hg_pool_info()
 *   one thread a cache  takes and gives back through it, owns and frees packets
 *
 * Free buffers that lie in one thread's cache are not seen by others: a pool serves n buffers to
 * its users for certain only when it has n + HG_POOL_CACHE_N for each cache.
 *
 * With HG_DEBUG each buffer's state is kept; giving back one that is free, or is not the pool's, aborts.
 */
#ifndef HG_PKT_POOL_H
#define HG_PKT_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/api.h"
#include "base/err.h"
#include "mem/arena.h"
#include "pkt/pkt.h"

HG_API_BEGIN

enum {
    HG_POOL_BUF_MIN = 1536, /* so that the list of the longest frame's pieces fits into its first */
    HG_POOL_CACHE_N = 256,  /* buffers in a cache at most */
    HG_POOL_TAKE_MAX = HG_POOL_CACHE_N / 2, /* buffers in one call */
};

struct hg_pool;
struct hg_pool_cache;

/*
 * A pool of n buffers of buf_bytes, at least HG_POOL_BUF_MIN, rounded up to cache lines, from the
 * arena, which must outlive it. Returns 0 or a negative errno with *err: -ENOMEM when the arena has no
 * room, -EINVAL for buffers that are too small, or none.
 */
int hg_pool_new(struct hg_pool **pool, struct hg_arena *arena, const char *name, uint32_t buf_bytes,
                uint32_t n, struct hg_err *err);

/* Frees the pool when its caches are freed and nobody has a buffer of it; the buffers' memory
 * stays with the arena. */
void hg_pool_free(struct hg_pool *pool);

struct hg_pool_info {
    uint32_t buf_bytes;
    uint32_t n;
    uint32_t free_n; /* in the reserve and in caches; a moment old while threads work */
};

/* Any thread. */
struct hg_pool_info hg_pool_info(struct hg_pool *pool);

/* A cache for one thread at a time; free gives its buffers back to the reserve. Control. */
int hg_pool_cache_new(struct hg_pool_cache **cache, struct hg_pool *pool, struct hg_err *err);
void hg_pool_cache_free(struct hg_pool_cache *cache);

/* Bytes of each buffer that comes from this cache. */
uint32_t hg_pool_buf_bytes(const struct hg_pool_cache *cache);

/* Takes n buffers, n <= HG_POOL_TAKE_MAX: all of them, or none and false when there are not enough.
 * The caller owns them; their contents are undefined. The cache's thread. */
bool hg_pool_take(struct hg_pool_cache *cache, void **bufs, unsigned n);

/* Gives n buffers back, n <= HG_POOL_TAKE_MAX. The cache's thread. */
void hg_pool_put(struct hg_pool_cache *cache, void *const *bufs, unsigned n);

/*
 * An owned packet, in buffers of a pool: this in the first one, behind it the list of pieces, behind
 * that the frame from its head on, as far as it fits; the rest in further buffers. `pkt` is complete
 * and can be transmitted as it is, any number of times.
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
