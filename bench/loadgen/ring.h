/*
 * One ring of the load generator and the buffers behind it.
 *
 * In a row: buffer memory is bound to descriptors, as in a driver that recycles its buffers, so
 * with a back-end that works in order a descriptor is written once and never again. Buffers are an
 * odd number of cache lines apart: at a power of two their first lines, which are all that small
 * frames use, would fall into a few sets of every cache.
 *
 * Scattered: each buffer has a page of its own, at a random line of it; the pages are in no order,
 * here or for the back-end.
 *
 * Mapped for one use (with `iommu`): a descriptor takes the buffer that has been idle longest and
 * maps its page; when the back-end has used it, the page is unmapped, and what is in it counts, and
 * it is used again, only when the back-end has acknowledged that. Nothing waits: buffers on their
 * way back stand in a queue.
 */
#ifndef BENCH_LOADGEN_RING_H
#define BENCH_LOADGEN_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "iommu.h"
#include "virtio/drv.h"

enum { BATCH_N = 32 }; /* frames handled together */

/* A buffer that is not in a row. */
struct place {
    uint8_t *here;
    uint64_t addr;      /* for the back-end */
    uint64_t page_addr; /* of its page: a user address */
    uint32_t in_page;   /* offset */
    uint32_t window;    /* while it is mapped for one use */
};

/* A buffer that the back-end has used and is being unmapped. */
struct leaving {
    uint64_t number; /* of the invalidation */
    uint32_t buffer;
    uint32_t len;
};

/* A first-in-first-out list of buffers, of a power of two of entries. */
struct fifo {
    uint32_t first;
    uint32_t n;
    uint32_t mask;
};

struct ring {
    struct hg_drv drv;
    uint32_t buf_bytes;
    uint32_t stride_bytes;
    uint32_t buffer_n;   /* a multiple of drv.num */
    uint32_t *buffer_of; /* of each descriptor; read if buffers take turns */
    bool turns;
    uint8_t *bufs;       /* in a row: here, and */
    uint64_t bufs_addr;  /* for the back-end */
    struct place *place; /* scattered: of each buffer; else NULL */

    /* Mapped for one use; else NULL. */
    struct iommu *iommu;
    struct fifo idle;
    uint32_t *idle_buffer;
    struct fifo leaving;
    struct leaving *leaving_buffer;
    bool watch;         /* whether unmapped buffers are written to, */
    uint64_t touched_n; /* and how many were */

    int kick_fd;
    int call_fd;
    uint64_t kicks;
};

/* A used buffer of a receive ring. */
struct arrival {
    const uint8_t *buf;
    uint32_t len;
    uint32_t buffer;
};

/* Takes what each use needs to be mapped. 0 or -ENOMEM. */
int ring_map_each_use(struct ring *ring, struct iommu *iommu, bool watch);
/* Frees everything but the memory that is shared. */
void ring_free(struct ring *ring);

/* The buffer of descriptor `id`, and of any. */
static inline uint32_t ring_index(const struct ring *ring, uint16_t id)
{
    return ring->turns ? ring->buffer_of[id] : id;
}

static inline uint8_t *ring_at(const struct ring *ring, uint32_t buffer)
{
    return ring->place != NULL ? ring->place[buffer].here
                               : ring->bufs + (uint64_t)buffer * ring->stride_bytes;
}

static inline uint8_t *ring_buf(const struct ring *ring, uint16_t id)
{
    return ring_at(ring, ring_index(ring, id));
}

static inline uint64_t ring_addr(const struct ring *ring, uint16_t id)
{
    uint32_t buffer = ring_index(ring, id);

    return ring->place != NULL ? ring->place[buffer].addr
                               : ring->bufs_addr + (uint64_t)buffer * ring->stride_bytes;
}

/* How many descriptors can be added now. */
static inline uint32_t ring_ready(const struct ring *ring)
{
    return ring->iommu == NULL ? ring->drv.free_n : hg_min_u32(ring->drv.free_n, ring->idle.n);
}

/* Takes and maps the buffer that has been idle longest, for a descriptor: part of ring_turn(). */
void ring_map(struct ring *ring, uint16_t id);

/* Finds the buffer for a descriptor that is about to be added. */
static inline void ring_turn(struct ring *ring, uint16_t id)
{
    if (ring->iommu != NULL) {
        ring_map(ring, id);
    } else if (ring->turns) {
        ring->buffer_of[id] += ring->drv.num;
        if (ring->buffer_of[id] >= ring->buffer_n)
            ring->buffer_of[id] = id;
    }
}

/* Makes what was added visible, and kicks the back-end if it wishes. */
void ring_publish(struct ring *ring);

/* Posts the next n descriptors of a receive ring, n <= ring_ready(), BATCH_N. */
void ring_post(struct ring *ring, unsigned n);

/* Takes back what the back-end has transmitted. */
void ring_reclaim(struct ring *ring);

/* Takes up to n used buffers of a receive ring, n <= BATCH_N, in order; returns how many. They are
 * the caller's to read until ring_give(). */
unsigned ring_take(struct ring *ring, struct arrival *arrivals, unsigned n);
void ring_give(struct ring *ring, const struct arrival *arrivals, unsigned n);

#endif
