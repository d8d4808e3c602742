/*
 * Device side of a virtqueue: set-up and notification. Receiving is in vq_rx.c, transmitting in
 * vq_tx.c, chains in vq_chain.c, what an IOTLB asks for in vq_ahead.c; split_ring.h and
 * packed_ring.h are the two formats.
 */
#include "virtio/vq_dev.h"

#include "virtio/vq_ring.h"

const char *hg_vring_fault_name(enum hg_vring_fault fault)
{
    static const char *const name[] = {
        [HG_VRING_OK] = "none",
        [HG_VRING_AVAIL_JUMP] = "available index moved by more than the ring's size",
        [HG_VRING_HEAD_RANGE] = "descriptor index not below the ring's size",
        [HG_VRING_CHAIN_LONG] = "descriptor chain loops or is too long",
        [HG_VRING_INDIRECT] = "indirect table nested, chained, empty or of odd length",
        [HG_VRING_DIRECTION] = "descriptor writable where it must be readable, or the reverse",
        [HG_VRING_CHAIN_CUT] = "descriptor inside a chain is not available",
        [HG_VRING_ID_RANGE] = "buffer id not below the ring's size",
    };

    _Static_assert(HG_ARRAY_N(name) == HG_VRING_FAULT_N, "every fault has a name");
    return (unsigned)fault < HG_VRING_FAULT_N ? name[fault] : "unknown";
}

void hg_vq_dev_start(struct hg_vq_dev *ring, uint32_t base)
{
    if (ring->packed)
        packed_start(ring, base);
    else
        split_start(ring, base);
    ring->used_published = ring->used_idx;
    ring->shadow_n = 0;
    ring->missing = false;
    ring->hint = (struct hg_hint){0};
    ring->block_class = HG_IOTLB_4K;
    ring->ahead = (struct hg_vq_ahead){.next = ring->last_avail};
    atomic_store_explicit(&ring->fault_value, 0, memory_order_relaxed);
    atomic_store_explicit(&ring->fault, HG_VRING_OK, memory_order_relaxed);
    hg_vq_dev_disarm(ring);
}

uint32_t hg_vq_dev_base(const struct hg_vq_dev *ring)
{
    return ring->packed ? packed_base(ring) : ring->last_avail;
}

bool hg_vq_dev_arm(struct hg_vq_dev *ring)
{
    if (vq_broken(ring))
        return false;
    return ring->packed ? packed_arm(ring, ring->last_avail) : split_arm(ring, ring->last_avail);
}

bool hg_vq_dev_arm_posted(struct hg_vq_dev *ring)
{
    uint16_t seen = ring->ahead.next;

    if (vq_broken(ring))
        return false;
    if ((uint16_t)(seen - ring->last_avail) >= ring->ahead.window || ring->ahead.barred) {
        hg_vq_dev_disarm(ring);
        return false;
    }
    return ring->packed ? packed_arm(ring, seen) : split_arm(ring, seen);
}

void hg_vq_dev_disarm(struct hg_vq_dev *ring)
{
    if (ring->packed)
        packed_disarm(ring);
    else
        split_disarm(ring);
}
