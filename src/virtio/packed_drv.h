/*
 * The driver side of a packed virtqueue: virtio 1.2, 2.8. The calls are those of virtio/drv.h.
 *
 * One ring of descriptors that both sides write. The driver writes available descriptors in ring
 * order; the device writes a used one over the first of each chain, also in ring order, whichever
 * chain it has finished. Whose a descriptor is tell two flags and the lap: available, when AVAIL is
 * the driver's wrap counter and USED is not; used, when both are the device's. Here the counters
 * are not kept: positions count on and on, the low bits are the place in the ring, the bit above
 * them the lap.
 *
 * Who writes what:
 *   driver   free descriptors; the driver event structure; the buffers of a transmit ring
 *   device   the first descriptor of each chain that is published; the device event structure; the
 *            buffers of a receive ring
 * What the driver knows of a chain, how many descriptors it has above all, is in private memory:
 * the device overwrites the ring.
 *
 * Orderings, each with its pair on the device (base/shm.h):
 *   publish   store16_release of the flags of the first descriptor that was added, after all
 *             others, their flags included, and the buffers (2.8.6: no list is seen in part)
 *             pairs with the device's acquire of those flags: it looks at descriptors in order
 *   reap      load16_acquire of a used descriptor's flags, before its id and length and the buffers
 *             are read or reused
 *             pairs with the device's release of those flags after it has written, or read, them
 *   kick      publish_then_look between "the flags are stored" and "does the device sleep"
 *             pairs with the device's barrier between "I ask for a kick" and "is there work"
 *   arm       publish_then_look between "I ask for an interrupt" and "is there a used descriptor"
 *             pairs with the device's barrier between "the flags are stored" and "does the driver
 *             sleep"
 *
 * Speed: a descriptor is one word for the address and one for the rest. Four of them are a cache
 * line that goes to the device and comes back, and nothing else of the ring moves. That every other
 * flag is written before the first one's costs a batch one store.
 *
 * IN_ORDER (2.8.9): the device may tell of a batch of chains by one used descriptor with the id of
 * the last; the others count as used completely. It finds a batch's end in the FIFO of ids, and a
 * transmit ring's used descriptors take a line a batch instead of one in four chains.
 */
#ifndef HG_VIRTIO_PACKED_DRV_H
#define HG_VIRTIO_PACKED_DRV_H

#include "virtio/drv_ring.h"

void hg_packed_drv_start(struct hg_drv *ring);
void hg_packed_drv_add(struct hg_drv *ring, const struct hg_drv_buf *bufs, unsigned n);
void hg_packed_drv_add_chain(struct hg_drv *ring, const struct hg_drv_buf *bufs, unsigned n,
                             uint32_t room);
bool hg_packed_drv_publish(struct hg_drv *ring);
unsigned hg_packed_drv_reap(struct hg_drv *ring, struct hg_drv_used *used, unsigned n);
bool hg_packed_drv_arm(struct hg_drv *ring);
void hg_packed_drv_disarm(struct hg_drv *ring);

#endif
