/*
 * The driver side of a split virtqueue: virtio 1.2, 2.7. The calls are those of virtio/drv.h.
 *
 * Who writes what:
 *   driver   descriptor table; avail flags, idx, ring and used_event; the buffers of a transmit
 *            ring
 *   device   used flags, idx, ring and avail_event; the buffers of a receive ring
 *
 * Orderings, each with its pair on the device (base/shm.h):
 *   publish   store16_release of avail idx, after descriptors, ring entries and buffers
 *             pairs with the device's acquire of avail idx before it reads them
 *   reap      load16_acquire of used idx, before used elements and buffers are read or reused
 *             pairs with the device's release of used idx after it has written, or read, them
 *   kick      publish_then_look between "avail idx is stored" and "does the device sleep"
 *             pairs with the device's barrier between "I ask for a kick" and "is there work"
 *   arm       publish_then_look between "I ask for an interrupt" and "is there a used element"
 *             pairs with the device's barrier between "used idx is stored" and "does the driver
 *             sleep"
 *
 * Speed: the lines that travel between two processors are what a ring costs. With a device that
 * works in order the ids go round in order; a driver that binds buffer i to descriptor i then
 * writes the same descriptor and the same ring entry each time round, and what would not change is
 * not written: those lines stay shared in both caches, and of the ring only the index lines and the
 * used elements move. A device that completes out of order is correct too, and costs stores.
 */
#ifndef HG_VIRTIO_SPLIT_DRV_H
#define HG_VIRTIO_SPLIT_DRV_H

#include "virtio/drv_ring.h"

void hg_split_drv_start(struct hg_drv *ring);
void hg_split_drv_add(struct hg_drv *ring, const struct hg_drv_buf *bufs, unsigned n);
void hg_split_drv_add_chain(struct hg_drv *ring, const struct hg_drv_buf *bufs, unsigned n,
                            uint32_t room);
bool hg_split_drv_publish(struct hg_drv *ring);
unsigned hg_split_drv_reap(struct hg_drv *ring, struct hg_drv_used *used, unsigned n);
bool hg_split_drv_arm(struct hg_drv *ring);
void hg_split_drv_disarm(struct hg_drv *ring);

#endif
