/*
 * The driver (guest) side of a virtqueue, as a network driver uses it. A ring is laid out before it
 * is known which format the device agrees to: the same memory, and the same three addresses, serve
 * either. split_drv.h and packed_drv.h tell how each format works.
 *
 * The device is another process and hostile: what it says is loaded once and must name an
 * outstanding chain and not more bytes than the chain can hold; the first that does not breaks the
 * ring, with a reason, and from then on nothing is taken from it.
 *
 * One thread at a time uses a ring; `fault` may be read by any.
 */
#ifndef HG_VIRTIO_DRV_H
#define HG_VIRTIO_DRV_H

#include "virtio/drv_ring.h"
#include "virtio/packed_drv.h"
#include "virtio/split_drv.h"

/* Short name of a fault, for people. Static storage. */
const char *hg_drv_fault_name(enum hg_drv_fault fault);

/* Bytes of shared memory that a ring of `num` descriptors takes; a multiple of 128. */
size_t hg_drv_bytes(uint16_t num);

/*
 * Lays a ring out in `shared`, 128-byte aligned memory of hg_drv_bytes(num) that the device will
 * see, and takes private memory for it. `num` is a power of two from 2 to HG_VRING_NUM_MAX. Returns
 * 0 or -ENOMEM. hg_drv_free() releases the private memory.
 */
int hg_drv_init(struct hg_drv *ring, uint16_t num, bool receives, void *shared);
void hg_drv_free(struct hg_drv *ring);

/* Back to the state after init, nothing outstanding. Only while no device uses the ring. */
void hg_drv_reset(struct hg_drv *ring);

/* Says which features of virtio were negotiated, before anything is added: RING_PACKED, EVENT_IDX
 * and IN_ORDER count, IN_ORDER on packed rings only. The ring does not ask for interrupts. */
void hg_drv_start(struct hg_drv *ring, uint64_t features);

/* Adds n chains of one descriptor each, n <= ring->free_n. Nothing is visible before publish. The
 * buffers belong to the device until the chain is reaped. */
static inline void hg_drv_add(struct hg_drv *ring, const struct hg_drv_buf *bufs, unsigned n)
{
    if (ring->packed)
        hg_packed_drv_add(ring, bufs, n);
    else
        hg_split_drv_add(ring, bufs, n);
}

/* Adds one chain of n descriptors, 1 <= n <= ring->free_n, into which the device may write `room`
 * bytes in all. A single descriptor with HG_DESC_F_INDIRECT names a table in shared memory that the
 * caller has filled (2.7.5.3, 2.8.7). */
static inline void hg_drv_add_chain(struct hg_drv *ring, const struct hg_drv_buf *bufs, unsigned n,
                                    uint32_t room)
{
    if (ring->packed)
        hg_packed_drv_add_chain(ring, bufs, n, room);
    else
        hg_split_drv_add_chain(ring, bufs, n, room);
}

/* Makes everything added visible to the device with one store. Returns whether the device wants to
 * be kicked; false as well when nothing was added. */
static inline bool hg_drv_publish(struct hg_drv *ring)
{
    return ring->packed ? hg_packed_drv_publish(ring) : hg_split_drv_publish(ring);
}

/*
 * Takes up to n used chains, in the device's order, and frees their descriptors, which may be added
 * again at once. On a receive ring the buffers are the caller's until it adds them again. Returns
 * how many; fewer than there are when one is wrong: ring->fault is set then.
 */
static inline unsigned hg_drv_reap(struct hg_drv *ring, struct hg_drv_used *used, unsigned n)
{
    return ring->packed ? hg_packed_drv_reap(ring, used, n) : hg_split_drv_reap(ring, used, n);
}

/* Takes up to n used chains without telling which: for transmit rings. Returns how many. */
unsigned hg_drv_reclaim(struct hg_drv *ring, unsigned n);

/* Asks for an interrupt at the next used chain, then looks: true if there is one already. disarm
 * takes the wish back (on a split ring with EVENT_IDX one stray interrupt in 65,536 chains remains
 * possible). */
static inline bool hg_drv_arm(struct hg_drv *ring)
{
    return ring->packed ? hg_packed_drv_arm(ring) : hg_split_drv_arm(ring);
}

static inline void hg_drv_disarm(struct hg_drv *ring)
{
    if (ring->packed)
        hg_packed_drv_disarm(ring);
    else
        hg_split_drv_disarm(ring);
}

#endif
